//! Tokens that are taken, and the many that are not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use stockade_crypto::{SignatureAlgorithm, SigningKey};

use super::*;

const NOW_S: i64 = 1_800_000_000;

/// An issuer with one key, which signs whatever it is asked to.
struct Issuer {
    algorithm: TokenAlgorithm,
    jwk: Value,
    key: EncodingKey,
}

impl Issuer {
    fn new(algorithm: TokenAlgorithm, kid: &str) -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (key, jwk, der): (_, _, fn(&[u8]) -> EncodingKey) = match algorithm {
            TokenAlgorithm::EdDsa => {
                let key = SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap();
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": text(key.verifying_key().as_bytes()), "kid": kid});
                (key, jwk, EncodingKey::from_ed_der)
            }
            TokenAlgorithm::Es256 => {
                let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
                let public = key.verifying_key();
                let (x, y) = public.as_bytes()[1..].split_at(32);
                let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": kid});
                (key, jwk, EncodingKey::from_ec_der)
            }
            _ => panic!("no such issuer here"),
        };
        let key = der(key.to_pkcs8().unwrap().expose());
        Self { algorithm, jwk, key }
    }

    fn keys(&self) -> KeySet {
        set(std::slice::from_ref(&self.jwk))
    }

    fn header(&self) -> Value {
        json!({"alg": self.algorithm.name(), "kid": self.jwk["kid"], "typ": "JWT"})
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm.algorithm()).unwrap();
        format!("{signed}.{signature}")
    }

    /// A good token, with `header` and `claims` laid over it; `null` takes a member away.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let lay = |mut base: Value, over: &Value| {
            for (name, value) in over.as_object().unwrap() {
                if value.is_null() {
                    base.as_object_mut().unwrap().remove(name);
                } else {
                    base[name] = value.clone();
                }
            }
            base.to_string()
        };
        self.sign(&lay(self.header(), header), &lay(claims_now(), claims))
    }
}

fn claims_now() -> Value {
    json!({"iss": "https://issuer.example", "aud": "stockade", "sub": "svc-1", "exp": NOW_S + 300, "iat": NOW_S})
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn rules() -> TokenRules {
    TokenRules {
        issuer: "https://issuer.example".to_owned(),
        audience: "stockade".to_owned(),
        algorithms: [
            TokenAlgorithm::EdDsa,
            TokenAlgorithm::Es256,
            TokenAlgorithm::Rs256,
        ]
        .into(),
        leeway_s: 60,
        claim: "sub".to_owned(),
        typ: None,
    }
}

fn verify_at(
    token: &str,
    rules: &TokenRules,
    keys: &KeySet,
    at_s: i64,
) -> Result<ExternalIdentity, TokenError> {
    Token::parse(token)?.verify(rules, keys, Timestamp::from_unix_ms(at_s * 1000))
}

fn verify(token: &str, keys: &KeySet) -> Result<ExternalIdentity, TokenError> {
    verify_at(token, &rules(), keys, NOW_S)
}

#[track_caller]
fn refused(header: Value, claims: Value, expected: TokenError) {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    assert_eq!(
        verify(&issuer.token(&header, &claims), &issuer.keys()),
        Err(expected)
    );
}

#[test]
fn a_good_token_names_its_subject() {
    for algorithm in [TokenAlgorithm::EdDsa, TokenAlgorithm::Es256] {
        let issuer = Issuer::new(algorithm, "k1");
        let subject = ExternalIdentity::jwt("https://issuer.example", "svc-1").unwrap();
        for audience in [json!("stockade"), json!(["other", "stockade"])] {
            let token = issuer.token(&json!({}), &json!({"aud": audience}));
            assert_eq!(verify(&token, &issuer.keys()), Ok(subject.clone()));
        }
        for typ in [json!("at+jwt"), json!("application/at+JWT"), Value::Null] {
            let token = issuer.token(&json!({"typ": typ}), &json!({}));
            assert_eq!(verify(&token, &issuer.keys()), Ok(subject.clone()));
        }
    }
}

/// RFC 8725 section 2.1: `none`, and the public key as a shared secret.
#[test]
fn attack_other_algorithms() {
    let issuer = Issuer::new(TokenAlgorithm::Es256, "k1");
    let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for none in ["none", "None", "NONE", ""] {
        let unsigned = format!(
            "{}.{}.",
            text(json!({"alg": none, "kid": "k1"})),
            text(claims_now())
        );
        assert_eq!(verify(&unsigned, &issuer.keys()), Err(TokenError::Algorithm));
    }
    let signed = format!(
        "{}.{}",
        text(json!({"alg": "HS256", "kid": "k1"})),
        text(claims_now())
    );
    for secret in [
        issuer.jwk.to_string(),
        issuer.jwk["x"].as_str().unwrap().to_owned(),
    ] {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let mac = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
        assert_eq!(
            verify(&format!("{signed}.{mac}"), &issuer.keys()),
            Err(TokenError::Algorithm)
        );
    }
    // A set that publishes the secret itself has no usable key.
    let shared = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}]});
    assert_eq!(
        KeySet::parse(shared.to_string().as_bytes()).unwrap_err(),
        BadKeySet::Empty
    );
    // An algorithm that exists, and is not allowed to this issuer.
    let narrow = TokenRules {
        algorithms: [TokenAlgorithm::Rs256].into(),
        ..rules()
    };
    let token = issuer.token(&json!({}), &json!({}));
    assert_eq!(
        verify_at(&token, &narrow, &issuer.keys(), NOW_S),
        Err(TokenError::Algorithm)
    );
}

