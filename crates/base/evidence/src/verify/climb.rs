//! The way from the ground to the root, and whose fault it is when two files disagree.

use super::{
    CHECKPOINT, Problem,
    ground::{Block, Ground, stored_tile},
};
use crate::{
    Hash, TileSource,
    merkle::{peaks_of_row, root_of_peaks},
    tiles::{FULL_WIDTH, LEVELS, TILE_HEIGHT, TilePath, full_tiles, partial_width},
};

/// Whom to believe where nothing above decides.
#[derive(Clone, Copy, Debug)]
enum Prefer {
    Below,
    Stored,
}

/// What one way up found.
#[derive(Debug, Default)]
struct Climb {
    root: Option<Hash>,
    problems: Vec<Problem>,
}

/// The stored tiles above the ground.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    ground: &'a Ground,
    size: u64,
    /// Level by level, from level 1.
    stored: Vec<Vec<Option<Vec<Hash>>>>,
    problems: Vec<Problem>,
}

impl<'a> Tree<'a> {
    pub(super) fn read<S: TileSource>(source: &S, ground: &'a Ground, size: u64, minimum_index: u64) -> Self {
        let (mut stored, mut problems) = (Vec::new(), Vec::new());
        for level in (1..LEVELS).take_while(|level| tiles_at(*level, size) > 0) {
            let tile = |index: u64| {
                let end = (index + 1).checked_shl(TILE_HEIGHT * (u32::from(level) + 1));
                let full = index < full_tiles(level, size);
                let prunable = full && end.is_some_and(|end| end <= minimum_index);
                stored_tile(
                    source,
                    level,
                    index,
                    width_of(level, index, size),
                    prunable,
                    &mut problems,
                )
            };
            stored.push((0..tiles_at(level, size)).map(tile).collect());
        }
        Self {
            ground,
            size,
            stored,
            problems,
        }
    }

    /// Tiles that cannot be read.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Every file that is wrong, if the root is `root`.
    pub(super) fn compare(&self, root: &Hash) -> Vec<Problem> {
        let from_entries = self.climb(Prefer::Below);
        if from_entries.root.as_ref() == Some(root) {
            return from_entries.problems;
        }
        let from_tiles = self.climb(Prefer::Stored);
        if from_tiles.root.as_ref() == Some(root) {
            return from_tiles.problems;
        }
        // Neither way leads to the root: whatever disagrees is suspect, and the checkpoint with it.
        let mut problems = from_entries.problems;
        problems.extend(from_tiles.problems);
        problems.push(Problem::new(
            CHECKPOINT,
            "its root is not that of the tiles and entries",
        ));
        problems
    }

    fn climb(&self, prefer: Prefer) -> Climb {
        let mut climb = Climb::default();
        let mut peaks = Vec::new();
        let blocks = self.ground.blocks();
        let mut row: Vec<Option<Vec<Hash>>> = (0_u64..)
            .zip(blocks)
            .map(|(index, block)| climb.block(block, index, self.parent(0, index), prefer, self.size))
            .collect();
        let mut level = 0;
        loop {
            let below = self.leave_level(level, row, &mut peaks);
            level += 1;
            let Some(stored) = self.stored.get(usize::from(level) - 1) else {
                break;
            };
            row = (0_u64..)
                .zip(stored)
                .map(|(index, stored)| {
                    let place = Place {
                        level,
                        index,
                        parent: self.parent(level, index),
                        size: self.size,
                    };
                    climb.tile(&place, &below, stored.as_deref(), prefer)
                })
                .collect();
        }
        peaks.reverse();
        let peaks: Option<Vec<Vec<Hash>>> = peaks.into_iter().collect();
        climb.root = peaks.map(|peaks| root_of_peaks(&peaks.concat()));
        climb
    }

    /// Takes the peaks of the partial tile of `level`; the roots of the full ones are the row of the level above.
    fn leave_level(
        &self,
        level: u8,
        mut row: Vec<Option<Vec<Hash>>>,
        peaks: &mut Vec<Option<Vec<Hash>>>,
    ) -> Vec<Option<Hash>> {
        if partial_width(level, self.size) > 0 {
            peaks.push(row.pop().flatten());
        }
        row.into_iter()
            .map(|root| root.and_then(|root| root.first().copied()))
            .collect()
    }

    /// What the tile above says that the root of the tile `index` of `level` is.
    fn parent(&self, level: u8, index: u64) -> Option<Hash> {
        let (above, offset) = (index >> TILE_HEIGHT, index % u64::from(FULL_WIDTH));
        let tile = self
            .stored
            .get(usize::from(level))?
            .get(usize::try_from(above).ok()?)?
            .as_ref()?;
        (index < full_tiles(level, self.size)).then(|| tile.get(usize::try_from(offset).ok()?).copied())?
    }
}

