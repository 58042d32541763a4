//! The public keys that a folder's log is checked with, and the plain file that keeps them.
//!
//! The file lies beside the head, so that a log can be verified when the root key is lost. It is no root of trust:
//! whoever can write the folder can write the file. While the keyring opens, its keys count and the file is compared.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use stockade_crypto::{JournalKey, KeyError, KeyProvider, LogKeys, VerifyingKey};
use stockade_evidence::{BadVerifierKeys, LogVerifier, OpenedCheckpoint, open_checkpoint};

use super::{
    LogPaths,
    error::{LogOpenError, ReadError},
    head::{Head, HeadOf, TreeHead},
    source::FolderSource,
};
use crate::{
    disk::Posix,
    files::{read_bounded, write_durable},
};

const FILE_MAX_BYTES: u64 = 4 << 20;

/// Ed25519, ML-DSA-44.
type Pair = (VerifyingKey, VerifyingKey);

/// Whose signatures a folder's log may carry.
// INVARIANT: there is a pair, and the first signs now.
#[derive(Clone, Debug)]
pub struct LogTrust {
    pairs: Vec<Pair>,
    /// Those that signed before the keyring was rebuilt, from a plain file: nothing confirms them.
    before_rebuild: Vec<Pair>,
    journal: Option<JournalKey>,
    file_differs: bool,
}

/// The public keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The keyring does not open, and there is no file of public keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The file could not be read.
    #[error("the file of the log's public keys could not be read")]
    Io(#[from] io::Error),
    /// The file does not hold verifier keys.
    #[error(
        "the file of the log's public keys holds something else\nhint: bring the root key back, or verify with `--log` and `--key`"
    )]
    Malformed(#[from] BadVerifierKeys),
}