#[test]
fn attack_other_keys() {
    let (ours, theirs) = (
        Issuer::new(TokenAlgorithm::EdDsa, "k1"),
        Issuer::new(TokenAlgorithm::EdDsa, "k1"),
    );
    let token = theirs.token(&json!({}), &json!({}));
    assert_eq!(verify(&token, &ours.keys()), Err(TokenError::Signature));
    for kid in [
        "k2",
        "../../../../dev/null",
        "https://evil.example/jwks.json",
        "' OR 1=1 --",
        "",
    ] {
        let token = ours.token(&json!({"kid": kid}), &json!({}));
        assert_eq!(verify(&token, &ours.keys()), Err(TokenError::UnknownKey), "{kid}");
    }
    // The token brings its own key: it is not looked at.
    let own =
        json!({"jwk": theirs.jwk, "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/c"});
    assert_eq!(
        verify(&theirs.token(&own, &json!({})), &ours.keys()),
        Err(TokenError::Signature)
    );
    // A key of another kind under the token's name.
    let other = Issuer::new(TokenAlgorithm::Es256, "k1");
    let token = ours.token(&json!({}), &json!({}));
    assert_eq!(verify(&token, &other.keys()), Err(TokenError::UnknownKey));
    for (part, place) in [(0, 4), (1, 9), (2, 3)] {
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let byte = if parts[part].as_bytes()[place] == b'A' {
            "B"
        } else {
            "A"
        };
        parts[part].replace_range(place..=place, byte);
        assert!(verify(&parts.join("."), &ours.keys()).is_err(), "part {part}");
    }
}

#[test]
fn attack_other_claims() {
    use TokenError::{Algorithm, Audience, Bound, Claims, Critical, Issuer, Malformed, Type, UnknownKey};
    refused(json!({}), json!({"iss": "https://issuer.example/"}), Issuer);
    refused(json!({}), json!({"iss": null}), Issuer);
    refused(json!({}), json!({"iss": ["https://issuer.example"]}), Issuer);
    for audience in [
        json!("Stockade"),
        json!("stockade2"),
        json!([]),
        json!(["a", "b"]),
    ] {
        refused(json!({}), json!({"aud": audience}), Audience);
    }
    for audience in [Value::Null, json!({"stockade": 1}), json!(["stockade", 1])] {
        refused(json!({}), json!({"aud": audience}), Claims);
    }
    for expires in [
        Value::Null,
        json!("1800000300"),
        json!(-1),
        json!(1e300),
        json!([1_800_000_300]),
    ] {
        refused(json!({}), json!({"exp": expires}), Claims);
    }
    for subject in [
        Value::Null,
        json!(""),
        json!(7),
        json!("a\nb"),
        json!("x".repeat(257)),
    ] {
        refused(json!({}), json!({"sub": subject}), Claims);
    }
    refused(json!({}), json!({"nbf": "now"}), Claims);
    refused(json!({}), json!({"cnf": {"jkt": "x"}}), Bound);
    refused(json!({"crit": ["exp"]}), json!({}), Critical);
    refused(json!({"b64": false, "crit": ["b64"]}), json!({}), Critical);
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", ""] {
        refused(json!({"typ": typ}), json!({}), Type);
    }
    refused(json!({"typ": 1}), json!({}), Malformed);
    refused(json!({"alg": null}), json!({}), Algorithm);
    refused(json!({"kid": null}), json!({}), UnknownKey);
}

