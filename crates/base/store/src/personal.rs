//! Personal fields: sealed under one key per subject, unreadable for ever once that key is destroyed.
//!
//! A subject is an opaque id. Its key lies in `subjects/KID`, wrapped under the root key; KID is random, so nothing in a record
//! is computed from a personal value. A field is bound to its subject and its name: moved elsewhere it does not open.
//! Erasure: the `subject.erased` record is durable first and leaves an `erased_key` row per key; then the files are
//! overwritten, removed and the folder synced. A crash between the two is made good at the next start, and so is a
//! key file that a restored backup brings back: a key with an `erased_key` row never opens anything.

mod keeper;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use stockade_crypto::{
    DataKey, KeyError, KeyProvider, NotAuthentic, RandomnessUnavailable, SealFailed, WrappedKey, random_array,
};
use stockade_evidence::canonical_json;

use crate::{
    error::{AppendError, CommitError, ReadError, Remote},
    files::{parent, read_bounded, sync_folder, write_durable},
    rows::{RowStore, RowsError},
};

/// The kind of row that an erasure leaves, one per key.
pub const ERASED_KEY: &str = "erased_key";

/// The only cipher of a personal field.
pub(crate) const ALGORITHM: &str = "A256GCM";

const SUBJECT_MAX_BYTES: usize = 256;
const FIELD_MAX_BYTES: usize = 64;
const VALUE_MAX_BYTES: usize = 4096;
const KEY_FILE_MAX_BYTES: u64 = 16_384;
const KID_HEX: usize = 32;

/// Why a personal field was not sealed, opened or erased.
#[derive(Debug, thiserror::Error)]
pub enum PersonalError {
    /// The subject, the field's name or the value is empty, too long or has control characters.
    #[error(
        "a subject has 1 to {SUBJECT_MAX_BYTES} bytes, a field's name 1 to {FIELD_MAX_BYTES}, a value at most {VALUE_MAX_BYTES}"
    )]
    Invalid,
    /// The field was changed, or belongs to another subject or name.
    #[error("the personal field was changed, or belongs elsewhere")]
    NotAuthentic,
    /// The operating system gave no randomness, or AES-GCM failed.
    #[error(transparent)]
    Seal(#[from] SealFailed),
    /// The root key could not wrap or unwrap the subject's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A subject's key file could not be used.
    #[error("a subject's key file could not be used")]
    Io(#[from] io::Error),
    /// The rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The erasure could not be recorded; the key is still there.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The server said so.
    #[error(transparent)]
    Remote(#[from] Remote),
}

impl From<NotAuthentic> for PersonalError {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

impl From<RandomnessUnavailable> for PersonalError {
    fn from(error: RandomnessUnavailable) -> Self {
        Self::Seal(error.into())
    }
}

impl From<RowsError> for PersonalError {
    fn from(error: RowsError) -> Self {
        Self::Read(error.into())
    }
}

impl From<CommitError> for PersonalError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Append(error) => Self::Append(error),
            CommitError::Read(error) => Self::Read(error),
            // An erasure expects nothing.
            CommitError::Conflict { .. } => Self::Invalid,
        }
    }
}

/// The keys of all subjects, in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    folder: PathBuf,
    /// Filled at first use, for reading every file costs time that most commands need not spend.
    index: Arc<Mutex<Option<Index>>>,
}

/// The keys of each subject, the newest last.
type Index = BTreeMap<String, Vec<Kid>>;

/// The name of a key: 32 lower-case hexadecimal digits.
// INVARIANT: nothing else, so that it is safe as a file name; `parse` and `random` are the only doors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Kid(String);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    subject: String,
    key: WrappedKey,
}

