//! A disk that fails at every operation in turn: nothing acknowledged is lost, nothing lost was acknowledged, and the
//! log opens again.

#[cfg(test)]
mod log_support;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path, sync::Arc};

    use stockade_crypto::LogKeys;
    use stockade_store::{
        disk::{
            Disk, DiskOperation, Posix,
            testing::{Fault, Faulty},
        },
        log::{AppendError, LogWriter},
    };

    use crate::log_support::{
        ORIGIN, answer, config, create, keys, leaf, now, open, paths, verifier, verify,
    };

    /// What came of a workload on a faulty disk.
    struct Outcome {
        acknowledged: BTreeMap<u64, Vec<u8>>,
        integrated: u64,
        error: Option<String>,
        struck: bool,
    }

    /// Appends, integrates and rolls segments until something fails.
    fn work(dir: &Path, keys: &LogKeys, fault: Fault, nth: u64) -> Outcome {
        let disk = Arc::new(Faulty::new(Posix, fault, nth));
        let shared: Arc<dyn Disk> = disk.clone();
        let mut outcome = Outcome {
            acknowledged: BTreeMap::new(),
            integrated: 0,
            error: None,
            struck: false,
        };
        match LogWriter::open(shared, &paths(dir), keys.clone(), &[], config(), now) {
            Ok(log) => {
                outcome.error = fill(&log, &mut outcome.acknowledged, &mut outcome.integrated).err();
                let closed = log.close().err().map(|error| error.to_string());
                outcome.error = outcome.error.or(closed);
            }
            Err(error) => outcome.error = Some(error.to_string()),
        }
        outcome.struck = disk.struck();
        outcome
    }

    fn fill(
        log: &LogWriter,
        acknowledged: &mut BTreeMap<u64, Vec<u8>>,
        integrated: &mut u64,
    ) -> Result<(), String> {
        let mut n = 0;
        for round in 0..4 {
            let entries: Vec<Vec<u8>> = (0..6)
                .map(|i| leaf(1000 + n + i, if i == 0 { 30_000 } else { 10 }))
                .collect();
            n += 6;
            let answers: Vec<_> = entries.iter().map(|entry| log.append(entry.clone())).collect();
            let mut failed = None;
            for (entry, receiver) in entries.into_iter().zip(answers) {
                match answer(receiver) {
                    Ok(index) => assert!(acknowledged.insert(index, entry).is_none(), "index {index} twice"),
                    Err(error) => failed = Some(typed(&error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if round % 2 == 1 {
                answer(log.integrated(log.durable_size())).map_err(|error| typed(&error))?;
                *integrated = log.integrated_size();
            }
        }
        Ok(())
    }

    fn typed(error: &AppendError) -> String {
        let text = error.to_string();
        match error {
            AppendError::Stopped { .. } | AppendError::NoSpace(_) => text,
            AppendError::TooLarge { .. }
            | AppendError::Overloaded
            | AppendError::BudgetSpent { .. }
            | AppendError::Closed => panic!("not what a faulty disk gives: {text}"),
        }
    }

    /// The folder opens on a healthy disk and has everything that was acknowledged.
    fn check(dir: &Path, keys: &LogKeys, outcome: &Outcome, what: &str) {
        let log = open(dir, keys, config()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut found = BTreeMap::new();
        log.read(0, &mut |index, entry| {
            found.insert(index, entry.to_vec());
            true
        })
        .unwrap();
        for (index, entry) in &outcome.acknowledged {
            assert_eq!(
                found.get(index),
                Some(entry),
                "{what}: entry {index} was acknowledged and is lost"
            );
        }
        assert!(log.integrated_size() >= outcome.integrated, "{what}");
        let next = log.durable_size();
        assert_eq!(answer(log.append(leaf(9000, 10))).unwrap(), next, "{what}");
        log.close().unwrap();
        let verified = verify(&paths(dir), &[verifier(ORIGIN, keys)]);
        assert!(verified.ok, "{what}: {:?}", verified.problems);
        assert_eq!(verified.size, next + 1, "{what}");
    }

    /// Fails at the first, the second, the third... operation until there are no more. Returns how many there were.
    fn at_every_operation(fault: Fault, step: usize, must_fail: bool) -> u64 {
        let keys = keys();
        for nth in (0..).step_by(step) {
            let dir = tempfile::tempdir().unwrap();
            create(dir.path(), &keys, config()).close().unwrap();
            let outcome = work(dir.path(), &keys, fault, nth);
            let what = format!("{fault:?} at {nth}");
            if !outcome.struck {
                assert!(outcome.error.is_none(), "{what}: {:?}", outcome.error);
                assert!(nth > 0, "{what}: the fault never applied");
                return nth;
            }
            assert!(outcome.error.is_some() || !must_fail, "{what}: went unnoticed");
            check(dir.path(), &keys, &outcome, &what);
        }
        0
    }

    #[test]
    fn writes_fail() {
        at_every_operation(Fault::Once(DiskOperation::Write), 1, true);
        at_every_operation(Fault::ShortWrite, 3, true);
    }

    #[test]
    fn syncs_fail() {
        // Once is enough: a failed sync is never tried again as if it had worked.
        at_every_operation(Fault::Once(DiskOperation::SyncData), 1, true);
        at_every_operation(Fault::Once(DiskOperation::SyncDir), 1, true);
    }

    #[test]
    fn names_fail() {
        at_every_operation(Fault::Once(DiskOperation::Rename), 1, true);
        at_every_operation(Fault::FromThenOn(DiskOperation::Create), 1, true);
        at_every_operation(Fault::FromThenOn(DiskOperation::MakeDir), 1, true);
        at_every_operation(Fault::FromThenOn(DiskOperation::Remove), 2, true);
    }

    #[test]
    fn the_disk_is_full() {
        at_every_operation(Fault::NoSpace, 1, false);
    }

    #[test]
    fn a_full_disk_that_is_freed_needs_no_restart() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), keys());
        create(dir.path(), &keys, config()).close().unwrap();
        let mut resumed = 0;
        for nth in 0..40 {
            let disk = Arc::new(Faulty::new(Posix, Fault::NoSpace, nth));
            let shared: Arc<dyn Disk> = disk.clone();
            let Ok(log) = LogWriter::open(shared, &paths(dir.path()), keys.clone(), &[], config(), now)
            else {
                continue;
            };
            let (mut acknowledged, mut integrated) = (BTreeMap::new(), 0);
            if fill(&log, &mut acknowledged, &mut integrated).is_err() && log.health().stopped.is_none() {
                disk.heal();
                let index = answer(log.append(leaf(5000 + nth, 10))).unwrap();
                // The integrator may meet one more report of the full disk before it knows better.
                let mut tries = 0..20;
                while answer(log.integrated(index + 1)).is_err() {
                    assert!(tries.next().is_some(), "never integrated");
                }
                resumed += 1;
            }
            drop(log);
            let verified = verify(&paths(dir.path()), &[verifier(ORIGIN, &keys)]);
            assert!(verified.ok, "{nth}: {:?}", verified.problems);
        }
        assert!(resumed > 5, "resumed only {resumed} times");
    }
}
