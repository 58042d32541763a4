//! The graph: one normal form for every model.
//!
//! Normal form: the operators of ONNX opset 18 to 22 in their newest shape (axes, bounds and sizes are inputs), every attribute with a default written out, constants as weights and not as
//! nodes, classifiers and trees of ai.onnx.ml lowered to tensors, Dropout gone. Nodes come in an order in which each value is made before it is used, and each value is made once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    check,
    error::ImportError,
    external::ExternalData,
    import,
    limits::Limits,
    lower, normal,
    tensor::Dim,
    tensor::{DataType, Labels, TensorSpec},
    weight::Weight,
};

/// A model as a graph of ONNX operators in normal form.
///
/// Cloning is cheap in weights: they are shared.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) body: Body,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    /// For outputs that hold class numbers in the graph: what callers get instead.
    pub(crate) decoded: BTreeMap<String, Labels>,
    pub(crate) labels: Option<Labels>,
    pub(crate) opset: u32,
    /// Whether operators of ONNX Runtime's own set `com.microsoft` are used.
    pub(crate) contributed: bool,
}

impl Graph {
    /// Reads an ONNX file of opset 9 to 22 and ai.onnx.ml 1 to 5. `external` gives the weights that lie outside it.
    ///
    /// # Cost
    /// The file is copied once; weights in it are shared with that copy. Weights outside it are read once, one by one, so at most `max_weight_bytes` and the file are held.
    pub fn from_onnx(
        bytes: &[u8],
        external: &dyn ExternalData,
        limits: &Limits,
    ) -> Result<Self, ImportError> {
        if bytes.len() > limits.max_model_bytes {
            let limit = u64::try_from(limits.max_model_bytes).unwrap_or(u64::MAX);
            return Err(ImportError::TooLarge { what: "bytes", limit });
        }
        let mut imported = import::read(Bytes::copy_from_slice(bytes), external, limits)?;
        check::check(&imported.body)?;
        normal::upgrade(&mut imported)?;
        let mut graph = lower::lower(imported, limits)?;
        normal::write_defaults(&mut graph.body)?;
        check::check(&graph.body)?;
        Ok(graph)
    }

    /// What the model takes.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// What the model gives.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// The names of a classifier's classes, in the order of its scores.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The version of the ONNX operator set.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// The operators used, such as `Conv`, those of subgraphs included.
    pub fn operators(&self) -> BTreeSet<String> {
        let mut operators = BTreeSet::new();
        self.body.each_node(&mut |node| {
            operators.insert(node.operator());
        });
        operators
    }

    /// The bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        let mut sum = 0;
        self.body.each_weight(&mut |_, weight| {
            sum += weight
                .bytes()
                .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        });
        sum
    }
}

/// Nodes and weights of the graph or of a subgraph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Body {
    pub(crate) nodes: Vec<Node>,
    pub(crate) weights: BTreeMap<String, Weight>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
}

impl Body {
    pub(crate) fn each_node(&self, each: &mut impl FnMut(&Node)) {
        for node in &self.nodes {
            each(node);
            for body in node.bodies() {
                body.each_node(each);
            }
        }
    }

    pub(crate) fn each_weight(&self, each: &mut impl FnMut(&str, &Weight)) {
        for (name, weight) in &self.weights {
            each(name, weight);
        }
        for body in self.nodes.iter().flat_map(Node::bodies) {
            body.each_weight(each);
        }
    }
}

/// An input or output of a body, as far as the file describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) data_type: Option<DataType>,
    pub(crate) shape: Option<Vec<Dim>>,
}

/// One operator at work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) op: String,
    pub(crate) domain: Domain,
    pub(crate) name: String,
    /// An empty name is an optional input left out.
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

/// The operator sets that are read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Domain {
    #[default]
    Onnx,
    Ml,
    Microsoft,
}

impl Domain {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Onnx => "",
            Self::Ml => "ai.onnx.ml",
            Self::Microsoft => "com.microsoft",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(Bytes),
    Tensor(Weight),
    Body(Box<Body>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<Bytes>),
}

impl Attribute {
    pub(crate) fn text(text: &'static str) -> Self {
        Self::Text(Bytes::from_static(text.as_bytes()))
    }
}

impl Node {
    /// The operator with its set, as messages name it.
    pub(crate) fn operator(&self) -> String {
        match self.domain {
            Domain::Onnx => self.op.clone(),
            Domain::Ml | Domain::Microsoft => format!("{}.{}", self.domain.name(), self.op),
        }
    }

    /// What messages call the node.
    pub(crate) fn title(&self) -> String {
        if self.name.is_empty() {
            self.outputs.first().cloned().unwrap_or_default()
        } else {
            self.name.clone()
        }
    }

    pub(crate) fn is(&self, op: &str) -> bool {
        self.domain == Domain::Onnx && self.op == op
    }

    pub(crate) fn unsupported(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Unsupported {
            node: self.title(),
            operator: self.operator(),
            reason: reason.into(),
        }
    }

    pub(crate) fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.attributes.values().filter_map(|attribute| match attribute {
            Attribute::Body(body) => Some(&**body),
            Attribute::Float(_)
            | Attribute::Int(_)
            | Attribute::Text(_)
            | Attribute::Tensor(_)
            | Attribute::Floats(_)
            | Attribute::Ints(_)
            | Attribute::Texts(_) => None,
        })
    }

    pub(crate) fn input(&self, index: usize) -> Option<&str> {
        self.inputs
            .get(index)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    pub(crate) fn output(&self, index: usize) -> Option<&str> {
        self.outputs
            .get(index)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, ImportError> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(self.wrong_type(name, "whole number")),
        }
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, ImportError> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(_) => Err(self.wrong_type(name, "number")),
        }
    }

    pub(crate) fn text(&self, name: &str, default: &'static str) -> Result<String, ImportError> {
        match self.attributes.get(name) {
            None => Ok(default.to_owned()),
            Some(Attribute::Text(value)) => Ok(String::from_utf8_lossy(value).into_owned()),
            Some(_) => Err(self.wrong_type(name, "text")),
        }
    }

    /// An absent list is an empty one.
    pub(crate) fn ints(&self, name: &str) -> Result<&[i64], ImportError> {
        match self.attributes.get(name) {
            None => Ok(&[]),
            Some(Attribute::Ints(values)) => Ok(values),
            // Python writers give an empty list the type of whole numbers or of numbers, as they like.
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(&[]),
            Some(_) => Err(self.wrong_type(name, "list of whole numbers")),
        }
    }

    /// An absent list is an empty one.
    pub(crate) fn floats(&self, name: &str) -> Result<&[f32], ImportError> {
        match self.attributes.get(name) {
            None => Ok(&[]),
            Some(Attribute::Floats(values)) => Ok(values),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(&[]),
            Some(_) => Err(self.wrong_type(name, "list of numbers")),
        }
    }

    /// An absent list is an empty one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ImportError> {
        match self.attributes.get(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Texts(values)) => Ok(values
                .iter()
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect()),
            Some(_) => Err(self.wrong_type(name, "list of texts")),
        }
    }

    fn wrong_type(&self, name: &str, expected: &str) -> ImportError {
        ImportError::Invalid {
            name: self.title(),
            reason: format!("its attribute `{name}` is not a {expected}"),
        }
    }
}
