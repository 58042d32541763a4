//! Hot reload: when `stockade.toml` or a policy changes, new parts are read completely and swapped in; a mistake
//! keeps the old ones, says why, and is recorded.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Global,
    commands::serve::Listen,
    config,
    failure::Failure,
    project::{self, Project},
    worker::{Parts, Reloading},
};

const EVERY: Duration = Duration::from_secs(1);

/// Looks once a second, and at SIGHUP, until `shutdown`. `started` is what the log was opened with.
pub(crate) async fn watch(
    global: &Global,
    listen: &Listen,
    reloads: mpsc::Sender<Reloading>,
    started: &stockade_store::Config,
    shutdown: CancellationToken,
) {
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut seen = fingerprint(&global.dir);
    loop {
        let asked = async {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let forced = tokio::select! {
            () = shutdown.cancelled() => return,
            () = asked => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let now = fingerprint(&global.dir);
        if now == seen && !forced {
            continue;
        }
        seen = now;
        let parts = parts(global, listen, started).map_err(|failure| failure.to_string());
        let (ended, ending) = oneshot::channel();
        if reloads.send(Reloading { parts, ended }).await.is_err() {
            return;
        }
        match shutdown.run_until_cancelled(ending).await {
            Some(Ok(Ok(()))) => tracing::info!("configuration and policies reloaded"),
            Some(Ok(Err(reason))) => {
                tracing::error!(%reason, "the old configuration and policies stay in force");
            }
            Some(Err(_)) => {
                tracing::error!("the worker ended; another has the old configuration and policies")
            }
            None => return,
        }
    }
}

fn parts(global: &Global, listen: &Listen, started: &stockade_store::Config) -> Result<Parts, Failure> {
    let project = Project::find(global, &listen.settings())?;
    let changed = changed(started, &project.loaded.root.evidence);
    Ok(Parts {
        needs_restart: changed.into_iter().map(str::to_owned).collect(),
        ..Parts::of(&project)?
    })
}

/// Which settings of `[evidence]` differ from those that the log was opened with. Retention binds each `log prune`.
fn changed(started: &stockade_store::Config, now: &stockade_store::Config) -> Vec<&'static str> {
    let settings = [
        (
            "evidence.integrate_every_ms",
            started.integrate_every_ms != now.integrate_every_ms,
        ),
        (
            "evidence.disk_budget_bytes",
            started.disk_budget_bytes != now.disk_budget_bytes,
        ),
        ("evidence.anchor", started.anchor != now.anchor),
    ];
    settings
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
}

/// Names, sizes and times of the files that matter.
fn fingerprint(dir: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let mut files = vec![dir.join(config::FILE)];
    if let Ok(entries) = std::fs::read_dir(dir.join(project::POLICIES)) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .into_iter()
        .filter_map(|path| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.len(), metadata.modified().ok()))
        })
        .collect()
}
