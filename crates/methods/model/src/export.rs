//! Writes a graph as ONNX: as one file for users, or as a file and separate weights for an engine.

use bytes::Bytes;
use prost::Message;

use crate::{
    error::ExportError,
    graph::{Attribute, Body, Graph, Node, Value},
    import::{DECODED_KEY, LABELS_KEY},
    proto::{
        AttributeProto, DimensionProto, EXTERNAL, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
        attribute_type,
    },
    tensor::{DataType, Dim, Labels},
    weight::{Weight, WeightData, data_type_to_onnx},
};

/// An ONNX file whose larger weights lie beside it.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) model: Vec<u8>,
    pub(crate) files: Vec<Apart>,
}

/// A weight that lies beside the ONNX file: its name, the name of its file, the bytes.
pub(crate) type Apart = (String, String, Bytes);

/// Weights from this size on are kept apart, so that an engine need not copy them out of the file.
const APART: usize = 1024;

impl Graph {
    /// Writes the graph as one ONNX file, labels included as metadata; [`Graph::from_onnx`] reads the same graph back.
    pub fn to_onnx(&self) -> Result<Vec<u8>, ExportError> {
        if self.weight_bytes() >= MAX_FILE {
            return Err(ExportError::TooLarge);
        }
        encode(&self.model(&mut Writer {
            apart: |_| false,
            files: Vec::new(),
        }))
    }

    /// Writes the graph with its larger weights of some types apart. The weights are shared, not copied.
    pub(crate) fn to_split(&self, apart: fn(DataType) -> bool) -> Result<Split, ExportError> {
        let mut writer = Writer {
            apart,
            files: Vec::new(),
        };
        let model = encode(&self.model(&mut writer))?;
        Ok(Split {
            model,
            files: writer.files,
        })
    }

    fn model(&self, writer: &mut Writer) -> ModelProto {
        let set = |domain: &str, version| OperatorSetIdProto {
            domain: domain.to_owned(),
            version,
        };
        let mut opset_import = vec![set("", i64::from(self.opset))];
        if self.contributed {
            opset_import.push(set("com.microsoft", 1));
        }
        let labels = self.labels.iter().map(|labels| (LABELS_KEY.to_owned(), labels));
        let decoded = self
            .decoded
            .iter()
            .map(|(output, labels)| (format!("{DECODED_KEY}{output}"), labels));
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "stockade".to_owned(),
            graph: Some(writer.graph(&self.body)),
            opset_import,
            metadata_props: labels
                .chain(decoded)
                .map(|(key, labels)| StringStringEntryProto {
                    key,
                    value: to_json(labels),
                })
                .collect(),
        }
    }
}

/// The IR version that belongs to opset 18; later ones only add.
const IR_VERSION: i64 = 8;

/// Protobuf messages hold less than 2 GiB.
const MAX_FILE: u64 = (1 << 31) - 1;

fn encode(model: &ModelProto) -> Result<Vec<u8>, ExportError> {
    match u64::try_from(model.encoded_len()) {
        Ok(length) if length < MAX_FILE => Ok(model.encode_to_vec()),
        Ok(_) | Err(_) => Err(ExportError::TooLarge),
    }
}

fn to_json(labels: &Labels) -> String {
    match labels {
        Labels::Ints(labels) => serde_json::Value::from(labels.as_slice()).to_string(),
        Labels::Strings(labels) => serde_json::Value::from(labels.as_slice()).to_string(),
    }
}

struct Writer {
    /// The element types that may lie beside the file.
    apart: fn(DataType) -> bool,
    files: Vec<Apart>,
}

impl Writer {
    fn graph(&mut self, body: &Body) -> GraphProto {
        GraphProto {
            name: "graph".to_owned(),
            initializer: body
                .weights
                .iter()
                .map(|(name, weight)| self.tensor(name.clone(), weight))
                .collect(),
            node: body.nodes.iter().map(|node| self.node(node)).collect(),
            input: body.inputs.iter().map(value).collect(),
            output: body.outputs.iter().map(value).collect(),
            sparse_initializer: Vec::new(),
        }
    }

    fn node(&mut self, node: &Node) -> NodeProto {
        NodeProto {
            input: node.inputs.clone(),
            output: node.outputs.clone(),
            name: node.name.clone(),
            op_type: node.op.clone(),
            attribute: node
                .attributes
                .iter()
                .map(|(name, attribute)| self.attribute(name.clone(), attribute))
                .collect(),
            domain: node.domain.name().to_owned(),
        }
    }

    fn attribute(&mut self, name: String, attribute: &Attribute) -> AttributeProto {
        let mut proto = AttributeProto {
            name,
            ..AttributeProto::default()
        };
        proto.r#type = match attribute {
            Attribute::Float(value) => {
                proto.f = *value;
                attribute_type::FLOAT
            }
            Attribute::Int(value) => {
                proto.i = *value;
                attribute_type::INT
            }
            Attribute::Text(value) => {
                proto.s = value.clone();
                attribute_type::STRING
            }
            Attribute::Tensor(weight) => {
                // Engines look for separate files only where initialisers name them.
                proto.t = Some(
                    Self {
                        apart: |_| false,
                        files: Vec::new(),
                    }
                    .tensor(String::new(), weight),
                );
                attribute_type::TENSOR
            }
            Attribute::Body(body) => {
                proto.g = Some(self.graph(body));
                attribute_type::GRAPH
            }
            Attribute::Floats(values) => {
                proto.floats = values.clone();
                attribute_type::FLOATS
            }
            Attribute::Ints(values) => {
                proto.ints = values.clone();
                attribute_type::INTS
            }
            Attribute::Texts(values) => {
                proto.strings = values.clone();
                attribute_type::STRINGS
            }
        };
        proto
    }

    fn tensor(&mut self, name: String, weight: &Weight) -> TensorProto {
        let mut proto = TensorProto {
            name,
            dims: weight
                .shape
                .iter()
                .map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX))
                .collect(),
            data_type: data_type_to_onnx(weight.data_type),
            ..TensorProto::default()
        };
        match &weight.data {
            WeightData::Text(text) => proto.string_data = text.clone(),
            WeightData::Raw(bytes) if bytes.len() >= APART && (self.apart)(weight.data_type) => {
                // rten takes no other ending.
                let file = format!("w{}.data", self.files.len());
                let entry = |key: &str, value: String| StringStringEntryProto {
                    key: key.to_owned(),
                    value,
                };
                proto.external_data = vec![
                    entry("location", file.clone()),
                    entry("offset", "0".to_owned()),
                    entry("length", bytes.len().to_string()),
                ];
                proto.data_location = EXTERNAL;
                self.files.push((proto.name.clone(), file, bytes.clone()));
            }
            WeightData::Raw(bytes) => proto.raw_data = bytes.clone(),
        }
        proto
    }
}

fn value(value: &Value) -> ValueInfoProto {
    let dimension = |dim: &Dim| match dim {
        Dim::Fixed(size) => DimensionProto {
            dim_value: i64::try_from(*size).ok(),
            dim_param: None,
        },
        Dim::Symbol(name) => DimensionProto {
            dim_value: None,
            dim_param: Some(name.clone()).filter(|name| !name.is_empty()),
        },
    };
    let tensor = |data_type: DataType| TensorTypeProto {
        elem_type: data_type_to_onnx(data_type),
        shape: value.shape.as_ref().map(|shape| TensorShapeProto {
            dim: shape.iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: value.name.clone(),
        r#type: value.data_type.map(|data_type| TypeProto {
            tensor_type: Some(tensor(data_type)),
            sequence_type: None,
        }),
    }
}
