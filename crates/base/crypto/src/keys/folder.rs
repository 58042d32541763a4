//! The "file" key provider: a private folder with the root keys, the keyring and, when a passphrase was set, the
//! recovery file.
//!
//! Whoever can read the folder has every key; its protection is the file system's. Order of writes: a root key is
//! on disk, and in the recovery file, before anything is sealed under it.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    KeyError, KeyProvider, LogKeys, WrappedKey, files,
    recovery::{self, RecoveryFile},
    ring::{self, Ring, RingFile},
    root::RootKey,
};
use crate::{
    aead::{DataKey, KEY_LEN},
    secret::{Passphrase, SecretBytes},
    sign::VerifyingKey,
    x509::CertificateAuthority,
};

/// A key folder on disk. One process at a time may change it.
#[derive(Clone)]
pub struct KeyFolder(Arc<Inner>);

pub(super) struct Inner {
    path: PathBuf,
    state: RwLock<State>,
}

// INVARIANT: `current` is a key of `roots`, and the keyring on disk is `ring` sealed under it.
struct State {
    roots: BTreeMap<String, RootKey>,
    current: String,
    ring: Ring,
}

impl State {
    fn current_root(&self) -> Result<&RootKey, KeyError> {
        self.root(&self.current)
    }

    fn root(&self, key_id: &str) -> Result<&RootKey, KeyError> {
        self.roots.get(key_id).ok_or_else(|| KeyError::UnknownRoot {
            key_id: key_id.chars().take(64).collect(),
        })
    }
}

impl KeyFolder {
    /// Makes a key folder with fresh keys, whole or not at all; with a passphrase, also the recovery file.
    pub fn create(
        path: &Path,
        recovery: Option<&Passphrase>,
        now_unix_s: i64,
    ) -> Result<KeyProvider, KeyError> {
        let root = RootKey::generate()?;
        let recovery_key = recovery.map(|_| SecretBytes::random(KEY_LEN)).transpose()?;
        let mut contents = vec![(root.file_name(), root.to_file())];
        if let (Some(passphrase), Some(key)) = (recovery, &recovery_key) {
            let mut file = RecoveryFile::new(passphrase, key)?;
            file.set_roots(key, [&root])?;
            contents.push((recovery::FILE_NAME.into(), file.to_bytes()?));
        }
        let mut ring = Ring::generate(recovery_key.into_iter().collect(), now_unix_s)?;
        ring.roots.insert(root.id().into());
        contents.push((ring::FILE_NAME.into(), ring.seal(&root)?));
        files::create_folder(path, &contents)?;
        Ok(provider(
            path,
            State {
                current: root.id().into(),
                roots: BTreeMap::from([(root.id().into(), root)]),
                ring,
            },
        ))
    }

    /// Opens a key folder; refuses one whose files others may read.
    pub fn open(path: &Path) -> Result<KeyProvider, KeyError> {
        files::check_folder(path)?;
        let file = read_ring(path)?;
        let roots = read_roots(path)?;
        let root = roots.get(&file.root).ok_or_else(|| root_lost(path, &file.root))?;
        let ring = file
            .open(root)
            .ok_or_else(|| damaged(path, ring::FILE_NAME, false))?;
        Ok(provider(
            path,
            State {
                current: file.root,
                roots,
                ring,
            },
        ))
    }

    /// Writes lost or damaged root keys again from the recovery file, and opens the folder.
    pub fn recover(path: &Path, passphrase: &Passphrase) -> Result<KeyProvider, KeyError> {
        files::check_folder(path)?;
        let file = read_recovery(path)?.ok_or_else(|| KeyError::NoRecovery { path: path.into() })?;
        for root in file.open(passphrase)? {
            files::write(path, &root.file_name(), &root.to_file())?;
        }
        Self::open(path)
    }

    /// Makes a new keyring where the old one is lost or damaged, under a new root key. Data keys still unwrap; log
    /// keys and the certificate authority are new ones, and no recovery passphrase is set. A damaged keyring is kept
    /// under another name. Refused while the keyring opens, or may open again once its root key is back.
    pub fn rebuild(path: &Path, now_unix_s: i64) -> Result<KeyProvider, KeyError> {
        files::check_folder(path)?;
        let mut roots = read_roots(path)?;
        let old = files::read(&path.join(ring::FILE_NAME))?;
        if let Some(file) = old.as_ref().and_then(|bytes| RingFile::parse(bytes)) {
            let root = roots.get(&file.root).ok_or_else(|| root_lost(path, &file.root))?;
            if file.open(root).is_some() {
                return Err(KeyError::Exists {
                    path: path.join(ring::FILE_NAME),
                });
            }
        }
        if old.is_some() {
            files::set_aside(path, ring::FILE_NAME)?;
        }
        let root = RootKey::generate()?;
        let mut ring = Ring::generate(Vec::new(), now_unix_s)?;
        ring.roots = roots.keys().cloned().chain([root.id().to_owned()]).collect();
        files::write(path, &root.file_name(), &root.to_file())?;
        files::write(path, ring::FILE_NAME, &ring.seal(&root)?)?;
        let current = root.id().to_owned();
        roots.insert(current.clone(), root);
        Ok(provider(path, State { roots, current, ring }))
    }

