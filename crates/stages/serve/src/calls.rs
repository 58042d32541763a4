//! What is asked over gRPC: the methods of `inference.GRPCInferenceService`, each one message and one answer.
//!
//! A message names its model, so it is read before the role is asked, within the bounds of an identified principal; of
//! an inference the two fields that name the model are looked at, and the rest once the request has been metered.
//!
//! # Citation
//! grpc/grpc, `doc/PROTOCOL-HTTP2.md`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header::CONTENT_TYPE, request::Parts};
use stockade_evidence::Control;
use stockade_protocol::{
    ErrorCode, Operation,
    grpc::{
        Framed, GrpcMethod, ModelConfigRequest, ModelConfigResponse, ModelMetadataRequest,
        ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest,
        ModelStatisticsResponse, RepositoryIndexResponse, ServerLiveResponse, ServerMetadataResponse,
        ServerReadyResponse, decode, encode, grpc_method, unframe_coded,
    },
};

use crate::{
    answer::{Answer, Refusal},
    metadata,
    phases::{
        Arriving, Asked, Identified, Stopped,
        accept::{Buffered, Coding, GRPC_ENCODING, Growth, RequestBody},
        record,
    },
    upstream::Trace,
    wire::{Wire, unreadable},
};

/// How long a client waits for its answer.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Bytes of a message that asks for no inference.
const SMALL_MESSAGE: usize = 64 << 10;

impl Identified<'_> {
    /// Answers a call.
    pub(crate) async fn called(&self, parts: &Parts, body: &mut RequestBody) -> Result<Answer, Stopped> {
        let stop = |refusal| self.unauthorized(refusal, record::server());
        let method = method(parts).map_err(stop)?;
        let patience = patience(&parts.headers).map_err(stop)?;
        let coding = Coding::of(&parts.headers, &GRPC_ENCODING).map_err(stop)?;
        let operation = method.operation();
        if operation.is_control() {
            return self.not_served(operation);
        }
        let most = match operation {
            Operation::ModelInfer => usize::MAX,
            Operation::ServerMetadata
            | Operation::ModelMetadata
            | Operation::ModelConfig
            | Operation::ModelStatistics
            | Operation::RepositoryIndex
            | Operation::RepositoryControl
            | Operation::SharedMemory
            | Operation::Settings => SMALL_MESSAGE,
        };
        // It counts among its principal's requests from here on; the meter then takes its place.
        let reading = self.place().map_err(stop)?;
        let message = self.message(body, most, coding).await.map_err(stop)?;
        drop(reading);
        if operation == Operation::ModelInfer {
            let trace = Trace::new(self.call.id, &parts.headers);
            return self.called_inference(message, patience, trace).await;
        }
        self.told(method, message.bytes).await
    }

    async fn called_inference(
        &self,
        message: Buffered,
        patience: Option<Duration>,
        trace: Trace,
    ) -> Result<Answer, Stopped> {
        let stop = |error| self.unauthorized(unreadable(error), record::server());
        // The model's name and version have the same numbers in both messages, and a reader passes over the others.
        let named: ModelReadyRequest = decode(message.bytes.clone(), usize::MAX).map_err(stop)?;
        let (model, granted) = self.authorize(Operation::ModelInfer, &named.name, some(&named.version))?;
        self.infer(Asked {
            model,
            granted,
            wire: Wire::Grpc,
            body: Arriving::Here(message),
            patience,
            trace,
        })
        .await
    }

    /// Answers what needs no model to run.
    async fn told(&self, method: GrpcMethod, message: Bytes) -> Result<Answer, Stopped> {
        let stop = |error| self.unauthorized(unreadable(error), record::server());
        let operation = method.operation();
        match method {
            GrpcMethod::ServerLive => {
                self.server(operation, |_| encode(&ServerLiveResponse { live: true }))
                    .await
            }
            GrpcMethod::ServerReady => {
                let ready = |this: &Self| {
                    let ready = this.shared.is_ready();
                    encode(&ServerReadyResponse { ready })
                };
                self.server(operation, ready).await
            }
            GrpcMethod::ServerMetadata => {
                self.server(operation, |_| {
                    encode(&ServerMetadataResponse::from(metadata::server()))
                })
                .await
            }
            GrpcMethod::ModelReady => {
                let of: ModelReadyRequest = decode(message, SMALL_MESSAGE).map_err(stop)?;
                let ready = encode(&ModelReadyResponse { ready: true });
                self.about_model(operation, (&of.name, some(&of.version)), |_, _| ready)
                    .await
            }
            GrpcMethod::ModelMetadata => {
                let of: ModelMetadataRequest = decode(message, SMALL_MESSAGE).map_err(stop)?;
                self.about_model(operation, (&of.name, some(&of.version)), |model, policy| {
                    encode(&ModelMetadataResponse::from(metadata::model(model, policy)))
                })
                .await
            }
            GrpcMethod::ModelConfig => {
                let of: ModelConfigRequest = decode(message, SMALL_MESSAGE).map_err(stop)?;
                self.about_model(operation, (&of.name, some(&of.version)), |model, policy| {
                    encode(&ModelConfigResponse::from(metadata::config(model, policy)))
                })
                .await
            }
            GrpcMethod::ModelStatistics => {
                let of: ModelStatisticsRequest = decode(message, SMALL_MESSAGE).map_err(stop)?;
                if of.name.is_empty() {
                    return self
                        .server(operation, |this| {
                            encode(&ModelStatisticsResponse::from(this.statistics()))
                        })
                        .await;
                }
                self.about_model(operation, (&of.name, some(&of.version)), |model, _| {
                    let statistics = vec![self.shared.statistics.of(model)];
                    encode(&ModelStatisticsResponse::from(statistics))
                })
                .await
            }
            // Every model here is ready, which is all that this message can ask for.
            GrpcMethod::RepositoryIndex => {
                self.server(operation, |this| {
                    encode(&RepositoryIndexResponse::from(this.index()))
                })
                .await
            }
            GrpcMethod::ModelInfer
            | GrpcMethod::ModelStreamInfer
            | GrpcMethod::RepositoryModelLoad
            | GrpcMethod::RepositoryModelUnload
            | GrpcMethod::SystemSharedMemoryStatus
            | GrpcMethod::SystemSharedMemoryRegister
            | GrpcMethod::SystemSharedMemoryUnregister
            | GrpcMethod::CudaSharedMemoryStatus
            | GrpcMethod::CudaSharedMemoryRegister
            | GrpcMethod::CudaSharedMemoryUnregister
            | GrpcMethod::TraceSetting
            | GrpcMethod::LogSettings => self.not_served(operation),
        }
    }

    /// The one message of a call, decompressed.
    async fn message(
        &self,
        body: &mut RequestBody,
        most: usize,
        coding: Option<Coding>,
    ) -> Result<Buffered, Refusal> {
        let mut body = self.read(body, most).await?;
        let framed = unframe_coded(body.bytes.clone());
        match framed
            .map_err(|error| Refusal::new(error.code(), Control::InputInspection, error.to_string()))?
        {
            Framed::Plain(message) => {
                body.bytes = message;
                Ok(body)
            }
            Framed::Compressed(message) => {
                let coding = coding.ok_or_else(|| Refusal::invalid("the message's encoding is not said"))?;
                body.bytes = message;
                let growth = Growth::new(&self.live.config.bodies);
                self.beside(move || body.inflated(coding, growth)).await?
            }
        }
    }
}

