//! TLS 1.3 (RFC 8446) with leaf certificates that renew themselves.
//!
//! The leaf comes from the local certificate authority and is replaced after two thirds of its life, or from files and
//! is replaced when they change; either without touching open connections. TLS 1.2 and below are not spoken.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use stockade_crypto::{CertificateAuthority, IssueError, SecretBytes, Sha256, sha256};
use stockade_evidence::Timestamp;
use stockade_store::Secret;

use crate::{
    config::{FileReference, TlsConfig},
    desk::{Desk, DeskAnswer, DeskAsk, DeskLink, Issued},
    identity::{Clients, FileError},
};

/// How long a leaf certificate lives.
pub(crate) const LEAF_LIFETIME_S: u32 = 7 * 86_400;

/// The leaf certificate now in use.
pub(crate) struct Leaf {
    origin: Origin,
    current: ArcSwap<Current>,
}

/// Where a leaf certificate comes from.
#[derive(Debug)]
enum Origin {
    /// The local authority.
    Authority { hosts: Vec<String>, lifetime_s: u32 },
    /// Files of the operator.
    Files(TlsConfig),
}

struct Current {
    key: Arc<CertifiedKey>,
    /// The authority's certificate, or the digest of both files.
    origin: Vec<u8>,
    renew_at_unix_s: i64,
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No leaf certificate was issued.
    #[error("no server certificate could be issued")]
    Issue(#[from] IssueError),
    /// The keeper issued none.
    #[error("the keeper issued no server certificate")]
    NotIssued,
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds something else.
    #[error("`{file}` is not PEM with what belongs there")]
    Content {
        /// The file.
        file: String,
    },
    /// Certificate and key cannot be used together.
    #[error(
        "the server certificate in `{file}` cannot be used\nhint: its key must belong to it, and the leaf comes first"
    )]
    Certificate {
        /// The file.
        file: String,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refused the certificate or the settings.
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
}

impl Leaf {
    /// A leaf that whoever holds the authority issues.
    pub(crate) async fn new(desk: &Desk, hosts: Vec<String>, now: Timestamp) -> Result<Self, TlsError> {
        match desk {
            Desk::Here(authority) => Self::with_lifetime(authority, hosts, now, LEAF_LIFETIME_S),
            Desk::Keeper(link) => {
                let issued = ask_leaf(link, hosts.clone()).await?;
                Ok(Self {
                    current: ArcSwap::from_pointee(Current::new(&issued, now, LEAF_LIFETIME_S)?),
                    origin: Origin::Authority {
                        hosts,
                        lifetime_s: LEAF_LIFETIME_S,
                    },
                })
            }
        }
    }

    fn with_lifetime(
        authority: &CertificateAuthority,
        hosts: Vec<String>,
        now: Timestamp,
        lifetime_s: u32,
    ) -> Result<Self, TlsError> {
        let current = Current::new(&issue(authority, &hosts, now, lifetime_s)?, now, lifetime_s)?;
        Ok(Self {
            origin: Origin::Authority { hosts, lifetime_s },
            current: ArcSwap::from_pointee(current),
        })
    }

    /// A leaf from files, which [`Self::reload`] reads again.
    pub(crate) fn from_files(files: TlsConfig) -> Result<Self, TlsError> {
        let current = Files::read(&files)?.leaf(&files)?;
        Ok(Self {
            origin: Origin::Files(files),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Reads a leaf from files again where they changed. Says whether they did.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let Origin::Files(files) = &self.origin else {
            return Ok(false);
        };
        let read = Files::read(files)?;
        if read.digest() == self.current.load().origin {
            return Ok(false);
        }
        self.current.store(Arc::new(read.leaf(files)?));
        Ok(true)
    }

    /// Issues a new leaf where two thirds of the old one's life are over or the authority was replaced. Says whether it did.
    pub(crate) fn renew(&self, authority: &CertificateAuthority, now: Timestamp) -> Result<bool, TlsError> {
        let Some((hosts, lifetime_s)) = self.due(&authority.certificate_der(), now) else {
            return Ok(false);
        };
        let issued = issue(authority, hosts, now, lifetime_s)?;
        self.current
            .store(Arc::new(Current::new(&issued, now, lifetime_s)?));
        Ok(true)
    }

    /// The same, at the keeper's desk.
    pub(crate) async fn renew_at(&self, link: &DeskLink, now: Timestamp) -> Result<bool, TlsError> {
        let DeskAnswer::Authority { der } = link.ask(DeskAsk::Authority {}).await else {
            return Err(TlsError::NotIssued);
        };
        let Some((hosts, lifetime_s)) = self.due(&der, now) else {
            return Ok(false);
        };
        let issued = ask_leaf(link, hosts.to_vec()).await?;
        self.current
            .store(Arc::new(Current::new(&issued, now, lifetime_s)?));
        Ok(true)
    }

    /// What to issue a new leaf for, where it is time under this authority.
    fn due(&self, authority_der: &[u8], now: Timestamp) -> Option<(&[String], u32)> {
        let Origin::Authority { hosts, lifetime_s } = &self.origin else {
            return None;
        };
        let current = self.current.load();
        let is_due = now.unix_seconds() >= current.renew_at_unix_s || current.origin != authority_der;
        is_due.then_some((hosts.as_slice(), *lifetime_s))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

/// Issues a leaf certificate.
pub(crate) fn issue(
    authority: &CertificateAuthority,
    hosts: &[String],
    now: Timestamp,
    lifetime_s: u32,
) -> Result<Issued, IssueError> {
    let issued = authority.issue_server(hosts, now.unix_seconds(), lifetime_s)?;
    Ok(Issued {
        authority_der: authority.certificate_der(),
        chain_der: issued.chain_der,
        key: Secret(issued.key_pkcs8),
    })
}

async fn ask_leaf(link: &DeskLink, hosts: Vec<String>) -> Result<Box<Issued>, TlsError> {
    match link.ask(DeskAsk::Leaf { hosts }).await {
        DeskAnswer::Leaf { leaf } => Ok(leaf),
        DeskAnswer::Authority { .. }
        | DeskAnswer::Changed { .. }
        | DeskAnswer::NotChanged { .. }
        | DeskAnswer::Refused {} => Err(TlsError::NotIssued),
    }
}

impl Current {
    fn new(issued: &Issued, now: Timestamp, lifetime_s: u32) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key.0.expose()));
        let signer = aws_lc_rs::sign::any_ecdsa_type(&key)?;
        let chain = issued
            .chain_der
            .iter()
            .cloned()
            .map(CertificateDer::from)
            .collect();
        Ok(Self {
            key: Arc::new(CertifiedKey::new(chain, signer)),
            origin: issued.authority_der.clone(),
            renew_at_unix_s: now.unix_seconds().saturating_add(i64::from(lifetime_s) * 2 / 3),
        })
    }
}

/// What the files of a server certificate hold.
struct Files {
    certificate: Vec<u8>,
    key: SecretBytes,
}

impl Files {
    fn read(files: &TlsConfig) -> Result<Self, FileError> {
        Ok(Self {
            certificate: files.certificate.read_public()?,
            key: files.key.read_private()?,
        })
    }

