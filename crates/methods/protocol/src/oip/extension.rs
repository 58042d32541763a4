//! Routes of Triton's extensions beside those of the specification.
//!
//! # Citation
//! triton-inference-server/server, `docs/protocol/`: `extension_model_configuration.md`, `extension_statistics.md`,
//! `extension_model_repository.md`, `extension_shared_memory.md`, `extension_trace.md`, `extension_logging.md`.

use crate::Operation;

use super::route::{Name, Route, RouteError, route_of, segments};

/// What a request asks for, the extensions included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A route of the specification.
    Specified(Route),
    /// A route of an extension.
    Extension(Extension),
}

impl Endpoint {
    /// What a policy decides on.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Specified(route) => route.operation(),
            Self::Extension(extension) => extension.operation(),
        }
    }
}

/// What a request asks of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `GET /v2/models/{model}[/versions/{version}]/config`
    ModelConfig {
        /// The model's name.
        model: Name,
        /// The version, where the path names one.
        version: Option<Name>,
    },
    /// `GET /v2/models[/{model}[/versions/{version}]]/stats`
    ModelStatistics {
        /// The model's name; without it, all models.
        model: Option<Name>,
        /// The version, where the path names one.
        version: Option<Name>,
    },
    /// `POST /v2/repository/index`
    RepositoryIndex,
    /// `POST /v2/repository/models/{model}/load`
    ModelLoad {
        /// The model's name.
        model: Name,
    },
    /// `POST /v2/repository/models/{model}/unload`
    ModelUnload {
        /// The model's name.
        model: Name,
    },
    /// `/v2/systemsharedmemory[/region/{region}]/...` and `/v2/cudasharedmemory[/region/{region}]/...`
    SharedMemory {
        /// Whose memory.
        memory: Memory,
        /// What is to be done with it.
        action: MemoryAction,
        /// The region, where the path names one.
        region: Option<Name>,
    },
    /// `/v2[/models/{model}]/trace/setting`
    TraceSettings {
        /// The model, where the path names one.
        model: Option<Name>,
        /// `GET` or `POST`.
        access: Access,
    },
    /// `/v2/logging`
    LogSettings {
        /// `GET` or `POST`.
        access: Access,
    },
}

/// Whose memory a region is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The host's.
    System,
    /// An accelerator's.
    Cuda,
}

/// What is done with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAction {
    /// `GET .../status`
    Status,
    /// `POST .../register`
    Register,
    /// `POST .../unregister`
    Unregister,
}

/// Whether settings are read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `GET`
    Read,
    /// `POST`
    Change,
}

impl Extension {
    /// What a policy decides on.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::ModelConfig { .. } => Operation::ModelConfig,
            Self::ModelStatistics { .. } => Operation::ModelStatistics,
            Self::RepositoryIndex => Operation::RepositoryIndex,
            Self::ModelLoad { .. } | Self::ModelUnload { .. } => Operation::RepositoryControl,
            Self::SharedMemory { .. } => Operation::SharedMemory,
            Self::TraceSettings { .. } | Self::LogSettings { .. } => Operation::Settings,
        }
    }
}

/// What `method` on `path` asks for, the extensions included; `path` is the request target's path, without a query.
///
/// As in Triton, `/v2/models/stats` asks for the statistics of all models, never for the metadata of a model `stats`.
pub fn endpoint(method: &str, path: &str) -> Result<Endpoint, RouteError> {
    let segments = segments(path).ok_or(RouteError::NotFound)?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let access = match method {
        "POST" => Access::Change,
        _ => Access::Read,
    };
    let (endpoint, allow) = if let Some((extension, allow)) = extension_of(&segments, access) {
        (Endpoint::Extension(extension), allow)
    } else {
        let route = route_of(&segments).ok_or(RouteError::NotFound)?;
        let allow = route.method();
        (Endpoint::Specified(route), allow)
    };
    if allow.split(", ").any(|allowed| allowed == method) {
        Ok(endpoint)
    } else {
        Err(RouteError::MethodNotAllowed { allow })
    }
}

/// The extension's route, and the methods to use.
fn extension_of(segments: &[&str], access: Access) -> Option<(Extension, &'static str)> {
    let ["v2", rest @ ..] = segments else {
        return None;
    };
    Some(match rest {
        ["models", "stats"] => {
            let (model, version) = (None, None);
            (Extension::ModelStatistics { model, version }, "GET")
        }
        ["models", model, "trace", "setting"] => {
            let model = Some(Name::parse(model)?);
            (Extension::TraceSettings { model, access }, "GET, POST")
        }
        ["trace", "setting"] => {
            let model = None;
            (Extension::TraceSettings { model, access }, "GET, POST")
        }
        ["logging"] => (Extension::LogSettings { access }, "GET, POST"),
        ["models", model, "versions", version, last] => {
            of_model(Name::parse(model)?, Some(Name::parse(version)?), last)?
        }
        ["models", model, last] => of_model(Name::parse(model)?, None, last)?,
        ["repository", "index"] => (Extension::RepositoryIndex, "POST"),
        ["repository", "models", model, "load"] => {
            let model = Name::parse(model)?;
            (Extension::ModelLoad { model }, "POST")
        }
        ["repository", "models", model, "unload"] => {
            let model = Name::parse(model)?;
            (Extension::ModelUnload { model }, "POST")
        }
        ["systemsharedmemory", rest @ ..] => shared_memory(Memory::System, rest)?,
        ["cudasharedmemory", rest @ ..] => shared_memory(Memory::Cuda, rest)?,
        _ => return None,
    })
}

