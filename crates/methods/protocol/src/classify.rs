//! An output as the greatest of its elements, each a text `value:index[:label]`.
//!
//! # Citation
//! triton-inference-server/server, `docs/protocol/extension_classification.md`.

use std::cmp::Ordering;
use std::fmt::Display;
use std::num::NonZeroU32;

use crate::limits::count;
use crate::oip::Label;
use crate::{Parameters, WireData, WireTensor, WireType};

/// The output cannot be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRanked {
    /// Its elements are no numbers that have an order, or are half precision.
    #[error("an output of `{datatype}` has no classification")]
    Datatype {
        /// The type.
        datatype: WireType,
    },
    /// The parts of the output contradict each other.
    #[error("the output has data that does not fit its shape")]
    Inconsistent,
}

/// The `k` greatest elements of each row, greatest first, on a tie the lower index first; all of them where a row has
/// fewer. `labels` name the elements of a row, in order, and may be none.
///
/// The first of several dimensions counts rows; a single dimension is one row, and the answer then has none of rows.
pub fn classify(output: &WireTensor, k: NonZeroU32, labels: &[Label]) -> Result<WireTensor, NotRanked> {
    let (rows, row) = match output.shape.as_slice() {
        [rows, inner @ ..] if !inner.is_empty() => (Some(*rows), count(inner)),
        shape => (None, count(shape)),
    };
    let width = row.filter(|_| count(&output.shape) == Some(output.data.len()));
    let width = width.ok_or(NotRanked::Inconsistent)?;
    let k = usize::try_from(k.get()).unwrap_or(usize::MAX).min(width);
    // As Triton writes them: six decimals for floats.
    let float = |value: f64| format!("{value:.6}");
    let texts = match &output.data {
        WireData::U8(values) => top(values, width, k, labels, u8::to_string),
        WireData::I8(values) => top(values, width, k, labels, i8::to_string),
        WireData::U16(values) => top(values, width, k, labels, u16::to_string),
        WireData::I16(values) => top(values, width, k, labels, i16::to_string),
        WireData::U32(values) => top(values, width, k, labels, u32::to_string),
        WireData::I32(values) => top(values, width, k, labels, i32::to_string),
        WireData::U64(values) => top(values, width, k, labels, u64::to_string),
        WireData::I64(values) => top(values, width, k, labels, i64::to_string),
        WireData::F32(values) => top(values, width, k, labels, |value| float(f64::from(*value))),
        WireData::F64(values) => top(values, width, k, labels, |value| float(*value)),
        WireData::Bool(_) | WireData::F16(_) | WireData::BF16(_) | WireData::Bytes(_) => {
            let datatype = output.data.datatype();
            return Err(NotRanked::Datatype { datatype });
        }
    };
    Ok(WireTensor {
        name: output.name.clone(),
        datatype: WireType::Bytes,
        shape: rows.into_iter().chain([k as u64]).collect(),
        parameters: Parameters::new(),
        data: WireData::Bytes(texts),
    })
}

fn top<T: PartialOrd>(
    values: &[T],
    width: usize,
    k: usize,
    labels: &[Label],
    text: impl Fn(&T) -> String,
) -> Vec<Vec<u8>> {
    if k == 0 {
        return Vec::new();
    }
    let greater = |a: &(usize, &T), b: &(usize, &T)| {
        b.1.partial_cmp(a.1)
            .unwrap_or(Ordering::Equal)
            .then(a.0.cmp(&b.0))
    };
    let mut texts = Vec::new();
    let mut ranked = Vec::with_capacity(width);
    for row in values.chunks_exact(width) {
        ranked.clear();
        ranked.extend(row.iter().enumerate());
        if k < width {
            ranked.select_nth_unstable_by(k, greater);
            ranked.truncate(k);
        }
        ranked.sort_unstable_by(greater);
        texts.extend(ranked.iter().map(|(index, value)| {
            let value = text(value);
            let text = match labels.get(*index) {
                Some(Label::Integer(label)) => labelled(&value, *index, label),
                Some(Label::Text(label)) => labelled(&value, *index, label),
                None => format!("{value}:{index}"),
            };
            text.into_bytes()
        }));
    }
    texts
}

fn labelled(value: &str, index: usize, label: &impl Display) -> String {
    format!("{value}:{index}:{label}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(shape: &[u64], data: WireData) -> WireTensor {
        WireTensor {
            name: "y".into(),
            datatype: data.datatype(),
            shape: shape.to_vec(),
            parameters: Parameters::new(),
            data,
        }
    }

    #[track_caller]
    fn check(output: &WireTensor, k: u32, labels: &[Label], shape: &[u64], texts: &[&str]) {
        let ranked = classify(output, NonZeroU32::new(k).unwrap(), labels).unwrap();
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        assert_eq!(
            (ranked.shape.as_slice(), ranked.data),
            (shape, WireData::Bytes(texts))
        );
    }

    #[test]
    fn the_examples_of_the_extension() {
        let fruit = ["plum", "pickle", "apple", "pear"].map(|label| Label::Text(label.into()));
        let scores = output(&[1, 4], WireData::I32(vec![1, 5, 10, 4]));
        check(&scores, 2, &[], &[1, 2], &["10:2", "5:1"]);
        check(&scores, 2, &fruit, &[1, 2], &["10:2:apple", "5:1:pickle"]);
        let scores = output(&[4], WireData::F32(vec![1.125, 3.25, 0.5, 2.5]));
        check(&scores, 2, &[], &[2], &["3.250000:1", "2.500000:3"]);
    }

    #[test]
    fn rows_ties_and_more_than_there_are() {
        let scores = output(&[2, 3], WireData::F64(vec![0.5, 0.5, -1.0, 0.0, 1.0, 1.0]));
        check(
            &scores,
            1,
            &[Label::Integer(7)],
            &[2, 1],
            &["0.500000:0:7", "1.000000:1"],
        );
        let all = [
            "0.500000:0",
            "0.500000:1",
            "-1.000000:2",
            "1.000000:1",
            "1.000000:2",
            "0.000000:0",
        ];
        check(&scores, 9, &[], &[2, 3], &all);
        check(&output(&[2, 0], WireData::U8(vec![])), 1, &[], &[2, 0], &[]);
        check(&output(&[], WireData::U8(vec![3])), 1, &[], &[1], &["3:0"]);
    }

    #[test]
    fn what_has_no_order() {
        let k = NonZeroU32::MIN;
        let text = output(&[1], WireData::Bytes(vec![vec![]]));
        assert!(
            classify(&text, k, &[])
                .unwrap_err()
                .to_string()
                .contains("`BYTES`")
        );
        let wrong = output(&[2], WireData::I8(vec![1]));
        assert_eq!(classify(&wrong, k, &[]), Err(NotRanked::Inconsistent));
    }
}
