//! The watermark in answers: clones claimed, independent models not, forged claims refused.
//!
//! `cargo xtask bench mark --cache DIR [--worlds digits,mnist] [--runs N] [--rows A,B]`
//!
//! `learners.py` makes queries with the victim's answers, then trains models on the answers as marked here (`PYTHON` names a Python with requirements.txt installed, and
//! `STOCKADE_TEST_DATA` the folder of data). Each run is a thief with an account and marks of its own; the share of marked answers is 0.005. Every claim is registered in a log and
//! judged as the command `model mark verify` does, against 16 independent models and against the first 8 of them.

#[path = "../../../../crates/methods/model/tests/marks/registry.rs"]
mod registry;

use std::{collections::BTreeMap, env, error::Error, fs, path::Path, path::PathBuf, process::Command};

use registry::Registry;
use serde::Deserialize;
use stockade_crypto::DataKey;
use stockade_model::mark::{Bearer, Form, Judgement, MarkKey, Marker, Opening, Share, Whose, judge};

const ALPHA: f64 = 0.01;
const ROWS: &str = "in-1000,in-2000,in-5000,in-5000-labels,in-5000-finetuned,in-5000-pruned50,in-5000-pruned80,in-5000-short,in-5000-unmarked,foreign-2000,foreign-5000";
const POOLS: [&str; 2] = ["in-distribution", "foreign"];

type Failed = Box<dyn Error>;

struct Arguments {
    cache: PathBuf,
    worlds: String,
    runs: usize,
    rows: String,
}

impl Arguments {
    fn read() -> Result<Self, Failed> {
        let mut words = env::args().skip(1);
        let mut given = BTreeMap::new();
        while let Some(name) = words.next() {
            given.insert(name, words.next().ok_or("each option takes a value")?);
        }
        let mut take = |name: &str, default: &str| given.remove(name).unwrap_or(default.to_owned());
        let arguments = Self {
            cache: take("--cache", "").into(),
            worlds: take("--worlds", "digits,mnist"),
            runs: take("--runs", "20").parse()?,
            rows: take("--rows", ROWS),
        };
        if arguments.cache.as_os_str().is_empty() || !given.is_empty() {
            return Err("usage: --cache DIR [--worlds A,B] [--runs N] [--rows A,B]".into());
        }
        Ok(arguments)
    }

    fn learners(&self, step: &str, world: &str) -> Result<(), Failed> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let status = Command::new(python)
            .arg(home.join("src/bin/mark/learners.py"))
            .arg(step)
            .arg(&self.cache)
            .arg(home.join("../examples"))
            .args([world, &self.runs.to_string(), &self.rows])
            .env("OMP_NUM_THREADS", "1")
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err("learners.py failed".into())
        }
    }
}

fn main() -> Result<(), Failed> {
    let arguments = Arguments::read()?;
    for world in arguments.worlds.split(',') {
        arguments.learners("queries", world)?;
        let trial = Trial::new(&arguments.cache.join(world))?;
        let mut runs = BTreeMap::new();
        for pool in POOLS {
            for run in 0..arguments.runs {
                let name = format!("{pool}-{run}");
                runs.insert(name.clone(), trial.marked(&name)?);
            }
        }
        arguments.learners("train", world)?;
        println!("\n{world}, {} runs, share {}", arguments.runs, Share::USUAL.get());
        trial.print_price(&runs)?;
        let others = Independent::read(&trial.folder)?;
        println!(
            "{:<20} {:>8} {:>6} {:>6} {:>8} {:>28} {:>10} {:>10} {:>6}",
            "clone", "fidelity", "marks", "agree", "null", "proved (95%)", "median p", "worst p", "8 null"
        );
        for row in arguments.rows.split(',') {
            trial.print_row(row, &runs, &others, arguments.runs)?;
        }
        trial.print_independent(&runs, &others)?;
        trial.print_forged(&others)?;
    }
    Ok(())
}

/// Queries and answers as `learners.py` wrote them.
struct Rows {
    inputs: usize,
    classes: usize,
    numbers: Vec<f32>,
    count: usize,
}

