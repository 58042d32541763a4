//! The eighth phase: an answer is cut down to what the principal's roles may see (control 31).
//!
//! The policy of each role comes from configuration; a principal with several roles gets the most restrictive of each
//! part. Metadata goes through here too, so what a role may not see does not exist for it.
//!
//! # Guarantee
//! What leaves holds only the granted parts: a zero that rounding made has no sign, hidden outputs have no name, and
//! under `labels_only` no score is left.
//!
//! # Limits
//! Rounded half precision is the nearest value that the type has; in JSON it is exact. Cutting and rounding do not stop model extraction; they remove what inversion and score-based evasion feed on.

use std::{borrow::Cow, cmp::Ordering};

use stockade_model::{Labels, Signature, Tensor, TensorSpec};
use stockade_protocol::{
    InferRequest, Parameters, WireData, WireTensor, WireType, classify,
    oip::{Label, TensorMetadata},
};

use crate::{
    answer::Refusal,
    config::{Decimals, OutputPolicy},
    models::ServedModel,
    tensors,
    wire::Form,
};

/// The name of the one output under `labels_only`.
const LABEL: &str = "label";

/// The policy that binds a principal with these roles.
pub(crate) fn policy<'a, 'r>(
    model: &'a ServedModel,
    mut roles: impl Iterator<Item = &'r str>,
) -> Cow<'a, OutputPolicy> {
    let Some(first) = roles.next() else {
        return Cow::Borrowed(model.output_of_default_role());
    };
    roles.fold(Cow::Borrowed(model.output_of_role(first)), |combined, role| {
        let next = model.output_of_role(role);
        if next.is_full() {
            combined
        } else {
            Cow::Owned(combined.and(next))
        }
    })
}

/// The outputs that exist under a policy, as metadata.
pub(crate) fn visible_outputs(
    signature: &Signature,
    labels: Option<&Labels>,
    policy: &OutputPolicy,
) -> Vec<TensorMetadata> {
    if policy.labels_only {
        let Some(scores) = score_output(signature, policy) else {
            return Vec::new();
        };
        let mut shape = scores.oip_shape();
        shape.pop();
        return vec![TensorMetadata {
            name: LABEL.to_owned(),
            datatype: label_type(labels),
            shape,
            labels: Vec::new(),
        }];
    }
    let scores = score_output(signature, policy).map(|spec| spec.name.as_str());
    let visible = signature
        .outputs
        .iter()
        .filter(|spec| !policy.hidden.contains(&spec.name));
    visible
        .map(|spec| TensorMetadata {
            name: spec.name.clone(),
            datatype: tensors::wire_type(spec.data_type),
            shape: spec.oip_shape(),
            labels: if scores == Some(&spec.name) {
                label_list(labels)
            } else {
                Vec::new()
            },
        })
        .collect()
}

/// The output that holds a row of scores per example: the first visible one of floats with two dimensions or more.
pub(crate) fn score_output<'a>(signature: &'a Signature, policy: &OutputPolicy) -> Option<&'a TensorSpec> {
    let scores = |spec: &&TensorSpec| {
        tensors::is_float(spec.data_type)
            && spec.shape.len() >= 2
            && spec.oip_shape().last() != Some(&1)
            && !policy.hidden.contains(&spec.name)
    };
    signature.outputs.iter().find(scores)
}

/// Cuts an answer down to the policy and to what was asked. `outputs` are the model's, complete and finite.
pub(crate) fn shape(
    outputs: Vec<(String, Tensor)>,
    model: &ServedModel,
    policy: &OutputPolicy,
    asked: &InferRequest,
    form: Form,
) -> Result<Vec<WireTensor>, Refusal> {
    let shaped = if policy.labels_only {
        let scores = score_output(model.signature(), policy).ok_or_else(Refusal::internal)?;
        let (_, tensor) = outputs
            .into_iter()
            .find(|(name, _)| *name == scores.name)
            .ok_or_else(Refusal::internal)?;
        vec![labels_of(tensor, model.labels())?]
    } else {
        let visible = outputs
            .into_iter()
            .filter(|(name, _)| !policy.hidden.contains(name));
        visible
            .map(|(name, tensor)| one(tensors::to_wire(name, tensor), model, policy, asked, form))
            .collect::<Result<_, _>>()?
    };
    stockade_protocol::select_outputs(shaped, asked.outputs.as_deref())
        .map_err(|error| Refusal::invalid(error.to_string()))
}

