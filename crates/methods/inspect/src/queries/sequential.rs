//! From hits to an alarm whose false-alarm rate holds at every moment at once.
//!
//! The null hypothesis is composite and needs no model of honest clients: given all that came before, a query is a hit with
//! probability at most the tolerance `m`. Against it one bets: a hit multiplies the stake by `q / m`, a miss by
//! `(1 - q) / (1 - m)`, for some `q > m`, so that the stake's expectation cannot grow under the null. [`Evidence`] sums
//! the stakes begun at every query so far (Shiryaev and Roberts), averaged over four values of `q`.
//!
//! # Citation
//! Shin, Ramdas and Rinaldo, *E-detectors: a nonparametric framework for sequential change detection*, New England
//! Journal of Statistics in Data Science 2 (2024), definition 2.2 and theorem 2.4.
//!
//! # Guarantee
//! Under the null the expected number of queries before the evidence reaches `T` is at least `T`, at any mixture of
//! classes and whatever the order. Alarms of several detectors share one budget: each gets its part of the rate, and
//! rates add up.
//!
//! # Limits
//! The guarantee is as good as the tolerance: a client whose honest hits are more frequent than that may raise alarms.

use super::{Hit, LEVELS};

/// Queries in a day and days between false alarms, from configuration: "at most one false alarm per N days".
// INVARIANT: both are finite and above 0; `new` is the only door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseAlarms {
    days: f64,
    queries_per_day: f64,
}

/// A false-alarm budget must be of a finite time and rate above 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("days and queries a day must be numbers above 0")]
pub struct InvalidFalseAlarms;

impl FalseAlarms {
    /// At most one false alarm in `days` for a client that sends `queries_per_day`.
    pub fn new(days: f64, queries_per_day: f64) -> Result<Self, InvalidFalseAlarms> {
        let valid = |value: f64| value.is_finite() && value > 0.0;
        (valid(days) && valid(queries_per_day) && valid(days * queries_per_day))
            .then_some(Self {
                days,
                queries_per_day,
            })
            .ok_or(InvalidFalseAlarms)
    }

    /// The evidence at which one of `sharing` detectors raises an alarm.
    #[must_use]
    pub fn threshold(self, sharing: usize) -> f64 {
        (self.days * self.queries_per_day * sharing.max(1) as f64).max(1.0)
    }
}

/// How much of the way from the tolerance to certainty each bet assumes.
const REACHES: [f64; 4] = [0.1, 0.25, 0.5, 0.9];

/// A tolerance at or above this leaves nothing to bet on.
const HOPELESS: f64 = 0.9;

/// The least tolerance: no bet multiplies the stake by more than its inverse.
const LEAST: f64 = 0.01;

/// Evidence never grows beyond this, so that it stays finite when nobody acts on an alarm.
const MOST: f64 = 1e100;

/// The evidence of one detector against the null hypothesis, since ever.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    stakes: [[f64; REACHES.len()]; LEVELS],
}

impl Evidence {
    /// Takes one look into account. A tolerance of 0.9 or more, or one that is not a number, is not bet against.
    pub fn observe(&mut self, hit: Hit, tolerance: [f64; LEVELS]) {
        for ((stakes, hit), tolerance) in self.stakes.iter_mut().zip(hit).zip(tolerance) {
            let Some(tolerance) = bettable(tolerance) else {
                continue;
            };
            for (stake, reach) in stakes.iter_mut().zip(REACHES) {
                let bet = tolerance + (1.0 - tolerance) * reach;
                *stake = grown(*stake, factor(hit, bet, tolerance));
            }
        }
    }

    /// The Shiryaev-Roberts statistic; an alarm when it reaches [`FalseAlarms::threshold`].
    #[must_use]
    pub fn value(&self) -> f64 {
        self.stakes.iter().flatten().sum::<f64>() / (REACHES.len() * LEVELS) as f64
    }

    pub(super) fn stakes(&self) -> impl Iterator<Item = f64> {
        self.stakes.into_iter().flatten()
    }

    /// As many stakes as `stakes` gives; `None` unless each is a number that `observe` could have made.
    pub(super) fn from_stakes(stakes: [[f64; REACHES.len()]; LEVELS]) -> Option<Self> {
        stakes
            .iter()
            .flatten()
            .all(|stake| (0.0..=MOST).contains(stake))
            .then_some(Self { stakes })
    }
}

