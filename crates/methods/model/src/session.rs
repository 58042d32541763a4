//! A graph in an engine, ready to run.
//!
//! The session checks inputs against the graph's signature before the engine sees them, and puts labels in for class numbers after it. A panic inside an engine is an error here, not the end
//! of the process.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::OnceLock,
};

use crate::{
    engine::{library, onnxruntime::OnnxRuntime, rten::Rten},
    error::{LoadError, RunError},
    graph::Graph,
    tensor::{Dim, Labels, Signature, Tensor, TensorData, TensorSpec},
    threads::Threads,
};

/// Which engine runs a graph.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum EngineChoice {
    /// rten: pure Rust, always there.
    #[default]
    Rten,
    /// ONNX Runtime, loaded at run time. One process loads one library.
    OnnxRuntime {
        /// The absolute path of the library, such as `/opt/onnxruntime/lib/libonnxruntime.so`.
        library: PathBuf,
    },
}

impl EngineChoice {
    /// Refuses a library that must not be loaded, without loading it; rten is always there.
    ///
    /// # Guarantee
    /// The path is absolute and, links followed, ends at a regular file that is owned, like every folder above it, by root or this process's user, and that nobody else may write. It is an ELF
    /// library for this machine that exports `OrtGetApiBase` under a version of at least 1.17. Nothing in it is run.
    pub fn check(&self) -> Result<(), LoadError> {
        match self {
            Self::Rten => Ok(()),
            Self::OnnxRuntime { library } => library::check(library).map(drop),
        }
    }

    /// Loads the engine's library, for a process that will not be able to later; rten has none.
    pub fn start(&self) -> Result<(), LoadError> {
        match self {
            Self::Rten => Ok(()),
            Self::OnnxRuntime { library } => OnnxRuntime::start(library),
        }
    }
}

/// A graph in an engine. It may be used from several threads at once.
#[derive(Debug)]
pub struct Session {
    signature: Signature,
    decoded: BTreeMap<String, Labels>,
    engine: Engine,
    thread_count: usize,
    threads: OnceLock<Threads>,
}

#[derive(Debug)]
enum Engine {
    Rten(Box<Rten>),
    OnnxRuntime(Box<OnnxRuntime>),
}

impl Session {
    /// Hands a graph to an engine, which runs it on at most `threads` threads.
    ///
    /// # Cost
    /// While it loads, memory holds the graph's weights twice: those of `graph` and the engine's. [`Session::load_owned`] holds them once.
    pub fn load(graph: &Graph, engine: &EngineChoice, threads: usize) -> Result<Self, LoadError> {
        Self::load_owned(graph.clone(), engine, threads)
    }

    /// Like [`Session::load`], with the graph given away.
    ///
    /// # Cost
    /// Where `graph` was not cloned and its weights come from outside the ONNX file, peak memory is: in rten the weights and the largest of them; in ONNX Runtime, which keeps its own
    /// copy, twice the weights and the largest of them. Weights that rten converts (64-bit ones) count in both forms.
    pub fn load_owned(graph: Graph, engine: &EngineChoice, threads: usize) -> Result<Self, LoadError> {
        let threads = threads.max(1);
        let signature = Signature {
            inputs: graph.inputs.clone(),
            outputs: graph.outputs.clone(),
        };
        let decoded = graph.decoded.clone();
        let engine = match engine {
            EngineChoice::Rten => Engine::Rten(Box::new(guarded("rten", move || Rten::load(graph))?)),
            EngineChoice::OnnxRuntime { library } => {
                let runtime = guarded("ONNX Runtime", move || OnnxRuntime::load(graph, library, threads))?;
                Engine::OnnxRuntime(Box::new(runtime))
            }
        };
        Ok(Self {
            signature,
            decoded,
            engine,
            thread_count: threads,
            threads: OnceLock::new(),
        })
    }