#[test]
fn a_stated_type_is_demanded() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let strict = TokenRules {
        typ: Some("at+jwt".to_owned()),
        ..rules()
    };
    let check = |typ: Value| {
        let token = issuer.token(&json!({"typ": typ}), &json!({}));
        verify_at(&token, &strict, &issuer.keys(), NOW_S).map(drop)
    };
    assert_eq!(check(json!("AT+JWT")), Ok(()));
    assert_eq!(check(json!("JWT")), Err(TokenError::Type));
    assert_eq!(check(Value::Null), Err(TokenError::Type));
}

#[test]
fn times_hold_at_their_edges() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let check = |claims: Value, at_s: i64, expected: Result<(), TokenError>| {
        let found = verify_at(&issuer.token(&json!({}), &claims), &rules(), &issuer.keys(), at_s);
        assert_eq!(found.map(drop), expected, "{claims} at {at_s}");
    };
    let (early, expired) = (Err(TokenError::Early), Err(TokenError::Expired));
    check(json!({}), NOW_S + 359, Ok(()));
    check(json!({}), NOW_S + 360, expired);
    check(json!({"nbf": NOW_S + 60}), NOW_S, Ok(()));
    check(json!({"nbf": NOW_S + 61}), NOW_S, early);
    check(json!({"iat": NOW_S + 60}), NOW_S, Ok(()));
    check(json!({"iat": NOW_S + 61}), NOW_S, early);
    #[expect(clippy::cast_precision_loss, reason = "a time")]
    check(json!({"exp": NOW_S as f64 + 0.5}), NOW_S + 60, Ok(()));
    let strict = TokenRules {
        leeway_s: 0,
        ..rules()
    };
    let token = issuer.token(&json!({}), &json!({}));
    for (at, expected) in [(299, Ok(())), (300, expired)] {
        let found = verify_at(&token, &strict, &issuer.keys(), NOW_S + at);
        assert_eq!(found.map(drop), expected);
    }
}

#[test]
fn attack_duplicated_names() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let good = claims_now().to_string();
    let twice = good.replacen('{', "{\"sub\":\"admin\",", 1);
    let escaped = good.replacen('{', "{\"s\\u0075b\":\"admin\",", 1);
    for payload in [twice, escaped] {
        let token = issuer.sign(&issuer.header().to_string(), &payload);
        assert_eq!(verify(&token, &issuer.keys()), Err(TokenError::Malformed));
    }
    let header = r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#;
    let token = issuer.sign(header, &good);
    assert_eq!(verify(&token, &issuer.keys()), Err(TokenError::Malformed));
}

#[test]
fn attack_huge_and_broken_tokens() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let huge = issuer.token(&json!({}), &json!({"pad": "x".repeat(TOKEN_MAX)}));
    assert_eq!(verify(&huge, &issuer.keys()), Err(TokenError::TooLong));
    let good = issuer.token(&json!({}), &json!({}));
    let padded = good.replacen('.', "=.", 1);
    let five = format!("{good}.{good}");
    let deep = issuer.sign(
        &issuer.header().to_string(),
        &format!("{{\"a\":{}", "[".repeat(3000)),
    );
    for bad in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        &padded,
        &five,
        &deep,
        "\u{e9}.\u{e9}.\u{e9}",
    ] {
        assert_eq!(verify(bad, &issuer.keys()), Err(TokenError::Malformed), "{bad}");
    }
    assert_eq!(format!("{:?}", Token::parse(&good).unwrap()), "Token(****)");
}

