//! From the vault into an engine: stages hand over digests and bytes, and this is where they meet.
//!
//! What the vault opened is copied into memory without a name, sealed against changes, and its descriptor goes to the
//! process that parses it: the worker, which has given up everything that a flaw in a parser could reach.

mod samples;

use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    sync::Arc,
};

use bytes::Bytes;
use stockade_artifact::{
    ArtifactRef, Catalog, CatalogError, OpenArtifactError, OpenedArtifact, OpenedFile, Vault,
};
use stockade_crypto::{ReadAt as _, SecretBytes};
use stockade_evidence::Actor;
use stockade_model::{ExternalData, ExternalDataError, Graph, Limits, Session};
use stockade_serve::{EngineConfig, LoadedModel, ModelConfig, ModelSet, UpstreamSource};
use stockade_store::{Blobs, Handle, Reader};

use crate::{
    clock,
    failure::{Exit, Failing as _, Failure},
    project::Project,
    worker::{Head, HeldFile, Purpose},
};

/// As many descriptors as one message carries, less those that a worker gets besides.
const ARTIFACTS_MAX: usize = 240;

/// The configured models that the vault holds, opened, each in a descriptor of its own that nothing can change.
pub(crate) async fn hold(
    vault: &Vault,
    models: &BTreeMap<String, ModelConfig>,
) -> Result<Vec<(Head, OwnedFd)>, Failure> {
    let mut held = Vec::new();
    for (name, configured) in models {
        let mut wanted = samples::sources(name, configured)?;
        if !UpstreamSource::is_named_by(&configured.source) {
            let environment = configured.environment;
            wanted.push((Purpose::Model { environment }, source(name, configured)?));
        }
        for (purpose, reference) in wanted {
            held.push(hold_one(vault, name, purpose, &reference).await?);
        }
    }
    if held.len() > ARTIFACTS_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("at most {ARTIFACTS_MAX} models and samples of the vault can be served by one server"),
        ));
    }
    Ok(held)
}

async fn hold_one(
    vault: &Vault,
    model: &str,
    purpose: Purpose,
    reference: &ArtifactRef,
) -> Result<(Head, OwnedFd), Failure> {
    let opened = vault
        .read(&Actor::System {}, reference, clock::now())
        .await
        .map_err(|error| failed(&error))?;
    let (files, memory) = tokio::task::block_in_place(|| copy(&opened))?;
    let head = Head {
        model: model.to_owned(),
        purpose,
        version: opened.manifest().version(),
        digest: opened.id(),
        files,
    };
    Ok((head, memory))
}

/// Loads models that are held into their engine, and reads the samples of their watches; `secret` hides what these choose.
pub(crate) fn load_held(
    heads: Vec<Head>,
    memories: Vec<OwnedFd>,
    engine: &EngineConfig,
    secret: SecretBytes,
) -> Result<ModelSet, Failure> {
    let mut samples = samples::Found::default();
    let choice = engine.choice().exit(Exit::Usage)?;
    let mut models = Vec::new();
    for (head, memory) in heads.into_iter().zip(memories) {
        let held = Held {
            files: &head.files,
            memory: memory.into(),
        };
        let Purpose::Model { environment } = head.purpose else {
            samples.add(&head, &held)?;
            continue;
        };
        let (session, labels) = tokio::task::block_in_place(|| {
            let graph = held.graph(&head.model)?;
            let labels = graph.labels().cloned();
            let session = Session::load_owned(graph, &choice, engine.threads.get()).exit(Exit::Failed)?;
            Ok::<_, Failure>((session, labels))
        })?;
        models.push(LoadedModel {
            name: head.model,
            version: head.version,
            digest: head.digest,
            session: Arc::new(session),
            labels,
            environment,
        });
    }
    let models = ModelSet::new(models).exit(Exit::Usage)?;
    Ok(models.watching(samples.complete(), secret))
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
    let config = project.loaded.root.gateway();
    let (heads, memories) = hold(&project.vault(handle)?, &config.models)
        .await?
        .into_iter()
        .unzip();
    // Who only looks watches nobody: any secret does as well.
    let secret = SecretBytes::random(32).exit(Exit::Failed)?;
    let models = load_held(heads, memories, &config.engine, secret)?;
    config.check(&models).exit(Exit::Usage)
}

