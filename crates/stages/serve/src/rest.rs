//! What is asked over HTTP: the Open Inference Protocol with Triton's extensions, and TensorFlow Serving's protocol.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY},
    request::Parts,
};
use stockade_evidence::Control;
use stockade_protocol::{
    ErrorCode, Operation,
    oip::{
        Endpoint, Extension, ModelIndex, ModelReady, ModelStatistics, Name, Route, RouteError, ServerLive,
        ServerReady, endpoint,
    },
    tfs::{TfsRoute, TfsRouteError, TfsVersion, tfs_route, write_tfs_metadata, write_tfs_status},
};

use crate::{
    answer::{Answer, Refusal, Whole},
    metadata,
    phases::{
        Arriving, Asked, Identified, Stopped,
        accept::{Coding, RequestBody},
        record,
    },
    upstream::Trace,
    wire::{JSON_LENGTH, Wire},
};

impl Identified<'_> {
    /// Answers a request.
    pub(crate) async fn route(&self, parts: &Parts, body: &mut RequestBody) -> Result<Answer, Stopped> {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        match endpoint(method, path) {
            Ok(Endpoint::Specified(route)) => self.specified(route, parts, body).await,
            Ok(Endpoint::Extension(extension)) => self.extension(extension).await,
            Err(RouteError::MethodNotAllowed { allow }) => Err(self.unrouted(
                ErrorCode::MethodNotAllowed,
                format!("this path is served with {allow}"),
                Some(allow),
            )),
            Err(RouteError::NotFound) => self.predicted(tfs_route(method, path), parts, body).await,
        }
    }

    async fn specified(
        &self,
        route: Route,
        parts: &Parts,
        body: &mut RequestBody,
    ) -> Result<Answer, Stopped> {
        let operation = route.operation();
        match route {
            Route::ServerLive => {
                self.server(operation, |_| ServerLive { live: true }.to_json())
                    .await
            }
            Route::ServerReady => {
                let ready = |this: &Self| {
                    let ready = this.shared.is_ready();
                    ServerReady { ready }.to_json()
                };
                self.server(operation, ready).await
            }
            Route::ServerMetadata => self.server(operation, |_| metadata::server().to_json()).await,
            Route::ModelReady { model, version } => {
                self.about_model(operation, (&model, version.as_deref()), |model, _| {
                    let name = model.name().to_owned();
                    ModelReady { name, ready: true }.to_json()
                })
                .await
            }
            Route::ModelMetadata { model, version } => {
                self.about_model(operation, (&model, version.as_deref()), |model, policy| {
                    metadata::model(model, policy).to_json()
                })
                .await
            }
            Route::ModelInfer { model, version } => {
                let wire = Wire::of_http(&parts.headers);
                self.inference((&model, version.as_deref()), wire, parts, body)
                    .await
            }
        }
    }

    async fn extension(&self, extension: Extension) -> Result<Answer, Stopped> {
        let operation = extension.operation();
        match extension {
            Extension::ModelConfig { model, version } => {
                self.about_model(operation, (&model, version.as_deref()), |model, policy| {
                    metadata::config(model, policy).to_json()
                })
                .await
            }
            Extension::ModelStatistics {
                model: Some(model),
                version,
            } => {
                self.about_model(operation, (&model, version.as_deref()), |model, _| {
                    ModelStatistics::list_to_json(&[self.shared.statistics.of(model)])
                })
                .await
            }
            Extension::ModelStatistics { model: None, .. } => {
                self.server(operation, |this| {
                    ModelStatistics::list_to_json(&this.statistics())
                })
                .await
            }
            Extension::RepositoryIndex => {
                self.server(operation, |this| ModelIndex::list_to_json(&this.index()))
                    .await
            }
            Extension::ModelLoad { .. }
            | Extension::ModelUnload { .. }
            | Extension::SharedMemory { .. }
            | Extension::TraceSettings { .. }
            | Extension::LogSettings { .. } => self.not_served(operation),
        }
    }

    async fn predicted(
        &self,
        route: Result<TfsRoute, TfsRouteError>,
        parts: &Parts,
        body: &mut RequestBody,
    ) -> Result<Answer, Stopped> {
        let route = route.map_err(|error| {
            let allow = match error {
                TfsRouteError::MethodNotAllowed { allow } => Some(allow),
                TfsRouteError::NotFound | TfsRouteError::Unsupported => None,
            };
            self.unrouted(error.code(), error.to_string(), allow)
        })?;
        let operation = route.operation();
        match route {
            TfsRoute::Predict { model, version } => {
                let wire = if parts.headers.contains_key(JSON_LENGTH) {
                    Err(Refusal::invalid("this protocol has no binary tensors").closing())
                } else {
                    Ok(Wire::Predict)
                };
                self.inference(chosen(&model, version.as_ref()), wire, parts, body)
                    .await
            }
            TfsRoute::Status { model, version } => {
                self.about_model(operation, chosen(&model, version.as_ref()), |model, _| {
                    write_tfs_status(model.name(), &model.version().to_string(), true)
                })
                .await
            }
            TfsRoute::Metadata { model, version } => {
                self.about_model(operation, chosen(&model, version.as_ref()), |model, policy| {
                    write_tfs_metadata(&metadata::model(model, policy), &model.version().to_string())
                })
                .await
            }
        }
    }

    async fn inference(
        &self,
        (name, version): (&str, Option<&str>),
        wire: Result<Wire, Refusal>,
        parts: &Parts,
        body: &mut RequestBody,
    ) -> Result<Answer, Stopped> {
        let (model, granted) = self.authorize(Operation::ModelInfer, name, version)?;
        let read = wire.and_then(|wire| {
            check_type(&parts.headers)?;
            Ok((wire, Coding::of_body(&parts.headers)?))
        });
        let (wire, coding) = read.map_err(|refusal| self.unauthorized(refusal, model.subject()))?;
        let asked = Asked {
            model,
            granted,
            wire,
            body: Arriving::Coming(body, coding),
            patience: None,
            trace: Trace::new(self.call.id, &parts.headers),
        };
        let answer = self.infer(asked).await?;
        Ok(self.compressed(answer, &parts.headers).await)
    }

    /// The answer, compressed where configuration and client want it so and it is large enough.
    async fn compressed(&self, answer: Answer, headers: &HeaderMap) -> Answer {
        let least = self.live.config.bodies.compress_answers_from;
        let large = least.is_some_and(|least| answer.body().bytes().len() >= least.get());
        let Some(coding) = Coding::accepted(headers).filter(|_| large) else {
            return answer;
        };
        let (mut parts, body) = answer.into_parts();
        let compressing = self.beside(move || (coding.compress(body.bytes()), body)).await;
        match compressing {
            Ok((Some(compressed), _)) => {
                parts.headers.insert(CONTENT_ENCODING, coding.value());
                parts
                    .headers
                    .insert(VARY, HeaderValue::from_static("accept-encoding"));
                parts.headers.remove(CONTENT_LENGTH);
                Answer::from_parts(parts, Whole::from(compressed))
            }
            Ok((None, body)) => Answer::from_parts(parts, body),
            Err(refusal) => refusal.answer(&self.call.id),
        }
    }

    fn unrouted(&self, code: ErrorCode, message: String, allow: Option<&'static str>) -> Stopped {
        let refusal = Refusal::new(code, Control::AccessControl, message);
        self.unauthorized(Refusal { allow, ..refusal }, record::server())
    }

    /// What the models did that the principal may know of.
    pub(crate) fn statistics(&self) -> Vec<ModelStatistics> {
        self.models(Operation::ModelStatistics)
            .map(|model| self.shared.statistics.of(model))
            .collect()
    }

    /// The models that the principal may know of.
    pub(crate) fn index(&self) -> Vec<ModelIndex> {
        self.models(Operation::ModelMetadata)
            .map(|model| metadata::index(model))
            .collect()
    }
}

