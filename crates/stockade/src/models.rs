//! From the vault into an engine: stages hand over digests and bytes, and this is where they meet.

mod samples;

use std::sync::Arc;

use bytes::Bytes;
use stockade_artifact::{ArtifactRef, Catalog, CatalogError, OpenArtifactError, OpenedArtifact, OpenedFile};
use stockade_crypto::ReadAt as _;
use stockade_evidence::Actor;
use stockade_model::{ExternalData, ExternalDataError, Graph, Limits, Session};
use stockade_serve::{LoadedModel, ModelConfig, ModelSet, UpstreamSource};
use stockade_store::{Blobs, Handle, Reader};

use crate::{
    clock,
    failure::{Exit, Failing as _, Failure},
    project::Project,
};

/// The configured models that the vault holds, opened from the vault and loaded into their engine.
pub(crate) async fn load(project: &Project, handle: &Handle) -> Result<ModelSet, Failure> {
    let mut models = Vec::new();
    for (name, configured) in &project.loaded.root.model {
        if UpstreamSource::is_named_by(&configured.source) {
            continue;
        }
        models.push(load_one(project, handle, name, configured).await?);
    }
    let models = ModelSet::new(models).exit(Exit::Usage)?;
    samples::load(project, handle, models).await
}

/// Whether the vault has what the configuration names, without opening it.
pub(crate) async fn are_sealed(project: &Project) -> Result<(), Failure> {
    let reader = Reader::open(project.state.clone()).await.exit(Exit::Failed)?;
    let blobs = Blobs::folder(project.state.vault()).exit(Exit::Failed)?;
    let catalog = Catalog::new(blobs, reader);
    let in_vault =
        |(_, configured): &(&String, &ModelConfig)| !UpstreamSource::is_named_by(&configured.source);
    for (name, configured) in project.loaded.root.model.iter().filter(in_vault) {
        let reference = source(name, configured)?;
        is_sealed(&catalog, &reference).await?;
    }
    for (name, configured) in &project.loaded.root.model {
        for (_, reference) in samples::sources(name, configured)? {
            is_sealed(&catalog, &reference).await?;
        }
    }
    Ok(())
}

async fn is_sealed(catalog: &Catalog, reference: &ArtifactRef) -> Result<(), Failure> {
    let shown = catalog.show(reference).await;
    shown.map(drop).map_err(|error| {
        let exit = match &error {
            error if error.is_integrity_broken() => Exit::Broken,
            CatalogError::NotFound { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Failure::from_error(exit, &error)
    })
}

/// Opens the configured models and joins them with their configuration, and serves nothing.
pub(crate) async fn check(project: &Project, handle: &Handle) -> Result<(), Failure> {
    let models = load(project, handle).await?;
    project.loaded.root.gateway().check(&models).exit(Exit::Usage)
}

async fn load_one(
    project: &Project,
    handle: &Handle,
    name: &str,
    configured: &ModelConfig,
) -> Result<LoadedModel, Failure> {
    let reference = source(name, configured)?;
    let opened = project
        .vault(handle)?
        .read(&Actor::System {}, &reference, clock::now())
        .await
        .map_err(|error| failed(&error))?;
    let engine = project.loaded.root.engine.choice().exit(Exit::Usage)?;
    let threads = project.loaded.root.engine.threads.get();
    let (version, digest) = (opened.manifest().version(), opened.id());
    let (session, labels) = tokio::task::block_in_place(|| {
        let graph = read_graph(name, &opened)?;
        let labels = graph.labels().cloned();
        let session = Session::load_owned(graph, &engine, threads).exit(Exit::Failed)?;
        Ok::<_, Failure>((session, labels))
    })?;
    Ok(LoadedModel {
        name: name.to_owned(),
        version,
        digest,
        session: Arc::new(session),
        labels,
        environment: configured.environment,
    })
}

/// Which artifact a model's `source` names.
pub(crate) fn source(name: &str, configured: &ModelConfig) -> Result<ArtifactRef, Failure> {
    let hint = "write it as `vault:NAME@VERSION` or `upstream:NAME/MODEL`";
    in_vault(&format!("model `{name}`"), &configured.source, hint)
}

fn in_vault(what: &str, source: &str, hint: &str) -> Result<ArtifactRef, Failure> {
    let reference = source
        .strip_prefix("vault:")
        .ok_or_else(|| Failure::new(Exit::Usage, format!("{what} has the source `{source}`")).hint(hint))?;
    reference.parse().exit(Exit::Usage)
}

fn read_graph(name: &str, opened: &OpenedArtifact) -> Result<Graph, Failure> {
    let is_onnx = |file: &&OpenedFile| file.entry().path.as_str().ends_with(".onnx");
    let Some(file) = opened.files().iter().find(is_onnx) else {
        return Err(Failure::new(
            Exit::Usage,
            format!("the artifact of model `{name}` holds no ONNX file"),
        ));
    };
    let limits = Limits::default();
    let max = u64::try_from(limits.max_model_bytes).unwrap_or(u64::MAX);
    let bytes = file.read_whole(max).map_err(|error| failed(&error))?;
    Graph::from_onnx(&bytes, &SealedWeights(opened), &limits).exit(Exit::Usage)
}

/// An error of the vault, with its exit code: content that differs is broken, everything else failed.
pub(crate) fn failed(error: &OpenArtifactError) -> Failure {
    let exit = match error {
        error if error.is_integrity_broken() => Exit::Broken,
        OpenArtifactError::NotFound { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::from_error(exit, error)
}

/// Weights beside the ONNX file, decrypted and authenticated as they are read.
struct SealedWeights<'a>(&'a OpenedArtifact);

impl ExternalData for SealedWeights<'_> {
    fn read(
        &self,
        location: &str,
        offset: u64,
        length: Option<u64>,
        max_bytes: u64,
    ) -> Result<Bytes, ExternalDataError> {
        let location = || location.to_owned();
        let file = self
            .0
            .file(&location())
            .ok_or_else(|| ExternalDataError::NotGiven { location: location() })?;
        let rest = file.entry().size.saturating_sub(offset);
        let length = length.unwrap_or(rest);
        if length > rest {
            return Err(ExternalDataError::TooShort {
                location: location(),
                end: offset.saturating_add(length),
            });
        }
        let size = usize::try_from(length).ok().filter(|_| length <= max_bytes);
        let size = size.ok_or_else(|| ExternalDataError::TooLarge {
            location: location(),
            max_bytes,
        })?;
        let mut bytes = vec![0; size];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match file.read_at(rest, at) {
                Ok(0) => {
                    return Err(ExternalDataError::TooShort {
                        location: location(),
                        end: offset.saturating_add(length),
                    });
                }
                Ok(read) => filled += read,
                Err(source) => {
                    return Err(ExternalDataError::Io {
                        location: location(),
                        source,
                    });
                }
            }
        }
        Ok(bytes.into())
    }
}
