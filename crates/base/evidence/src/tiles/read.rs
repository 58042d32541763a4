//! Roots and proofs read from tiles, wherever those lie.
//!
//! Nothing here is trusted: a root or proof made from wrong tiles fails against the checkpoint.

use std::collections::BTreeMap;

use super::{FULL_WIDTH, TILE_HEIGHT, full_tiles, partial_width, tile_path};
use crate::merkle::{Hash, complete_root, root_of_peaks};

/// A place where tiles and bundles lie, under the names of C2SP tlog-tiles.
pub trait TileSource {
    /// Why reading failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The whole file at `path`; `None` if there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Why no root or proof could be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TileError<E> {
    /// The place could not be read.
    #[error("`{path}` cannot be read")]
    Source {
        /// The file.
        path: String,
        /// Why.
        source: E,
    },
    /// Neither the tile nor the full one that replaced it is there.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// The file is not as long as its name says.
    #[error("`{path}` has {length} bytes, not {expected}")]
    WrongLength {
        /// The file.
        path: String,
        /// Its bytes.
        length: usize,
        /// The bytes it should have.
        expected: usize,
    },
    /// The index is not below the size, or the old size is above the new one.
    #[error("the entry or size lies outside the tree")]
    OutOfRange,
}

/// The audit path of entry `index` in the tree of the first `size` entries, leaf to root (RFC 9162 section 2.1.3.1).
pub fn inclusion_proof<S: TileSource>(
    source: &S,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, TileError<S::Error>> {
    if index >= size {
        return Err(TileError::OutOfRange);
    }
    let mut tiles = Tiles::new(source, size);
    let (mut start, mut count) = (0, size);
    let mut proof = Vec::new();
    while count > 1 {
        let left = split(count);
        if index - start < left {
            proof.push(tiles.range_root(start + left, count - left)?);
            count = left;
        } else {
            proof.push(tiles.range_root(start, left)?);
            start += left;
            count -= left;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the first `old_size` entries are a prefix of the first `new_size` (RFC 9162 section 2.1.4.1).
pub fn consistency_proof<S: TileSource>(
    source: &S,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, TileError<S::Error>> {
    if old_size > new_size {
        return Err(TileError::OutOfRange);
    }
    if old_size == 0 {
        return Ok(Vec::new());
    }
    let mut tiles = Tiles::new(source, new_size);
    let (mut start, mut count, mut old) = (0, new_size, old_size);
    let mut proof = Vec::new();
    while old != count {
        let left = split(count);
        if old <= left {
            proof.push(tiles.range_root(start + left, count - left)?);
            count = left;
        } else {
            proof.push(tiles.range_root(start, left)?);
            start += left;
            count -= left;
            old -= left;
        }
    }
    // RFC 9162 section 2.1.4.1: a subtree on the left edge is the old tree itself, whose root the verifier has.
    if start != 0 {
        proof.push(tiles.range_root(start, count)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of the first `size` entries.
pub fn root_at<S: TileSource>(source: &S, size: u64) -> Result<Hash, TileError<S::Error>> {
    Tiles::new(source, size).range_root(0, size)
}

/// The hashes of a tile file, if it holds exactly `width`.
pub(crate) fn hashes_of_tile(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() == usize::from(width)).then(|| hashes.to_vec())
}

/// Reads the tile with `width` hashes of `level`; a full one that replaced it does as well.
pub(crate) fn read_widest<S: TileSource>(
    source: &S,
    level: u8,
    index: u64,
    width: u16,
) -> Result<Vec<Hash>, TileError<S::Error>> {
    for width_on_disk in [width, FULL_WIDTH] {
        let path = tile_path(level, index, width_on_disk);
        match source.read(&path) {
            Err(source) => return Err(TileError::Source { path, source }),
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let expected = usize::from(width_on_disk) * 32;
                let mut hashes = hashes_of_tile(&bytes, width_on_disk).ok_or(TileError::WrongLength {
                    path,
                    length: bytes.len(),
                    expected,
                })?;
                hashes.truncate(width.into());
                return Ok(hashes);
            }
        }
    }
    Err(TileError::Missing {
        path: tile_path(level, index, width),
    })
}

/// The largest power of two below `count` (RFC 9162 section 2.1.1: k < n <= 2k).
fn split(count: u64) -> u64 {
    (count - 1).checked_ilog2().map_or(0, |log| 1 << log)
}

/// Tiles of one tree, each read once.
struct Tiles<'a, S> {
    source: &'a S,
    size: u64,
    read: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'a, S: TileSource> Tiles<'a, S> {
    const fn new(source: &'a S, size: u64) -> Self {
        Self {
            source,
            size,
            read: BTreeMap::new(),
        }
    }

    /// The root over `count` entries from `start`, where `start` is a multiple of the largest power of two in `count`.
    fn range_root(&mut self, start: u64, count: u64) -> Result<Hash, TileError<S::Error>> {
        let (mut start, mut rest) = (start, count);
        let mut peaks = Vec::new();
        while let Some(log) = rest.checked_ilog2() {
            peaks.push(self.subtree_root(start, log)?);
            start += 1 << log;
            rest -= 1 << log;
        }
        Ok(root_of_peaks(&peaks))
    }

    /// The root over the `2^log` entries from `start`, a multiple of `2^log`.
    fn subtree_root(&mut self, start: u64, log: u32) -> Result<Hash, TileError<S::Error>> {
        let level = u8::try_from(log / TILE_HEIGHT).map_err(|_| TileError::OutOfRange)?;
        let row = start >> (TILE_HEIGHT * u32::from(level));
        let (index, offset) = (row >> TILE_HEIGHT, row % u64::from(FULL_WIDTH));
        let hashes = self.tile(level, index)?;
        let offset = usize::try_from(offset).map_err(|_| TileError::OutOfRange)?;
        let wanted = hashes
            .get(offset..offset + (1 << (log % TILE_HEIGHT)))
            .ok_or(TileError::OutOfRange)?;
        Ok(complete_root(wanted))
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], TileError<S::Error>> {
        let entry = match self.read.entry((level, index)) {
            std::collections::btree_map::Entry::Occupied(entry) => return Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => entry,
        };
        let width = if index < full_tiles(level, self.size) {
            FULL_WIDTH
        } else {
            partial_width(level, self.size)
        };
        Ok(entry.insert(read_widest(self.source, level, index, width)?))
    }
}
