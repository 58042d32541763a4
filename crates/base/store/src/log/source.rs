//! A folder in C2SP tlog-tiles layout, read only: a running log, or a stranger's copy of one.
//!
//! A running log replaces the partial tiles at its edge. A reader with an older checkpoint gets the part it asked for
//! out of the larger tile that took its place: the beginning of a tile never changes.

use std::path::{Path, PathBuf};

use stockade_evidence::{
    Checkpoint, FULL_WIDTH, Hash, MAX_ENTRY, TilePath, TileSource, decode_entries, encode_entries,
    entries_path, leaf_hash, parse_path, tile_path,
};

use super::error::ReadError;
use crate::disk::{Disk, DiskError, EntryKind, Posix};

/// The checkpoint's name in the layout.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// A full bundle of the largest entries, with their lengths.
const MAX_FILE: u64 = FULL_WIDTH as u64 * (MAX_ENTRY as u64 + 2);
/// Takes the beginning of a larger file: so many hashes or entries.
type Part = fn(Vec<u8>, usize) -> Vec<u8>;
/// How often a file is looked for under its names.
const READ_ATTEMPTS: usize = 3;
const HASH_LEN: usize = size_of::<Hash>();

/// Reads tiles, bundles and the checkpoint of a log from a folder.
#[derive(Clone, Debug)]
pub struct FolderSource {
    folder: PathBuf,
}

impl FolderSource {
    /// The log in `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text of the checkpoint; `None` before the first one.
    pub fn checkpoint(&self) -> Result<Option<String>, ReadError> {
        let Some(bytes) = Posix.read(&self.folder.join(CHECKPOINT), MAX_FILE)? else {
            return Ok(None);
        };
        let damaged = |_| ReadError::Damaged {
            path: CHECKPOINT.into(),
            reason: "it is not text".into(),
        };
        String::from_utf8(bytes).map(Some).map_err(damaged)
    }

    /// What the checkpoint says, without a look at its signatures; `None` if there is none that can be read.
    pub(crate) fn unverified_head(&self) -> Result<Option<Checkpoint>, DiskError> {
        let bytes = Posix.read(&self.folder.join(CHECKPOINT), MAX_FILE)?;
        let text = bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default();
        // C2SP signed-note: the text ends at the first empty line.
        let body = text.split_once("\n\n").map(|(body, _)| format!("{body}\n"));
        Ok(body.and_then(|body| Checkpoint::parse(&body).ok()))
    }

