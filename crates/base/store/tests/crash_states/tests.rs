//! The states of two traces, with all syncs and with each one left out.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use stockade_store::disk::{SyncPoint, testing::Operation};

use crate::{
    check::{Signed, check},
    log_support::{Random, keys},
    model::{Kept, World},
    workload::{Trace, everyday, recovery},
};

/// Syncs that only a recovery makes.
const RECOVERY: [SyncPoint; 3] = [
    SyncPoint::AnchorAside,
    SyncPoint::OriginFile,
    SyncPoint::OriginDir,
];

/// Memory if there is some to use as a disk, so that thousands of states take seconds.
fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

struct Outcome {
    cuts: usize,
    states: usize,
    violation: Option<String>,
}

/// Builds and checks states at each cut from operation `from` on, every one only once; with `dropped` syncs, until the first violation.
fn explore(trace: &Trace, dropped: &BTreeSet<SyncPoint>, from: usize) -> Outcome {
    let seed = 1;
    let start = trace
        .operations
        .iter()
        .position(|op| matches!(op, Operation::Mark(m) if m == "start"))
        .unwrap();
    let mut worlds = Vec::new();
    let mut world = World::new();
    for (at, operation) in trace.operations.iter().enumerate() {
        world.apply(operation, &trace.root, dropped);
        if at == start {
            world.settle();
        }
        if at >= start && at >= from {
            worlds.push(world.clone());
        }
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (seen, violation) = (Mutex::new(HashSet::new()), Mutex::new(None));
    let signed = Signed::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).min(4) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let cut = next.fetch_add(1, Ordering::Relaxed);
                    let Some(world) = worlds.get(cut) else { return };
                    for (variant, kept) in Kept::TRIED.into_iter().enumerate() {
                        let mut random = Random(seed ^ ((cut as u64) << 8) ^ variant as u64);
                        let state = world.state(kept, &mut random);
                        if !seen
                            .lock()
                            .unwrap()
                            .insert((state.digest(), world.promises.len()))
                        {
                            continue;
                        }
                        let folder = scratch();
                        state.materialise(folder.path());
                        if let Err(what) = check(folder.path(), world, &trace.keys, &signed) {
                            let told = format!("cut {cut}, {kept:?}: {what}");
                            violation.lock().unwrap().get_or_insert(told);
                            stop.store(true, Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
    });
    let states = seen.lock().unwrap().len();
    Outcome {
        cuts: worlds.len(),
        states,
        violation: violation.into_inner().unwrap(),
    }
}

/// With all syncs nothing breaks; without any one that the trace has, something does.
fn every_sync_is_needed(trace: &Trace, least_cuts: usize, expected: &[SyncPoint]) {
    let whole = explore(trace, &BTreeSet::new(), 0);
    assert_eq!(whole.violation, None);
    assert!(whole.cuts >= least_cuts, "only {} cuts", whole.cuts);
    println!("{} cuts, {} states", whole.cuts, whole.states);
    for point in expected {
        let made = trace.operations.iter().position(|operation| match operation {
            Operation::SyncData { point: at, .. } | Operation::SyncDir { point: at, .. } => at == point,
            _ => false,
        });
        let from = made.unwrap_or_else(|| panic!("{point:?} is not in the trace"));
        let without = explore(trace, &BTreeSet::from([*point]), from);
        let violation = without.violation;
        println!("{point:?}: {violation:?} ({} states)", without.states);
        assert!(
            violation.is_some(),
            "nothing fails without {point:?}: it is superfluous, or the model is too weak"
        );
    }
}

#[test]
fn no_power_failure_loses_a_durable_record() {
    let folder = scratch();
    let trace = everyday(folder.path(), keys());
    let needed: Vec<SyncPoint> = SyncPoint::ALL
        .into_iter()
        .filter(|point| !RECOVERY.contains(point))
        .collect();
    every_sync_is_needed(&trace, 500, &needed);
}

#[test]
fn no_power_failure_loses_a_log_that_is_left_behind() {
    let folder = scratch();
    let trace = recovery(folder.path(), keys());
    every_sync_is_needed(&trace, 100, &RECOVERY);
}