impl Rows {
    fn read(path: &Path) -> Result<Self, Failed> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let words = bytes.as_chunks::<4>().0;
        let [count, inputs, classes] = [0, 1, 2].map(|at| u32::from_le_bytes(words[at]) as usize);
        let numbers: Vec<f32> = words[3..].iter().map(|word| f32::from_le_bytes(*word)).collect();
        if numbers.len() != count * (inputs + classes) {
            return Err(format!("{} is cut", path.display()).into());
        }
        Ok(Self {
            inputs,
            classes,
            numbers,
            count,
        })
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.numbers[index * self.inputs..][..self.inputs]
    }

    fn answer(&self, index: usize) -> &[f32] {
        &self.numbers[self.count * self.inputs + index * self.classes..][..self.classes]
    }
}

/// One thief's marks: which query each was.
struct Run {
    whose: Whose,
    marks: Vec<(usize, Opening)>,
}

struct Trial {
    folder: PathBuf,
    form: Form,
    marker: Marker,
}

/// What independent models say to each run's marks: the first `null` of them are the null, the others suspects.
#[derive(Deserialize)]
struct Independent {
    null: usize,
    fidelity: Vec<f64>,
    claims: BTreeMap<String, Vec<Vec<usize>>>,
}

impl Independent {
    fn read(folder: &Path) -> Result<Self, Failed> {
        Ok(serde_json::from_slice(&fs::read(
            folder.join("independent.json"),
        )?)?)
    }
}

#[derive(Deserialize)]
struct Clones {
    labels: Vec<Vec<usize>>,
    fidelity: Vec<f64>,
}

#[derive(Deserialize)]
struct Forged {
    inputs: Vec<Vec<f32>>,
    honest: Vec<usize>,
    marked: Vec<usize>,
    labels: Vec<Vec<usize>>,
}

