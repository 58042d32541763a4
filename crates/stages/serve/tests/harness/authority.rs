//! Certificate authorities of clients, and what they issue: good and bad certificates, revocation lists.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::issuer::now_s;

/// An authority with a key of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    key: Vec<u8>,
    serial: SerialNumber,
}

/// What a certificate says.
pub(crate) struct Wanted<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) dns: &'a [&'a str],
    pub(crate) from_s: i64,
    pub(crate) to_s: i64,
}

impl<'a> Wanted<'a> {
    /// A certificate for an hour.
    pub(crate) fn uris(uris: &'a [&'a str]) -> Self {
        Self {
            uris,
            dns: &[],
            from_s: -60,
            to_s: 3600,
        }
    }
}

/// The parameters of a certificate that holds from and to so many seconds from now.
fn valid(from_s: i64, to_s: i64) -> CertificateParams {
    let at = |seconds_from_now: i64| {
        let seconds = now_s().checked_add(seconds_from_now).unwrap().unsigned_abs();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (at(from_s), at(to_s));
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = valid(-3600, 86_400);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn issue(&self, wanted: &Wanted<'_>) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = valid(wanted.from_s, wanted.to_s);
        let serial = SerialNumber::from_slice(&stockade_crypto::random_array::<8>().unwrap());
        params.serial_number = Some(serial.clone());
        params
            .distinguished_name
            .push(DnType::CommonName, "spiffe://example.org/a");
        let uris = wanted
            .uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        let dns = wanted.dns.iter().map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        });
        params.subject_alt_names = uris.chain(dns).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
            serial,
        }
    }

    /// A revocation list for an hour.
    pub(crate) fn revoking(&self, revoked: &[&Certified]) -> String {
        let CertificateParams {
            not_before: this_update,
            not_after: next_update,
            ..
        } = valid(-60, 3600);
        let entry = |certificate: &&Certified| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Certified {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.der.clone().into()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}
