//! Answers that deceive (control 34): to a client that copies the model, scores and classes that teach it wrong.
//!
//! In every row of numbers the values change places, by a permutation that a secret and the asked row choose: the same
//! question gets the same answer, and the answer keeps the form of a true one. Labels follow the scores.
//!
//! # Citation
//! Orekondy, Schiele and Fritz, *Prediction Poisoning*, ICLR 2020; Kariyappa and Qureshi, *Defending Against Model
//! Stealing Attacks With Adaptive Misinformation*, CVPR 2020 (answers are wrong for suspects alone).
//!
//! # Limits
//! Where the greatest score keeps its place a clone that learns from classes alone learns the truth, and with two classes, or
//! one score, nothing is left to move. Where it does not, with two classes the truth is the other one; with more, the class that is
//! never told of many near copies. An output that is neither numbers nor the labels of the scores cannot be told as such:
//! its client gets an error. Two accounts that compare answers see which of them is deceived.

use std::cmp::Ordering;

use stockade_crypto::{SecretBytes, hmac_sha256};
use stockade_model::{Labels, Tensor, TensorData};

use super::rows::{Layout, Rows};
use crate::{config::Deceive, phases::forward::Named, tensors};

/// The same outputs, with the numbers of each row in other places. `None` where they cannot be told as such.
pub(super) fn deceived(
    outputs: Named,
    asked: &Rows,
    layout: &Layout,
    labels: Option<&Labels>,
    how: Deceive,
    secret: &SecretBytes,
) -> Option<Named> {
    let scores = layout.scores(&outputs, asked.iter().len())?;
    let seeds: Vec<[u8; 32]> = asked.iter().map(|row| seed(secret, row)).collect();
    let orders: Vec<Vec<usize>> = scores
        .iter()
        .zip(&seeds)
        .map(|(row, seed)| order(row, how, secret, seed))
        .collect();
    let tops: Vec<(usize, usize)> = scores
        .iter()
        .zip(&orders)
        .map(|(row, order)| {
            let moved: Vec<f32> = order.iter().filter_map(|from| row.get(*from)).copied().collect();
            (greatest(row), greatest(&moved))
        })
        .collect();
    outputs
        .into_iter()
        .map(|(name, tensor)| {
            let shape = tensor.shape().to_vec();
            let data = if tensors::is_float(tensor.data_type()) {
                moved(tensor.into_data(), how, secret, &seeds)?
            } else {
                relabelled(tensor.into_data(), &tops, labels)?
            };
            Some((name, Tensor::new(shape, data).ok()?))
        })
        .collect()
}

/// What one row's permutation begins with.
fn seed(secret: &SecretBytes, row: &[f32]) -> [u8; 32] {
    let bytes: Vec<u8> = row
        .iter()
        // -0 and 0 are one question.
        .flat_map(|value| (value + 0.0).to_le_bytes())
        .collect();
    hmac_sha256(secret, &bytes)
}

/// Which value goes to each place.
fn order(row: &[f32], how: Deceive, secret: &SecretBytes, seed: &[u8; 32]) -> Vec<usize> {
    let top = greatest(row);
    let mut places: Vec<usize> = match how {
        Deceive::KeepTop1 => (0..row.len()).filter(|place| *place != top).collect(),
        Deceive::BreakTop1 => (0..row.len()).collect(),
    };
    let mut from = places.clone();
    // Sattolo's algorithm: a single cycle, so that nothing keeps its place.
    for last in (1..from.len()).rev() {
        from.swap(last, below(secret, seed, last));
    }
    if how == Deceive::KeepTop1 {
        places.push(top);
        from.push(top);
    }
    let mut order = vec![0; row.len()];
    for (place, from) in places.into_iter().zip(from) {
        if let Some(slot) = order.get_mut(place) {
            *slot = from;
        }
    }
    order
}

/// A keyed number below `bound`.
fn below(secret: &SecretBytes, seed: &[u8; 32], bound: usize) -> usize {
    let message = [seed.as_slice(), &bound.to_le_bytes()].concat();
    let [a, b, c, d, e, f, g, h, ..] = hmac_sha256(secret, &message);
    let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // The bias of a remainder is below 2^-40 for any number of classes.
    usize::try_from(number % bound.max(1) as u64).unwrap_or(0)
}

fn greatest(row: &[f32]) -> usize {
    let better = |best: (usize, f32), other: (usize, f32)| match other.1.partial_cmp(&best.1) {
        Some(Ordering::Greater) => other,
        Some(Ordering::Less | Ordering::Equal) | None => best,
    };
    let top = row.iter().copied().enumerate().reduce(better);
    top.map_or(0, |(place, _)| place)
}

fn moved(data: TensorData, how: Deceive, secret: &SecretBytes, seeds: &[[u8; 32]]) -> Option<TensorData> {
    let width = data.len().checked_div(seeds.len())?;
    if width * seeds.len() != data.len() {
        return None;
    }
    let rows = super::rows::numbers(&data)?;
    let orders: Vec<Vec<usize>> = rows
        .chunks(width.max(1))
        .zip(seeds)
        .map(|(row, seed)| order(row, how, secret, seed))
        .collect();
    Some(match data {
        TensorData::F32(values) => TensorData::F32(placed(&values, width, &orders)),
        TensorData::F64(values) => TensorData::F64(placed(&values, width, &orders)),
        TensorData::F16(values) => TensorData::F16(placed(&values, width, &orders)),
        TensorData::BF16(values) => TensorData::BF16(placed(&values, width, &orders)),
        other => other,
    })
}

