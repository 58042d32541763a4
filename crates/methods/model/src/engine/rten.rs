//! rten: pure Rust, single process, no library to configure.
//!
//! rten knows 32-bit floats and integers and 8-bit integers. Whole numbers of 64 bits and booleans become 32-bit integers, 64-bit floats become 32-bit floats; a whole number that does not fit is
//! refused and never cut. It has no 16-bit and no unsigned 32- or 64-bit tensors; those are refused by name.

mod gaps;

use rten::{Model, ModelOptions, NodeId, RunOptions, Value, ValueOrView};

use crate::{
    error::{LoadError, RunError},
    graph::Graph,
    tensor::{DataType, Signature, Tensor, TensorData, TensorSpec},
    threads::Threads,
    weight::Weight,
};

const NAME: &str = "rten";

/// A model in rten.
pub(crate) struct Rten {
    model: Model,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl Rten {
    /// The version in the workspace's manifest.
    pub(crate) const VERSION: &str = "0.27";

    pub(crate) fn load(mut graph: Graph) -> Result<Self, LoadError> {
        for spec in graph.inputs.iter().chain(&graph.outputs) {
            supported(&spec.name, spec.data_type, graph.decoded.contains_key(&spec.name))?;
        }
        check_weights(&graph)?;
        gaps::close(&mut graph.body);
        let split = graph.to_split(|_| true)?;
        let names = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
        let (inputs, outputs) = (names(&graph.inputs), names(&graph.outputs));
        // From here on `split` alone holds the weights, so that each is moved and not copied.
        drop(graph);
        let mut options = ModelOptions::with_all_ops();
        for (_, file, bytes) in split.files {
            options.external_data(&file, Vec::from(bytes));
        }
        let model = options
            .load(split.model)
            .map_err(|error| refused(error.to_string()))?;
        let ids = |names: Vec<String>| {
            names
                .iter()
                .map(|name| {
                    model
                        .find_node(name)
                        .ok_or_else(|| refused(format!("it lost `{name}`")))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            inputs: ids(inputs)?,
            outputs: ids(outputs)?,
            model,
        })
    }

    pub(crate) fn run(
        &self,
        signature: &Signature,
        inputs: Vec<Tensor>,
        threads: &Threads,
    ) -> Result<Vec<Tensor>, RunError> {
        let inputs = inputs
            .into_iter()
            .zip(&signature.inputs)
            .zip(&self.inputs)
            .map(|((tensor, spec), id)| Ok((*id, ValueOrView::Value(value(tensor, spec)?))))
            .collect::<Result<Vec<_>, RunError>>()?;
        let mut options = RunOptions::default();
        options.thread_pool = Some(threads.pool().clone());
        let outputs = self
            .model
            .run(inputs, &self.outputs, Some(options))
            .map_err(|error| failed(error.to_string()))?;
        outputs
            .into_iter()
            .zip(&signature.outputs)
            .map(|(value, spec)| tensor(value, spec))
            .collect()
    }
}

impl std::fmt::Debug for Rten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rten")
            .field("inputs", &self.inputs.len())
            .finish_non_exhaustive()
    }
}

fn refused(reason: String) -> LoadError {
    LoadError::Refused {
        engine: NAME,
        reason: one_line(&reason),
    }
}

