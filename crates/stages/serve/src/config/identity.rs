//! `[identity]` and `[tls]`: who may vouch for principals besides API keys, and a server certificate of one's own.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU32};

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_access::{ExternalIdentity, TokenAlgorithm, TokenRules};

use super::text::FileReference;

/// Most seconds by which an issuer's clock and ours may differ.
const LEEWAY_MAX_S: u32 = 300;

/// Who may vouch for principals. Without it API keys alone identify.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// Issuers of JWT bearer tokens.
    pub jwt: Vec<JwtConfig>,
    /// Client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MtlsConfig>,
}

/// One issuer of JWT bearer tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The `iss` claim, exactly.
    pub issuer: String,
    /// The `aud` claim, or one of its members, exactly.
    pub audience: String,
    /// The algorithms that the issuer signs with: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or `EdDSA`.
    #[schemars(with = "BTreeSet<String>")]
    pub algorithms: BTreeSet<TokenAlgorithm>,
    /// Where its public keys are: `https://...` or `file:PATH`.
    #[schemars(with = "String")]
    pub jwks: KeySource,
    /// The authorities that the https connection is checked with, `file:PATH`; without it the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<FileReference>,
    /// By how many seconds the issuer's clock and ours may differ, 300 at most.
    #[serde(default = "default_leeway")]
    pub leeway_s: u32,
    /// The claim that names the subject.
    #[serde(default = "default_claim")]
    pub claim: String,
    /// The `typ` header that a token must have. Without it a token may have none, `JWT` or `at+jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// Seconds between two readings of the keys over https. A file is read when it changes.
    #[serde(default = "default_refresh")]
    pub refresh_s: NonZeroU32,
    /// Least seconds between two readings when a token names an unknown key, or a reading failed.
    #[serde(default = "default_retry")]
    pub retry_s: NonZeroU32,
    /// Seconds for which keys are used that cannot be read again. Then tokens are refused.
    #[serde(default = "default_keep")]
    pub keep_s: NonZeroU32,
    /// Allow `http://` for `jwks`. Loopback only.
    #[serde(default)]
    pub dangerous_plaintext: bool,
}

/// Client certificates.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MtlsConfig {
    /// The authorities that issue them, PEM, `file:PATH`.
    pub ca: FileReference,
    /// Refuse connections without one.
    #[serde(default)]
    pub required: bool,
    /// Revocation lists, PEM, `file:PATH`: one of each authority that issues clients' certificates, and none out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<FileReference>,
    /// What in a certificate names its holder.
    #[serde(default)]
    pub identity: CertificateIdentity,
}

/// What in a certificate names its holder.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateIdentity {
    /// The one URI name, a SPIFFE ID.
    #[default]
    Spiffe,
    /// The one DNS name.
    Dns,
}

/// A server certificate of one's own, in the place of the local authority's.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and its chain, PEM, `file:PATH`.
    pub certificate: FileReference,
    /// Its private key, PEM, `file:PATH`, readable by its owner alone.
    pub key: FileReference,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum KeySource {
    /// A file.
    File(FileReference),
    /// A URL.
    Url(Uri),
}

/// The text names no source of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no place for keys\nhint: `https://HOST/PATH` or `file:PATH`")]
pub struct NotAKeySource;

impl KeySource {
    /// Whether it is read over plaintext.
    fn is_plaintext(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Url(url) => url.scheme_str() == Some("http"),
        }
    }

    fn is_loopback(&self) -> bool {
        let is_loopback = |host: &str| {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        };
        match self {
            Self::File(_) => true,
            Self::Url(url) => url.host().is_some_and(is_loopback),
        }
    }
}

impl TryFrom<String> for KeySource {
    type Error = NotAKeySource;

    fn try_from(text: String) -> Result<Self, NotAKeySource> {
        if text.starts_with("file:") {
            return Ok(Self::File(text.try_into().map_err(|_| NotAKeySource)?));
        }
        let url: Uri = text.parse().map_err(|_| NotAKeySource)?;
        let plain = url
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        match url.scheme_str() {
            Some("https" | "http") if plain => Ok(Self::Url(url)),
            Some(_) | None => Err(NotAKeySource),
        }
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        match source {
            KeySource::File(file) => file.into(),
            KeySource::Url(url) => url.to_string(),
        }
    }
}

/// `[identity]` cannot be served as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIdentityConfig {
    /// Two entries for one issuer.
    #[error("the issuer `{issuer}` is configured twice")]
    Twice {
        /// The issuer.
        issuer: String,
    },
    /// A text is empty or too long.
    #[error("`{setting}` of the issuer `{issuer}` is empty or too long")]
    Text {
        /// The issuer.
        issuer: String,
        /// The setting.
        setting: &'static str,
    },
    /// The clocks may differ too much.
    #[error("`leeway_s` of the issuer `{issuer}` is more than {LEEWAY_MAX_S}")]
    Leeway {
        /// The issuer.
        issuer: String,
    },
    /// Keys over plaintext.
    #[error(
        "`jwks` of the issuer `{issuer}` is read over plaintext\n\
         hint: use https; `dangerous_plaintext` allows http on loopback only"
    )]
    Plaintext {
        /// The issuer.
        issuer: String,
    },
    /// Client certificates without TLS.
    #[error("`identity.mtls` needs TLS, and `dangerous_plaintext` is set")]
    NoTls,
}

