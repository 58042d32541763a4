//! Backups: live, verified, restored, tampered with.

use serde_json::json;
use stockade_crypto::Passphrase;
use stockade_evidence::{Actor, Event, Record, Timestamp};
use stockade_store::{
    BackupError, BackupReport, Config, Handle, Keeper, RestoreKeys, RestoreOptions, StateDir, create_backup,
    restore_backup, verify_backup,
};

use crate::folder::{Folder, files, record, set};

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery".to_owned()).unwrap()
}

fn options() -> RestoreOptions {
    RestoreOptions {
        config: Config::default(),
        take_anchor: false,
        actor: Actor::Operator { uid: 1 },
        erasures_from: Vec::new(),
    }
}

async fn filled(folder: &Folder) -> Keeper {
    let keeper = folder.open().await;
    for n in 0..300 {
        keeper
            .append(record(Event::RequestAdmitted).with("n", n))
            .await
            .unwrap();
    }
    set(&keeper, "a", json!({"n": 1})).await;
    keeper
        .blobs()
        .put("payload/1", b"payload".to_vec())
        .await
        .unwrap();
    std::fs::write(folder.dir.vault().join("sealed"), [7; 5000]).unwrap();
    std::fs::write(folder.dir.project().join("stockade.toml"), "# mine\n").unwrap();
    std::fs::create_dir_all(folder.dir.project().join("policies")).unwrap();
    std::fs::write(folder.dir.project().join("policies/own.cedar"), "// mine\n").unwrap();
    std::fs::write(folder.dir.project().join("unrelated.txt"), "not ours\n").unwrap();
    keeper
}

#[tokio::test]
async fn a_live_folder_comes_back_whole_from_its_backup() {
    let folder = Folder::new();
    let keeper = filled(&folder).await;
    let backup = folder.temp.path().join("backup");
    let report = create_backup(&keeper, &backup, Some(&passphrase()), Actor::System {})
        .await
        .unwrap();
    assert!(
        report.with_keys && report.log_size >= 302 && report.files > 8,
        "{report:?}"
    );
    let rows = keeper.rows("thing").await.unwrap();
    let key = keeper.keys().log_keys().unwrap().ed25519.verifying_key();
    set(&keeper, "after", json!(1)).await;
    keeper.close().await.unwrap();
    assert_eq!(
        verify_backup(&backup, std::slice::from_ref(&key)).unwrap(),
        report
    );
    assert!(matches!(verify_backup(&backup, &[]), Err(BackupError::Signature)));
    let target = StateDir::new(folder.temp.path().join("restored"));
    std::fs::create_dir(target.project()).unwrap();
    let wrong = RestoreKeys::Sealed(Passphrase::new("another passphrase".to_owned()).unwrap());
    let refused = restore_backup(&backup, target.clone(), wrong, options()).await;
    assert!(matches!(refused, Err(BackupError::Key(_))));
    assert!(
        files(target.project()).is_empty(),
        "the retry finds the folder as it was"
    );
    let restored = restore_backup(
        &backup,
        target.clone(),
        RestoreKeys::Sealed(passphrase()),
        options(),
    )
    .await
    .unwrap();
    assert_ne!(restored.origin, report.origin);
    let keys = stockade_crypto::KeyFolder::open(&target.keys()).unwrap();
    let keeper = Keeper::open(target.clone(), keys, Config::default())
        .await
        .unwrap();
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    assert_eq!(&keeper.blobs().get("payload/1").await.unwrap()[..], b"payload");
    set(&keeper, "b", json!(2)).await;
    let mut again = 0;
    let mut count = |_: u64, record: &Record| again += u32::from(record.event == Event::RequestAdmitted);
    keeper
        .entries_since(Timestamp::from_unix_ms(0), &mut count)
        .await
        .unwrap();
    assert_eq!(again, 300, "what was spent is spent");
    keeper.close().await.unwrap();
    assert_eq!(std::fs::read(target.vault().join("sealed")).unwrap(), [7; 5000]);
    for (file, text) in [("stockade.toml", "# mine\n"), ("policies/own.cedar", "// mine\n")] {
        assert_eq!(
            std::fs::read_to_string(target.project().join(file)).unwrap(),
            text
        );
    }
    assert!(!target.project().join("unrelated.txt").exists());
    assert!(target.origins().join(&report.origin).join("checkpoint").exists());
}

