//! All detectors over the queries to one model: who asks, what was hit, what that adds up to.
//!
//! # Cost
//! Time per query does not depend on how many came before; memory is [`Limits`]. The principal who was silent longest is
//! forgotten first, and what it added to the evidence of the model stays.

use std::{collections::BTreeMap, fmt};

use super::{
    DETECTORS, Detector, Features, Hits, IndexSize, LEVELS, Reference, Tolerances,
    near_duplicates::Index,
    reference::Reading,
    sequential::{Evidence, FalseAlarms, Pooled, Record, likelier},
    timing::Trail,
};
use crate::numbers::{fingerprint, mix, name};

/// One query and the model's answer to it, as the model gave it (before any rounding).
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Who asked, verified.
    pub principal: &'a str,
    /// When, in seconds since any fixed moment.
    pub at: f64,
    /// The input, row by row.
    pub input: &'a [f32],
    /// One score per class, or the one score of class 1.
    pub answer: &'a [f32],
}

/// What is tolerated of one kind of client, and how seldom it may be suspected wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientClass {
    /// How often honest clients of this kind hit.
    pub tolerances: Tolerances,
    /// At most this many false alarms of one client.
    pub false_alarms: FalseAlarms,
}

/// A principal is a newcomer for this many queries.
const NEWCOMER: u64 = 200;

/// Bounds of a watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The index of recent queries.
    pub index: IndexSize,
    /// Principals that are remembered; about 1 kB each.
    pub principals: usize,
    /// False alarms of the model's own evidence, over the queries of all its clients.
    pub model_false_alarms: FalseAlarms,
}

/// Whose evidence an alarm is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The principal who asked.
    Principal,
    /// The clients of the model together; [`Watch::suspects`] names those who take part.
    Model,
}

impl Scope {
    /// The name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Model => "model",
        }
    }
}

/// The evidence of a detector reached its threshold; it starts anew from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// Which detector.
    pub detector: Detector,
    /// Whose evidence.
    pub scope: Scope,
    /// Queries of that scope until now.
    pub at_query: u64,
    /// The evidence.
    pub statistic: f64,
}

/// What was seen in one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The class of the answer; one past the last when there was none.
    pub class: usize,
    /// What each detector made of it.
    pub hits: Hits,
    /// The same principal sent exactly this before; nothing but its pace was looked at.
    pub resubmitted: bool,
    /// Alarms that this query raised.
    pub alarms: Vec<Alarm>,
}

/// A principal who takes part in what raised the model's alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// As [`Watch::id`] gives it.
    pub id: u64,
    /// Queries that it sent.
    pub queries: u64,
    /// Logarithm of how much likelier its hits are for a colluder than for an honest client, since that was last 0.
    pub contribution: f64,
}

/// The stream of queries to one model, until now.
#[derive(Clone, PartialEq)]
pub struct Watch {
    pub(super) secret: [u8; 32],
    pub(super) limits: Limits,
    pub(super) index: Index,
    pub(super) principals: BTreeMap<u64, Principal>,
    /// Principals by the query at which they were last seen.
    pub(super) silence: BTreeMap<u64, u64>,
    pub(super) pooled: [Pooled; DETECTORS],
    /// What principals hit in their first queries, of late.
    pub(super) newcomers: [Record; DETECTORS],
    pub(super) queries: u64,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("secret", &"****")
            .field("limits", &self.limits)
            .field("queries", &self.queries)
            .field("principals", &self.principals.len())
            .finish_non_exhaustive()
    }
}

/// What is remembered of one principal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Principal {
    pub(super) last_seen: u64,
    pub(super) queries: u64,
    pub(super) evidence: [Evidence; DETECTORS],
    pub(super) records: [Record; DETECTORS],
    pub(super) contributions: [f64; DETECTORS],
    pub(super) trail: Trail,
}

impl Watch {
    /// Nothing seen yet. `secret` hides the index's grid and names; the same secret made the reference.
    #[must_use]
    pub fn new(secret: &[u8; 32], reference: &Reference, limits: Limits) -> Self {
        Self {
            secret: *secret,
            limits,
            index: Index::new(secret, reference.likeness, limits.index),
            principals: BTreeMap::new(),
            silence: BTreeMap::new(),
            pooled: Default::default(),
            newcomers: Default::default(),
            queries: 0,
        }
    }

