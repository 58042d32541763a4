//! `log show`, `log export` and `log check`: records for people, and for strangers.

use std::{collections::VecDeque, fs, path::Path};

use serde_json::{Value, json};
use stockade_access::{Action, Resource};
use stockade_evidence::{Actor, Event, LogProof, LogVerifier, Record, RecordId, Subject, SubjectKind};
use stockade_store::{
    Handle,
    log::{ReadError, export_proof},
};

use super::{Show, verify::read_text};
use crate::{
    cli::Global,
    clock,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::Project,
};

pub(super) async fn run(global: &Global, arguments: &Show, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let event = arguments.event.as_deref().map(parse_event).transpose()?;
    read_allowed(global, &project).await?;
    let mut newest: VecDeque<(u64, Record)> = VecDeque::new();
    let mut unreadable = None;
    let opened = project
        .log_trust()?
        .open_checkpoint(&project.log_paths())
        .map_err(|error| unread(&error))?;
    let size = opened.map_or(0, |opened| opened.checkpoint.size);
    let minimum = project.minimum_index()?;
    project
        .log_source()
        .entries(minimum, size, &mut |index, leaf| match Record::from_leaf(leaf) {
            Ok(record) => {
                if event.is_none_or(|event| record.event == event) {
                    newest.push_back((index, record));
                    if newest.len() > arguments.limit {
                        newest.pop_front();
                    }
                }
                true
            }
            Err(error) => {
                unreadable = Some(Failure::from_error(Exit::Broken, &error));
                false
            }
        })
        .map_err(|error| unread(&error))?;
    if let Some(failure) = unreadable {
        return Err(failure);
    }
    let records: Vec<Value> = newest
        .iter()
        .map(|(index, record)| json!({ "index": index, "record": record }))
        .collect();
    output.result(&json!({ "records": records }), || {
        let rows: Vec<Vec<String>> = newest.iter().map(|(index, record)| row(*index, record)).collect();
        columns(&["INDEX", "TIME", "EVENT", "ACTOR", "ABOUT", "DECISION"], &rows)
    })?;
    Ok(Exit::Fine)
}

fn unread(error: &ReadError) -> Failure {
    let exit = if error.is_integrity_broken() {
        Exit::Broken
    } else {
        Exit::Failed
    };
    Failure::from_error(exit, error)
}

/// A named principal must be allowed to read the log, and its reading is recorded; the owner reads the files anyway.
async fn read_allowed(global: &Global, project: &Project) -> Result<(), Failure> {
    if global.acting.is_none() {
        return Ok(());
    }
    let handle = project.handle().await?;
    let actor = project
        .actor(global, &handle, Action::LogRead, &Resource::Log)
        .await?;
    record_export(&handle, actor, "read").await?;
    handle.close().await.exit(Exit::Failed)
}

async fn record_export(handle: &Handle, actor: Actor, how: &str) -> Result<(), Failure> {
    let id = RecordId::new(stockade_crypto::random_array().exit(Exit::Failed)?);
    let record = Record::new(clock::now(), id, Event::LogExported, actor)
        .about(Subject::new(SubjectKind::Log, "log"))
        .with("how", how);
    handle.append(record).await.exit(Exit::Failed)?;
    Ok(())
}

fn parse_event(text: &str) -> Result<Event, Failure> {
    Event::ALL
        .iter()
        .copied()
        .find(|event| event.name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
            Failure::new(Exit::Usage, format!("there is no event `{text}`"))
                .hint(format!("one of {}", names.join(", ")))
        })
}

fn row(index: u64, record: &Record) -> Vec<String> {
    let actor = match &record.actor {
        Actor::Principal { id } => id.clone(),
        Actor::Operator { uid } => format!("operator:{uid}"),
        Actor::System {} => "stockade".to_owned(),
        Actor::Unidentified {} => "-".to_owned(),
    };
    let about = record
        .subject
        .as_ref()
        .map_or_else(String::new, |subject| subject.name.clone());
    let decision = match &record.decision {
        Some(stockade_evidence::Decision::Allowed { .. }) => "allowed".to_owned(),
        Some(stockade_evidence::Decision::Refused { code, .. }) => format!("refused: {code}"),
        None => String::new(),
    };
    vec![
        index.to_string(),
        record.time.to_string(),
        record.event.name().to_owned(),
        actor,
        about,
        decision,
    ]
}

pub(super) async fn export(
    global: &Global,
    index: u64,
    out: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let handle = project.handle().await?;
    let actor = project
        .actor(global, &handle, Action::LogExport, &Resource::Log)
        .await?;
    record_export(&handle, actor, "proof").await?;
    handle.close().await.exit(Exit::Failed)?;
    let source = project.log_source();
    let trust = project.log_trust()?;
    let opened = trust
        .open_checkpoint(&project.log_paths())
        .map_err(|error| unread(&error))?;
    let origin = opened.map_or_else(String::new, |opened| opened.checkpoint.origin);
    let verifiers = trust.verifiers(&origin);
    let proof = export_proof(&source, index, &verifiers).exit(Exit::Failed)?;
    let mut entry = Vec::new();
    source
        .entries(index, index + 1, &mut |_, leaf| {
            entry = leaf.to_vec();
            false
        })
        .map_err(|error| unread(&error))?;
    fs::create_dir_all(out).exit(Exit::Failed)?;
    fs::write(out.join("entry.json"), &entry).exit(Exit::Failed)?;
    fs::write(out.join("entry.tlog-proof"), proof.to_text()).exit(Exit::Failed)?;
    let shown = out.display().to_string();
    output.result(&json!({ "index": index, "out": shown }), || {
        format!("record {index} and its proof are in {shown}; `stockade log check` verifies them anywhere")
    })?;
    Ok(Exit::Fine)
}

pub(super) fn check(entry: &Path, proof: &Path, key: &Path, output: &Output) -> Result<Exit, Failure> {
    let verifiers = LogVerifier::from_vkeys(&read_text(key)?).exit(Exit::Usage)?;
    let proof = LogProof::parse(&read_text(proof)?).exit(Exit::Broken)?;
    let entry = read_text(entry)?;
    let opened = proof.verify(entry.as_bytes(), &verifiers).exit(Exit::Broken)?;
    let value = json!({ "ok": true, "origin": opened.checkpoint.origin, "size": opened.checkpoint.size });
    output.result(&value, || {
        format!(
            "the record is in {} (size {})",
            opened.checkpoint.origin, opened.checkpoint.size
        )
    })?;
    Ok(Exit::Fine)
}