/// One tile above the ground.
struct Place {
    level: u8,
    index: u64,
    parent: Option<Hash>,
    size: u64,
}

impl Climb {
    /// The roots of a block, and blame for the file that is wrong.
    fn block(
        &mut self,
        block: &Block,
        index: u64,
        parent: Option<Hash>,
        prefer: Prefer,
        size: u64,
    ) -> Option<Vec<Hash>> {
        let width = width_of(0, index, size);
        let entries_file = TilePath::Entries { index, width }.to_string();
        let tile_file = TilePath::Hashes {
            level: 0,
            index,
            width,
        }
        .to_string();
        let (Some(entries), Some(tile)) = (&block.entries, &block.tile) else {
            let known = block.entries.as_ref().or(block.tile.as_ref()).cloned();
            return known.or_else(|| parent.map(|root| vec![root]));
        };
        let Some(entry) = block.difference else {
            return Some(entries.clone());
        };
        if believe_stored(entries, tile, parent, prefer) {
            let reason = format!("entry {entry} is not the one that `{tile_file}` has the hash of");
            self.problems.push(Problem::new(entries_file, reason));
            Some(tile.clone())
        } else {
            let reason = format!("the hash of entry {entry} in `{entries_file}` is another");
            self.problems.push(Problem::new(tile_file, reason));
            Some(entries.clone())
        }
    }

    /// The roots of a tile whose hashes should be the roots `below`, and blame for the file that is wrong.
    fn tile(
        &mut self,
        place: &Place,
        below: &[Option<Hash>],
        stored: Option<&[Hash]>,
        prefer: Prefer,
    ) -> Option<Vec<Hash>> {
        let Place {
            level,
            index,
            parent,
            size,
        } = *place;
        let width = width_of(level, index, size);
        let start = usize::try_from(index)
            .ok()?
            .checked_mul(usize::from(FULL_WIDTH))?;
        let below = below.get(start..start.checked_add(width.into())?)?;
        let Some(stored) = stored else {
            let complete: Option<Vec<Hash>> = below.iter().copied().collect();
            return complete
                .map(|hashes| peaks_of_row(&hashes))
                .or_else(|| parent.map(|root| vec![root]));
        };
        let filled: Vec<Hash> = below
            .iter()
            .zip(stored)
            .map(|(below, stored)| below.unwrap_or(*stored))
            .collect();
        let different: Vec<usize> = (0..stored.len())
            .filter(|k| filled.get(*k) != stored.get(*k))
            .collect();
        let (below_peaks, stored_peaks) = (peaks_of_row(&filled), peaks_of_row(stored));
        let file = TilePath::Hashes { level, index, width }.to_string();
        if different.is_empty() {
            return Some(stored_peaks);
        }
        if !believe_stored(&below_peaks, &stored_peaks, parent, prefer) {
            let hash = different.first().copied().unwrap_or(0);
            self.problems.push(Problem::new(
                file,
                format!("hash {hash} is not the root of the tile below it"),
            ));
            return Some(below_peaks);
        }
        for child in different
            .into_iter()
            .filter_map(|k| u64::try_from(start.checked_add(k)?).ok())
        {
            let reason = format!("its root is not the one in `{file}`");
            let tile = TilePath::Hashes {
                level: level - 1,
                index: child,
                width: FULL_WIDTH,
            };
            self.problems.push(Problem::new(tile.to_string(), reason.clone()));
            if level == 1 {
                let entries = TilePath::Entries {
                    index: child,
                    width: FULL_WIDTH,
                };
                self.problems.push(Problem::new(entries.to_string(), reason));
            }
        }
        Some(stored_peaks)
    }
}

/// Which of two disagreeing rows the tile above takes for true; where it knows neither, `prefer`.
fn believe_stored(below: &[Hash], stored: &[Hash], parent: Option<Hash>, prefer: Prefer) -> bool {
    match parent {
        Some(root) if below == [root] => false,
        Some(root) if stored == [root] => true,
        Some(_) | None => match prefer {
            Prefer::Below => false,
            Prefer::Stored => true,
        },
    }
}

fn tiles_at(level: u8, size: u64) -> u64 {
    full_tiles(level, size) + u64::from(partial_width(level, size) > 0)
}

fn width_of(level: u8, index: u64, size: u64) -> u16 {
    if index < full_tiles(level, size) {
        FULL_WIDTH
    } else {
        partial_width(level, size)
    }
}
