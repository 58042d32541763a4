//! Reads the protobuf messages into nodes, weights and values, changing nothing else.

use bytes::Bytes;
use prost::Message;

use crate::{
    error::ImportError,
    external::ExternalData,
    graph::{Attribute, Body, Domain, Node, Value},
    limits::Limits,
    proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, attribute_type},
    tensor::{Dim, Labels},
    weight::{Budget, Weight, data_type_from_onnx},
    wire,
};

/// A model as its file states it.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    pub(crate) body: Body,
    /// Version of the operator set ai.onnx.
    pub(crate) opset: u32,
    pub(crate) contributed: bool,
    /// What an earlier export of a normalised graph noted: the names of classes, and which outputs hold class numbers.
    pub(crate) labels: Option<Labels>,
    pub(crate) decoded: Vec<(String, Labels)>,
}

/// Keys of the metadata that a normalised graph carries into its ONNX file.
pub(crate) const LABELS_KEY: &str = "stockade.labels";
pub(crate) const DECODED_KEY: &str = "stockade.decoded.";

pub(crate) fn read(
    bytes: Bytes,
    external: &dyn ExternalData,
    limits: &Limits,
) -> Result<Imported, ImportError> {
    wire::check(&bytes, limits)?;
    let malformed = |reason: &str| ImportError::Malformed {
        reason: reason.to_owned(),
    };
    let model = ModelProto::decode(bytes).map_err(|error| malformed(&error.to_string()))?;
    let graph = model.graph.ok_or_else(|| malformed("it has no graph"))?;
    let mut opset = None;
    let mut contributed = false;
    for import in &model.opset_import {
        let refuse = |supported| ImportError::Opset {
            domain: import.domain.clone(),
            version: import.version,
            supported,
        };
        match domain(&import.domain) {
            Some(Domain::Onnx) => {
                let version = u32::try_from(import.version)
                    .ok()
                    .filter(|version| (9..=22).contains(version));
                opset = Some(version.ok_or_else(|| refuse("9 to 22"))?);
            }
            Some(Domain::Ml) if (1..=5).contains(&import.version) => {}
            Some(Domain::Ml) => return Err(refuse("1 to 5")),
            Some(Domain::Microsoft) => contributed = true,
            // Exporters list sets that they do not use; a node of an unknown set is refused below.
            None => {}
        }
    }
    let opset = opset.ok_or_else(|| malformed("it names no version of the operator set ai.onnx"))?;
    let mut reader = Reader {
        external,
        budget: Budget::new(limits.max_weight_bytes),
    };
    let body = reader.body(graph)?;
    let metadata = |entry: &crate::proto::StringStringEntryProto| {
        serde_json::from_str::<Labels>(&entry.value)
            .map_err(|_| malformed(&format!("its metadata `{}` is not a list of labels", entry.key)))
    };
    let mut labels = None;
    let mut decoded = Vec::new();
    for entry in &model.metadata_props {
        if entry.key == LABELS_KEY {
            labels = Some(metadata(entry)?);
        } else if let Some(output) = entry.key.strip_prefix(DECODED_KEY) {
            decoded.push((output.to_owned(), metadata(entry)?));
        }
    }
    Ok(Imported {
        body,
        opset,
        contributed,
        labels,
        decoded,
    })
}

fn domain(name: &str) -> Option<Domain> {
    match name {
        "" | "ai.onnx" => Some(Domain::Onnx),
        "ai.onnx.ml" => Some(Domain::Ml),
        "com.microsoft" => Some(Domain::Microsoft),
        _ => None,
    }
}

struct Reader<'a> {
    external: &'a dyn ExternalData,
    budget: Budget,
}

