//! The seventh phase: what a model gave must be what it declares, and finite, before anything of it is shaped.

use stockade_evidence::Control;
use stockade_model::{Dim, Signature, Tensor};
use stockade_protocol::ErrorCode;

use crate::{answer::Refusal, tensors};

/// Refuses an answer that the model's signature does not declare. The client learns only that the model failed.
pub(crate) fn inspect(outputs: &[(String, Tensor)], signature: &Signature) -> Result<(), Refusal> {
    let declared = outputs.len() == signature.outputs.len()
        && outputs
            .iter()
            .zip(&signature.outputs)
            .all(|((name, tensor), spec)| {
                *name == spec.name
                    && tensor.data_type() == spec.data_type
                    && fits(tensor.shape(), &spec.shape)
                    && tensors::all_finite(tensor.data())
            });
    declared.then_some(()).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UpstreamFailed,
            Control::RunningModelIntegrity,
            "the model gave an answer that cannot be released",
        )
    })
}

fn fits(shape: &[usize], declared: &[Dim]) -> bool {
    shape.len() == declared.len()
        && shape.iter().zip(declared).all(|(size, dim)| match dim {
            Dim::Fixed(fixed) => fixed == size,
            Dim::Symbol(_) => true,
        })
}

#[cfg(test)]
mod tests {
    use stockade_model::{DataType, TensorData, TensorSpec};

    use super::*;

    #[track_caller]
    fn check(name: &str, shape: Vec<usize>, data: TensorData, released: bool) {
        let signature = Signature {
            inputs: vec![],
            outputs: vec![TensorSpec {
                name: "scores".into(),
                data_type: DataType::F32,
                shape: vec![Dim::Symbol("batch".into()), Dim::Fixed(2)],
            }],
        };
        let outputs = [(name.to_owned(), Tensor::new(shape, data).unwrap())];
        assert_eq!(inspect(&outputs, &signature).is_ok(), released);
    }

    #[test]
    fn only_what_is_declared_and_finite_is_released() {
        check("scores", vec![1, 2], TensorData::F32(vec![0.1, 0.9]), true);
        check("scores", vec![1, 2], TensorData::F32(vec![f32::NAN, 0.9]), false);
        check(
            "scores",
            vec![1, 2],
            TensorData::F32(vec![f32::INFINITY, 0.9]),
            false,
        );
        check("scores", vec![2, 1], TensorData::F32(vec![0.1, 0.9]), false);
        check("scores", vec![1, 2], TensorData::F64(vec![0.1, 0.9]), false);
        check("weights", vec![1, 2], TensorData::F32(vec![0.1, 0.9]), false);
        assert!(
            inspect(
                &[],
                &Signature {
                    inputs: vec![],
                    outputs: vec![]
                }
            )
            .is_ok()
        );
    }
}
