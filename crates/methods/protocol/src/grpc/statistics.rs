//! Messages of statistics.

use std::collections::BTreeMap;

use prost::Message;

/// `ModelStatistics`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ModelStatisticsRequest {
    /// The model's name; empty is all models.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty is all versions.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// How often and how long.
#[derive(Clone, PartialEq, Message)]
pub struct StatisticDuration {
    /// How often.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Nanoseconds, all together.
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

/// Times of whole requests.
#[derive(Clone, PartialEq, Message)]
pub struct InferStatistics {
    /// Requests answered.
    #[prost(message, optional, tag = "1")]
    pub success: Option<StatisticDuration>,
    /// Requests failed.
    #[prost(message, optional, tag = "2")]
    pub fail: Option<StatisticDuration>,
    /// Waiting.
    #[prost(message, optional, tag = "3")]
    pub queue: Option<StatisticDuration>,
    /// Preparing inputs.
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<StatisticDuration>,
    /// Running the model.
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<StatisticDuration>,
    /// Taking outputs.
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<StatisticDuration>,
    /// Answers found in the cache.
    #[prost(message, optional, tag = "7")]
    pub cache_hit: Option<StatisticDuration>,
    /// Answers not found in the cache.
    #[prost(message, optional, tag = "8")]
    pub cache_miss: Option<StatisticDuration>,
}

/// Times of the answers of a decoupled model.
#[derive(Clone, PartialEq, Message)]
pub struct InferResponseStatistics {
    /// Running the model.
    #[prost(message, optional, tag = "1")]
    pub compute_infer: Option<StatisticDuration>,
    /// Taking outputs.
    #[prost(message, optional, tag = "2")]
    pub compute_output: Option<StatisticDuration>,
    /// Answers given.
    #[prost(message, optional, tag = "3")]
    pub success: Option<StatisticDuration>,
    /// Answers failed.
    #[prost(message, optional, tag = "4")]
    pub fail: Option<StatisticDuration>,
    /// Answers without content.
    #[prost(message, optional, tag = "5")]
    pub empty_response: Option<StatisticDuration>,
    /// Requests given up.
    #[prost(message, optional, tag = "6")]
    pub cancel: Option<StatisticDuration>,
}

/// Times of batches of one size.
#[derive(Clone, PartialEq, Message)]
pub struct InferBatchStatistics {
    /// The size.
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    /// Preparing inputs.
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<StatisticDuration>,
    /// Running the model.
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<StatisticDuration>,
    /// Taking outputs.
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<StatisticDuration>,
}

/// Memory that a model holds.
#[derive(Clone, PartialEq, Message)]
pub struct MemoryUsage {
    /// The kind of memory.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Which of that kind.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// How much.
    #[prost(uint64, tag = "3")]
    pub byte_size: u64,
}

/// Statistics of one version of a model.
#[derive(Clone, PartialEq, Message)]
pub struct ModelStatistics {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// When it last answered, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    /// How many inferences, a batch counted by its size.
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    /// How many runs of the model.
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    /// Times of requests.
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<InferStatistics>,
    /// Times by size of batch.
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<InferBatchStatistics>,
    /// Memory.
    #[prost(message, repeated, tag = "8")]
    pub memory_usage: Vec<MemoryUsage>,
    /// Times by index of answer.
    #[prost(btree_map = "string, message", tag = "9")]
    pub response_stats: BTreeMap<String, InferResponseStatistics>,
}

/// `ModelStatistics`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelStatisticsResponse {
    /// One entry per model and version.
    #[prost(message, repeated, tag = "1")]
    pub model_stats: Vec<ModelStatistics>,
}