fn of_model(model: Name, version: Option<Name>, last: &str) -> Option<(Extension, &'static str)> {
    match last {
        "config" => Some((Extension::ModelConfig { model, version }, "GET")),
        "stats" => {
            let model = Some(model);
            Some((Extension::ModelStatistics { model, version }, "GET"))
        }
        _ => None,
    }
}

fn shared_memory(memory: Memory, rest: &[&str]) -> Option<(Extension, &'static str)> {
    let (region, last) = match rest {
        ["region", region, last] => (Some(Name::parse(region)?), last),
        [last] => (None, last),
        _ => return None,
    };
    let (action, allow) = match (*last, &region) {
        ("status", _) => (MemoryAction::Status, "GET"),
        ("register", Some(_)) => (MemoryAction::Register, "POST"),
        ("unregister", _) => (MemoryAction::Unregister, "POST"),
        _ => return None,
    };
    let extension = Extension::SharedMemory {
        memory,
        action,
        region,
    };
    Some((extension, allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[track_caller]
    fn check(allow: &'static str, path: &str, extension: Extension, operation: Operation) {
        let method = if allow.contains("POST") { "POST" } else { "GET" };
        assert_eq!(extension.operation(), operation);
        assert_eq!(
            endpoint(method, path),
            Ok(Endpoint::Extension(extension)),
            "{method} {path}"
        );
        assert_eq!(
            endpoint("DELETE", path),
            Err(RouteError::MethodNotAllowed { allow }),
            "{path}"
        );
        if path != "/v2/models/stats" {
            // What the specification alone has does not know it.
            assert_eq!(super::super::route(method, path), Err(RouteError::NotFound));
        }
    }

    #[test]
    fn the_tables_of_the_extensions() {
        let m = || name("m");
        for (path, version) in [
            ("/v2/models/m", None),
            ("/v2/models/m/versions/3", Some(name("3"))),
        ] {
            let (model, version) = (m(), version);
            let config = Extension::ModelConfig {
                model: model.clone(),
                version: version.clone(),
            };
            check("GET", &format!("{path}/config"), config, Operation::ModelConfig);
            let model = Some(model);
            let stats = Extension::ModelStatistics { model, version };
            check("GET", &format!("{path}/stats"), stats, Operation::ModelStatistics);
        }
        let (model, version) = (None, None);
        let all = Extension::ModelStatistics { model, version };
        check("GET", "/v2/models/stats", all, Operation::ModelStatistics);
        let index = Extension::RepositoryIndex;
        check("POST", "/v2/repository/index", index, Operation::RepositoryIndex);
        let load = Extension::ModelLoad { model: m() };
        let unload = Extension::ModelUnload { model: m() };
        let control = Operation::RepositoryControl;
        check("POST", "/v2/repository/models/m/load", load, control);
        check("POST", "/v2/repository/models/m/unload", unload, control);
        let access = Access::Change;
        for (path, model) in [("/v2", None), ("/v2/models/m", Some(m()))] {
            let trace = Extension::TraceSettings { model, access };
            check(
                "GET, POST",
                &format!("{path}/trace/setting"),
                trace,
                Operation::Settings,
            );
        }
        let log = Extension::LogSettings { access };
        check("GET, POST", "/v2/logging", log, Operation::Settings);
    }

    #[test]
    fn shared_memory_of_either_kind() {
        for (memory, path) in [
            (Memory::System, "/v2/systemsharedmemory"),
            (Memory::Cuda, "/v2/cudasharedmemory"),
        ] {
            for (allow, last, action, region) in [
                ("GET", "status", MemoryAction::Status, None),
                ("GET", "region/r/status", MemoryAction::Status, Some(name("r"))),
                (
                    "POST",
                    "region/r/register",
                    MemoryAction::Register,
                    Some(name("r")),
                ),
                (
                    "POST",
                    "region/r/unregister",
                    MemoryAction::Unregister,
                    Some(name("r")),
                ),
                ("POST", "unregister", MemoryAction::Unregister, None),
            ] {
                let extension = Extension::SharedMemory {
                    memory,
                    action,
                    region,
                };
                check(
                    allow,
                    &format!("{path}/{last}"),
                    extension,
                    Operation::SharedMemory,
                );
            }
            assert_eq!(
                endpoint("POST", &format!("{path}/register")),
                Err(RouteError::NotFound)
            );
        }
    }

    #[test]
    fn settings_are_read_with_get() {
        let access = Access::Read;
        assert_eq!(
            endpoint("GET", "/v2/logging"),
            Ok(Endpoint::Extension(Extension::LogSettings { access }))
        );
    }

    #[test]
    fn routes_of_the_specification_stay() {
        for (method, path) in [
            ("GET", "/v2"),
            ("GET", "/v2/health/live"),
            ("GET", "/v2/models/m"),
            ("GET", "/v2/models/config"),
            ("POST", "/v2/models/stats/infer"),
            ("GET", "/v2/models/m/versions/config"),
            ("GET", "/v2/models/versions/ready"),
        ] {
            let route = super::super::route(method, path).unwrap();
            assert_eq!(endpoint(method, path), Ok(Endpoint::Specified(route)), "{path}");
        }
        for path in [
            "/v2/repository",
            "/v2/models/../config",
            "/v2/trace",
            "/v2/models/m/load",
            "/v3",
        ] {
            assert_eq!(endpoint("GET", path), Err(RouteError::NotFound), "{path}");
        }
        assert!(
            Operation::ALL
                .iter()
                .filter(|operation| operation.is_control())
                .count()
                == 3
        );
    }
}
