//! What configuration writes as text and code holds as more: names, URLs, references to files and secrets, types.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_crypto::SecretBytes;
use stockade_protocol::WireType;

use crate::{
    given::Given,
    identity::{FileError, read_private, read_public},
};

/// A text that configuration may not hold at its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{expected}")]
pub struct InvalidText {
    expected: &'static str,
}

macro_rules! text {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                Self::parse(&text).ok_or(InvalidText {
                    expected: Self::EXPECTED,
                })
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

/// The name of an upstream.
// INVARIANT: 1 to 64 of `a-z`, `0-9`, `_` and `-`; `parse` is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct UpstreamName(String);

impl UpstreamName {
    const EXPECTED: &str = "an upstream's name is 1 to 64 of `a-z`, `0-9`, `_` and `-`";

    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(UpstreamName);

/// Where a server listens.
// INVARIANT: scheme, host and port, nothing else; `parse` is the only door.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct BaseUrl {
    tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl BaseUrl {
    const EXPECTED: &str =
        "an upstream's URL is a scheme, a host and a port, such as `https://models.example:8080`";

    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let (tls, usual_port) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let only_base = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !only_base || uri.authority()?.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = uri
            .host()?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let port = match uri.authority()?.as_str().strip_prefix(uri.host()?)? {
            "" => usual_port,
            // `http` passes over a port that is none.
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        (!host.is_empty()).then_some(Self { tls, host, port })
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as the `host` header has them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether it names this machine. What `localhost` resolves to is looked at once more when a connection is there.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

text!(BaseUrl);

/// A file that holds what configuration does not: `file:PATH`; a relative path is one in the project's folder.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct FileReference {
    path: PathBuf,
    /// Where its content comes from in a process that may not read it.
    given: Option<Given>,
}

impl FileReference {
    const EXPECTED: &str = "write it as `file:PATH`, such as `file:clients-ca.pem`";

    fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("file:").filter(|path| !path.is_empty())?;
        Some(Self {
            path: path.into(),
            given: None,
        })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, which is no secret.
    pub(crate) fn read_public(&self) -> Result<Vec<u8>, FileError> {
        match &self.given {
            Some(given) => given.public(&self.to_string(), &self.path),
            None => read_public(&self.path),
        }
    }

    /// Reads the file, which nobody but its owner may read.
    pub(crate) fn read_private(&self) -> Result<SecretBytes, FileError> {
        match &self.given {
            Some(given) => given.private(&self.to_string(), &self.path),
            None => read_private(&self.path),
        }
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        // An absolute path stays as it is.
        self.path = folder.join(&self.path);
    }

    pub(super) fn read_from(&mut self, given: &Given) {
        self.given = Some(given.clone());
    }
}

impl fmt::Display for FileReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}", self.path.display())
    }
}

text!(FileReference);

/// Where a secret is. The secret itself never stands in configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum SecretReference {
    /// In a file that its owner alone may read.
    File(FileReference),
    /// In an environment variable.
    Environment(Variable),
}

/// A variable of the environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variable {
    name: String,
    given: Option<Given>,
}

impl Variable {
    /// What it holds; `None` where it is not set.
    pub(crate) fn read(&self) -> Option<SecretBytes> {
        match &self.given {
            Some(given) => given.private(&self.to_string(), Path::new(&self.name)).ok(),
            None => Some(SecretBytes::new(std::env::var(&self.name).ok()?.into_bytes())),
        }
    }

    pub(super) fn read_from(&mut self, given: &Given) {
        self.given = Some(given.clone());
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env:{}", self.name)
    }
}

impl SecretReference {
    const EXPECTED: &str = "a secret is named as `file:PATH`, or as `env:` with a variable's name";

    fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            return (!name.is_empty() && name.bytes().all(fits)).then(|| {
                Self::Environment(Variable {
                    name: name.to_owned(),
                    given: None,
                })
            });
        }
        FileReference::parse(text).map(Self::File)
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Environment(variable) => variable.fmt(f),
        }
    }
}

text!(SecretReference);

/// A type of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct DeclaredType(pub(crate) WireType);

impl DeclaredType {
    const EXPECTED: &str = "a type is one of the Open Inference Protocol's, such as `FP32` or `INT64`";

    fn parse(text: &str) -> Option<Self> {
        WireType::parse(text).map(Self)
    }
}

impl fmt::Display for DeclaredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text!(DeclaredType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://Models.example/", Some("https://models.example:443")),
            ("http://[::1]:1", Some("http://[::1]:1")),
            ("ftp://a:1", None),
            ("a:1", None),
            ("https://user:pw@a:1", None),
            ("https://a:1/v2", None),
            ("https://a:1?x=1", None),
            ("https://a:1#x", None),
            ("https://a:0", None),
            ("https://a:99999", None),
        ] {
            let url = BaseUrl::parse(text).map(|url| url.to_string());
            assert_eq!(url.as_deref(), shown, "{text}");
        }
        assert!(BaseUrl::parse("http://[::1]:1").unwrap().is_loopback());
        assert!(!BaseUrl::parse("http://10.0.0.1:1").unwrap().is_loopback());
    }

    #[test]
    fn secrets_are_references() {
        for (text, is_fine) in [
            ("file:/run/secrets/token", true),
            ("env:TOKEN", true),
            ("file:token", true),
            ("file:", false),
            ("env:", false),
            ("hunter2", false),
        ] {
            assert_eq!(SecretReference::parse(text).is_some(), is_fine, "{text}");
        }
    }
}
