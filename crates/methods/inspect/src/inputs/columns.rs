//! Rules that each number of a row must meet by itself or with its neighbours: ranges, whole numbers, one-hot groups.
//!
//! Rules are declared by the operator or learnt from real rows. Images and audio have one range for all numbers; a table has one for each
//! column, and whole numbers, constants (a range of no width) and one-hot groups of neighbouring columns besides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    envelope::{EnvelopeError, Refusal},
    form::Form,
    sample::Sample,
};

/// Numbers beyond this have no exact neighbours in single precision.
const LARGEST_WHOLE: f32 = 16_777_216.0;
/// Groups are looked for in tables of at most this many columns, and are at most so long; so many rows are asked.
const MOST_GROUPED: usize = 4096;
const LONGEST_GROUP: usize = 256;
const ROWS_ASKED: usize = 1000;

/// What the operator knows of inputs. Each rule replaces the one that would be learnt.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// Smallest and largest value of every number of an image or a waveform.
    pub range: Option<[f32; 2]>,
    /// Single columns of a table.
    pub columns: Vec<DeclaredColumn>,
    /// First and last column of each one-hot group of a table: one of its columns is 1, the others 0. Empty: groups are learnt.
    pub one_hot: Vec<[usize; 2]>,
}

/// What the operator knows of one column.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    /// Its place, from 0.
    pub column: usize,
    /// Smallest and largest value.
    pub range: [f32; 2],
    /// Whether it holds whole numbers only.
    pub whole: bool,
}

/// Rules of every kind of form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Columns {
    // INVARIANT: one for all numbers, or one for each; `low <= high`, finite.
    pub(super) each: Vec<Column>,
    /// First and last column of each group, in order.
    pub(super) groups: Vec<(usize, usize)>,
}

/// What one number must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) whole: bool,
}

impl Columns {
    /// Rules of the learnt half, a range widened at both ends by this share of it, and of `declared`.
    pub(super) fn fit(sample: &Sample, tolerance: f32, declared: &Declared) -> Result<Self, EnvelopeError> {
        if !(0.0..=10.0).contains(&tolerance) {
            return Err(EnvelopeError::Tolerance);
        }
        match sample.form {
            Form::Table { columns } => table(sample, columns, tolerance, declared),
            Form::Image { .. } | Form::Audio { .. } => {
                if !declared.columns.is_empty() || !declared.one_hot.is_empty() {
                    return Err(EnvelopeError::Declared);
                }
                let mut all = learn(sample.learnt_numbers().iter().copied(), tolerance);
                all.whole = false;
                if let Some(range) = declared.range {
                    (all.low, all.high) = ordered(range)?;
                }
                Ok(Self {
                    each: vec![all],
                    groups: Vec::new(),
                })
            }
        }
    }

    /// The same, without what was learnt.
    pub(super) fn declared(&self, form: Form, declared: &Declared) -> Self {
        let any = Column {
            low: f32::MIN,
            high: f32::MAX,
            whole: false,
        };
        let is_declared = |place: usize| match form {
            Form::Table { .. } => declared.columns.iter().any(|given| given.column == place),
            Form::Image { .. } | Form::Audio { .. } => declared.range.is_some(),
        };
        let each = self.each.iter().enumerate();
        Self {
            each: each
                .map(|(place, column)| if is_declared(place) { *column } else { any })
                .collect(),
            groups: if declared.one_hot.is_empty() {
                Vec::new()
            } else {
                self.groups.clone()
            },
        }
    }

    /// The first rule that `row` breaks.
    pub(super) fn check(&self, row: &[f32]) -> Result<(), Refusal> {
        for (column, (value, rule)) in row.iter().zip(self.each.iter().cycle()).enumerate() {
            if !(rule.low..=rule.high).contains(value) {
                return Err(Refusal::OutOfRange { column });
            }
            if rule.whole && value.fract() != 0.0 {
                return Err(Refusal::NotWhole { column });
            }
        }
        for (first, last) in &self.groups {
            let group = row.get(*first..=*last).unwrap_or_default();
            let ones = group.iter().filter(|value| **value == 1.0).count();
            let zeros = group.iter().filter(|value| **value == 0.0).count();
            if ones != 1 || zeros + 1 != group.len() {
                return Err(Refusal::NotOneHot { first: *first });
            }
        }
        Ok(())
    }
}

fn table(
    sample: &Sample,
    columns: usize,
    tolerance: f32,
    declared: &Declared,
) -> Result<Columns, EnvelopeError> {
    if declared.range.is_some() {
        return Err(EnvelopeError::Declared);
    }
    let numbers = |column: usize| {
        sample
            .learnt_numbers()
            .iter()
            .skip(column)
            .step_by(columns)
            .copied()
    };
    let mut each: Vec<Column> = (0..columns)
        .map(|column| learn(numbers(column), tolerance))
        .collect();
    let groups = if declared.one_hot.is_empty() {
        learn_groups(sample, columns)
    } else {
        let group = |[first, last]: &[usize; 2]| {
            (first < last && *last < columns)
                .then_some((*first, *last))
                .ok_or(EnvelopeError::Declared)
        };
        declared.one_hot.iter().map(group).collect::<Result<_, _>>()?
    };
    for (first, last) in &groups {
        let members = each.iter_mut().take(last + 1).skip(*first);
        members.for_each(|column| (column.low, column.high, column.whole) = (0.0, 1.0, true));
    }
    for given in &declared.columns {
        let (low, high) = ordered(given.range)?;
        let column = each.get_mut(given.column).ok_or(EnvelopeError::Declared)?;
        *column = Column {
            low,
            high,
            whole: given.whole,
        };
    }
    Ok(Columns { each, groups })
}

