//! Whole logs: accepted as they are, and every changed, missing or added file named.

use std::{collections::BTreeMap, convert::Infallible};

use stockade_crypto::LogKeys;

use super::*;
use crate::{
    Actor, Event, Record, RecordId, TileWriter, Timestamp,
    checkpoint::tests::{log_keys, verifier},
    encode_entries, entries_path, leaf_hash, sign_checkpoint,
};

const ORIGIN: &str = "stockade.example/log";

#[derive(Clone, Default)]
struct Folder(BTreeMap<String, Vec<u8>>);

impl TileSource for Folder {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).cloned())
    }
}

/// A log that grows in memory, as its writer would let it grow on disk.
struct Log {
    folder: Folder,
    leaves: Vec<Vec<u8>>,
    tree: TileWriter,
    keys: LogKeys,
}

fn leaf(number: usize) -> Vec<u8> {
    let id = RecordId::new(u128::to_be_bytes(number as u128));
    let time = Timestamp::from_unix_ms(1_795_000_000_000 + number as i64);
    let record = Record::new(
        time,
        id,
        Event::RequestOutcome,
        Actor::Principal {
            id: "alice".to_owned(),
        },
    );
    record.with("number", number as u64).to_leaf().unwrap()
}

impl Log {
    fn new() -> Self {
        Self {
            folder: Folder::default(),
            leaves: Vec::new(),
            tree: TileWriter::new(),
            keys: log_keys(),
        }
    }

    fn grown(sizes: &[usize]) -> Self {
        let mut log = Self::new();
        sizes.iter().for_each(|size| log.grow(*size));
        log
    }

    fn grow(&mut self, size: usize) {
        let first_block = self.leaves.len() / 256;
        for number in self.leaves.len()..size {
            self.leaves.push(leaf(number));
            self.tree.append(leaf_hash(&self.leaves[number]));
        }
        for (index, block) in self.leaves.chunks(256).enumerate().skip(first_block) {
            let path = entries_path(index as u64, u16::try_from(block.len()).unwrap());
            let bundle = encode_entries(block.iter().map(Vec::as_slice)).unwrap();
            self.folder.0.insert(path, bundle);
        }
        self.folder.0.extend(self.tree.take_changed());
        let text = self.sign(self.tree.root());
        self.folder.0.insert(CHECKPOINT.to_owned(), text.into_bytes());
        for path in self.tree.superseded() {
            self.folder.0.remove(&path);
        }
    }

    fn sign(&self, root: Hash) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: self.tree.size(),
            root,
        };
        sign_checkpoint(
            &checkpoint,
            &self.keys,
            Timestamp::from_unix_ms(1_795_000_000_000),
        )
        .unwrap()
    }

    fn checkpoint(&self) -> String {
        String::from_utf8(self.folder.0[CHECKPOINT].clone()).unwrap()
    }

    fn verify(&self, folder: &Folder, since: Option<&str>, minimum_index: u64) -> Verification {
        let listing: Vec<String> = folder.0.keys().cloned().collect();
        let verifiers = [verifier(ORIGIN, &self.keys)];
        verify_log(folder, Some(&listing), &verifiers, since, minimum_index, &|_| {})
    }

    /// The files that are named after `change`.
    #[track_caller]
    fn named(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Vec<String> {
        let mut folder = self.folder.clone();
        change(&mut folder.0);
        let verification = self.verify(&folder, None, 0);
        assert_eq!(verification.ok, verification.problems.is_empty());
        let mut files: Vec<String> = verification
            .problems
            .into_iter()
            .map(|problem| problem.file)
            .collect();
        files.dedup();
        files
    }
}

#[test]
fn accepts_logs_of_every_shape() {
    for sizes in [
        [0].as_slice(),
        &[1],
        &[255],
        &[256],
        &[257],
        &[700],
        &[1, 2, 3, 200, 255, 256, 300, 511, 512, 600],
        &[65_536],
        &[65_536, 66_100],
    ] {
        let log = Log::grown(sizes);
        let verification = log.verify(&log.folder, None, 0);
        assert_eq!(verification.problems, [], "{sizes:?}");
        assert!(verification.ok);
        assert_eq!(
            (verification.size, verification.records_checked),
            (log.tree.size(), log.tree.size())
        );
        assert_eq!(verification.root, STANDARD.encode(log.tree.root()));
        assert_eq!(verification.origin, ORIGIN);
        assert!(
            verification
                .checkpoint_signatures
                .iter()
                .all(|signature| signature.valid)
        );
    }
}