/// One output, cut; as a list of its greatest elements where it was asked for so.
fn one(
    output: WireTensor,
    model: &ServedModel,
    policy: &OutputPolicy,
    asked: &InferRequest,
    form: Form,
) -> Result<WireTensor, Refusal> {
    let datatype = output.datatype;
    let keeps_type = form.carries_half_precision(asked, &output.name);
    let mut output = tensors::widened(output);
    let wanted = asked
        .outputs
        .iter()
        .flatten()
        .find(|wanted| wanted.name == output.name);
    let Some(most) = wanted.and_then(|wanted| wanted.classification) else {
        cut(&mut output, policy, Rest::Zero);
        return Ok(if keeps_type {
            tensors::narrowed(output, datatype)
        } else {
            output
        });
    };
    cut(&mut output, policy, Rest::Last);
    let most = policy.top_k.map_or(most, |k| most.min(k));
    let scores = score_output(model.signature(), policy).is_some_and(|spec| spec.name == output.name);
    let labels = if scores {
        label_list(model.labels())
    } else {
        Vec::new()
    };
    classify(&output, most, &labels).map_err(|_| Refusal::internal())
}

fn label_type(labels: Option<&Labels>) -> WireType {
    match labels {
        Some(Labels::Strings(_)) => WireType::Bytes,
        Some(Labels::Ints(_)) | None => WireType::I64,
    }
}

fn label_list(labels: Option<&Labels>) -> Vec<Label> {
    match labels {
        Some(Labels::Ints(values)) => values.iter().copied().map(Label::Integer).collect(),
        Some(Labels::Strings(texts)) => texts.iter().cloned().map(Label::Text).collect(),
        None => Vec::new(),
    }
}

/// One label per row of scores: that of the greatest score, the lowest class on a tie.
fn labels_of(scores: Tensor, labels: Option<&Labels>) -> Result<WireTensor, Refusal> {
    let mut scores = tensors::widened(tensors::to_wire(LABEL.to_owned(), scores));
    let width = scores
        .shape
        .pop()
        .and_then(|width| usize::try_from(width).ok())
        .unwrap_or(0);
    let classes = match &scores.data {
        WireData::F32(values) => greatest(values, width),
        WireData::F64(values) => greatest(values, width),
        WireData::Bool(_)
        | WireData::U8(_)
        | WireData::I8(_)
        | WireData::U16(_)
        | WireData::I16(_)
        | WireData::U32(_)
        | WireData::I32(_)
        | WireData::U64(_)
        | WireData::I64(_)
        | WireData::F16(_)
        | WireData::BF16(_)
        | WireData::Bytes(_) => None,
    }
    .ok_or_else(Refusal::internal)?;
    let data = match labels {
        Some(Labels::Ints(values)) => {
            let label = |class: usize| values.get(class).copied();
            WireData::I64(
                classes
                    .into_iter()
                    .map(label)
                    .collect::<Option<_>>()
                    .ok_or_else(Refusal::internal)?,
            )
        }
        Some(Labels::Strings(texts)) => {
            let label = |class: usize| texts.get(class).map(|text| text.clone().into_bytes());
            WireData::Bytes(
                classes
                    .into_iter()
                    .map(label)
                    .collect::<Option<_>>()
                    .ok_or_else(Refusal::internal)?,
            )
        }
        None => WireData::I64(
            classes
                .into_iter()
                .map(|class| i64::try_from(class).unwrap_or(i64::MAX))
                .collect(),
        ),
    };
    Ok(WireTensor {
        datatype: data.datatype(),
        data,
        parameters: Parameters::new(),
        ..scores
    })
}

fn greatest<T: Copy + PartialOrd>(values: &[T], width: usize) -> Option<Vec<usize>> {
    if width < 2 {
        return None;
    }
    let first_greatest = |row: &[T]| {
        row.iter()
            .enumerate()
            .fold(None, |best: Option<(usize, T)>, (class, score)| match best {
                Some((_, greatest)) if *score <= greatest => best,
                Some(_) | None => Some((class, *score)),
            })
    };
    values
        .chunks_exact(width)
        .map(|row| first_greatest(row).map(|(class, _)| class))
        .collect()
}

/// What becomes of scores that `top_k` takes away.
#[derive(Clone, Copy)]
enum Rest {
    /// They are 0.
    Zero,
    /// They come after all others, where the output is ranked: no more than `k` of them are ever named.
    Last,
}

/// `top_k`, then `decimals`, on an output of scores. Others stay as they are.
fn cut(output: &mut WireTensor, policy: &OutputPolicy, rest: Rest) {
    let width = match output.shape.as_slice() {
        [_, .., width] => usize::try_from(*width).unwrap_or(0),
        [] | [_] => 0,
    };
    match &mut output.data {
        WireData::F32(values) => {
            if let Some(k) = policy.top_k {
                let fill = match rest {
                    Rest::Zero => 0.0,
                    Rest::Last => f32::NEG_INFINITY,
                };
                keep_greatest(values, width, k.get() as usize, fill);
            }
            if let Some(decimals) = policy.decimals {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "back to the precision it came from"
                )]
                values
                    .iter_mut()
                    .for_each(|value| *value = round(f64::from(*value), decimals) as f32);
            }
        }
        WireData::F64(values) => {
            if let Some(k) = policy.top_k {
                let fill = match rest {
                    Rest::Zero => 0.0,
                    Rest::Last => f64::NEG_INFINITY,
                };
                keep_greatest(values, width, k.get() as usize, fill);
            }
            if let Some(decimals) = policy.decimals {
                values
                    .iter_mut()
                    .for_each(|value| *value = round(*value, decimals));
            }
        }
        WireData::Bool(_)
        | WireData::U8(_)
        | WireData::I8(_)
        | WireData::U16(_)
        | WireData::I16(_)
        | WireData::U32(_)
        | WireData::I32(_)
        | WireData::U64(_)
        | WireData::I64(_)
        | WireData::F16(_)
        | WireData::BF16(_)
        | WireData::Bytes(_) => {}
    }
}

