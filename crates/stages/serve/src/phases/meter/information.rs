//! The information budget: how many bits the answers to one principal can carry in a day (control 32).
//!
//! What an answer can carry follows from the model's outputs and from what the principal is granted of them, so it is known before
//! the model runs. Scores are counted as probabilities, which sum to 1; an answer that turns out to be none is counted with
//! every bit of its numbers, afterwards.
//!
//! # Limits
//! Bits bound what a client can learn; they do not say what it learned: a few well-chosen labels teach a clone more than many
//! scores of one input. Timing and refusals are not counted.

use stockade_inspect::queries::information::{Precision, bits_per_query};
use stockade_model::{DataType, Dim, Labels, Signature, Tensor, TensorSpec};

use crate::{config::OutputPolicy, phases::shape, queries::numbers, tensors};

/// Bits that one row of an answer can carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowBits {
    /// Where scores are probabilities.
    usual: f64,
    /// Where they are any numbers.
    most: f64,
    /// Which output holds the scores.
    scores: Option<usize>,
}

/// What a row of the answer can carry under a policy; `None` where an output has no bound.
pub(crate) fn row_bits(
    signature: &Signature,
    labels: Option<&Labels>,
    policy: &OutputPolicy,
) -> Option<RowBits> {
    let scores = shape::score_output(signature, policy);
    if policy.labels_only {
        let (classes, elements) = (classes(scores?)?, elements(scores?)?);
        let labels = (elements / classes.max(1)) as f64;
        return Some(RowBits::of(labels * bits_per_query(Precision::Label, classes)));
    }
    let mut visible = signature
        .outputs
        .iter()
        .filter(|spec| !policy.hidden.contains(&spec.name));
    let none = RowBits {
        scores: signature.outputs.iter().position(|spec| scores == Some(spec)),
        ..RowBits::of(0.0)
    };
    visible.try_fold(none, |sum, spec| {
        let bits = spec_bits(spec, scores == Some(spec), labels, policy)?;
        Some(RowBits {
            usual: sum.usual + bits.usual,
            most: sum.most + bits.most,
            scores: sum.scores,
        })
    })
}

impl RowBits {
    const fn of(bits: f64) -> Self {
        Self {
            usual: bits,
            most: bits,
            scores: None,
        }
    }

    /// What an answer to `rows` rows is taken for before it is there.
    pub(crate) fn reserve(self, rows: u64) -> u64 {
        whole(self.usual, rows)
    }

    /// What the answer that came can carry.
    pub(crate) fn settle(self, rows: u64, outputs: &[(String, Tensor)], signature: &Signature) -> u64 {
        let scores = self.scores.and_then(|place| outputs.get(place));
        let are_probabilities = scores.is_none_or(|(_, tensor)| are_probabilities(tensor));
        let bits = whole(if are_probabilities { self.usual } else { self.most }, rows);
        // An output whose first dimension is not the request's rows may hold more than was thought.
        let all = |(tensor, spec): (&Tensor, &TensorSpec)| {
            let expected = elements(spec).map(|each| each as f64 * rows as f64);
            let more = expected.is_none_or(|expected| tensor.data().len() as f64 > expected);
            more.then(|| element_bits(spec.data_type).unwrap_or(0.0) * tensor.data().len() as f64)
        };
        let outputs = outputs.iter().map(|(_, tensor)| tensor);
        let beyond: f64 = outputs.zip(&signature.outputs).filter_map(all).sum();
        bits.saturating_add(whole(beyond, 1))
    }
}

fn spec_bits(
    spec: &TensorSpec,
    is_scores: bool,
    labels: Option<&Labels>,
    policy: &OutputPolicy,
) -> Option<RowBits> {
    let elements = elements(spec)?;
    let label = labels.filter(|_| elements == 1 && !tensors::is_float(spec.data_type));
    if let Some(labels) = label {
        return Some(RowBits::of(bits_per_query(Precision::Label, labels.len())));
    }
    let each = element_bits(spec.data_type)?;
    let most = each * elements as f64;
    if !is_scores {
        return Some(RowBits::of(most));
    }
    let classes = classes(spec)?;
    let rows = (elements / classes.max(1)) as f64;
    let named = policy
        .top_k
        .map_or(classes, |k| usize::try_from(k.get()).unwrap_or(usize::MAX));
    let one = match policy.decimals {
        Some(decimals) => bits_per_query(
            Precision::Rounded {
                classes: named,
                decimals: decimals.get().into(),
            },
            classes,
        ),
        // Which classes, and every bit of their scores.
        None => named.min(classes) as f64 * (each + bits_per_query(Precision::Label, classes)),
    };
    Some(RowBits {
        usual: (one * rows).min(most),
        ..RowBits::of(most)
    })
}

/// Elements of one row: the product of all dimensions but the first.
fn elements(spec: &TensorSpec) -> Option<usize> {
    let rest = spec.shape.get(1..).unwrap_or_default();
    rest.iter().try_fold(1_usize, |product, dim| match dim {
        Dim::Fixed(size) => product.checked_mul(*size),
        Dim::Symbol(_) => None,
    })
}

fn classes(spec: &TensorSpec) -> Option<usize> {
    match spec.shape.last()? {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol(_) => None,
    }
}