impl Trial {
    fn new(folder: &Path) -> Result<Self, Failed> {
        let sample = Rows::read(&folder.join("sample.q"))?;
        let key = MarkKey::of_model(&DataKey::from_bytes([42; 32]), "victim");
        let form = Form::fit(
            &sample.numbers[..sample.count * sample.inputs],
            sample.inputs,
            &key,
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            form: form.clone(),
            marker: Marker::new(key, form, Share::USUAL),
        })
    }

    /// Decides what the thief of this run is told, and writes it for `learners.py`.
    fn marked(&self, name: &str) -> Result<Run, Failed> {
        let rows = Rows::read(&self.folder.join(format!("{name}.q")))?;
        let bearer: Bearer = self.marker.bearer(name);
        let mut marks: Vec<(usize, Opening)> = Vec::new();
        for query in 0..rows.count {
            if let Some(mark) = self.marker.mark(&bearer, rows.row(query), rows.answer(query)) {
                let number = marks.len() as u64;
                marks.push((
                    query,
                    self.marker.register(&bearer, number, rows.row(query), mark),
                ));
            }
        }
        let written: Vec<[usize; 3]> = marks
            .iter()
            .map(|(query, opening)| [*query, opening.honest, opening.marked])
            .collect();
        fs::write(
            self.folder.join(format!("{name}.marks.json")),
            serde_json::to_vec(&written)?,
        )?;
        Ok(Run {
            whose: Whose {
                model: "victim".to_owned(),
                bearer: name.to_owned(),
                classes: rows.classes,
            },
            marks,
        })
    }

    fn print_price(&self, runs: &BTreeMap<String, Run>) -> Result<(), Failed> {
        for pool in POOLS {
            let counts: Vec<usize> = runs
                .iter()
                .filter(|(name, _)| name.starts_with(pool))
                .map(|(_, run)| run.marks.len())
                .collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            println!(
                "marks in 5,000 answers, {pool}: mean {:.1}, least {least:?}, most {most:?}",
                mean(&counts)
            );
        }
        let rows = Rows::read(&self.folder.join("in-distribution-0.q"))?;
        let bearer = self.marker.bearer("cost");
        let start = std::time::Instant::now();
        let marks = (0..rows.count)
            .filter(|query| {
                self.marker
                    .mark(&bearer, rows.row(*query), rows.answer(*query))
                    .is_some()
            })
            .count();
        let each = start.elapsed().as_secs_f64() / rows.count as f64;
        println!("{:.1} us an answer ({marks} marked)", each * 1e6);
        self.print_cells(&rows);
        Ok(())
    }

    /// How many cells the rows lie in, and how many rows stay in theirs under noise on every number.
    fn print_cells(&self, rows: &Rows) {
        let mut cells: BTreeMap<String, usize> = BTreeMap::new();
        for query in 0..rows.count {
            let cell = self.form.cell(rows.row(query));
            *cells.entry(format!("{cell:?}")).or_default() += 1;
        }
        let fullest = cells.values().max().copied().unwrap_or_default();
        print!(
            "{} rows in {} cells, {fullest} in the fullest; stay under noise of",
            rows.count,
            cells.len()
        );
        for spread in [1.0 / 255.0, 0.01, 0.03] {
            let mut state = 47_u64;
            let kept = (0..rows.count)
                .filter(|query| {
                    let row = rows.row(*query);
                    let moved: Vec<f32> = row
                        .iter()
                        .map(|value| value + spread * normal(&mut state))
                        .collect();
                    self.form.cell(row) == self.form.cell(&moved)
                })
                .count();
            print!(" {spread:.4}: {:.2}", kept as f64 / rows.count as f64);
        }
        println!();
    }

    /// The clones of one row: each is judged by the claim of its own thief, cut to the queries that it was trained on.
    fn print_row(
        &self,
        row: &str,
        runs: &BTreeMap<String, Run>,
        others: &Independent,
        count: usize,
    ) -> Result<(), Failed> {
        let clones: Clones = serde_json::from_slice(&fs::read(self.folder.join(format!("{row}.json")))?)?;
        let pool = if row.starts_with("in-") {
            POOLS[0]
        } else {
            POOLS[1]
        };
        let mut judged = Vec::new();
        let mut with_8 = 0;
        for run in 0..count {
            let name = format!("{pool}-{run}");
            let said = &clones.labels[run];
            if said.is_empty() {
                continue;
            }
            let null = &others.claims[&name][..others.null];
            judged.push(verdict(&runs[&name], said, null)?);
            with_8 += usize::from(verdict(&runs[&name], said, &null[..8])?.p <= ALPHA);
        }
        let mut p: Vec<f64> = judged.iter().map(|judgement| judgement.p).collect();
        p.sort_by(f64::total_cmp);
        let proved = p.iter().filter(|p| **p <= ALPHA).count();
        let (low, high) = wilson(proved, count);
        let counted: usize = judged.iter().map(|judgement| judgement.counted).sum();
        let agreed: usize = judged.iter().map(|judgement| judgement.suspect.marked).sum();
        let by_null: usize = judged
            .iter()
            .flat_map(|judgement| &judgement.null)
            .map(|model| model.marked)
            .sum();
        println!(
            "{row:<20} {:>8.3} {:>6.1} {:>6.2} {:>8.4} {:>28} {:>10.1e} {:>10.1e} {:>6}",
            clones.fidelity.iter().sum::<f64>() / clones.fidelity.len() as f64,
            counted as f64 / judged.len() as f64,
            agreed as f64 / counted as f64,
            by_null as f64 / (counted * others.null) as f64,
            format!("{proved} of {count} [{low:.2}, {high:.2}]"),
            p[p.len() / 2],
            p[p.len() - 1],
            with_8,
        );
        Ok(())
    }

    fn print_independent(&self, runs: &BTreeMap<String, Run>, others: &Independent) -> Result<(), Failed> {
        let (mut pairs, mut proved, mut least) = (0, 0, 1.0_f64);
        for (name, run) in runs {
            let answers = &others.claims[name];
            for suspect in &answers[others.null..] {
                let judgement = verdict(run, suspect, &answers[..others.null])?;
                pairs += 1;
                proved += usize::from(judgement.p <= ALPHA);
                least = least.min(judgement.p);
            }
        }
        let (low, high) = wilson(proved, pairs);
        println!(
            "independent models (fidelity {:.3}): {proved} of {pairs} pairs of model and claim proved [{low:.4}, {high:.4}], least p {least:.2}",
            others.fidelity.iter().sum::<f64>() / others.fidelity.len() as f64
        );
        Ok(())
    }

    /// Claims of transferable adversarial examples, here even registered in time: what the measured null says of them, and what an assumed one would.
    fn print_forged(&self, others: &Independent) -> Result<(), Failed> {
        let forged: Vec<Forged> = serde_json::from_slice(&fs::read(self.folder.join("forged.json"))?)?;
        let (mut pairs, mut proved, mut assumed, mut transferred, mut counted) = (0, 0, 0, 0, 0);
        for claim in &forged {
            let opening = |number: usize| Opening {
                number: number as u64,
                honest: claim.honest[number],
                marked: claim.marked[number],
                nonce: [0; 32],
                input: claim.inputs[number].clone(),
            };
            let run = Run {
                whose: Whose {
                    model: "victim".to_owned(),
                    bearer: "forger".to_owned(),
                    classes: 10,
                },
                marks: (0..claim.marked.len())
                    .map(|number| (number, opening(number)))
                    .collect(),
            };
            for suspect in &claim.labels[others.null..] {
                let judgement = verdict(&run, suspect, &claim.labels[..others.null])?;
                pairs += 1;
                proved += usize::from(judgement.p <= ALPHA);
                assumed += usize::from(chance(judgement.counted, judgement.suspect.marked) <= ALPHA);
                transferred += judgement.suspect.marked;
                counted += judgement.counted;
            }
        }
        let (low, high) = wilson(proved, pairs);
        println!(
            "forged claims: {:.2} of their examples transfer; proved {proved} of {pairs} [{low:.4}, {high:.4}]; with an assumed null of 1 in 9: {assumed}",
            transferred as f64 / counted as f64
        );
        Ok(())
    }
}

