//! The answers of Triton's extensions that only tell: configuration, statistics and the repository's index.
//!
//! # Citation
//! triton-inference-server/server, `docs/protocol/`: `extension_model_configuration.md`, `extension_statistics.md`,
//! `extension_model_repository.md`.

use serde::Serialize;

use crate::WireType;

use super::{metadata::TensorMetadata, push_json};

/// A model's configuration, as far as it says something of a model behind a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// The model's name.
    pub name: String,
    /// The model's format.
    pub platform: String,
    /// What the model takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// How often and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatisticDuration {
    /// How often.
    pub count: u64,
    /// Nanoseconds, all together.
    pub ns: u64,
}

/// What one version of a model did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelStatistics {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was last asked, in milliseconds since 1970; 0 is never.
    pub last_inference_ms: u64,
    /// How many rows it answered.
    pub inference_count: u64,
    /// How many runs it answered.
    pub execution_count: u64,
    /// Requests answered.
    pub success: StatisticDuration,
    /// Requests failed.
    pub fail: StatisticDuration,
}

/// A model of the repository that can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelIndex {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is doing, such as `READY`.
    pub state: String,
    /// Why.
    pub reason: String,
}

impl ModelConfig {
    /// The body that answers `GET .../config`. Every extent is in `dims`: the model batches nothing by itself.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Tensor<'a> {
            name: &'a str,
            data_type: &'static str,
            dims: &'a [i64],
        }
        impl<'a> From<&'a TensorMetadata> for Tensor<'a> {
            fn from(tensor: &'a TensorMetadata) -> Self {
                Self {
                    name: &tensor.name,
                    data_type: config_type(tensor.datatype).1,
                    dims: &tensor.shape,
                }
            }
        }
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            platform: &'a str,
            max_batch_size: u32,
            input: Vec<Tensor<'a>>,
            output: Vec<Tensor<'a>>,
        }
        let mut body = Vec::new();
        push_json(
            &mut body,
            &Body {
                name: &self.name,
                platform: &self.platform,
                max_batch_size: 0,
                input: self.inputs.iter().map(Tensor::from).collect(),
                output: self.outputs.iter().map(Tensor::from).collect(),
            },
        );
        body
    }
}

impl ModelStatistics {
    /// The body that answers `GET .../stats`.
    #[must_use]
    pub fn list_to_json(list: &[Self]) -> Vec<u8> {
        #[derive(Serialize)]
        struct Times {
            success: StatisticDuration,
            fail: StatisticDuration,
        }
        #[derive(Serialize)]
        struct Entry<'a> {
            name: &'a str,
            version: &'a str,
            last_inference: u64,
            inference_count: u64,
            execution_count: u64,
            inference_stats: Times,
            batch_stats: [(); 0],
        }
        #[derive(Serialize)]
        struct Body<'a> {
            model_stats: Vec<Entry<'a>>,
        }
        let entries = list.iter().map(|of| Entry {
            name: &of.name,
            version: &of.version,
            last_inference: of.last_inference_ms,
            inference_count: of.inference_count,
            execution_count: of.execution_count,
            inference_stats: Times {
                success: of.success,
                fail: of.fail,
            },
            batch_stats: [],
        });
        let model_stats = entries.collect();
        let mut body = Vec::new();
        push_json(&mut body, &Body { model_stats });
        body
    }
}

impl ModelIndex {
    /// The body that answers `POST /v2/repository/index`.
    #[must_use]
    pub fn list_to_json(list: &[Self]) -> Vec<u8> {
        let mut body = Vec::new();
        push_json(&mut body, list);
        body
    }
}

/// A type in `model_config.proto`: its number and its name.
pub(crate) const fn config_type(datatype: WireType) -> (i32, &'static str) {
    match datatype {
        WireType::Bool => (1, "TYPE_BOOL"),
        WireType::U8 => (2, "TYPE_UINT8"),
        WireType::U16 => (3, "TYPE_UINT16"),
        WireType::U32 => (4, "TYPE_UINT32"),
        WireType::U64 => (5, "TYPE_UINT64"),
        WireType::I8 => (6, "TYPE_INT8"),
        WireType::I16 => (7, "TYPE_INT16"),
        WireType::I32 => (8, "TYPE_INT32"),
        WireType::I64 => (9, "TYPE_INT64"),
        WireType::F16 => (10, "TYPE_FP16"),
        WireType::F32 => (11, "TYPE_FP32"),
        WireType::F64 => (12, "TYPE_FP64"),
        WireType::Bytes => (13, "TYPE_STRING"),
        WireType::BF16 => (14, "TYPE_BF16"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        assert_eq!(std::str::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn shapes_of_the_extensions() {
        let config = ModelConfig {
            name: "m".into(),
            platform: "onnx".into(),
            inputs: vec![TensorMetadata {
                name: "x".into(),
                datatype: WireType::BF16,
                shape: vec![-1, 4],
                labels: vec![],
            }],
            outputs: vec![],
        };
        check(
            &config.to_json(),
            concat!(
                r#"{"name":"m","platform":"onnx","max_batch_size":0,"#,
                r#""input":[{"name":"x","data_type":"TYPE_BF16","dims":[-1,4]}],"output":[]}"#
            ),
        );
        let statistics = ModelStatistics {
            name: "m".into(),
            version: "1".into(),
            inference_count: 3,
            success: StatisticDuration { count: 2, ns: 9 },
            ..ModelStatistics::default()
        };
        check(
            &ModelStatistics::list_to_json(&[statistics]),
            concat!(
                r#"{"model_stats":[{"name":"m","version":"1","last_inference":0,"inference_count":3,"execution_count":0,"#,
                r#""inference_stats":{"success":{"count":2,"ns":9},"fail":{"count":0,"ns":0}},"batch_stats":[]}]}"#
            ),
        );
        check(&ModelIndex::list_to_json(&[]), "[]");
    }
}
