//! What must hold in every state, before and after the log is opened again.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use stockade_crypto::LogKeys;
use stockade_evidence::{Hash, OpenedCheckpoint, open_checkpoint, root_at};
use stockade_store::{
    disk::{Disk, Posix},
    log::{FolderSource, FormerOrigin, LogPaths, LogWriter, Retention, former_origins, read_log_head},
};

use crate::{
    log_support::{ORIGIN, answer, leaf, now, paths, verifier, verify},
    model::World,
    workload::{SECOND, anchored, hex, leave},
};

/// The one root of every size that was ever signed, over all states of a trace.
#[derive(Default)]
pub(crate) struct Signed(Mutex<HashMap<(String, u64), Hash>>);

impl Signed {
    fn note(&self, opened: &OpenedCheckpoint) -> Result<(), String> {
        let checkpoint = &opened.checkpoint;
        let mut signed = self.0.lock().unwrap();
        let first = signed
            .entry((checkpoint.origin.clone(), checkpoint.size))
            .or_insert(checkpoint.root);
        if *first == checkpoint.root {
            Ok(())
        } else {
            Err(format!("two roots for {} entries", checkpoint.size))
        }
    }
}

/// What was promised before the power failed.
#[derive(Debug, Default)]
struct Promised {
    durable: Vec<(u64, String)>,
    integrated: u64,
    anchored: u64,
    recovering: bool,
    former: Option<Box<Promised>>,
}

impl Promised {
    fn of(world: &World) -> Self {
        let mut promised = Self::default();
        for promise in &world.promises {
            let words: Vec<&str> = promise.split(' ').collect();
            match words[..] {
                ["durable", index, digest] => {
                    promised.durable.push((index.parse().unwrap(), digest.to_owned()))
                }
                ["integrated", size] => promised.integrated = size.parse().unwrap(),
                ["anchored", size] => promised.anchored = size.parse().unwrap(),
                ["recovering"] => promised.recovering = true,
                ["recovered"] => {
                    promised = Self {
                        former: Some(Box::new(promised)),
                        ..Self::default()
                    };
                }
                ["start"] | ["pruning", _] => {}
                _ => panic!("unknown promise {promise}"),
            }
        }
        promised
    }
}

/// Opens the state in `root` and compares it with everything that was promised.
pub(crate) fn check(root: &Path, world: &World, keys: &LogKeys, signed: &Signed) -> Result<(), String> {
    let promised = Promised::of(world);
    let paths = paths(&root.join("state"));
    let verifiers = [verifier(ORIGIN, keys), verifier(SECOND, keys)];
    let open_text = |text: &str| open_checkpoint(text, &verifiers).map_err(|error| error.to_string());
    Retention::read(&Posix, &paths).map_err(|error| error.to_string())?;
    // What a stranger reads before anybody opens the log.
    if promised.integrated > 0 && !promised.recovering {
        let verified = verify(&paths, &verifiers);
        if !verified.ok || verified.size < promised.integrated {
            return Err(format!(
                "before opening, {} of {}: {:?}",
                verified.size, promised.integrated, verified.problems
            ));
        }
    }
    if promised.anchored > 0 && !promised.recovering {
        let anchor =
            std::fs::read_to_string(root.join("anchor/checkpoint")).map_err(|error| error.to_string())?;
        let size = open_text(&anchor)?.checkpoint.size;
        if size < promised.anchored {
            return Err(format!("{size} entries are anchored, not {}", promised.anchored));
        }
    }
    let log = match reopen(root, &paths, keys, &promised)? {
        Some(log) => log,
        None => return Ok(()),
    };
    let is_new = log.origin() == SECOND;
    let source = FolderSource::new(&paths.log);
    let reopened = open_text(
        &source
            .checkpoint()
            .unwrap()
            .ok_or("no checkpoint after opening")?,
    )?;
    signed.note(&reopened)?;
    for text in &world.published {
        let seen = open_text(text)?.checkpoint;
        if seen.origin == log.origin() {
            let same = seen.size <= reopened.checkpoint.size
                && root_at(&source, seen.size).map_err(|error| error.to_string())? == seen.root;
            if !same {
                return Err(format!(
                    "the checkpoint of {} entries that was seen is not kept",
                    seen.size
                ));
            }
        }
    }
    let current = match (&promised.former, is_new) {
        (None, false) | (Some(_), true) => Some(&promised),
        // The new origin came up before anybody was told.
        (None, true) => None,
        (Some(_), false) => return Err("the new origin is gone".into()),
    };
    if let Some(promised) = current {
        let minimum = Retention::read(&Posix, &paths).unwrap().minimum_index;
        check_entries(&log, minimum, &promised.durable)?;
    }
    if is_new {
        check_former(&paths, promised.former.as_deref().unwrap_or(&promised), keys)?;
    }
    // It goes on.
    let size = log.durable_size();
    let index = answer(log.append(leaf(1_000_000 + size, 10))).map_err(|error| error.to_string())?;
    if index != size {
        return Err(format!("the next entry got index {index}, not {size}"));
    }
    answer(log.integrated(size + 1)).map_err(|error| error.to_string())?;
    log.close().map_err(|error| error.to_string())?;
    let verified = verify(&paths, &verifiers);
    if !verified.ok || verified.size != size + 1 {
        return Err(format!("after opening: {:?}", verified.problems));
    }
    Ok(())
}

