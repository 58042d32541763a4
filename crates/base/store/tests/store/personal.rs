//! Personal fields, their erasure, and the marker that must be nowhere.

use serde_json::json;
use stockade_evidence::{Actor, Event, Personal};
use stockade_store::{PersonalError, wall_clock};

use crate::folder::{Folder, copy, files, put, record};

const MARKER: &str = "Zaphod-Marker-7f3a";

#[tokio::test]
async fn a_field_opens_only_for_its_subject_and_name() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let sealed = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    let again = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    assert_eq!((sealed.alg.as_str(), &sealed.kid), ("A256GCM", &again.kid));
    assert_ne!(sealed.ct, again.ct, "equal values must not look equal");
    let other = keeper.seal_personal("p2", "name", "Ada").await.unwrap();
    assert_ne!(sealed.kid, other.kid);
    assert_eq!(
        keeper
            .open_personal("p1", "name", &sealed)
            .await
            .unwrap()
            .as_deref(),
        Some("Ada")
    );
    assert!(matches!(
        keeper.open_personal("p1", "email", &sealed).await,
        Err(PersonalError::NotAuthentic)
    ));
    assert!(keeper.open_personal("p2", "name", &sealed).await.is_err());
    for spoiled in [
        Personal {
            alg: "none".into(),
            ..sealed.clone()
        },
        Personal {
            kid: "../../VERSION".into(),
            ..sealed.clone()
        },
        Personal {
            kid: sealed.kid.to_uppercase(),
            ..sealed.clone()
        },
        Personal {
            ct: other.ct.clone(),
            ..sealed.clone()
        },
        Personal {
            ct: "!".into(),
            ..sealed.clone()
        },
        Personal {
            ct: String::new(),
            ..sealed.clone()
        },
    ] {
        let opened = keeper.open_personal("p1", "name", &spoiled).await;
        assert!(
            matches!(opened, Err(PersonalError::NotAuthentic)) || spoiled.kid != sealed.kid,
            "{spoiled:?}"
        );
    }
    for (subject, field) in [
        ("", "name"),
        ("p1", ""),
        ("p\n1", "name"),
        (&*"p".repeat(300), "name"),
    ] {
        assert!(matches!(
            keeper.seal_personal(subject, field, "x").await,
            Err(PersonalError::Invalid)
        ));
    }
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn erasure_is_final_across_restarts_and_key_files_put_back() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let sealed = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    let other = keeper.seal_personal("p2", "name", "Grace").await.unwrap();
    let kept = folder.keep(&folder.dir.subjects());
    keeper
        .erase_subject("p1", Actor::Operator { uid: 7 }, wall_clock())
        .await
        .unwrap();
    assert!(!folder.dir.subjects().join(&sealed.kid).exists());
    assert_eq!(keeper.open_personal("p1", "name", &sealed).await.unwrap(), None);
    // A copy of the key file, put back while the keeper runs, opens nothing.
    copy(&kept.join(&sealed.kid), &folder.dir.subjects().join(&sealed.kid));
    assert_eq!(keeper.open_personal("p1", "name", &sealed).await.unwrap(), None);
    keeper.close().await.unwrap();
    let keeper = folder.open().await;
    assert!(
        !folder.dir.subjects().join(&sealed.kid).exists(),
        "destroyed again at the start"
    );
    assert_eq!(keeper.open_personal("p1", "name", &sealed).await.unwrap(), None);
    assert_eq!(
        keeper
            .open_personal("p2", "name", &other)
            .await
            .unwrap()
            .as_deref(),
        Some("Grace")
    );
    let new = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    assert_ne!(new.kid, sealed.kid, "a person who comes back gets a new key");
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn erasing_somebody_unknown_is_recorded_too() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let start = keeper.now();
    keeper
        .erase_subject("nobody", Actor::System {}, start)
        .await
        .unwrap();
    let mut erased = 0;
    keeper
        .entries_since(start, &mut |_, record| {
            erased += usize::from(record.event == Event::SubjectErased)
        })
        .await
        .unwrap();
    assert_eq!(erased, 1);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn subjects_follow_a_new_root_key() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let sealed = keeper.seal_personal("p1", "name", "Ada").await.unwrap();
    let old = keeper.keys().current_root().unwrap();
    keeper.keys().rotate_root().unwrap();
    assert_eq!(keeper.rewrap_subjects().await.unwrap(), 1);
    keeper.keys().retire_roots(&[&old]).unwrap();
    assert_eq!(
        keeper
            .open_personal("p1", "name", &sealed)
            .await
            .unwrap()
            .as_deref(),
        Some("Ada")
    );
    keeper.close().await.unwrap();
    let keeper = folder.open().await;
    assert_eq!(
        keeper
            .open_personal("p1", "name", &sealed)
            .await
            .unwrap()
            .as_deref(),
        Some("Ada")
    );
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_personal_value_is_in_plaintext_nowhere() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let sealed = keeper.seal_personal("p1", "name", MARKER).await.unwrap();
    let row = json!({ "name": serde_json::to_value(&sealed).unwrap() });
    keeper
        .append(record(Event::PrincipalCreated).changing(put("principal", "p1", row)))
        .await
        .unwrap();
    keeper.snapshot().await.unwrap();
    let backup = folder.temp.path().join("backup");
    stockade_store::create_backup(&keeper, &backup, None, Actor::System {})
        .await
        .unwrap();
    keeper
        .erase_subject("p1", Actor::System {}, keeper.now())
        .await
        .unwrap();
    keeper.close().await.unwrap();
    let all = files(folder.temp.path());
    assert!(all.len() > 10);
    for file in all {
        let bytes = std::fs::read(&file).unwrap();
        for marker in [MARKER.as_bytes(), MARKER.to_lowercase().as_bytes()] {
            assert!(
                !bytes.windows(marker.len()).any(|part| part == marker),
                "{}",
                file.display()
            );
        }
    }
}
