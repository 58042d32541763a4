//! Messages of the model repository, shared memory, and trace and log settings.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// A value for loading or unloading a model.
#[derive(Clone, PartialEq, Message)]
pub struct ModelRepositoryParameter {
    /// The value.
    #[prost(oneof = "ModelRepositoryParameterValue", tags = "1, 2, 3, 4")]
    pub value: Option<ModelRepositoryParameterValue>,
}

/// `ModelRepositoryParameter.parameter_choice`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ModelRepositoryParameterValue {
    /// `bool_param`
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// `int64_param`
    #[prost(int64, tag = "2")]
    Int64(i64),
    /// `string_param`
    #[prost(string, tag = "3")]
    String(String),
    /// `bytes_param`
    #[prost(bytes = "bytes", tag = "4")]
    Bytes(Bytes),
}

/// `RepositoryIndex`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryIndexRequest {
    /// The repository; empty is all.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// Only models that can answer.
    #[prost(bool, tag = "2")]
    pub ready: bool,
}

/// A model of a repository.
#[derive(Clone, PartialEq, Message)]
pub struct ModelIndex {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// What it is doing.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Why.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// `RepositoryIndex`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryIndexResponse {
    /// One entry per model and version.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

/// `RepositoryModelLoad`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryModelLoadRequest {
    /// The repository; empty is any.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// The model's name.
    #[prost(string, tag = "2")]
    pub model_name: String,
    /// Values for it.
    #[prost(btree_map = "string, message", tag = "3")]
    pub parameters: BTreeMap<String, ModelRepositoryParameter>,
}

/// `RepositoryModelLoad`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryModelLoadResponse {}

/// `RepositoryModelUnload`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryModelUnloadRequest {
    /// The repository; empty is any.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// The model's name.
    #[prost(string, tag = "2")]
    pub model_name: String,
    /// Values for it.
    #[prost(btree_map = "string, message", tag = "3")]
    pub parameters: BTreeMap<String, ModelRepositoryParameter>,
}

/// `RepositoryModelUnload`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryModelUnloadResponse {}

/// `SystemSharedMemoryStatus`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryStatusRequest {
    /// The region; empty is all.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `SystemSharedMemoryStatusResponse.RegionStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryRegion {
    /// The region.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The key of its memory.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Where it begins.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Its size.
    #[prost(uint64, tag = "4")]
    pub byte_size: u64,
}

/// `SystemSharedMemoryStatus`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryStatusResponse {
    /// Each region by its name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub regions: BTreeMap<String, SystemSharedMemoryRegion>,
}

/// `SystemSharedMemoryRegister`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryRegisterRequest {
    /// The region.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The key of its memory.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Where it begins.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Its size.
    #[prost(uint64, tag = "4")]
    pub byte_size: u64,
}

/// `SystemSharedMemoryRegister`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryRegisterResponse {}

/// `SystemSharedMemoryUnregister`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryUnregisterRequest {
    /// The region; empty is all.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `SystemSharedMemoryUnregister`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct SystemSharedMemoryUnregisterResponse {}

/// `CudaSharedMemoryStatus`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryStatusRequest {
    /// The region; empty is all.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `CudaSharedMemoryStatusResponse.RegionStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryRegion {
    /// The region.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its device.
    #[prost(uint64, tag = "2")]
    pub device_id: u64,
    /// Its size.
    #[prost(uint64, tag = "3")]
    pub byte_size: u64,
}

/// `CudaSharedMemoryStatus`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryStatusResponse {
    /// Each region by its name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub regions: BTreeMap<String, CudaSharedMemoryRegion>,
}

/// `CudaSharedMemoryRegister`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryRegisterRequest {
    /// The region.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The handle of its memory.
    #[prost(bytes = "bytes", tag = "2")]
    pub raw_handle: Bytes,
    /// Its device.
    #[prost(int64, tag = "3")]
    pub device_id: i64,
    /// Its size.
    #[prost(uint64, tag = "4")]
    pub byte_size: u64,
}

/// `CudaSharedMemoryRegister`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryRegisterResponse {}

/// `CudaSharedMemoryUnregister`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryUnregisterRequest {
    /// The region; empty is all.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `CudaSharedMemoryUnregister`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct CudaSharedMemoryUnregisterResponse {}

/// `SettingValue` of a trace setting.
#[derive(Clone, PartialEq, Message)]
pub struct TraceSetting {
    /// The values.
    #[prost(string, repeated, tag = "1")]
    pub value: Vec<String>,
}

/// `TraceSetting`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct TraceSettingRequest {
    /// What to change; empty changes nothing.
    #[prost(btree_map = "string, message", tag = "1")]
    pub settings: BTreeMap<String, TraceSetting>,
    /// The model's name; empty is all models.
    #[prost(string, tag = "2")]
    pub model_name: String,
}

/// `TraceSetting`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct TraceSettingResponse {
    /// What holds now.
    #[prost(btree_map = "string, message", tag = "1")]
    pub settings: BTreeMap<String, TraceSetting>,
}

/// `SettingValue` of a log setting.
#[derive(Clone, PartialEq, Message)]
pub struct LogSetting {
    /// The value.
    #[prost(oneof = "LogSettingValue", tags = "1, 2, 3")]
    pub value: Option<LogSettingValue>,
}

/// `SettingValue.parameter_choice`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum LogSettingValue {
    /// `bool_param`
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// `uint32_param`
    #[prost(uint32, tag = "2")]
    Uint32(u32),
    /// `string_param`
    #[prost(string, tag = "3")]
    String(String),
}

/// `LogSettings`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct LogSettingsRequest {
    /// What to change; empty changes nothing.
    #[prost(btree_map = "string, message", tag = "1")]
    pub settings: BTreeMap<String, LogSetting>,
}

/// `LogSettings`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct LogSettingsResponse {
    /// What holds now.
    #[prost(btree_map = "string, message", tag = "1")]
    pub settings: BTreeMap<String, LogSetting>,
}
