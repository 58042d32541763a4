//! The growing edge of the tile files: appends leaf hashes, says what to write and what that replaces.

use std::{collections::BTreeSet, mem};

use super::{
    FULL_WIDTH, LEVELS, TilePath, full_tiles, partial_width,
    read::{TileError, TileSource, read_widest},
};
use crate::merkle::{Hash, complete_root, peaks_of_row, root_of_peaks};

/// A tree that knows the rightmost tile of each level, and which tiles were not yet written.
// INVARIANT: an edge holds the hashes of its level's partial tile, `partial_width(level, size)` of them.
#[derive(Clone, Debug, Default)]
pub struct TileWriter {
    size: u64,
    edges: Vec<Edge>,
    completed: Vec<(TilePath, Vec<u8>)>,
    replaced: BTreeSet<TilePath>,
    superseded: BTreeSet<TilePath>,
}

/// The rightmost tile of one level, while it is not full.
#[derive(Clone, Debug, Default)]
struct Edge {
    hashes: Vec<Hash>,
    /// The widths under which it may lie on disk.
    written: BTreeSet<u16>,
}

impl TileWriter {
    /// The tree without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a tree of `size` entries. Compare its root with one you trust before appending.
    pub fn from_source<S: TileSource>(size: u64, source: &S) -> Result<Self, TileError<S::Error>> {
        let mut edges = Vec::new();
        for level in 0..LEVELS {
            let width = partial_width(level, size);
            let index = full_tiles(level, size);
            let hashes = if width == 0 {
                Vec::new()
            } else {
                read_widest(source, level, index, width)?
            };
            edges.push(Edge {
                hashes,
                written: (1..=width).collect(),
            });
        }
        Ok(Self {
            size,
            edges,
            ..Self::default()
        })
    }

    /// Adds one leaf hash on the right.
    pub fn append(&mut self, leaf: Hash) {
        let mut carried = Some(leaf);
        for level in 0..LEVELS {
            let Some(hash) = carried.take() else { break };
            if self.edges.len() <= usize::from(level) {
                self.edges.push(Edge::default());
            }
            let Some(edge) = self.edges.get_mut(usize::from(level)) else {
                break;
            };
            edge.hashes.push(hash);
            if edge.hashes.len() == usize::from(FULL_WIDTH) {
                let Edge { hashes, written } = mem::take(edge);
                let index = full_tiles(level, self.size);
                let path = TilePath::Hashes {
                    level,
                    index,
                    width: FULL_WIDTH,
                };
                carried = Some(complete_root(&hashes));
                self.completed.push((path, hashes.as_flattened().to_vec()));
                self.replaced.extend(
                    written
                        .into_iter()
                        .flat_map(|width| partial_files(level, index, width)),
                );
            }
        }
        self.size += 1;
    }

    /// The whole new content of every tile that changed since the last call, by level and position.
    pub fn take_changed(&mut self) -> Vec<(String, Vec<u8>)> {
        self.superseded = mem::take(&mut self.replaced);
        let mut changed = mem::take(&mut self.completed);
        for (level, edge) in (0..LEVELS).zip(&mut self.edges) {
            let (index, width) = (full_tiles(level, self.size), partial_width(level, self.size));
            if width > 0 && edge.written.insert(width) {
                let path = TilePath::Hashes { level, index, width };
                changed.push((path, edge.hashes.as_flattened().to_vec()));
            }
        }
        changed.sort_by_key(|(path, _)| *path);
        changed
            .into_iter()
            .map(|(path, bytes)| (path.to_string(), bytes))
            .collect()
    }

    /// The partial files, tiles and entry bundles, that full ones of the last [`TileWriter::take_changed`] replaced.
    ///
    /// They may be removed once a checkpoint of the new size is durable, and not before: tlog-tiles, "Partial Tiles",
    /// keeps partial tiles of every published size until the full one is there. After
    /// [`TileWriter::from_source`] some of them may never have been written.
    pub fn superseded(&self) -> Vec<String> {
        self.superseded.iter().map(TilePath::to_string).collect()
    }

    /// The number of entries.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        let peaks: Vec<Hash> = self
            .edges
            .iter()
            .rev()
            .flat_map(|edge| peaks_of_row(&edge.hashes))
            .collect();
        root_of_peaks(&peaks)
    }
}

