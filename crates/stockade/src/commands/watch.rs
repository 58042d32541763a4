//! `stockade watch`: what the watches over queries saw of each client, and the end of what was done about it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};
use stockade_access::{Action, PrincipalId, Resource};
use stockade_evidence::{Actor, Event, Record, Timestamp};
use stockade_serve::{CLIENT_STANDING, Standing, release};
use stockade_store::{Handle, log::ReadError};

use crate::{
    cli::Global,
    clock,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::Project,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Per client and model: queries, bits that answers could carry, alarms, and what is done about them
    #[command(
        after_help = "Examples:\n  stockade watch clients\n  stockade watch clients --model digits --format json"
    )]
    Clients {
        /// One model alone
        #[arg(long)]
        model: Option<String>,
        /// The last so many hours alone
        #[arg(long, value_name = "HOURS")]
        hours: Option<u32>,
    },
    /// Undo what is done about a client; a running server heeds it within a second
    #[command(after_help = "Example:\n  stockade watch release scoring --model digits")]
    Release {
        /// The client
        principal: PrincipalId,
        /// The model
        #[arg(long)]
        model: String,
    },
}

/// One client of one model, as the log tells.
#[derive(Debug, Default, Serialize)]
struct Client {
    principal: String,
    model: String,
    /// Rows that it asked.
    queries: u64,
    /// Bits that their answers could carry.
    bits: u64,
    alarms: Vec<Alarm>,
    /// The step that binds now.
    action: Option<&'static str>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Alarm {
    detector: String,
    at_query: u64,
    statistic: f64,
    scope: String,
    time: Timestamp,
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let handle = project.handle().await?;
    let allowed = |action| project.actor(global, &handle, action, &Resource::Access);
    let done = match verb {
        Verb::Clients { model, hours } => {
            allowed(Action::ClientList).await?;
            let since = hours.map(|hours| clock::now().plus_ms(-i64::from(hours) * 3_600_000));
            let clients = clients(&project, &handle, model.as_deref(), since).await?;
            output.result(&json!({ "clients": clients }), || table(&clients))
        }
        Verb::Release { principal, model } => {
            let actor = allowed(Action::ClientRelease).await?;
            released(&handle, &actor, &model, &principal).await?;
            output.result(&json!({ "released": principal, "model": model }), || {
                format!("{principal} is free again at {model}")
            })
        }
    };
    handle.close().await.exit(Exit::Failed)?;
    done.map(|()| Exit::Fine)
}

async fn released(
    handle: &Handle,
    actor: &Actor,
    model: &str,
    principal: &PrincipalId,
) -> Result<(), Failure> {
    release(handle, actor, model, principal, clock::now())
        .await
        .map_err(|error| {
            let exit = if error.is_usage() {
                Exit::Usage
            } else {
                Exit::Failed
            };
            Failure::from_error(exit, &error)
        })
}

async fn clients(
    project: &Project,
    handle: &Handle,
    model: Option<&str>,
    since: Option<Timestamp>,
) -> Result<Vec<Client>, Failure> {
    handle.integrated().await.exit(Exit::Failed)?;
    let mut seen = BTreeMap::new();
    read(project, &mut |record| {
        if since.is_none_or(|since| record.time >= since) {
            count(&mut seen, record);
        }
    })?;
    for row in handle.rows(CLIENT_STANDING).await.exit(Exit::Failed)? {
        let standing: Standing = serde_json::from_value(row.value).exit(Exit::Broken)?;
        if let Some(step) = standing.binding(clock::now()).last() {
            let client = of(&mut seen, standing.principal.as_str(), &standing.model);
            client.action = Some(step.as_str());
            client.until = Some(standing.until);
        }
    }
    let wanted = |client: &Client| model.is_none_or(|model| client.model == model);
    Ok(seen.into_values().filter(wanted).collect())
}

/// Every record of the log that is under a checkpoint.
fn read(project: &Project, each: &mut dyn FnMut(&Record)) -> Result<(), Failure> {
    let opened = project
        .log_trust()?
        .open_checkpoint(&project.log_paths())
        .map_err(|error| unread(&error))?;
    let size = opened.map_or(0, |opened| opened.checkpoint.size);
    let mut unreadable = None;
    project
        .log_source()
        .entries(project.minimum_index()?, size, &mut |_, leaf| {
            let record = Record::from_leaf(leaf).map_err(|error| Failure::from_error(Exit::Broken, &error));
            match record {
                Ok(record) => each(&record),
                Err(failure) => unreadable = Some(failure),
            }
            unreadable.is_none()
        })
        .map_err(|error| unread(&error))?;
    unreadable.map_or(Ok(()), Err)
}

fn unread(error: &ReadError) -> Failure {
    let broken = error.is_integrity_broken();
    Failure::from_error(if broken { Exit::Broken } else { Exit::Failed }, error)
}

fn of<'a>(seen: &'a mut BTreeMap<(String, String), Client>, principal: &str, model: &str) -> &'a mut Client {
    let key = (principal.to_owned(), model.to_owned());
    seen.entry(key).or_insert_with(|| Client {
        principal: principal.to_owned(),
        model: model.to_owned(),
        ..Client::default()
    })
}

fn count(seen: &mut BTreeMap<(String, String), Client>, record: &Record) {
    let text = |name: &str| record.details.get(name).and_then(Value::as_str);
    let number = |name: &str| record.details.get(name).and_then(Value::as_u64);
    let Some(subject) = &record.subject else { return };
    match (record.event, &record.actor) {
        (Event::RequestAdmitted, Actor::Principal { id })
            if text("action") == Some(Action::ModelInfer.name()) =>
        {
            let client = of(seen, id, &subject.name);
            client.queries = client.queries.saturating_add(number("rows").unwrap_or(0));
            client.bits = client.bits.saturating_add(number("bits").unwrap_or(0));
        }
        (Event::RequestOutcome, Actor::Principal { id }) => {
            if let Some(beyond) = number("bits_beyond") {
                let client = of(seen, id, &subject.name);
                client.bits = client.bits.saturating_add(beyond);
            }
        }
        (Event::ClientSuspected, _) => {
            let Some(model) = text("model") else { return };
            of(seen, &subject.name, model).alarms.push(Alarm {
                detector: text("detector").unwrap_or_default().to_owned(),
                at_query: number("at_query").unwrap_or(0),
                statistic: record
                    .details
                    .get("statistic")
                    .and_then(Value::as_f64)
                    .unwrap_or(0.0),
                scope: text("scope").unwrap_or_default().to_owned(),
                time: record.time,
            });
        }
        _ => {}
    }
}

fn table(clients: &[Client]) -> String {
    let rows: Vec<Vec<String>> = clients
        .iter()
        .map(|client| {
            let detectors = client.alarms.iter().map(|alarm| alarm.detector.as_str());
            let detectors: Vec<&str> = detectors.collect::<BTreeSet<_>>().into_iter().collect();
            vec![
                client.principal.clone(),
                client.model.clone(),
                client.queries.to_string(),
                client.bits.to_string(),
                client.alarms.len().to_string(),
                detectors.join(","),
                client.action.unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    columns(
        &[
            "PRINCIPAL",
            "MODEL",
            "QUERIES",
            "BITS",
            "ALARMS",
            "DETECTORS",
            "ACTION",
        ],
        &rows,
    )
}
