//! Guard the model file: seal it into the vault, give it a version, list it, open it.
//!
//! The vault holds, for each version of an artifact, its files as sealed blobs (Tink's AES256_GCM_HKDF_1MB layout, a
//! fresh data key each), `manifest.json` and `keys.json`. The manifest names every file with its digests; its own digest
//! is the version's id, stands in the evidence log, and is authenticated by every wrapped key: a changed manifest
//! opens nothing. Nothing is released before it is verified against all of this.
//!
//! Start at [`Vault`], and at [`Catalog`] for looking without opening.

mod catalog;
mod manifest;
mod name;
mod open;
mod pipeline;
mod refuse;
mod release;
mod reserve;
mod rotate;
mod rows;
mod seal;
mod source;
mod vault;

pub use crate::{
    catalog::{ArtifactSummary, Catalog, CatalogError, Shown, VersionSummary},
    manifest::{BadFiles, FileEntry, Manifest, fuzz_manifest},
    name::{ArtifactName, ArtifactRef, FilePath, InvalidArtifactName, InvalidArtifactRef, InvalidFilePath},
    open::{OpenArtifactError, OpenedArtifact, OpenedFile},
    refuse::Tampered,
    release::ReleaseError,
    reserve::ReserveError,
    rotate::{Rewrapped, RotateError},
    rows::BadRow,
    seal::{SealError, Version},
    source::{BadSource, SourceFile},
    vault::{Progress, Vault},
};
