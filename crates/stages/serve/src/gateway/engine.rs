//! Which engine serves, for the record of the start: its name, its version, and the digest of its library.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use stockade_crypto::Sha256;
use stockade_evidence::{Digest, DigestAlgorithm};

use super::BindError;
use crate::{
    config::{EngineConfig, EngineKind},
    models::Engine,
    snapshot::Snapshot,
};

/// What the record of the start says of the engine. What is not known is absent.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct EngineFacts {
    pub(super) name: &'static str,
    /// Of the engine that the models were loaded into.
    pub(super) version: Option<String>,
    /// The SHA-256 digest of ONNX Runtime's library; rten is part of this program.
    pub(super) library: Option<String>,
}

pub(super) async fn describe(live: &Snapshot) -> Result<EngineFacts, BindError> {
    let session = live.models().find_map(|model| match model.engine() {
        Engine::Embedded(session) => Some(session.clone()),
        Engine::Upstream(_) => None,
    });
    let (name, library) = configured(&live.config.engine);
    Ok(EngineFacts {
        name: session.as_ref().map_or(name, |session| session.engine_name()),
        version: session.map(|session| session.engine_version().to_owned()),
        library: match library {
            Some(path) => Some(digest(path).await?),
            None => None,
        },
    })
}

fn configured(engine: &EngineConfig) -> (&'static str, Option<PathBuf>) {
    match engine.kind {
        EngineKind::Rten => ("rten", None),
        EngineKind::OnnxRuntime => ("ONNX Runtime", engine.library.clone()),
    }
}

async fn digest(path: PathBuf) -> Result<String, BindError> {
    let hashing = tokio::task::spawn_blocking({
        let path = path.clone();
        move || hash(&path)
    });
    match hashing.await.unwrap_or_else(|ended| Err(ended.into())) {
        Ok(digest) => Ok(digest.to_string()),
        Err(source) => Err(BindError::Library { path, source }),
    }
}

fn hash(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => return Ok(Digest::new(DigestAlgorithm::Sha256, hash.finish())),
            Some(bytes) => hash.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_library_is_named_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"abc").unwrap();
        let engine = EngineConfig {
            kind: EngineKind::OnnxRuntime,
            library: Some(path.clone()),
            ..EngineConfig::default()
        };
        assert_eq!(configured(&engine), ("ONNX Runtime", Some(path.clone())));
        // FIPS 180-4's example: the digest of "abc".
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(digest(path.clone()).await.unwrap().ends_with(known));
        std::fs::remove_file(&path).unwrap();
        assert!(digest(path).await.is_err());
    }
}