/// In each row all but the `k` greatest become `fill`; on a tie the lower class stays.
fn keep_greatest<T: Copy + PartialOrd>(values: &mut [T], width: usize, k: usize, fill: T) {
    if width == 0 || k >= width {
        return;
    }
    let mut ranked: Vec<(T, usize)> = Vec::with_capacity(width);
    for row in values.chunks_exact_mut(width) {
        ranked.clear();
        ranked.extend(row.iter().copied().zip(0..));
        ranked.select_nth_unstable_by(k, |a, b| {
            b.0.partial_cmp(&a.0)
                .unwrap_or(Ordering::Equal)
                .then(a.1.cmp(&b.1))
        });
        for (_, class) in ranked.iter().skip(k) {
            if let Some(value) = row.get_mut(*class) {
                *value = fill;
            }
        }
    }
}

/// Rounds half to even. Adding 0 takes the sign of a zero away, which would tell on which side of it a score lay.
fn round(value: f64, decimals: Decimals) -> f64 {
    const ALL_INTEGERS: f64 = 4_503_599_627_370_496.0; // 2^52: no fraction beyond
    let scale = 10_f64.powi(i32::from(decimals.get()));
    let scaled = value * scale;
    if scaled.abs() >= ALL_INTEGERS {
        value
    } else {
        scaled.round_ties_even() / scale + 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimals(count: u8) -> Decimals {
        Decimals::try_from(count).unwrap()
    }

    #[track_caller]
    fn kept(values: &[f32], width: usize, k: usize, expected: &[f32]) {
        let mut values = values.to_vec();
        keep_greatest(&mut values, width, k, 0.0);
        assert_eq!(values, expected);
    }

    #[test]
    fn top_k_keeps_the_greatest_and_their_places() {
        kept(&[0.1, 0.7, 0.2], 3, 1, &[0.0, 0.7, 0.0]);
        kept(&[0.1, 0.7, 0.2], 3, 2, &[0.0, 0.7, 0.2]);
        kept(&[0.1, 0.7, 0.2], 3, 3, &[0.1, 0.7, 0.2]);
        kept(&[-3.0, -1.0, -2.0], 3, 1, &[0.0, -1.0, 0.0]);
        kept(&[0.1, 0.9, 0.8, 0.2], 2, 1, &[0.0, 0.9, 0.8, 0.0]);
    }

    #[test]
    fn a_tie_goes_to_the_lower_class() {
        kept(&[0.25, 0.25, 0.25, 0.25], 4, 2, &[0.25, 0.25, 0.0, 0.0]);
        assert_eq!(greatest(&[0.5, 0.5, 0.1, 0.2, 0.3, 0.3], 3), Some(vec![0, 1]));
        assert_eq!(greatest(&[0.9], 1), None);
    }

    #[test]
    fn rounding_is_half_to_even_without_a_sign_of_zero() {
        assert_eq!(round(0.5, decimals(0)), 0.0);
        assert_eq!(round(1.5, decimals(0)), 2.0);
        assert_eq!(round(2.5, decimals(0)), 2.0);
        assert_eq!(round(0.125, decimals(2)), 0.12);
        assert_eq!(round(0.375, decimals(2)), 0.38);
        assert!(round(-0.001, decimals(2)).is_sign_positive());
        assert_eq!(round(1e300, decimals(15)), 1e300);
    }

    proptest! {
        #[test]
        fn rounded_scores_have_no_more_decimals(value in -1e6_f64..1e6, count in 0_u8..6) {
            let rounded = round(value, decimals(count));
            let text = rounded.to_string();
            let written = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            prop_assert!(written <= usize::from(count), "{} {}", value, text);
            prop_assert!((rounded - value).abs() <= 0.5 * 10_f64.powi(-i32::from(count)) + 1e-9);
        }

        #[test]
        fn top_k_leaves_k_values_at_most(values in prop::collection::vec(0.01_f32..1.0, 1..50), k in 1_usize..10) {
            let mut cut = values.clone();
            keep_greatest(&mut cut, values.len(), k, 0.0);
            let left: Vec<f32> = cut.iter().copied().filter(|value| *value > 0.0).collect();
            prop_assert_eq!(left.len(), k.min(values.len()));
            let least = left.iter().copied().fold(f32::MAX, f32::min);
            for (before, after) in values.iter().zip(&cut) {
                prop_assert!(after == before || (*after == 0.0 && *before <= least));
            }
        }
    }
}
