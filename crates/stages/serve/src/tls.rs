//! TLS 1.3 (RFC 8446) with leaf certificates that renew themselves.
//!
//! The leaf comes from the local certificate authority and is replaced after two thirds of its life, without touching
//! open connections. TLS 1.2 and below are not spoken.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use stockade_crypto::{CertificateAuthority, IssueError};
use stockade_evidence::Timestamp;

/// How long a leaf certificate lives.
const LEAF_LIFETIME_S: u32 = 7 * 86_400;

/// The leaf certificate now in use.
pub(crate) struct Leaf {
    hosts: Vec<String>,
    lifetime_s: u32,
    current: ArcSwap<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    authority: Vec<u8>,
    renew_at_unix_s: i64,
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No leaf certificate was issued.
    #[error("no server certificate could be issued")]
    Issue(#[from] IssueError),
    /// The TLS library refused the certificate or the settings.
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
}

impl Leaf {
    pub(crate) fn new(
        authority: &CertificateAuthority,
        hosts: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        Self::with_lifetime(authority, hosts, now, LEAF_LIFETIME_S)
    }

    fn with_lifetime(
        authority: &CertificateAuthority,
        hosts: Vec<String>,
        now: Timestamp,
        lifetime_s: u32,
    ) -> Result<Self, TlsError> {
        let current = issue(authority, &hosts, now, lifetime_s)?;
        Ok(Self {
            hosts,
            lifetime_s,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Issues a new leaf where two thirds of the old one's life are over or the authority was replaced. Says whether it did.
    pub(crate) fn renew(&self, authority: &CertificateAuthority, now: Timestamp) -> Result<bool, TlsError> {
        let current = self.current.load();
        if now.unix_seconds() < current.renew_at_unix_s && current.authority == authority.certificate_der() {
            return Ok(false);
        }
        self.current
            .store(Arc::new(issue(authority, &self.hosts, now, self.lifetime_s)?));
        Ok(true)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

fn issue(
    authority: &CertificateAuthority,
    hosts: &[String],
    now: Timestamp,
    lifetime_s: u32,
) -> Result<Current, TlsError> {
    let issued = authority.issue_server(hosts, now.unix_seconds(), lifetime_s)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key_pkcs8.expose()));
    let signer = aws_lc_rs::sign::any_ecdsa_type(&key)?;
    let chain = issued.chain_der.into_iter().map(CertificateDer::from).collect();
    Ok(Current {
        key: Arc::new(CertifiedKey::new(chain, signer)),
        authority: authority.certificate_der(),
        renew_at_unix_s: now.unix_seconds().saturating_add(i64::from(lifetime_s) * 2 / 3),
    })
}

/// A server's settings: TLS 1.3, HTTP/2 or HTTP/1.1, no early data, no client certificates.
pub(crate) fn server_config(leaf: Arc<Leaf>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
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
