//! Extraction and evasion through the API: what the query detectors see of attacks by a third party's tools, and of honest clients.
//!
//! `cargo xtask bench extraction --cache DIR [--half dev|test] [--runs N] [--months N] [--worlds digits,mnist,adult] [--streams no]`
//!
//! `streams.py` makes victims and query streams below DIR once (`PYTHON` names a Python with requirements.txt installed, and
//! `STOCKADE_TEST_DATA` the folder of data); the detectors then read them here. Everything that was chosen was chosen on the half `dev`; `test`
//! shares no base image or row with it. A blocked account gets no more answers; among 10 colluders each query comes from
//! an account at random. Fidelity is the agreement of a clone with the victim, averaged over classes.
//!
//! Columns: `stopped`: share of runs in which every account was blocked; `in time`: before the clone had 80% of the fidelity of the
//! undefended one (of an evasion walk: before its first adversarial input near the image); `first`, `stop`: median answers that the
//! attacker had at the first alarm and when the last account was blocked; `ratio`: fidelity then over undefended; `honest`: share of
//! runs in which an honest client was blocked as a colluder. Intervals are Wilson's, 95%.

mod dice;
mod honest;
mod recorded;
mod trial;

use std::{collections::BTreeMap, env, error::Error, path::Path, path::PathBuf, process::Command};

use honest::Profile;
use recorded::{Curve, Rows};
use trial::{Outcome, Trial};

const ATTACKS: [&str; 9] = [
    "jbda",
    "jbda-filler",
    "knockoff",
    "copycat",
    "mixup",
    "hopskipjump",
    "square",
    "boundary",
    "in-distribution",
];
const COLLUDERS: usize = 10;
const CURVE: [usize; 8] = [10, 20, 50, 100, 150, 300, 1000, 2000];

struct Arguments {
    cache: PathBuf,
    half: String,
    runs: usize,
    months: u64,
    worlds: Vec<String>,
    streams: bool,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut words = env::args().skip(1);
        let mut given = BTreeMap::new();
        while let Some(name) = words.next() {
            given.insert(name, words.next().ok_or("each option takes a value")?);
        }
        let mut take = |name: &str, default: &str| given.remove(name).unwrap_or(default.to_owned());
        let arguments = Self {
            cache: take("--cache", "").into(),
            half: take("--half", "test"),
            runs: take("--runs", "60").parse()?,
            months: take("--months", "100").parse()?,
            worlds: take("--worlds", "digits,mnist,adult")
                .split(',')
                .map(str::to_owned)
                .collect(),
            streams: take("--streams", "yes") == "yes",
        };
        if arguments.cache.as_os_str().is_empty() || !given.is_empty() {
            return Err(
                "usage: --cache DIR [--half dev|test] [--runs N] [--months N] [--worlds A,B] [--streams no]"
                    .into(),
            );
        }
        Ok(arguments)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    if arguments.streams {
        for world in &arguments.worlds {
            for half in ["dev", &arguments.half] {
                let runs = if half == arguments.half { arguments.runs } else { 0 };
                make_streams(&arguments.cache, world, half, runs)?;
            }
        }
    }
    for world in &arguments.worlds {
        let folder = arguments.cache.join(world);
        let trial = Trial::new(&folder, &arguments.half)?;
        println!(
            "\n{world}, half {}: {:.1} us a query",
            arguments.half,
            trial.cost()
        );
        println!("tolerances (mean over classes): {}", trial.tolerances());
        print_months(&trial, arguments.months);
        print_attacks(&trial, &folder.join(&arguments.half), arguments.runs)?;
        print_curves(&folder.join(&arguments.half), arguments.runs, trial.classes())?;
    }
    Ok(())
}

fn make_streams(cache: &Path, world: &str, half: &str, runs: usize) -> Result<(), Box<dyn Error>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let status = Command::new(python)
        .arg(home.join("src/bin/extraction/streams.py"))
        .arg(cache)
        .arg(home.join("../examples"))
        .args([world, half, &runs.to_string()])
        .env("OMP_NUM_THREADS", "1")
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("streams.py failed".into())
    }
}

fn print_months(trial: &Trial, months: u64) {
    let mut alarms = [0_usize; Profile::ALL.len()];
    let (mut model, mut by) = (0, BTreeMap::new());
    for seed in 0..months {
        let month = trial.honest_month(seed);
        alarms
            .iter_mut()
            .zip(month.alarms)
            .for_each(|(sum, more)| *sum += more);
        model += month.model;
        for detector in month.by_detector {
            *by.entry(detector).or_insert(0) += 1;
        }
    }
    println!(
        "honest clients, {months} months of 10,000 queries each: false alarms (per client-month, upper 95%)"
    );
    for (profile, count) in Profile::ALL.into_iter().zip(alarms) {
        let (rate, upper) = (count as f64 / months as f64, poisson_upper(count) / months as f64);
        println!("  {:<10} {count:>4}  {rate:>6.3}  {upper:>6.3}", profile.name());
    }
    println!("  {:<10} {model:>4}  (all clients together)  {by:?}", "model");
}

