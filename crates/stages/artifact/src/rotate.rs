//! Wrapping every data key again, after the root key was rotated. Blobs, manifests and version ids stay as they are.

use std::collections::BTreeSet;

use stockade_evidence::canonical_json;
use stockade_store::BlobError;

use crate::{
    CatalogError, OpenArtifactError, SealError, Vault,
    catalog::keys_path,
    rows::{ARTIFACT, ArtifactRow, read},
};

/// What was wrapped again.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Rewrapped {
    /// How many versions.
    pub versions: u64,
    /// How many data keys.
    pub keys: u64,
    /// The root keys that they are under now.
    pub roots: BTreeSet<String>,
    /// Whether versions are being sealed, whose keys may be under an older root: retire no root before they are done.
    pub sealing: bool,
}

/// Why not everything was wrapped again. What was is usable; the old root keys are still needed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A version could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Its keys could not be unwrapped.
    #[error(transparent)]
    Open(#[from] OpenArtifactError),
    /// They could not be wrapped again.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// They could not be written.
    #[error("the vault could not be written")]
    Blob(#[from] BlobError),
}

impl Vault {
    /// Wraps every data key in the vault under the current root key.
    pub async fn rewrap_all(&self) -> Result<Rewrapped, RotateError> {
        let mut done = Rewrapped {
            versions: 0,
            keys: 0,
            roots: BTreeSet::new(),
            sealing: false,
        };
        // Asked first: what is entered after this is seen below or was wrapped after it.
        for row in self.handle.rows(ARTIFACT).await.map_err(CatalogError::Read)? {
            done.sealing |= !read::<ArtifactRow>(row)
                .map_err(CatalogError::Row)?
                .pending
                .is_empty();
        }
        for row in self.catalog.versions().await? {
            let manifest = self.catalog.manifest(&row).await?;
            let keys = self.unwrap_keys(&row, &manifest).await?;
            let wrapped = self.wrap_keys(&manifest, row.manifest, &keys).await?;
            let bytes = canonical_json(&wrapped).map_err(SealError::Canonical)?;
            self.blobs()
                .put(&keys_path(&row.artifact, row.version), bytes)
                .await?;
            done.versions += 1;
            done.keys += keys.len() as u64;
            done.roots.extend(wrapped.into_iter().map(|key| key.key_id));
        }
        Ok(done)
    }
}