#[test]
fn prints_as_the_contract_says() {
    let log = Log::grown(&[3]);
    let json = serde_json::to_value(log.verify(&log.folder, None, 0)).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    let mut expected = [
        "origin",
        "size",
        "root",
        "records_checked",
        "checkpoint_signatures",
        "problems",
        "ok",
    ];
    let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[test]
fn names_every_file_with_a_changed_byte() {
    let log = Log::grown(&[100, 300, 700, 710]);
    for (file, bytes) in &log.folder.0 {
        for at in (0..bytes.len())
            .step_by(bytes.len() / 23 + 1)
            .chain([bytes.len() - 1])
        {
            let named = log.named(|files| files.get_mut(file).unwrap()[at] ^= 0x40);
            assert_eq!(named, [file.as_str()], "byte {at} of {file}");
        }
    }
}

#[test]
fn names_every_file_that_is_cut_extended_or_missing() {
    let log = Log::grown(&[100, 300, 700, 710]);
    for file in log.folder.0.keys() {
        let cut = log.named(|files| assert!(files.get_mut(file).unwrap().pop().is_some()));
        assert_eq!(cut, [file.as_str()], "{file} cut");
        let extended = log.named(|files| files.get_mut(file).unwrap().push(0));
        assert_eq!(extended, [file.as_str()], "{file} extended");
        let missing = log.named(|files| drop(files.remove(file)));
        let (path, replaced) = (
            crate::parse_path(file),
            ["100", "44", "188"].map(|width| format!(".p/{width}")),
        );
        if path.is_some() && (replaced.iter().any(|end| file.ends_with(end)) || file == "tile/1/000.p/1") {
            assert_eq!(missing, Vec::<String>::new(), "{file} was replaced and may go");
        } else {
            let first = missing.first().map(String::as_str);
            assert_eq!(first, Some(file.as_str()), "{file} missing: {missing:?}");
        }
    }
}

#[test]
fn names_files_that_do_not_belong() {
    let log = Log::grown(&[300]);
    for file in [
        "notes.txt",
        "tile/0/1",
        "tile/0/000.p/256",
        "tile/64/000",
        "checkpoint.tmp",
    ] {
        let named = log.named(|files| drop(files.insert(file.to_owned(), Vec::new())));
        assert_eq!(named, [file]);
    }
    // Written for the next checkpoint, which is not there yet.
    let mut later = Log {
        keys: log.keys.clone(),
        ..Log::new()
    };
    later.grow(300);
    later.grow(520);
    later
        .folder
        .0
        .insert(CHECKPOINT.to_owned(), log.folder.0[CHECKPOINT].clone());
    assert_eq!(later.verify(&later.folder, None, 0).problems, []);
}

#[test]
fn entries_and_tile_rewritten_together_are_named() {
    let log = Log::grown(&[700]);
    let named = log.named(|files| {
        let forged: Vec<Vec<u8>> = (0..256)
            .map(|number| leaf(number + usize::from(number == 7)))
            .collect();
        let bundle = encode_entries(forged.iter().map(Vec::as_slice)).unwrap();
        files.insert("tile/entries/000".to_owned(), bundle);
        files.insert(
            "tile/0/000".to_owned(),
            forged.iter().flat_map(|leaf| leaf_hash(leaf)).collect(),
        );
    });
    assert_eq!(named, ["tile/0/000", "tile/entries/000"]);
}

#[test]
fn a_rewritten_log_does_not_lead_to_the_checkpoint() {
    let log = Log::grown(&[300]);
    let mut forged = Log {
        keys: log.keys.clone(),
        ..Log::new()
    };
    forged.leaves.push(leaf(99));
    forged.tree.append(leaf_hash(&leaf(99)));
    forged.grow(300);
    let named = log.named(|files| {
        for (path, bytes) in &forged.folder.0 {
            if path != CHECKPOINT {
                files.insert(path.clone(), bytes.clone());
            }
        }
    });
    assert_eq!(named, [CHECKPOINT]);
}

#[test]
fn a_signed_leaf_must_still_be_a_record() {
    let mut log = Log::new();
    log.grow(10);
    log.leaves.push(b"{}".to_vec());
    log.tree.append(leaf_hash(b"{}"));
    log.grow(300);
    let verification = log.verify(&log.folder, None, 0);
    assert_eq!(verification.records_checked, 299);
    let [problem] = verification.problems.as_slice() else {
        panic!("{:?}", verification.problems)
    };
    assert_eq!(problem.file, "tile/entries/000");
    assert!(
        problem
            .reason
            .starts_with("entry 10 is no record: the leaf is not an event: missing field")
    );
}

#[test]
fn refuses_checkpoints_by_others() {
    let log = Log::grown(&[3]);
    let verifiers = [verifier(ORIGIN, &log_keys())];
    let verification = verify_log(&log.folder, None, &verifiers, None, 0, &|_| {});
    assert!(!verification.ok);
    assert_eq!(verification.problems[0].file, CHECKPOINT);
    assert!(
        verification
            .checkpoint_signatures
            .iter()
            .all(|signature| !signature.valid)
    );
    assert_eq!(
        (verification.origin.as_str(), verification.root.as_str()),
        ("", "")
    );
}

#[test]
fn grows_from_older_checkpoints() {
    let mut log = Log::new();
    let mut older = Vec::new();
    for size in [0, 1, 200, 256, 300, 600, 601] {
        log.grow(size);
        older.push(log.checkpoint());
    }
    for checkpoint in &older {
        assert_eq!(log.verify(&log.folder, Some(checkpoint), 0).problems, []);
    }
    let reason = |log: &Log, since: &str| {
        let verification = log.verify(&log.folder, Some(since), 0);
        verification
            .problems
            .into_iter()
            .map(|problem| problem.reason)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut cut = Log {
        keys: log.keys.clone(),
        ..Log::new()
    };
    cut.grow(300);
    assert_eq!(
        reason(&cut, &older[6]),
        "it covers 300 entries, the older checkpoint 601: the log was cut"
    );
    let mut rewritten = Log {
        keys: log.keys.clone(),
        ..Log::new()
    };
    rewritten.leaves.push(leaf(99));
    rewritten.tree.append(leaf_hash(&leaf(99)));
    rewritten.grow(601);
    for (index, checkpoint) in older.iter().enumerate().skip(1) {
        let expected = "the log did not grow from the older checkpoint: it was rewritten";
        assert_eq!(reason(&rewritten, checkpoint), expected, "checkpoint {index}");
    }
    let unsigned = older[2].replacen("200", "201", 1);
    assert!(reason(&log, &unsigned).starts_with("the older checkpoint cannot be used: "));
}

#[test]
fn pruned_logs_verify_from_their_minimum_index() {
    let mut log = Log::grown(&[66_000]);
    let older = log.checkpoint();
    log.grow(66_500);
    let mut pruned = log.folder.clone();
    // All that ends at or before entry 65,800: 257 blocks, and the first tile of level 1.
    for index in 0..257 {
        pruned.0.remove(&crate::tile_path(0, index, 256));
        pruned.0.remove(&entries_path(index, 256));
    }
    pruned.0.remove("tile/1/000");
    let verification = log.verify(&pruned, Some(&older), 65_800);
    assert_eq!(verification.problems, []);
    assert_eq!(verification.records_checked, 66_500 - 257 * 256);
    // What is missing without being pruned is missing.
    let files: Vec<String> = log
        .verify(&pruned, None, 65_791)
        .problems
        .into_iter()
        .map(|problem| problem.file)
        .collect();
    assert_eq!(files, ["tile/0/256", "tile/entries/256"]);
    // What may be gone but is there must be right.
    let mut kept = pruned.clone();
    let mut bundle = log.folder.0["tile/entries/256"].clone();
    bundle[100] ^= 1;
    kept.0.insert("tile/entries/256".to_owned(), bundle);
    let verification = log.verify(&kept, None, 65_800);
    assert!(
        verification
            .problems
            .iter()
            .any(|problem| problem.file == "tile/entries/256")
    );
    let verification = log.verify(&log.folder, None, 66_501);
    assert_eq!(
        verification.problems[0].reason,
        "it covers 66500 entries, but 66501 were pruned"
    );
}

#[test]
fn progress_reaches_the_number_of_records() {
    let log = Log::grown(&[1000]);
    let most = std::sync::atomic::AtomicU64::new(0);
    let progress = |checked| {
        most.fetch_max(checked, std::sync::atomic::Ordering::Relaxed);
    };
    verify_log(
        &log.folder,
        None,
        &[verifier(ORIGIN, &log.keys)],
        None,
        0,
        &progress,
    );
    assert_eq!(most.into_inner(), 1000);
}
