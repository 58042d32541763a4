//! Honest clients: what they ask and when, for a month of 10,000 queries each.

use crate::{dice::Dice, recorded::Rows};

pub(crate) const MONTH: usize = 10_000;
const SECONDS: f64 = 30.0 * 86_400.0;

/// A kind of honest client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Profile {
    /// Any real row, at random times.
    Broad,
    /// Rows of two classes (of one where there are two), at random times.
    Narrow,
    /// The fifth of all rows that is nearest to one of them (one writer, one customer segment), declared as such a client.
    Niche,
    /// The same, by a client whose class was calibrated without such ones.
    Stray,
    /// The same 500 rows again and again, a tenth of them new each time, at equal intervals.
    Batch,
    /// Hours of silence, then hundreds of rows of three classes within seconds.
    Bursty,
}

impl Profile {
    pub(crate) const ALL: [Self; 6] = [
        Self::Broad,
        Self::Narrow,
        Self::Niche,
        Self::Stray,
        Self::Batch,
        Self::Bursty,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broad => "broad",
            Self::Narrow => "narrow",
            Self::Niche => "niche",
            Self::Stray => "stray",
            Self::Batch => "batch",
            Self::Bursty => "bursty",
        }
    }

    /// Times in seconds and rows of `pool`, in order of time.
    pub(crate) fn month(self, pool: &Rows, dice: &mut Dice) -> Vec<(f64, usize)> {
        let any = |dice: &mut Dice| dice.below(pool.len());
        match self {
            Self::Broad => {
                let rows = fresh(&(0..pool.len()).collect::<Vec<_>>(), dice);
                timed(rows, dice)
            }
            Self::Narrow => {
                let few = if pool.classes > 2 { 2 } else { 1 };
                let rows = of_classes(pool, few, dice);
                timed(fresh(&rows, dice), dice)
            }
            Self::Niche | Self::Stray => {
                let rows = around(pool, any(dice));
                timed(fresh(&rows, dice), dice)
            }
            Self::Batch => {
                let mut batch: Vec<usize> = (0..500).map(|_| any(dice)).collect();
                let mut asked = Vec::with_capacity(MONTH);
                while asked.len() < MONTH {
                    asked.extend(&batch);
                    for _ in 0..50 {
                        let at = dice.below(500);
                        batch[at] = any(dice);
                    }
                }
                let step = SECONDS / MONTH as f64;
                let start = dice.unit() * step;
                let times = (0..MONTH).map(|index| start + step * index as f64);
                times.zip(asked).collect()
            }
            Self::Bursty => {
                let mut asked = Vec::with_capacity(MONTH + 500);
                while asked.len() < MONTH {
                    let rows = of_classes(pool, 3.min(pool.classes), dice);
                    let mut at = dice.unit() * SECONDS;
                    for _ in 0..50 + dice.below(450) {
                        at += 0.1 * dice.waiting();
                        asked.push((at, rows[dice.below(rows.len())]));
                    }
                }
                asked.truncate(MONTH);
                asked.sort_by(|a, b| a.0.total_cmp(&b.0));
                asked
            }
        }
    }
}

/// A month of rows, each once as long as there are enough.
fn fresh(rows: &[usize], dice: &mut Dice) -> Vec<usize> {
    let mut asked = Vec::with_capacity(MONTH + rows.len());
    while asked.len() < MONTH {
        let mut round = rows.to_vec();
        for last in (1..round.len()).rev() {
            round.swap(last, dice.below(last + 1));
        }
        asked.extend(round);
    }
    asked.truncate(MONTH);
    asked
}

fn timed(rows: Vec<usize>, dice: &mut Dice) -> Vec<(f64, usize)> {
    let mut at = 0.0;
    let step = SECONDS / MONTH as f64;
    rows.into_iter()
        .map(|row| {
            at += step * dice.waiting();
            (at, row)
        })
        .collect()
}

fn of_classes(pool: &Rows, count: usize, dice: &mut Dice) -> Vec<usize> {
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let label = pool.label(dice.below(pool.len()));
        if !chosen.contains(&label) {
            chosen.push(label);
        }
    }
    (0..pool.len())
        .filter(|row| chosen.contains(&pool.label(*row)))
        .collect()
}

fn around(pool: &Rows, centre: usize) -> Vec<usize> {
    let distance = |row: usize| -> f32 {
        let pairs = pool.row(centre).iter().zip(pool.row(row));
        pairs.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let mut rows: Vec<(f32, usize)> = (0..pool.len()).map(|row| (distance(row), row)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.truncate(pool.len() / 5);
    rows.into_iter().map(|(_, row)| row).collect()
}
