//! What a suspect says to a claim's marks: an ONNX model is asked here, an endpoint elsewhere and its answers given as a file.

use serde::Deserialize;

use super::claim::Registered;
use crate::{
    error::RunError,
    session::Session,
    tensor::{DataType, Dim, Tensor, TensorData, TensorSpec},
};

const FORMAT: &str = "stockade-mark-answers/1";
const MAX_BYTES: usize = 1 << 20;

/// A model cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It takes something else than the claim's inputs.
    #[error("the model does not take one input of {length} numbers")]
    Input {
        /// Numbers of one of the claim's inputs.
        length: usize,
    },
    /// It gives nothing that is a label.
    #[error("the model gives neither {classes} scores nor a whole number as a label")]
    Output {
        /// The claim's classes.
        classes: usize,
    },
    /// It failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The model's label for each mark that counts. It takes one floating-point input whose other dimensions than the first hold a claim's input, and gives scores or the number of a class.
pub fn labels(session: &Session, claim: &Registered<'_>) -> Result<Vec<usize>, AskError> {
    let classes = claim.whose().classes;
    claim
        .marks()
        .iter()
        .map(|mark| {
            let length = mark.input.len();
            let [input] = session.signature().inputs.as_slice() else {
                return Err(AskError::Input { length });
            };
            let tensor = one(input, &mark.input).ok_or(AskError::Input { length })?;
            let outputs = session.run(vec![(input.name.clone(), tensor)])?;
            label(&outputs, classes).ok_or(AskError::Output { classes })
        })
        .collect()
}

/// The row as a batch of one, in the model's shape.
fn one(input: &TensorSpec, row: &[f32]) -> Option<Tensor> {
    let mut shape: Vec<usize> = input
        .shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(_) => None,
        })
        .enumerate()
        .map(|(place, size)| size.or((place == 0).then_some(1)))
        .collect::<Option<_>>()?;
    if shape.len() == 1 && shape.first() == Some(&1) {
        shape = vec![row.len()];
    }
    let data = match input.data_type {
        DataType::F32 => TensorData::F32(row.to_vec()),
        DataType::F64 => TensorData::F64(row.iter().copied().map(f64::from).collect()),
        _ => return None,
    };
    Tensor::new(shape, data).ok()
}

/// The label of one answer: the first greatest of the scores where an output has one for each class, else the first whole number.
fn label(outputs: &[(String, Tensor)], classes: usize) -> Option<usize> {
    let scores = outputs.iter().find_map(|(_, tensor)| match tensor.data() {
        TensorData::F32(scores) if scores.len() == classes => {
            Some(scores.iter().copied().map(f64::from).collect::<Vec<_>>())
        }
        TensorData::F64(scores) if scores.len() == classes => Some(scores.clone()),
        _ => None,
    });
    if let Some(scores) = scores {
        let best = scores
            .iter()
            .enumerate()
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        return best.map(|(label, _)| label);
    }
    outputs.iter().find_map(|(_, tensor)| match tensor.data() {
        TensorData::I64(values) => usize::try_from(*single(values)?).ok(),
        TensorData::I32(values) => usize::try_from(*single(values)?).ok(),
        _ => None,
    })
}

fn single<T>(values: &[T]) -> Option<&T> {
    match values {
        [value] => Some(value),
        _ => None,
    }
}

/// Answers of an endpoint to a claim: `{"format": "stockade-mark-answers/1", "labels": [..]}`, a label for each of the claim's marks by number, all of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AnswersFile {
    format: String,
    labels: Vec<usize>,
}

/// The bytes are no answers, or not those to this claim.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswers {
    /// They are not the JSON of answers, or too many bytes of it.
    #[error("the answers are not a `{FORMAT}` object of at most {MAX_BYTES} bytes")]
    NotAnswers,
    /// Another number of labels than the claim has marks.
    #[error("the file has {given} labels, and the claim {marks} marks")]
    Count {
        /// How many there are.
        given: usize,
        /// How many there should be.
        marks: usize,
    },
}

impl AnswersFile {
    /// Reads an answers file.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadAnswers> {
        if bytes.len() > MAX_BYTES {
            return Err(BadAnswers::NotAnswers);
        }
        serde_json::from_slice(bytes)
            .ok()
            .filter(|file: &Self| file.format == FORMAT)
            .ok_or(BadAnswers::NotAnswers)
    }

    /// The labels for the marks of `claim` that count.
    pub fn labels(&self, claim: &Registered<'_>) -> Result<Vec<usize>, BadAnswers> {
        let wrong = || BadAnswers::Count {
            given: self.labels.len(),
            marks: claim.count(),
        };
        if self.labels.len() != claim.count() {
            return Err(wrong());
        }
        claim
            .marks()
            .iter()
            .map(|mark| {
                let place = usize::try_from(mark.number).ok();
                place
                    .and_then(|place| self.labels.get(place))
                    .copied()
                    .ok_or_else(wrong)
            })
            .collect()
    }
}
