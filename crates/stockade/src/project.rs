//! A project folder as commands see it: its state, its configuration, and the handle to its one owner.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use stockade_access::{Access, Acting, ActingError, Action, Claim, PolicySet, Resource};
use stockade_artifact::Vault;
use stockade_crypto::{CertificateAuthority, KeyFolder, KeyProvider};
use stockade_evidence::Actor;
use stockade_store::{
    Blobs, FolderSource, Handle, Keeper, OpenError, StateDir,
    disk::Posix,
    log::{LogPaths, LogTrust, Retention},
};

use crate::{
    cli::Global,
    clock,
    config::{self, Loaded},
    failure::{Exit, Failing as _, Failure},
};

/// The folder of policies in a project.
pub(crate) const POLICIES: &str = "policies";

const KEYS_HINT: &str = "`stockade keys recover` brings a lost root key back from its passphrase";

/// An existing project.
#[derive(Debug)]
pub(crate) struct Project {
    path: PathBuf,
    pub(crate) state: StateDir,
    pub(crate) loaded: Loaded,
}

/// Whether there is state in the folder; an error where that cannot be seen.
pub(crate) fn exists(dir: &Path) -> Result<bool, Failure> {
    let file = StateDir::new(dir).version_file();
    file.try_exists()
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", file.display())))
}

impl Project {
    /// The project in `--dir`, with its configuration read.
    pub(crate) fn find(global: &Global, flags: &[(&str, toml::Value)]) -> Result<Self, Failure> {
        let shown = global.dir.display();
        if !exists(&global.dir)? {
            return Err(
                Failure::new(Exit::Usage, format!("`{shown}` is not a Stockade project")).hint(format!(
                    "`stockade init --dir {shown}` makes one, `stockade up --dir {shown}` an example"
                )),
            );
        }
        let path = global.dir.canonicalize().exit(Exit::Failed)?;
        let loaded = config::load(&path, flags)?;
        let state = StateDir::new(&path);
        state.check_version().exit(Exit::Usage)?;
        Ok(Self { path, state, loaded })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The project's keys, from its key provider.
    pub(crate) fn keys(&self) -> Result<KeyProvider, Failure> {
        KeyFolder::open(&self.state.keys()).exit_hint(Exit::Failed, KEYS_HINT)
    }

    /// The state, owned by this process.
    pub(crate) async fn keeper(&self) -> Result<Keeper, Failure> {
        let config = self.loaded.root.evidence.clone();
        Keeper::open(self.state.clone(), self.keys()?, config)
            .await
            .map_err(|error| opening(&error))
    }

    /// The state, owned by this process or by the running server.
    pub(crate) async fn handle(&self) -> Result<Handle, Failure> {
        let config = self.loaded.root.evidence.clone();
        let keys = self.state.keys();
        Handle::connect(self.state.clone(), move || KeyFolder::open(&keys), config)
            .await
            .map_err(|error| opening(&error))
    }

    /// The log now written, for reading.
    pub(crate) fn log_source(&self) -> FolderSource {
        FolderSource::new(self.state.log())
    }

    /// Where the parts of the log now written lie.
    pub(crate) fn log_paths(&self) -> LogPaths {
        LogPaths {
            log: self.state.log(),
            journal: self.state.journal(),
            head: self.state.head(),
            origins: self.state.origins(),
        }
    }

    /// The first index that retention left in the log now written.
    pub(crate) fn minimum_index(&self) -> Result<u64, Failure> {
        let retention = Retention::read(&Posix, &self.log_paths()).exit(Exit::Failed)?;
        Ok(retention.minimum_index)
    }

    /// The keys that may have signed the log: the keyring's, or where that does not open those of the plain file.
    pub(crate) fn log_trust(&self) -> Result<LogTrust, Failure> {
        let keys = KeyFolder::open(&self.state.keys());
        if let Err(error) = &keys {
            tracing::warn!(%error, "the keyring does not open: nothing confirms the keys in `log.vkey`");
        }
        LogTrust::load(keys, &self.state.verifier_keys()).exit_hint(Exit::Failed, KEYS_HINT)
    }

    /// The folder's owner, for what no principal may do.
    pub(crate) fn owner(&self) -> Result<Actor, Failure> {
        let owner = self.state.owner().exit(Exit::Failed)?;
        let uid = rustix::process::geteuid().as_raw();
        if uid != owner {
            return Err(Failure::new(
                Exit::Findings,
                format!("only the folder's owner (user {owner}) may do this"),
            ));
        }
        Ok(Actor::Operator { uid })
    }

    /// The vault.
    pub(crate) fn vault(&self, handle: &Handle) -> Result<Vault, Failure> {
        let blobs = Blobs::folder(self.state.vault()).exit(Exit::Failed)?;
        Ok(Vault::new(blobs, handle.clone()))
    }

    /// Who runs this command, once policy allows it: the folder's owner, or the principal of `--as` and `--key-file`.
    pub(crate) async fn actor(
        &self,
        global: &Global,
        handle: &Handle,
        action: Action,
        resource: &Resource,
    ) -> Result<Actor, Failure> {
        let access = Access::new(handle.clone(), read_policies(&self.path)?)
            .await
            .exit(Exit::Failed)?;
        let claim = Claim {
            name: global.acting.as_deref(),
            key_file: global.key_file.as_deref(),
            uid: rustix::process::geteuid().as_raw(),
            folder_owner: self.state.owner().exit(Exit::Failed)?,
        };
        let acting = Acting::resolve(&access, claim, clock::now()).map_err(|error| {
            let exit = if matches!(error, ActingError::HalfAClaim) {
                Exit::Usage
            } else {
                Exit::Findings
            };
            Failure::from_error(exit, &error)
        })?;
        acting
            .require(&access, handle, action, resource, clock::now())
            .await
            .exit(Exit::Findings)?;
        Ok(acting.actor())
    }
}

/// An error at opening the state, with its exit code.
pub(crate) fn opening(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::AlreadyOwned { .. } | OpenError::Version(_) => Exit::Usage,
        error if error.is_integrity_broken() => Exit::Broken,
        _ => Exit::Failed,
    };
    Failure::from_error(exit, error)
}

/// The policies of a project folder, validated.
pub(crate) fn read_policies(project: &Path) -> Result<PolicySet, Failure> {
    PolicySet::parse(&policy_files(project)?).exit(Exit::Usage)
}

/// The policies of a project folder: names and texts of the files.
pub(crate) fn policy_files(project: &Path) -> Result<Vec<(String, String)>, Failure> {
    let folder = project.join(POLICIES);
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(&folder).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("cannot read `{}`: {error}", folder.display()),
        )
    })?;
    for entry in entries {
        let path = entry.exit(Exit::Usage)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).map_err(|error| {
                Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", path.display()))
            })?;
            files.insert(name, text);
        }
    }
    Ok(files.into_iter().collect())
}

/// Writes the public CA certificate beside the project's configuration and gives its absolute path.
pub(crate) fn write_ca_certificate(
    project: &Path,
    authority: &CertificateAuthority,
) -> Result<PathBuf, Failure> {
    let path = project.join("ca.pem");
    fs::write(&path, authority.certificate_pem()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
        )
    })?;
    Ok(path)
}
