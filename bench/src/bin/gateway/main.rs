//! What a protected prediction costs, beside nginx that proxies the same body to an answer that is already there.
//!
//! `cargo xtask bench gateway`, after `cargo build --release -p stockade`; it needs Debian's `wrk`, `nginx` and
//! `taskset`, and two cores. Core 0 holds the server (one nginx worker, or all of Stockade with the model and its log), core 1
//! holds wrk and nginx's upstream. `STOCKADE` may name another binary; `SECONDS` sets the length of one measurement.
//!
//! Controls cannot be switched off, so the ladder is made of what does less: a probe passes HTTP alone, metadata
//! adds key, policy, limits and the record, a prediction adds body, model and shape; then TLS. What one phase costs by itself is
//! measured by calling it (`steps`). State lies once in memory (/dev/shm) and once on disk: the difference is fdatasync.

mod load;
mod servers;
mod steps;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    load::{Figures, Target},
    servers::{Nginx, Stockade},
};

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 3;
/// One connection shows latency, sixteen show throughput.
const CONNECTIONS: [u32; 2] = [1, 16];
const MEMORY: &str = "/dev/shm";
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("steps"), Some(folder)) => steps::measure(Path::new(&folder)),
        _ => measure(),
    }
}

fn measure() -> Result<(), Failure> {
    let seconds = env::var("SECONDS").map_or(Ok(2), |text| text.parse())?;
    let (memory, disk) = (tempfile::tempdir_in(MEMORY)?, tempfile::tempdir()?);
    println!("load {}, {} rounds of {seconds} s", load_average()?, ROUNDS);
    let plain_memory = Stockade::start(&memory.path().join("plain"), Tls::Off)?;
    let tls_memory = Stockade::start(&memory.path().join("tls"), Tls::On)?;
    let plain_disk = Stockade::start(&disk.path().join("plain"), Tls::Off)?;
    let tls_disk = Stockade::start(&disk.path().join("tls"), Tls::On)?;
    let idle = tls_disk.resident_bytes()?;
    let body = examples().join("digits/request.json");
    let answer = tls_disk.answer_length()?;
    let nginx = Nginx::start(memory.path(), answer)?;
    println!(
        "body {} bytes, answer {answer} bytes; idle memory {:.1} MB (resident, TLS, 1 core)",
        fs::metadata(&body)?.len(),
        idle as f64 / 1e6
    );
    let get =
        |name, server: &Stockade, path| Target::get(name, format!("{}{path}", server.url), &server.key_file);
    let infer = |name, server: &Stockade| {
        let url = format!("{}/v2/models/digits/infer", server.url);
        Target::post(name, url, &body, &server.key_file)
    };
    let targets = [
        Target::post("nginx proxy", nginx.url.clone(), &body, &plain_disk.key_file),
        get("HTTP alone (a probe)", &plain_memory, "/livez"),
        get(
            "+ key, policy, limits, record",
            &plain_memory,
            "/v2/models/digits",
        ),
        infer("+ body, model, shape", &plain_memory),
        infer("+ fdatasync of a disk", &plain_disk),
        infer("+ TLS, state in memory", &tls_memory),
        infer("+ TLS, state on disk", &tls_disk),
    ];
    let mut rows = vec![Vec::new(); targets.len() * CONNECTIONS.len()];
    for _ in 0..ROUNDS {
        let pairs = CONNECTIONS
            .iter()
            .flat_map(|&count| targets.iter().map(move |target| (count, target)));
        for (row, (connections, target)) in rows.iter_mut().zip(pairs) {
            row.push(load::run(target, connections, seconds, memory.path())?);
        }
    }
    print(&targets, &rows)?;
    println!(
        "resident after the load: {:.1} MB",
        tls_disk.resident_bytes()? as f64 / 1e6
    );
    drop((nginx, plain_memory, tls_memory, plain_disk, tls_disk));
    for (name, folder) in [("memory", memory.path()), ("disk", disk.path())] {
        println!(
            "\nphases by themselves, state in {name}, load {}",
            load_average()?
        );
        let status = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(env::current_exe()?)
            .arg("steps")
            .arg(folder.join("steps"))
            .status()?;
        if !status.success() {
            return Err("the phases could not be measured".into());
        }
    }
    Ok(())
}

/// Whether the gateway's listener uses TLS.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Tls {
    On,
    Off,
}

fn print(targets: &[Target], rows: &[Vec<Figures>]) -> Result<(), Failure> {
    for (&connections, rows) in CONNECTIONS.iter().zip(rows.chunks(targets.len())) {
        println!(
            "\n{connections} connection(s), medians of {ROUNDS}, load {}",
            load_average()?
        );
        println!(
            "{:<32} {:>9} {:>9} {:>11} {:>12} {:>9}",
            "", "p50 us", "p99 us", "requests/s", "p50 / nginx", "refused"
        );
        let mut first = None;
        for (target, row) in targets.iter().zip(rows) {
            let median = |pick: fn(&Figures) -> f64| load::median(row.iter().map(pick));
            let p50 = median(|figures| figures.p50_us);
            let nginx = *first.get_or_insert(p50);
            println!(
                "{:<32} {p50:>9.0} {:>9.0} {:>11.0} {:>11.2}x {:>9}",
                target.name,
                median(|figures| figures.p99_us),
                median(|figures| figures.per_second),
                p50 / nginx,
                row.iter().map(|figures| figures.errors).sum::<u64>()
            );
        }
    }
    Ok(())
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn load_average() -> Result<String, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