impl Kid {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == KID_HEX && hex).then(|| Self(text.to_owned()))
    }

    fn random() -> Result<Self, RandomnessUnavailable> {
        Ok(Self(hex::encode(random_array::<{ KID_HEX / 2 }>()?)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subjects {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            index: Arc::default(),
        }
    }

    /// The key to seal a subject's fields with, made where there is none.
    pub(crate) fn key_for(&self, keys: &KeyProvider, subject: &str) -> Result<(Kid, DataKey), PersonalError> {
        let mut index = self.index()?;
        let kids = index
            .get_or_insert_default()
            .entry(subject.to_owned())
            .or_default();
        if let Some(kid) = kids.last()
            && let Some(key) = self.open(keys, subject, kid)?
        {
            return Ok((kid.clone(), key));
        }
        let (kid, key) = (Kid::random()?, DataKey::generate()?);
        let wrapped = keys.wrap(&key, &key_context(subject, &kid))?;
        self.write(
            &kid,
            &KeyFile {
                subject: subject.to_owned(),
                key: wrapped,
            },
        )?;
        kids.push(kid.clone());
        Ok((kid, key))
    }

    /// A subject's key; `None` when there is none any more.
    pub(crate) fn open(
        &self,
        keys: &KeyProvider,
        subject: &str,
        kid: &Kid,
    ) -> Result<Option<DataKey>, PersonalError> {
        match self.read(kid)? {
            Some(file) => Ok(Some(keys.unwrap(&file.key, &key_context(subject, kid))?)),
            None => Ok(None),
        }
    }

    /// Every key of a subject.
    pub(crate) fn keys_of(&self, subject: &str) -> io::Result<Vec<Kid>> {
        let index = self.index()?;
        Ok(index
            .as_ref()
            .and_then(|index| index.get(subject))
            .cloned()
            .unwrap_or_default())
    }

    /// Destroys a key: overwritten, removed, and the folder synced. One that is not there is destroyed already.
    pub(crate) fn destroy(&self, kid: &Kid) -> io::Result<()> {
        let path = self.path(kid);
        match overwrite(&path).and_then(|()| fs::remove_file(&path)) {
            Ok(()) => sync_folder(&self.folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(index) = self.lock().as_mut() {
            index
                .values_mut()
                .for_each(|kids| kids.retain(|other| other != kid));
        }
        Ok(())
    }

    /// Destroys whatever keys of erased subjects are still or again there.
    pub(crate) async fn destroy_erased(&self, rows: &impl RowStore) -> Result<(), crate::error::OpenError> {
        if fs::read_dir(&self.folder)?.next().is_none() {
            return Ok(());
        }
        for kid in rows
            .rows(ERASED_KEY)
            .await?
            .iter()
            .filter_map(|row| Kid::parse(&row.id))
        {
            self.destroy(&kid)?;
        }
        Ok(())
    }

    /// Wraps every subject's key under the current root key; says how many.
    pub(crate) fn rewrap(&self, keys: &KeyProvider) -> Result<usize, PersonalError> {
        let index = self.index()?;
        let mut count = 0;
        for (subject, kids) in index.iter().flatten() {
            for kid in kids {
                if let Some(mut file) = self.read(kid)? {
                    file.key = keys.rewrap(&file.key, &key_context(subject, kid))?;
                    self.write(kid, &file)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    fn index(&self) -> io::Result<MutexGuard<'_, Option<Index>>> {
        let mut index = self.lock();
        if index.is_none() {
            *index = Some(self.scan()?);
        }
        Ok(index)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Index>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scan(&self) -> io::Result<Index> {
        let mut found = Index::new();
        for entry in fs::read_dir(&self.folder)? {
            let Some(kid) = entry?.file_name().to_str().and_then(Kid::parse) else {
                continue;
            };
            if let Some(file) = self.read(&kid)? {
                found.entry(file.subject).or_default().push(kid);
            }
        }
        Ok(found)
    }

    fn read(&self, kid: &Kid) -> io::Result<Option<KeyFile>> {
        match read_bounded(&self.path(kid), KEY_FILE_MAX_BYTES) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, kid: &Kid, file: &KeyFile) -> io::Result<()> {
        write_durable(&self.path(kid), &serde_json::to_vec(file)?)
    }

    fn path(&self, kid: &Kid) -> PathBuf {
        self.folder.join(kid.as_str())
    }
}

/// Zeros in place of the content. On flash and on copy-on-write file systems old blocks may survive: what counts is
/// that the file held the key only wrapped, and that the root key can be rotated away.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len().min(KEY_FILE_MAX_BYTES)).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    sync_folder(parent(path)?)
}

fn key_context(subject: &str, kid: &Kid) -> Vec<u8> {
    context(&["stockade/subject-key/1", subject, kid.as_str()])
}

pub(crate) fn field_context(subject: &str, field: &str) -> Vec<u8> {
    context(&["stockade/personal/1", subject, field])
}

/// A list of texts as canonical JSON: no two lists have one spelling.
fn context(parts: &[&str]) -> Vec<u8> {
    // A list of texts always has a canonical form.
    canonical_json(&parts).unwrap_or_default()
}

fn check(subject: &str, field: &str, value: &str) -> Result<(), PersonalError> {
    let fits =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    let fine =
        fits(subject, SUBJECT_MAX_BYTES) && fits(field, FIELD_MAX_BYTES) && value.len() <= VALUE_MAX_BYTES;
    fine.then_some(()).ok_or(PersonalError::Invalid)
}
