//! A token issuer that is not ours: PyJWT makes keys and tokens, good and bad; Stockade accepts and refuses them.

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        process::Command,
        time::{SystemTime, UNIX_EPOCH},
    };

    use serde::Deserialize;
    use stockade_access::{ExternalIdentity, KeySet, Token, TokenAlgorithm, TokenRules};
    use stockade_conformance::python;
    use stockade_evidence::Timestamp;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        token: String,
        accepted: bool,
    }

    #[test]
    fn pyjwt_issues_what_is_accepted_and_what_is_refused() {
        let python = python::environment("jwt", include_str!("../python/jwt.txt")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let rules = TokenRules {
            issuer: "https://issuer.example".to_owned(),
            audience: "stockade".to_owned(),
            algorithms: TokenAlgorithm::ALL.into(),
            leeway_s: 60,
            claim: "sub".to_owned(),
            typ: None,
        };
        python::run(
            Command::new(python)
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/jwt_issuer.py"))
                .arg(folder.path())
                .args([&rules.issuer, &rules.audience, &now_s.to_string()]),
        )
        .unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let keys = KeySet::parse(&read("jwks.json")).unwrap();
        assert_eq!(
            keys.len(),
            TokenAlgorithm::ALL.len(),
            "what cannot check a token is left out"
        );
        let cases: Vec<Case> = serde_json::from_slice(&read("tokens.json")).unwrap();
        assert!(cases.len() > 30);
        let now = Timestamp::from_unix_ms(i64::try_from(now_s).unwrap() * 1000);
        let ours = ExternalIdentity::jwt(&rules.issuer, "svc-1").unwrap();
        for Case {
            name,
            token,
            accepted,
        } in cases
        {
            let found = Token::parse(&token).and_then(|token| token.verify(&rules, &keys, now));
            assert_eq!(found.as_ref() == Ok(&ours), accepted, "{name}: {found:?}");
        }
    }
}
