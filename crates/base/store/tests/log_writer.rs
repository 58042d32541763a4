//! What the log promises its callers: order, refusals, detection of every rollback, rotation, retention, recovery.

#[cfg(test)]
mod log_support;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc, thread, time::Duration};

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use stockade_crypto::JournalKey;
    use stockade_evidence::{LogProof, open_checkpoint};
    use stockade_store::{
        disk::{
            Disk, Posix, SyncPoint,
            testing::{Operation, Recording},
        },
        log::{
            Anchor, AppendError, BudgetLevel, FolderSource, Head, Left, LogConfig, LogOpenError, LogTrust,
            LogWriter, PruneError, ReadError, Recovery, export_proof, former_origins, prune, recover,
            set_legal_hold,
        },
    };

    use crate::log_support::{
        ORIGIN, answer, config, create, keys, leaf, now, open, paths, posix, verifier, verify,
    };

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    fn put_back(from: &Path, to: &Path) {
        fs::remove_dir_all(to).unwrap();
        copy(from, to);
    }

    fn append_and_integrate(log: &LogWriter, count: u64) {
        let first = log.durable_size();
        let answers: Vec<_> = (first..first + count).map(|n| log.append(leaf(n, 10))).collect();
        for (index, receiver) in (first..).zip(answers) {
            assert_eq!(answer(receiver).unwrap(), index);
        }
        answer(log.integrated(first + count)).unwrap();
    }

    fn refused(dir: &Path, keys: &stockade_crypto::LogKeys, config: LogConfig) -> LogOpenError {
        open(dir, keys, config).expect_err("it must not open")
    }

    #[test]
    fn an_entry_that_nobody_waits_for_shares_the_next_sync() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let disk = Arc::new(Recording::new(Posix));
        let on = Arc::clone(&disk) as Arc<dyn Disk>;
        let log =
            LogWriter::create(on, &paths(dir.path()), ORIGIN, keys, config(), now, leaf(0, 10)).unwrap();
        let syncs = || {
            let is_commit = |operation: &&Operation| {
                matches!(
                    operation,
                    Operation::SyncData {
                        point: SyncPoint::JournalData,
                        ..
                    }
                )
            };
            disk.operations().iter().filter(is_commit).count()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        const ROUNDS: usize = 50;
        let before = syncs();
        for _ in 0..ROUNDS {
            runtime.block_on(async {
                let soon = log.append_soon(leaf(1, 10));
                let now = async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    log.append_waiting(leaf(2, 10)).await
                };
                let (soon, now) = tokio::join!(soon, now);
                assert_eq!(soon.unwrap() + 1, now.unwrap());
            });
        }
        let shared = syncs() - before;
        assert!(shared < ROUNDS * 3 / 2, "{shared} syncs for {ROUNDS} pairs");
        // Alone it becomes durable too.
        runtime.block_on(log.append_soon(leaf(3, 10))).unwrap();
        assert_eq!(log.durable_size(), 2 + 2 * ROUNDS as u64);
        log.close().unwrap();
    }

    #[test]
    fn many_files_are_synced_before_the_checkpoint_that_needs_them() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let disk = Arc::new(Recording::new(Posix));
        let on = Arc::clone(&disk) as Arc<dyn Disk>;
        let config = LogConfig {
            max_batch: 4096,
            ..config()
        };
        let log = LogWriter::create(on, &paths(dir.path()), ORIGIN, keys, config, now, leaf(0, 10)).unwrap();
        append_and_integrate(&log, 7000);
        log.close().unwrap();
        let mut written = 0;
        for operation in disk.operations() {
            match operation {
                Operation::Create { path, .. } if path.starts_with(dir.path().join("log/tile")) => {
                    written += 1
                }
                Operation::SyncData {
                    point: SyncPoint::TileFile,
                    ..
                } => written -= 1,
                Operation::SyncData {
                    point: SyncPoint::HeadFile,
                    ..
                } => assert_eq!(written, 0),
                _ => {}
            }
        }
    }

    #[test]
    fn many_threads_get_one_index_each_and_read_back_what_they_wrote() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let log = create(
            dir.path(),
            &keys,
            LogConfig {
                max_batch: 64,
                ..config()
            },
        );
        let written: Vec<(u64, Vec<u8>)> = thread::scope(|scope| {
            let write = |worker: u64| {
                let log = log.clone();
                move || {
                    let entries = (0..150).map(|n| leaf(worker * 1000 + n, 10));
                    entries
                        .map(|entry| (answer(log.append(entry.clone())).unwrap(), entry))
                        .collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (1..5).map(|worker| scope.spawn(write(worker))).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut read = Vec::new();
        log.read(1, &mut |index, entry| {
            read.push((index, entry.to_vec()));
            true
        })
        .unwrap();
        let mut written = written;
        written.sort();
        assert!(written == read, "what was read is not what was written");
        log.close().unwrap();
        let verified = verify(&paths(dir.path()), &[verifier(ORIGIN, &keys)]);
        assert!(verified.ok, "{:?}", verified.problems);
        assert_eq!(verified.records_checked, 601);
    }

    #[test]
    fn integration_comes_by_itself_within_its_time() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let log = create(
            dir.path(),
            &keys,
            LogConfig {
                integrate_every: Duration::from_millis(20),
                ..config()
            },
        );
        answer(log.append(leaf(1, 10))).unwrap();
        // Nobody asks; the sizes are watched, not waited for.
        while log.integrated_size() < 2 {
            thread::yield_now();
        }
        assert!(log.health().last_integration < Duration::from_secs(5));
    }

    #[test]
    fn too_large_and_closed_are_refused() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let log = create(dir.path(), &keys, config());
        assert!(matches!(
            answer(log.append(vec![0; 65_536])),
            Err(AppendError::TooLarge { length: 65_536, .. })
        ));
        assert_eq!(answer(log.append(vec![0; 65_535])).unwrap(), 1);
        let other = log.clone();
        log.close().unwrap();
        assert!(matches!(
            answer(other.append(leaf(1, 1))),
            Err(AppendError::Closed)
        ));
        assert!(matches!(answer(other.integrated(9)), Err(AppendError::Closed)));
        assert!(matches!(
            LogWriter::create(
                posix(),
                &paths(dir.path()),
                ORIGIN,
                keys.clone(),
                config(),
                now,
                leaf(0, 1)
            ),
            Err(LogOpenError::Exists { .. })
        ));
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(matches!(
            refused(elsewhere.path(), &keys, config()),
            LogOpenError::Absent { .. }
        ));
    }

    #[test]
    fn a_log_put_back_to_an_older_state_is_refused() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let (state, saved) = (dir.path().join("state"), dir.path().join("saved"));
        fs::create_dir(&state).unwrap();
        let log = create(&state, &keys, config());
        for _ in 0..3 {
            append_and_integrate(&log, 4);
            fs::create_dir_all(&saved).unwrap();
            copy(&state, &saved.join(log.durable_size().to_string()));
        }
        log.close().unwrap();
        let whole = dir.path().join("whole");
        copy(&state, &whole);
        // The log alone, with its checkpoint before the last and the one before that.
        for size in ["9", "5"] {
            put_back(&saved.join(size).join("log"), &state.join("log"));
            let error = refused(&state, &keys, config());
            assert!(error.is_integrity_broken(), "{size}: {error}");
            put_back(&whole, &state);
        }
        put_back(&saved.join("5/log"), &state.join("log"));
        assert!(matches!(
            refused(&state, &keys, config()),
            LogOpenError::RolledBack { found: 5, .. }
        ));
        put_back(&whole, &state);
        // The head alone, and no head at all.
        fs::copy(saved.join("5/head.json"), state.join("head.json")).unwrap();
        assert!(matches!(
            refused(&state, &keys, config()),
            LogOpenError::RolledBack { expected: 13, .. }
        ));
        fs::remove_file(state.join("head.json")).unwrap();
        assert!(matches!(
            refused(&state, &keys, config()),
            LogOpenError::Tampered { .. }
        ));
        put_back(&whole, &state);
        open(&state, &keys, config()).unwrap().close().unwrap();
    }

    #[test]
    fn a_whole_folder_put_back_is_refused_by_the_anchor_alone() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let (state, saved) = (dir.path().join("state"), dir.path().join("saved"));
        fs::create_dir(&state).unwrap();
        let anchored = LogConfig {
            anchor: Some(Anchor::Path(dir.path().join("anchor"))),
            ..config()
        };
        let log = create(&state, &keys, anchored.clone());
        append_and_integrate(&log, 4);
        assert_eq!(log.health().anchored_size, Some(5));
        log.close().unwrap();
        copy(&state, &saved);
        let log = open(&state, &keys, anchored.clone()).unwrap();
        append_and_integrate(&log, 4);
        log.close().unwrap();
        put_back(&saved, &state);
        assert!(matches!(
            refused(&state, &keys, anchored.clone()),
            LogOpenError::RolledBack {
                found: 5,
                expected: 9,
                ..
            }
        ));
        // Another history of the same length.
        let log = open(&state, &keys, config()).unwrap();
        answer(log.append(leaf(777, 10))).unwrap();
        append_and_integrate(&log, 3);
        log.close().unwrap();
        assert!(matches!(
            refused(&state, &keys, anchored),
            LogOpenError::Tampered { .. }
        ));
    }

    #[test]
    fn an_anchor_that_cannot_be_written_is_told_and_stops_nothing() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let anchor = Some(Anchor::Path(dir.path().join("no such folder/anchor")));
        let log = create(dir.path(), &keys, LogConfig { anchor, ..config() });
        append_and_integrate(&log, 2);
        let health = log.health();
        assert!(health.anchor_error.is_some() && health.anchored_size.is_none() && health.stopped.is_none());
    }

    #[test]
    fn a_changed_journal_is_told_from_a_torn_one() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let (state, dead) = (dir.path().join("state"), dir.path().join("dead"));
        // As if the process died here: three groups are durable, none is integrated. The integrator may be faster than
        // the copy; then it is tried again.
        let dies_in_time = |_| {
            let _ = fs::remove_dir_all(&state);
            let _ = fs::remove_dir_all(&dead);
            fs::create_dir(&state).unwrap();
            let log = create(&state, &keys, config());
            (1..4).for_each(|n| assert_eq!(answer(log.append(leaf(n, 10))).unwrap(), n));
            copy(&state, &dead);
            log.integrated_size() == 1
        };
        assert!((0..50).any(dies_in_time), "the integrator is always faster");
        let segment = |dir: &Path| {
            let segments = fs::read_dir(dir.join("journal"))
                .unwrap()
                .map(|entry| entry.unwrap().path());
            segments
                .filter(|path| fs::read(path).unwrap()[512..].iter().any(|byte| *byte != 0))
                .max()
                .unwrap()
        };
        let change = |at: usize| {
            put_back(&dead, &state);
            let path = segment(&state);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        // A byte of the first group: groups follow, so it was durable.
        change(512 + 60);
        assert!(matches!(
            refused(&state, &keys, config()),
            LogOpenError::Tampered { .. }
        ));
        // The header: data follows.
        change(30);
        assert!(matches!(
            refused(&state, &keys, config()),
            LogOpenError::Tampered { .. }
        ));
        put_back(&dead, &state);
        let log = open(&state, &keys, config()).unwrap();
        assert_eq!((log.durable_size(), log.integrated_size()), (4, 4));
    }

    /// A group as somebody writes it behind the last one, with the seal that `seal` makes of what is sealed.
    fn append_group(dir: &Path, first: u64, leaf: &[u8], seal: impl Fn(&[u8]) -> [u8; 32]) {
        let segments = fs::read_dir(dir.join("journal")).unwrap();
        let path = segments.map(|entry| entry.unwrap().path()).min().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = (used + 1).next_multiple_of(512);
        let payload = [&u32::try_from(leaf.len()).unwrap().to_be_bytes()[..], leaf].concat();
        let fields = [
            &bytes[16..32],
            &first.to_be_bytes(),
            &1_u32.to_be_bytes(),
            &u32::try_from(payload.len()).unwrap().to_be_bytes(),
        ]
        .concat();
        let sealed = [
            b"stockade journal group 1\n",
            &bytes[8..16],
            &(ORIGIN.len() as u64).to_be_bytes(),
            ORIGIN.as_bytes(),
            &fields,
            &payload,
        ]
        .concat();
        let group = [&fields[..], &seal(&sealed)[..16], &payload].concat();
        bytes[at..at + group.len()].copy_from_slice(&group);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_somebody_else_wrote_to_the_journal_is_never_signed() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        create(dir.path(), &keys, config()).close().unwrap();
        // Without the key it is a torn end.
        append_group(dir.path(), 1, &leaf(7, 10), stockade_crypto::sha256);
        let log = open(dir.path(), &keys, config()).unwrap();
        assert_eq!((log.durable_size(), log.integrated_size()), (1, 1));
        log.close().unwrap();
        let sealed = |data: &[u8]| keys.journal.mac(&stockade_crypto::sha256(data));
        // With the key it is an entry; this is what keeps the case above honest.
        append_group(dir.path(), 1, &leaf(7, 10), sealed);
        let log = open(dir.path(), &keys, config()).unwrap();
        assert_eq!((log.durable_size(), log.integrated_size()), (2, 2));
        log.close().unwrap();
        append_group(dir.path(), 2, b"no record", sealed);
        let error = refused(dir.path(), &keys, config());
        assert!(
            error.is_integrity_broken() && error.to_string().contains("entry 2 is no record"),
            "{error}"
        );
    }

    #[test]
    fn a_rewritten_history_is_never_signed() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let (state, other) = (dir.path().join("state"), dir.path().join("other"));
        for folder in [&state, &other] {
            fs::create_dir(folder).unwrap();
        }
        let log = create(&state, &keys, config());
        append_and_integrate(&log, 3);
        log.close().unwrap();
        // Another history of the same name, and a head that says it grew from the signed one.
        let log = create(&other, &crate::log_support::keys(), config());
        for n in 100..110 {
            answer(log.append(leaf(n, 10))).unwrap();
        }
        log.close().unwrap();
        let read = |dir: &Path| -> serde_json::Value {
            serde_json::from_slice(&fs::read(dir.join("head.json")).unwrap()).unwrap()
        };
        let mut forged: Head = serde_json::from_value(read(&other)["head"].clone()).unwrap();
        let signed: Head = serde_json::from_value(read(&state)["head"].clone()).unwrap();
        forged.published = Some(signed.current);
        put_back(&other.join("log/tile"), &state.join("log/tile"));
        put_back(&other.join("journal"), &state.join("journal"));
        let sealed_with = |key: &JournalKey| {
            let json = serde_json::to_vec(&forged).unwrap();
            let seal = key.mac(&[&b"stockade log head 1\n"[..], &json].concat());
            let file = serde_json::json!({ "head": forged, "seal": BASE64_STANDARD.encode(seal) });
            fs::write(state.join("head.json"), serde_json::to_vec(&file).unwrap()).unwrap();
            refused(&state, &keys, config()).to_string()
        };
        let before = fs::read(state.join("log/checkpoint")).unwrap();
        let error = sealed_with(&JournalKey::generate().unwrap());
        assert!(error.contains("its seal is not by"), "{error}");
        // Even under the seal nothing is signed that did not grow from what was signed.
        let error = sealed_with(&keys.journal);
        assert!(
            error.contains("do not give the signed root") || error.contains("are not those that were signed"),
            "{error}"
        );
        assert_eq!(fs::read(state.join("log/checkpoint")).unwrap(), before);
    }

    #[test]
    fn the_budget_alarms_then_refuses_and_pruning_makes_room() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let budget = 1_400_000;
        let log = create(
            dir.path(),
            &keys,
            LogConfig {
                disk_budget_bytes: Some(budget),
                ..config()
            },
        );
        let alarms = log.budget_alarms();
        let refusal = (0..)
            .find_map(|n| answer(log.append(leaf(n, 500))).err())
            .unwrap();
        assert!(
            matches!(
                refusal,
                AppendError::BudgetSpent {
                    budget: 1_400_000,
                    ..
                }
            ),
            "{refusal}"
        );
        assert!(alarms.has_changed().unwrap());
        answer(log.integrated(log.durable_size())).unwrap();
        let health = log.health();
        assert!(
            health.budget_level >= BudgetLevel::High && health.used_percent() >= Some(80),
            "{health:?}"
        );
        let keep = log.integrated_size() / 256 * 256;
        assert!(keep > 0, "the budget holds more than one bundle");
        assert!(log.prune(keep).unwrap() > 100_000);
        assert!(log.health().disk_used < health.disk_used);
        answer(log.append(leaf(1, 10))).unwrap();
        log.close().unwrap();
        let verified = verify(&paths(dir.path()), &[verifier(ORIGIN, &keys)]);
        assert!(verified.ok, "{:?}", verified.problems);
    }

    #[test]
    fn pruning_keeps_the_tree_and_obeys_the_hold() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let paths = paths(dir.path());
        let log = create(
            dir.path(),
            &keys,
            LogConfig {
                max_batch: 256,
                ..config()
            },
        );
        append_and_integrate(&log, 599);
        set_legal_hold(&Posix, &paths, true).unwrap();
        assert!(matches!(log.prune(300), Err(PruneError::LegalHold)));
        set_legal_hold(&Posix, &paths, false).unwrap();
        assert!(matches!(
            log.prune(601),
            Err(PruneError::OutOfRange { highest: 600, .. })
        ));
        assert!(log.prune(300).unwrap() > 0);
        assert!(matches!(
            prune(&Posix, &paths, 299),
            Err(PruneError::OutOfRange { lowest: 300, .. })
        ));
        assert!(matches!(
            log.read(299, &mut |_, _| true),
            Err(ReadError::Pruned { minimum: 300, .. })
        ));
        let mut read = 0;
        log.read(300, &mut |_, _| {
            read += 1;
            true
        })
        .unwrap();
        assert_eq!(read, 300);
        let source = FolderSource::new(&paths.log);
        let verifiers = [verifier(ORIGIN, &keys)];
        // The proof of a pruned entry can still be made: the hashes stay.
        let proof = export_proof(&source, 5, &verifiers).unwrap();
        proof.verify(&leaf(5, 10), &verifiers).unwrap();
        assert!(verify(&paths, &verifiers).ok);
    }

    #[test]
    fn a_proof_stands_alone() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let log = create(dir.path(), &keys, config());
        append_and_integrate(&log, 30);
        let verifiers = [verifier(ORIGIN, &keys)];
        let source = FolderSource::new(paths(dir.path()).log);
        let text = export_proof(&source, 17, &verifiers).unwrap().to_text();
        let proof = LogProof::parse(&text).unwrap();
        assert_eq!(
            proof.verify(&leaf(17, 10), &verifiers).unwrap().checkpoint.size,
            31
        );
        assert!(proof.verify(&leaf(16, 10), &verifiers).is_err());
        assert!(matches!(
            export_proof(&source, 31, &verifiers),
            Err(ReadError::OutOfRange { index: 31, size: 31 })
        ));
        let other = [verifier(ORIGIN, &crate::log_support::keys())];
        assert!(matches!(
            export_proof(&source, 1, &other),
            Err(ReadError::Checkpoint(_))
        ));
    }

    #[test]
    fn new_keys_sign_the_same_head_again() {
        let (dir, old, new) = (tempfile::tempdir().unwrap(), keys(), keys());
        let log = create(dir.path(), &old, config());
        append_and_integrate(&log, 3);
        let source = FolderSource::new(paths(dir.path()).log);
        let before =
            open_checkpoint(&source.checkpoint().unwrap().unwrap(), &[verifier(ORIGIN, &old)]).unwrap();
        log.set_keys(new.clone());
        log.close().unwrap();
        let after =
            open_checkpoint(&source.checkpoint().unwrap().unwrap(), &[verifier(ORIGIN, &new)]).unwrap();
        assert_eq!(
            (before.checkpoint.size, before.checkpoint.root),
            (after.checkpoint.size, after.checkpoint.root)
        );
        assert!(refused(dir.path(), &old, config()).is_integrity_broken());
        // A rotation that was not finished: the former keys are known, the new ones sign at once.
        let newest = keys();
        let former = [verifier(ORIGIN, &new)];
        let log = LogWriter::open(
            posix(),
            &paths(dir.path()),
            newest.clone(),
            &former,
            config(),
            now,
        )
        .unwrap();
        log.close().unwrap();
        open(dir.path(), &newest, config()).unwrap();
    }

    #[test]
    fn a_broken_log_is_left_behind_whole() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let paths = paths(dir.path());
        let log = create(dir.path(), &keys, config());
        append_and_integrate(&log, 9);
        log.close().unwrap();
        let tile = paths.log.join("tile/0/000.p/10");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        fs::write(&tile, &bytes).unwrap();
        assert!(matches!(
            refused(dir.path(), &keys, config()),
            LogOpenError::Tampered { .. }
        ));
        let disk: Arc<dyn Disk> = posix();
        let again = |origin| Recovery {
            origin,
            keys: keys.clone(),
            config: config(),
            now,
        };
        let left = Left::survey(&paths, &LogTrust::of_log_keys(&keys), &keys.journal).unwrap();
        assert!(matches!(
            recover(&disk, &paths, &left, again(ORIGIN), leaf(0, 1)),
            Err(LogOpenError::SameOrigin { .. })
        ));
        assert!(paths.log.join("checkpoint").exists(), "nothing was moved");
        let log = recover(&disk, &paths, &left, again("log.example/next"), leaf(500, 10)).unwrap();
        append_and_integrate(&log, 2);
        let former = left.former;
        assert_eq!(
            former.head.map(|head| (head.origin, head.current.size)),
            Some((ORIGIN.to_owned(), 10))
        );
        assert_eq!(fs::read(former.kept_at.join("tile/0/000.p/10")).unwrap(), bytes);
        let origins = former_origins(&paths.origins, &log.origin()).unwrap();
        assert_eq!(
            origins
                .iter()
                .map(|o| (o.origin.as_str(), o.size))
                .collect::<Vec<_>>(),
            [(ORIGIN, 10)]
        );
        log.close().unwrap();
        assert!(verify(&paths, &[verifier("log.example/next", &keys)]).ok);
    }

    #[test]
    fn any_changed_byte_at_the_edge_is_found_at_opening() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        let log = create(dir.path(), &keys, config());
        append_and_integrate(&log, 2);
        log.close().unwrap();
        for file in ["log/checkpoint", "log/tile/0/000.p/3", "log/tile/entries/000.p/3"] {
            let path = dir.path().join(file);
            let whole = fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by(7) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(&path, &bytes).unwrap();
                assert!(
                    refused(dir.path(), &keys, config()).is_integrity_broken(),
                    "{file} at {at}"
                );
            }
            fs::write(&path, whole).unwrap();
        }
        assert_eq!(open(dir.path(), &keys, config()).unwrap().integrated_size(), 3);
    }
}
