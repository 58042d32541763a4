//! One world under watch: what is calibrated on the development half, honest months, and attacks among honest clients.

use std::{error::Error, path::Path, time::Instant};

use stockade_inspect::queries::{
    Alarm, ClientClass, Detector, IndexSize, Limits, Query, Reference, Scope, Survey, Tolerances, Verdict,
    Watch, sequential::FalseAlarms,
};

use crate::{
    dice::Dice,
    honest::{MONTH, Profile},
    recorded::{Curve, Rows},
};

/// Configured: at most one false alarm of a client in 30 days, at 10,000 queries in 30 days.
const DAYS: f64 = 30.0;
const QUERIES_PER_DAY: f64 = MONTH as f64 / 30.0;
/// Honest clients may be this much odder than those of the development half.
const SLACK: f64 = 1.0;
/// Months of each profile that tolerances are taken from.
const SURVEYED: u64 = 10;
/// After an alarm of the model, an account is blocked whose hits are e^3 times likelier for a colluder.
const NAMED: f64 = 3.0;
const SECRET: [u8; 32] = *b"a secret of the measurement only";
/// Honest queries before an attack begins; then there is one for each of the attack.
const BEFORE: usize = 5_000;

pub(crate) struct Trial {
    reference: Reference,
    person: ClientClass,
    machine: ClientClass,
    segment: ClientClass,
    limits: Limits,
    pool: Rows,
}

/// False alarms of each profile in one month, and of the model.
#[derive(Default)]
pub(crate) struct Month {
    pub(crate) alarms: [usize; Profile::ALL.len()],
    pub(crate) model: usize,
    pub(crate) by_detector: Vec<&'static str>,
}

/// How an attack ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Answers that the attacker had when the last account was blocked; `None` when one never was.
    pub(crate) stopped_at: Option<usize>,
    /// Answers until the first alarm about the attacker.
    pub(crate) first_alarm: Option<usize>,
    pub(crate) detector: &'static str,
    pub(crate) fidelity: f64,
    pub(crate) undefended: f64,
    /// Whether it was stopped before it had what it came for: 80% of the undefended clone's fidelity, or a walk's first adversarial input.
    pub(crate) in_time: bool,
    /// An honest client was blocked too.
    pub(crate) honest_named: bool,
}

impl Trial {
    /// Calibrates on the development half and judges `half`.
    pub(crate) fn new(folder: &Path, half: &str) -> Result<Self, Box<dyn Error>> {
        let sample = Rows::read(&folder.join("reference.q"))?;
        let (rows, answers) = sample.all();
        let reference = Reference::fit(rows, answers, sample.inputs, sample.classes, &SECRET)?;
        let false_alarms = FalseAlarms::new(DAYS, QUERIES_PER_DAY)?;
        let mut trial = Self {
            person: ClientClass {
                tolerances: reference.tolerances(),
                false_alarms,
            },
            machine: ClientClass {
                tolerances: reference.tolerances(),
                false_alarms,
            },
            segment: ClientClass {
                tolerances: reference.tolerances(),
                false_alarms,
            },
            limits: Limits {
                index: IndexSize::default(),
                principals: 10_000,
                model_false_alarms: FalseAlarms::new(DAYS, QUERIES_PER_DAY * Profile::ALL.len() as f64)?,
            },
            pool: Rows::read(&folder.join("dev/benign.q"))?,
            reference,
        };
        let [person, segment] = trial.surveyed();
        trial.machine.tolerances = person.clone().without(Detector::Pace);
        trial.person.tolerances = person;
        trial.segment.tolerances = segment;
        trial.pool = Rows::read(&folder.join(half).join("benign.q"))?;
        Ok(trial)
    }

    pub(crate) fn classes(&self) -> usize {
        self.pool.classes
    }

    pub(crate) fn tolerances(&self) -> String {
        let mean = |detector| {
            let classes = self.reference.classes();
            let mean = [0, 1].map(|level| {
                let each = (0..classes).map(|class| self.person.tolerances.of(class, detector)[level]);
                each.sum::<f64>() / classes as f64
            });
            format!("{} {:.3}/{:.3}", detector.as_str(), mean[0], mean[1])
        };
        Detector::ALL.map(mean).join(", ")
    }

    /// What honest clients of the development half hit: the largest of all clients and both halves of a month
    /// (the index fills), the batch client's pace apart.
    /// First those of all but the niche clients, then those of the niche clients.
    fn surveyed(&self) -> [Tolerances; 2] {
        let mut tolerances = [self.reference.tolerances(), self.reference.tolerances()];
        for seed in 0..SURVEYED {
            let fresh = || Profile::ALL.map(|_| Survey::new(self.reference.classes()));
            let mut halves = [fresh(), fresh()];
            let mut asked = [0; Profile::ALL.len()];
            self.month(1_000 + seed, |profile, verdict| {
                asked[profile] += 1;
                let mut hits = verdict.hits;
                if profile == Profile::Batch as usize {
                    hits[Detector::Pace as usize] = None;
                }
                halves[usize::from(asked[profile] > MONTH / 2)][profile].add(verdict.class, &hits);
            });
            for (survey, profile) in halves.as_flattened().iter().zip(Profile::ALL.into_iter().cycle()) {
                let class = usize::from(matches!(profile, Profile::Niche | Profile::Stray));
                tolerances[class] = tolerances[class].clone().raised_to(survey, SLACK);
            }
        }
        tolerances
    }

