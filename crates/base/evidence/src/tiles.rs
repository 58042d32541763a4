//! C2SP tlog-tiles: the tree as files of 256 hashes, the entries as bundles of 256, and proofs read from them.
//!
//! The tile `n` of level `l` holds the roots of 256 neighbouring subtrees of `256^l` entries. A file that is not full
//! yet has its width in its name; it is replaced, never changed.

mod bundle;
mod path;
mod read;
mod writer;

pub use self::{
    bundle::{BadBundle, EntryTooLarge, MAX_ENTRY, decode_entries, encode_entries, fuzz_bundle},
    path::{TilePath, entries_path, parse_path, tile_path},
    read::{TileError, TileSource, consistency_proof, inclusion_proof, root_at},
    writer::TileWriter,
};

pub(crate) use self::read::hashes_of_tile;

/// Hashes in a full tile, entries in a full bundle (tlog-tiles, "Merkle Tree").
pub const FULL_WIDTH: u16 = 256;

/// log2 of [`FULL_WIDTH`].
pub(crate) const TILE_HEIGHT: u32 = 8;

/// Levels that a tree of `u64` size can have.
pub(crate) const LEVELS: u8 = 8;

/// How many hashes of `level` lie in the rightmost, partial tile of a tree with `size` entries; 0 if there is none.
/// (tlog-tiles, "Partial Tiles": `floor(s / 256**l) mod 256`.)
pub(crate) fn partial_width(level: u8, size: u64) -> u16 {
    let row = size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0);
    u16::try_from(row % u64::from(FULL_WIDTH)).unwrap_or(0)
}

/// How many full tiles `level` has in a tree with `size` entries.
pub(crate) fn full_tiles(level: u8, size: u64) -> u64 {
    size.checked_shr(TILE_HEIGHT * (u32::from(level) + 1))
        .unwrap_or(0)
}
