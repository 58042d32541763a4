//! `stockade doctor`: is the folder sound, and what is missing?

use clap::Args;
use serde::Serialize;
use serde_json::json;
use stockade_store::{OpenError, ReadError, RowsError, rebuild};

use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::{self, Project},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Make the database of records anew from the log
    #[arg(long)]
    rebuild: bool,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fine,
    /// It works, but something is worth doing.
    Advice,
    Wrong,
    /// Content is not what was signed.
    Broken,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    state: State,
    says: String,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    if arguments.rebuild {
        let report = rebuild(project.state.clone(), project.keys()?)
            .await
            .map_err(|error| project::opening(&error))?;
        output.result(
            &json!({ "rows": report.rows, "log_size": report.log_size }),
            || {
                format!(
                    "{} rows made anew from {} log entries",
                    report.rows, report.log_size
                )
            },
        )?;
        return Ok(Exit::Fine);
    }
    let checks = vec![
        policies(&project),
        state(&project).await,
        recovery(&project),
        anchor(&project),
        isolation(&project),
    ];
    let worst = checks
        .iter()
        .map(|check| check.state)
        .max()
        .unwrap_or(State::Fine);
    output.result(&json!({ "checks": checks, "ok": worst < State::Wrong }), || {
        let rows: Vec<Vec<String>> = checks
            .iter()
            .map(|check| {
                vec![
                    format!("{:?}", check.state).to_lowercase(),
                    check.what.to_owned(),
                    check.says.clone(),
                ]
            })
            .collect();
        columns(&["STATE", "WHAT", "SAYS"], &rows)
    })?;
    Ok(match worst {
        State::Fine | State::Advice => Exit::Fine,
        State::Wrong => Exit::Findings,
        State::Broken => Exit::Broken,
    })
}

fn policies(project: &Project) -> Check {
    match project::read_policies(project.path()) {
        Ok(set) => Check {
            what: "policies",
            state: State::Fine,
            says: format!("validated, {}", set.digest()),
        },
        Err(failure) => Check {
            what: "policies",
            state: State::Wrong,
            says: failure.to_string(),
        },
    }
}

/// Opens the state as a server would, unless one runs.
async fn state(project: &Project) -> Check {
    let config = project.loaded.root.evidence.clone();
    let keys = match project.keys() {
        Ok(keys) => keys,
        Err(failure) => {
            return Check {
                what: "keys",
                state: State::Wrong,
                says: failure.to_string(),
            };
        }
    };
    match stockade_store::Keeper::open(project.state.clone(), keys, config).await {
        Ok(keeper) => {
            let size = keeper.log().durable_size();
            let says = format!("{size} log entries, rows agree with them");
            match keeper.close().await {
                Ok(()) => Check {
                    what: "state",
                    state: State::Fine,
                    says,
                },
                Err(error) => Check {
                    what: "state",
                    state: State::Wrong,
                    says: error.to_string(),
                },
            }
        }
        Err(OpenError::AlreadyOwned { .. }) => beside(project).await,
        Err(error) => {
            let failure = project::opening(&error);
            let state = if failure.exit == Exit::Broken {
                State::Broken
            } else {
                State::Wrong
            };
            Check {
                what: "state",
                state,
                says: failure.to_string(),
            }
        }
    }
}

/// Asks whoever owns the state to compare its rows with what it knows of the log.
async fn beside(project: &Project) -> Check {
    let checked = async {
        let handle = project.handle().await?;
        let rows = handle.check_rows().await.map_err(|error| match error {
            error @ ReadError::Rows(RowsError::Differs { .. }) => Failure::from_error(Exit::Broken, &error),
            error => Failure::from_error(Exit::Failed, &error),
        });
        handle.close().await.exit(Exit::Failed)?;
        rows
    };
    let (state, says) = match checked.await {
        Ok(rows) => (
            State::Fine,
            format!("{rows} rows agree with the log, says the running server"),
        ),
        Err(failure) if failure.exit == Exit::Broken => (State::Broken, failure.to_string()),
        Err(failure) => (State::Wrong, failure.to_string()),
    };
    Check {
        what: "state",
        state,
        says,
    }
}

fn recovery(project: &Project) -> Check {
    let what = "recovery passphrase";
    match project.keys().map(|keys| keys.has_recovery()) {
        Ok(true) => Check {
            what,
            state: State::Fine,
            says: "set".to_owned(),
        },
        Ok(false) => {
            let says =
                "not set: a lost root key is lost for good; `stockade keys set-recovery` sets one".to_owned();
            Check {
                what,
                state: State::Advice,
                says,
            }
        }
        Err(failure) => Check {
            what,
            state: State::Wrong,
            says: failure.to_string(),
        },
    }
}

/// What this kernel has to keep the process that serves in its place.
fn isolation(project: &Project) -> Check {
    let has = stockade_confine::supported();
    let required = project.loaded.root.worker.require_isolation;
    let (state, says) = if has.is_whole() {
        (State::Fine, has.names().join(", "))
    } else {
        let has = has.names().join(", ");
        let state = if required { State::Wrong } else { State::Advice };
        let says =
            format!("the kernel has only [{has}] of Landlock and seccomp; use Linux 5.13 or later with both");
        (state, says)
    };
    Check {
        what: "worker isolation",
        state,
        says,
    }
}

fn anchor(project: &Project) -> Check {
    let what = "anchor";
    if project.loaded.root.evidence.anchor.is_some() {
        return Check {
            what,
            state: State::Fine,
            says: "configured".to_owned(),
        };
    }
    let says =
        "none: a rollback of the whole folder would not be seen; set `[evidence] anchor` to a path elsewhere";
    Check {
        what,
        state: State::Advice,
        says: says.to_owned(),
    }
}
