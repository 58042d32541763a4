//! The entries in a log's bundles, each proven to be in a tree before anybody sees it.
//!
//! Whoever can write the folder can write a bundle, so an entry counts where its hash leads to the root. The hashes of a
//! bundle's entries stand in for its tile, and then one audit path proves all of them: the path of the first one is made
//! of the hashes of all others (RFC 9162 section 2.1.3.1).

use std::collections::BTreeMap;

use stockade_evidence::{
    FULL_WIDTH, TilePath, TileSource, TileWriter, inclusion_proof, leaf_hash, parse_path, tile_path,
    verify_inclusion,
};

use super::{error::ReadError, head::TreeHead, source::FolderSource};
use crate::disk::DiskError;

/// Tiles by their paths.
pub(crate) type MadeTiles = BTreeMap<String, Vec<u8>>;

/// The tiles that the entries from `from` on make, where with them the tree is the one that `head` names. Full tiles of
/// leaves are not among them: their bundles say the same.
pub(crate) fn grown(source: &FolderSource, from: u64, head: &TreeHead) -> Option<MadeTiles> {
    let from = from.min(head.size);
    let mut tiles = TileWriter::from_source(from, source).ok()?;
    let grow = &mut |_, leaf: &[u8]| {
        tiles.append(leaf_hash(leaf));
        true
    };
    source.entries(from, head.size, grow).ok()?;
    (tiles.root() == head.root).then(|| tiles.take_changed().into_iter().filter(is_needed).collect())
}

fn is_needed((path, _): &(String, Vec<u8>)) -> bool {
    match parse_path(path) {
        Some(TilePath::Hashes { level, width, .. }) => level > 0 || width < FULL_WIDTH,
        Some(TilePath::Entries { .. }) | None => false,
    }
}

/// The bundles of a tree.
#[derive(Debug)]
pub(crate) struct Bundles {
    source: FolderSource,
    tree: TreeHead,
    /// Tiles that were made from the entries: those in the folder may be damaged. They prove nothing by themselves.
    made: MadeTiles,
}

impl Bundles {
    /// Those in `source`, of the tree that `tree` names. Tiles in `made` are asked for before those in the folder.
    pub(crate) const fn new(source: FolderSource, tree: TreeHead, made: MadeTiles) -> Self {
        Self { source, tree, made }
    }

    /// The folder they lie in.
    pub(crate) const fn source(&self) -> &FolderSource {
        &self.source
    }

    /// Calls `each` with the entries from `from` to `end`, in order, until it says `false`. The first one that is not
    /// proven is an error, and so are those after it in its bundle.
    pub(crate) fn entries(
        &self,
        from: u64,
        end: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let width = u64::from(FULL_WIDTH);
        let (mut next, mut wanted) = (from, true);
        while wanted && next < end {
            let first = next - next % width;
            self.source
                .bundle(next / width, self.tree.size, |path, entries| {
                    let proven = first.saturating_add(self.proven(first, entries));
                    for (index, entry) in (first..proven.min(end)).zip(entries) {
                        if index < next {
                            continue;
                        }
                        next = index.saturating_add(1);
                        wanted = each(index, entry);
                        if !wanted {
                            return Ok(());
                        }
                    }
                    if next < end && next - first < entries.len() as u64 {
                        return Err(ReadError::Damaged {
                            path: path.to_owned(),
                            reason: format!("entry {next} is not the one in the tree"),
                        });
                    }
                    Ok(())
                })??;
        }
        Ok(())
    }

    /// How many of a bundle's entries are proven, from the first one of it on.
    fn proven(&self, first: u64, entries: &[&[u8]]) -> u64 {
        let leaves: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(entry)).collect();
        let width = u16::try_from(entries.len()).unwrap_or(FULL_WIDTH);
        let tile = (tile_path(0, first / u64::from(FULL_WIDTH), width), leaves);
        let is_in_tree = |tile, (index, entry): (u64, &&[u8])| {
            let tiles = Tiles { bundles: self, tile };
            inclusion_proof(&tiles, index, self.tree.size).is_ok_and(|path| {
                verify_inclusion(&leaf_hash(entry), index, self.tree.size, &path, &self.tree.root).is_ok()
            })
        };
        let mut all = (first..).zip(entries);
        if all.next().is_some_and(|entry| is_in_tree(Some(&tile), entry)) {
            return entries.len() as u64;
        }
        // One of them is wrong. Those before it are proven one by one, with the tile that is in the folder.
        let proven = (first..)
            .zip(entries)
            .take_while(|entry| is_in_tree(None, *entry));
        proven.count() as u64
    }
}

/// The tiles of a log, one of them made from the entries of its bundle.
struct Tiles<'a> {
    bundles: &'a Bundles,
    tile: Option<&'a (String, Vec<u8>)>,
}

impl TileSource for Tiles<'_> {
    type Error = DiskError;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let of_bundle = self.tile.filter(|(made, _)| made == path).map(|(_, tile)| tile);
        match of_bundle.or_else(|| self.bundles.made.get(path)) {
            Some(tile) => Ok(Some(tile.clone())),
            None => self.bundles.source.read(path),
        }
    }
}
