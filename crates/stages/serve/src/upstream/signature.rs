//! A model's signature, as another server or the configuration says it: checked like anything that comes from outside.

use std::collections::BTreeSet;

use stockade_model::{Dim, Signature, TensorSpec};
use stockade_protocol::oip::{BodyLimits, TensorMetadata};

use super::UpstreamError;
use crate::{
    config::{ModelConfig, TensorDeclaration},
    tensors,
};

/// What is said of a model's tensors. A server may say nothing of some.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

impl Said {
    /// The signature, if it is a whole and possible one.
    pub(super) fn signature(&self, limits: &BodyLimits) -> Option<Signature> {
        Some(Signature {
            inputs: specs(&self.inputs, limits)?,
            outputs: specs(&self.outputs, limits)?,
        })
    }

    /// Whether it contradicts a signature. Order is not part of a server's word; silence contradicts nothing.
    pub(super) fn contradicts(&self, signature: &Signature) -> bool {
        let differs = |said: &[TensorMetadata], known: &[TensorSpec]| {
            let same = |said: &TensorMetadata, known: &TensorSpec| {
                said.name == known.name
                    && tensors::model_type(said.datatype) == known.data_type
                    && said.shape == known.oip_shape()
            };
            !said.is_empty()
                && (said.len() != known.len()
                    || !known
                        .iter()
                        .all(|known| said.iter().any(|said| same(said, known))))
        };
        differs(&self.inputs, &signature.inputs) || differs(&self.outputs, &signature.outputs)
    }
}

/// The signature that the configuration declares for a model in another server.
pub(super) fn declared(
    model: &str,
    config: &ModelConfig,
    limits: &BodyLimits,
) -> Result<Option<Signature>, UpstreamError> {
    let problem = |problem| UpstreamError::Declaration {
        model: model.to_owned(),
        problem,
    };
    match (config.inputs.is_empty(), config.outputs.is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => {}
        (true, false) | (false, true) => {
            return Err(problem(
                "only its inputs or only its outputs\nhint: declare both, or neither to take the server's word",
            ));
        }
    }
    let list = |list: &[TensorDeclaration]| {
        list.iter()
            .map(|tensor| TensorMetadata {
                name: tensor.name.clone(),
                datatype: tensor.datatype.0,
                shape: tensor.shape.clone(),
                labels: Vec::new(),
            })
            .collect()
    };
    let said = Said {
        inputs: list(&config.inputs),
        outputs: list(&config.outputs),
    };
    let signature = said.signature(limits).ok_or_else(|| {
        problem(
            "tensors that cannot be\nhint: names differ and have 1 to 256 bytes; a size is at least 1, or -1 where it varies",
        )
    })?;
    Ok(Some(signature))
}

fn specs(list: &[TensorMetadata], limits: &BodyLimits) -> Option<Vec<TensorSpec>> {
    if list.is_empty() || list.len() > limits.max_tensors {
        return None;
    }
    let mut names = BTreeSet::new();
    list.iter()
        .map(|tensor| {
            let fits = (1..=limits.max_name_bytes).contains(&tensor.name.len())
                && tensor.shape.len() <= limits.max_dimensions
                && names.insert(tensor.name.as_str());
            let shape: Option<Vec<Dim>> = tensor.shape.iter().map(|size| dim(*size)).collect();
            let shape = shape.filter(|_| fits)?;
            let known = shape.iter().try_fold(1_usize, |product, dim| match dim {
                Dim::Fixed(size) => product.checked_mul(*size),
                Dim::Symbol(_) => Some(product),
            });
            known.filter(|known| *known <= limits.max_elements)?;
            Some(TensorSpec {
                name: tensor.name.clone(),
                data_type: tensors::model_type(tensor.datatype),
                shape,
            })
        })
        .collect()
}

fn dim(size: i64) -> Option<Dim> {
    match size {
        -1 => Some(Dim::Symbol(String::new())),
        1.. => usize::try_from(size).ok().map(Dim::Fixed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use stockade_protocol::WireType;

    use super::*;

    fn tensor(name: &str, datatype: WireType, shape: &[i64]) -> TensorMetadata {
        TensorMetadata {
            name: name.into(),
            datatype,
            shape: shape.to_vec(),
            labels: Vec::new(),
        }
    }

    fn said(outputs: Vec<TensorMetadata>) -> Said {
        Said {
            inputs: vec![tensor("x", WireType::F32, &[-1, 4])],
            outputs,
        }
    }

    #[test]
    fn only_possible_signatures_are_taken() {
        let limits = BodyLimits::default();
        let signature = |outputs| said(outputs).signature(&limits);
        assert!(signature(vec![tensor("y", WireType::F32, &[-1, 3])]).is_some());
        for bad in [
            vec![],
            vec![tensor("", WireType::F32, &[1])],
            vec![tensor("y", WireType::F32, &[0])],
            vec![tensor("y", WireType::F32, &[-2])],
            vec![tensor("y", WireType::F32, &[i64::MAX, i64::MAX])],
            vec![tensor("y", WireType::F32, &[1]), tensor("y", WireType::I64, &[1])],
        ] {
            assert!(signature(bad.clone()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_changed_word_contradicts_and_silence_does_not() {
        let limits = BodyLimits::default();
        let (a, b) = (
            tensor("a", WireType::F32, &[-1, 3]),
            tensor("b", WireType::I64, &[-1]),
        );
        let known = said(vec![a.clone(), b.clone()]).signature(&limits).unwrap();
        assert!(!said(vec![b.clone(), a.clone()]).contradicts(&known), "order");
        assert!(!said(vec![]).contradicts(&known), "silence");
        for changed in [
            vec![a.clone()],
            vec![a.clone(), tensor("b", WireType::I32, &[-1])],
            vec![a.clone(), tensor("c", WireType::I64, &[-1])],
            vec![tensor("a", WireType::F32, &[-1, 4]), b.clone()],
            vec![a.clone(), a.clone()],
        ] {
            assert!(said(changed.clone()).contradicts(&known), "{changed:?}");
        }
    }
}
