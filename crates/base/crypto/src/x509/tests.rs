//! The verifier is rustls' own (webpki): what it accepts is what clients accept.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};

use super::*;

const NOW: i64 = 1_900_000_000;
const DAY_S: u32 = 86_400;

fn authority() -> CertificateAuthority {
    CertificateAuthority::create(NOW).unwrap()
}

fn hosts(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn verify(
    authority: &CertificateAuthority,
    leaf: &ServerCertificate,
    host: &str,
    now_unix_s: i64,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.certificate_der()))
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let chain: Vec<_> = leaf
        .chain_der
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_unix_s.unsigned_abs()));
    let name = ServerName::try_from(host).unwrap();
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], now)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn issued_certificates_verify_for_their_hosts_only() {
    let authority = authority();
    let leaf = authority
        .issue_server(&hosts(&["127.0.0.1", "::1", "gateway.example"]), NOW, 90 * DAY_S)
        .unwrap();
    for host in ["127.0.0.1", "::1", "gateway.example", "GATEWAY.example"] {
        verify(&authority, &leaf, host, NOW).unwrap();
    }
    for host in ["127.0.0.2", "example", "other.gateway.example", "localhost"] {
        assert!(
            verify(&authority, &leaf, host, NOW)
                .unwrap_err()
                .contains("not valid for name"),
            "{host}"
        );
    }
    let other = CertificateAuthority::create(NOW).unwrap();
    verify(&other, &leaf, "127.0.0.1", NOW).unwrap_err();
}

#[test]
fn certificates_live_as_long_as_asked() {
    let authority = authority();
    let leaf = authority
        .issue_server(&hosts(&["localhost"]), NOW, DAY_S)
        .unwrap();
    assert_eq!(leaf.not_after_unix_s, NOW + i64::from(DAY_S));
    verify(&authority, &leaf, "localhost", NOW - BACKDATE_S).unwrap();
    verify(&authority, &leaf, "localhost", leaf.not_after_unix_s).unwrap();
    assert!(
        verify(&authority, &leaf, "localhost", leaf.not_after_unix_s + 1)
            .unwrap_err()
            .contains("expired")
    );
    assert!(
        verify(&authority, &leaf, "localhost", NOW - BACKDATE_S - 1)
            .unwrap_err()
            .contains("not valid yet")
    );
}

#[test]
fn the_key_belongs_to_the_certificate() {
    let leaf = authority()
        .issue_server(&hosts(&["localhost"]), NOW, DAY_S)
        .unwrap();
    let chain: Vec<_> = leaf.chain_der.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::try_from(leaf.key_pkcs8.expose().to_vec()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    assert_eq!(format!("{:?}", leaf.key_pkcs8), "****");
}

/// A server certificate must not issue others (RFC 5280 §4.2.1.9).
#[test]
fn a_leaf_cannot_issue() {
    let authority = authority();
    let leaf = authority
        .issue_server(&hosts(&["localhost"]), NOW, DAY_S)
        .unwrap();
    let leaf_key = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256Sha256, &leaf.key_pkcs8).unwrap();
    let rogue = CertificateAuthority::from_parts(leaf_key, String::new(), leaf.chain_der[0].clone());
    let mut forged = rogue.issue_server(&hosts(&["bank.example"]), NOW, DAY_S).unwrap();
    verify(&authority, &forged, "bank.example", NOW).unwrap_err();
    forged.chain_der.push(authority.certificate_der());
    verify(&authority, &forged, "bank.example", NOW).unwrap_err();
}

#[test]
fn bad_hosts_and_times_are_refused() {
    let authority = authority();
    let issue = |host: &str, now| authority.issue_server(&hosts(&[host]), now, DAY_S).map(|_| ());
    for host in [
        "",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a b",
        "a\0b",
        "*.example",
        "ü.example",
        "[::1]",
        &"a".repeat(64),
    ] {
        assert!(
            matches!(issue(host, NOW), Err(IssueError::BadHost { .. })),
            "{host:?}"
        );
    }
    assert_eq!(
        authority.issue_server(&[], NOW, DAY_S).unwrap_err(),
        IssueError::NoHost
    );
    for now in [i64::MIN, -1, 0, LAST_TIME_S, i64::MAX] {
        assert_eq!(issue("localhost", now), Err(IssueError::BadTime), "{now}");
        assert_eq!(
            CertificateAuthority::create(now).map(|_| ()),
            Err(IssueError::BadTime),
            "{now}"
        );
    }
}

#[test]
fn serials_and_names_differ() {
    let (a, b) = (authority(), authority());
    assert_ne!(a.parts().1, b.parts().1);
    let leaf = |authority: &CertificateAuthority| authority.issue_server(&hosts(&["h"]), NOW, DAY_S).unwrap();
    assert_ne!(leaf(&a).chain_der[0], leaf(&a).chain_der[0]);
    let pem = a.certificate_pem();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert!(!format!("{a:?}").contains("key"));
}
