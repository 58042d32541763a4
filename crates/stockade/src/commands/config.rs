//! `stockade config`: what is in force, who set it, and what may be set.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;
use stockade_serve::UpstreamSource;
use toml::{Table, Value};

use crate::{
    cli::Global,
    config::{self, Origin, flatten},
    failure::{Exit, Failing as _, Failure},
    models,
    output::{Output, columns},
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print the settings in force
    Show {
        /// Say for each setting who set it
        #[arg(long)]
        origin: bool,
    },
    /// Check `stockade.toml` and the policies without starting anything
    Check {
        /// Also open the sealed models and hold the configuration against them; each opening is recorded
        #[arg(long)]
        models: bool,
    },
    /// Print the JSON schema of `stockade.toml`
    Schema,
}

pub(crate) async fn run(global: &Global, verb: &Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Show { origin } => show(global, *origin, output),
        Verb::Check { models } => check(global, *models, output).await,
        Verb::Schema => {
            let schema = config::schema();
            output.result(&schema, || format!("{schema:#}"))?;
            Ok(Exit::Fine)
        }
    }
}

fn show(global: &Global, origin: bool, output: &Output) -> Result<Exit, Failure> {
    let loaded = config::load(&global.dir, &[])?;
    let table = Table::try_from(&loaded.root).exit(Exit::Failed)?;
    let mut settings = Vec::new();
    flatten(&table, "", &mut settings);
    let who = |path: &str| {
        loaded
            .layers
            .origins
            .get(path)
            .cloned()
            .unwrap_or(Origin::Default)
    };
    let value = json!({
        "settings": settings.iter().map(|(path, value)| json!({
            "name": path, "value": value, "origin": who(path),
        })).collect::<Vec<_>>(),
    });
    output.result(&value, || {
        if origin {
            let rows: Vec<Vec<String>> = settings
                .iter()
                .map(|(path, value)| vec![path.clone(), value.to_string(), describe(&who(path))])
                .collect();
            return columns(&["SETTING", "VALUE", "SET BY"], &rows);
        }
        settings
            .iter()
            .fold(String::new(), |mut text, (path, value): &(String, Value)| {
                let _ = writeln!(text, "{path} = {value}");
                text
            })
    })?;
    Ok(Exit::Fine)
}

fn describe(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File => config::FILE.to_owned(),
        Origin::Environment(name) => name.clone(),
        Origin::Flag(name) => format!("--{name}"),
    }
}

/// Reads, and takes no lock; only where the models are to be opened it becomes the state's owner, or asks it.
async fn check(global: &Global, open: bool, output: &Output) -> Result<Exit, Failure> {
    let loaded = config::load(&global.dir, &[])?;
    for (name, model) in &loaded.root.model {
        if !UpstreamSource::is_named_by(&model.source) {
            models::source(name, model)?;
        }
    }
    let policies = project::read_policies(&global.dir)?;
    config::check(&global.dir, &loaded.root, &policies)?;
    let has_state = project::exists(&global.dir)?;
    if has_state {
        let project = Project::find(global, &[])?;
        models::are_sealed(&project).await?;
        if open {
            let handle = project.handle().await?;
            let checked = models::check(&project, &handle).await;
            handle.close().await.exit(Exit::Failed)?;
            checked?;
        }
    }
    let digest = policies.digest().to_string();
    output.result(
        &json!({ "ok": true, "policies": digest, "models_checked": has_state && open }),
        || {
            let models = if has_state {
                ""
            } else {
                "; models were not checked: there is no vault yet"
            };
            format!("configuration and policies are fine (policies {digest}){models}")
        },
    )?;
    Ok(Exit::Fine)
}
