//! Who somebody is elsewhere: the subject of a token's issuer, or the name in a client certificate.
//!
//! An external identity opens nothing by itself: it must be bound to an enrolled principal, whose roles are our own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest issuer and subject, in bytes.
const TEXT_MAX: usize = 256;
/// Longest SPIFFE ID (SPIFFE-ID section 2.3), in bytes.
const SPIFFE_MAX: usize = 2048;
/// Longest trust domain and DNS name, in bytes.
const NAME_MAX: usize = 255;

/// An identity that somebody else vouches for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalIdentity {
    /// A subject of a token issuer.
    #[non_exhaustive]
    Jwt {
        /// The issuer, as its tokens name it.
        issuer: String,
        /// The subject, as the issuer names it.
        subject: String,
    },
    /// The workload of a SPIFFE X.509-SVID.
    Spiffe(SpiffeId),
    /// A DNS name in a client certificate.
    Dns(DnsName),
}

/// The text is no external identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIdentity {
    /// An issuer or a subject.
    #[error("an issuer and a subject are 1 to {TEXT_MAX} bytes without control characters")]
    Text,
    /// A SPIFFE ID.
    #[error(
        "this is not a SPIFFE ID\nhint: `spiffe://TRUST-DOMAIN/PATH`, such as `spiffe://example.org/scoring`"
    )]
    Spiffe,
    /// A DNS name.
    #[error(
        "this is not a DNS name\nhint: letters, digits, inner hyphens and dots, in lower case, no wildcard"
    )]
    Dns,
}

impl ExternalIdentity {
    /// The subject of a token issuer.
    pub fn jwt(issuer: &str, subject: &str) -> Result<Self, InvalidIdentity> {
        let fits = |text: &str| (1..=TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if !fits(issuer) || !fits(subject) {
            return Err(InvalidIdentity::Text);
        }
        Ok(Self::Jwt {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })
    }
}

/// A SPIFFE ID of a workload: `spiffe://trust-domain/path`.
// INVARIANT: SPIFFE-ID section 2, with a path (X509-SVID section 2: a leaf names a workload); parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let domain_byte =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let path_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let segment = |segment: &str| {
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(path_byte)
        };
        let fits = text.len() <= SPIFFE_MAX
            && text
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.split_once('/'))
                .is_some_and(|(domain, path)| {
                    (1..=NAME_MAX).contains(&domain.len())
                        && domain.bytes().all(domain_byte)
                        && path.split('/').all(segment)
                });
        fits.then(|| Self(text.to_owned())).ok_or(InvalidIdentity::Spiffe)
    }
}

/// A DNS name as an identity: RFC 1123 labels in lower case, no wildcard.
// INVARIANT: as above; parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct DnsName(String);

impl DnsName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fits = text.len() <= NAME_MAX && text.split('.').all(label);
        fits.then(|| Self(text.to_owned())).ok_or(InvalidIdentity::Dns)
    }
}

macro_rules! texts {
    ($($name:ident),*) => { $(
        impl TryFrom<String> for $name {
            type Error = InvalidIdentity;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )* };
}

texts!(SpiffeId, DnsName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_a_trust_domain_and_a_path() {
        for good in [
            "spiffe://example.org/scoring",
            "spiffe://a/b/C_1.2-x",
            "spiffe://a_b-c.0/...",
        ] {
            assert_eq!(good.parse::<SpiffeId>().unwrap().as_str(), good);
        }
        let long = format!("spiffe://{}/x", "a".repeat(256));
        for bad in [
            "",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/../a",
            "spiffe://Example.org/a",
            "spiffe://example.org:1/a",
            "spiffe://u@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "spiffe:///a",
            &long,
        ] {
            assert_eq!(bad.parse::<SpiffeId>(), Err(InvalidIdentity::Spiffe), "{bad}");
        }
    }

    #[test]
    fn a_dns_name_is_plain() {
        assert!("a-1.example.org".parse::<DnsName>().is_ok());
        for bad in [
            "",
            ".",
            "a..b",
            "*.example.org",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.",
            "é",
        ] {
            assert_eq!(bad.parse::<DnsName>(), Err(InvalidIdentity::Dns), "{bad}");
        }
    }

    #[test]
    fn rows_spell_identities_in_one_way() {
        let check = |identity: ExternalIdentity, json: &str| {
            assert_eq!(serde_json::to_string(&identity).unwrap(), json);
        };
        check(
            ExternalIdentity::jwt("i", "s").unwrap(),
            r#"{"jwt":{"issuer":"i","subject":"s"}}"#,
        );
        check(
            ExternalIdentity::Spiffe("spiffe://a/b".parse().unwrap()),
            r#"{"spiffe":"spiffe://a/b"}"#,
        );
        assert!(serde_json::from_str::<SpiffeId>(r#""https://a/b""#).is_err());
        assert!(ExternalIdentity::jwt("i", "a\nb").is_err() && ExternalIdentity::jwt("", "s").is_err());
    }
}