    /// What the model takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs the model once, on threads of the session's own. Every input must be given; every output is returned, in
    /// the model's order.
    pub fn run(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, RunError> {
        self.run_on(
            inputs,
            self.threads.get_or_init(|| Threads::new(self.thread_count)),
        )
    }

    /// Like [`Session::run`], on threads that the caller lends.
    pub fn run_on(
        &self,
        inputs: Vec<(String, Tensor)>,
        threads: &Threads,
    ) -> Result<Vec<(String, Tensor)>, RunError> {
        let inputs = self.in_order(inputs)?;
        let name = self.engine_name();
        let run = || match &self.engine {
            Engine::Rten(engine) => engine.run(&self.signature, inputs, threads),
            Engine::OnnxRuntime(engine) => engine.run(&self.signature, inputs),
        };
        let outputs = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            Err(RunError::Engine {
                engine: name,
                reason: "it panicked".to_owned(),
            })
        })?;
        outputs
            .into_iter()
            .zip(&self.signature.outputs)
            .map(|(tensor, spec)| Ok((spec.name.clone(), self.decode(tensor, spec)?)))
            .collect()
    }

    /// `rten` or `ONNX Runtime`.
    pub fn engine_name(&self) -> &'static str {
        match &self.engine {
            Engine::Rten(_) => "rten",
            Engine::OnnxRuntime(_) => "ONNX Runtime",
        }
    }

    /// The engine's version.
    pub fn engine_version(&self) -> &str {
        match &self.engine {
            Engine::Rten(_) => Rten::VERSION,
            Engine::OnnxRuntime(engine) => engine.version(),
        }
    }

    /// The inputs in the model's order, each one checked.
    fn in_order(&self, given: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, RunError> {
        let mut by_name = BTreeMap::new();
        for (name, tensor) in given {
            if !self.signature.inputs.iter().any(|input| input.name == name) {
                return Err(RunError::UnknownInput { name });
            }
            if by_name.contains_key(&name) {
                return Err(RunError::DuplicateInput { name });
            }
            by_name.insert(name, tensor);
        }
        let mut symbols = BTreeMap::new();
        self.signature
            .inputs
            .iter()
            .map(|spec| {
                let tensor = by_name.remove(&spec.name).ok_or_else(|| RunError::MissingInput {
                    name: spec.name.clone(),
                })?;
                check_input(spec, &tensor, &mut symbols)?;
                Ok(tensor)
            })
            .collect()
    }

    /// Labels for class numbers.
    fn decode(&self, tensor: Tensor, spec: &TensorSpec) -> Result<Tensor, RunError> {
        let Some(labels) = self.decoded.get(&spec.name) else {
            return Ok(tensor);
        };
        let failed = |reason: String| RunError::Engine {
            engine: self.engine_name(),
            reason,
        };
        let shape = tensor.shape().to_vec();
        let TensorData::I64(classes) = tensor.into_data() else {
            return Err(failed(format!(
                "the classes of `{}` are not whole numbers",
                spec.name
            )));
        };
        let unknown = || failed(format!("`{}` holds a class that has no label", spec.name));
        let classes = || {
            classes
                .iter()
                .map(|class| usize::try_from(*class).unwrap_or(usize::MAX))
        };
        let data = match labels {
            Labels::Ints(labels) => TensorData::I64(
                classes()
                    .map(|class| labels.get(class).copied().ok_or_else(unknown))
                    .collect::<Result<_, _>>()?,
            ),
            Labels::Strings(labels) => TensorData::Bytes(
                classes()
                    .map(|class| {
                        labels
                            .get(class)
                            .map(|label| label.clone().into_bytes())
                            .ok_or_else(unknown)
                    })
                    .collect::<Result<_, _>>()?,
            ),
        };
        Tensor::new(shape, data).map_err(|error| failed(error.to_string()))
    }
}

/// Turns a panic inside an engine into a refusal.
fn guarded<T>(engine: &'static str, load: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
        Err(LoadError::Refused {
            engine,
            reason: "it panicked while loading".to_owned(),
        })
    })
}

fn check_input<'a>(
    spec: &'a TensorSpec,
    tensor: &Tensor,
    symbols: &mut BTreeMap<&'a str, usize>,
) -> Result<(), RunError> {
    if tensor.data_type() != spec.data_type {
        return Err(RunError::InputType {
            name: spec.name.clone(),
            expected: spec.data_type,
            given: tensor.data_type(),
        });
    }
    if tensor.is_empty() {
        // Native engines divide by sizes; an empty tensor can end the process.
        return Err(RunError::InputShape {
            name: spec.name.clone(),
            expected: format!("{:?} with at least one element", spec.oip_shape()),
            given: format!("{:?}", tensor.shape()),
        });
    }
    let fits = tensor.shape().len() == spec.shape.len()
        && tensor
            .shape()
            .iter()
            .zip(&spec.shape)
            .all(|(given, expected)| match expected {
                Dim::Fixed(size) => given == size,
                Dim::Symbol(name) if name.is_empty() => true,
                Dim::Symbol(name) => symbols.entry(name).or_insert(*given) == given,
            });
    if fits {
        Ok(())
    } else {
        Err(RunError::InputShape {
            name: spec.name.clone(),
            expected: format!("{:?}", spec.oip_shape()),
            given: format!("{:?}", tensor.shape()),
        })
    }
}
