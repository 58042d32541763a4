//! How fast entries become durable: throughput with many appenders, and latency at 1,000 a second beside the disk's own.
//!
//! `cargo run --profile bench --bin log_append [FOLDER]`, from the folder `bench`. Every append is synced; integration
//! under signed checkpoints runs all the while. The disk's own fdatasync is measured in the same seconds, on a file of
//! its own: one 4 KiB write into space that was allocated before.

use std::{
    collections::VecDeque,
    env,
    error::Error,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use stockade_crypto::{JournalKey, LogKeys, SignatureAlgorithm, SigningKey};
use stockade_evidence::{Actor, Event, Record, RecordId, Timestamp};
use stockade_store::{
    disk::Posix,
    log::{LogConfig, LogPaths, LogWriter},
};

type Failure = Box<dyn Error + Send + Sync>;

const APPENDERS: usize = 256;
const SECONDS: u64 = 10;
const RATE: u64 = 1_000;

fn leaf(number: u64) -> Result<Vec<u8>, Failure> {
    let id = RecordId::new(u128::from(number).to_be_bytes());
    let time = Timestamp::from_unix_ms(1_795_000_000_000);
    let record = Record::new(time, id, Event::RequestAdmitted, Actor::System {});
    Ok(record
        .with("request_id", format!("{number:032x}"))
        .with("filling", "x".repeat(200))
        .to_leaf()?)
}

fn open(folder: &Path, keys: &LogKeys) -> Result<LogWriter, Failure> {
    let paths = LogPaths {
        log: folder.join("log"),
        journal: folder.join("journal"),
        head: folder.join("head.json"),
        origins: folder.join("origins"),
    };
    let now = || Timestamp::from_unix_ms(1_795_000_000_000);
    let config = LogConfig::default();
    Ok(LogWriter::create(
        Arc::new(Posix),
        &paths,
        "stockade.example/bench",
        keys.clone(),
        config,
        now,
        leaf(0)?,
    )?)
}

/// The longest time, until `end`, from durable to integrated. Seen every 5 ms.
fn longest_wait(log: &LogWriter, end: Instant) -> Duration {
    let (mut durable, mut longest) = (VecDeque::new(), Duration::ZERO);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        durable.push_back((Instant::now(), log.durable_size()));
        let integrated = log.integrated_size();
        while durable.front().is_some_and(|(_, size)| *size <= integrated) {
            if let Some((since, _)) = durable.pop_front() {
                longest = longest.max(since.elapsed());
            }
        }
    }
    let waiting = durable
        .front()
        .map_or(Duration::ZERO, |(since, _)| since.elapsed());
    longest.max(waiting)
}

/// Durable appends in a second, each appender waiting for its answer before it sends the next.
fn throughput(folder: &Path, keys: &LogKeys) -> Result<(), Failure> {
    let log = open(folder, keys)?;
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    thread::scope(|scope| -> Result<(), Failure> {
        let append = |worker: u64| {
            let mut n = worker << 32;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                log.append(leaf(n)?).blocking_recv()??;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..APPENDERS as u64)
            .map(|worker| scope.spawn(move || append(worker)))
            .collect();
        let waited = longest_wait(&log, start + Duration::from_secs(SECONDS));
        stop.store(true, Ordering::Relaxed);
        println!(
            "an entry came under a checkpoint at most {:.0} ms after it was durable",
            waited.as_secs_f64() * 1e3
        );
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("an appender died".into())))
    })?;
    let (entries, seconds) = (done.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    let rate = entries as f64 / seconds;
    let length = leaf(1)?.len();
    println!(
        "throughput: {rate:.0} durable appends/s (n = {entries}, {APPENDERS} appenders, {length} bytes each)"
    );
    let integrating = Instant::now();
    log.integrated(log.durable_size()).blocking_recv()??;
    println!(
        "the last entries were under a checkpoint {:.0} ms later",
        integrating.elapsed().as_secs_f64() * 1e3
    );
    log.close()?;
    Ok(())
}

/// The disk's own fdatasync while `stop` is not set.
fn probe(path: &Path, stop: &AtomicBool) -> std::io::Result<Vec<Duration>> {
    let file = File::create(path)?;
    let block = [1; 4096];
    for at in 0..256 {
        file.write_all_at(&[0; 4096], at * 4096)?;
    }
    file.sync_all()?;
    let mut measured = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        file.write_all_at(&block, (measured.len() as u64 % 256) * 4096)?;
        let start = Instant::now();
        file.sync_data()?;
        measured.push(start.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    Ok(measured)
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
}

/// From the moment an entry was due to the moment it is durable, at a fixed rate that waits for nobody.
fn latency(folder: &Path, keys: &LogKeys) -> Result<(), Failure> {
    let log = open(folder, keys)?;
    let stop = AtomicBool::new(false);
    let entries = (0..RATE * SECONDS).map(leaf).collect::<Result<Vec<_>, _>>()?;
    let (mut synced, mut durable) = thread::scope(|scope| -> Result<_, Failure> {
        let prober = scope.spawn(|| probe(&folder.join("probe"), &stop));
        let (send, receive) = std::sync::mpsc::channel();
        // Answers come in order, so one thread can wait for all of them.
        let waiter = scope.spawn(move || -> Result<Vec<Duration>, Failure> {
            let mut measured = Vec::new();
            for (due, answer) in receive {
                let answer: tokio::sync::oneshot::Receiver<_> = answer;
                let _: u64 = answer.blocking_recv()??;
                measured.push(Instant::now() - due);
            }
            Ok(measured)
        });
        let start = Instant::now();
        for (n, entry) in (0..).zip(entries) {
            let due = start + Duration::from_micros(n * 1_000_000 / RATE);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            send.send((due, log.append(entry)))?;
        }
        drop(send);
        let durable = waiter.join().map_err(|_| "the waiter died")??;
        stop.store(true, Ordering::Relaxed);
        let synced = prober.join().map_err(|_| "the prober died")??;
        Ok((synced, durable))
    })?;
    synced.sort_unstable();
    durable.sort_unstable();
    let show = |name: &str, sorted: &[Duration]| {
        let (p50, p99, n) = (percentile(sorted, 0.5), percentile(sorted, 0.99), sorted.len());
        println!("{name}: p50 {p50:.3} ms, p99 {p99:.3} ms (n = {n})");
        p99
    };
    let disk = show("fdatasync of the disk itself", &synced);
    let log_p99 = show(&format!("durable append at {RATE}/s"), &durable);
    let allowed = 1.0 + 2.0 * disk;
    let verdict = if log_p99 <= allowed { "reached" } else { "MISSED" };
    println!("goal: p99 at most 1 ms + 2 x p99 of fdatasync = {allowed:.3} ms: {verdict}");
    log.close()?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let parent = env::args().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent)?;
    let key = |algorithm| SigningKey::generate(algorithm);
    let keys = LogKeys {
        ed25519: key(SignatureAlgorithm::Ed25519)?,
        ml_dsa_44: key(SignatureAlgorithm::MlDsa44)?,
        journal: JournalKey::generate()?,
    };
    let cores = thread::available_parallelism()?;
    println!("fsync on, {cores} cores, folder {}", folder.path().display());
    for (name, run) in [
        ("latency", latency as fn(&Path, &LogKeys) -> _),
        ("throughput", throughput),
    ] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        run(&folder, &keys)?;
    }
    Ok(())
}
