//! Client certificates: the authorities that issue them, and who a certificate names.
//!
//! rustls verifies the chain at the handshake. A connection outlives its handshake, so each request asks again whether
//! the certificate still holds: its time, and once a minute or when authorities or revocation lists changed its chain.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use stockade_access::{ExternalIdentity, InvalidIdentity};
use stockade_crypto::ClientCertificate;
use stockade_evidence::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{LOOK_EVERY, files::FileError};
use crate::config::{CertificateIdentity, FileReference, MtlsConfig};

/// How long a verified chain is taken for good.
const VERIFIED_FOR_S: i64 = 60;

/// The authorities of client certificates could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds something else.
    #[error("`{file}` is not PEM with what belongs there")]
    Content {
        /// The file.
        file: String,
    },
    /// They cannot be used.
    #[error("the authorities or revocation lists of client certificates cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// An authority cannot be used.
    #[error("an authority of client certificates cannot be used")]
    Rustls(#[from] rustls::Error),
}

/// Whom client certificates are believed of. It is rustls' verifier, too, so that what is read again binds at once.
pub(crate) struct Clients {
    config: MtlsConfig,
    trust: ArcSwapOption<Trust>,
    readings: AtomicU64,
}

struct Trust {
    /// Grows with each reading that differs.
    generation: u64,
    files: Vec<Vec<u8>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// The certificate of one connection.
#[derive(Debug)]
pub(crate) struct Presented {
    chain: Vec<CertificateDer<'static>>,
    /// Whom it names, or why nobody.
    holder: Result<ExternalIdentity, &'static str>,
    not_after_unix_s: i64,
    /// Under which generation and when its chain was verified last.
    verified: Mutex<Option<(u64, i64)>>,
}

impl Clients {
    /// Trusts nobody until [`Self::reload`].
    pub(crate) fn new(config: MtlsConfig) -> Self {
        Self {
            config,
            trust: ArcSwapOption::empty(),
            readings: AtomicU64::new(0),
        }
    }

    /// Reads authorities and revocation lists again; says whether they changed.
    pub(crate) async fn reload(&self) -> Result<bool, TrustError> {
        let files: Vec<_> = [Some(&self.config.ca), self.config.crl.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let read = move || files.iter().map(FileReference::read_public).collect();
        let files: Result<Vec<Vec<u8>>, FileError> =
            tokio::task::spawn_blocking(read).await.unwrap_or(Ok(Vec::new()));
        let files = files?;
        if self
            .trust
            .load()
            .as_ref()
            .is_some_and(|trust| trust.files == files)
        {
            return Ok(false);
        }
        let verifier = self.verifier(&files)?;
        let generation = self.readings.fetch_add(1, Ordering::AcqRel);
        self.trust.store(Some(Arc::new(Trust {
            generation,
            files,
            verifier,
        })));
        Ok(true)
    }

    fn verifier(&self, files: &[Vec<u8>]) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
        let content = |path: &Path| TrustError::Content {
            file: path.display().to_string(),
        };
        let mut files = files.iter();
        let authorities = files.next().map_or(&[][..], Vec::as_slice);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots.add(certificate.map_err(|_| content(self.config.ca.path()))?)?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(aws_lc_rs::default_provider()),
        );
        if let (Some(bytes), Some(file)) = (files.next(), &self.config.crl) {
            let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
                .collect::<Result<_, _>>()
                .map_err(|_| content(file.path()))?;
            if lists.is_empty() {
                return Err(content(file.path()));
            }
            // A list that is missing or out of date refuses: no list is no proof that nothing was revoked.
            builder = builder
                .with_crls(lists)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        Ok(builder.build()?)
    }

    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            match self.reload().await {
                Ok(false) => {}
                Ok(true) => tracing::info!("the authorities of client certificates were read again"),
                Err(error) => {
                    tracing::error!(%error, "the authorities of client certificates stay as they were")
                }
            }
        }
    }

    /// What a connection's certificate says of its holder. `None` where it has none.
    pub(crate) fn present(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<Presented>> {
        let chain = chain?;
        let read = ClientCertificate::from_der(chain.first()?);
        let not_after_unix_s = read.as_ref().map_or(i64::MIN, |read| read.not_after_unix_s);
        let holder = match read {
            Ok(read) => holder(&read, self.config.identity).map_err(|_| "certificate_identity"),
            Err(_) => Err("certificate_unreadable"),
        };
        Some(Arc::new(Presented {
            chain: chain.iter().map(|each| each.clone().into_owned()).collect(),
            holder,
            not_after_unix_s,
            verified: Mutex::new(None),
        }))
    }

    /// Whom a certificate names, if it holds at `now`; else a stable word for the record.
    pub(crate) fn holder<'p>(
        &self,
        presented: &'p Presented,
        now: Timestamp,
    ) -> Result<&'p ExternalIdentity, &'static str> {
        const UNTRUSTED: &str = "untrusted_certificate";
        let now_s = now.unix_seconds();
        if presented.not_after_unix_s < now_s {
            return Err("expired_certificate");
        }
        let trust = self.trust.load_full().ok_or(UNTRUSTED)?;
        let mut verified = presented.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = verified.is_some_and(|(generation, at)| {
            generation == trust.generation && (at..at.saturating_add(VERIFIED_FOR_S)).contains(&now_s)
        });
        if !fresh {
            let (leaf, rest) = presented.chain.split_first().ok_or(UNTRUSTED)?;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now_s).unwrap_or(0)));
            trust
                .verifier
                .verify_client_cert(leaf, rest, at)
                .map_err(|_| UNTRUSTED)?;
            *verified = Some((trust.generation, now_s));
        }
        presented.holder.as_ref().map_err(|reason| *reason)
    }

    fn current(&self) -> Result<Arc<Trust>, rustls::Error> {
        let nobody = || rustls::Error::General("no authority of client certificates is known".to_owned());
        self.trust.load_full().ok_or_else(nobody)
    }
}

/// X509-SVID section 2: exactly one URI name, a SPIFFE ID; section 4.3: a leaf signs nobody. A DNS identity likewise.
fn holder(
    certificate: &ClientCertificate,
    identity: CertificateIdentity,
) -> Result<ExternalIdentity, InvalidIdentity> {
    match identity {
        CertificateIdentity::Spiffe => match certificate.uris.as_slice() {
            [uri] if !certificate.signs_others => Ok(ExternalIdentity::Spiffe(uri.parse()?)),
            _ => Err(InvalidIdentity::Spiffe),
        },
        CertificateIdentity::Dns => match certificate.dns_names.as_slice() {
            [name] if !certificate.signs_others => {
                Ok(ExternalIdentity::Dns(name.to_ascii_lowercase().parse()?))
            }
            _ => Err(InvalidIdentity::Dns),
        },
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.config.required
    }

    /// None: clients learn nothing about the authorities, which may change while the gateway runs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current()?
            .verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?
            .verifier
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?
            .verifier
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current()
            .map(|trust| trust.verifier.supported_verify_schemes())
            .unwrap_or_default()
    }
}