/// The evidence of many clients together: each query is a bet of a size that its sender's own record chose before.
///
/// A principal who hardly hits is not bet on and does not dilute what ten colluders do; a newcomer is bet on as newcomers of
/// late deserve, so that colluders need not each build a record. The size of a bet depends on the past alone, so the guarantee of
/// [`Evidence`] holds for the whole stream of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pooled {
    pub(super) stakes: [f64; LEVELS],
}

impl Pooled {
    /// Takes one look into account.
    pub(super) fn observe(
        &mut self,
        hit: Hit,
        tolerance: [f64; LEVELS],
        record: &Record,
        newcomers: &Record,
    ) {
        let bets = record.bets(newcomers, tolerance);
        let levels = self.stakes.iter_mut().zip(hit).zip(tolerance).zip(bets);
        for (((stake, hit), tolerance), bet) in levels {
            if let Some(tolerance) = bettable(tolerance) {
                *stake = grown(*stake, factor(hit, bet.max(tolerance), tolerance));
            }
        }
    }

    pub(super) fn value(self) -> f64 {
        self.stakes.iter().sum::<f64>() / LEVELS as f64
    }

    pub(super) fn from_stakes(stakes: [f64; LEVELS]) -> Option<Self> {
        let valid = stakes.iter().all(|stake| (0.0..=MOST).contains(stake));
        valid.then_some(Self { stakes })
    }
}

/// How often a principal hit lately, forgetting slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) hits: [f32; LEVELS],
    pub(super) looks: f32,
}

impl Record {
    /// What is kept of a principal's record, and of that of newcomers together, at each look.
    pub(super) const KEEP: f32 = 0.98;
    pub(super) const KEEP_NEWCOMERS: f32 = 0.9;
    /// What a record starts from counts as this many looks.
    const PRIOR: f64 = 2.0;
    /// The first newcomer ever is taken to be this part of the way from the tolerance to certainty.
    const STRANGER: f64 = 0.2;
    /// No bet is on more than this.
    const SUREST: f64 = 0.95;

    /// `None` unless both are counts that `observe` could have made.
    pub(super) fn read(hits: [f32; LEVELS], looks: f32) -> Option<Self> {
        let valid = looks.is_finite() && hits.iter().all(|hits| (0.0..=looks).contains(hits));
        valid.then_some(Self { hits, looks })
    }

    pub(super) fn observe(&mut self, hit: Hit, keep: f32) {
        for (hits, hit) in self.hits.iter_mut().zip(hit) {
            *hits = *hits * keep + f32::from(u8::from(hit));
        }
        self.looks = self.looks * keep + 1.0;
    }

    /// The shares of hits to bet on: the record's own, starting from those of newcomers of late.
    fn bets(&self, newcomers: &Self, tolerance: [f64; LEVELS]) -> [f64; LEVELS] {
        let mut bets = tolerance;
        let records = self.hits.into_iter().zip(newcomers.hits);
        for (bet, (own, theirs)) in bets.iter_mut().zip(records) {
            let start = *bet + Self::STRANGER * (1.0 - *bet);
            let newcomer = mean(theirs, newcomers.looks, start);
            *bet = mean(own, self.looks, newcomer).min(Self::SUREST);
        }
        bets
    }
}

/// The share of hits, with [`Record::PRIOR`] looks at `start` before.
fn mean(hits: f32, looks: f32, start: f64) -> f64 {
    (f64::from(hits) + Record::PRIOR * start) / (f64::from(looks) + Record::PRIOR)
}

/// How far from the tolerance to certainty a colluder's hits are taken to be.
const COLLUDER: f64 = 0.4;

/// Logarithm of how much likelier one look is for a colluder than for an honest client, the levels averaged.
pub(super) fn likelier(hit: Hit, tolerance: [f64; LEVELS]) -> f64 {
    let levels = hit.into_iter().zip(tolerance);
    let factors = levels.map(|(hit, tolerance)| {
        bettable(tolerance).map_or(1.0, |tolerance| {
            factor(hit, tolerance + (1.0 - tolerance) * COLLUDER, tolerance)
        })
    });
    (factors.sum::<f64>() / LEVELS as f64).ln()
}

