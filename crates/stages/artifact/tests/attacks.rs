//! Attacks on the vault: every kind of damage is refused, named and recorded, and nothing is released.

#[cfg(test)]
mod project;

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::{Path, PathBuf},
        sync::{Arc, mpsc},
    };

    use stockade_artifact::{
        ArtifactRef, BadSource, CatalogError, OpenArtifactError, Progress, ReleaseError, SealError,
        SourceFile, Vault, Version,
    };
    use stockade_crypto::{KeyFolder, KeyProvider, ReadAt as _};
    use stockade_evidence::{Actor, Change, Digest, DigestAlgorithm, Event, Record, RecordId, Timestamp};
    use stockade_store::{Blobs, Commit, Config, Handle, Keeper, StateDir};

    use crate::project::Project;

    const ACTOR: Actor = Actor::Operator { uid: 1000 };
    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const HOUR: i64 = 3_600_000;
    const SEGMENT: usize = 1 << 20;

    struct Fixture {
        project: Project,
        vault: Vault,
    }

    impl Fixture {
        async fn new() -> Self {
            let project = Project::new().await;
            let vault = Vault::new(Blobs::folder(project.vault()).unwrap(), project.handle.clone());
            Self { project, vault }
        }

        fn source(&self, path: &str, content: &[u8]) -> SourceFile {
            let local = self
                .project
                .path()
                .join(format!("source-{}", path.replace('/', "-")));
            fs::write(&local, content).unwrap();
            SourceFile {
                path_in_artifact: path.parse().unwrap(),
                local,
            }
        }

        async fn try_seal(&self, name: &str, files: &[SourceFile]) -> Result<Version, SealError> {
            self.vault
                .seal(
                    &ACTOR,
                    &name.parse().unwrap(),
                    files,
                    DigestAlgorithm::Sha256,
                    NOW,
                    None,
                )
                .await
        }

        async fn seal(&self, name: &str, files: &[(&str, &[u8])]) -> Version {
            let files: Vec<SourceFile> = files
                .iter()
                .map(|(path, content)| self.source(path, content))
                .collect();
            self.try_seal(name, &files).await.unwrap()
        }

        fn blob(&self, path: &str) -> PathBuf {
            self.project.vault().join(path)
        }

        fn keys(&self) -> &KeyProvider {
            let Handle::Local(keeper) = &self.project.handle else {
                panic!("the project owns its folder")
            };
            keeper.keys()
        }

        fn out(&self) -> PathBuf {
            self.project.path().join("out")
        }

        async fn open_to(&self, reference: &str, out: &Path) -> Result<Version, OpenArtifactError> {
            self.vault
                .open_to(&ACTOR, &reference.parse::<ArtifactRef>().unwrap(), out, NOW)
                .await
        }

        /// Opening fails for the broken integrity of `file`, releases nothing, leaves nothing and is recorded.
        #[track_caller]
        fn check_refused(&self, found: &Result<Version, OpenArtifactError>, file: &str, what: &str) {
            let error = found.as_ref().expect_err(what);
            assert!(error.is_integrity_broken(), "{what}: {error:?}");
            assert!(
                matches!(error, OpenArtifactError::Tampered(tampered) if tampered.file() == file),
                "{what}: {error}"
            );
            assert!(error.to_string().contains(file), "{what}: {error}");
            let left: Vec<_> = fs::read_dir(self.project.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.contains("out"))
                .collect();
            assert!(left.is_empty(), "{what}: {left:?}");
        }

        /// `damage` makes `reference` unopenable because of `file`; undone, it opens again.
        async fn damage(&self, reference: &str, file: &str, what: &str, damage: impl FnOnce(&mut Vec<u8>)) {
            let path = self.blob(file);
            let before = fs::read(&path).unwrap();
            let mut after = before.clone();
            damage(&mut after);
            assert_ne!(before, after, "{what} changes nothing");
            fs::write(&path, after).unwrap();
            let refusals = self.count(Event::ArtifactRefused).await;
            self.check_refused(&self.open_to(reference, &self.out()).await, file, what);
            assert_eq!(self.count(Event::ArtifactRefused).await, refusals + 1, "{what}");
            fs::write(&path, before).unwrap();
        }

        async fn count(&self, event: Event) -> usize {
            self.project
                .records()
                .await
                .iter()
                .filter(|record| record.event == event)
                .count()
        }
    }

    fn content(length: usize, seed: u8) -> Vec<u8> {
        (0..length)
            .map(|place| (place.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0] ^ seed)
            .collect()
    }

    fn xor(place: usize) -> impl Fn(&mut Vec<u8>) {
        move |bytes| bytes[place] ^= 1
    }

    #[tokio::test]
    async fn what_is_sealed_comes_out_and_nothing_in_the_vault_is_plaintext() {
        let fixture = Fixture::new().await;
        let marker = b"MARKER of the plaintext, long enough to be unique";
        let big = content(2 * SEGMENT + 12_345, 1);
        let files: [(&str, &[u8]); 3] = [("model.onnx", marker), ("weights/0.bin", &big), ("empty", b"")];
        let version = fixture.seal("digits", &files).await;
        assert_eq!(
            (version.version, version.size),
            (1, big.len() as u64 + marker.len() as u64)
        );
        fixture.open_to("digits", &fixture.out()).await.unwrap();
        for (path, expected) in files {
            let file = fixture.out().join(path);
            assert!(fs::read(&file).unwrap() == expected, "{path}");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(
            fs::metadata(fixture.out()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let stored: BTreeSet<String> = ["manifest.json", "keys.json", "files/0", "files/1", "files/2"]
            .map(|file| format!("digits/1/{file}"))
            .into();
        for file in &stored {
            let bytes = fs::read(fixture.blob(file)).unwrap();
            assert!(!bytes.windows(12).any(|window| window == &marker[..12]), "{file}");
            assert_eq!(
                fs::metadata(fixture.blob(file)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file}"
            );
        }
        assert_eq!(all_files(&fixture.project.vault()), stored);
    }

    fn all_files(root: &Path) -> BTreeSet<String> {
        fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(root, root, &mut found);
        found
    }

    #[tokio::test]
    async fn a_blob_damaged_in_any_way_is_refused() {
        let fixture = Fixture::new().await;
        let big = content(3 * SEGMENT, 1);
        fixture
            .seal("digits", &[("a.bin", &big), ("b.bin", &content(100, 2))])
            .await;
        let (file, length) = (
            "digits/1/files/0",
            fs::read(fixture.blob("digits/1/files/0")).unwrap().len(),
        );
        for (what, place) in [
            ("header length", 0),
            ("salt", 1),
            ("nonce prefix", 33),
            ("first ciphertext byte", 40),
            ("first tag", SEGMENT - 1),
            ("second segment", SEGMENT),
            ("inside", 2 * SEGMENT + 777),
            ("last segment", 3 * SEGMENT),
            ("last tag", length - 1),
        ] {
            fixture.damage("digits", file, what, xor(place)).await;
        }
        let segment = |number: usize| number * SEGMENT..(number + 1) * SEGMENT;
        fixture
            .damage("digits", file, "cut by a byte", |bytes| {
                bytes.truncate(length - 1)
            })
            .await;
        fixture
            .damage("digits", file, "cut at a segment", |bytes| {
                bytes.truncate(2 * SEGMENT)
            })
            .await;
        fixture
            .damage("digits", file, "cut in the header", |bytes| bytes.truncate(20))
            .await;
        fixture.damage("digits", file, "emptied", Vec::clear).await;
        fixture
            .damage("digits", file, "longer", |bytes| bytes.push(0))
            .await;
        fixture
            .damage("digits", file, "segments exchanged", |bytes| {
                let second = bytes[segment(1)].to_vec();
                bytes.copy_within(segment(2), SEGMENT);
                bytes[segment(2)].copy_from_slice(&second);
            })
            .await;
        fixture
            .damage("digits", file, "segment repeated", |bytes| {
                bytes.copy_within(segment(1), 2 * SEGMENT)
            })
            .await;
        fixture
            .damage("digits", file, "segment dropped", |bytes| {
                drop(bytes.drain(segment(1)))
            })
            .await;
        fixture
            .damage("digits", file, "last segment dropped", |bytes| {
                bytes.truncate(3 * SEGMENT)
            })
            .await;
        for place in (0..140).step_by(7) {
            fixture
                .damage("digits", "digits/1/files/1", "small blob", xor(place))
                .await;
        }
        fixture.open_to("digits", &fixture.out()).await.unwrap();
        assert!(fs::read(fixture.out().join("a.bin")).unwrap() == big);
    }

    #[tokio::test]
    async fn blobs_do_not_open_at_another_place() {
        let fixture = Fixture::new().await;
        let (a, b) = (content(1000, 1), content(1000, 2));
        fixture.seal("digits", &[("a", &a), ("b", &b)]).await;
        fixture.seal("digits", &[("a", &b), ("b", &a)]).await;
        fixture.seal("other", &[("a", &a), ("b", &b)]).await;
        for from in ["digits/1/files/1", "digits/2/files/0", "other/1/files/0"] {
            let foreign = fs::read(fixture.blob(from)).unwrap();
            fixture
                .damage("digits@1", "digits/1/files/0", from, |bytes| *bytes = foreign)
                .await;
        }
        // Both the blobs and their keys exchanged within a version.
        let keys: Vec<serde_json::Value> =
            serde_json::from_slice(&fs::read(fixture.blob("digits/1/keys.json")).unwrap()).unwrap();
        let exchanged = serde_json::json!([keys[1], keys[0]]).to_string().into_bytes();
        fixture
            .damage("digits@1", "digits/1/keys.json", "keys exchanged", |bytes| {
                *bytes = exchanged
            })
            .await;
    }

    #[tokio::test]
    async fn a_changed_manifest_opens_nothing() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"first")]).await;
        fixture.seal("digits", &[("a", b"second")]).await;
        let file = "digits/2/manifest.json";
        let length = fs::read(fixture.blob(file)).unwrap().len();
        for place in (0..length).step_by(11) {
            fixture
                .damage("digits@2", file, "manifest byte", xor(place))
                .await;
        }
        fixture
            .damage("digits@2", file, "manifest cut", |bytes| {
                bytes.truncate(length - 1)
            })
            .await;
        fixture
            .damage("digits@2", file, "manifest longer", |bytes| bytes.push(b' '))
            .await;
        let first = fs::read(fixture.blob("digits/1/manifest.json")).unwrap();
        fixture
            .damage("digits@2", file, "manifest of @1", |bytes| *bytes = first)
            .await;
    }

    #[tokio::test]
    async fn an_older_version_cannot_stand_in_for_a_newer_one() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"vulnerable")]).await;
        fixture.seal("digits", &[("a", b"fixed")]).await;
        for file in ["manifest.json", "keys.json", "files/0"] {
            fs::copy(
                fixture.blob(&format!("digits/1/{file}")),
                fixture.blob(&format!("digits/2/{file}")),
            )
            .unwrap();
        }
        for reference in ["digits", "digits@2"] {
            fixture.check_refused(
                &fixture.open_to(reference, &fixture.out()).await,
                "digits/2/manifest.json",
                reference,
            );
        }
        fixture.open_to("digits@1", &fixture.out()).await.unwrap();
    }

    #[tokio::test]
    async fn changed_keys_open_nothing() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"first")]).await;
        fixture.seal("digits", &[("a", b"second")]).await;
        let file = "digits/2/keys.json";
        let others = fs::read(fixture.blob("digits/1/keys.json")).unwrap();
        fixture
            .damage("digits@2", file, "keys of @1", |bytes| *bytes = others)
            .await;
        fixture
            .damage("digits@2", file, "no keys", |bytes| *bytes = b"[]".to_vec())
            .await;
        fixture
            .damage("digits@2", file, "no JSON", |bytes| bytes.truncate(5))
            .await;
        fixture
            .damage("digits@2", file, "spaces", |bytes| bytes.push(b' '))
            .await;
        let changed = |bytes: &mut Vec<u8>| {
            let mut keys: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let text = keys[0]["ciphertext"].as_str().unwrap().to_owned();
            let other = if text.starts_with('A') { 'B' } else { 'A' };
            keys[0]["ciphertext"] = format!("{other}{}", text.get(1..).unwrap()).into();
            *bytes = serde_json::to_vec(&keys).unwrap();
        };
        fixture.damage("digits@2", file, "ciphertext", changed).await;
    }

    #[tokio::test]
    async fn an_edited_row_cannot_vouch_for_an_edited_manifest() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"model")]).await;
        let path = fixture.blob("digits/1/manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        let edited = text.replace("\"size\":5", "\"size\":4");
        assert_ne!(text, edited);
        fs::write(&path, &edited).unwrap();
        let row = fixture
            .project
            .handle
            .row("artifact_version", "digits@1")
            .await
            .unwrap()
            .unwrap();
        let mut value = row.value;
        value["manifest"] = Digest::sha256(edited.as_bytes()).to_string().into();
        let change = Change::Put {
            kind: row.kind,
            id: row.id,
            value,
        };
        let record = Record::new(NOW, RecordId::new([7; 16]), Event::StateSnapshot, ACTOR).changing(change);
        fixture.project.handle.commit(Commit::new(record)).await.unwrap();
        fixture.check_refused(
            &fixture.open_to("digits", &fixture.out()).await,
            "digits/1/keys.json",
            "row edit",
        );
    }

    #[tokio::test]
    async fn extra_and_missing_files_are_refused() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"model"), ("b", b"labels")]).await;
        for extra in ["digits/1/files/2", "digits/1/evil", "digits/1/files/0.bak"] {
            fs::write(fixture.blob(extra), b"x").unwrap();
            fixture.check_refused(&fixture.open_to("digits", &fixture.out()).await, extra, extra);
            fs::remove_file(fixture.blob(extra)).unwrap();
        }
        for missing in ["digits/1/files/1", "digits/1/keys.json", "digits/1/manifest.json"] {
            let kept = fs::read(fixture.blob(missing)).unwrap();
            fs::remove_file(fixture.blob(missing)).unwrap();
            fixture.check_refused(&fixture.open_to("digits", &fixture.out()).await, missing, missing);
            fs::write(fixture.blob(missing), kept).unwrap();
        }
        fixture.open_to("digits", &fixture.out()).await.unwrap();
    }

    #[tokio::test]
    async fn only_regular_files_are_sealed() {
        let fixture = Fixture::new().await;
        let real = fixture.source("real", b"x");
        let link = fixture.project.path().join("link");
        symlink(&real.local, &link).unwrap();
        let gone = fixture.project.path().join("gone");
        for local in [
            link,
            fixture.project.path().to_owned(),
            PathBuf::from("/dev/zero"),
            gone,
        ] {
            let file = SourceFile {
                path_in_artifact: "a".parse().unwrap(),
                local: local.clone(),
            };
            let error = fixture.try_seal("digits", &[file]).await.unwrap_err();
            assert!(matches!(error, SealError::Source(_)), "{local:?}: {error:?}");
            assert!(error.to_string().contains(local.to_str().unwrap()));
        }
        let twice = [fixture.source("a", b"1"), fixture.source("a", b"2")];
        assert!(matches!(
            fixture.try_seal("digits", &twice).await,
            Err(SealError::Files(_))
        ));
        assert!(matches!(
            fixture.try_seal("digits", &[]).await,
            Err(SealError::Files(_))
        ));
        assert_eq!(
            fixture.seal("digits", &[("a", b"1")]).await.version,
            1,
            "no number was used up"
        );
    }

    #[tokio::test]
    async fn a_source_that_changes_while_it_is_read_is_refused() {
        let fixture = Fixture::new().await;
        let file = fixture.source("a", &content(SEGMENT, 1));
        let local = file.local.clone();
        let grow: Progress = Arc::new(move |_| fs::write(&local, b"other").unwrap());
        let name = "digits".parse().unwrap();
        let sealed = fixture
            .vault
            .seal(&ACTOR, &name, &[file], DigestAlgorithm::Blake3, NOW, Some(grow))
            .await;
        assert!(
            matches!(sealed, Err(SealError::Source(BadSource::Changed { .. }))),
            "{sealed:?}"
        );
        assert_eq!(
            all_files(&fixture.project.vault()),
            BTreeSet::new(),
            "what was written is swept"
        );
        assert_eq!(
            fixture.seal("digits", &[("a", b"1")]).await.version,
            2,
            "the number stays given"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sealers_at_once_get_versions_of_their_own() {
        let fixture = Fixture::new().await;
        let seals = (0..8_u8).map(|n| {
            let file = fixture.source(&format!("f{n}"), &[n; 1000]);
            let vault = fixture.vault.clone();
            async move {
                let name = "digits".parse().unwrap();
                vault
                    .seal(&ACTOR, &name, &[file], DigestAlgorithm::Sha256, NOW, None)
                    .await
                    .unwrap()
                    .version
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        seals.for_each(|seal| drop(tasks.spawn(seal)));
        let versions: BTreeSet<u64> = tasks.join_all().await.into_iter().collect();
        assert_eq!(versions, (1..=8).collect());
        let listed = fixture.vault.catalog().list().await.unwrap();
        assert_eq!(listed.len(), 1);
        for version in &listed[0].versions {
            let reference = format!("digits@{}", version.version);
            let opened = fixture
                .vault
                .read(&ACTOR, &reference.parse().unwrap(), NOW)
                .await
                .unwrap();
            let n = opened.manifest().files()[0]
                .path
                .as_str()
                .strip_prefix('f')
                .unwrap()
                .parse::<u8>()
                .unwrap();
            assert_eq!(opened.files()[0].read_whole(1000).unwrap(), [n; 1000]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sealer_that_dies_leaves_nothing_visible_and_is_swept() {
        let fixture = Fixture::new().await;
        let files = [
            fixture.source("a", b"first"),
            fixture.source("b", &content(SEGMENT, 1)),
        ];
        let (reached, reaching) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (reached, released) = (std::sync::Mutex::new(reached), std::sync::Mutex::new(released));
        let stop: Progress = Arc::new(move |done| {
            if done > 5 {
                reached.lock().unwrap().send(()).unwrap();
                let _ = released.lock().unwrap().recv();
            }
        });
        let vault = fixture.vault.clone();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            let name = "digits".parse().unwrap();
            vault
                .seal(&ACTOR, &name, &files, DigestAlgorithm::Sha256, NOW, Some(stop))
                .await
        });
        tokio::task::spawn_blocking(move || reaching.recv().unwrap())
            .await
            .unwrap();
        task.shutdown().await;
        drop(release);

        assert!(fixture.blob("digits/1/files/0").exists());
        assert_eq!(fixture.vault.catalog().list().await.unwrap(), []);
        let found = fixture.open_to("digits@1", &fixture.out()).await;
        assert!(matches!(found, Err(OpenArtifactError::NotFound { .. })));
        assert!(fixture.vault.rewrap_all().await.unwrap().sealing);

        let name = "digits".parse().unwrap();
        let again = [fixture.source("c", b"again")];
        let seal = |now| {
            fixture
                .vault
                .seal(&ACTOR, &name, &again, DigestAlgorithm::Sha256, now, None)
        };
        assert_eq!(seal(NOW.plus_ms(HOUR)).await.unwrap().version, 2);
        assert!(
            fixture.blob("digits/1/files/0").exists(),
            "it might still be alive"
        );
        assert_eq!(seal(NOW.plus_ms(6 * HOUR)).await.unwrap().version, 3);
        assert!(!fixture.blob("digits/1/files/0").exists());
        let found = fixture
            .vault
            .catalog()
            .show(&"digits".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(found.manifest.version(), 3);
        assert!(!fixture.vault.rewrap_all().await.unwrap().sealing);
    }

    #[tokio::test]
    async fn rotation_wraps_again_and_changes_no_version() {
        let fixture = Fixture::new().await;
        let version = fixture.seal("digits", &[("a", b"model"), ("b", b"labels")]).await;
        let before = fs::read(fixture.blob("digits/1/files/0")).unwrap();
        let old = fixture.keys().current_root().unwrap();
        let new = fixture.keys().rotate_root().unwrap();
        let done = fixture.vault.rewrap_all().await.unwrap();
        assert_eq!(
            (done.versions, done.keys, done.roots, done.sealing),
            (1, 2, [new].into(), false)
        );
        fixture.keys().retire_roots(&[&old]).unwrap();
        let opened = fixture.open_to("digits", &fixture.out()).await.unwrap();
        assert_eq!(opened.id, version.id);
        assert_eq!(fs::read(fixture.blob("digits/1/files/0")).unwrap(), before);
    }

    #[tokio::test]
    async fn without_its_root_key_nothing_opens() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"model")]).await;
        let old = fixture.keys().current_root().unwrap();
        fixture.keys().rotate_root().unwrap();
        fixture.keys().retire_roots(&[&old]).unwrap();
        let error = fixture.open_to("digits", &fixture.out()).await.unwrap_err();
        // A key file that names a root key which is not expected any more was changed, as far as can be told.
        assert!(error.is_integrity_broken(), "{error}");
        assert!(error.to_string().contains("keys.json"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_root_key_is_called_lost() {
        let fixture = Fixture::new().await;
        fixture.seal("digits", &[("a", b"model")]).await;
        let old = fixture.keys().current_root().unwrap();
        fixture.keys().rotate_root().unwrap();
        fixture.project.handle.clone().close().await.unwrap();
        let dir = StateDir::new(fixture.project.path());
        fs::remove_file(dir.keys().join(format!("{old}.key"))).unwrap();
        let keys = KeyFolder::open(&dir.keys()).unwrap();
        let keeper = Keeper::open(dir, keys, Config::default()).await.unwrap();
        let blobs = Blobs::folder(fixture.project.vault()).unwrap();
        let vault = Vault::new(blobs, Handle::Local(keeper));
        let reference = "digits".parse::<ArtifactRef>().unwrap();
        let error = vault
            .open_to(&ACTOR, &reference, &fixture.out(), NOW)
            .await
            .unwrap_err();
        let OpenArtifactError::Wrap(cause) = &error else {
            panic!("{error}")
        };
        assert!(
            !error.is_integrity_broken() && cause.to_string().contains(&old),
            "{cause}"
        );
        assert!(cause.to_string().contains("hint: "), "{cause}");
    }

    #[tokio::test]
    async fn plaintext_goes_where_it_was_asked_to_and_over_nothing_else() {
        let fixture = Fixture::new().await;
        fixture.seal("one", &[("sub/model.onnx", b"model")]).await;
        fixture.seal("two", &[("a", b"1"), ("b", b"2")]).await;
        let folder = fixture.project.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fixture.open_to("one", &folder).await.unwrap();
        assert_eq!(fs::read(folder.join("model.onnx")).unwrap(), b"model");
        fixture.open_to("one", &fixture.out()).await.unwrap();
        assert_eq!(fs::read(fixture.out()).unwrap(), b"model");
        let occupied = fixture.open_to("two", &folder).await.unwrap_err();
        assert!(
            matches!(occupied, OpenArtifactError::Release(ReleaseError::Exists { .. })),
            "{occupied:?}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let nowhere = fixture
            .open_to("one", &fixture.project.path().join("no/where"))
            .await
            .unwrap_err();
        assert!(
            matches!(nowhere, OpenArtifactError::Release(ReleaseError::Io(_))),
            "{nowhere:?}"
        );
        let empty = fixture.project.path().join("empty");
        fs::create_dir(&empty).unwrap();
        fixture.open_to("two", &empty).await.unwrap();
        assert_eq!(fs::read(empty.join("b")).unwrap(), b"2");
    }

    #[tokio::test]
    async fn files_are_read_at_any_place_and_whole_within_a_bound() {
        let fixture = Fixture::new().await;
        let big = content(2 * SEGMENT + 99, 3);
        fixture.seal("digits", &[("model.onnx", &big)]).await;
        let opened = fixture
            .vault
            .read(&ACTOR, &"digits@1".parse().unwrap(), NOW)
            .await
            .unwrap();
        let file = opened.file("model.onnx").unwrap();
        for (offset, length) in [
            (0, 10),
            (SEGMENT - 60, 100),
            (2 * SEGMENT, 99),
            (SEGMENT / 2, SEGMENT),
            (5, 0),
        ] {
            let mut found = vec![0; length];
            assert_eq!(file.read_at(&mut found, offset as u64).unwrap(), length);
            assert!(found == big[offset..offset + length]);
        }
        assert_eq!(file.read_at(&mut [0; 10], big.len() as u64).unwrap(), 0);
        assert!(file.read_whole(big.len() as u64).unwrap() == big);
        assert!(matches!(
            file.read_whole(big.len() as u64 - 1),
            Err(OpenArtifactError::TooLong { .. })
        ));

        let mut damaged = fs::read(fixture.blob("digits/1/files/0")).unwrap();
        damaged[SEGMENT + 5] ^= 1;
        fs::write(fixture.blob("digits/1/files/0"), damaged).unwrap();
        let mut bytes = [1; 10];
        assert!(file.read_at(&mut bytes, SEGMENT as u64).is_err());
        assert_eq!(bytes, [0; 10], "no unauthenticated byte comes out");
        assert!(file.read_whole(u64::MAX).unwrap_err().is_integrity_broken());
    }

    #[tokio::test]
    async fn every_step_is_recorded() {
        let fixture = Fixture::new().await;
        let version = fixture.seal("digits", &[("a", b"model")]).await;
        fixture.open_to("digits", &fixture.out()).await.unwrap();
        let records = fixture.project.records().await;
        let about = |event: Event| {
            records
                .iter()
                .find(|record| record.event == event)
                .unwrap()
                .subject
                .clone()
                .unwrap()
        };
        assert_eq!(about(Event::ArtifactReserved).version, Some(1));
        assert_eq!(about(Event::ArtifactSealed).digest, Some(version.id));
        assert_eq!(about(Event::ArtifactOpened).digest, Some(version.id));
        let shown = fixture
            .vault
            .catalog()
            .show(&"digits".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(
            (shown.id, shown.manifest.files()[0].plaintext_digest),
            (version.id, Digest::sha256(b"model"))
        );
        let missing = fixture
            .vault
            .catalog()
            .show(&"digits@9".parse().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(missing, CatalogError::NotFound { .. }));
    }
}