    fn digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update(&sha256(&self.certificate));
        digest.update(&sha256(self.key.expose()));
        digest.finish().to_vec()
    }

    fn leaf(&self, files: &TlsConfig) -> Result<Current, TlsError> {
        let file = |path: &FileReference| path.path().display().to_string();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Content {
                file: file(&files.certificate),
            })?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(|_| TlsError::Content {
            file: file(&files.key),
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
            TlsError::Certificate {
                file: file(&files.certificate),
                source,
            }
        })?;
        Ok(Current {
            key: Arc::new(key),
            origin: self.digest(),
            renew_at_unix_s: i64::MAX,
        })
    }
}

/// A server's settings: TLS 1.3, HTTP/2 or HTTP/1.1, no early data; client certificates where somebody vouches for them.
pub(crate) fn server_config(
    leaf: Arc<Leaf>,
    clients: Option<Arc<Clients>>,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(leaf);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The hosts that a listener's certificate covers, the one in its URL first.
pub(crate) fn hosts(listen: SocketAddr, further: &[String]) -> Vec<String> {
    let mut hosts = Vec::new();
    if listen.ip().is_unspecified() {
        hosts.extend_from_slice(further);
        hosts.extend(["127.0.0.1", "::1", "localhost"].map(str::to_owned));
    } else {
        hosts.push(listen.ip().to_string());
        if listen.ip().is_loopback() {
            hosts.push("localhost".to_owned());
        }
        hosts.extend_from_slice(further);
    }
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

/// The base URL of a listener, without a trailing slash.
pub(crate) fn url(scheme: &str, hosts: &[String], port: u16) -> String {
    let host = hosts.first().map_or("127.0.0.1", String::as_str);
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use stockade_crypto::KeyFolder;

    use super::*;

    fn authority() -> CertificateAuthority {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::create(&folder.path().join("keys"), None, 1_700_000_000).unwrap();
        keys.certificate_authority().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms((1_700_000_000 + seconds) * 1000)
    }

    #[test]
    fn a_leaf_renews_at_two_thirds_of_its_life() {
        let authority = authority();
        let leaf = Leaf::with_lifetime(&authority, vec!["127.0.0.1".into()], at(0), 900).unwrap();
        let first = leaf.current.load().key.cert[0].clone();
        assert!(!leaf.renew(&authority, at(599)).unwrap());
        assert!(leaf.renew(&authority, at(600)).unwrap());
        assert!(leaf.current.load().key.cert[0] != first);
        assert!(!leaf.renew(&authority, at(601)).unwrap());
    }

    #[test]
    fn a_new_authority_issues_at_once() {
        let leaf = Leaf::with_lifetime(&authority(), vec!["127.0.0.1".into()], at(0), 900).unwrap();
        assert!(leaf.renew(&authority(), at(1)).unwrap());
    }

    #[track_caller]
    fn check(listen: &str, further: &[&str], expected_hosts: &[&str], expected_url: &str) {
        let listen: SocketAddr = listen.parse().unwrap();
        let further: Vec<String> = further.iter().map(ToString::to_string).collect();
        let hosts = hosts(listen, &further);
        assert_eq!(hosts, expected_hosts);
        assert_eq!(url("https", &hosts, listen.port()), expected_url);
    }

    #[test]
    fn the_certificate_covers_the_host_of_the_url() {
        check(
            "127.0.0.1:1",
            &[],
            &["127.0.0.1", "localhost"],
            "https://127.0.0.1:1",
        );
        check(
            "[::1]:2",
            &["a.example"],
            &["::1", "localhost", "a.example"],
            "https://[::1]:2",
        );
        check(
            "0.0.0.0:3",
            &["a.example"],
            &["a.example", "127.0.0.1", "::1", "localhost"],
            "https://a.example:3",
        );
        check(
            "0.0.0.0:3",
            &[],
            &["127.0.0.1", "::1", "localhost"],
            "https://127.0.0.1:3",
        );
    }
}
