//! What one version of an artifact consists of.
//!
//! A manifest is canonical JSON (RFC 8785); the SHA-256 of its bytes is the version's id. `model_signing_root` is the
//! root of an OpenSSF Model Signing v1.0 bundle over the same files: SHA-256 of their digests, in the order of their
//! names.

use serde::{Deserialize, Serialize};
use stockade_crypto::Sha256;
use stockade_evidence::{CanonicalError, Digest, DigestAlgorithm, Timestamp, canonical_json};

use crate::{ArtifactName, FilePath};

/// The format's name, part of every associated data.
const FORMAT: &str = "stockade-artifact-v1";

/// Most files in one artifact.
pub(crate) const FILES_MAX: usize = 10_000;
/// Longest manifest and key file that is read.
pub(crate) const JSON_MAX: u64 = 32 << 20;

/// One file of an artifact.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it lies in the artifact.
    pub path: FilePath,
    /// How long it is.
    pub size: u64,
    /// What it holds.
    pub plaintext_digest: Digest,
    /// What its blob holds, so that a vault can be checked without keys.
    pub ciphertext_digest: Digest,
}

/// One version of an artifact.
// INVARIANT: files are sorted by path, no path twice, no path within another, all plaintext digests by one algorithm,
// and the root is theirs; `Manifest::new` and `parse` are the only doors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    artifact: ArtifactName,
    version: u64,
    sealed: Timestamp,
    files: Vec<FileEntry>,
    model_signing_root: Digest,
}

/// The files cannot be one artifact.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an artifact has 1 to {FILES_MAX} files, no path twice, and no file where another has a folder")]
pub struct BadFiles;

/// Bytes that are no manifest as this program writes them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is not a manifest as it was written")]
pub(crate) struct BadManifest;

impl Manifest {
    pub(crate) fn new(
        artifact: ArtifactName,
        version: u64,
        mut files: Vec<FileEntry>,
        sealed: Timestamp,
    ) -> Result<Self, BadFiles> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        check_paths(&files.iter().map(|file| &file.path).collect::<Vec<_>>())?;
        let model_signing_root = model_signing_root(files.iter().map(|file| &file.plaintext_digest));
        Ok(Self {
            format: FORMAT.to_owned(),
            artifact,
            version,
            sealed,
            files,
            model_signing_root,
        })
    }

    /// Reads a manifest that must be, byte for byte, what [`Self::to_bytes`] gives.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        let read: Self = serde_json::from_slice(bytes).map_err(|_| BadManifest)?;
        let files = read.files.clone();
        let made =
            Self::new(read.artifact.clone(), read.version, files, read.sealed).map_err(|_| BadManifest)?;
        let same = made == read && made.to_bytes().is_ok_and(|canonical| canonical == bytes);
        let (first, rest) = made.files.split_first().ok_or(BadManifest)?;
        let algorithm = first.plaintext_digest.algorithm();
        let one_algorithm = rest
            .iter()
            .all(|file| file.plaintext_digest.algorithm() == algorithm);
        (same && one_algorithm).then_some(made).ok_or(BadManifest)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical_json(self)
    }

    /// Which artifact.
    pub const fn artifact(&self) -> &ArtifactName {
        &self.artifact
    }

    /// Which version.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When it was sealed.
    pub const fn sealed(&self) -> Timestamp {
        self.sealed
    }

    /// Its files, by path.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The root over its files that an OpenSSF Model Signing bundle signs.
    pub const fn model_signing_root(&self) -> Digest {
        self.model_signing_root
    }

    /// How long its files are together.
    pub fn size(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// The paths, sorted, can lie in one folder.
pub(crate) fn check_paths(paths: &[&FilePath]) -> Result<(), BadFiles> {
    if paths.is_empty() || paths.len() > FILES_MAX {
        return Err(BadFiles);
    }
    let all: std::collections::HashSet<&str> = paths.iter().map(|path| path.as_str()).collect();
    let folders = |path: &&FilePath| {
        let text = path.as_str();
        text.match_indices('/')
            .any(|(at, _)| text.get(..at).is_some_and(|folder| all.contains(folder)))
    };
    let clash = all.len() != paths.len() || paths.iter().any(folders);
    if clash { Err(BadFiles) } else { Ok(()) }
}

// OpenSSF Model Signing v1.0: the subject's digest is SHA-256 over the raw resource digests in their order.
fn model_signing_root<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut root = Sha256::new();
    for digest in digests {
        root.update(digest.as_bytes());
    }
    Digest::new(DigestAlgorithm::Sha256, root.finish())
}

#[derive(Serialize)]
struct Place<'a> {
    format: &'a str,
    artifact: &'a ArtifactName,
    version: u64,
    path: &'a FilePath,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Digest>,
}

/// What a blob's encryption is bound to: a blob opens at its own place and at no other.
pub(crate) fn associated_data(
    artifact: &ArtifactName,
    version: u64,
    path: &FilePath,
) -> Result<Vec<u8>, CanonicalError> {
    canonical_json(&Place {
        format: FORMAT,
        artifact,
        version,
        path,
        manifest: None,
    })
}

