//! What a client's certificate says of its holder. Whether to believe it is decided elsewhere, by the chain.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Longest certificate that is read, in bytes.
const CERTIFICATE_MAX: usize = 65_536;

/// The names of a client's certificate, and when it ends.
///
/// A common name is no name (RFC 9525 section 2): it is not here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// URI names, in order.
    pub uris: Vec<String>,
    /// DNS names, in order.
    pub dns_names: Vec<String>,
    /// The end of its time, in seconds since 1970.
    pub not_after_unix_s: i64,
    /// Whether it may sign certificates or revocation lists, so that it is no leaf (X509-SVID section 4).
    pub signs_others: bool,
}

/// The bytes are not a certificate, or an extension in it is broken or occurs twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the certificate cannot be read")]
pub struct UnreadableCertificate;

impl ClientCertificate {
    /// Reads a certificate (RFC 5280 section 4.1).
    pub fn from_der(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        if der.len() > CERTIFICATE_MAX {
            return Err(UnreadableCertificate);
        }
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| UnreadableCertificate)?;
        if !rest.is_empty() {
            return Err(UnreadableCertificate);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| UnreadableCertificate)?;
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                // A name that could be one of the above and cannot be read.
                GeneralName::Invalid(..) => return Err(UnreadableCertificate),
                GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        let usage = certificate.key_usage().map_err(|_| UnreadableCertificate)?;
        let signs_others = certificate.is_ca()
            || usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
        Ok(Self {
            uris,
            dns_names,
            not_after_unix_s: certificate.validity().not_after.timestamp(),
            signs_others,
        })
    }
}

/// Fuzz entry: must not panic.
pub fn fuzz_client_certificate(data: &[u8]) {
    // Names or not a certificate: both are values.
    drop(ClientCertificate::from_der(data));
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_end_are_read() {
        let der = certificate(vec![
            SanType::URI("spiffe://example.org/a".try_into().unwrap()),
            SanType::DnsName("a.example.org".try_into().unwrap()),
            SanType::Rfc822Name("a@example.org".try_into().unwrap()),
        ]);
        let read = ClientCertificate::from_der(&der).unwrap();
        assert_eq!(read.uris, ["spiffe://example.org/a"]);
        assert_eq!(read.dns_names, ["a.example.org"]);
        assert_eq!(read.not_after_unix_s, 1_893_456_000);
        assert!(!read.signs_others);
        let nameless = ClientCertificate::from_der(&certificate(Vec::new())).unwrap();
        assert!(nameless.uris.is_empty() && nameless.dns_names.is_empty());
    }

    #[test]
    fn what_is_broken_is_refused_without_panic() {
        let der = certificate(vec![SanType::URI("spiffe://example.org/a".try_into().unwrap())]);
        for end in 0..der.len() {
            assert_eq!(
                ClientCertificate::from_der(&der[..end]),
                Err(UnreadableCertificate)
            );
        }
        for place in 0..der.len() {
            let mut broken = der.clone();
            broken[place] ^= 0x55;
            fuzz_client_certificate(&broken);
        }
        let mut longer = der;
        longer.push(0);
        assert_eq!(ClientCertificate::from_der(&longer), Err(UnreadableCertificate));
    }
}
