//! Between tensors and rows: what a detector sees of a request, and what a model is asked of a sample.

use stockade_model::{DataType, Dim, Signature, Tensor, TensorData, TensorSpec};

use crate::{
    config::OutputPolicy,
    phases::{forward::Named, shape},
    tensors,
};

/// What one row of a model's inputs and scores is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    inputs: Vec<Part>,
    /// Numbers in a row of all inputs together.
    pub(super) width: usize,
    /// Rows of every request, where the model takes no other number.
    pub(super) batch: Option<usize>,
    scores: String,
}

/// One input's part of a row.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    name: String,
    data_type: DataType,
    /// Its shape without the first dimension.
    shape: Vec<usize>,
    len: usize,
}

/// Numbers, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) values: Vec<f32>,
    /// Numbers in a row.
    pub(crate) width: usize,
}

impl Rows {
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

impl Layout {
    /// `None` for a model whose queries have no rows of numbers, or whose answers have no scores.
    pub(super) fn new(signature: &Signature) -> Option<Self> {
        let inputs: Vec<Part> = signature.inputs.iter().map(part).collect::<Option<_>>()?;
        let width = inputs
            .iter()
            .try_fold(0_usize, |sum, part| sum.checked_add(part.len))?;
        let is_float = |spec: &&TensorSpec| tensors::is_float(spec.data_type) && !spec.shape.is_empty();
        let scores = shape::score_output(signature, &OutputPolicy::default())
            .or_else(|| signature.outputs.iter().find(is_float))?;
        let first = signature.inputs.first().and_then(|spec| spec.shape.first());
        let batch = match first {
            Some(Dim::Fixed(rows)) => Some(*rows),
            Some(Dim::Symbol(_)) | None => None,
        };
        (width > 0 && batch != Some(0)).then(|| Self {
            inputs,
            width,
            batch,
            scores: scores.name.clone(),
        })
    }

    /// The rows of a request; `None` where its inputs have different numbers of rows.
    pub(super) fn rows(&self, inputs: &Named) -> Option<Rows> {
        let mut columns = Vec::with_capacity(self.inputs.len());
        let mut count = None;
        for part in &self.inputs {
            let (_, tensor) = inputs.iter().find(|(name, _)| *name == part.name)?;
            let values = numbers(tensor.data())?;
            let rows = *tensor.shape().first()?;
            if values.len() != rows.checked_mul(part.len)? || *count.get_or_insert(rows) != rows {
                return None;
            }
            columns.push((values, part.len));
        }
        let values = match columns.as_mut_slice() {
            [(values, _)] => std::mem::take(values),
            columns => (0..count?)
                .flat_map(|row| {
                    columns.iter().flat_map(move |(values, len)| {
                        values.get(row * len..(row + 1) * len).unwrap_or_default()
                    })
                })
                .copied()
                .collect(),
        };
        Some(Rows {
            values,
            width: self.width,
        })
    }

    /// The inputs that ask for these rows.
    pub(super) fn inputs(&self, rows: &[f32]) -> Option<Named> {
        let count = rows.len() / self.width;
        let mut from = 0;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for part in &self.inputs {
            let place = from..from + part.len;
            let values: Vec<f32> = rows
                .chunks_exact(self.width)
                .flat_map(|row| row.get(place.clone()).unwrap_or_default())
                .copied()
                .collect();
            let mut shape = vec![count];
            shape.extend(&part.shape);
            let tensor = Tensor::new(shape, typed(values, part.data_type)?).ok()?;
            inputs.push((part.name.clone(), tensor));
            from = place.end;
        }
        Some(inputs)
    }

    /// The scores of an answer to `count` rows.
    pub(super) fn scores(&self, outputs: &Named, count: usize) -> Option<Rows> {
        let (_, tensor) = outputs.iter().find(|(name, _)| *name == self.scores)?;
        let values = numbers(tensor.data())?;
        let width = values.len().checked_div(count)?;
        (width > 0 && width * count == values.len()).then_some(Rows { values, width })
    }
}

/// The part of a row that an input is; `None` where it has no numbers, or as many as a client likes.
fn part(spec: &TensorSpec) -> Option<Part> {
    let (_, rest) = spec.shape.split_first()?;
    let shape: Vec<usize> = rest
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(_) => None,
        })
        .collect::<Option<_>>()?;
    let len = shape
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    let part = Part {
        name: spec.name.clone(),
        data_type: spec.data_type,
        shape,
        len,
    };
    typed(Vec::new(), spec.data_type).map(|_| part)
}

/// Numbers as single precision: what is lost by it is lost for the detectors alone.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "detectors look at single precision"
)]
pub(crate) fn numbers(data: &TensorData) -> Option<Vec<f32>> {
    Some(match data {
        TensorData::F32(values) => values.clone(),
        TensorData::F64(values) => values.iter().map(|value| *value as f32).collect(),
        TensorData::F16(values) => values.iter().map(|bits| tensors::widen_f16(*bits)).collect(),
        TensorData::BF16(values) => values.iter().map(|bits| tensors::widen_bf16(*bits)).collect(),
        TensorData::Bool(values) => values.iter().map(|value| f32::from(u8::from(*value))).collect(),
        TensorData::U8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        TensorData::I8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        TensorData::U16(values) => values.iter().map(|value| f32::from(*value)).collect(),
        TensorData::I16(values) => values.iter().map(|value| f32::from(*value)).collect(),
        TensorData::U32(values) => values.iter().map(|value| *value as f32).collect(),
        TensorData::I32(values) => values.iter().map(|value| *value as f32).collect(),
        TensorData::U64(values) => values.iter().map(|value| *value as f32).collect(),
        TensorData::I64(values) => values.iter().map(|value| *value as f32).collect(),
        TensorData::Bytes(_) => return None,
    })
}

