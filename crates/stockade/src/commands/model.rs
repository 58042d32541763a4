//! `stockade model`: seal, list, show and open versions in the vault; judge who trained on marked answers.

mod mark;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use stockade_access::{Action, Environment, Resource};
use stockade_artifact::{ArtifactName, ArtifactRef, SourceFile};
use stockade_evidence::DigestAlgorithm;

use crate::{
    cli::Global,
    clock,
    failure::{Exit, Failing as _, Failure},
    models,
    output::{Output, columns},
    project::Project,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Vault(InVault),
    /// The watermark in a served model's answers
    #[command(subcommand)]
    Mark(mark::Verb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum InVault {
    /// Encrypt files into the vault as the next version of NAME
    #[command(after_help = "Example:\n  stockade model seal fraud fraud.onnx fraud.onnx.data")]
    Seal {
        /// The artifact's name
        name: ArtifactName,
        /// The model file, and the files it refers to; they keep their names
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Which hash names the content
        #[arg(long, value_enum, default_value_t = Hash::Sha256)]
        hash: Hash,
    },
    /// List artifacts and their versions
    List,
    /// Show a version's manifest
    Show {
        /// NAME or NAME@VERSION
        artifact: ArtifactRef,
    },
    /// Verify a version completely and write it in the clear
    #[command(after_help = "Example:\n  stockade model open digits@1 --out ./digits")]
    Open {
        /// NAME or NAME@VERSION
        artifact: ArtifactRef,
        /// Where to write it: a file, which is replaced, where the version holds one file; else a new folder
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Hash {
    /// Understood by every verifier
    Sha256,
    /// Several times faster
    Blake3,
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Vault(verb) => in_vault(global, verb, output).await,
        Verb::Mark(verb) => mark::run(&verb, output),
    }
}

async fn in_vault(global: &Global, verb: InVault, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let handle = project.handle().await?;
    let vault = project.vault(&handle)?;
    let done = async {
        let may = |action, name: &str| {
            let environment = environment(&project, name);
            let resource = Resource::Model {
                name: name.to_owned(),
                environment,
            };
            let (project, handle) = (&project, &handle);
            async move { project.actor(global, handle, action, &resource).await }
        };
        match verb {
            InVault::Seal { name, files, hash } => {
                let actor = may(Action::ModelSeal, name.as_str()).await?;
                let files = sources(&files)?;
                let progress = progress(global, &files)?;
                let hash = match hash {
                    Hash::Sha256 => DigestAlgorithm::Sha256,
                    Hash::Blake3 => DigestAlgorithm::Blake3,
                };
                let bar = progress.clone();
                let advance = Arc::new(move |bytes| bar.set_position(bytes));
                let version = vault
                    .seal(&actor, &name, &files, hash, clock::now(), Some(advance))
                    .await
                    .exit(Exit::Failed)?;
                progress.finish_and_clear();
                output.result(&version, || {
                    format!("sealed {name}@{} ({})", version.version, version.id)
                })?;
            }
            InVault::List => {
                project
                    .actor(global, &handle, Action::ModelList, &Resource::Server)
                    .await?;
                let artifacts = vault.catalog().list().await.exit(Exit::Failed)?;
                output.result(&json!({ "artifacts": artifacts }), || {
                    let rows: Vec<Vec<String>> = artifacts
                        .iter()
                        .flat_map(|artifact| artifact.versions.iter().map(move |version| (artifact, version)))
                        .map(|(artifact, version)| {
                            let name = format!("{}@{}", artifact.name, version.version);
                            vec![
                                name,
                                version.sealed.to_string(),
                                version.size.to_string(),
                                version.id.to_string(),
                            ]
                        })
                        .collect();
                    columns(&["ARTIFACT", "SEALED", "BYTES", "ID"], &rows)
                })?;
            }
            InVault::Show { artifact } => {
                may(Action::ModelMetadata, artifact.name.as_str()).await?;
                let shown = vault
                    .catalog()
                    .show(&artifact)
                    .await
                    .map_err(|error| models::failed(&error.into()))?;
                let text = serde_json::to_string_pretty(&shown).exit(Exit::Failed)?;
                output.result(&shown, || text)?;
            }
            InVault::Open { artifact, out } => {
                let actor = may(Action::ModelOpen, artifact.name.as_str()).await?;
                let version = vault
                    .open_to(&actor, &artifact, &out, clock::now())
                    .await
                    .map_err(|error| models::failed(&error))?;
                output.result(&version, || format!("{artifact} is in {}", out.display()))?;
            }
        }
        Ok(Exit::Fine)
    }
    .await;
    handle.close().await.exit(Exit::Failed)?;
    done
}

/// The environment in which the configuration serves an artifact; an artifact not served counts as production.
fn environment(project: &Project, name: &str) -> Environment {
    let of = |source: &str| {
        source
            .strip_prefix("vault:")
            .and_then(|rest| rest.split('@').next())
            == Some(name)
    };
    let served = project.loaded.root.model.values().find(|model| of(&model.source));
    served.map_or(Environment::Prod, |model| model.environment)
}

fn sources(files: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    files
        .iter()
        .map(|local| {
            let name = local.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("`{}` has no name that an artifact can hold", local.display()),
                )
            })?;
            Ok(SourceFile {
                path_in_artifact: name.parse().exit(Exit::Usage)?,
                local: local.clone(),
            })
        })
        .collect()
}

/// A bar on a terminal, for long work only; nothing elsewhere.
fn progress(global: &Global, files: &[SourceFile]) -> Result<ProgressBar, Failure> {
    let mut total = 0;
    for file in files {
        total += length(&file.local)?;
    }
    if global.quiet {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .exit(Exit::Failed)?;
    Ok(ProgressBar::new(total).with_style(style))
}

fn length(path: &Path) -> Result<u64, Failure> {
    std::fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", path.display())))
}