#[test]
fn a_key_serves_what_it_says_it_is_for() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let token = issuer.token(&json!({}), &json!({}));
    let with = |name: &str, value: Value| {
        let mut jwk = issuer.jwk.clone();
        jwk[name] = value;
        KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes())
    };
    for (name, value) in [
        ("use", json!("sig")),
        ("alg", json!("EdDSA")),
        ("key_ops", json!(["verify"])),
        ("x5t", json!("whatever")),
    ] {
        assert!(verify(&token, &with(name, value).unwrap()).is_ok(), "{name}");
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("alg", json!("ES256")),
        ("alg", json!(["EdDSA"])),
        ("key_ops", json!(["sign"])),
        ("crv", json!("X25519")),
        ("kty", json!("EC")),
        ("x", json!("AAAA")),
        ("d", json!("AAAA")),
        ("kid", json!("")),
        ("kid", json!("x".repeat(257))),
    ] {
        assert_eq!(with(name, value).unwrap_err(), BadKeySet::Empty, "{name}");
    }
}

#[test]
fn key_sets_are_bounded_and_unambiguous() {
    let parse = |value: Value| KeySet::parse(value.to_string().as_bytes()).map(drop);
    let jwk = Issuer::new(TokenAlgorithm::EdDsa, "k1").jwk;
    assert_eq!(parse(json!({"keys": [jwk, jwk]})), Err(BadKeySet::Ambiguous));
    assert_eq!(
        parse(json!({"keys": vec![json!({}); 65]})),
        Err(BadKeySet::TooMany)
    );
    assert_eq!(parse(json!({"keys": []})), Err(BadKeySet::Empty));
    for bad in [json!([]), json!({"keys": {}}), json!({"keys": ["x"]}), json!("x")] {
        assert_eq!(parse(bad), Err(BadKeySet::Malformed));
    }
    let rsa = |modulus: &[u8], exponent: &str| {
        parse(
            json!({"keys": [{"kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(modulus), "e": exponent}]}),
        )
    };
    assert_eq!(rsa(&[0xff; 256], "AQAB"), Ok(()));
    for (length, exponent) in [
        (128, "AQAB"),
        (255, "AQAB"),
        (1025, "AQAB"),
        (256, "AQ"),
        (256, "Ag"),
        (256, ""),
    ] {
        assert_eq!(
            rsa(&vec![0xff; length], exponent),
            Err(BadKeySet::Empty),
            "{length}"
        );
    }
}

/// RFC 7515 appendices A.2 and A.3, and RFC 8037 appendix A.4: their tokens name no key, so the signatures are checked.
#[test]
fn published_signatures_hold() {
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let check = |algorithm: TokenAlgorithm, jwk: Value, signed: &str, signature: &str| {
        let keys = set(&[jwk]);
        let key = keys.find("k", algorithm).unwrap();
        let verify = |signed: &str| {
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, algorithm.algorithm()).unwrap()
        };
        assert!(verify(signed) && !verify(&format!("{signed}x")), "{algorithm}");
    };
    check(
        TokenAlgorithm::Rs256,
        json!({"kid": "k", "kty": "RSA", "e": "AQAB", "n": concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ",
            "S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2",
            "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD",
            "TW9gb54h4FRWyuXpoQ")}),
        &format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}"),
        concat!(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU",
            "Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d",
            "O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig",
            "cN_IoypGlUPQGe77Rw"
        ),
    );
    check(
        TokenAlgorithm::Es256,
        json!({"kid": "k", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
        &format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}"),
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    check(
        TokenAlgorithm::EdDsa,
        json!({"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
}

/// What a fuzzer would find first: mutations of a good pair, seeded.
#[test]
fn broken_tokens_and_sets_do_not_panic() {
    let issuer = Issuer::new(TokenAlgorithm::EdDsa, "k1");
    let jwks = json!({"keys": [issuer.jwk]}).to_string();
    let pair = format!("{jwks}\n{}", issuer.token(&json!({}), &json!({}))).into_bytes();
    fuzz_token(&pair);
    fuzz_jwks(jwks.as_bytes());
    let mut state = 0x5eed_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    for _ in 0..2000 {
        let mut bytes = pair.clone();
        let place = below(bytes.len());
        match below(3) {
            0 => bytes[place] ^= 1 << below(8),
            1 => bytes.truncate(place),
            _ => drop(bytes.drain(place..(place + below(9)).min(pair.len()))),
        }
        fuzz_token(&bytes);
        fuzz_jwks(&bytes);
    }
}
