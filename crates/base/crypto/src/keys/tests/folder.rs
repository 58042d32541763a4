//! What a key folder keeps, what it refuses, and what its errors say.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use super::*;
use crate::hash::sha256;

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
