//! Counts what an ONNX file holds before memory is taken for it.
//!
//! A decoded message is up to a hundred times larger than its bytes (an empty node is 2 bytes), so a hostile file of 100 MB could ask for 10 GB. This walk over the protobuf wire format
//! takes no memory, knows which fields nest, and refuses a file with too many parts or too deep graphs.

use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::{error::ImportError, limits::Limits};

/// Refuses a file whose parts, counted, exceed `limits`.
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<(), ImportError> {
    let mut counts = Counts {
        limits,
        nodes: 0,
        values: 0,
        parts: 0,
    };
    counts.walk(bytes, Message::Model, 0)
}

/// Bounds attributes, dimensions and strings together, per node or value allowed.
const PARTS_EACH: usize = 16;

struct Counts<'a> {
    limits: &'a Limits,
    nodes: usize,
    values: usize,
    parts: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    Shape,
    /// Fixed in size, or skipped on reading.
    Leaf,
}

impl Message {
    /// The message in this field, if one is read.
    fn field(self, tag: u32) -> Option<Self> {
        match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph | Self::Attribute, 5) => Some(Self::Tensor),
            (Self::Graph, 11 | 12) => Some(Self::Value),
            (Self::Value, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::Shape),
            (Self::Shape, 2) => Some(Self::Shape),
            (Self::Model, 8 | 14)
            | (Self::Graph, 15)
            | (Self::Tensor, 6 | 13)
            | (Self::Node, 1 | 2)
            | (Self::Attribute, 9)
            | (Self::Shape, 1) => Some(Self::Leaf),
            (
                Self::Model
                | Self::Graph
                | Self::Node
                | Self::Attribute
                | Self::Tensor
                | Self::Value
                | Self::Type
                | Self::Shape
                | Self::Leaf,
                _,
            ) => None,
        }
    }
}

impl Counts<'_> {
    fn walk(&mut self, mut bytes: &[u8], message: Message, depth: usize) -> Result<(), ImportError> {
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).map_err(malformed)?;
            let length = match wire {
                WireType::Varint => {
                    decode_varint(&mut bytes).map_err(malformed)?;
                    continue;
                }
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => {
                    usize::try_from(decode_varint(&mut bytes).map_err(malformed)?).map_err(|_| cut())?
                }
                WireType::StartGroup | WireType::EndGroup => {
                    return Err(ImportError::Malformed {
                        reason: "it has a group".to_owned(),
                    });
                }
            };
            let inner = bytes.get(..length).ok_or_else(cut)?;
            bytes.advance(length);
            if wire == WireType::LengthDelimited
                && let Some(field) = message.field(tag)
            {
                let depth = depth + usize::from(field == Message::Graph);
                self.count(field, depth)?;
                if field != Message::Leaf {
                    self.walk(inner, field, depth)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, field: Message, depth: usize) -> Result<(), ImportError> {
        let limits = self.limits;
        match field {
            Message::Node => self.nodes += 1,
            Message::Tensor | Message::Value => self.values += 1,
            Message::Model
            | Message::Graph
            | Message::Attribute
            | Message::Type
            | Message::Shape
            | Message::Leaf => self.parts += 1,
        }
        at_most(self.nodes, limits.max_nodes, "nodes")?;
        at_most(self.values, limits.max_values, "weights, inputs and outputs")?;
        let parts = limits
            .max_nodes
            .saturating_add(limits.max_values)
            .saturating_mul(PARTS_EACH);
        at_most(self.parts, parts, "attributes, dimensions and strings")?;
        at_most(depth, limits.max_depth.saturating_add(1), "levels of subgraphs")
    }
}

/// Refuses a count above its bound.
pub(crate) fn at_most(count: usize, limit: usize, what: &'static str) -> Result<(), ImportError> {
    if count <= limit {
        Ok(())
    } else {
        Err(ImportError::TooLarge {
            what,
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
        })
    }
}

fn malformed(error: prost::DecodeError) -> ImportError {
    ImportError::Malformed {
        reason: error.to_string(),
    }
}

fn cut() -> ImportError {
    ImportError::Malformed {
        reason: "it ends in the middle of a field".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};

    fn nested(levels: usize) -> ModelProto {
        let mut graph = GraphProto::default();
        for _ in 1..levels {
            let attribute = AttributeProto {
                g: Some(graph),
                ..AttributeProto::default()
            };
            let node = NodeProto {
                attribute: vec![attribute],
                ..NodeProto::default()
            };
            graph = GraphProto {
                node: vec![node],
                ..GraphProto::default()
            };
        }
        ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    #[test]
    fn deep_graphs_are_refused_before_they_are_read() {
        let limits = Limits {
            max_depth: 3,
            ..Limits::default()
        };
        assert!(check(&nested(4).encode_to_vec(), &limits).is_ok());
        let error = check(&nested(5).encode_to_vec(), &limits).unwrap_err();
        assert_eq!(error.to_string(), "the model has more than 4 levels of subgraphs");
        assert!(check(&nested(300).encode_to_vec(), &limits).is_err());
    }

    #[test]
    fn many_empty_nodes_are_refused() {
        let graph = GraphProto {
            node: vec![NodeProto::default(); 11],
            ..GraphProto::default()
        };
        let bytes = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        }
        .encode_to_vec();
        let limits = Limits {
            max_nodes: 10,
            ..Limits::default()
        };
        assert_eq!(
            check(&bytes, &limits).unwrap_err().to_string(),
            "the model has more than 10 nodes"
        );
        assert!(
            check(
                &bytes,
                &Limits {
                    max_nodes: 11,
                    ..limits
                }
            )
            .is_ok()
        );
    }

    #[test]
    fn cut_files_are_refused() {
        let bytes = nested(3).encode_to_vec();
        for end in 1..bytes.len() {
            assert!(check(&bytes[..end], &Limits::default()).is_err(), "{end}");
        }
    }
}