    /// Makes a key folder from what [`KeyProvider::export_encrypted`] wrote.
    pub fn import_encrypted(
        path: &Path,
        export: &[u8],
        passphrase: &Passphrase,
    ) -> Result<KeyProvider, KeyError> {
        let exported = recovery::import(export, passphrase)?;
        let file = RingFile::parse(&exported.keyring).ok_or(KeyError::NotAnExport)?;
        let opens = exported
            .roots
            .iter()
            .any(|root| root.id() == file.root && file.open(root).is_some());
        if !opens {
            return Err(KeyError::NotAnExport);
        }
        let mut contents: Vec<_> = exported
            .roots
            .iter()
            .map(|root| (root.file_name(), root.to_file()))
            .collect();
        contents.push((ring::FILE_NAME.into(), exported.keyring.into()));
        if let Some(recovery) = exported.recovery {
            contents.push((recovery::FILE_NAME.into(), recovery.into()));
        }
        files::create_folder(path, &contents)?;
        Self::open(path)
    }

    pub(super) fn wrap(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        self.read().current_root()?.wrap(key, context)
    }

    pub(super) fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        let state = self.read();
        if !state.roots.contains_key(&wrapped.key_id) && state.ring.roots.contains(&wrapped.key_id) {
            return Err(root_lost(self.path(), &wrapped.key_id));
        }
        state.root(&wrapped.key_id)?.unwrap(wrapped, context)
    }

    pub(super) fn current_root(&self) -> String {
        self.read().current.clone()
    }

    pub(super) fn roots(&self) -> Vec<String> {
        self.read().roots.keys().cloned().collect()
    }

    pub(super) fn log_keys(&self) -> LogKeys {
        self.read().ring.log.clone()
    }

    pub(super) fn former_log_keys(&self) -> Vec<(VerifyingKey, VerifyingKey)> {
        self.read().ring.former_log.clone()
    }

    pub(super) fn certificate_authority(&self) -> CertificateAuthority {
        self.read().ring.authority.clone()
    }

    pub(super) fn has_recovery(&self) -> bool {
        self.recovery_file(&self.read()).is_ok_and(|file| file.is_some())
    }

    pub(super) fn rotate_root(&self) -> Result<String, KeyError> {
        let mut state = self.write();
        files::sweep(self.path())?;
        let root = RootKey::generate()?;
        let key_id = root.id().to_owned();
        // A crash after either write leaves an unused root key and nothing else.
        files::write(self.path(), &root.file_name(), &root.to_file())?;
        self.write_recovery(&state, state.roots.values().chain([&root]))?;
        let mut ring = state.ring.copy();
        ring.roots.extend(state.roots.keys().cloned());
        ring.roots.insert(key_id.clone());
        files::write(self.path(), ring::FILE_NAME, &ring.seal(&root)?)?;
        state.ring = ring;
        state.roots.insert(key_id.clone(), root);
        state.current.clone_from(&key_id);
        Ok(key_id)
    }

    pub(super) fn retire_roots(&self, key_ids: &[&str]) -> Result<(), KeyError> {
        let mut state = self.write();
        for key_id in key_ids {
            state.root(key_id)?;
            if *key_id == state.current {
                return Err(KeyError::RootInUse {
                    key_id: state.current.clone(),
                });
            }
        }
        files::sweep(self.path())?;
        self.write_recovery(
            &state,
            state.roots.values().filter(|root| !key_ids.contains(&root.id())),
        )?;
        self.change_ring(&mut state, |ring| {
            ring.roots.retain(|id| !key_ids.contains(&id.as_str()))
        })?;
        for key_id in key_ids {
            if let Some(root) = state.roots.remove(*key_id) {
                files::remove(&self.path().join(root.file_name()))?;
            }
        }
        files::sync_folder(self.path())
    }

    pub(super) fn rotate_log_key(&self) -> Result<LogKeys, KeyError> {
        let mut state = self.write();
        let log = ring::generate_log_keys(state.ring.log.journal.clone())?;
        self.change_ring(&mut state, |ring| {
            ring.former_log.push((
                ring.log.ed25519.verifying_key(),
                ring.log.ml_dsa_44.verifying_key(),
            ));
            ring.log = log.clone();
        })?;
        Ok(log)
    }

    pub(super) fn rotate_certificate_authority(
        &self,
        now_unix_s: i64,
    ) -> Result<CertificateAuthority, KeyError> {
        let authority = CertificateAuthority::create(now_unix_s)?;
        self.change_ring(&mut self.write(), |ring| ring.authority = authority.clone())?;
        Ok(authority)
    }

    pub(super) fn set_recovery(&self, passphrase: &Passphrase) -> Result<(), KeyError> {
        let key = SecretBytes::random(KEY_LEN)?;
        let mut file = RecoveryFile::new(passphrase, &key)?;
        let mut state = self.write();
        file.set_roots(&key, state.roots.values())?;
        // The keyring knows both keys while the file changes, so an interruption leaves a file that it can use.
        self.change_ring(&mut state, |ring| ring.recovery.push(key))?;
        files::write(self.path(), recovery::FILE_NAME, &file.to_bytes()?)?;
        self.change_ring(&mut state, |ring| {
            drop(ring.recovery.drain(..ring.recovery.len() - 1))
        })
    }

    pub(super) fn export_encrypted(&self, passphrase: &Passphrase) -> Result<Vec<u8>, KeyError> {
        let state = self.read();
        let keyring = state.ring.seal(state.current_root()?)?;
        let recovery = files::read(&self.path().join(recovery::FILE_NAME))?;
        recovery::export(
            passphrase,
            state.roots.values(),
            &keyring,
            recovery.as_ref().map(|file| file.as_slice()),
        )
    }

    fn change_ring(&self, state: &mut State, change: impl FnOnce(&mut Ring)) -> Result<(), KeyError> {
        let mut ring = state.ring.copy();
        change(&mut ring);
        files::sweep(self.path())?;
        files::write(self.path(), ring::FILE_NAME, &ring.seal(state.current_root()?)?)?;
        state.ring = ring;
        Ok(())
    }

    /// Writes the recovery file with these root keys, where a passphrase was set.
    fn write_recovery<'a>(
        &self,
        state: &State,
        roots: impl IntoIterator<Item = &'a RootKey>,
    ) -> Result<(), KeyError> {
        let Some((mut file, key)) = self.recovery_file(state)? else {
            return Ok(());
        };
        file.set_roots(key, roots)?;
        files::write(self.path(), recovery::FILE_NAME, &file.to_bytes()?)
    }

    /// The recovery file and its key; `None` where no passphrase was set.
    fn recovery_file<'a>(
        &self,
        state: &'a State,
    ) -> Result<Option<(RecoveryFile, &'a SecretBytes)>, KeyError> {
        if state.ring.recovery.is_empty() {
            return Ok(None);
        }
        let lost = || KeyError::RecoveryLost {
            path: self.path().join(recovery::FILE_NAME),
        };
        let file = read_recovery(self.path())?.ok_or_else(lost)?;
        let key = state
            .ring
            .recovery
            .iter()
            .find(|key| file.open_with(key).is_some())
            .ok_or_else(lost)?;
        Ok(Some((file, key)))
    }

    fn path(&self) -> &Path {
        &self.0.path
    }

    // The state is replaced only after the files are: what a panicking thread left behind is whole.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFolder")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