    /// Takes one query into account.
    pub fn observe(&mut self, reference: &Reference, client: &ClientClass, query: &Query<'_>) -> Verdict {
        self.queries = self.queries.saturating_add(1);
        let id = self.id(query.principal);
        let mut principal = self.take(id);
        let reading = Reading::of(query.answer);
        let class = reading.map_or(reference.classes(), |reading| reading.class);
        let pace = principal.trail.pace(query.at);
        let print = fingerprint(&self.secret, query.input);
        let resubmitted = self.index.seen(mix(print, id));
        let mut hits = [None; DETECTORS];
        if !resubmitted && let Some(reading) = reading {
            let fresh = !self.index.seen(print);
            hits = match reference.features(query.input) {
                Some(features) => {
                    let surprise = reference.tree.surprise(query.input);
                    self.look(
                        reference,
                        reading,
                        &features,
                        surprise,
                        fresh,
                        &mut principal.trail,
                    )
                }
                // No real row is like that.
                None => [
                    None,
                    Some([true; LEVELS]),
                    Some([true; LEVELS]),
                    Some([true; LEVELS]),
                    None,
                    None,
                    None,
                    None,
                ],
            };
        }
        let [.., last] = &mut hits;
        *last = pace.map(|hit| [hit, false]);
        let alarms = self.weigh(&mut principal, client, class, &hits);
        self.silence.insert(self.queries, id);
        self.principals.insert(id, principal);
        Verdict {
            class,
            hits,
            resubmitted,
            alarms,
        }
    }

    /// The keyed name of a principal.
    #[must_use]
    pub fn id(&self, principal: &str) -> u64 {
        name(&self.secret, principal)
    }

    /// The principals whose hits of `detector` are e^`least` times likelier for a colluder than for an honest client, the first one most.
    ///
    /// For use after an alarm of [`Scope::Model`], which says that some of them are; alone it is no test.
    #[must_use]
    pub fn suspects(&self, detector: Detector, least: f64) -> Vec<Suspect> {
        let mut suspects: Vec<Suspect> = self
            .principals
            .iter()
            .filter_map(|(id, principal)| {
                let mut each = Detector::ALL.into_iter().zip(principal.contributions);
                let (_, contribution) = each.find(|(other, _)| *other == detector)?;
                (contribution >= least).then_some(Suspect {
                    id: *id,
                    queries: principal.queries,
                    contribution,
                })
            })
            .collect();
        suspects.sort_by(|a, b| b.contribution.total_cmp(&a.contribution));
        suspects
    }

    fn look(
        &mut self,
        reference: &Reference,
        reading: Reading,
        features: &Features,
        surprise: f32,
        fresh: bool,
        trail: &mut Trail,
    ) -> Hits {
        let Some(normal) = reference.normals.get(reading.class) else {
            return [None; DETECTORS];
        };
        let measures = normal.measure(features, surprise, reading);
        let [drift, off_manifold, dependence, blend, margin] = normal.judge(measures).map(Some);
        let [distance, ..] = measures;
        let near_copy = fresh.then(|| {
            let near = self.index.nearest(&features.point);
            self.index.insert(&features.point);
            reference.likeness.ratios().map(|ratio| near < ratio * distance)
        });
        let sweep = trail.sweep(&features.point).map(|hit| [hit, false]);
        [
            near_copy,
            drift,
            off_manifold,
            dependence,
            blend,
            margin,
            sweep,
            None,
        ]
    }

    /// Turns hits into evidence, of the principal and of the model.
    fn weigh(
        &mut self,
        principal: &mut Principal,
        client: &ClientClass,
        class: usize,
        hits: &Hits,
    ) -> Vec<Alarm> {
        let own = client.false_alarms.threshold(DETECTORS);
        let all = self.limits.model_false_alarms.threshold(DETECTORS);
        let mut alarms = Vec::new();
        let own_slots = principal.evidence.iter_mut().zip(&mut principal.records);
        let own_slots = own_slots.zip(&mut principal.contributions);
        let shared_slots = self.pooled.iter_mut().zip(&mut self.newcomers);
        let looks = Detector::ALL.into_iter().zip(hits);
        for ((detector, hit), (((evidence, record), contribution), (pooled, newcomers))) in
            looks.zip(own_slots.zip(shared_slots))
        {
            let Some(hit) = *hit else { continue };
            let tolerance = client.tolerances.of(class, detector);
            evidence.observe(hit, tolerance);
            if evidence.value() >= own {
                alarms.push(Alarm {
                    detector,
                    scope: Scope::Principal,
                    at_query: principal.queries,
                    statistic: evidence.value(),
                });
                *evidence = Evidence::default();
            }
            *contribution = (*contribution + likelier(hit, tolerance)).max(0.0);
            pooled.observe(hit, tolerance, record, newcomers);
            record.observe(hit, Record::KEEP);
            if principal.queries <= NEWCOMER {
                newcomers.observe(hit, Record::KEEP_NEWCOMERS);
            }
            if pooled.value() >= all {
                alarms.push(Alarm {
                    detector,
                    scope: Scope::Model,
                    at_query: self.queries,
                    statistic: pooled.value(),
                });
                *pooled = Pooled::default();
            }
        }
        alarms
    }

    /// Removes the principal's entry to be changed and put back; makes room for a new one.
    fn take(&mut self, id: u64) -> Principal {
        let mut principal = self.principals.remove(&id).unwrap_or_default();
        self.silence.remove(&principal.last_seen);
        while self.principals.len() >= self.limits.principals.max(1) {
            let Some((_, silent)) = self.silence.pop_first() else {
                break;
            };
            self.principals.remove(&silent);
        }
        principal.last_seen = self.queries;
        principal.queries = principal.queries.saturating_add(1);
        principal
    }
}