/// The files of one partial tile: at level 0 its entries have a bundle of the same width.
fn partial_files(level: u8, index: u64, width: u16) -> impl Iterator<Item = TilePath> {
    let entries = (level == 0).then_some(TilePath::Entries { index, width });
    [TilePath::Hashes { level, index, width }]
        .into_iter()
        .chain(entries)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use proptest::{prelude::*, test_runner::TestRunner};

    use super::*;
    use crate::{
        merkle::{reference::Tree, verify_consistency, verify_inclusion},
        tiles::{consistency_proof, inclusion_proof, parse_path, root_at, tile_path},
    };

    #[derive(Clone, Default)]
    struct Folder(BTreeMap<String, Vec<u8>>);

    impl TileSource for Folder {
        type Error = Infallible;

        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
            Ok(self.0.get(path).cloned())
        }
    }

    impl Folder {
        fn take(&mut self, writer: &mut TileWriter) {
            self.0.extend(writer.take_changed());
            for path in writer.superseded() {
                self.0.remove(&path);
            }
        }

        fn of(leaves: &[Hash]) -> Self {
            let (mut folder, mut writer) = (Self::default(), TileWriter::new());
            leaves.iter().for_each(|leaf| writer.append(*leaf));
            folder.take(&mut writer);
            folder
        }
    }

    /// The tiles that tlog-tiles, "Merkle Tree" and "Partial Tiles", prescribes for a tree of `size` entries.
    fn prescribed(tree: &Tree, size: usize) -> BTreeMap<String, Vec<u8>> {
        let (mut files, mut span, mut level) = (BTreeMap::new(), 1, 0_u8);
        while size / span > 0 {
            for (index, start) in (0..size / span).step_by(256).enumerate() {
                let width = u16::try_from((size / span - start).min(256)).unwrap();
                let tile = (start..start + usize::from(width))
                    .flat_map(|i| tree.mth(i * span, span))
                    .collect();
                files.insert(tile_path(level, index as u64, width), tile);
            }
            span *= 256;
            level += 1;
        }
        files
    }

    #[test]
    fn writes_what_the_specification_prescribes() {
        let tree = Tree::new(70_000);
        for n in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
            assert_eq!(Folder::of(&tree.leaves[..n]).0, prescribed(&tree, n), "size {n}");
        }
        // The example of tlog-tiles, "Partial Tiles".
        let names = Folder::of(&tree.leaves).0;
        assert_eq!(names.len(), 273 + 1 + 1 + 1 + 1);
        for name in [
            "tile/0/272",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1",
        ] {
            assert!(names.contains_key(name), "{name}");
        }
    }

    #[test]
    fn names_what_full_tiles_replace() {
        let tree = Tree::new(257);
        let mut writer = TileWriter::new();
        let mut grow = |to: usize| {
            let from = usize::try_from(writer.size()).unwrap();
            tree.leaves[from..to].iter().for_each(|leaf| writer.append(*leaf));
            let changed: Vec<String> = writer.take_changed().into_iter().map(|(path, _)| path).collect();
            (changed.join(" "), writer.superseded().join(" "))
        };
        let mut check = |to: usize, changed: &str, superseded: &str| {
            assert_eq!(grow(to), (changed.to_owned(), superseded.to_owned()));
        };
        check(3, "tile/0/000.p/3", "");
        check(255, "tile/0/000.p/255", "");
        check(
            257,
            "tile/0/000 tile/0/001.p/1 tile/1/000.p/1",
            "tile/0/000.p/3 tile/0/000.p/255 tile/entries/000.p/3 tile/entries/000.p/255",
        );
        check(257, "", "");
    }

    #[test]
    fn names_what_earlier_writers_may_have_left() {
        let tree = Tree::new(256);
        let folder = Folder::of(&tree.leaves[..2]);
        let mut writer = TileWriter::from_source(2, &folder).unwrap();
        tree.leaves[2..].iter().for_each(|leaf| writer.append(*leaf));
        writer.take_changed();
        assert_eq!(
            writer.superseded(),
            [
                "tile/0/000.p/1",
                "tile/0/000.p/2",
                "tile/entries/000.p/1",
                "tile/entries/000.p/2"
            ]
        );
    }

    #[test]
    fn proves_every_entry_of_every_size_up_to_600() {
        let tree = Tree::new(600);
        let (mut folder, mut writer) = (Folder::default(), TileWriter::new());
        for n in 1..=600 {
            writer.append(tree.leaves[n - 1]);
            folder.take(&mut writer);
            let (size, root) = (n as u64, tree.root(n));
            assert_eq!(writer.root(), root);
            assert_eq!(root_at(&folder, size), Ok(root), "size {n}");
            for i in 0..n {
                let proof = inclusion_proof(&folder, i as u64, size).unwrap();
                assert_eq!(proof, tree.path(i, n), "{i} of {n}");
                assert_eq!(
                    verify_inclusion(&tree.leaves[i], i as u64, size, &proof, &root),
                    Ok(())
                );
            }
        }
        // Earlier sizes stay provable from the files of the last.
        for n in 1..=600 {
            assert_eq!(root_at(&folder, n as u64), Ok(tree.root(n)), "size {n}");
        }
    }

    #[test]
    fn proves_every_consistency_up_to_300() {
        let tree = Tree::new(300);
        let (mut folder, mut writer) = (Folder::default(), TileWriter::new());
        for new in 1..=300 {
            writer.append(tree.leaves[new - 1]);
            folder.take(&mut writer);
            let size = new as u64;
            for old in 0..=new {
                let proof = consistency_proof(&folder, old as u64, size).unwrap();
                assert_eq!(proof, tree.consistency(old, new), "{old} to {new}");
            }
            assert_eq!(
                consistency_proof(&folder, size + 1, size),
                Err(TileError::OutOfRange)
            );
            assert_eq!(inclusion_proof(&folder, size, size), Err(TileError::OutOfRange));
        }
    }

    #[test]
    fn names_missing_and_torn_tiles() {
        let tree = Tree::new(300);
        let mut folder = Folder::of(&tree.leaves);
        let path = "tile/0/001.p/44".to_owned();
        folder.0.get_mut(&path).unwrap().pop();
        let torn = TileError::WrongLength {
            path: path.clone(),
            length: 44 * 32 - 1,
            expected: 44 * 32,
        };
        assert_eq!(root_at(&folder, 300), Err(torn.clone()));
        assert_eq!(TileWriter::from_source(300, &folder).err(), Some(torn));
        folder.0.remove(&path);
        assert_eq!(root_at(&folder, 300), Err(TileError::Missing { path }));
    }

    #[test]
    fn large_trees_prove() {
        let tree = Tree::new(150_000);
        let config = ProptestConfig {
            cases: 12,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let places = (
            1..=150_000_usize,
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
        );
        TestRunner::new(config)
            .run(&places, |(size, old, index)| {
                let (old, index) = (old.index(size + 1), index.index(size));
                let (folder, root) = (Folder::of(&tree.leaves[..size]), tree.root(size));
                prop_assert_eq!(root_at(&folder, size as u64).unwrap(), root);
                let proof = inclusion_proof(&folder, index as u64, size as u64).unwrap();
                prop_assert_eq!(&proof, &tree.path(index, size));
                verify_inclusion(&tree.leaves[index], index as u64, size as u64, &proof, &root).unwrap();
                let proof = consistency_proof(&folder, old as u64, size as u64).unwrap();
                prop_assert_eq!(&proof, &tree.consistency(old, size));
                verify_consistency(old as u64, &tree.root(old), size as u64, &root, &proof).unwrap();
                Ok(())
            })
            .unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_batches_give_the_same_files(batches in prop::collection::vec(0..700_usize, 0..8), reopen: bool) {
            let tree = Tree::new(batches.iter().sum());
            let (mut folder, mut writer, mut rest) = (Folder::default(), TileWriter::new(), tree.leaves.as_slice());
            for batch in batches {
                let (now, later) = rest.split_at(batch);
                now.iter().for_each(|leaf| writer.append(*leaf));
                folder.take(&mut writer);
                rest = later;
                if reopen {
                    let root = writer.root();
                    writer = TileWriter::from_source(writer.size(), &folder).unwrap();
                    prop_assert_eq!(writer.root(), root);
                }
            }
            for (path, tile) in prescribed(&tree, tree.leaves.len()) {
                prop_assert_eq!(folder.0.remove(&path), Some(tile));
            }
            // What else is left are partial tiles of earlier sizes whose full tile is still to come.
            for path in folder.0.into_keys() {
                let Some(TilePath::Hashes { level, index, width }) = parse_path(&path) else { panic!("{path}") };
                prop_assert_eq!(index, full_tiles(level, writer.size()));
                prop_assert!(width < partial_width(level, writer.size()));
            }
        }
    }
}
