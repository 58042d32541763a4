//! One GET for an issuer's keys: TLS 1.3 checked against the configured or the system's authorities, no redirect, and a
//! bound on size and time.
//!
//! Only the operator's configuration says where to: nothing in a token is ever a place to read from (RFC 8725 section 3.10).

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Request, StatusCode, Uri,
    header::{ACCEPT, HOST},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::files::{FileError, read_public};
use crate::config::FileReference;

/// The largest answer.
const ANSWER_MAX: usize = 256 << 10;
/// The longest that a reading may take, from the name's resolution to the last byte.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Where systems keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer came within {} s", TIME_MAX.as_secs())]
    Late,
    #[error("the URL has no host")]
    NoHost,
    #[error("no connection")]
    Connect(#[from] std::io::Error),
    #[error("no file with the system's authorities was found\nhint: set `ca`")]
    NoBundle,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the file of authorities holds no certificate")]
    NoAuthority,
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    #[error("the answer is not HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request could not be made")]
    Request(#[from] http::Error),
    #[error("the answer has status {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("the answer is cut off or larger than {ANSWER_MAX} bytes")]
    Body,
}

/// The body behind a URL. `ca` is a file of authorities in the place of the system's.
pub(super) async fn get(url: &Uri, ca: Option<&FileReference>) -> Result<Vec<u8>, FetchError> {
    tokio::time::timeout(TIME_MAX, Box::pin(unbounded(url, ca)))
        .await
        .unwrap_or(Err(FetchError::Late))
}

async fn unbounded(url: &Uri, ca: Option<&FileReference>) -> Result<Vec<u8>, FetchError> {
    let host = url.host().ok_or(FetchError::NoHost)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let socket = TcpStream::connect((bare, port)).await?;
    if !secure {
        return exchange(socket, url).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| FetchError::NoHost)?;
    let connector = TlsConnector::from(Arc::new(client_config(ca)?));
    exchange(connector.connect(name, socket).await?, url).await
}

fn client_config(ca: Option<&FileReference>) -> Result<ClientConfig, FetchError> {
    let system = || SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists());
    let bundle = match ca {
        Some(file) => file.read_public()?,
        None => read_public(system().ok_or(FetchError::NoBundle)?)?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    if roots.is_empty() {
        return Err(FetchError::NoAuthority);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

async fn exchange<S>(socket: S, url: &Uri) -> Result<Vec<u8>, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, host)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok(body.map_err(|_| FetchError::Body)?.to_bytes().to_vec())
    };
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    // The connection carries the answer; once it has ended, what was received may still be read.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => { ended?; answer.await }
    }
}
