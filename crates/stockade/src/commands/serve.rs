//! `stockade serve`: open the state, listen, start the worker that serves, and let it drain at the end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use stockade_access::{Access, PolicySet};
use stockade_serve::{Bound, Listeners};
use stockade_store::Keeper;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    private_files,
    project::{self, Project},
    reload,
    worker::{Parts, Supervisor},
};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stockade serve --dir prod --ready-file /run/stockade/ready.json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// Write this file (0600, by rename) when requests are served, and remove it at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Listeners, over what `stockade.toml` says.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Listen {
    /// Address of the gateway; port 0 takes free ports for every listener
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address of the gRPC listener
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc_listen: Option<String>,
    /// Address of the admin listener
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<String>,
}

impl Listen {
    /// The flags as settings.
    pub(crate) fn settings(&self) -> Vec<(&'static str, toml::Value)> {
        let flags = [
            ("listen", &self.listen),
            ("grpc_listen", &self.grpc_listen),
            ("admin_listen", &self.admin_listen),
        ];
        flags
            .into_iter()
            .filter_map(|(name, address)| Some((name, toml::Value::String(address.clone()?))))
            .collect()
    }
}

/// What a script needs to talk to a server that is ready. URLs end without a slash, paths are absolute.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ready {
    pub(crate) gateway_url: String,
    pub(crate) grpc_url: String,
    pub(crate) admin_url: String,
    pub(crate) ca_cert: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
}

pub(crate) async fn run(global: &Global, arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &arguments.listen.settings())?;
    let keeper = own(&project, &arguments).await?;
    let ready = |bound: &Bound, ca_cert: PathBuf| Ready {
        gateway_url: bound.gateway_url.clone(),
        grpc_url: bound.grpc_url.clone(),
        admin_url: bound.admin_url.clone(),
        ca_cert,
        client_key_file: None,
        admin_key_file: None,
        model: None,
    };
    serve(global, &arguments, &project, keeper, ready, |ready| {
        output.result(ready, || {
            format!(
                "serving on {} (gRPC on {}, admin on {})",
                ready.gateway_url, ready.grpc_url, ready.admin_url
            )
        })
    })
    .await
}

/// Takes the state, and with it the ready file: what a killed server left there would mislead whoever waits for it.
pub(crate) async fn own(project: &Project, arguments: &Arguments) -> Result<Keeper, Failure> {
    let keeper = project.keeper().await?;
    if let Some(path) = &arguments.ready_file {
        ReadyFile::prepare(path)?;
    }
    Ok(keeper)
}

/// Serves until SIGTERM or SIGINT. `announce` is called once requests are served.
pub(crate) async fn serve(
    global: &Global,
    arguments: &Arguments,
    project: &Project,
    keeper: Keeper,
    ready: impl FnOnce(&Bound, PathBuf) -> Ready,
    announce: impl FnOnce(&Ready) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let parts = Parts::of(project)?;
    let policies = PolicySet::parse(&parts.policies).exit(Exit::Usage)?;
    // Whoever finds the server ready may stop it at once.
    let mut stopping = Stopping::listen()?;
    let changes = keeper.changes();
    let access = Arc::new(Access::new(keeper.clone(), policies).await.exit(Exit::Failed)?);
    let authority = keeper.keys().certificate_authority().exit(Exit::Failed)?;
    let ca_cert = project::write_ca_certificate(project.path(), &authority)?;
    let listeners = Listeners::open(&parts.config).exit_hint(
        Exit::Failed,
        "choose other addresses with --listen, --grpc-listen and --admin-listen",
    )?;
    let supervisor = Supervisor::new(global, project, keeper.clone(), access.clone(), parts, listeners)?;
    let (worker, bound) = Box::pin(supervisor.start()).await?;
    let ready = ready(&bound, ca_cert);
    keeper
        .announce(&ready.gateway_url, &ready.admin_url)
        .exit(Exit::Failed)?;
    let file = arguments
        .ready_file
        .as_deref()
        .map(|path| ReadyFile::write(path, &ready))
        .transpose()?;
    announce(&ready)?;

    let shutdown = tokio_util::sync::CancellationToken::new();
    let control = keeper.serve_control(shutdown.clone().cancelled_owned());
    let (reloads, asked) = mpsc::channel(1);
    let reloading = reload::watch(
        global,
        &arguments.listen,
        reloads,
        &project.loaded.root.evidence,
        shutdown.clone(),
    );
    let stop = async {
        shutdown.run_until_cancelled(stopping.asked()).await;
        shutdown.cancel();
    };
    let serving = async {
        let served = Box::pin(supervisor.run(worker, asked, shutdown.clone())).await;
        shutdown.cancel();
        served
    };
    let (served, controlled, (), (), _) = tokio::join!(
        serving,
        control,
        reloading,
        stop,
        shutdown.run_until_cancelled(access.follow(changes)),
    );
    drop(file);
    served?;
    controlled.exit(Exit::Failed)?;
    keeper.close().await.exit(Exit::Failed)?;
    Ok(Exit::Fine)
}

/// The signals that ask for the end, heard from the moment this is made.
struct Stopping {
    terminate: Signal,
    interrupt: Signal,
}

impl Stopping {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).exit(Exit::Failed)?,
            interrupt: signal(SignalKind::interrupt()).exit(Exit::Failed)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The ready file, removed when dropped.
#[derive(Debug)]
struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    /// Removes what a killed server left, and shows early that the file can be written.
    fn prepare(path: &Path) -> Result<(), Failure> {
        private_files::write(path, b"")?;
        std::fs::remove_file(path).exit(Exit::Failed)
    }

    fn write(path: &Path, ready: &Ready) -> Result<Self, Failure> {
        let text = serde_json::to_vec_pretty(&json!(ready)).exit(Exit::Failed)?;
        private_files::write(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = std::fs::remove_file(&self.path);
    }
}