/// A sample's numbers as a model takes them; `None` for text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates; a sample of whole numbers is exact"
)]
fn typed(values: Vec<f32>, data_type: DataType) -> Option<TensorData> {
    Some(match data_type {
        DataType::F32 => TensorData::F32(values),
        DataType::F64 => TensorData::F64(values.into_iter().map(f64::from).collect()),
        DataType::F16 => TensorData::F16(values.into_iter().map(tensors::narrow_f16).collect()),
        DataType::BF16 => TensorData::BF16(values.into_iter().map(tensors::narrow_bf16).collect()),
        DataType::Bool => TensorData::Bool(values.into_iter().map(|value| value != 0.0).collect()),
        DataType::U8 => TensorData::U8(values.into_iter().map(|value| value as u8).collect()),
        DataType::I8 => TensorData::I8(values.into_iter().map(|value| value as i8).collect()),
        DataType::U16 => TensorData::U16(values.into_iter().map(|value| value as u16).collect()),
        DataType::I16 => TensorData::I16(values.into_iter().map(|value| value as i16).collect()),
        DataType::U32 => TensorData::U32(values.into_iter().map(|value| value as u32).collect()),
        DataType::I32 => TensorData::I32(values.into_iter().map(|value| value as i32).collect()),
        DataType::U64 => TensorData::U64(values.into_iter().map(|value| value as u64).collect()),
        DataType::I64 => TensorData::I64(values.into_iter().map(|value| value as i64).collect()),
        DataType::Bytes => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, data_type: DataType, rest: &[usize]) -> TensorSpec {
        let mut shape = vec![Dim::Symbol("batch".into())];
        shape.extend(rest.iter().map(|size| Dim::Fixed(*size)));
        TensorSpec {
            name: name.into(),
            data_type,
            shape,
        }
    }

    fn census() -> Layout {
        let signature = Signature {
            inputs: vec![
                spec("age", DataType::I64, &[1]),
                spec("pixels", DataType::F32, &[2, 1]),
            ],
            outputs: vec![spec("label", DataType::I64, &[]), spec("p", DataType::F64, &[2])],
        };
        Layout::new(&signature).unwrap()
    }

    #[test]
    fn rows_are_the_inputs_side_by_side_and_back() {
        let layout = census();
        let rows = [40.0, 0.1, 0.2, 41.0, 0.3, 0.4];
        let inputs = layout.inputs(&rows).unwrap();
        assert_eq!(inputs[0].1.data(), &TensorData::I64(vec![40, 41]));
        assert_eq!(inputs[1].1.shape(), [2, 2, 1]);
        let back = layout.rows(&inputs).unwrap();
        assert_eq!((back.values.as_slice(), back.width), (&rows[..], 3));
        assert_eq!(back.iter().len(), 2);
    }

    #[test]
    fn inputs_of_different_lengths_are_no_rows() {
        let mut inputs = census().inputs(&[40.0, 0.1, 0.2, 41.0, 0.3, 0.4]).unwrap();
        let ages = Tensor::new(vec![1, 1], TensorData::I64(vec![40])).unwrap();
        inputs[0].1 = ages;
        assert_eq!(census().rows(&inputs), None);
    }

    #[test]
    fn scores_are_rows_of_the_first_float_output() {
        let outputs = vec![
            (
                "label".into(),
                Tensor::new(vec![2], TensorData::I64(vec![0, 1])).unwrap(),
            ),
            (
                "p".into(),
                Tensor::new(vec![2, 2], TensorData::F64(vec![0.9, 0.1, 0.2, 0.8])).unwrap(),
            ),
        ];
        let scores = census().scores(&outputs, 2).unwrap();
        assert_eq!((scores.width, scores.values[3]), (2, 0.8));
        assert_eq!(census().scores(&outputs, 0), None);
        assert_eq!(census().scores(&outputs, 3), None);
    }

    #[test]
    fn what_has_no_rows_of_numbers_is_not_watched() {
        let outputs = vec![spec("p", DataType::F32, &[2])];
        let of = |input: TensorSpec, outputs: &[TensorSpec]| {
            Layout::new(&Signature {
                inputs: vec![input],
                outputs: outputs.to_vec(),
            })
        };
        assert!(of(spec("x", DataType::Bytes, &[1]), &outputs).is_none());
        assert!(
            of(
                TensorSpec {
                    shape: vec![Dim::Symbol("a".into()), Dim::Symbol("b".into())],
                    ..spec("x", DataType::F32, &[])
                },
                &outputs
            )
            .is_none()
        );
        assert!(of(spec("x", DataType::F32, &[4]), &[spec("y", DataType::I64, &[])]).is_none());
    }
}
