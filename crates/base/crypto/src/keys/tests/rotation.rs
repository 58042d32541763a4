//! New root keys, log keys and authorities, and an interruption at any write of one.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

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
