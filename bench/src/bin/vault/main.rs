//! Sealing and opening 1 GiB in the vault, beside what OpenSSL's hash and cipher reach one after the other.
//!
//! `cargo xtask bench vault`. Everything lies in /dev/shm, so no disk is measured. Each round asks `openssl speed` first; its
//! serial bound 1 / (1/SHA-256 + 1/AES-256-GCM) is what one core reaches that hashes, then encrypts, at OpenSSL's speed.
//! Twice: pinned to one core, and on all of them. `PYTHON` may name a Python that has PyPI `tink`: its file of 256 MiB is
//! sealed and opened beside. Printed: medians of the rounds, GB/s of wall time and of CPU time, GB = 1e9 bytes.
//!
//! A virtual machine's host takes back memory that the guest freed, and giving it again costs more than any cipher. So as much
//! memory as a measurement writes is touched right before it, and a plain copy of the file is measured beside.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::Command,
    time::Instant,
};

use stockade_artifact::{ArtifactRef, SourceFile, Vault};
use stockade_crypto::{KeyFolder, ReadAt};
use stockade_evidence::{Actor, DigestAlgorithm};
use stockade_store::{Blobs, Config, Handle, Keeper, StateDir, wall_clock};

type Failure = Box<dyn Error + Send + Sync>;

const PLACE: &str = "/dev/shm";
const LENGTH: u64 = 1 << 30;
const ROUNDS: usize = 3;
const RANDOM_READS: usize = 300;
const MIB: usize = 1 << 20;
/// Ticks of /proc/self/stat in a second, on every Linux that Rust's standard library runs on.
const TICKS: f64 = 100.0;
const ACTOR: Actor = Actor::System {};

/// Gigabytes per second of wall time and of CPU time.
#[derive(Clone, Copy)]
struct Speed {
    wall: f64,
    cpu: f64,
}

fn main() -> Result<(), Failure> {
    if env::args().nth(1).as_deref() == Some("measure") {
        return measure();
    }
    for pinned in [&["taskset", "-c", "0"][..], &["env"][..]] {
        let status = Command::new(pinned.first().ok_or("no command")?)
            .args(pinned.iter().skip(1))
            .arg(env::current_exe()?)
            .arg("measure")
            .status()?;
        if !status.success() {
            return Err("a measurement failed".into());
        }
    }
    Ok(())
}

