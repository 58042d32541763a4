//! What a passphrase, an export or the root key alone brings back.

use std::fs;

use super::*;

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
