//! The fifth phase: a body becomes tensors that fit the model, or is refused (control 33, structural part).
//!
//! Names, types, ranks and sizes are held against the model's signature, dimensions of one name against each other,
//! and a number that is not finite is refused: it would travel through a model and say nothing.

use bytes::Bytes;
use stockade_model::{Dim, Tensor, TensorSpec};
use stockade_protocol::{
    InferRequest, RequestedOutput, WireTensor, WireType,
    oip::{BodyLimits, TensorMetadata},
};

use crate::{
    answer::Refusal,
    config::OutputPolicy,
    models::ServedModel,
    phases::shape,
    tensors,
    wire::{Form, Wire},
};

/// A request that fits its model.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// What was asked, without its inputs; each output in it exists for this principal. Its `id` goes into the answer
    /// and nowhere else.
    pub(crate) asked: InferRequest,
    /// How the answer is written.
    pub(crate) form: Form,
    /// One tensor per input of the model.
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// The greatest size that the client chose for the first dimension of an input.
    pub(crate) rows: u64,
}

/// Reads a body and holds it against the model.
pub(crate) fn body(
    bytes: Bytes,
    wire: Wire,
    limits: &BodyLimits,
    model: &ServedModel,
    policy: &OutputPolicy,
) -> Result<Inspected, Refusal> {
    let (request, form) = wire.read(bytes, model, limits)?;
    inspect(request, form, model, policy)
}

fn inspect(
    mut request: InferRequest,
    form: Form,
    model: &ServedModel,
    policy: &OutputPolicy,
) -> Result<Inspected, Refusal> {
    if let Some(requested) = &request.outputs {
        check_requested(
            requested,
            &shape::visible_outputs(model.signature(), None, policy),
            policy,
        )?;
    }
    let specs = &model.signature().inputs;
    if request.inputs.len() != specs.len() {
        return Err(Refusal::invalid(format!(
            "the model takes {} input(s)",
            specs.len()
        )));
    }
    let mut sizes: Vec<(&str, u64)> = Vec::new();
    let mut rows = 1;
    let mut inputs = Vec::with_capacity(specs.len());
    for (position, wire) in std::mem::take(&mut request.inputs).into_iter().enumerate() {
        let spec = specs
            .iter()
            .find(|spec| spec.name == wire.name)
            .ok_or_else(|| refuse(position, "is not an input of the model"))?;
        check_type(position, &wire, spec)?;
        check_shape(position, &wire.shape, spec, &mut sizes)?;
        if let (Some(Dim::Symbol(_)), Some(first)) = (spec.shape.first(), wire.shape.first()) {
            rows = rows.max(*first);
        }
        let tensor = tensors::from_wire(&wire.shape, wire.data)
            .map_err(|_| refuse(position, "does not hold as many elements as its shape says"))?;
        if !tensors::all_finite(tensor.data()) {
            return Err(refuse(position, "holds a number that is not finite"));
        }
        inputs.push((wire.name, tensor));
    }
    let most = u64::from(model.config().max_rows.get());
    if rows > most {
        return Err(Refusal::invalid(format!(
            "the request holds more than {most} rows"
        )));
    }
    Ok(Inspected {
        asked: request,
        form,
        inputs,
        rows,
    })
}

fn refuse(position: usize, problem: &str) -> Refusal {
    Refusal::invalid(format!("`inputs[{position}]` {problem}"))
}

/// An output that is hidden is refused in the words of one that does not exist.
fn check_requested(
    requested: &[RequestedOutput],
    visible: &[TensorMetadata],
    policy: &OutputPolicy,
) -> Result<(), Refusal> {
    for (position, wanted) in requested.iter().enumerate() {
        let Some(output) = visible.iter().find(|output| output.name == wanted.name) else {
            return Err(Refusal::invalid(format!(
                "`outputs[{position}]` asks for an output that the model does not have"
            )));
        };
        if wanted.classification.is_some() && !is_ranked(output, policy) {
            return Err(Refusal::invalid(format!(
                "`outputs[{position}]` asks for a classification of an output that has none"
            )));
        }
        if requested
            .iter()
            .take(position)
            .any(|earlier| earlier.name == wanted.name)
        {
            return Err(Refusal::invalid(format!(
                "`outputs[{position}]` asks for an output again"
            )));
        }
    }
    Ok(())
}

/// Whether the elements of an output are numbers that are not labels already.
fn is_ranked(output: &TensorMetadata, policy: &OutputPolicy) -> bool {
    let numbers = match output.datatype {
        WireType::Bool | WireType::Bytes => false,
        WireType::U8
        | WireType::I8
        | WireType::U16
        | WireType::I16
        | WireType::U32
        | WireType::I32
        | WireType::U64
        | WireType::I64
        | WireType::F16
        | WireType::BF16
        | WireType::F32
        | WireType::F64 => true,
    };
    numbers && !policy.labels_only
}

fn check_type(position: usize, wire: &WireTensor, spec: &TensorSpec) -> Result<(), Refusal> {
    if tensors::model_type(wire.data.datatype()) == spec.data_type {
        return Ok(());
    }
    Err(refuse(
        position,
        &format!("must be `{}`, not `{}`", spec.data_type, wire.data.datatype()),
    ))
}

fn check_shape<'a>(
    position: usize,
    shape: &[u64],
    spec: &'a TensorSpec,
    sizes: &mut Vec<(&'a str, u64)>,
) -> Result<(), Refusal> {
    let wrong = || {
        refuse(
            position,
            &format!("must have the shape {:?}, where -1 is any size", spec.oip_shape()),
        )
    };
    if shape.len() != spec.shape.len() {
        return Err(wrong());
    }
    for (size, dim) in shape.iter().zip(&spec.shape) {
        if *size == 0 {
            return Err(refuse(position, "has no elements"));
        }
        match dim {
            Dim::Fixed(fixed) if *fixed as u64 == *size => {}
            Dim::Fixed(_) => return Err(wrong()),
            Dim::Symbol(name) if name.is_empty() => {}
            Dim::Symbol(name) => match sizes.iter().find(|(known, _)| known == name) {
                Some((_, known)) if known == size => {}
                Some(_) => {
                    return Err(refuse(
                        position,
                        "has another size than an input with the same dimension",
                    ));
                }
                None => sizes.push((name, *size)),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stockade_protocol::ErrorCode;

    use super::*;

    fn spec(shape: Vec<Dim>) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            data_type: stockade_model::DataType::F32,
            shape,
        }
    }

    #[test]
    fn shapes_are_held_against_the_signature() {
        let batch = spec(vec![Dim::Symbol("batch".into()), Dim::Fixed(64)]);
        let check = |shape: &[u64]| check_shape(0, shape, &batch, &mut Vec::new());
        assert!(check(&[1, 64]).is_ok() && check(&[500, 64]).is_ok());
        for wrong in [&[64][..], &[1, 63], &[1, 64, 1], &[0, 64], &[]] {
            assert_eq!(
                check(wrong).unwrap_err().code,
                ErrorCode::InvalidRequest,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn dimensions_of_one_name_have_one_size() {
        let batch = spec(vec![Dim::Symbol("batch".into())]);
        let free = spec(vec![Dim::Symbol(String::new())]);
        let mut sizes = Vec::new();
        assert!(check_shape(0, &[3], &batch, &mut sizes).is_ok());
        assert!(check_shape(1, &[3], &batch, &mut sizes).is_ok());
        assert!(check_shape(2, &[4], &batch, &mut sizes).is_err());
        assert!(check_shape(3, &[4], &free, &mut sizes).is_ok());
    }
}