fn provider(path: &Path, state: State) -> KeyProvider {
    KeyProvider::File(KeyFolder(Arc::new(Inner {
        path: path.into(),
        state: RwLock::new(state),
    })))
}

fn read_ring(path: &Path) -> Result<RingFile, KeyError> {
    let bytes = files::read(&path.join(ring::FILE_NAME))?;
    bytes
        .and_then(|bytes| RingFile::parse(&bytes))
        .ok_or_else(|| damaged(path, ring::FILE_NAME, false))
}

fn read_recovery(path: &Path) -> Result<Option<RecoveryFile>, KeyError> {
    files::read(&path.join(recovery::FILE_NAME))?
        .map(|bytes| RecoveryFile::parse(&bytes).ok_or_else(|| damaged(path, recovery::FILE_NAME, false)))
        .transpose()
}

fn read_roots(path: &Path) -> Result<BTreeMap<String, RootKey>, KeyError> {
    let mut roots = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(files::io_error(path))? {
        let entry = entry.map_err(files::io_error(path))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| RootKey::is_file_name(name)) else {
            continue;
        };
        let Some(bytes) = files::read(&entry.path())? else {
            continue;
        };
        let root = RootKey::from_file(name, &bytes).ok_or_else(|| damaged(path, name, true))?;
        roots.insert(root.id().to_owned(), root);
    }
    Ok(roots)
}

fn root_lost(path: &Path, key_id: &str) -> KeyError {
    KeyError::RootLost {
        path: path.into(),
        key_id: key_id.chars().take(64).collect(),
    }
}

fn damaged(path: &Path, name: &str, recoverable: bool) -> KeyError {
    KeyError::Damaged {
        path: path.join(name),
        recoverable,
    }
}
