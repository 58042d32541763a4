//! A token issuer: Ed25519 keys, tokens, and a host that serves its keys and can be told to fail.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use stockade_access::ExternalIdentity;
use stockade_crypto::{SignatureAlgorithm, SigningKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::authority::Certified;

pub(crate) const ISSUER: &str = "https://issuer.example";

/// One key of the issuer.
pub(crate) struct Key {
    key: EncodingKey,
    kid: String,
    jwk: Value,
}

/// The identity of a subject of the issuer.
pub(crate) fn subject(name: &str) -> ExternalIdentity {
    ExternalIdentity::jwt(ISSUER, name).unwrap()
}

/// A set with these keys.
pub(crate) fn jwks(keys: &[&Key]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    json!({ "keys": keys }).to_string()
}

pub(crate) fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

impl Key {
    pub(crate) fn new(kid: &str) -> Self {
        let key = SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap();
        let public = key.verifying_key();
        let x = URL_SAFE_NO_PAD.encode(public.as_bytes());
        Self {
            key: EncodingKey::from_ed_der(key.to_pkcs8().unwrap().expose()),
            kid: kid.to_owned(),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}),
        }
    }

    /// A token for `subject` that lives for `lives_s` seconds.
    pub(crate) fn token(&self, subject: &str, lives_s: i64) -> String {
        self.sign(&json!({"iss": ISSUER, "aud": "stockade", "sub": subject, "exp": now_s() + lives_s}))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// A host that serves keys.
pub(crate) struct Host {
    pub(crate) port: u16,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Host {
    /// Serves these keys, with this certificate over TLS.
    pub(crate) async fn new(jwks: &str, certificate: Option<&Certified>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(ok(jwks))), Arc::new(AtomicUsize::new(0)));
        let acceptor = certificate.map(|own| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(own.chain(), own.private_key())
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        let mut serving = JoinSet::new();
        let shared = (answer.clone(), asked.clone());
        serving.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                shared.1.fetch_add(1, Ordering::Relaxed);
                let answer = shared.0.lock().unwrap().clone();
                let mut head = [0; 4096];
                if let Some(acceptor) = &acceptor {
                    let Ok(mut socket) = acceptor.accept(socket).await else {
                        continue;
                    };
                    let _ = socket.read(&mut head).await;
                    let _ = socket.write_all(answer.as_bytes()).await;
                    let _ = socket.shutdown().await;
                } else {
                    let _ = socket.read(&mut head).await;
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            }
        });
        Self {
            port,
            answer,
            asked,
            _serving: serving,
        }
    }

    pub(crate) fn serve(&self, jwks: &str) {
        self.answer(&ok(jwks));
    }

    /// The whole answer, as it goes over the wire.
    pub(crate) fn answer(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    /// How often somebody connected.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
