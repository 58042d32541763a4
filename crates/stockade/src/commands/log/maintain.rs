//! `log recover` and `log prune`: what only the owner of a stopped folder does.

use serde_json::json;
use stockade_store::{UnconfirmedRows, recover_log};

use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    project::Project,
};

pub(super) async fn recover(
    global: &Global,
    unconfirmed: UnconfirmedRows,
    output: &Output,
) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let actor = project.owner()?;
    let config = project.loaded.root.evidence.clone();
    let report = recover_log(project.state.clone(), project.keys()?, config, actor, unconfirmed)
        .await
        .map_err(|error| crate::project::opening(&error))?;
    let kept_at = report.former.kept_at.display().to_string();
    let value = json!({
        "origin": report.origin,
        "former": { "origin": report.former.head.as_ref().map(|head| &head.origin), "kept_at": kept_at },
        "rows": report.rows,
        "rows_kept": report.rows_kept,
        "rows_accepted": report.rows_accepted,
    });
    output.result(&value, || {
        let rows = match (report.rows_kept, report.rows_accepted) {
            (false, _) => "replayed from what is left of the old log".to_owned(),
            (true, 0) => "which the old log confirms".to_owned(),
            (true, accepted) => format!("as they stood: the old log does not confirm {accepted}"),
        };
        format!(
            "the log goes on as {}; the old one is kept in {kept_at}\n{} rows, {rows}",
            report.origin, report.rows
        )
    })?;
    Ok(Exit::Fine)
}

pub(super) async fn prune(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let keeper = project.keeper().await?;
    let pruned = async { keeper.prune(project.owner()?).await.exit(Exit::Failed) }.await;
    keeper.close().await.exit(Exit::Failed)?;
    let (minimum_index, freed) = pruned?;
    output.result(
        &json!({ "minimum_index": minimum_index, "freed_bytes": freed }),
        || format!("entries below {minimum_index} are gone ({freed} bytes); hashes and proofs stay"),
    )?;
    Ok(Exit::Fine)
}