fn ordered([low, high]: [f32; 2]) -> Result<(f32, f32), EnvelopeError> {
    (low.is_finite() && high.is_finite() && low <= high)
        .then_some((low, high))
        .ok_or(EnvelopeError::Declared)
}

fn learn(values: impl Iterator<Item = f32>, tolerance: f32) -> Column {
    let (mut low, mut high, mut whole) = (f32::INFINITY, f32::NEG_INFINITY, true);
    for value in values {
        (low, high) = (low.min(value), high.max(value));
        whole &= value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE;
    }
    let margin = tolerance * (high / 2.0 - low / 2.0) * 2.0;
    Column {
        low: (low - margin).max(f32::MIN),
        high: (high + margin).min(f32::MAX),
        whole,
    }
}

/// Neighbouring columns of 0 and 1 that sum to 1 in every row, the shortest such from left to right, and columns of 0 alone that follow.
fn learn_groups(sample: &Sample, columns: usize) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    if columns > MOST_GROUPED {
        return groups;
    }
    let rows: Vec<&[f32]> = sample.learnt().take(ROWS_ASKED).collect();
    let has = |column: usize, value: f32| rows.iter().any(|row| row.get(column) == Some(&value));
    let only_zero = |column: usize| rows.iter().all(|row| row.get(column) == Some(&0.0));
    let mut first = 0;
    while first < columns {
        if !(has(first, 0.0) && has(first, 1.0)) {
            first += 1;
            continue;
        }
        let mut last = end_of_group(&rows, first);
        if let Some(last) = &mut last {
            while *last + 1 < columns && only_zero(*last + 1) {
                *last += 1;
            }
            groups.push((first, *last));
        }
        first = last.unwrap_or(first) + 1;
    }
    groups
}

fn end_of_group(rows: &[&[f32]], first: usize) -> Option<usize> {
    let mut sums = vec![0_u8; rows.len()];
    for last in first..first + LONGEST_GROUP {
        for (row, sum) in rows.iter().zip(&mut sums) {
            match row.get(last) {
                Some(0.0) => {}
                Some(1.0) if *sum == 0 => *sum = 1,
                _ => return None,
            }
        }
        if last > first && sums.iter().all(|sum| *sum == 1) {
            return Some(last);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Keyed;

    /// A real column, a whole one, a constant, a group of three whose last is never 1, and a group of two.
    fn row(keyed: &mut Keyed) -> Vec<f32> {
        let (real, whole) = (keyed.normal().clamp(-2.0, 2.0), (keyed.bits() % 9) as f32);
        let pick = |bits: u64| {
            if bits.is_multiple_of(2) {
                [1.0, 0.0]
            } else {
                [0.0, 1.0]
            }
        };
        let (a, b) = (pick(keyed.bits()), pick(keyed.bits()));
        [&[real, whole, 4.5][..], &a, &[0.0], &b].concat()
    }

    fn fit(declared: &Declared) -> Result<Columns, EnvelopeError> {
        let mut keyed = Keyed::new(&[1; 32], "rows");
        let rows: Vec<f32> = (0..400).flat_map(|_| row(&mut keyed)).collect();
        let sample = Sample::new(&rows, Form::Table { columns: 8 }, &[1; 32]).unwrap();
        Columns::fit(&sample, 0.1, declared)
    }

    #[test]
    fn what_a_table_looks_like_is_learnt() {
        let columns = fit(&Declared::default()).unwrap();
        assert_eq!(columns.groups, [(3, 5), (6, 7)]);
        let good = [0.5, 3.0, 4.5, 0.0, 1.0, 0.0, 1.0, 0.0];
        let with = |column: usize, value: f32| {
            let mut row = good;
            row[column] = value;
            columns.check(&row)
        };
        assert_eq!(columns.check(&good), Ok(()));
        assert_eq!(with(0, 2.1), Ok(()), "within the tolerance");
        assert_eq!(with(0, 2.6), Err(Refusal::OutOfRange { column: 0 }));
        assert_eq!(with(1, 3.5), Err(Refusal::NotWhole { column: 1 }));
        assert_eq!(with(2, 4.4), Err(Refusal::OutOfRange { column: 2 }));
        assert_eq!(with(3, 1.0), Err(Refusal::NotOneHot { first: 3 }));
        assert_eq!(with(6, 0.0), Err(Refusal::NotOneHot { first: 6 }));
        assert_eq!(columns.check(&[0.5, 3.0, 4.5, 0.0, 0.0, 1.0, 1.0, 0.0]), Ok(()));
    }

    #[test]
    fn what_is_declared_comes_first() {
        let column = DeclaredColumn {
            column: 0,
            range: [-9.0, 9.0],
            whole: false,
        };
        let declared = Declared {
            columns: vec![column.clone()],
            one_hot: vec![[6, 7]],
            range: None,
        };
        let columns = fit(&declared).unwrap();
        assert_eq!(columns.groups, [(6, 7)]);
        assert_eq!(columns.check(&[8.0, 3.0, 4.5, 0.0, 1.0, 0.0, 1.0, 0.0]), Ok(()));
        let refused = |declared| assert_eq!(fit(&declared), Err(EnvelopeError::Declared));
        refused(Declared {
            one_hot: vec![[7, 8]],
            ..Declared::default()
        });
        refused(Declared {
            range: Some([0.0, 1.0]),
            ..Declared::default()
        });
        refused(Declared {
            columns: vec![DeclaredColumn {
                range: [1.0, f32::NAN],
                ..column
            }],
            ..Declared::default()
        });
    }
}