/// Copies what was opened into memory without a name: its ONNX file whole and checked, the others as they are read.
fn copy(opened: &OpenedArtifact) -> Result<(Vec<HeldFile>, OwnedFd), Failure> {
    let memory = std::fs::File::from(memory().exit(Exit::Failed)?);
    let (mut files, mut end) = (Vec::new(), 0u64);
    for file in opened.files() {
        let entry = file.entry();
        let (path, size) = (entry.path.to_string(), entry.size);
        if is_onnx(&path) {
            let max = u64::try_from(Limits::default().max_model_bytes).unwrap_or(u64::MAX);
            let bytes = file.read_whole(max).map_err(|error| failed(&error))?;
            memory.write_all_at(&bytes, end).exit(Exit::Failed)?;
        } else {
            copy_parts(file, size, &memory, end).exit(Exit::Failed)?;
        }
        files.push(HeldFile {
            path,
            offset: end,
            size,
        });
        end = end.saturating_add(size);
    }
    let memory = OwnedFd::from(memory);
    seal(&memory).exit(Exit::Failed)?;
    Ok((files, memory))
}

fn copy_parts(file: &OpenedFile, size: u64, memory: &std::fs::File, to: u64) -> io::Result<()> {
    let (mut part, mut at) = (vec![0; 1 << 20], 0);
    while at < size {
        let read = file.read_at(&mut part, at)?;
        let bytes = part.get(..read).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        memory.write_all_at(bytes, to.saturating_add(at))?;
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn memory() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create(
        "model",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?)
}

#[cfg(target_os = "linux")]
fn seal(memory: &OwnedFd) -> io::Result<()> {
    use rustix::fs::{SealFlags, fcntl_add_seals};
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(fcntl_add_seals(memory, seals)?)
}

/// Memory without a name is Linux's; elsewhere an opened model would have to lie on a disk.
#[cfg(not(target_os = "linux"))]
fn memory() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn seal(_: &OwnedFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn is_onnx(path: &str) -> bool {
    path.ends_with(".onnx")
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

/// An error of the vault, with its exit code: content that differs is broken, everything else failed.
pub(crate) fn failed(error: &OpenArtifactError) -> Failure {
    let exit = match error {
        error if error.is_integrity_broken() => Exit::Broken,
        OpenArtifactError::NotFound { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::from_error(exit, error)
}

/// The files of one artifact, in memory.
struct Held<'a> {
    files: &'a [HeldFile],
    memory: std::fs::File,
}

impl Held<'_> {
    fn graph(&self, name: &str) -> Result<Graph, Failure> {
        let onnx = self
            .files
            .iter()
            .find(|file| is_onnx(&file.path))
            .ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("the artifact of model `{name}` holds no ONNX file"),
                )
            })?;
        let limits = Limits::default();
        let max = u64::try_from(limits.max_model_bytes).unwrap_or(u64::MAX);
        let bytes = self.read(&onnx.path, 0, None, max).exit(Exit::Failed)?;
        Graph::from_onnx(&bytes, self, &limits).exit(Exit::Usage)
    }
}

impl ExternalData for Held<'_> {
    fn read(
        &self,
        location: &str,
        offset: u64,
        length: Option<u64>,
        max_bytes: u64,
    ) -> Result<Bytes, ExternalDataError> {
        let location = || location.to_owned();
        let file = self
            .files
            .iter()
            .find(|file| file.path == location())
            .ok_or_else(|| ExternalDataError::NotGiven { location: location() })?;
        let rest = file.size.saturating_sub(offset);
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
        self.memory
            .read_exact_at(&mut bytes, file.offset.saturating_add(offset))
            .map_err(|source| ExternalDataError::Io {
                location: location(),
                source,
            })?;
        Ok(bytes.into())
    }
}