fn measure() -> Result<(), Failure> {
    let cores = std::thread::available_parallelism()?;
    println!(
        "\n{cores} core(s), load {}",
        fs::read_to_string("/proc/loadavg")?.trim()
    );
    let folder = tempfile::tempdir_in(PLACE)?;
    let source = folder.path().join("weights");
    write_source(&source)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rows: Vec<(String, Vec<Speed>)> = Vec::new();
    let (mut bounds, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (sha, aes) = (openssl("sha256")?, openssl("aes-256-gcm")?);
        let bound = 1.0 / (1.0 / sha + 1.0 / aes);
        bounds.push((sha, aes, bound));
        for hash in [DigestAlgorithm::Sha256, DigestAlgorithm::Blake3] {
            runtime.block_on(round(folder.path(), &source, hash, &mut rows, &mut reads))?;
        }
    }
    let bound = median(bounds.iter().map(|(_, _, bound)| *bound));
    let sha = median(bounds.iter().map(|(sha, _, _)| *sha));
    let aes = median(bounds.iter().map(|(_, aes, _)| *aes));
    println!(
        "openssl speed, 64 KiB: SHA-256 {sha:.2} GB/s, AES-256-GCM {aes:.2} GB/s, serial bound {bound:.2} GB/s"
    );
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9}",
        "", "wall", "of bound", "CPU", "of bound"
    );
    for (name, speeds) in &rows {
        let wall = median(speeds.iter().map(|speed| speed.wall));
        let cpu = median(speeds.iter().map(|speed| speed.cpu));
        println!(
            "{name:<34} {wall:>9.2} {:>8.0}% {cpu:>9.2} {:>8.0}%",
            100.0 * wall / bound,
            100.0 * cpu / bound
        );
    }
    reads.sort_by(f64::total_cmp);
    let at = |share: f64| {
        reads
            .get((reads.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
            * 1e3
    };
    println!(
        "random read of 1 MiB: p50 {:.3} ms, p99 {:.3} ms (n = {})",
        at(0.5),
        at(0.99),
        reads.len()
    );
    println!(
        "rounds {ROUNDS}, 1 GiB each, load {}",
        fs::read_to_string("/proc/loadavg")?.trim()
    );
    tink(&source)
}

/// Seals the file in a fresh project, opens it whole, opens it in parts, reads it at random.
async fn round(
    folder: &Path,
    source: &Path,
    hash: DigestAlgorithm,
    rows: &mut Vec<(String, Vec<Speed>)>,
    reads: &mut Vec<f64>,
) -> Result<(), Failure> {
    let project = tempfile::tempdir_in(folder)?;
    let dir = StateDir::new(project.path());
    dir.create()?;
    let now = wall_clock();
    let keys = KeyFolder::create(&dir.keys(), None, now.unix_ms() / 1000)?;
    let keeper = Box::pin(Keeper::open(dir.clone(), keys, Config::default())).await?;
    let vault = Vault::new(Blobs::folder(dir.vault())?, Handle::Local(keeper.clone()));
    let file = SourceFile {
        path_in_artifact: "weights".parse()?,
        local: source.to_owned(),
    };
    let copy = project.path().join("copy");
    touch_memory(&copy)?;
    let watch = Watch::start()?;
    copy_file(source, &copy)?;
    note(rows, "copy, no hash and no cipher".to_owned(), watch.stop()?);
    fs::remove_file(&copy)?;

    touch_memory(&copy)?;
    let watch = Watch::start()?;
    Box::pin(vault.seal(&ACTOR, &"big".parse()?, &[file], hash, now, None)).await?;
    note(rows, format!("seal, {}", hash.as_str()), watch.stop()?);

    let reference: ArtifactRef = "big@1".parse()?;
    let out = project.path().join("out");
    touch_memory(&out)?;
    let watch = Watch::start()?;
    Box::pin(vault.open_to(&ACTOR, &reference, &out, now)).await?;
    note(
        rows,
        format!("open to a file, {} checked", hash.as_str()),
        watch.stop()?,
    );
    fs::remove_file(out)?;

    let opened = Box::pin(vault.read(&ACTOR, &reference, now)).await?;
    let file = opened.files().first().ok_or("no file")?;
    let mut buffer = vec![0; 16 * MIB];
    let (mut offset, watch) = (0, Watch::start()?);
    while offset < LENGTH {
        offset += file.read_at(&mut buffer, offset)? as u64;
    }
    note(rows, "open in memory, authenticated".to_owned(), watch.stop()?);

    let mut state = 0x5eed_u64;
    for _ in 0..RANDOM_READS {
        // Knuth's MMIX generator: offsets that no reader can foresee.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = (state >> 16) % (LENGTH - MIB as u64);
        let part = buffer.get_mut(..MIB).ok_or("a short buffer")?;
        let start = Instant::now();
        let read = file.read_at(part, offset)?;
        reads.push(start.elapsed().as_secs_f64());
        if read != MIB {
            return Err("a short read".into());
        }
    }
    keeper.close().await?;
    Ok(())
}

/// Makes the host give the memory that a file of [`LENGTH`] takes; it stays the guest's for a moment after the file is gone.
fn touch_memory(place: &Path) -> Result<(), Failure> {
    let mut file = File::create(place)?;
    let block = vec![1_u8; MIB];
    for _ in 0..LENGTH / MIB as u64 + 64 {
        file.write_all(&block)?;
    }
    drop(file);
    Ok(fs::remove_file(place)?)
}

/// What the kernel alone takes for reading and writing the file in pieces of 1 MiB.
fn copy_file(from: &Path, to: &Path) -> Result<(), Failure> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0_u8; MIB];
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(block.get(..read).ok_or("a long read")?)?;
    }
}

struct Watch {
    start: Instant,
    cpu: f64,
}

impl Watch {
    fn start() -> Result<Self, Failure> {
        Ok(Self {
            start: Instant::now(),
            cpu: cpu_seconds()?,
        })
    }

    fn stop(self) -> Result<Speed, Failure> {
        let bytes = LENGTH as f64 / 1e9;
        Ok(Speed {
            wall: bytes / self.start.elapsed().as_secs_f64(),
            cpu: bytes / (cpu_seconds()? - self.cpu),
        })
    }
}

/// CPU time of all threads of this process, in user and system mode.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("a strange stat")?;
    // proc_pid_stat(5): utime and stime are fields 14 and 15; the first after the name is field 3.
    let ticks: Result<Vec<f64>, _> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS)
}

fn note(rows: &mut Vec<(String, Vec<Speed>)>, name: String, speed: Speed) {
    match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, speeds)) => speeds.push(speed),
        None => rows.push((name, vec![speed])),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What OpenSSL reaches in a second of CPU time, in GB/s.
fn openssl(algorithm: &str) -> Result<f64, Failure> {
    let output = Command::new("openssl")
        .args([
            "speed", "-mr", "-evp", algorithm, "-bytes", "65536", "-seconds", "1",
        ])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    // `+F:22:sha256:BYTES_PER_SECOND`
    let line = text
        .lines()
        .find(|line| line.starts_with("+F:"))
        .ok_or("openssl speed said nothing")?;
    Ok(line.rsplit(':').next().ok_or("no figure")?.parse::<f64>()? / 1e9)
}

/// Bytes that no layer can compress or skip.
fn write_source(path: &Path) -> Result<(), Failure> {
    let mut file = File::create(path)?;
    let mut block = vec![0_u8; MIB];
    let mut state = 1_u64;
    for _ in 0..LENGTH / MIB as u64 {
        for bytes in block.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// The peer: Tink's own streaming AEAD, through Python. It hashes nothing.
fn tink(source: &Path) -> Result<(), Failure> {
    let Some(python) = env::var_os("PYTHON") else {
        println!("PyPI tink: not measured (`PYTHON` names no Python that has it)");
        return Ok(());
    };
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/vault/peer.py");
    let output = Command::new(python).arg(peer).arg(source).output()?;
    print!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