fn placed<T: Copy>(values: &[T], width: usize, orders: &[Vec<usize>]) -> Vec<T> {
    let rows = values.chunks(width.max(1)).zip(orders);
    rows.flat_map(|(row, order)| order.iter().filter_map(|from| row.get(*from)).copied())
        .collect()
}

/// Labels that say what the moved scores say; `None` for other data than one label a row.
fn relabelled(data: TensorData, tops: &[(usize, usize)], labels: Option<&Labels>) -> Option<TensorData> {
    if data.len() != tops.len() {
        return None;
    }
    let integer = |class: usize| match labels {
        Some(Labels::Ints(values)) => values.get(class).copied(),
        Some(Labels::Strings(_)) | None => i64::try_from(class).ok(),
    };
    let said = |true_class: usize, told: usize, value: i64| {
        // A number that is not the class is none of our labels: nobody knows what it says.
        (integer(true_class) == Some(value)).then(|| integer(told))?
    };
    match data {
        TensorData::I64(values) => values
            .into_iter()
            .zip(tops)
            .map(|(value, (truth, told))| said(*truth, *told, value))
            .collect::<Option<_>>()
            .map(TensorData::I64),
        TensorData::I32(values) => values
            .into_iter()
            .zip(tops)
            .map(|(value, (truth, told))| i32::try_from(said(*truth, *told, value.into())?).ok())
            .collect::<Option<_>>()
            .map(TensorData::I32),
        TensorData::Bytes(values) => values
            .into_iter()
            .zip(tops)
            .map(|(value, (truth, told))| match labels {
                Some(Labels::Strings(texts)) if texts.get(*truth)?.as_bytes() == value => {
                    Some(texts.get(*told)?.clone().into_bytes())
                }
                Some(Labels::Strings(_) | Labels::Ints(_)) | None => None,
            })
            .collect::<Option<_>>()
            .map(TensorData::Bytes),
        TensorData::Bool(_)
        | TensorData::U8(_)
        | TensorData::I8(_)
        | TensorData::U16(_)
        | TensorData::I16(_)
        | TensorData::U32(_)
        | TensorData::U64(_)
        | TensorData::F16(_)
        | TensorData::BF16(_)
        | TensorData::F32(_)
        | TensorData::F64(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use stockade_model::{DataType, Dim, Signature, TensorSpec};

    use super::*;

    fn spec(name: &str, data_type: DataType, rest: &[usize]) -> TensorSpec {
        let mut shape = vec![Dim::Symbol("n".into())];
        shape.extend(rest.iter().map(|size| Dim::Fixed(*size)));
        TensorSpec {
            name: name.into(),
            data_type,
            shape,
        }
    }

    fn answer(how: Deceive, asked: &[f32]) -> (Vec<i64>, Vec<f32>) {
        let layout = Layout::new(&Signature {
            inputs: vec![spec("x", DataType::F32, &[2])],
            outputs: vec![spec("label", DataType::I64, &[]), spec("p", DataType::F32, &[4])],
        })
        .unwrap();
        let asked = Rows {
            values: asked.to_vec(),
            width: 2,
        };
        let outputs = vec![
            (
                "label".to_owned(),
                Tensor::new(vec![1], TensorData::I64(vec![30])).unwrap(),
            ),
            (
                "p".to_owned(),
                Tensor::new(vec![1, 4], TensorData::F32(vec![0.1, 0.2, 0.6, 0.1])).unwrap(),
            ),
        ];
        let labels = Labels::Ints(vec![10, 20, 30, 40]);
        let secret = SecretBytes::new(vec![3; 32]);
        let told = deceived(outputs, &asked, &layout, Some(&labels), how, &secret).unwrap();
        let (TensorData::I64(labels), TensorData::F32(scores)) = (told[0].1.data(), told[1].1.data()) else {
            panic!("the types changed")
        };
        (labels.clone(), scores.clone())
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_a_true_one_in_form() {
        for how in [Deceive::KeepTop1, Deceive::BreakTop1] {
            for seed in 0..50_u8 {
                let asked = [f32::from(seed), 1.0];
                let (label, scores) = answer(how, &asked);
                assert_eq!((label.clone(), scores.clone()), answer(how, &asked));
                let mut sorted = scores.clone();
                sorted.sort_by(f32::total_cmp);
                assert_eq!(sorted, [0.1, 0.1, 0.2, 0.6]);
                assert_eq!(scores[2] == 0.6, how == Deceive::KeepTop1);
                let top = greatest(&scores);
                assert_eq!(label, [[10, 20, 30, 40][top]]);
                assert_ne!(scores, [0.1, 0.2, 0.6, 0.1]);
            }
        }
    }

    #[test]
    fn what_is_no_label_is_not_told() {
        let tops = [(2, 0)];
        assert_eq!(relabelled(TensorData::I64(vec![7]), &tops, None), None);
        assert_eq!(relabelled(TensorData::I64(vec![2, 2]), &tops, None), None);
        assert_eq!(relabelled(TensorData::U8(vec![2]), &tops, None), None);
        assert_eq!(
            relabelled(TensorData::I64(vec![2]), &tops, None),
            Some(TensorData::I64(vec![0]))
        );
    }
}
