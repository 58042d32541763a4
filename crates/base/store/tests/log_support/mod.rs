//! What the log's tests share: keys, records, paths, and the checks that every log must pass.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{path::Path, sync::Arc, time::Duration};

use stockade_crypto::{JournalKey, LogKeys, SecretBytes, SignatureAlgorithm, SigningKey};
use stockade_evidence::{Actor, Event, LogVerifier, Record, RecordId, Timestamp, Verification, verify_log};
use stockade_store::{
    disk::{Disk, Posix},
    log::{FolderSource, LogConfig, LogOpenError, LogPaths, LogWriter, Retention},
};
use tokio::sync::oneshot;

pub(crate) const ORIGIN: &str = "log.example/crash";

pub(crate) fn keys() -> LogKeys {
    let key = |algorithm| SigningKey::generate(algorithm).unwrap();
    LogKeys {
        ed25519: key(SignatureAlgorithm::Ed25519),
        ml_dsa_44: key(SignatureAlgorithm::MlDsa44),
        journal: journal_key(),
    }
}

fn journal_key() -> JournalKey {
    JournalKey::new(SecretBytes::new(vec![5; 32]))
}

/// Keys that another process left in `path`, or new ones left there.
pub(crate) fn kept_keys(path: &Path) -> LogKeys {
    let algorithms = [SignatureAlgorithm::Ed25519, SignatureAlgorithm::MlDsa44];
    let [ed25519, ml_dsa_44] = algorithms.map(|algorithm| {
        let file = path.join(algorithm.name());
        if let Ok(bytes) = std::fs::read(&file) {
            return SigningKey::from_pkcs8(algorithm, &SecretBytes::new(bytes)).unwrap();
        }
        let key = SigningKey::generate(algorithm).unwrap();
        std::fs::write(&file, key.to_pkcs8().unwrap().expose()).unwrap();
        key
    });
    LogKeys {
        ed25519,
        ml_dsa_44,
        journal: journal_key(),
    }
}

pub(crate) fn verifier(origin: &str, keys: &LogKeys) -> LogVerifier {
    LogVerifier {
        name: origin.to_owned(),
        ed25519: keys.ed25519.verifying_key(),
        ml_dsa_44: keys.ml_dsa_44.verifying_key(),
    }
}

pub(crate) fn paths(dir: &Path) -> LogPaths {
    LogPaths {
        log: dir.join("log"),
        journal: dir.join("journal"),
        head: dir.join("head.json"),
        origins: dir.join("origins"),
    }
}

pub(crate) fn config() -> LogConfig {
    LogConfig {
        integrate_every: Duration::from_millis(250),
        max_batch: 8,
        disk_budget_bytes: None,
        anchor: None,
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000)
}

pub(crate) fn posix() -> Arc<dyn Disk> {
    Arc::new(Posix)
}

/// The record numbered `n`, with about `length` bytes of content.
pub(crate) fn leaf(n: u64, length: usize) -> Vec<u8> {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let record = Record::new(now(), RecordId::new(id), Event::RequestAdmitted, Actor::System {});
    record.with("filling", "x".repeat(length)).to_leaf().unwrap()
}

/// A small generator with a seed (Steele, Lea and Flood, SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

pub(crate) fn answer<T>(receiver: oneshot::Receiver<T>) -> T {
    receiver.blocking_recv().expect("the writer always answers")
}

pub(crate) fn open(dir: &Path, keys: &LogKeys, config: LogConfig) -> Result<LogWriter, LogOpenError> {
    LogWriter::open(posix(), &paths(dir), keys.clone(), &[], config, now)
}

pub(crate) fn create(dir: &Path, keys: &LogKeys, config: LogConfig) -> LogWriter {
    LogWriter::create(
        posix(),
        &paths(dir),
        ORIGIN,
        keys.clone(),
        config,
        now,
        leaf(0, 10),
    )
    .unwrap()
}

/// Verifies the log in `paths` as a stranger would, with every file listed.
pub(crate) fn verify(paths: &LogPaths, verifiers: &[LogVerifier]) -> Verification {
    let source = FolderSource::new(&paths.log);
    let listing = source.listing().unwrap();
    let minimum = Retention::read(&Posix, paths).unwrap().minimum_index;
    verify_log(&source, Some(&listing), verifiers, None, minimum, &|_| {})
}
