//! Verification of a whole log, read only: the checkpoint's signatures, every tile, every bundle, every record.
//!
//! The hashes of the entries are climbed up to the root. Where a file says otherwise, the tile above it or at last the
//! signed root decides which of the two is wrong, so a problem names the file that was changed.
// INVARIANT: without a problem, every byte of every file that belongs to the checkpoint was compared with its root.

mod climb;
mod files;
mod ground;

use std::error::Error;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use self::{climb::Tree, files::check_listing, ground::Ground};
use crate::{
    Checkpoint, Hash, LogVerifier, SignatureStatus, TileSource, checkpoint::inspect_checkpoint,
    consistency_proof, open_checkpoint, verify_consistency,
};

/// The file that holds the signed head.
const CHECKPOINT: &str = "checkpoint";

/// More problems than this are counted in one last problem.
const MAX_PROBLEMS: usize = 1000;

/// The longest reason, in characters: a forged leaf must not fill a terminal.
const MAX_REASON: usize = 300;

/// What is wrong, and where.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    /// The file, relative to the log's folder.
    pub file: String,
    /// One sentence.
    pub reason: String,
}

impl Problem {
    fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self {
            file: file.into(),
            reason: reason.chars().take(MAX_REASON).collect(),
        }
    }

    fn unreadable(file: impl Into<String>, error: &dyn Error) -> Self {
        let mut reason = format!("cannot be read: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Self::new(file, reason)
    }
}

/// The verdict on one log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Verification {
    /// The log's name; empty if there is no believable checkpoint.
    pub origin: String,
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// The root that the checkpoint signs, base64; empty if there is none.
    pub root: String,
    /// How many entries were read, hashed and understood as records.
    pub records_checked: u64,
    /// The checkpoint's signature lines.
    pub checkpoint_signatures: Vec<SignatureStatus>,
    /// Everything that is wrong; sorted by file.
    pub problems: Vec<Problem>,
    /// Whether nothing is wrong.
    pub ok: bool,
}

impl Verification {
    fn new(
        checkpoint: Option<&Checkpoint>,
        signatures: Vec<SignatureStatus>,
        records_checked: u64,
        mut problems: Vec<Problem>,
    ) -> Self {
        problems.sort();
        problems.dedup();
        if let Some(more) = problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            problems.truncate(MAX_PROBLEMS);
            problems.push(Problem::new("", format!("{more} more problems are not listed")));
        }
        Self {
            origin: checkpoint.map_or_else(String::new, |checkpoint| checkpoint.origin.clone()),
            size: checkpoint.map_or(0, |checkpoint| checkpoint.size),
            root: checkpoint.map_or_else(String::new, |checkpoint| STANDARD.encode(checkpoint.root)),
            records_checked,
            checkpoint_signatures: signatures,
            ok: problems.is_empty(),
            problems,
        }
    }

    /// Adds what somebody found who knows more of this log than its own files say.
    pub fn add(&mut self, file: impl Into<String>, reason: impl Into<String>) {
        self.problems.push(Problem::new(file, reason));
        self.ok = false;
    }
}

/// Verifies the log that lies in `source`.
///
/// `listing` names every file there; with it, files that do not belong to the log and replaced partial tiles that
/// disagree are problems. `since` is an older checkpoint that this log must have grown from. Tiles and bundles that
/// end at or before `minimum_index` may be absent (tlog-tiles, "Pruning"). `progress` hears of the number of records
/// checked so far, from any thread.
///
/// # Cost
///
/// Every file is read once, bundles by several threads; about 200 bytes are kept for each 256 entries.
pub fn verify_log<S: TileSource + Sync>(
    source: &S,
    listing: Option<&[String]>,
    verifiers: &[LogVerifier],
    since: Option<&str>,
    minimum_index: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Verification {
    let text = match read_checkpoint(source) {
        Ok(text) => text,
        Err(problem) => return Verification::new(None, Vec::new(), 0, vec![problem]),
    };
    let (signatures, opened) = inspect_checkpoint(&text, verifiers);
    let checkpoint = match opened {
        Ok((checkpoint, _)) => checkpoint,
        Err(error) => {
            let problem = Problem::new(CHECKPOINT, error.to_string());
            return Verification::new(None, signatures, 0, vec![problem]);
        }
    };
    if minimum_index > checkpoint.size {
        let reason = format!(
            "it covers {} entries, but {minimum_index} were pruned",
            checkpoint.size
        );
        let problem = Problem::new(CHECKPOINT, reason);
        return Verification::new(Some(&checkpoint), signatures, 0, vec![problem]);
    }
    let ground = Ground::read(source, checkpoint.size, minimum_index, progress);
    let tree = Tree::read(source, &ground, checkpoint.size, minimum_index);
    let mut problems = tree.compare(&checkpoint.root);
    problems.extend_from_slice(tree.problems());
    problems.extend_from_slice(ground.problems());
    if let Some(listing) = listing {
        let more = check_listing(source, listing, checkpoint.size, &problems);
        problems.extend(more);
    }
    if let Some(older) = since {
        problems.extend(check_since(source, older, &checkpoint, verifiers));
    }
    Verification::new(Some(&checkpoint), signatures, ground.records(), problems)
}

fn read_checkpoint<S: TileSource>(source: &S) -> Result<String, Problem> {
    let bytes = source
        .read(CHECKPOINT)
        .map_err(|error| Problem::unreadable(CHECKPOINT, &error))?;
    let bytes = bytes.ok_or_else(|| Problem::new(CHECKPOINT, "is missing"))?;
    String::from_utf8(bytes).map_err(|_| Problem::new(CHECKPOINT, "the note is not UTF-8"))
}

/// Whether the log grew from an `older` checkpoint, which must be as well signed as a new one.
fn check_since<S: TileSource>(
    source: &S,
    older: &str,
    newer: &Checkpoint,
    verifiers: &[LogVerifier],
) -> Option<Problem> {
    let problem = |reason: String| Some(Problem::new(CHECKPOINT, reason));
    let older = match open_checkpoint(older, verifiers) {
        Ok(opened) => opened.checkpoint,
        Err(error) => return problem(format!("the older checkpoint cannot be used: {error}")),
    };
    if older.origin != newer.origin {
        return problem(format!(
            "the older checkpoint is of another log, `{}`",
            older.origin
        ));
    }
    if older.size > newer.size {
        let (older, newer) = (older.size, newer.size);
        return problem(format!(
            "it covers {newer} entries, the older checkpoint {older}: the log was cut"
        ));
    }
    let proof: Vec<Hash> = match consistency_proof(source, older.size, newer.size) {
        Ok(proof) => proof,
        Err(error) => {
            return problem(format!(
                "consistency with the older checkpoint cannot be proved: {error}"
            ));
        }
    };
    let proved = verify_consistency(older.size, &older.root, newer.size, &newer.root, &proof);
    proved
        .err()
        .and_then(|_| problem("the log did not grow from the older checkpoint: it was rewritten".to_owned()))
}

#[cfg(test)]
mod tests;
