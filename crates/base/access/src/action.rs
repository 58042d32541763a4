//! What can be done ([`Action`]) and to what ([`Resource`]). The names are those that policies use.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Environment;

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// Something that a principal can ask for.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum Action { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant),*];

            /// The id in policies, such as `model.infer`.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => $name,)* }
            }
        }
    };
}

actions! {
    /// Ask a model for an answer.
    ModelInfer = "model.infer";
    /// Read a model's inputs and outputs, or whether it is ready.
    ModelMetadata = "model.metadata";
    /// List the models.
    ModelList = "model.list";
    /// Read a model's configuration.
    ModelConfig = "model.config";
    /// Read how often and how long models ran, for one model or for all.
    ModelStatistics = "model.statistics";
    /// Read the server's name, version and extensions.
    ServerMetadata = "server.metadata";
    /// Read the index of the model repository.
    RepositoryIndex = "repository.index";
    /// Load or unload a model.
    RepositoryControl = "repository.control";
    /// Register, see or unregister memory through which tensors bypass the gateway.
    ServerSharedMemory = "server.shared_memory";
    /// Read or change what the server traces and logs.
    ServerSettings = "server.settings";
    /// Seal a model into the vault.
    ModelSeal = "model.seal";
    /// Take a model's plaintext out of the vault.
    ModelOpen = "model.open";
    /// Issue an API key.
    KeyCreate = "key.create";
    /// List API keys, without their secrets.
    KeyList = "key.list";
    /// Revoke an API key.
    KeyRevoke = "key.revoke";
    /// Replace an API key.
    KeyRotate = "key.rotate";
    /// Enrol a person or a workload.
    PrincipalCreate = "principal.create";
    /// Bind an external identity to a principal or take it away; disable a principal or enable it.
    PrincipalChange = "principal.change";
    /// See what was seen of each client, and what is done about it.
    ClientList = "client.list";
    /// Undo what is done about a suspected client.
    ClientRelease = "client.release";
    /// Read the evidence log.
    LogRead = "log.read";
    /// Export proofs from the evidence log.
    LogExport = "log.export";
    /// Read the configuration.
    ConfigRead = "config.read";
    /// Read the metrics.
    MetricsRead = "metrics.read";
    /// Make a backup.
    BackupCreate = "backup.create";
    /// Restore a backup.
    BackupRestore = "backup.restore";
    /// Destroy a person's key, and with it the personal fields under it.
    Erase = "subject.erase";
}

/// The text names no action.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not an action\nhint: the actions are {}", action_names())]
pub struct UnknownAction {
    text: String,
}

fn action_names() -> String {
    Action::ALL
        .iter()
        .map(|action| action.name())
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownAction {
            text: text.chars().take(64).collect(),
        };
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.name() == text)
            .ok_or_else(unknown)
    }
}

/// What an action is done to.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Resource {
    /// The server as a whole.
    Server,
    /// One model.
    Model {
        /// Its name.
        name: String,
        /// Where it is served.
        environment: Environment,
    },
    /// The evidence log.
    Log,
    /// Principals and their keys.
    Access,
    /// The project's backups.
    Backup,
}

/// The text names no resource.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is not a resource\n\
     hint: the resources are `server`, `log`, `access`, `backup` and `model:ENVIRONMENT/NAME`, such as `model:prod/digits`"
)]
pub struct UnknownResource {
    text: String,
}

/// `server`, `log`, `access`, `backup` or `model:ENVIRONMENT/NAME`; parsing reads the same.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Model { name, environment } => write!(f, "model:{environment}/{name}"),
            Self::Log => f.write_str("log"),
            Self::Access => f.write_str("access"),
            Self::Backup => f.write_str("backup"),
        }
    }
}

impl FromStr for Resource {
    type Err = UnknownResource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownResource {
            text: text.chars().take(64).collect(),
        };
        let fixed = [Self::Server, Self::Log, Self::Access, Self::Backup];
        if let Some(resource) = fixed.into_iter().find(|resource| resource.to_string() == text) {
            return Ok(resource);
        }
        let (environment, name) = text
            .strip_prefix("model:")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(unknown)?;
        let environment = environment.parse().map_err(|_| unknown())?;
        if name.is_empty() {
            return Err(unknown());
        }
        Ok(Self::Model {
            name: name.to_owned(),
            environment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse(), Ok(*action));
        }
        for text in [
            "server",
            "log",
            "access",
            "backup",
            "model:prod/digits",
            "model:dev/a/b",
        ] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_choices() {
        let error = "model.steal".parse::<Action>().unwrap_err().to_string();
        assert!(error.starts_with("`model.steal` is not an action\nhint: ") && error.contains("model.infer"));
        for text in [
            "",
            "model",
            "model:",
            "model:prod",
            "model:prod/",
            "model:space/x",
            "Server",
            "server ",
        ] {
            assert!(text.parse::<Resource>().is_err(), "{text:?}");
        }
    }
}
