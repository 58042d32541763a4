//! The local certificate authority (RFC 5280): ECDSA P-256, server certificates for the gateway's own names. And what a
//! client's certificate says ([`read::ClientCertificate`]).
//!
//! The private key signs through rcgen's `SigningKey` trait and never leaves this crate.

mod read;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};

use crate::{
    random::random_array,
    secret::SecretBytes,
    sign::{SignatureAlgorithm, SigningKey},
    spki,
};

pub use self::read::{ClientCertificate, UnreadableCertificate, fuzz_client_certificate};

/// How long a certificate authority lives: ten years.
const AUTHORITY_LIFETIME_S: i64 = 3650 * 86_400;
/// Certificates start a little early, for clients whose clock is behind.
const BACKDATE_S: i64 = 300;
/// 9999-12-31T23:59:59Z, the last time that RFC 5280 §4.1.2.5 can write.
const LAST_TIME_S: i64 = 253_402_300_799;

/// The local certificate authority. Clones share its key.
#[derive(Clone)]
pub struct CertificateAuthority(Arc<Authority>);

struct Authority {
    key: SigningKey,
    name: String,
    certificate: Vec<u8>,
}

impl CertificateAuthority {
    /// A new authority with a key of its own.
    pub(crate) fn create(now_unix_s: i64) -> Result<Self, IssueError> {
        let key =
            SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(|_| IssueError::Signing)?;
        let name = format!(
            "Stockade local CA {}",
            hex::encode(serial()?.get(1..5).unwrap_or_default())
        );
        let mut params = named(&name);
        set_validity(
            &mut params,
            now_unix_s.saturating_sub(BACKDATE_S),
            now_unix_s.saturating_add(AUTHORITY_LIFETIME_S),
        )?;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        let certificate = params
            .self_signed(&Signer(&key))
            .map_err(|_| IssueError::Signing)?;
        Ok(Self::from_parts(key, name, certificate.der().to_vec()))
    }

    pub(crate) fn from_parts(key: SigningKey, name: String, certificate: Vec<u8>) -> Self {
        Self(Arc::new(Authority {
            key,
            name,
            certificate,
        }))
    }

    pub(crate) fn parts(&self) -> (&SigningKey, &str, &[u8]) {
        (&self.0.key, &self.0.name, &self.0.certificate)
    }

    /// The authority's certificate, for clients to trust.
    pub fn certificate_pem(&self) -> String {
        spki::to_pem_block("CERTIFICATE", &self.0.certificate)
    }

    /// The authority's certificate in DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        self.0.certificate.clone()
    }

    /// Issues a server certificate with a fresh key for these hosts: an IP address becomes an IP name, all else a DNS name.
    pub fn issue_server(
        &self,
        hosts: &[String],
        now_unix_s: i64,
        lifetime_s: u32,
    ) -> Result<ServerCertificate, IssueError> {
        let names = hosts
            .iter()
            .map(|host| subject_name(host))
            .collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Err(IssueError::NoHost);
        }
        let not_after_unix_s = now_unix_s.saturating_add(i64::from(lifetime_s));
        let mut params = CertificateParams::default();
        // RFC 5280 §4.1.2.6: with an empty subject the names are critical; clients read only the names anyway.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        set_validity(
            &mut params,
            now_unix_s.saturating_sub(BACKDATE_S),
            not_after_unix_s,
        )?;

        let key =
            SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(|_| IssueError::Signing)?;
        let issuer = Issuer::new(named(&self.0.name), Signer(&self.0.key));
        let leaf = params
            .signed_by(&Signer(&key), &issuer)
            .map_err(|_| IssueError::Signing)?;
        Ok(ServerCertificate {
            chain_der: vec![leaf.der().to_vec(), self.0.certificate.clone()],
            key_pkcs8: key.to_pkcs8().map_err(|_| IssueError::Signing)?,
            not_after_unix_s,
        })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

/// A server certificate with its key.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The certificate, then its issuer.
    pub chain_der: Vec<Vec<u8>>,
    /// The private key, ECDSA P-256.
    pub key_pkcs8: SecretBytes,
    /// When the certificate ends, in seconds since 1970.
    pub not_after_unix_s: i64,
}

/// Why no certificate was issued.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// No host was given.
    #[error("a server certificate needs at least one host")]
    NoHost,
    /// A host is neither an IP address nor a DNS name.
    #[error("`{host}` is neither an IP address nor a DNS name")]
    BadHost {
        /// The host as given.
        host: String,
    },
    /// The time lies outside 1970 to 9999.
    #[error("the certificate's time lies outside the years 1970 to 9999\nhint: check the clock")]
    BadTime,
    /// No key could be made or it could not sign.
    #[error("the certificate could not be signed")]
    Signing,
}

/// Our key behind rcgen's traits.
struct Signer<'a>(&'a SigningKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public().as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        // INVARIANT: an authority and its leaves have P-256 keys only; `create` and the keyring see to it.
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// What certificate and issuer must agree on: the name, and that it signs certificates for servers alone.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn subject_name(host: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || IssueError::BadHost {
        host: host.chars().take(253).collect(),
    };
    if !is_dns_name(host) {
        return Err(bad());
    }
    Ok(SanType::DnsName(host.try_into().map_err(|_| bad())?))
}

/// RFC 1123 §2.1 and RFC 1035 §2.3.4: letters, digits and inner hyphens; labels to 63, names to 253 characters.
fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// RFC 5280 §4.1.2.2: positive and at most 20 bytes; 16 random bytes with a clear top bit, never zero at the front.
fn serial() -> Result<[u8; 16], IssueError> {
    let mut serial: [u8; 16] = random_array().map_err(|_| IssueError::Signing)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

fn set_validity(params: &mut CertificateParams, from_unix_s: i64, to_unix_s: i64) -> Result<(), IssueError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from_unix_s)?;
    params.not_after = epoch + since_epoch(to_unix_s)?;
    Ok(())
}

fn since_epoch(unix_s: i64) -> Result<Duration, IssueError> {
    let in_range = (0..=LAST_TIME_S).contains(&unix_s);
    in_range
        .then(|| Duration::from_secs(unix_s.unsigned_abs()))
        .ok_or(IssueError::BadTime)
}

#[cfg(test)]
mod tests;
