//! What a worker is to serve, as the project says it.

use stockade_access::PolicySet;
use stockade_serve::Config;

use crate::{
    config,
    failure::{Exit, Failing as _, Failure},
    project::{self, Project},
};

/// What is served, as the project says it.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    /// File names and texts, which parse.
    pub(crate) policies: Vec<(String, String)>,
    pub(crate) require_isolation: bool,
    /// Changed settings outside the gateway that bind at start.
    pub(crate) needs_restart: Vec<String>,
}

impl Parts {
    /// Those of a project, checked as far as they can be without its models.
    pub(crate) fn of(project: &Project) -> Result<Self, Failure> {
        let root = &project.loaded.root;
        let policies = project::policy_files(project.path())?;
        let parsed = PolicySet::parse(&policies).exit(Exit::Usage)?;
        config::check(project.path(), root, &parsed)?;
        Ok(Self {
            config: root.gateway().relative_to(project.path()),
            policies,
            require_isolation: root.worker.require_isolation,
            needs_restart: Vec::new(),
        })
    }

    /// Whether a worker that was started with these reaches all that `others` name.
    pub(super) fn reach(&self, others: &Self) -> bool {
        let reached = self.config.destinations();
        let named = others.config.destinations();
        self.config.engine == others.config.engine && named.iter().all(|each| reached.contains(each))
    }

    /// The same on the ports of `config`, which stay open.
    pub(super) fn on_ports_of(mut self, config: &Config) -> Self {
        let Config {
            listen,
            grpc_listen,
            admin_listen,
            ref hosts,
            dangerous_plaintext,
            ..
        } = *config;
        self.config.listen = listen;
        self.config.grpc_listen = grpc_listen;
        self.config.admin_listen = admin_listen;
        self.config.hosts.clone_from(hosts);
        self.config.dangerous_plaintext = dangerous_plaintext;
        self.needs_restart = Vec::new();
        self
    }
}
