//! The work whose trace is cut: everything that the log writes, in every order that matters.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stockade_crypto::LogKeys;
use stockade_store::{
    disk::{
        Disk, Posix,
        testing::{Operation, Recording},
    },
    log::{Anchor, Left, LogConfig, LogOpenError, LogPaths, LogTrust, LogWriter, Recovery, prune, recover},
};

use crate::log_support::{ORIGIN, Random, answer, config, leaf, now, paths};

/// The origin after the recovery.
pub(crate) const SECOND: &str = "log.example/second";

/// What happened, and where.
pub(crate) struct Trace {
    pub(crate) operations: Vec<Operation>,
    pub(crate) root: PathBuf,
    pub(crate) keys: LogKeys,
}

/// The configuration of every log in a folder: anchored beside the state folder.
pub(crate) fn anchored(root: &Path) -> LogConfig {
    LogConfig {
        anchor: Some(Anchor::Path(root.join("anchor").join("checkpoint"))),
        ..config()
    }
}

struct Work {
    disk: Arc<Recording<Posix>>,
    log: LogWriter,
    next: u64,
    random: Random,
    length: fn(&mut Random) -> usize,
}

impl Work {
    /// Appends some entries at once, and notes the promise for each.
    fn append(&mut self, count: u64) {
        let entries: Vec<Vec<u8>> = (self.next..self.next + count)
            .map(|n| leaf(n, (self.length)(&mut self.random)))
            .collect();
        let answers: Vec<_> = entries
            .iter()
            .map(|entry| self.log.append(entry.clone()))
            .collect();
        for (entry, answered) in entries.iter().zip(answers) {
            let index = answer(answered).unwrap();
            assert_eq!(index, self.next);
            self.disk.mark(format!("durable {index} {}", hex(entry)));
            self.next += 1;
        }
    }

    fn integrate(&self) {
        answer(self.log.integrated(self.next)).unwrap();
        self.disk.mark(format!("integrated {}", self.next));
        let anchored = self.log.health().anchored_size.unwrap();
        self.disk.mark(format!("anchored {anchored}"));
    }
}

pub(crate) fn hex(entry: &[u8]) -> String {
    stockade_crypto::sha256(entry)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn start(root: &Path, keys: &LogKeys, length: fn(&mut Random) -> usize) -> Work {
    let disk = Arc::new(Recording::new(Posix));
    let shared: Arc<dyn Disk> = disk.clone();
    // The state folder and the anchor's folder are there, durably, before the log is.
    for folder in ["state", "anchor"] {
        disk.make_dir(&root.join(folder)).unwrap();
    }
    disk.mark("start");
    let paths = paths(&root.join("state"));
    let log = LogWriter::create(
        shared,
        &paths,
        ORIGIN,
        keys.clone(),
        anchored(root),
        now,
        leaf(0, 10),
    )
    .unwrap();
    disk.mark(format!("durable 0 {}", hex(&leaf(0, 10))));
    disk.mark("integrated 1");
    Work {
        disk,
        log,
        next: 1,
        random: Random(7),
        length,
    }
}

/// Appends, integrations, segments rolled, a restart, a prune.
pub(crate) fn everyday(root: &Path, keys: LogKeys) -> Trace {
    let mut work = start(
        root,
        &keys,
        |random| if random.below(40) == 0 { 30_000 } else { 10 },
    );
    for round in 0..8 {
        for _ in 0..3 {
            let count = 1 + work.random.below(9);
            work.append(count);
        }
        if round % 4 != 3 {
            work.integrate();
        }
    }
    // Past a full tile.
    while work.next < 270 {
        work.append(40);
    }
    work.integrate();
    let state = root.join("state");
    let disk = work.disk.clone();
    disk.mark("pruning 256");
    prune(&*disk, &paths(&state), 256).unwrap();
    work.append(3);
    work.log.close().unwrap();
    let shared: Arc<dyn Disk> = disk.clone();
    work.log = LogWriter::open(shared, &paths(&state), keys.clone(), &[], anchored(root), now).unwrap();
    for _ in 0..3 {
        work.append(2);
        work.integrate();
    }
    work.append(5);
    work.log.close().unwrap();
    Trace {
        operations: disk.operations(),
        root: root.to_owned(),
        keys,
    }
}

/// A log is left behind and a new origin names its head.
pub(crate) fn recovery(root: &Path, keys: LogKeys) -> Trace {
    let mut work = start(root, &keys, |_| 10);
    work.append(20);
    work.integrate();
    let Work {
        disk,
        log,
        next,
        random,
        length,
    } = work;
    log.close().unwrap();
    disk.mark("recovering");
    let shared: Arc<dyn Disk> = disk.clone();
    let log = leave(&shared, &paths(&root.join("state")), root, &keys).unwrap();
    disk.mark("recovered");
    let mut work = Work {
        disk,
        log,
        next: 1,
        random,
        length,
    };
    disk_mark_first(&work);
    work.append(5);
    work.integrate();
    let _ = next;
    work.log.close().unwrap();
    Trace {
        operations: work.disk.operations(),
        root: root.to_owned(),
        keys,
    }
}

fn disk_mark_first(work: &Work) {
    work.disk.mark(format!("durable 0 {}", hex(&leaf(99, 10))));
}

/// Leaves the log behind and starts the new origin.
pub(crate) fn leave(
    disk: &Arc<dyn Disk>,
    paths: &LogPaths,
    root: &Path,
    keys: &LogKeys,
) -> Result<LogWriter, LogOpenError> {
    let left = Left::survey(paths, &LogTrust::of_log_keys(keys), &keys.journal)?;
    recover(disk, paths, &left, second(root, keys), leaf(99, 10))
}

fn second(root: &Path, keys: &LogKeys) -> Recovery<'static> {
    Recovery {
        origin: SECOND,
        keys: keys.clone(),
        config: anchored(root),
        now,
    }
}