/// The judgement of a model by the marks that it was asked for, the first of a run.
fn verdict(run: &Run, said: &[usize], null: &[Vec<usize>]) -> Result<Judgement, Failed> {
    let openings: Vec<Opening> = run.marks[..said.len()]
        .iter()
        .map(|(_, opening)| opening.clone())
        .collect();
    let registry = Registry::of(&run.whose, &openings);
    let (checkpoint, keys) = registry.held();
    let claim = registry.claim(&run.whose, &openings);
    let registered = claim.registered(&checkpoint, &keys)?;
    let of = |answers: &Vec<usize>| -> Vec<usize> {
        let marks = registered.marks().iter();
        marks.map(|mark| answers[mark.number as usize]).collect()
    };
    let null: Vec<Vec<usize>> = null.iter().map(of).collect();
    Ok(judge(&registered, &of(&said.to_vec()), &null, 1)?)
}

/// What a plain binomial with an assumed rate of 1/9 would say.
fn chance(trials: usize, at_least: usize) -> f64 {
    let rate: f64 = 1.0 / 9.0;
    let mut log = trials as f64 * (1.0 - rate).ln();
    let mut sum = 0.0;
    for count in 0..=trials {
        if count >= at_least {
            sum += log.exp();
        }
        log += ((trials - count) as f64).ln() - (count as f64 + 1.0).ln() + (rate / (1.0 - rate)).ln();
    }
    sum
}

/// Standard normal: twelve uniform numbers (SplitMix64) less six.
fn normal(state: &mut u64) -> f32 {
    let mut unit = || {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..12).map(|_| unit()).sum::<f32>() - 6.0
}

fn mean(values: &[usize]) -> f64 {
    values.iter().sum::<usize>() as f64 / values.len() as f64
}

/// The Wilson score interval of a proportion, 95%.
fn wilson(count: usize, of: usize) -> (f64, f64) {
    let (n, share, z) = (of as f64, count as f64 / of as f64, 1.959_964_f64);
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}