/// What a wrapped data key is bound to: the same place under one manifest. A key wrapped for a manifest unwraps
/// under no other, so a changed manifest opens nothing.
pub(crate) fn key_context(
    manifest: &Manifest,
    id: Digest,
    path: &FilePath,
) -> Result<Vec<u8>, CanonicalError> {
    let (artifact, version) = (&manifest.artifact, manifest.version);
    canonical_json(&Place {
        format: FORMAT,
        artifact,
        version,
        path,
        manifest: Some(id),
    })
}

/// Fuzz entry: must not panic.
pub fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        assert!(
            manifest.to_bytes().is_ok_and(|bytes| bytes == data),
            "a manifest has one spelling"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: &[u8]) -> FileEntry {
        FileEntry {
            path: path.parse().unwrap(),
            size: content.len() as u64,
            plaintext_digest: Digest::sha256(content),
            ciphertext_digest: Digest::blake3(content),
        }
    }

    fn manifest(files: Vec<FileEntry>) -> Result<Manifest, BadFiles> {
        Manifest::new("digits".parse().unwrap(), 3, files, Timestamp::from_unix_ms(1))
    }

    #[test]
    fn the_root_is_that_of_the_model_signing_tool() {
        // sigstore/model-transparency, test data v1.0.1-elliptic-key: resources signme-1 and signme-2, and the subject.
        let digest = |text: &str| text.parse::<Digest>().unwrap();
        let resources = [
            digest("sha256:bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc"),
            digest("sha256:32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028"),
        ];
        assert_eq!(
            model_signing_root(&resources),
            digest("sha256:92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4")
        );
    }

    #[test]
    fn bytes_round_trip_and_have_one_spelling() {
        let made = manifest(vec![entry("b", b"2"), entry("a/c", b"1")]).unwrap();
        assert_eq!(made.files()[0].path.as_str(), "a/c");
        let bytes = made.to_bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes), Ok(made));
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            format!("{text} "),
            text.replacen(':', ": ", 1),
            text.replace("\"version\":3", "\"version\":3.0"),
            text.replace("\"version\":3", "\"version\":3,\"x\":1"),
            text.replace("stockade-artifact-v1", "stockade-artifact-v2"),
            text.replace("\"size\":1", "\"size\":1,\"size\":1"),
            text.replace("a/c", "../c"),
            text.replace("a/c", "z"),
            text.replace("a/c", "b/c"),
        ] {
            assert_eq!(Manifest::parse(other.as_bytes()), Err(BadManifest), "{other}");
        }
    }

    #[test]
    fn files_must_fit_in_one_folder() {
        assert_eq!(manifest(vec![]), Err(BadFiles));
        assert_eq!(manifest(vec![entry("a", b"1"), entry("a", b"2")]), Err(BadFiles));
        assert_eq!(
            manifest(vec![entry("a", b"1"), entry("a/b", b"2")]),
            Err(BadFiles)
        );
        assert_eq!(
            manifest(vec![entry("a", b"1"), entry("a-", b""), entry("a/b/c", b"2")]),
            Err(BadFiles)
        );
        assert!(manifest(vec![entry("a", b"1"), entry("a-/b", b"2")]).is_ok());
    }

    #[test]
    fn mutated_manifests_never_panic_and_never_pass_as_the_original() {
        let original = manifest(vec![entry("a", b"1"), entry("b/c", b"2")]).unwrap();
        let bytes = original.to_bytes().unwrap();
        let mut state = 0x9e37_79b9_u64;
        for _ in 0..20_000 {
            let mut mutated = bytes.clone();
            for _ in 0..1 + state % 3 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let place = (state >> 33) as usize % mutated.len();
                match state >> 20 & 3 {
                    0 => mutated[place] ^= 1 << (state >> 12 & 7),
                    1 => mutated.truncate(place.max(1)),
                    2 => mutated.insert(place, state.to_be_bytes()[6]),
                    _ => drop(mutated.remove(place)),
                }
                if mutated.is_empty() {
                    mutated.push(b'{');
                }
            }
            fuzz_manifest(&mutated);
            if mutated != bytes {
                assert_ne!(Manifest::parse(&mutated).as_ref(), Ok(&original));
            }
        }
    }

    #[test]
    fn places_differ_in_every_part() {
        let name = |text: &str| text.parse::<ArtifactName>().unwrap();
        let path = |text: &str| text.parse::<FilePath>().unwrap();
        let at = |artifact: &str, version, file: &str| {
            associated_data(&name(artifact), version, &path(file)).unwrap()
        };
        assert_eq!(
            String::from_utf8(at("digits", 3, "model.onnx")).unwrap(),
            r#"{"artifact":"digits","format":"stockade-artifact-v1","path":"model.onnx","version":3}"#
        );
        assert_ne!(at("a", 1, "x"), at("b", 1, "x"));
        assert_ne!(at("a", 1, "x"), at("a", 2, "x"));
        assert_ne!(at("a", 1, "x"), at("a", 1, "y"));
    }
}