/// The model and its version that a path chooses. No version has a label here, and no version is named so.
fn chosen<'n>(model: &'n Name, version: Option<&'n TfsVersion>) -> (&'n str, Option<&'n str>) {
    match version {
        None => (model, None),
        Some(TfsVersion::Version(version)) => (model, Some(version)),
        Some(TfsVersion::Label(_)) => (model, Some("")),
    }
}

/// Refuses a body that is not plain JSON, before a byte of it is read.
pub(crate) fn plain(headers: &HeaderMap) -> Result<(), Refusal> {
    check_type(headers)?;
    match Coding::of_body(headers)? {
        None => Ok(()),
        Some(_) => {
            let message = "compressed bodies are not read here";
            Err(Refusal::new(ErrorCode::UnsupportedMedia, Control::InputInspection, message).closing())
        }
    }
}

/// Refuses a body of a type that is not read, before a byte of it is.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let read = |value: &[u8]| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        // Without a type, as several clients of the protocol send it, the body is read as JSON.
        [
            "application/json",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
        ]
        .iter()
        .any(|known| essence.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
    };
    if content_type.is_some_and(|value| !read(value)) {
        let message = "the body must be `application/json` or `application/octet-stream`";
        return Err(Refusal::new(ErrorCode::UnsupportedMedia, Control::InputInspection, message).closing());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &'static str, expected: Option<u16>) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let refused = check_type(&headers).err().map(|refusal| refusal.code.status());
        assert_eq!(refused, expected, "{content_type}");
    }

    #[test]
    fn only_json_and_tensors_are_read() {
        check("application/json", None);
        check("Application/JSON; charset=utf-8", None);
        check("application/octet-stream", None);
        check("text/html", Some(415));
        check("application/jsonx", Some(415));
        assert!(check_type(&HeaderMap::new()).is_ok());
    }
}
