//! Answers that tell, from the words in which they are given over HTTP.
//!
//! # Citation
//! triton-inference-server/common, `protobuf/model_config.proto`, for [`ModelConfig`].

use std::collections::BTreeMap;

use prost::Message;

use crate::oip::{self, config_type};

use super::{
    control::{ModelIndex, RepositoryIndexResponse},
    message::{ModelConfigResponse, ModelMetadataResponse, ServerMetadataResponse, TensorMetadata},
    statistics::{InferStatistics, ModelStatistics, ModelStatisticsResponse, StatisticDuration},
};

/// `ModelConfig`: the fields that say something of a model behind a gateway.
#[derive(Clone, PartialEq, Message)]
pub struct ModelConfig {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The model's format.
    #[prost(string, tag = "2")]
    pub platform: String,
    /// What the model takes.
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<ModelInput>,
    /// What it gives.
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<ModelOutput>,
}

/// `ModelInput`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInput {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The number of its element type.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its shape; -1 where the size varies.
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
}

/// `ModelOutput`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelOutput {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The number of its element type.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its shape; -1 where the size varies.
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

impl From<oip::ServerMetadata> for ServerMetadataResponse {
    fn from(of: oip::ServerMetadata) -> Self {
        Self {
            name: of.name,
            version: of.version,
            extensions: of.extensions,
        }
    }
}

impl From<oip::ModelMetadata> for ModelMetadataResponse {
    fn from(of: oip::ModelMetadata) -> Self {
        let tensors = |list: Vec<oip::TensorMetadata>| {
            let tensor = |tensor: oip::TensorMetadata| TensorMetadata {
                name: tensor.name,
                datatype: tensor.datatype.as_str().to_owned(),
                shape: tensor.shape,
            };
            list.into_iter().map(tensor).collect()
        };
        Self {
            name: of.name,
            versions: of.versions,
            platform: of.platform,
            inputs: tensors(of.inputs),
            outputs: tensors(of.outputs),
        }
    }
}

impl From<oip::ModelConfig> for ModelConfigResponse {
    fn from(of: oip::ModelConfig) -> Self {
        let input = |tensor: oip::TensorMetadata| ModelInput {
            name: tensor.name,
            data_type: config_type(tensor.datatype).0,
            dims: tensor.shape,
        };
        let output = |tensor: oip::TensorMetadata| ModelOutput {
            name: tensor.name,
            data_type: config_type(tensor.datatype).0,
            dims: tensor.shape,
        };
        let config = ModelConfig {
            name: of.name,
            platform: of.platform,
            input: of.inputs.into_iter().map(input).collect(),
            output: of.outputs.into_iter().map(output).collect(),
        };
        Self {
            config: Some(config.encode_to_vec().into()),
        }
    }
}

impl From<Vec<oip::ModelStatistics>> for ModelStatisticsResponse {
    fn from(list: Vec<oip::ModelStatistics>) -> Self {
        let duration = |of: oip::StatisticDuration| {
            Some(StatisticDuration {
                count: of.count,
                ns: of.ns,
            })
        };
        let entry = |of: oip::ModelStatistics| ModelStatistics {
            name: of.name,
            version: of.version,
            last_inference: of.last_inference_ms,
            inference_count: of.inference_count,
            execution_count: of.execution_count,
            inference_stats: Some(InferStatistics {
                success: duration(of.success),
                fail: duration(of.fail),
                ..InferStatistics::default()
            }),
            batch_stats: Vec::new(),
            memory_usage: Vec::new(),
            response_stats: BTreeMap::new(),
        };
        Self {
            model_stats: list.into_iter().map(entry).collect(),
        }
    }
}

impl From<Vec<oip::ModelIndex>> for RepositoryIndexResponse {
    fn from(list: Vec<oip::ModelIndex>) -> Self {
        let entry = |of: oip::ModelIndex| ModelIndex {
            name: of.name,
            version: of.version,
            state: of.state,
            reason: of.reason,
        };
        Self {
            models: list.into_iter().map(entry).collect(),
        }
    }
}
