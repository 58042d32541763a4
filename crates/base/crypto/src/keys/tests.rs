//! The file provider: what it keeps, what it refuses, and what survives an interruption at any write.

mod folder;
mod recovery;
mod rotation;
mod wrapping;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_900_000_000;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn create(&self) -> KeyProvider {
        KeyFolder::create(&self.path(), None, NOW).unwrap()
    }

    fn create_with_recovery(&self) -> KeyProvider {
        KeyFolder::create(&self.path(), Some(&passphrase()), NOW).unwrap()
    }

    fn open(&self) -> KeyProvider {
        KeyFolder::open(&self.path()).unwrap()
    }

    fn file(&self, start: &str) -> PathBuf {
        let mut found: Vec<_> = names(&self.path())
            .into_iter()
            .filter(|name| name.starts_with(start))
            .collect();
        self.path().join(found.remove(0))
    }
}

fn passphrase() -> Passphrase {
    Passphrase::new("nine rivers under glass".into()).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn data_key() -> DataKey {
    DataKey::from_bytes([3; 32])
}

fn log_id(provider: &KeyProvider) -> [Vec<u8>; 2] {
    let keys = provider.log_keys().unwrap();
    [keys.ed25519, keys.ml_dsa_44].map(|key| key.verifying_key().as_bytes().to_vec())
}

fn journal_mac(provider: &KeyProvider) -> [u8; 32] {
    provider.log_keys().unwrap().journal.mac(b"x")
}

#[track_caller]
fn check_same(a: &KeyProvider, b: &KeyProvider) {
    assert_eq!(log_id(a), log_id(b));
    assert_eq!(journal_mac(a), journal_mac(b));
    assert_eq!(a.former_log_keys().unwrap(), b.former_log_keys().unwrap());
    assert_eq!(a.current_root().unwrap(), b.current_root().unwrap());
    assert_eq!(a.roots().unwrap(), b.roots().unwrap());
    assert_eq!(
        a.certificate_authority().unwrap().certificate_der(),
        b.certificate_authority().unwrap().certificate_der()
    );
    let wrapped = a.wrap(&data_key(), b"x").unwrap();
    assert_eq!(
        b.unwrap(&wrapped, b"x").unwrap().as_bytes(),
        data_key().as_bytes()
    );
}

fn flipped(bytes: &[u8], index: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index] ^= 1;
    bytes
}
