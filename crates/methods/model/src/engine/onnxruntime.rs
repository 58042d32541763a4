//! ONNX Runtime: faster, loaded from a library that the configuration names.
//!
//! The library is checked before it is loaded (see [`library`]). One process loads one library, since ONNX Runtime keeps global state. Its telemetry is off; it writes nothing
//! and reads no file besides the library. The binding runs a session through a unique borrow, so runs of one session take turns; each run uses all the threads given.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    session::{Session, SessionInputValue, builder::SessionBuilder},
    value::{DynValue, PrimitiveTensorElementType, Tensor as OrtTensor},
};

use crate::{
    engine::library::{self, Checked},
    error::{LoadError, RunError},
    graph::Graph,
    tensor::{DataType, Signature, Tensor, TensorData, TensorSpec},
    weight::Weight,
};

const NAME: &str = "ONNX Runtime";

/// A model in ONNX Runtime.
#[derive(Debug)]
pub(crate) struct OnnxRuntime {
    session: Mutex<Session>,
    version: String,
}

/// The library that this process loaded.
struct Loaded {
    library: Checked,
    environment: Environment,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

impl OnnxRuntime {
    pub(crate) fn load(graph: Graph, library: &Path, threads: usize) -> Result<Self, LoadError> {
        for spec in graph.inputs.iter().chain(&graph.outputs) {
            supported(spec, graph.decoded.contains_key(&spec.name))?;
        }
        let (environment, version) = environment(library)?;
        let mut builder = Session::builder(&environment)
            .and_then(|builder| Ok(builder.with_intra_threads(threads)?))
            .and_then(|builder| Ok(builder.with_inter_threads(1)?))
            .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
            .map_err(refused)?;
        let split = graph.to_split(apart)?;
        let mut shapes = std::collections::BTreeMap::new();
        graph.body.each_weight(&mut |name, weight: &Weight| {
            shapes.insert(name.to_owned(), (weight.data_type, weight.shape.clone()));
        });
        // From here on `split` alone holds the weights, so that each is freed once it is handed over.
        drop(graph);
        for (name, _, bytes) in split.files {
            let Some((data_type, shape)) = shapes.remove(&name) else {
                continue;
            };
            builder = with_weight(builder, &name, data_type, shape, &bytes).map_err(refused)?;
        }
        let session = builder.commit_from_memory(&split.model).map_err(refused)?;
        Ok(Self {
            session: Mutex::new(session),
            version,
        })
    }