/// Opens the log; creates or recovers it where that was not finished. `None` if nothing was promised yet.
fn reopen(
    root: &Path,
    paths: &LogPaths,
    keys: &LogKeys,
    promised: &Promised,
) -> Result<Option<LogWriter>, String> {
    let disk: Arc<dyn Disk> = Arc::new(Posix);
    let opened = LogWriter::open(Arc::clone(&disk), paths, keys.clone(), &[], anchored(root), now);
    let error = match opened {
        Ok(log) => return Ok(Some(log)),
        Err(error) => error,
    };
    if promised.recovering {
        return leave(&disk, paths, root, keys)
            .map(Some)
            .map_err(|again| format!("{error}; then {again}"));
    }
    if promised.durable.is_empty() && !error.is_integrity_broken() {
        let config = anchored(root);
        let created = LogWriter::create(disk, paths, ORIGIN, keys.clone(), config, now, leaf(0, 10));
        return created
            .map(Some)
            .map_err(|again| format!("{error}; then {again}"));
    }
    Err(error.to_string())
}

fn check_entries(log: &LogWriter, minimum: u64, durable: &[(u64, String)]) -> Result<(), String> {
    let mut found = HashMap::new();
    log.read(minimum, &mut |index, entry| {
        found.insert(index, hex(entry));
        true
    })
    .map_err(|error| error.to_string())?;
    for (index, digest) in durable.iter().filter(|(index, _)| *index >= minimum) {
        if found.get(index) != Some(digest) {
            return Err(format!("durable entry {index} is lost"));
        }
    }
    Ok(())
}

/// The log that was left behind is whole, and found.
fn check_former(paths: &LogPaths, promised: &Promised, keys: &LogKeys) -> Result<(), String> {
    let former = former_origins(&paths.origins, SECOND).map_err(|error| error.to_string())?;
    // A rename may leave both names: then the log is kept twice.
    if former.is_empty() {
        return Err("no former origin".to_owned());
    }
    former
        .iter()
        .try_for_each(|former| check_kept(paths, promised, keys, former))
}

fn check_kept(
    paths: &LogPaths,
    promised: &Promised,
    keys: &LogKeys,
    former: &FormerOrigin,
) -> Result<(), String> {
    let kept = LogPaths {
        log: former.source.folder().to_owned(),
        head: paths.origins.join(format!("{}.head.json", former.folder())),
        ..paths.clone()
    };
    let head = read_log_head(&Posix, &kept).map_err(|error| error.to_string())?;
    head.ok_or("the former log has no head")?;
    let verified = verify(&kept, &[verifier(ORIGIN, keys)]);
    if !verified.ok || verified.size < promised.integrated || former.size != verified.size {
        return Err(format!(
            "the former log has {} entries: {:?}",
            verified.size, verified.problems
        ));
    }
    Ok(())
}
