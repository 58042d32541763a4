//! Every file that lies in the log's folder must belong to it.

use std::collections::BTreeSet;

use super::{CHECKPOINT, Problem};
use crate::{
    TileSource, decode_entries, leaf_hash,
    tiles::{FULL_WIDTH, TILE_HEIGHT, TilePath, full_tiles, parse_path, partial_width, tile_path},
};

/// Problems of files that the tree itself does not need: unknown ones, and partial tiles that were replaced. A
/// successor that is among the `known` problems proves nothing about them.
pub(super) fn check_listing<S: TileSource>(
    source: &S,
    listing: &[String],
    size: u64,
    known: &[Problem],
) -> Vec<Problem> {
    let wrong: BTreeSet<&str> = known.iter().map(|problem| problem.file.as_str()).collect();
    listing
        .iter()
        .filter(|file| *file != CHECKPOINT)
        .filter_map(|file| match parse_path(file) {
            None => Some(Problem::new(file, "does not belong to the log")),
            Some(path) => check_replaced(source, file, path, size, &wrong),
        })
        .collect()
}

/// A partial tile of an earlier size must say what its successor says.
///
/// A file that reaches beyond the checkpoint was written for the next one; nothing is said about it yet.
fn check_replaced<S: TileSource>(
    source: &S,
    file: &str,
    path: TilePath,
    size: u64,
    wrong: &BTreeSet<&str>,
) -> Option<Problem> {
    let (level, index, width) = match path {
        TilePath::Hashes { level, index, width } => (level, index, width),
        TilePath::Entries { index, width } => (0, index, width),
    };
    let row = size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0);
    let ahead = index.checked_mul(FULL_WIDTH.into())?.checked_add(width.into())? > row;
    let current = if index < full_tiles(level, size) {
        FULL_WIDTH
    } else {
        partial_width(level, size)
    };
    if ahead || width == current {
        return None;
    }
    let successor = [current, FULL_WIDTH].map(|width| match path {
        TilePath::Hashes { .. } => TilePath::Hashes { level, index, width }.to_string(),
        TilePath::Entries { .. } => TilePath::Entries { index, width }.to_string(),
    });
    if successor
        .iter()
        .any(|successor| wrong.contains(successor.as_str()))
    {
        return None;
    }
    let read = |path: &str| {
        source
            .read(path)
            .map_err(|error| Problem::unreadable(path, &error))
    };
    let replaced = match read(file) {
        Ok(Some(bytes)) => bytes,
        // Removed since the listing was made.
        Ok(None) => return None,
        Err(problem) => return Some(problem),
    };
    for successor in &successor {
        match read(successor) {
            Ok(Some(bytes)) if bytes.starts_with(&replaced) && is_whole(path, &replaced) => return None,
            Ok(Some(_)) => {
                let reason = format!("disagrees with `{successor}`, which replaced it");
                return Some(Problem::new(file, reason));
            }
            Ok(None) => {}
            Err(problem) => return Some(problem),
        }
    }
    // Retention removes whole bundles; one that was not whole yet may stay behind, and is in the tree or wrong.
    match path {
        TilePath::Entries { index, .. } if are_leaves(source, index, &replaced) => None,
        TilePath::Entries { .. } | TilePath::Hashes { .. } => {
            Some(Problem::new(file, "was replaced by a tile that is gone"))
        }
    }
}

/// Whether a bundle's entries hash to the first leaves of the tile beside it.
fn are_leaves<S: TileSource>(source: &S, index: u64, bundle: &[u8]) -> bool {
    let Ok(entries) = decode_entries(bundle) else {
        return false;
    };
    let hashes: Vec<u8> = entries.into_iter().flat_map(leaf_hash).collect();
    let tile = tile_path(0, index, FULL_WIDTH);
    matches!(source.read(&tile), Ok(Some(leaves)) if leaves.starts_with(&hashes))
}

fn is_whole(path: TilePath, bytes: &[u8]) -> bool {
    match path {
        TilePath::Hashes { width, .. } => bytes.len() == usize::from(width) * 32,
        TilePath::Entries { width, .. } => {
            decode_entries(bytes).is_ok_and(|entries| entries.len() == usize::from(width))
        }
    }
}