fn print_attacks(trial: &Trial, folder: &Path, runs: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "{:<16} {:>4} {:>5} {:>22} {:>22} {:>7} {:>7} {:>8} {:>8} {:>7} {:>7}  first alarms by",
        "attack",
        "acc",
        "runs",
        "stopped",
        "in time",
        "first",
        "stop",
        "fidelity",
        "undef.",
        "ratio",
        "honest"
    );
    for attack in ATTACKS {
        for accounts in [1, COLLUDERS] {
            let mut outcomes = Vec::new();
            for run in 0..runs {
                let stream = folder.join(format!("{attack}-{run}.q"));
                if !stream.exists() {
                    continue;
                }
                let curve = Curve::read(&stream.with_extension("json"))?;
                let rows = Rows::read(&stream)?;
                outcomes.push(trial.attack(&rows, &curve, accounts, run as u64 + 1));
            }
            if !outcomes.is_empty() {
                print_row(attack, accounts, &outcomes);
            }
        }
    }
    Ok(())
}

/// What a clone is worth after so many answers when nobody stops it. Of `jbda` the first queries (two per class) are the attacker's own real rows.
fn print_curves(folder: &Path, runs: usize, classes: usize) -> Result<(), Box<dyn Error>> {
    println!("median fidelity, undefended, after {CURVE:?} answers");
    for attack in ATTACKS {
        let mut curves = Vec::new();
        for run in 0..runs {
            let path = folder.join(format!("{attack}-{run}.json"));
            if path.exists() {
                curves.push(Curve::read(&path)?);
            }
        }
        if curves.is_empty() {
            continue;
        }
        let points = CURVE.map(|answers| {
            let mut values: Vec<f64> = curves.iter().map(|curve| curve.at(answers, classes)).collect();
            values.sort_by(f64::total_cmp);
            format!("{:.3}", values[values.len() / 2])
        });
        println!("  {attack:<16} {}", points.join("  "));
    }
    Ok(())
}

fn print_row(attack: &str, accounts: usize, outcomes: &[Outcome]) {
    let share = |holds: &dyn Fn(&Outcome) -> bool| {
        let count = outcomes.iter().filter(|outcome| holds(outcome)).count();
        let (low, high) = wilson(count, outcomes.len());
        format!(
            "{:.3} [{low:.3}, {high:.3}]",
            count as f64 / outcomes.len() as f64
        )
    };
    let middle = |value: &dyn Fn(&Outcome) -> f64| {
        let mut values: Vec<f64> = outcomes.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let part = |holds: &dyn Fn(&Outcome) -> bool| {
        outcomes.iter().filter(|outcome| holds(outcome)).count() as f64 / outcomes.len() as f64
    };
    let count = |at: Option<usize>| at.map_or(f64::INFINITY, |at| at as f64);
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    outcomes
        .iter()
        .for_each(|outcome| *by.entry(outcome.detector).or_default() += 1);
    let by: Vec<String> = by.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!(
        "{attack:<16} {accounts:>4} {:>5} {:>22} {:>22} {:>7.0} {:>7.0} {:>8.3} {:>8.3} {:>7.2} {:>7.2}  {}",
        outcomes.len(),
        share(&|outcome| outcome.stopped_at.is_some()),
        share(&|outcome| outcome.in_time),
        middle(&|outcome| count(outcome.first_alarm)),
        middle(&|outcome| count(outcome.stopped_at)),
        middle(&|outcome| outcome.fidelity),
        middle(&|outcome| outcome.undefended),
        middle(&|outcome| outcome.fidelity / outcome.undefended),
        part(&|outcome| outcome.honest_named),
        by.join(", "),
    );
}

/// The Wilson score interval of a proportion, 95%.
fn wilson(count: usize, of: usize) -> (f64, f64) {
    let (n, share, z) = (of as f64, count as f64 / of as f64, 1.959_964_f64);
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The upper 95% bound of a Poisson mean of which `count` was seen (Garwood 1936), by Wilson and Hilferty.
fn poisson_upper(count: usize) -> f64 {
    let n = count as f64 + 1.0;
    n * (1.0 - 1.0 / (9.0 * n) + 1.644_854 / (3.0 * n.sqrt())).powi(3)
}