#[tokio::test]
async fn keys_kept_elsewhere_restore_as_well_and_others_do_not() {
    let folder = Folder::new();
    let keeper = filled(&folder).await;
    let backup = folder.temp.path().join("backup");
    let handle = Handle::Local(keeper);
    let report: BackupReport = handle.backup(&backup, None, Actor::System {}).await.unwrap();
    handle.close().await.unwrap();
    assert!(!report.with_keys);
    let target = |name: &str| StateDir::new(folder.temp.path().join(name));
    let none = restore_backup(
        &backup,
        target("r0"),
        RestoreKeys::Sealed(passphrase()),
        options(),
    )
    .await;
    assert!(matches!(none, Err(BackupError::NoKeys)));
    let stranger = Folder::new();
    let wrong = RestoreKeys::Folder(stranger.dir.keys());
    let refused = restore_backup(&backup, target("r1"), wrong, options())
        .await
        .unwrap_err();
    assert!(matches!(refused, BackupError::Signature), "{refused}");
    assert!(
        !target("r1").project().exists(),
        "a restore that fails leaves nothing"
    );
    let right = RestoreKeys::Folder(folder.dir.keys());
    restore_backup(&backup, target("r1"), right, options())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restore_replays_erasures() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let sealed = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    let kept = keeper.seal_personal("p2", "name", "Grace").await.unwrap();
    let backup = folder.temp.path().join("backup");
    create_backup(&keeper, &backup, None, Actor::System {})
        .await
        .unwrap();
    keeper
        .erase_subject("p1", Actor::System {}, keeper.now())
        .await
        .unwrap();
    let later = folder.temp.path().join("later");
    create_backup(&keeper, &later, None, Actor::System {})
        .await
        .unwrap();
    keeper.close().await.unwrap();
    for (n, source) in [folder.dir.project().to_owned(), later].into_iter().enumerate() {
        let target = StateDir::new(folder.temp.path().join(format!("restored{n}")));
        let options = RestoreOptions {
            erasures_from: vec![source],
            ..options()
        };
        let keys = RestoreKeys::Folder(folder.dir.keys());
        let restored = restore_backup(&backup, target.clone(), keys, options)
            .await
            .unwrap();
        assert_eq!(restored.erased, 1);
        assert!(!target.subjects().join(&sealed.kid).exists());
        for _ in 0..2 {
            let keeper = Keeper::open(target.clone(), folder.keys(), Config::default())
                .await
                .unwrap();
            assert_eq!(keeper.open_personal("p1", "name", &sealed).await.unwrap(), None);
            assert_eq!(
                keeper
                    .open_personal("p2", "name", &kept)
                    .await
                    .unwrap()
                    .as_deref(),
                Some("Grace")
            );
            keeper.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_changed_added_or_missing_file_is_named() {
    let folder = Folder::new();
    let keeper = filled(&folder).await;
    let backup = folder.temp.path().join("backup");
    create_backup(&keeper, &backup, None, Actor::System {})
        .await
        .unwrap();
    let key = keeper.keys().log_keys().unwrap().ed25519.verifying_key();
    keeper.close().await.unwrap();
    let check = |name: &str| match verify_backup(&backup, std::slice::from_ref(&key)) {
        Err(error @ BackupError::Differs { .. }) => {
            assert!(
                error.is_integrity_broken() && error.to_string().contains(name),
                "{error}"
            );
        }
        Err(BackupError::Signature) => assert!(name.starts_with("manifest"), "{name}"),
        Err(BackupError::NotABackup { .. }) => assert_eq!(name, "manifest.json"),
        other => panic!("{name}: {other:?}"),
    };
    for file in files(&backup) {
        let name = file.strip_prefix(&backup).unwrap().to_str().unwrap().to_owned();
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        match bytes.get_mut(middle) {
            Some(byte) => *byte ^= 1,
            None => bytes.push(0),
        }
        std::fs::write(&file, &bytes).unwrap();
        check(&name);
        std::fs::remove_file(&file).unwrap();
        check(&name);
        std::fs::write(&file, &whole).unwrap();
    }
    std::fs::write(backup.join("state/more"), b"").unwrap();
    check("state/more");
    std::fs::remove_file(backup.join("state/more")).unwrap();
    verify_backup(&backup, std::slice::from_ref(&key)).unwrap();
    std::fs::write(backup.join("state/vault/sealed"), [8; 5000]).unwrap();
    let target = StateDir::new(folder.temp.path().join("restored"));
    let restored = restore_backup(
        &backup,
        target.clone(),
        RestoreKeys::Folder(folder.dir.keys()),
        options(),
    )
    .await;
    assert!(matches!(restored, Err(BackupError::Differs { file, .. }) if file == "state/vault/sealed"));
    assert!(target.check_version().is_err());
}

#[tokio::test]
async fn nothing_is_overwritten_and_a_backup_does_not_lie_in_its_folder() {
    let folder = Folder::new();
    let keeper = filled(&folder).await;
    let into = folder.temp.path().join("taken");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(into.join("x"), b"").unwrap();
    let refused = create_backup(&keeper, &into, None, Actor::System {}).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty { .. })));
    let refused = create_backup(
        &keeper,
        &folder.dir.state().join("backup"),
        None,
        Actor::System {},
    )
    .await;
    assert!(matches!(refused, Err(BackupError::Inside { .. })));
    let backup = folder.temp.path().join("backup");
    create_backup(&keeper, &backup, None, Actor::System {})
        .await
        .unwrap();
    keeper.close().await.unwrap();
    let keys = || RestoreKeys::Folder(folder.dir.keys());
    let refused = restore_backup(&backup, folder.dir.clone(), keys(), options()).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty { .. })));
    let refused = restore_backup(
        &into,
        StateDir::new(folder.temp.path().join("r")),
        keys(),
        options(),
    )
    .await;
    assert!(matches!(refused, Err(BackupError::NotABackup { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_consistent() {
    let folder = Folder::new();
    let keeper = filled(&folder).await;
    let mut writers = tokio::task::JoinSet::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for writer in 0..4 {
        let (keeper, stop) = (keeper.clone(), stop.clone());
        writers.spawn(async move {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                set(&keeper, &format!("{writer}"), json!(n)).await;
                keeper.append(record(Event::RequestAdmitted)).await.unwrap();
                n += 1;
            }
        });
    }
    for n in 0..3 {
        let backup = folder.temp.path().join(format!("backup{n}"));
        create_backup(&keeper, &backup, None, Actor::System {})
            .await
            .unwrap();
        let target = StateDir::new(folder.temp.path().join(format!("restored{n}")));
        restore_backup(&backup, target, RestoreKeys::Folder(folder.dir.keys()), options())
            .await
            .unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    keeper.close().await.unwrap();
}