impl IdentityConfig {
    /// Checks what no single setting shows; `plaintext` says that the gateway has no TLS.
    pub fn check(&self, plaintext: bool) -> Result<(), InvalidIdentityConfig> {
        if self.mtls.is_some() && plaintext {
            return Err(InvalidIdentityConfig::NoTls);
        }
        let mut seen = BTreeSet::new();
        for jwt in &self.jwt {
            jwt.check()?;
            if !seen.insert(&jwt.issuer) {
                return Err(InvalidIdentityConfig::Twice {
                    issuer: jwt.issuer.clone(),
                });
            }
        }
        Ok(())
    }

    /// Every file that it names.
    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut FileReference> {
        let jwt = self.jwt.iter_mut().flat_map(|jwt| {
            let keys = match &mut jwt.jwks {
                KeySource::File(file) => Some(file),
                KeySource::Url(_) => None,
            };
            keys.into_iter().chain(&mut jwt.ca)
        });
        let mtls = self.mtls.iter_mut();
        jwt.chain(mtls.flat_map(|mtls| std::iter::once(&mut mtls.ca).chain(&mut mtls.crl)))
    }
}

impl TlsConfig {
    pub(super) fn files(&mut self) -> [&mut FileReference; 2] {
        [&mut self.certificate, &mut self.key]
    }
}

impl JwtConfig {
    /// What a token of this issuer must be.
    pub(crate) fn rules(&self) -> TokenRules {
        TokenRules {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: self.algorithms.clone(),
            leeway_s: self.leeway_s,
            claim: self.claim.clone(),
            typ: self.typ.clone(),
        }
    }

    fn check(&self) -> Result<(), InvalidIdentityConfig> {
        let issuer = || self.issuer.clone();
        for (setting, fits) in [
            ("issuer", ExternalIdentity::jwt(&self.issuer, "x").is_ok()),
            ("audience", !self.audience.is_empty()),
            ("claim", !self.claim.is_empty()),
            ("typ", self.typ.as_deref() != Some("")),
            ("algorithms", !self.algorithms.is_empty()),
        ] {
            if !fits {
                return Err(InvalidIdentityConfig::Text {
                    issuer: issuer(),
                    setting,
                });
            }
        }
        if self.leeway_s > LEEWAY_MAX_S {
            return Err(InvalidIdentityConfig::Leeway { issuer: issuer() });
        }
        if self.jwks.is_plaintext() && !(self.dangerous_plaintext && self.jwks.is_loopback()) {
            return Err(InvalidIdentityConfig::Plaintext { issuer: issuer() });
        }
        Ok(())
    }
}

const fn default_leeway() -> u32 {
    60
}

fn default_claim() -> String {
    "sub".to_owned()
}

const fn seconds(seconds: u32) -> NonZeroU32 {
    #[expect(clippy::expect_used, reason = "called with the constants below alone")]
    NonZeroU32::new(seconds).expect("not zero")
}

const fn default_refresh() -> NonZeroU32 {
    const { seconds(300) }
}

const fn default_retry() -> NonZeroU32 {
    const { seconds(30) }
}

const fn default_keep() -> NonZeroU32 {
    const { seconds(86_400) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use std::path::Path;

    use super::*;

    fn parse(over: Value) -> Result<(), String> {
        let mut jwt = json!({"issuer": "https://i", "audience": "a", "algorithms": ["RS256"], "jwks": "https://i/keys"});
        for (name, value) in over.as_object().unwrap() {
            jwt[name] = value.clone();
        }
        let config: IdentityConfig =
            serde_json::from_value(json!({"jwt": [jwt]})).map_err(|error| error.to_string())?;
        config.check(false).map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_is_read_strictly() {
        for good in [
            json!({}),
            json!({"jwks": "file:keys.json"}),
            json!({"jwks": "http://127.0.0.1:1/k", "dangerous_plaintext": true}),
            json!({"jwks": "http://[::1]:1/k", "dangerous_plaintext": true}),
            json!({"leeway_s": 0, "typ": "at+jwt"}),
        ] {
            assert_eq!(parse(good.clone()), Ok(()), "{good}");
        }
        for bad in [
            json!({"algorithms": ["none"]}),
            json!({"algorithms": ["HS256"]}),
            json!({"algorithms": []}),
            json!({"jwks": "http://127.0.0.1:1/k"}),
            json!({"jwks": "http://example.org/k", "dangerous_plaintext": true}),
            json!({"jwks": "http://localhost.example.org/k", "dangerous_plaintext": true}),
            json!({"jwks": "https://user@example.org/k"}),
            json!({"jwks": "ftp://example.org/k"}),
            json!({"jwks": "keys.json"}),
            json!({"jwks": "file:"}),
            json!({"leeway_s": 301}),
            json!({"retry_s": 0}),
            json!({"issuer": ""}),
            json!({"claim": ""}),
            json!({"roles": ["admin"]}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_files_lie_in_the_project() {
        let mut config: IdentityConfig =
            serde_json::from_value(json!({"mtls": {"ca": "file:ca.pem", "crl": "file:/etc/crl.pem"}}))
                .unwrap();
        config.files().for_each(|file| file.resolve(Path::new("/p")));
        let mtls = config.mtls.as_ref().unwrap();
        assert_eq!(mtls.ca.path(), Path::new("/p/ca.pem"));
        assert_eq!(mtls.crl.as_ref().unwrap().path(), Path::new("/etc/crl.pem"));
        assert_eq!(config.check(true), Err(InvalidIdentityConfig::NoTls));
    }
}