    /// One month of one client of each profile, beside each other.
    fn month(&self, seed: u64, mut seen: impl FnMut(usize, &Verdict)) -> Watch {
        let mut dice = Dice::new(seed);
        let mut events: Vec<(f64, usize, usize)> = Vec::new();
        for (index, profile) in Profile::ALL.into_iter().enumerate() {
            let month = profile.month(&self.pool, &mut dice);
            events.extend(month.into_iter().map(|(at, row)| (at, index, row)));
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut watch = Watch::new(&SECRET, &self.reference, self.limits);
        for (at, profile, row) in events {
            let verdict = self.ask(&mut watch, Profile::ALL[profile].name(), at, &self.pool, row);
            seen(profile, &verdict);
        }
        watch
    }

    fn ask(&self, watch: &mut Watch, principal: &str, at: f64, rows: &Rows, row: usize) -> Verdict {
        let client = match principal {
            "batch" => &self.machine,
            "niche" => &self.segment,
            _ => &self.person,
        };
        let query = Query {
            principal,
            at,
            input: rows.row(row),
            answer: rows.answer(row),
        };
        watch.observe(&self.reference, client, &query)
    }

    pub(crate) fn honest_month(&self, seed: u64) -> Month {
        let mut month = Month::default();
        self.month(seed, |profile, verdict| {
            for alarm in &verdict.alarms {
                month.by_detector.push(alarm.detector.as_str());
                match alarm.scope {
                    Scope::Principal => month.alarms[profile] += 1,
                    Scope::Model => month.model += 1,
                }
            }
        });
        month
    }

    /// The attack's queries among honest ones; an account is blocked when it raises an alarm or is named as a suspect.
    pub(crate) fn attack(&self, stream: &Rows, curve: &Curve, accounts: usize, seed: u64) -> Outcome {
        let mut dice = Dice::new(seed);
        let mut watch = Watch::new(&SECRET, &self.reference, self.limits);
        let names: Vec<String> = (0..accounts)
            .map(|account| format!("account {account}"))
            .collect();
        let ids: Vec<u64> = names.iter().map(|name| watch.id(name)).collect();
        let mut blocked = vec![false; accounts];
        let (mut answered, mut first, mut stopped, mut at) = (0, None, None, 0.0);
        let (mut detector, mut alerts, mut honest_named) = ("-", Vec::new(), false);
        let mut step = |dice: &mut Dice| {
            at += dice.waiting();
            at
        };
        for _ in 0..BEFORE {
            let (at, row) = (step(&mut dice), dice.below(self.pool.len()));
            let honest = ["broad", "narrow", "bursty"][dice.below(3)];
            self.ask(&mut watch, honest, at, &self.pool, row);
        }
        for row in 0..stream.len() {
            // Every fourth honest query comes from a newcomer, who stays for ten.
            let visitor = format!("visitor {}", row / 40);
            let beside = if row % 4 == 0 { visitor.as_str() } else { "broad" };
            let (at, other) = (step(&mut dice), dice.below(self.pool.len()));
            let mut alarms = self.ask(&mut watch, beside, at, &self.pool, other).alarms;
            alarms.retain(|alarm| alarm.scope == Scope::Model);
            let account = dice.below(accounts);
            if blocked[account] {
                alerts.extend(alarms.iter().map(|alarm| alarm.detector));
                continue;
            }
            let at = step(&mut dice);
            let verdict = self.ask(&mut watch, &names[account], at, stream, row);
            // The alarm is raised when the answer is known, and the answer has left.
            answered += 1;
            alarms.extend(verdict.alarms);
            for Alarm {
                detector: by, scope, ..
            } in alarms
            {
                first.get_or_insert(answered);
                if detector == "-" {
                    detector = by.as_str();
                }
                match scope {
                    Scope::Principal => blocked[account] = true,
                    Scope::Model if alerts.contains(&by) => {}
                    Scope::Model => alerts.push(by),
                }
            }
            for by in &alerts {
                for suspect in watch.suspects(*by, NAMED) {
                    let named = ids.iter().position(|id| *id == suspect.id);
                    named.into_iter().for_each(|account| blocked[account] = true);
                    honest_named |= named.is_none();
                }
            }
            if stopped.is_none() && blocked.iter().all(|blocked| *blocked) {
                stopped = Some(answered);
                break;
            }
        }
        Outcome {
            stopped_at: stopped,
            first_alarm: first,
            detector,
            fidelity: curve.at(answered, stream.classes),
            undefended: curve.undefended(),
            honest_named,
            in_time: stopped.is_some()
                && if curve.walks > 0 {
                    curve.broken_at.is_none_or(|broken| broken > answered)
                } else {
                    curve.at(answered, stream.classes) < 0.8 * curve.undefended()
                },
        }
    }

    /// Microseconds per query of a broad client, everything included.
    pub(crate) fn cost(&self) -> f64 {
        let mut watch = Watch::new(&SECRET, &self.reference, self.limits);
        let count = self.pool.len().min(MONTH);
        let start = Instant::now();
        for row in 0..count {
            self.ask(&mut watch, "broad", row as f64, &self.pool, row);
        }
        start.elapsed().as_secs_f64() * 1e6 / count as f64
    }
}