impl LogTrust {
    /// The keys in the keyring, or, where that does not open, those in `file`.
    pub fn load(keys: Result<KeyProvider, KeyError>, file: &Path) -> Result<Self, TrustError> {
        match keys {
            Ok(keys) => {
                let mut trust = Self::of_keyring(&keys)?;
                trust.file_differs = trust.differs(file);
                trust.before_rebuild = read(&keys_before_rebuild(file)).unwrap_or_default();
                Ok(trust)
            }
            Err(lost) => match read(file) {
                Err(TrustError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Err(lost.into()),
                pairs => Ok(Self {
                    pairs: pairs?,
                    before_rebuild: Vec::new(),
                    journal: None,
                    file_differs: false,
                }),
            },
        }
    }

    /// The keys in the keyring.
    pub fn of_keyring(keys: &KeyProvider) -> Result<Self, KeyError> {
        let mut trust = Self::of_log_keys(&keys.log_keys()?);
        // Newest first, so that a file from before a rotation is the end of the list after it.
        trust.pairs.extend(keys.former_log_keys()?.into_iter().rev());
        Ok(trust)
    }

    /// These keys, without former ones.
    pub fn of_log_keys(keys: &LogKeys) -> Self {
        Self {
            pairs: vec![(keys.ed25519.verifying_key(), keys.ml_dsa_44.verifying_key())],
            before_rebuild: Vec::new(),
            journal: Some(keys.journal.clone()),
            file_differs: false,
        }
    }

    /// Whether the keyring confirmed the keys.
    pub const fn is_confirmed(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether the file says something else than the keyring.
    pub const fn file_differs(&self) -> bool {
        self.file_differs
    }

    /// The keys as verifiers of the log `origin`, the present pair first.
    pub fn verifiers(&self, origin: &str) -> Vec<LogVerifier> {
        verifiers(&self.pairs, origin)
    }

    /// The keys of before the keyring was rebuilt, as verifiers. They count only for what something else names.
    pub(crate) fn verifiers_before_rebuild(&self, origin: &str) -> Vec<LogVerifier> {
        verifiers(&self.before_rebuild, origin)
    }

    /// The Ed25519 keys, which sign backups.
    pub fn ed25519(&self) -> Vec<VerifyingKey> {
        self.pairs.iter().map(|(ed25519, _)| ed25519.clone()).collect()
    }

    /// Opens the checkpoint of the log now written; `None` before the first one.
    ///
    /// A former pair is believed for one checkpoint alone, the one that the sealed head remembers: the keys were rotated
    /// and nothing was signed since.
    pub fn open_checkpoint(&self, paths: &LogPaths) -> Result<Option<OpenedCheckpoint>, ReadError> {
        // Before the checkpoint: a running log may be ahead of this head, and never behind it.
        let head = self.head(HeadOf::Written, &paths.head);
        let Some(text) = FolderSource::new(&paths.log).checkpoint()? else {
            return Ok(None);
        };
        let origin = text.lines().next().unwrap_or_default();
        let verifiers = self.verifiers(origin);
        let opened = open_checkpoint(&text, &verifiers)?;
        let found = TreeHead {
            size: opened.checkpoint.size,
            root: opened.checkpoint.root,
        };
        let head = head.ok().flatten();
        if made_now(&verifiers, &opened) || head.is_some_and(|head| head.heads().any(|known| known == found))
        {
            return Ok(Some(opened));
        }
        Err(ReadError::FormerKeys)
    }

    /// The head in `file`; with the keyring, only one that its journal key sealed.
    pub(crate) fn head(&self, of: HeadOf, file: &Path) -> Result<Option<Head>, LogOpenError> {
        match &self.journal {
            Some(key) => Head::read_sealed(&Posix, file, of, key),
            None => Head::read(&Posix, file),
        }
    }

    /// Writes the verifier keys of `origin` into `file`, unless they are there.
    pub(crate) fn publish(&self, origin: &str, file: &Path) -> io::Result<()> {
        let lines: Vec<String> = self
            .verifiers(origin)
            .iter()
            .flat_map(LogVerifier::to_vkeys)
            .collect();
        let text = format!("{}\n", lines.join("\n"));
        if read_bounded(file, FILE_MAX_BYTES).is_ok_and(|present| present == text.as_bytes()) {
            return Ok(());
        }
        write_durable(file, text.as_bytes())
    }

    /// Moves the keys in `file` to those of before the keyring was rebuilt: they alone verify the log so far.
    pub fn set_aside(file: &Path) -> io::Result<()> {
        let aside = keys_before_rebuild(file);
        let mut texts = Vec::new();
        for path in [file, &aside] {
            match read_bounded(path, FILE_MAX_BYTES) {
                Ok(bytes) => texts.push(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        write_durable(&aside, &texts.concat())?;
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether `file` is there and holds other keys. One without the newest pair was left by an interrupted rotation.
    fn differs(&self, file: &Path) -> bool {
        match read(file) {
            Ok(pairs) => pairs != self.pairs && Some(pairs.as_slice()) != self.pairs.get(1..),
            Err(TrustError::Io(error)) => error.kind() != io::ErrorKind::NotFound,
            Err(TrustError::Keys(_) | TrustError::Malformed(_)) => true,
        }
    }
}

fn verifiers(pairs: &[Pair], origin: &str) -> Vec<LogVerifier> {
    let verifier = |(ed25519, ml_dsa_44): &Pair| LogVerifier {
        name: origin.to_owned(),
        ed25519: ed25519.clone(),
        ml_dsa_44: ml_dsa_44.clone(),
    };
    pairs.iter().map(verifier).collect()
}

/// Where the keys in `file` go when the keyring is rebuilt.
pub(crate) fn keys_before_rebuild(file: &Path) -> PathBuf {
    file.with_extension("vkey.before-rebuild")
}

/// Whether the first of `verifiers` made a signature: the others were rotated out.
pub(super) fn made_now(verifiers: &[LogVerifier], opened: &OpenedCheckpoint) -> bool {
    verifiers
        .first()
        .is_some_and(|present| present.made(&opened.signatures))
}

fn read(file: &Path) -> Result<Vec<Pair>, TrustError> {
    let text = String::from_utf8(read_bounded(file, FILE_MAX_BYTES)?).map_err(io::Error::other)?;
    let pair = |verifier: LogVerifier| (verifier.ed25519, verifier.ml_dsa_44);
    Ok(LogVerifier::from_vkeys(&text)?.into_iter().map(pair).collect())
}
