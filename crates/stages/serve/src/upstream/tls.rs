//! What is needed to reach an upstream and to be believed: certificate authorities, and the bearer token.

use std::{path::Path, sync::Arc};

use http::HeaderValue;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use stockade_crypto::SecretBytes;

use super::UpstreamError;
use crate::{
    config::{SecretReference, UpstreamConfig, UpstreamProtocol},
    identity::{FileError, read_public},
};

/// Where Debian, Fedora, Alpine and others keep the authorities that they trust.
const PLATFORM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// More than any token has.
const MAX_TOKEN: usize = 64 << 10;
const TOO_LARGE: &str = "which is too large\nhint: name another file";

/// The authorities, as PEM; none where every replica is without TLS.
pub(super) fn authorities(config: &UpstreamConfig) -> Result<Option<Vec<u8>>, UpstreamError> {
    let upstream = || config.name.to_string();
    let uses_tls = std::iter::once(&config.url)
        .chain(&config.replicas)
        .any(|url| url.is_tls());
    if let Some(file) = &config.ca {
        let problem = |problem| UpstreamError::Reference {
            upstream: upstream(),
            setting: "ca",
            reference: file.to_string(),
            problem,
        };
        let pem = file.read_public().map_err(|error| problem(unread(&error)))?;
        let how_many = roots(&pem).len();
        if how_many == 0 {
            let none = "which holds no certificate\nhint: name a PEM file with the authority's certificate";
            return Err(problem(none.to_owned()));
        }
        return Ok(Some(pem));
    }
    if !uses_tls {
        return Ok(None);
    }
    let found = PLATFORM.iter().find_map(|path| read_public(Path::new(path)).ok());
    found
        .filter(|pem| !roots(pem).is_empty())
        .map(Some)
        .ok_or_else(|| UpstreamError::NoAuthorities { upstream: upstream() })
}

/// A client's settings: TLS 1.3, the authorities, the protocol's own name of HTTP.
pub(super) fn client_config(
    authorities: &[u8],
    protocol: UpstreamProtocol,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(authorities))
        .with_no_client_auth();
    config.alpn_protocols = vec![match protocol {
        UpstreamProtocol::OipHttp | UpstreamProtocol::Tfs => b"http/1.1".to_vec(),
        UpstreamProtocol::OipGrpc => b"h2".to_vec(),
    }];
    Ok(Arc::new(config))
}

/// The header that carries the token.
pub(super) fn bearer(config: &UpstreamConfig) -> Result<Option<HeaderValue>, UpstreamError> {
    let Some(reference) = &config.bearer else {
        return Ok(None);
    };
    let problem = |problem: String| UpstreamError::Reference {
        upstream: config.name.to_string(),
        setting: "bearer",
        reference: reference.to_string(),
        problem,
    };
    let token = match reference {
        SecretReference::File(file) => file.read_private().map_err(|error| problem(unread(&error)))?,
        SecretReference::Environment(variable) => variable.read().ok_or_else(|| {
            problem("which is not set\nhint: set the variable for the server's process".to_owned())
        })?,
    };
    if token.len() > MAX_TOKEN {
        return Err(problem(TOO_LARGE.to_owned()));
    }
    let trimmed = token.expose().trim_ascii();
    let plain = !trimmed.is_empty() && trimmed.iter().all(u8::is_ascii_graphic);
    let header = SecretBytes::new([b"Bearer ", trimmed].concat());
    let header = HeaderValue::from_bytes(header.expose()).ok().filter(|_| plain);
    let mut header = header.ok_or_else(|| {
        problem(
            "which holds no token\nhint: a token is one line of printable characters without spaces"
                .to_owned(),
        )
    })?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    roots
}

fn unread(error: &FileError) -> String {
    match error {
        FileError::Read { source, .. } => {
            format!("which cannot be read: {source}\nhint: name a file that the server's user may read")
        }
        FileError::Large { .. } => TOO_LARGE.to_owned(),
        FileError::Open { .. } => "which others may read\nhint: `chmod 600` it".to_owned(),
    }
}