/// The method that is called.
fn method(parts: &Parts) -> Result<GrpcMethod, Refusal> {
    let content_type = parts.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let of_grpc = |value: &[u8]| {
        value.strip_prefix(b"application/grpc").is_some_and(|rest| {
            matches!(
                rest,
                [] | [b';', ..] | b"+proto" | [b'+', b'p', b'r', b'o', b't', b'o', b';', ..]
            )
        })
    };
    let refuse = |code, message| Err(Refusal::new(code, Control::InputInspection, message));
    if parts.method != Method::POST || !content_type.is_some_and(of_grpc) {
        return refuse(
            ErrorCode::UnsupportedMedia,
            "this listener speaks gRPC with protocol buffers",
        );
    }
    match grpc_method(parts.uri.path()) {
        Some(GrpcMethod::ModelStreamInfer) => {
            refuse(ErrorCode::NotServed, "streams are not served; use `ModelInfer`")
        }
        Some(method) => Ok(method),
        None => refuse(ErrorCode::NotServed, "there is no such method"),
    }
}

/// What a client says that it waits: at most eight digits and a unit.
fn patience(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let parse = || {
        let text = value.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count: u64 = digits.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(count * 3600)),
            "M" => Some(Duration::from_secs(count * 60)),
            "S" => Some(Duration::from_secs(count)),
            "m" => Some(Duration::from_millis(count)),
            "u" => Some(Duration::from_micros(count)),
            "n" => Some(Duration::from_nanos(count)),
            _ => None,
        }
    };
    let refusal = || Refusal::invalid("`grpc-timeout` must be at most eight digits and a unit");
    parse().map(Some).ok_or_else(refusal)
}

/// An empty text is none: the server's choice.
fn some(version: &str) -> Option<&str> {
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    #[track_caller]
    fn check_patience(value: &'static str, expected: Option<Duration>) {
        let headers = HeaderMap::from_iter([(GRPC_TIMEOUT, HeaderValue::from_static(value))]);
        assert_eq!(patience(&headers).ok().flatten(), expected, "{value}");
    }

    #[test]
    fn timeouts_are_read() {
        check_patience("1H", Some(Duration::from_secs(3600)));
        check_patience("2M", Some(Duration::from_secs(120)));
        check_patience("99999999S", Some(Duration::from_secs(99_999_999)));
        check_patience("100m", Some(Duration::from_millis(100)));
        check_patience("7u", Some(Duration::from_micros(7)));
        check_patience("0n", Some(Duration::ZERO));
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "100000000S", "1 S"] {
            check_patience(wrong, None);
        }
        assert!(patience(&HeaderMap::new()).is_ok_and(|patience| patience.is_none()));
    }

    #[track_caller]
    fn check_method(content_type: &str, path: &str, expected: Result<GrpcMethod, ErrorCode>) {
        let request = Request::post(path)
            .header(CONTENT_TYPE, content_type)
            .body(())
            .unwrap();
        let method = method(&request.into_parts().0).map_err(|refusal| refusal.code);
        assert_eq!(method, expected, "{content_type} {path}");
    }

    #[test]
    fn methods_are_those_of_the_service() {
        let infer = GrpcMethod::ModelInfer.path();
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
        ] {
            check_method(content_type, infer, Ok(GrpcMethod::ModelInfer));
        }
        for content_type in ["application/grpc+json", "application/grpcx", "application/json"] {
            check_method(content_type, infer, Err(ErrorCode::UnsupportedMedia));
        }
        let stream = GrpcMethod::ModelStreamInfer.path();
        check_method("application/grpc", stream, Err(ErrorCode::NotServed));
        check_method("application/grpc", "/v2", Err(ErrorCode::NotServed));
    }
}