/// The tolerance to bet against, if there is anything to bet on.
fn bettable(tolerance: f64) -> Option<f64> {
    (0.0..HOPELESS)
        .contains(&tolerance)
        .then_some(tolerance.max(LEAST))
}

fn factor(hit: bool, bet: f64, tolerance: f64) -> f64 {
    if hit {
        bet / tolerance
    } else {
        (1.0 - bet) / (1.0 - tolerance)
    }
}

fn grown(stake: f64, factor: f64) -> f64 {
    ((stake + 1.0) * factor).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::{Keyed, upper_bound};

    #[test]
    fn the_false_alarm_rate_holds_by_simulation() {
        // 40 clients of 20,000 queries, hits exactly as frequent as tolerated, one alarm per 2,000 queries allowed.
        let mut keyed = Keyed::new(&[1; 32], "null");
        let (mut alarms, mut queries) = (0_u64, 0_u64);
        let threshold = FalseAlarms::new(20.0, 100.0).unwrap().threshold(1);
        for _ in 0..40 {
            let mut evidence = Evidence::default();
            for _ in 0..20_000 {
                evidence.observe([keyed.unit() < 0.1, keyed.unit() < 0.02], [0.1, 0.02]);
                queries += 1;
                if evidence.value() >= threshold {
                    alarms += 1;
                    evidence = Evidence::default();
                }
            }
        }
        // The upper 99% bound of the rate is below the promise.
        let bound = upper_bound(alarms, queries, 0.01);
        assert!(
            bound <= 1.0 / 2_000.0,
            "{alarms} alarms in {queries} queries: at most {bound}"
        );
    }

    #[test]
    fn a_shift_is_found_soon_and_late_shifts_as_soon() {
        let mut keyed = Keyed::new(&[2; 32], "shift");
        let threshold = FalseAlarms::new(365.0, 333.0).unwrap().threshold(6);
        for quiet in [0, 5_000] {
            let mut evidence = Evidence::default();
            (0..quiet).for_each(|_| evidence.observe([keyed.unit() < 0.05, false], [0.05, 0.01]));
            let delay = (1..).find(|_| {
                evidence.observe([keyed.unit() < 0.6, false], [0.05, 0.01]);
                evidence.value() >= threshold
            });
            assert!(delay.unwrap() < 40, "{delay:?} after {quiet}");
        }
    }

    #[test]
    fn evidence_stays_finite_and_a_hopeless_tolerance_bets_nothing() {
        let mut evidence = Evidence::default();
        (0..10_000).for_each(|_| evidence.observe([true; LEVELS], [0.0; LEVELS]));
        assert!(evidence.value().is_finite());
        let mut quiet = Evidence::default();
        for tolerance in [1.0, f64::NAN, f64::INFINITY, -1.0, HOPELESS] {
            quiet.observe([true; LEVELS], [tolerance; LEVELS]);
        }
        assert_eq!(quiet, Evidence::default());
    }

    #[test]
    fn a_crowd_of_honest_clients_does_not_hide_ten_colluders() {
        let mut keyed = Keyed::new(&[3; 32], "crowd");
        let mut pooled = Pooled::default();
        let mut records = [Record::default(); 200];
        let mut queries = 0;
        while pooled.value() < 1e6 {
            queries += 1;
            // Nine queries of ten are honest.
            let colluder = keyed.unit() < 0.1;
            let share = if colluder { 0.9 } else { 0.04 };
            let turn = queries * 7 % if colluder { 10 } else { 190 };
            let who = turn + if colluder { 0 } else { 10 };
            let hit = keyed.unit() < share;
            pooled.observe([hit, false], [0.05, 1.0], &records[who], &Record::default());
            records[who].observe([hit, false], Record::KEEP);
            assert!(queries < 1_500, "the colluders were not seen");
        }
        assert!(queries > 50);
    }

    #[test]
    fn budgets_out_of_range_are_refused() {
        for (days, rate) in [
            (0.0, 1.0),
            (1.0, 0.0),
            (f64::NAN, 1.0),
            (f64::INFINITY, 1.0),
            (f64::MAX, f64::MAX),
        ] {
            assert_eq!(FalseAlarms::new(days, rate), Err(InvalidFalseAlarms));
        }
        assert_eq!(FalseAlarms::new(30.0, 100.0).unwrap().threshold(6), 18_000.0);
    }
}