    /// The relative path of every file and link in the folder, sorted.
    pub fn listing(&self) -> Result<Vec<String>, DiskError> {
        let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            // A folder that vanishes meanwhile held superseded tiles alone.
            for entry in Posix.list(&self.folder.join(&folder))?.unwrap_or_default() {
                let path = if folder.is_empty() {
                    entry.name
                } else {
                    format!("{folder}/{}", entry.name)
                };
                match entry.kind {
                    EntryKind::Dir => folders.push(path),
                    EntryKind::File | EntryKind::Other => found.push(path),
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Calls `each` with the entries from `from` to `size`, in order, until it says `false`.
    ///
    /// The entries come as the files have them; compare their hashes with the tree to trust them.
    pub fn entries(
        &self,
        from: u64,
        size: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let width = u64::from(FULL_WIDTH);
        let (mut next, mut wanted) = (from, true);
        while wanted && next < size {
            let skipped = usize::try_from(next % width).unwrap_or(usize::MAX);
            self.bundle(next / width, size, |_, entries| {
                for entry in entries.iter().skip(skipped) {
                    wanted = wanted && each(next, entry);
                    next += 1;
                }
            })?;
        }
        Ok(())
    }

    /// Gives `look` the path and the entries of the bundle with this index in a log of `size` entries.
    pub(crate) fn bundle<T>(
        &self,
        index: u64,
        size: u64,
        look: impl FnOnce(&str, &[&[u8]]) -> T,
    ) -> Result<T, ReadError> {
        let width = u64::from(FULL_WIDTH);
        let present = size.saturating_sub(index.saturating_mul(width)).min(width);
        let path = entries_path(index, u16::try_from(present).unwrap_or(FULL_WIDTH));
        let bytes = self
            .read(&path)?
            .ok_or_else(|| ReadError::Missing { path: path.clone() })?;
        let entries = decode_entries(&bytes).map_err(|cause| damaged(&path, cause))?;
        if entries.len() as u64 != present {
            let reason = format!("it has {} entries, not {present}", entries.len());
            return Err(damaged(&path, reason));
        }
        Ok(look(&path, &entries))
    }

    /// Checks that each entry of a bundle hashes to its leaf in the tile beside it, and returns them.
    pub(crate) fn checked_bundle(&self, index: u64, width: u16) -> Result<Vec<Vec<u8>>, ReadError> {
        let (tile, bundle) = (tile_path(0, index, width), entries_path(index, width));
        let missing = |path: &String| ReadError::Missing { path: path.clone() };
        let hashes = self.read(&tile)?.ok_or_else(|| missing(&tile))?;
        let bytes = self.read(&bundle)?.ok_or_else(|| missing(&bundle))?;
        let entries = decode_entries(&bytes).map_err(|cause| damaged(&bundle, cause))?;
        let found: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(entry)).collect();
        if found != hashes {
            return Err(damaged(
                &bundle,
                "its entries do not hash to the leaves of the tree",
            ));
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The part of a larger file that was the partial tile or bundle asked for.
    fn read_part(&self, wanted: TilePath) -> Result<Option<Vec<u8>>, DiskError> {
        let (width, full, part): (u16, String, Part) = match wanted {
            TilePath::Hashes { level, index, width } => {
                (width, tile_path(level, index, FULL_WIDTH), first_hashes)
            }
            TilePath::Entries { index, width } => (width, entries_path(index, FULL_WIDTH), first_entries),
        };
        let partials = Posix
            .list(&self.folder.join(format!("{full}.p")))?
            .unwrap_or_default();
        let widths = partials.iter().filter_map(|entry| entry.name.parse::<u16>().ok());
        let larger = widths
            .filter(|found| *found > width)
            .max()
            .map(|found| format!("{full}.p/{found}"));
        for path in larger.into_iter().chain([full]) {
            if let Some(bytes) = Posix.read(&self.folder.join(path), MAX_FILE)? {
                return Ok(Some(part(bytes, width.into())));
            }
        }
        Ok(None)
    }
}

impl TileSource for FolderSource {
    type Error = DiskError;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
        // Only names of the layout: nothing outside the folder can be named.
        let wanted = parse_path(path);
        if wanted.is_none() && path != CHECKPOINT {
            return Ok(None);
        }
        // A running log may replace the tile between any two looks.
        for _ in 0..READ_ATTEMPTS {
            if let Some(bytes) = Posix.read(&self.folder.join(path), MAX_FILE)? {
                return Ok(Some(bytes));
            }
            let Some(wanted) = wanted else { return Ok(None) };
            if let Some(part) = self.read_part(wanted)? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}

fn first_hashes(mut tile: Vec<u8>, width: usize) -> Vec<u8> {
    tile.truncate(width * HASH_LEN);
    tile
}

fn first_entries(bundle: Vec<u8>, width: usize) -> Vec<u8> {
    let first = decode_entries(&bundle)
        .ok()
        .and_then(|entries| encode_entries(entries.into_iter().take(width)).ok());
    // What does not decode goes to the caller as it is, who finds out.
    first.unwrap_or(bundle)
}

fn damaged(path: &str, reason: impl ToString) -> ReadError {
    ReadError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_the_beginning_of_a_larger_tile() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("tile/entries/000.p")).unwrap();
        std::fs::create_dir_all(dir.path().join("tile/0")).unwrap();
        let entries: Vec<&[u8]> = vec![b"a", b"bb", b"", b"dddd"];
        std::fs::write(
            dir.path().join("tile/entries/000.p/4"),
            encode_entries(entries.clone()).unwrap(),
        )
        .unwrap();
        std::fs::write(dir.path().join("tile/0/000"), [7; 256 * 32]).unwrap();
        let source = FolderSource::new(dir.path());
        let part = source.read("tile/entries/000.p/2").unwrap().unwrap();
        assert_eq!(decode_entries(&part).unwrap(), entries[..2]);
        assert_eq!(source.read("tile/0/000.p/3").unwrap().unwrap(), [7; 96]);
        assert_eq!(source.read("tile/entries/000.p/5").unwrap(), None);
        assert_eq!(source.read("tile/../tile/0/000").unwrap(), None);
        assert_eq!(source.listing().unwrap(), ["tile/0/000", "tile/entries/000.p/4"]);
        let mut seen = Vec::new();
        source
            .entries(1, 4, &mut |index, entry| {
                seen.push((index, entry.to_vec()));
                seen.len() < 2
            })
            .unwrap();
        assert_eq!(seen, [(1, b"bb".to_vec()), (2, Vec::new())]);
        assert!(matches!(
            source.entries(0, 9, &mut |_, _| true),
            Err(ReadError::Missing { .. })
        ));
    }
}