    /// Loads the library, and nothing into it.
    pub(crate) fn start(library: &Path) -> Result<(), LoadError> {
        environment(library).map(drop)
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn run(&self, signature: &Signature, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, RunError> {
        let inputs = inputs
            .into_iter()
            .zip(&signature.inputs)
            .map(|(tensor, spec)| Ok((spec.name.as_str(), SessionInputValue::from(value(tensor, spec)?))))
            .collect::<Result<Vec<_>, RunError>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs).map_err(failed)?;
        signature
            .outputs
            .iter()
            .map(|spec| {
                let value = outputs
                    .get(&spec.name)
                    .ok_or_else(|| failed(format!("it lost `{}`", spec.name)))?;
                tensor(value, spec)
            })
            .collect()
    }
}

/// The environment of the library at this path, loaded once.
fn environment(library: &Path) -> Result<(Environment, String), LoadError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let checked = library::check(library)?;
    if let Some(loaded) = &*loaded {
        if loaded.library == checked {
            return Ok((loaded.environment.clone(), checked.version));
        }
        let own = loaded.library.path.display();
        return Err(library::refused(
            library,
            format!("this process uses `{own}` already; restart it"),
        ));
    }
    let refuse = |reason: String| library::refused(library, reason);
    let builder = ort::init_from(&checked.path).map_err(|error| refuse(error.to_string()))?;
    let environment = builder
        .with_name("stockade")
        .with_telemetry(false)
        .build()
        .map_err(|error| refuse(error.to_string()))?;
    let version = checked.version.clone();
    *loaded = Some(Loaded {
        library: checked,
        environment: environment.clone(),
    });
    Ok((environment, version))
}

/// Hands one weight over.
fn with_weight(
    builder: SessionBuilder,
    name: &str,
    data_type: DataType,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<SessionBuilder, ort::Error> {
    fn give<T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static, const N: usize>(
        builder: SessionBuilder,
        name: &str,
        shape: Vec<usize>,
        bytes: &[u8],
        read: fn([u8; N]) -> T,
    ) -> Result<SessionBuilder, ort::Error> {
        let (parts, _) = bytes.as_chunks::<N>();
        let tensor =
            OrtTensor::from_array((shape, parts.iter().map(|part| read(*part)).collect::<Vec<T>>()))?;
        Ok(builder.with_external_initializer(name, tensor.into_dyn())?)
    }
    match data_type {
        DataType::F32 => give(builder, name, shape, bytes, f32::from_le_bytes),
        DataType::F64 => give(builder, name, shape, bytes, f64::from_le_bytes),
        DataType::I32 => give(builder, name, shape, bytes, i32::from_le_bytes),
        DataType::I64 => give(builder, name, shape, bytes, i64::from_le_bytes),
        DataType::Bool
        | DataType::U8
        | DataType::I8
        | DataType::U16
        | DataType::I16
        | DataType::U32
        | DataType::U64
        | DataType::F16
        | DataType::BF16
        | DataType::Bytes => Ok(builder),
    }
}

/// The types whose weights [`with_weight`] hands over.
fn apart(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::F32 | DataType::F64 | DataType::I32 | DataType::I64
    )
}

fn value(tensor: Tensor, spec: &TensorSpec) -> Result<DynValue, RunError> {
    let shape = tensor.shape().to_vec();
    let built = match tensor.into_data() {
        TensorData::Bool(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::U8(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::I8(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::U16(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::I16(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::U32(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::I32(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::U64(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::I64(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::F32(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::F64(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        TensorData::F16(_) | TensorData::BF16(_) | TensorData::Bytes(_) => {
            return Err(failed(format!(
                "`{}` has a type that it does not support",
                spec.name
            )));
        }
    };
    built.map_err(failed)
}

fn tensor(value: &DynValue, spec: &TensorSpec) -> Result<Tensor, RunError> {
    fn take<T: PrimitiveTensorElementType + Clone>(
        value: &DynValue,
    ) -> Result<(Vec<usize>, Vec<T>), RunError> {
        let (shape, data) = value.try_extract_tensor::<T>().map_err(failed)?;
        let shape = shape
            .iter()
            .map(|dim| usize::try_from(*dim))
            .collect::<Result<Vec<_>, _>>();
        Ok((shape.map_err(failed)?, data.to_vec()))
    }
    let (shape, data) = match spec.data_type {
        DataType::Bool => take(value).map(|(shape, data)| (shape, TensorData::Bool(data)))?,
        DataType::U8 => take(value).map(|(shape, data)| (shape, TensorData::U8(data)))?,
        DataType::I8 => take(value).map(|(shape, data)| (shape, TensorData::I8(data)))?,
        DataType::U16 => take(value).map(|(shape, data)| (shape, TensorData::U16(data)))?,
        DataType::I16 => take(value).map(|(shape, data)| (shape, TensorData::I16(data)))?,
        DataType::U32 => take(value).map(|(shape, data)| (shape, TensorData::U32(data)))?,
        DataType::I32 => take(value).map(|(shape, data)| (shape, TensorData::I32(data)))?,
        DataType::U64 => take(value).map(|(shape, data)| (shape, TensorData::U64(data)))?,
        // A label that is text is still a class number here.
        DataType::I64 | DataType::Bytes => take(value).map(|(shape, data)| (shape, TensorData::I64(data)))?,
        DataType::F32 => take(value).map(|(shape, data)| (shape, TensorData::F32(data)))?,
        DataType::F64 => take(value).map(|(shape, data)| (shape, TensorData::F64(data)))?,
        DataType::F16 | DataType::BF16 => {
            return Err(failed(format!(
                "`{}` has a type that it does not support",
                spec.name
            )));
        }
    };
    Tensor::new(shape, data).map_err(failed)
}

/// 16-bit floats pass through the graph, not through its inputs and outputs.
fn supported(spec: &TensorSpec, decoded: bool) -> Result<(), LoadError> {
    match spec.data_type {
        DataType::F16 | DataType::BF16 => {}
        DataType::Bytes if !decoded => {}
        DataType::Bool
        | DataType::U8
        | DataType::I8
        | DataType::U16
        | DataType::I16
        | DataType::U32
        | DataType::I32
        | DataType::U64
        | DataType::I64
        | DataType::F32
        | DataType::F64
        | DataType::Bytes => return Ok(()),
    }
    Err(LoadError::DataType {
        engine: NAME,
        name: spec.name.clone(),
        data_type: spec.data_type,
    })
}

fn refused(error: impl std::fmt::Display) -> LoadError {
    LoadError::Refused {
        engine: NAME,
        reason: one_line(&error),
    }
}

fn failed(error: impl std::fmt::Display) -> RunError {
    RunError::Engine {
        engine: NAME,
        reason: one_line(&error),
    }
}

fn one_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
}
