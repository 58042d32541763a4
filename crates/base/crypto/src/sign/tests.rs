//! Vectors of RFC 8032 §7.1, RFC 6979 appendix A.2 and Wycheproof (ML-DSA-44), then what must not verify.

use super::*;
use crate::hash::sha256;

const ALL: [SignatureAlgorithm; 5] = [
    SignatureAlgorithm::Ed25519,
    SignatureAlgorithm::EcdsaP256Sha256,
    SignatureAlgorithm::EcdsaP384Sha384,
    SignatureAlgorithm::EcdsaP521Sha512,
    SignatureAlgorithm::MlDsa44,
];

fn bytes(hex_digits: &str) -> Vec<u8> {
    hex::decode(hex_digits.replace(['\n', ' '], "")).unwrap()
}

#[track_caller]
fn check_ed25519(seed: &str, public: &str, message: &str, signature: &str) {
    let key = SigningKey::from_seed(&SecretBytes::new(bytes(seed))).unwrap();
    assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
    assert_eq!(hex::encode(key.sign(&bytes(message)).unwrap()), signature);
    let public = VerifyingKey::new(SignatureAlgorithm::Ed25519, &bytes(public)).unwrap();
    public.verify(&bytes(message), &bytes(signature)).unwrap();
}

#[test]
fn ed25519_vectors_of_rfc_8032() {
    check_ed25519(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    check_ed25519(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    check_ed25519(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
}

/// RFC 8032 §5.1.7: S + L is the same point and must be refused, or signatures would have two forms.
#[test]
fn ed25519_refuses_a_second_form_of_s() {
    const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let key = SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap();
    let mut signature = key.sign(b"message").unwrap();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(bytes(L)) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(
        key.verifying_key().verify(b"message", &signature),
        Err(BadSignature)
    );
}

fn der_integer(digits: &str) -> Vec<u8> {
    let value = bytes(digits);
    let mut value: Vec<u8> = value.into_iter().skip_while(|byte| *byte == 0).collect();
    if value.first().is_none_or(|first| first & 0x80 != 0) {
        value.insert(0, 0);
    }
    [vec![0x02, u8::try_from(value.len()).unwrap()], value].concat()
}

fn der_signature(r: &str, s: &str) -> Vec<u8> {
    let body = [der_integer(r), der_integer(s)].concat();
    let len = u8::try_from(body.len()).unwrap();
    let header = if len < 0x80 {
        vec![0x30, len]
    } else {
        vec![0x30, 0x81, len]
    };
    [header, body].concat()
}

#[track_caller]
fn check_ecdsa(algorithm: SignatureAlgorithm, [x, y]: [&str; 2], message: &[u8], [r, s]: [&str; 2]) {
    let key = VerifyingKey::new(algorithm, &[vec![4], bytes(x), bytes(y)].concat()).unwrap();
    let signature = der_signature(r, s);
    key.verify(message, &signature).unwrap();
    assert_eq!(key.verify(b"other", &signature), Err(BadSignature));
    assert_eq!(key.verify(message, &der_signature(s, r)), Err(BadSignature));
    // X.690 §8.1.3: the length in a longer form than needed is BER, not DER.
    let mut long = signature.clone();
    long.splice(
        1..1,
        if long[1] < 0x80 {
            vec![0x81]
        } else {
            vec![0x82, 0x00]
        },
    );
    if signature[1] >= 0x80 {
        long.remove(3);
    }
    assert_eq!(key.verify(message, &long), Err(BadSignature));
    assert_eq!(
        key.verify(message, &[signature.as_slice(), &[0]].concat()),
        Err(BadSignature)
    );
    // FIPS 186-5 §6.4.2: r and s are at least 1 and below the order.
    for [r, s] in [["00", s], [r, "00"], ["00", "00"], [&"ff".repeat(r.len() / 2), s]] {
        assert_eq!(key.verify(message, &der_signature(r, s)), Err(BadSignature));
    }
    // The raw form r || s is another format.
    assert_eq!(
        key.verify(message, &[bytes(r), bytes(s)].concat()),
        Err(BadSignature)
    );
}

#[test]
fn ecdsa_vectors_of_rfc_6979() {
    let p256 = [
        "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
        "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
    ];
    check_ecdsa(
        SignatureAlgorithm::EcdsaP256Sha256,
        p256,
        b"sample",
        [
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ],
    );
    check_ecdsa(
        SignatureAlgorithm::EcdsaP256Sha256,
        p256,
        b"test",
        [
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ],
    );
    check_ecdsa(
        SignatureAlgorithm::EcdsaP384Sha384,
        [
            "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13",
            "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720",
        ],
        b"sample",
        [
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
            "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        ],
    );
    check_ecdsa(
        SignatureAlgorithm::EcdsaP521Sha512,
        [
            "01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F5023A4",
            "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFDFCF5",
        ],
        b"sample",
        [
            "00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA",
            "00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A",
        ],
    );
}

/// Wycheproof `mldsa_44_sign_seed_test.json`, tcId 1: privateSeed 2a (32 times), msg "Hello world".
#[test]
fn ml_dsa_44_vector_of_wycheproof() {
    let pkcs8 = [
        bytes("3034020100300b060960864801650304031104228020"),
        vec![0x2a; 32],
    ]
    .concat();
    let key = SigningKey::from_pkcs8(SignatureAlgorithm::MlDsa44, &SecretBytes::new(pkcs8.clone())).unwrap();
    let public = key.verifying_key();
    assert_eq!(
        hex::encode(&public.as_bytes()[..16]),
        "db9ac67708f2ba0fac1f92bd802f9be8"
    );
    assert_eq!(
        hex::encode(sha256(public.as_bytes())),
        "d87f8ca136ac1aa55e2d6c4521680efb3a378cbb9bc0bfb446e9c60893931ea3"
    );
    let signature = bytes(include_str!("ml_dsa_44_signature.hex"));
    public.verify(b"Hello world", &signature).unwrap();
    for index in [0, 31, 32, 1000, 2335, 2336, 2419] {
        let mut changed = signature.clone();
        changed[index] ^= 1;
        assert_eq!(
            public.verify(b"Hello world", &changed),
            Err(BadSignature),
            "byte {index}"
        );
    }
    assert_eq!(key.to_pkcs8().unwrap().expose(), pkcs8);
}

#[test]
fn signing_and_every_encoding_round_trips() {
    for algorithm in ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let public = key.verifying_key();
        let again = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(
            (again.algorithm(), again.verifying_key()),
            (algorithm, public.clone())
        );
        assert_eq!(VerifyingKey::new(algorithm, public.as_bytes()).unwrap(), public);
        assert_eq!(
            VerifyingKey::from_spki_pem(&public.to_spki_pem().unwrap()).unwrap(),
            public
        );
        let signature = again.sign(b"message").unwrap();
        public.verify(b"message", &signature).unwrap();
        assert_eq!(public.verify(b"Message", &signature), Err(BadSignature));
        let other = SigningKey::generate(algorithm).unwrap().verifying_key();
        assert_eq!(other.verify(b"message", &signature), Err(BadSignature));
        assert_ne!(other, public);
    }
}

#[test]
fn wrong_lengths_and_other_algorithms_are_refused() {
    for algorithm in ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let (public, signature) = (key.verifying_key(), key.sign(b"message").unwrap());
        for cut in [0, 1, public.as_bytes().len() - 1] {
            assert_eq!(
                VerifyingKey::new(algorithm, &public.as_bytes()[..cut]),
                Err(BadKey { algorithm })
            );
        }
        assert!(VerifyingKey::new(algorithm, &[public.as_bytes(), &[0]].concat()).is_err());
        assert!(VerifyingKey::new(algorithm, &public.to_spki_der().unwrap()).is_err());
        for cut in [0, 1, signature.len() / 2, signature.len() - 1] {
            assert_eq!(public.verify(b"message", &signature[..cut]), Err(BadSignature));
        }
        assert_eq!(
            public.verify(b"message", &[signature.as_slice(), &[0]].concat()),
            Err(BadSignature)
        );
        let pkcs8 = key.to_pkcs8().unwrap();
        for other in ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(
                SigningKey::from_pkcs8(other, &pkcs8).is_err(),
                "{algorithm} as {other}"
            );
            assert!(VerifyingKey::new(other, public.as_bytes()).is_err());
        }
        let cut = SecretBytes::new(pkcs8.expose()[..pkcs8.len() - 1].to_vec());
        assert!(SigningKey::from_pkcs8(algorithm, &cut).is_err());
    }
}

#[test]
fn points_have_one_form_and_lie_on_the_curve() {
    let algorithm = SignatureAlgorithm::EcdsaP256Sha256;
    let key = SigningKey::generate(algorithm).unwrap().verifying_key();
    let mut compressed = key.as_bytes()[..33].to_vec();
    compressed[0] = 2 + (key.as_bytes()[64] & 1);
    assert_eq!(
        VerifyingKey::new(algorithm, &compressed),
        Err(BadKey { algorithm })
    );
    let mut off = key.as_bytes().to_vec();
    off[64] ^= 1;
    assert_eq!(VerifyingKey::new(algorithm, &off), Err(BadKey { algorithm }));
    // X9.62 hybrid form.
    let mut hybrid = key.as_bytes().to_vec();
    hybrid[0] = 6 + (key.as_bytes()[64] & 1);
    assert_eq!(VerifyingKey::new(algorithm, &hybrid), Err(BadKey { algorithm }));
}

#[test]
fn pem_that_is_not_one_public_key_is_refused() {
    let pem = SigningKey::generate(SignatureAlgorithm::Ed25519)
        .unwrap()
        .verifying_key()
        .to_spki_pem()
        .unwrap();
    assert!(VerifyingKey::from_spki_pem(&format!("\n{pem}\n")).is_ok());
    for text in [
        String::new(),
        pem.replace("PUBLIC", "PRIVATE"),
        pem.replace("-----END", "----END"),
        pem.replace("MCow", "MCox"),
        format!("{pem}{pem}"),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----".into(),
        format!("{pem}{}", " ".repeat(9000)),
    ] {
        assert_eq!(VerifyingKey::from_spki_pem(&text), Err(NotAPublicKey), "{text}");
    }
}

#[test]
fn a_signing_key_prints_no_secret() {
    for algorithm in ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let shown = format!("SigningKey {{ algorithm: {algorithm:?}, private: \"****\" }}");
        assert_eq!(format!("{key:?}"), shown);
    }
}

#[test]
fn mutated_public_keys_do_not_panic() {
    for algorithm in ALL {
        let key = SigningKey::generate(algorithm).unwrap().verifying_key();
        for whole in [key.to_spki_pem().unwrap().into_bytes(), key.as_bytes().to_vec()] {
            crate::fuzz_public_key(&whole);
            for round in 0..200u32 {
                let draw = sha256(&round.to_be_bytes());
                let at = usize::from(u16::from_be_bytes([draw[0], draw[1]])) % whole.len();
                let mut data = whole.clone();
                match draw[2] % 3 {
                    0 => data.truncate(at),
                    1 => data[at] ^= draw[3] | 1,
                    _ => drop(data.splice(at..at, draw)),
                }
                crate::fuzz_public_key(&data);
            }
        }
    }
}