fn failed(reason: String) -> RunError {
    RunError::Engine {
        engine: NAME,
        reason: one_line(&reason),
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn supported(name: &str, data_type: DataType, decoded: bool) -> Result<(), LoadError> {
    match data_type {
        DataType::Bool
        | DataType::U8
        | DataType::I8
        | DataType::I32
        | DataType::I64
        | DataType::F32
        | DataType::F64 => Ok(()),
        DataType::Bytes if decoded => Ok(()),
        DataType::U16
        | DataType::I16
        | DataType::U32
        | DataType::U64
        | DataType::F16
        | DataType::BF16
        | DataType::Bytes => Err(LoadError::DataType {
            engine: NAME,
            name: name.to_owned(),
            data_type,
        }),
    }
}

/// rten cuts 64-bit weights to 32 bits. That is right for a bound that means "to the end" and wrong for any other number.
fn check_weights(graph: &Graph) -> Result<(), LoadError> {
    const TO_THE_END: u64 = 1 << 62;
    let mut result = Ok(());
    graph.body.each_weight(&mut |name, weight: &Weight| {
        let lost = |value: &i64| i32::try_from(*value).is_err() && value.unsigned_abs() < TO_THE_END;
        if let Some(value) = weight.as_i64().and_then(|values| values.into_iter().find(lost)) {
            result = Err(refused(format!(
                "the weight `{name}` holds {value}, which needs 64 bits"
            )));
        }
    });
    result
}

fn value(tensor: Tensor, spec: &TensorSpec) -> Result<Value, RunError> {
    let shape = tensor.shape().to_vec();
    let narrow = |value: i64| {
        i32::try_from(value).map_err(|_| RunError::InputRange {
            name: spec.name.clone(),
            value,
        })
    };
    let built = match tensor.into_data() {
        TensorData::F32(data) => Value::from_shape(&shape, data).map_err(|error| error.to_string()),
        #[expect(clippy::cast_possible_truncation, reason = "rten computes in 32-bit floats")]
        TensorData::F64(data) => {
            let data: Vec<f32> = data.into_iter().map(|value| value as f32).collect();
            Value::from_shape(&shape, data).map_err(|error| error.to_string())
        }
        TensorData::I32(data) => Value::from_shape(&shape, data).map_err(|error| error.to_string()),
        TensorData::I64(data) => {
            let data = data.into_iter().map(narrow).collect::<Result<Vec<i32>, _>>()?;
            Value::from_shape(&shape, data).map_err(|error| error.to_string())
        }
        TensorData::Bool(data) => {
            let data: Vec<i32> = data.into_iter().map(i32::from).collect();
            Value::from_shape(&shape, data).map_err(|error| error.to_string())
        }
        TensorData::U8(data) => Value::from_shape(&shape, data).map_err(|error| error.to_string()),
        TensorData::I8(data) => Value::from_shape(&shape, data).map_err(|error| error.to_string()),
        TensorData::U16(_)
        | TensorData::I16(_)
        | TensorData::U32(_)
        | TensorData::U64(_)
        | TensorData::F16(_)
        | TensorData::BF16(_)
        | TensorData::Bytes(_) => Err(format!("`{}` has a type that it does not support", spec.name)),
    };
    built.map_err(failed)
}

fn tensor(value: Value, spec: &TensorSpec) -> Result<Tensor, RunError> {
    use rten_tensor::prelude::*;

    let (shape, data) = match (value, spec.data_type) {
        (Value::FloatTensor(data), DataType::F32) => {
            (data.shape().to_vec(), TensorData::F32(data.into_data()))
        }
        (Value::FloatTensor(data), DataType::F64) => (
            data.shape().to_vec(),
            TensorData::F64(data.into_data().into_iter().map(f64::from).collect()),
        ),
        (Value::Int32Tensor(data), DataType::I32) => {
            (data.shape().to_vec(), TensorData::I32(data.into_data()))
        }
        // A label that is text is still a class number here.
        (Value::Int32Tensor(data), DataType::I64 | DataType::Bytes) => (
            data.shape().to_vec(),
            TensorData::I64(data.into_data().into_iter().map(i64::from).collect()),
        ),
        (Value::Int32Tensor(data), DataType::Bool) => {
            let shape = data.shape().to_vec();
            (
                shape,
                TensorData::Bool(data.into_data().into_iter().map(|value| value != 0).collect()),
            )
        }
        (Value::UInt8Tensor(data), DataType::U8) => (data.shape().to_vec(), TensorData::U8(data.into_data())),
        (Value::Int8Tensor(data), DataType::I8) => (data.shape().to_vec(), TensorData::I8(data.into_data())),
        (other, expected) => {
            return Err(failed(format!(
                "`{}` is {:?}, not {expected}",
                spec.name,
                other.dtype()
            )));
        }
    };
    Tensor::new(shape, data).map_err(|error| failed(error.to_string()))
}