fn element_bits(data_type: DataType) -> Option<f64> {
    match data_type {
        DataType::Bool => Some(1.0),
        DataType::Bytes => None,
        DataType::U8
        | DataType::I8
        | DataType::U16
        | DataType::I16
        | DataType::U32
        | DataType::I32
        | DataType::U64
        | DataType::I64
        | DataType::F16
        | DataType::BF16
        | DataType::F32
        | DataType::F64 => data_type.size().map(|bytes| bytes as f64 * 8.0),
    }
}

/// Whether each row is a distribution, as far as single precision can tell.
fn are_probabilities(tensor: &Tensor) -> bool {
    const TOLERANCE: f32 = 1e-3;
    let width = tensor.shape().last().copied().unwrap_or(1).max(1);
    numbers(tensor.data()).is_some_and(|values| {
        values.chunks(width).all(|row| {
            let sum: f32 = row.iter().sum();
            row.iter().all(|value| *value >= -TOLERANCE) && sum <= 1.0 + TOLERANCE
        })
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and a budget is no finer than a bit"
)]
fn whole(bits: f64, rows: u64) -> u64 {
    (bits * rows as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use stockade_model::TensorData;

    use super::*;

    fn spec(name: &str, data_type: DataType, rest: &[Dim]) -> TensorSpec {
        let mut shape = vec![Dim::Symbol("n".into())];
        shape.extend(rest.iter().cloned());
        TensorSpec {
            name: name.into(),
            data_type,
            shape,
        }
    }

    fn signature(outputs: Vec<TensorSpec>) -> Signature {
        Signature {
            inputs: vec![],
            outputs,
        }
    }

    fn policy(json: serde_json::Value) -> OutputPolicy {
        serde_json::from_value(json).unwrap()
    }

    #[track_caller]
    fn check(policy_json: serde_json::Value, expected: Option<u64>) {
        let scores = signature(vec![
            spec("label", DataType::I64, &[]),
            spec("p", DataType::F32, &[Dim::Fixed(16)]),
        ]);
        let labels = Labels::Ints((0..16).collect());
        let bits = row_bits(&scores, Some(&labels), &policy(policy_json));
        assert_eq!(bits.map(|bits| bits.reserve(10)), expected);
    }

    #[test]
    fn what_is_granted_is_what_is_counted() {
        check(serde_json::json!({"labels_only": true}), Some(40));
        check(serde_json::json!({}), Some(10 * (4 + 16 * 32)));
        check(
            serde_json::json!({"hidden": ["label"], "top_k": 1}),
            Some(10 * (32 + 4)),
        );
        check(serde_json::json!({"hidden": ["p"]}), Some(40));
        // log2(16) + log2 of the steps of two decimals, as `bits_per_query` bounds them.
        check(
            serde_json::json!({"hidden": ["label"], "top_k": 1, "decimals": 2}),
            Some(107),
        );
    }

    #[test]
    fn what_has_no_bound_is_not_counted_as_nothing() {
        let boxes = signature(vec![spec(
            "boxes",
            DataType::F32,
            &[Dim::Symbol("found".into()), Dim::Fixed(4)],
        )]);
        assert_eq!(row_bits(&boxes, None, &OutputPolicy::default()), None);
        let text = signature(vec![spec("text", DataType::Bytes, &[])]);
        assert_eq!(row_bits(&text, None, &OutputPolicy::default()), None);
        let labels = Labels::Strings(vec!["a".into(), "b".into()]);
        assert!(row_bits(&text, Some(&labels), &OutputPolicy::default()).is_some());
    }

    #[test]
    fn every_position_has_a_label() {
        let mask = |width: Dim| {
            signature(vec![spec(
                "mask",
                DataType::F32,
                &[Dim::Fixed(8), width, Dim::Fixed(4)],
            )])
        };
        let labels = policy(serde_json::json!({"labels_only": true}));
        let bits = row_bits(&mask(Dim::Fixed(8)), None, &labels).unwrap();
        assert_eq!(bits.reserve(3), 3 * 64 * 2);
        assert_eq!(row_bits(&mask(Dim::Symbol("w".into())), None, &labels), None);
    }

    #[test]
    fn an_answer_that_is_longer_than_its_rows_is_counted_whole() {
        let boxes = signature(vec![spec("boxes", DataType::F32, &[Dim::Fixed(4)])]);
        let hidden = policy(serde_json::json!({}));
        let bits = row_bits(&boxes, None, &hidden).unwrap();
        let found = Tensor::new(vec![50, 4], TensorData::F32(vec![0.0; 200])).unwrap();
        assert!(bits.settle(1, &[("boxes".to_owned(), found)], &boxes) >= 200 * 32);
    }

    #[test]
    fn scores_that_are_no_probabilities_cost_every_bit() {
        let signature = signature(vec![spec("p", DataType::F32, &[Dim::Fixed(2)])]);
        let bits = row_bits(&signature, None, &policy(serde_json::json!({"decimals": 1}))).unwrap();
        let answer = |values: Vec<f32>| {
            vec![(
                "p".to_owned(),
                Tensor::new(vec![1, 2], TensorData::F32(values)).unwrap(),
            )]
        };
        assert_eq!(
            bits.settle(1, &answer(vec![0.25, 0.75]), &signature),
            bits.reserve(1)
        );
        assert_eq!(bits.settle(1, &answer(vec![4.0, -1.0]), &signature), 64);
        assert!(bits.reserve(1) < 10);
    }
}
