//! Files and variables in a process that may not read them: what they hold is given, and given again when it changes.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use stockade_crypto::SecretBytes;
use stockade_store::Secret;

use crate::{
    config::{FileReference, Variable},
    identity::FileError,
};

/// What files and variables hold, by the references that configuration names them with.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Contents(BTreeMap<String, Content>);

/// What one of them holds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", deny_unknown_fields)]
enum Content {
    Read {
        bytes: Secret,
        /// Whether its owner alone may read it.
        private: bool,
    },
    Unreadable {
        why: String,
    },
    Large {},
}

/// The contents that were given last. Clones share them.
#[derive(Clone, Default)]
pub struct Given(Arc<ArcSwap<Contents>>);

impl Contents {
    pub(crate) fn add_file(&mut self, file: &FileReference) {
        let content = match file.read_private() {
            Ok(bytes) => Content::Read {
                bytes: Secret(bytes),
                private: true,
            },
            Err(FileError::Open { .. }) => match file.read_public() {
                Ok(bytes) => Content::Read {
                    bytes: Secret(SecretBytes::new(bytes)),
                    private: false,
                },
                Err(error) => Content::from(error),
            },
            Err(error) => Content::from(error),
        };
        self.0.insert(file.to_string(), content);
    }

    pub(crate) fn add_variable(&mut self, variable: &Variable) {
        if let Some(bytes) = variable.read() {
            let (bytes, private) = (Secret(bytes), true);
            self.0
                .insert(variable.to_string(), Content::Read { bytes, private });
        }
    }

    /// What tells these contents from others, without being them.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = stockade_crypto::Sha256::new();
        for (reference, content) in &self.0 {
            digest.update(&stockade_crypto::sha256(reference.as_bytes()));
            match content {
                Content::Read { bytes, private } => {
                    digest.update(&stockade_crypto::sha256(bytes.0.expose()));
                    digest.update(&[u8::from(*private)]);
                }
                Content::Unreadable { why } => digest.update(&stockade_crypto::sha256(why.as_bytes())),
                Content::Large {} => digest.update(&[2]),
            }
        }
        digest.finish()
    }
}

impl From<FileError> for Content {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Read { source, .. } => Self::Unreadable {
                why: source.to_string(),
            },
            FileError::Large { .. } => Self::Large {},
            // Read as a public file it cannot be too open.
            FileError::Open { .. } => Self::Unreadable { why: String::new() },
        }
    }
}

impl Given {
    /// Gives others, which are read from now on.
    pub fn replace(&self, contents: Contents) {
        self.0.store(Arc::new(contents));
    }

    pub(crate) fn public(&self, reference: &str, path: &Path) -> Result<Vec<u8>, FileError> {
        Ok(self.read(reference, path)?.0.expose().to_vec())
    }

    pub(crate) fn private(&self, reference: &str, path: &Path) -> Result<SecretBytes, FileError> {
        let (bytes, private) = self.read(reference, path)?;
        let path = path.to_owned();
        if private {
            Ok(bytes)
        } else {
            Err(FileError::Open { path })
        }
    }

    fn read(&self, reference: &str, path: &Path) -> Result<(SecretBytes, bool), FileError> {
        let path: PathBuf = path.to_owned();
        match self.0.load().0.get(reference) {
            Some(Content::Read { bytes, private }) => {
                Ok((SecretBytes::new(bytes.0.expose().to_vec()), *private))
            }
            Some(Content::Large {}) => Err(FileError::Large { path }),
            Some(Content::Unreadable { why }) => {
                let source = std::io::Error::other(why.clone());
                Err(FileError::Read { path, source })
            }
            None => {
                let source = std::io::ErrorKind::NotFound.into();
                Err(FileError::Read { path, source })
            }
        }
    }
}

/// What configuration names is the same, wherever its content comes from.
impl PartialEq for Given {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Given {}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}
