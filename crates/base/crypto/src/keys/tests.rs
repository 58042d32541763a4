//! The file provider: what it keeps, what it refuses, and what survives an interruption at any write.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::hash::sha256;

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

#[test]
fn the_journal_key_survives_every_rotation_and_no_rebuild() {
    let place = Place::new();
    let provider = place.create();
    let before = journal_mac(&provider);
    assert_ne!(before, journal_mac(&Place::new().create()));
    provider.rotate_root().unwrap();
    assert_eq!(provider.rotate_log_key().unwrap().journal.mac(b"x"), before);
    assert_eq!(journal_mac(&place.open()), before);
    fs::remove_file(place.path().join("keyring.json")).unwrap();
    assert_ne!(
        journal_mac(&KeyFolder::rebuild(&place.path(), NOW).unwrap()),
        before
    );
    let shown = format!("{:?}", provider.log_keys().unwrap().journal);
    assert_eq!(shown, "JournalKey(****)");
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

#[test]
fn a_folder_opens_as_it_was_made() {
    let place = Place::new();
    let made = place.create();
    assert!(!made.has_recovery());
    check_same(&made, &place.open());
    check_same(&made, &made.clone());
}

#[test]
fn files_are_private_and_nothing_else_lies_around() {
    let place = Place::new();
    place.create_with_recovery();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&place.path()), 0o700);
    let names = names(&place.path());
    assert_eq!(names.len(), 3);
    assert_eq!(names[..2], ["keyring.json", "recovery.json"]);
    for name in &names {
        assert_eq!(mode(&place.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

#[test]
fn only_the_root_key_is_in_the_clear() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    let seed = provider.log_keys().unwrap().ed25519.to_pkcs8().unwrap();
    let seed = &seed.expose()[16..48];
    let text = encoding::encode_secret(&crate::SecretBytes::new(seed.to_vec()));
    for name in ["keyring.json", "recovery.json"] {
        let bytes = fs::read(place.path().join(name)).unwrap();
        for secret in [seed, text.trim_end_matches('=').as_bytes()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn wrapped_keys_belong_to_their_context_and_root() {
    let (place, other) = (Place::new(), Place::new());
    let provider = place.create();
    let wrapped = provider.wrap(&data_key(), b"artifact digits@1").unwrap();
    assert_eq!(wrapped.key_id, provider.current_root().unwrap());
    assert!(matches!(
        provider.unwrap(&wrapped, b"artifact digits@2"),
        Err(KeyError::NotAuthentic)
    ));
    assert!(matches!(
        provider.unwrap(&wrapped, b""),
        Err(KeyError::NotAuthentic)
    ));
    for index in 0..wrapped.ciphertext.len() {
        let mut changed = wrapped.clone();
        changed.ciphertext[index] ^= 1;
        assert!(matches!(
            provider.unwrap(&changed, b"artifact digits@1"),
            Err(KeyError::NotAuthentic)
        ));
        changed.ciphertext.truncate(index);
        assert!(matches!(
            provider.unwrap(&changed, b"artifact digits@1"),
            Err(KeyError::NotAuthentic)
        ));
    }
    let other = other.create();
    assert!(matches!(
        other.unwrap(&wrapped, b"artifact digits@1"),
        Err(KeyError::UnknownRoot { .. })
    ));
    let renamed = WrappedKey {
        key_id: other.current_root().unwrap(),
        ..wrapped.clone()
    };
    assert!(matches!(
        other.unwrap(&renamed, b"artifact digits@1"),
        Err(KeyError::NotAuthentic)
    ));
    assert_ne!(provider.wrap(&data_key(), b"artifact digits@1").unwrap(), wrapped);
}

#[test]
fn a_wrapped_key_survives_json() {
    let place = Place::new();
    let provider = place.create();
    let wrapped = provider.wrap(&data_key(), b"x").unwrap();
    let json = serde_json::to_string(&wrapped).unwrap();
    assert_eq!(serde_json::from_str::<WrappedKey>(&json).unwrap(), wrapped);
    assert!(serde_json::from_str::<WrappedKey>(r#"{"key_id":"a","ciphertext":"%"}"#).is_err());
}

#[test]
fn short_values_seal_under_a_data_key() {
    let sealed = data_key().seal(b"jane@example.org", b"subject 7 email").unwrap();
    assert_eq!(
        data_key().open(&sealed, b"subject 7 email").unwrap().expose(),
        b"jane@example.org"
    );
    assert!(data_key().open(&sealed, b"subject 8 email").is_err());
    assert!(
        DataKey::from_bytes([4; 32])
            .open(&sealed, b"subject 7 email")
            .is_err()
    );
    assert!(data_key().open(&[], b"subject 7 email").is_err());
    // A value sealed by a data key does not open as a key wrapped under the same bytes.
    let root = root::RootKey::from_secret(&crate::SecretBytes::new(vec![3; 32])).unwrap();
    let value = data_key().seal(&[9; 32], b"x").unwrap();
    let wrapped = WrappedKey {
        key_id: root.id().into(),
        ciphertext: value,
    };
    assert!(matches!(root.unwrap(&wrapped, b"x"), Err(KeyError::NotAuthentic)));
    assert_eq!(format!("{:?}", data_key()), "****");
}

#[test]
fn root_rotation_keeps_old_keys_until_they_are_retired() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    let old_id = provider.current_root().unwrap();
    let old = provider.wrap(&data_key(), b"x").unwrap();
    let before = log_id(&provider);
    let new_id = provider.rotate_root().unwrap();
    assert_ne!(new_id, old_id);
    assert_eq!(provider.current_root().unwrap(), new_id);
    assert_eq!(log_id(&provider), before);
    check_same(&provider, &place.open());
    assert_eq!(
        provider.unwrap(&old, b"x").unwrap().as_bytes(),
        data_key().as_bytes()
    );
    let new = provider.rewrap(&old, b"x").unwrap();
    assert_eq!(new.key_id, new_id);

    assert!(matches!(
        provider.retire_roots(&[&old_id, &new_id]),
        Err(KeyError::RootInUse { .. })
    ));
    assert!(matches!(
        provider.retire_roots(&["root-0"]),
        Err(KeyError::UnknownRoot { .. })
    ));
    assert_eq!(
        provider.roots().unwrap().len(),
        2,
        "a refused call retires nothing"
    );
    let file = place.path().join(format!("{old_id}.key"));
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let missing = WrappedKey {
        key_id: "root-0".to_owned(),
        ..old.clone()
    };
    let reopened = place.open();
    assert!(matches!(
        reopened.unwrap(&old, b"x"),
        Err(KeyError::RootLost { .. })
    ));
    assert!(matches!(
        reopened.unwrap(&missing, b"x"),
        Err(KeyError::UnknownRoot { .. })
    ));
    files::write(&place.path(), file.file_name().unwrap().to_str().unwrap(), &bytes).unwrap();
    provider.retire_roots(&[&old_id]).unwrap();
    for provider in [&provider, &place.open()] {
        assert!(matches!(
            provider.unwrap(&old, b"x"),
            Err(KeyError::UnknownRoot { .. })
        ));
        assert_eq!(
            provider.unwrap(&new, b"x").unwrap().as_bytes(),
            data_key().as_bytes()
        );
    }
    assert_eq!(names(&place.path()).len(), 3);
}

#[test]
fn log_and_authority_rotate() {
    let place = Place::new();
    let provider = place.create();
    let (first, first_authority) = (
        provider.log_keys().unwrap(),
        provider.certificate_authority().unwrap(),
    );
    let second = provider.rotate_log_key().unwrap();
    let authority = provider.rotate_certificate_authority(NOW).unwrap();
    assert_eq!(
        provider.former_log_keys().unwrap(),
        [(first.ed25519.verifying_key(), first.ml_dsa_44.verifying_key())]
    );
    assert_eq!(
        provider.log_keys().unwrap().ed25519.verifying_key(),
        second.ed25519.verifying_key()
    );
    assert_ne!(first.ed25519.verifying_key(), second.ed25519.verifying_key());
    assert_ne!(authority.certificate_der(), first_authority.certificate_der());
    check_same(&provider, &place.open());
}

#[test]
fn the_passphrase_brings_lost_root_keys_back() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    assert!(provider.has_recovery());
    provider.rotate_root().unwrap();
    for root in provider.roots().unwrap() {
        fs::remove_file(place.path().join(format!("{root}.key"))).unwrap();
    }
    assert!(matches!(
        KeyFolder::open(&place.path()),
        Err(KeyError::RootLost { .. })
    ));
    let wrong = Passphrase::new("nine rivers under class".into()).unwrap();
    assert!(matches!(
        KeyFolder::recover(&place.path(), &wrong),
        Err(KeyError::WrongPassphrase)
    ));
    check_same(
        &provider,
        &KeyFolder::recover(&place.path(), &passphrase()).unwrap(),
    );

    let root = place.file("root-");
    fs::write(&root, "damaged\n").unwrap();
    assert!(matches!(
        KeyFolder::open(&place.path()),
        Err(KeyError::Damaged {
            recoverable: true,
            ..
        })
    ));
    check_same(
        &provider,
        &KeyFolder::recover(&place.path(), &passphrase()).unwrap(),
    );
}

#[test]
fn a_passphrase_can_be_set_later_and_changed() {
    let place = Place::new();
    let provider = place.create();
    assert!(matches!(
        KeyFolder::recover(&place.path(), &passphrase()),
        Err(KeyError::NoRecovery { .. })
    ));
    provider.set_recovery(&passphrase()).unwrap();
    assert!(place.open().has_recovery());
    let next = Passphrase::new("ten rivers under glass".into()).unwrap();
    provider.set_recovery(&next).unwrap();
    provider.rotate_root().unwrap();
    assert!(matches!(
        KeyFolder::recover(&place.path(), &passphrase()),
        Err(KeyError::WrongPassphrase)
    ));
    fs::remove_file(place.file("root-")).unwrap();
    check_same(&provider, &KeyFolder::recover(&place.path(), &next).unwrap());
}

/// After each write of `set_recovery` the file is under one of the two passphrases, and learns of new root keys.
#[test]
fn a_change_of_passphrase_interrupted_at_any_write_keeps_one() {
    let next = Passphrase::new("ten rivers under glass".into()).unwrap();
    let place = Place::new();
    let provider = place.create_with_recovery();
    let recovery = place.path().join("recovery.json");
    let (old_ring, old_file) = (
        fs::read(place.path().join("keyring.json")).unwrap(),
        fs::read(&recovery).unwrap(),
    );
    provider.set_recovery(&next).unwrap();
    let (new_ring, new_file) = (
        fs::read(place.path().join("keyring.json")).unwrap(),
        fs::read(&recovery).unwrap(),
    );
    let root = root::RootKey::from_file(
        place.file("root-").file_name().unwrap().to_str().unwrap(),
        &fs::read(place.file("root-")).unwrap(),
    )
    .unwrap();
    let ring = |bytes: &[u8]| ring::RingFile::parse(bytes).unwrap().open(&root).unwrap();
    let mut both = ring(&old_ring);
    both.recovery.append(&mut ring(&new_ring).recovery);
    let both = both.seal(&root).unwrap().to_vec();

    for (ring, file, passphrase) in [
        (&old_ring, &old_file, passphrase()),
        (&both, &old_file, passphrase()),
        (
            &both,
            &new_file,
            Passphrase::new("ten rivers under glass".into()).unwrap(),
        ),
        (
            &new_ring,
            &new_file,
            Passphrase::new("ten rivers under glass".into()).unwrap(),
        ),
    ] {
        fs::write(place.path().join("keyring.json"), ring).unwrap();
        fs::write(&recovery, file).unwrap();
        let opened = place.open();
        assert!(opened.has_recovery());
        opened.rotate_root().unwrap();
        for root in opened.roots().unwrap() {
            fs::remove_file(place.path().join(format!("{root}.key"))).unwrap();
        }
        check_same(&opened, &KeyFolder::recover(&place.path(), &passphrase).unwrap());
    }
}

#[test]
fn a_lost_recovery_file_is_said_and_set_again() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    let other = Place::new();
    other.create_with_recovery();
    let file = place.path().join("recovery.json");
    fs::copy(other.path().join("recovery.json"), &file).unwrap();
    assert!(!provider.has_recovery());
    assert!(matches!(provider.rotate_root(), Err(KeyError::RecoveryLost { path }) if path == file));
    fs::remove_file(&file).unwrap();
    assert!(!place.open().has_recovery());
    assert!(matches!(
        provider.rotate_root(),
        Err(KeyError::RecoveryLost { .. })
    ));
    provider.set_recovery(&passphrase()).unwrap();
    assert!(place.open().has_recovery());
    provider.rotate_root().unwrap();
}

#[test]
fn an_export_makes_the_same_folder_elsewhere() {
    let (place, other) = (Place::new(), Place::new());
    let provider = place.create_with_recovery();
    provider.rotate_root().unwrap();
    provider.rotate_log_key().unwrap();
    let secret = Passphrase::new("export passphrase".into()).unwrap();
    let export = provider.export_encrypted(&secret).unwrap();
    assert!(matches!(
        KeyFolder::import_encrypted(&other.path(), &export, &passphrase()),
        Err(KeyError::WrongPassphrase)
    ));
    assert!(matches!(
        KeyFolder::import_encrypted(&place.path(), &export, &secret),
        Err(KeyError::Exists { .. })
    ));
    let imported = KeyFolder::import_encrypted(&other.path(), &export, &secret).unwrap();
    check_same(&provider, &imported);
    assert!(imported.has_recovery());
    fs::remove_file(other.file("root-")).unwrap();
    check_same(
        &provider,
        &KeyFolder::recover(&other.path(), &passphrase()).unwrap(),
    );
    let cut = &export[..export.len() - 10];
    assert!(matches!(
        KeyFolder::import_encrypted(&other.path(), cut, &secret),
        Err(KeyError::NotAnExport)
    ));
}

#[test]
fn others_may_not_read_a_key_file() {
    let place = Place::new();
    place.create_with_recovery();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for name in names(&place.path()) {
        let path = place.path().join(&name);
        for mode in [0o640, 0o604, 0o620, 0o602] {
            set(&path, mode);
            let opened = KeyFolder::recover(&place.path(), &passphrase());
            // Recovery writes root keys again, so a root key's old mode does not matter to it.
            let refused = matches!(&opened, Err(KeyError::TooOpen { path: found, .. }) if *found == path);
            assert!(refused || name.starts_with("root-"), "{name} {mode:o} {opened:?}");
            set(&path, mode);
            let opened = KeyFolder::open(&place.path());
            let refused = matches!(&opened, Err(KeyError::TooOpen { path: found, .. }) if *found == path);
            assert!(refused || name == "recovery.json", "{name} {mode:o} {opened:?}");
        }
        set(&path, 0o600);
    }
    set(&place.path(), 0o750);
    assert!(matches!(
        KeyFolder::open(&place.path()),
        Err(KeyError::TooOpen { folder: true, .. })
    ));
    set(&place.path(), 0o700);
    place.open();
}

#[test]
fn a_link_is_no_key_file() {
    let place = Place::new();
    place.create();
    let (root, elsewhere) = (place.file("root-"), place.folder.path().join("elsewhere"));
    fs::rename(&root, &elsewhere).unwrap();
    symlink(&elsewhere, &root).unwrap();
    assert!(matches!(KeyFolder::open(&place.path()), Err(KeyError::Io { path, .. }) if path == root));
    let link = place.folder.path().join("link");
    symlink(place.path(), &link).unwrap();
    assert!(KeyFolder::open(&link).is_err());
    assert!(matches!(
        KeyFolder::create(&link, None, NOW),
        Err(KeyError::Exists { .. })
    ));
}

/// Opening a pipe without a writer would wait for ever.
#[test]
fn a_pipe_is_no_key_file() {
    let place = Place::new();
    place.create();
    let root = place.file("root-");
    fs::remove_file(&root).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &root, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(KeyFolder::open(&place.path()), Err(KeyError::Damaged { path, .. }) if path == root));
}

#[test]
fn nothing_is_overwritten_and_an_empty_folder_is_used() {
    let place = Place::new();
    place.create();
    assert!(matches!(
        KeyFolder::create(&place.path(), None, NOW),
        Err(KeyError::Exists { .. })
    ));
    let other = Place::new();
    fs::create_dir(other.path()).unwrap();
    other.create();
    assert_eq!(fs::metadata(other.path()).unwrap().mode() & 0o777, 0o700);
    let file = Place::new();
    fs::write(file.path(), "").unwrap();
    assert!(matches!(
        KeyFolder::create(&file.path(), None, NOW),
        Err(KeyError::Exists { .. })
    ));
    let missing = Place::new();
    assert!(matches!(
        KeyFolder::open(&missing.path()),
        Err(KeyError::Missing { .. })
    ));
    assert!(matches!(
        KeyFolder::create(&missing.path().join("a/b"), None, NOW),
        Err(KeyError::Io { .. })
    ));
}

#[test]
fn every_changed_byte_of_a_key_file_is_noticed() {
    let place = Place::new();
    let provider = place.create();
    for name in names(&place.path()) {
        let path = place.path().join(&name);
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 97).max(1);
        for index in (0..whole.len()).step_by(step) {
            for changed in [flipped(&whole, index), whole[..index].to_vec()] {
                fs::write(&path, &changed).unwrap();
                match KeyFolder::open(&place.path()) {
                    Err(KeyError::Damaged { path: found, .. }) => assert_eq!(found, path),
                    // The keyring then names another root key.
                    Err(KeyError::RootLost { .. }) => assert_eq!(name, "keyring.json"),
                    other => panic!("{name} byte {index}: {other:?}"),
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    check_same(&provider, &place.open());
}

fn flipped(bytes: &[u8], index: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index] ^= 1;
    bytes
}

#[test]
fn a_lost_keyring_is_made_again_and_data_keys_still_unwrap() {
    let place = Place::new();
    let provider = place.create();
    let wrapped = provider.wrap(&data_key(), b"x").unwrap();
    let keyring = place.path().join("keyring.json");
    let whole = fs::read(&keyring).unwrap();
    assert!(
        matches!(KeyFolder::rebuild(&place.path(), NOW), Err(KeyError::Exists { path }) if path == keyring)
    );

    fs::write(&keyring, &whole[..whole.len() / 2]).unwrap();
    let rebuilt = KeyFolder::rebuild(&place.path(), NOW).unwrap();
    check_same(&rebuilt, &place.open());
    assert_ne!(log_id(&rebuilt), log_id(&provider));
    assert_ne!(rebuilt.current_root().unwrap(), provider.current_root().unwrap());
    assert_eq!(
        rebuilt.unwrap(&wrapped, b"x").unwrap().as_bytes(),
        data_key().as_bytes()
    );
    assert_eq!(
        fs::read(place.file("keyring.json.damaged-")).unwrap(),
        whole[..whole.len() / 2]
    );

    fs::remove_file(&keyring).unwrap();
    check_same(&KeyFolder::rebuild(&place.path(), NOW).unwrap(), &place.open());
    fs::remove_file(
        place
            .path()
            .join(format!("{}.key", place.open().current_root().unwrap())),
    )
    .unwrap();
    assert!(matches!(
        KeyFolder::rebuild(&place.path(), NOW),
        Err(KeyError::RootLost { .. })
    ));
}

#[test]
fn a_half_made_folder_is_noticed() {
    let place = Place::new();
    place.create();
    fs::remove_file(place.path().join("keyring.json")).unwrap();
    let error = KeyFolder::open(&place.path()).unwrap_err();
    assert!(matches!(&error, KeyError::Damaged { path, .. } if path.ends_with("keyring.json")));
    let huge = Place::new();
    huge.create();
    fs::write(huge.path().join("keyring.json"), vec![b' '; 5 << 20]).unwrap();
    assert!(matches!(
        KeyFolder::open(&huge.path()),
        Err(KeyError::Damaged { .. })
    ));
}

/// The folder as a crash after each rename of a rotation would leave it: old files with some new ones.
#[test]
fn a_rotation_interrupted_at_any_write_opens() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    let old = provider.wrap(&data_key(), b"x").unwrap();
    let before: Vec<_> = names(&place.path())
        .into_iter()
        .map(|name| (fs::read(place.path().join(&name)).unwrap(), name))
        .collect();
    let new_id = provider.rotate_root().unwrap();
    let new = provider.wrap(&data_key(), b"x").unwrap();
    let order = [
        format!("{new_id}.key"),
        "recovery.json".into(),
        "keyring.json".into(),
    ];
    let after: Vec<_> = order
        .iter()
        .map(|name| (fs::read(place.path().join(name)).unwrap(), name))
        .collect();

    for done in 0..=order.len() {
        let crashed = Place::new();
        crashed.create();
        for name in names(&crashed.path()) {
            fs::remove_file(crashed.path().join(name)).unwrap();
        }
        let write = |name: &str, bytes: &[u8]| {
            fs::write(crashed.path().join(name), bytes).unwrap();
            fs::set_permissions(crashed.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        before.iter().for_each(|(bytes, name)| write(name, bytes));
        after[..done].iter().for_each(|(bytes, name)| write(name, bytes));
        write(".keyring.json.tmp-00", b"half");
        let opened = crashed.open();
        assert_eq!(
            opened.unwrap(&old, b"x").unwrap().as_bytes(),
            data_key().as_bytes()
        );
        assert_eq!(opened.current_root().unwrap() == new_id, done == order.len());
        if opened.current_root().unwrap() == new_id {
            opened.unwrap(&new, b"x").unwrap();
        }
        opened.rotate_root().unwrap();
        assert!(
            names(&crashed.path()).iter().all(|name| !name.contains("tmp")),
            "leftovers are removed"
        );
        for root in opened.roots().unwrap() {
            fs::remove_file(crashed.path().join(format!("{root}.key"))).unwrap();
        }
        check_same(
            &opened,
            &KeyFolder::recover(&crashed.path(), &passphrase()).unwrap(),
        );
    }
}

#[test]
fn a_change_that_cannot_be_written_changes_nothing() {
    let place = Place::new();
    let provider = place.create();
    let before = (log_id(&provider), provider.current_root().unwrap());
    // A folder in the keyring's place: the rename fails for every user.
    let keyring = place.path().join("keyring.json");
    let bytes = fs::read(&keyring).unwrap();
    fs::remove_file(&keyring).unwrap();
    fs::create_dir(&keyring).unwrap();
    assert!(matches!(provider.rotate_root(), Err(KeyError::Io { .. })));
    assert!(matches!(provider.rotate_log_key(), Err(KeyError::Io { .. })));
    assert!(provider.rotate_certificate_authority(NOW).is_err());
    assert_eq!((log_id(&provider), provider.current_root().unwrap()), before);
    fs::remove_dir(&keyring).unwrap();
    fs::write(&keyring, bytes).unwrap();
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(log_id(&place.open()), before.0);
    assert!(names(&place.path()).iter().all(|name| !name.contains("tmp")));
}

/// RFC 9106 §5.3.
#[test]
fn argon2id_vector_of_rfc_9106() {
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .build()
        .unwrap();
    let argon2 = argon2::Argon2::new_with_secret(
        &[3; 8],
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        params,
    )
    .unwrap();
    let mut tag = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
    assert_eq!(
        hex::encode(tag),
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    );
}

#[test]
fn errors_say_what_to_do_and_never_what_is_inside() {
    let place = Place::new();
    place.create();
    let root = place.file("root-");
    let content = fs::read_to_string(&root).unwrap();
    fs::write(&root, format!("x{content}")).unwrap();
    let error = KeyFolder::open(&place.path()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("root-") && text.contains("hint: restore it from a backup"),
        "{text}"
    );
    assert!(!text.contains(content.trim()));
    fs::set_permissions(&root, fs::Permissions::from_mode(0o644)).unwrap();
    let error = KeyFolder::open(&place.path())
        .unwrap_err()
        .to_string()
        .replace(&*root.to_string_lossy(), "FILE");
    expect_test::expect![[r#"
        `FILE` has mode 0644: others than its owner may use it
        hint: find out who read it; then `chmod 600 'FILE'`"#]]
    .assert_eq(&error);
}

#[test]
fn mutated_key_files_do_not_panic() {
    let place = Place::new();
    let provider = place.create_with_recovery();
    let mut corpus: Vec<Vec<u8>> = names(&place.path())
        .iter()
        .map(|name| fs::read(place.path().join(name)).unwrap())
        .collect();
    corpus.push(provider.export_encrypted(&passphrase()).unwrap());
    for whole in corpus {
        fuzz_key_export(&whole);
        for round in 0..300u32 {
            let draw = sha256(&round.to_be_bytes());
            let at = usize::from(u16::from_be_bytes([draw[0], draw[1]])) % whole.len();
            let mut data = whole.clone();
            match draw[2] % 3 {
                0 => data.truncate(at),
                1 => data[at] ^= draw[3] | 1,
                _ => drop(data.splice(at..at, draw)),
            }
            fuzz_key_export(&data);
        }
    }
}