impl Reader<'_> {
    fn body(&mut self, graph: GraphProto) -> Result<Body, ImportError> {
        if !graph.sparse_initializer.is_empty() {
            return Err(ImportError::Invalid {
                name: graph.name,
                reason: "sparse weights are not supported".to_owned(),
            });
        }
        let mut body = Body::default();
        for tensor in graph.initializer {
            let name = tensor.name.clone();
            let weight = Weight::from_proto(tensor, self.external, &mut self.budget)?;
            if body.weights.insert(name.clone(), weight).is_some() {
                return Err(ImportError::Invalid {
                    name,
                    reason: "it is defined twice".to_owned(),
                });
            }
        }
        // Before IR version 4 weights had to be listed as inputs too.
        body.inputs = graph
            .input
            .into_iter()
            .filter(|input| !body.weights.contains_key(&input.name))
            .map(value)
            .collect::<Result<_, _>>()?;
        body.outputs = graph.output.into_iter().map(value).collect::<Result<_, _>>()?;
        for node in graph.node {
            let node = self.node(node)?;
            if node.is("Constant") {
                let (name, weight) = constant(node)?;
                if body.weights.insert(name.clone(), weight).is_some() {
                    return Err(ImportError::Invalid {
                        name,
                        reason: "it is defined twice".to_owned(),
                    });
                }
            } else {
                body.nodes.push(node);
            }
        }
        Ok(body)
    }

    fn node(&mut self, proto: NodeProto) -> Result<Node, ImportError> {
        let Some(domain) = domain(&proto.domain) else {
            return Err(ImportError::Unsupported {
                node: if proto.name.is_empty() {
                    proto.output.first().cloned().unwrap_or_default()
                } else {
                    proto.name
                },
                operator: format!("{}.{}", proto.domain, proto.op_type),
                reason: "its operator set is unknown".to_owned(),
            });
        };
        let mut node = Node {
            op: proto.op_type,
            domain,
            name: proto.name,
            inputs: proto.input,
            outputs: proto.output,
            ..Node::default()
        };
        for attribute in proto.attribute {
            let name = attribute.name.clone();
            let value = self
                .attribute(attribute)?
                .ok_or_else(|| node.unsupported(format!("the type of its attribute `{name}` is unknown")))?;
            node.attributes.insert(name, value);
        }
        Ok(node)
    }

    fn attribute(&mut self, proto: AttributeProto) -> Result<Option<Attribute>, ImportError> {
        Ok(match proto.r#type {
            attribute_type::FLOAT => Some(Attribute::Float(proto.f)),
            attribute_type::INT => Some(Attribute::Int(proto.i)),
            attribute_type::STRING => Some(Attribute::Text(proto.s)),
            attribute_type::TENSOR => match proto.t {
                Some(tensor) => Some(Attribute::Tensor(Weight::from_proto(
                    tensor,
                    self.external,
                    &mut self.budget,
                )?)),
                None => None,
            },
            attribute_type::GRAPH => match proto.g {
                Some(graph) => Some(Attribute::Body(Box::new(self.body(graph)?))),
                None => None,
            },
            attribute_type::FLOATS => Some(Attribute::Floats(proto.floats)),
            attribute_type::INTS => Some(Attribute::Ints(proto.ints)),
            attribute_type::STRINGS => Some(Attribute::Texts(proto.strings)),
            _ => None,
        })
    }
}

/// A Constant node as a weight.
fn constant(mut node: Node) -> Result<(String, Weight), ImportError> {
    let attribute = node.attributes.pop_first();
    let weight = match attribute {
        Some((_, Attribute::Tensor(weight))) => weight,
        Some((_, Attribute::Float(value))) => Weight::f32(&[], &[value]),
        Some((_, Attribute::Int(value))) => Weight::i64(&[], &[value]),
        Some((_, Attribute::Floats(values))) => Weight::f32(&[values.len()], &values),
        Some((_, Attribute::Ints(values))) => Weight::i64(&[values.len()], &values),
        Some((_, Attribute::Text(_) | Attribute::Texts(_) | Attribute::Body(_))) | None => {
            return Err(node.unsupported("its value is not a tensor of numbers"));
        }
    };
    match <[String; 1]>::try_from(std::mem::take(&mut node.outputs)) {
        Ok([name]) => Ok((name, weight)),
        Err(_) => Err(node.unsupported("it does not have exactly one output")),
    }
}

fn value(proto: ValueInfoProto) -> Result<Value, ImportError> {
    let tensor = proto.r#type.and_then(|r#type| r#type.tensor_type);
    let Some(tensor) = tensor else {
        return Ok(Value {
            name: proto.name,
            data_type: None,
            shape: None,
        });
    };
    let shape = match tensor.shape {
        None => None,
        Some(shape) => Some(
            shape
                .dim
                .into_iter()
                .map(|dim| match (dim.dim_value, dim.dim_param) {
                    (Some(size), _) if size >= 0 => usize::try_from(size).map(Dim::Fixed),
                    (Some(_) | None, Some(name)) => Ok(Dim::Symbol(name)),
                    (Some(_) | None, None) => Ok(Dim::Symbol(String::new())),
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| ImportError::Invalid {
                    name: proto.name.clone(),
                    reason: "its shape is too large".to_owned(),
                })?,
        ),
    };
    Ok(Value {
        name: proto.name,
        data_type: data_type_from_onnx(tensor.elem_type),
        shape,
    })
}
