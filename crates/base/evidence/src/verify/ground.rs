//! The ground floor: every entry bundle, hashed and read as records, beside the tile of its leaf hashes.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::Problem;
use crate::{
    Hash, Record, TileSource, decode_entries, leaf_hash,
    merkle::peaks_of_row,
    tiles::{FULL_WIDTH, entries_path, full_tiles, hashes_of_tile, partial_width, tile_path},
};

/// More threads than this wait for the disk, not for each other.
const MAX_THREADS: usize = 8;

/// What the files of up to 256 entries say.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The subtree roots of the entries' hashes.
    pub(super) entries: Option<Vec<Hash>>,
    /// The subtree roots of the tile's hashes.
    pub(super) tile: Option<Vec<Hash>>,
    /// The first entry whose hash is not in the tile.
    pub(super) difference: Option<u64>,
}

/// All blocks of a log, in order.
#[derive(Debug, Default)]
pub(super) struct Ground {
    blocks: Vec<Block>,
    records: u64,
    problems: Vec<Problem>,
}

impl Ground {
    pub(super) fn read<S: TileSource + Sync>(
        source: &S,
        size: u64,
        minimum_index: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Self {
        let count = size.div_ceil(FULL_WIDTH.into());
        let reader = Reader {
            source,
            size,
            minimum_index,
            next: AtomicU64::new(0),
            records: AtomicU64::new(0),
        };
        let read = Mutex::new((Vec::new(), Vec::new()));
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MAX_THREADS);
        let work = || {
            let (mut blocks, mut problems) = (Vec::new(), Vec::new());
            loop {
                let index = reader.next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                blocks.push((index, reader.block(index, &mut problems)));
                progress(reader.records.load(Ordering::Relaxed));
            }
            let mut all = read.lock().unwrap_or_else(PoisonError::into_inner);
            all.0.append(&mut blocks);
            all.1.append(&mut problems);
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // A thread that cannot start leaves its work to the others, at last to this one.
                drop(thread::Builder::new().spawn_scoped(scope, work));
            }
            work();
        });
        let (mut blocks, problems) = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        blocks.sort_by_key(|(index, _)| *index);
        let blocks = blocks.into_iter().map(|(_, block)| block).collect();
        Self {
            blocks,
            records: reader.records.into_inner(),
            problems,
        }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

struct Reader<'a, S> {
    source: &'a S,
    size: u64,
    minimum_index: u64,
    next: AtomicU64,
    records: AtomicU64,
}

impl<S: TileSource> Reader<'_, S> {
    fn block(&self, index: u64, problems: &mut Vec<Problem>) -> Block {
        let full = index < full_tiles(0, self.size);
        let width = if full {
            FULL_WIDTH
        } else {
            partial_width(0, self.size)
        };
        let prunable = full && (index + 1).saturating_mul(FULL_WIDTH.into()) <= self.minimum_index;
        let entries = self.entries(index, width, prunable, problems);
        let tile = stored_tile(self.source, 0, index, width, prunable, problems);
        let difference = match (&entries, &tile) {
            (Some(entries), Some(tile)) => entries.iter().zip(tile).position(|(a, b)| a != b),
            (None, _) | (_, None) => None,
        };
        let peaks = |hashes: Option<Vec<Hash>>| hashes.map(|hashes| peaks_of_row(&hashes));
        let entries = peaks(entries);
        Block {
            // Two equal rows need no second hashing.
            tile: if difference.is_none() && entries.is_some() && tile.is_some() {
                entries.clone()
            } else {
                peaks(tile)
            },
            entries,
            difference: difference
                .and_then(|entry| u64::try_from(entry).ok())
                .map(|entry| index * u64::from(FULL_WIDTH) + entry),
        }
    }

    /// The leaf hashes of a bundle's entries. Each entry must be a record.
    fn entries(
        &self,
        index: u64,
        width: u16,
        prunable: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<Hash>> {
        let path = |width| entries_path(index, width);
        let (file, bundle) = read_file(self.source, path, width, prunable, problems)?;
        let mut entries = match decode_entries(&bundle) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(Problem::new(file, error.to_string()));
                return None;
            }
        };
        // A partial bundle may have been replaced by the full one while this was reading.
        let expected = if file == path(width) { width } else { FULL_WIDTH };
        if entries.len() != usize::from(expected) {
            let reason = format!("has {} entries, not {expected}", entries.len());
            problems.push(Problem::new(file, reason));
            return None;
        }
        entries.truncate(width.into());
        let mut records = 0;
        let mut first_error = None;
        for (position, entry) in (0_u64..).zip(&entries) {
            match Record::from_leaf(entry) {
                Ok(_) => records += 1,
                Err(error) => {
                    let number = index * u64::from(FULL_WIDTH) + position;
                    first_error.get_or_insert_with(|| format!("entry {number} is no record: {error}"));
                }
            }
        }
        problems.extend(first_error.map(|reason| Problem::new(file, reason)));
        self.records.fetch_add(records, Ordering::Relaxed);
        Some(entries.into_iter().map(leaf_hash).collect())
    }
}

/// The hashes that a tile file holds; a full tile serves for the partial one that it replaced.
pub(super) fn stored_tile<S: TileSource>(
    source: &S,
    level: u8,
    index: u64,
    width: u16,
    prunable: bool,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Hash>> {
    let path = |width| tile_path(level, index, width);
    let (file, bytes) = read_file(source, path, width, prunable, problems)?;
    let on_disk = if file == path(width) { width } else { FULL_WIDTH };
    let Some(mut hashes) = hashes_of_tile(&bytes, on_disk) else {
        let reason = format!("has {} bytes, not {}", bytes.len(), usize::from(on_disk) * 32);
        problems.push(Problem::new(file, reason));
        return None;
    };
    hashes.truncate(width.into());
    Some(hashes)
}

fn read_file<S: TileSource>(
    source: &S,
    path: impl Fn(u16) -> String,
    width: u16,
    prunable: bool,
    problems: &mut Vec<Problem>,
) -> Option<(String, Vec<u8>)> {
    for file in [path(width), path(FULL_WIDTH)] {
        match source.read(&file) {
            Ok(Some(bytes)) => return Some((file, bytes)),
            Ok(None) => {}
            Err(error) => {
                problems.push(Problem::unreadable(file, &error));
                return None;
            }
        }
    }
    if !prunable {
        problems.push(Problem::new(path(width), "is missing"));
    }
    None
}
