//! Signatures, key encodings and certificates against pyca/cryptography (OpenSSL) and dilithium-py, both ways.

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use stockade_conformance::python;
    use stockade_crypto::{KeyFolder, SignatureAlgorithm, SigningKey, VerifyingKey};

    const NOW: i64 = 1_900_000_000;
    const ALGORITHMS: [SignatureAlgorithm; 5] = [
        SignatureAlgorithm::Ed25519,
        SignatureAlgorithm::EcdsaP256Sha256,
        SignatureAlgorithm::EcdsaP384Sha384,
        SignatureAlgorithm::EcdsaP521Sha512,
        SignatureAlgorithm::MlDsa44,
    ];

    #[test]
    fn others_verify_ours_and_ours_verify_theirs() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| place.path().join(name);
        for algorithm in ALGORITHMS {
            let (name, key) = (algorithm.name(), SigningKey::generate(algorithm).unwrap());
            let message = format!("a message for {name}").into_bytes();
            fs::write(file(&format!("{name}.signature")), key.sign(&message).unwrap()).unwrap();
            fs::write(file(&format!("{name}.message")), message).unwrap();
            fs::write(
                file(&format!("{name}.pem")),
                key.verifying_key().to_spki_pem().unwrap(),
            )
            .unwrap();
            fs::write(file(&format!("{name}.pkcs8")), key.to_pkcs8().unwrap().expose()).unwrap();
        }
        let provider = KeyFolder::create(&file("keys"), None, NOW).unwrap();
        let authority = provider.certificate_authority().unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = authority.issue_server(&hosts, NOW, 86_400).unwrap();
        fs::write(file("ca.pem"), authority.certificate_pem()).unwrap();
        fs::write(file("leaf.der"), &leaf.chain_der[0]).unwrap();

        let python = python::environment("signatures", include_str!("../python/signatures.txt")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/signatures.py");
        python::run(
            Command::new(python)
                .arg(script)
                .arg(place.path())
                .arg(NOW.to_string()),
        )
        .unwrap();

        for algorithm in ALGORITHMS {
            let name = algorithm.name();
            let read = |suffix: &str| fs::read(file(&format!("theirs-{name}.{suffix}"))).unwrap();
            let message = fs::read(file(&format!("{name}.message"))).unwrap();
            let signature = read("signature");
            // dilithium-py breaks PEM lines at 76 characters, as Python's base64 does.
            let key = VerifyingKey::from_spki_pem(std::str::from_utf8(&read("pem")).unwrap()).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            key.verify(&message, &signature).unwrap();
            key.verify(b"another message", &signature).unwrap_err();
        }
    }
}
