//! The tree at the log's edge, and the files it becomes.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use stockade_evidence::{
    EntryTooLarge, FULL_WIDTH, Hash, TilePath, TileWriter, encode_entries, entries_path, leaf_hash,
    parse_path,
};

use super::{
    error::LogOpenError,
    files::{parent, write_anew},
    head::TreeHead,
    source::FolderSource,
};
use crate::disk::{Disk, DiskError, DiskFile, EntryKind, SyncPoint};

/// More folders than the edge of any tree has.
const MAX_REMEMBERED: usize = 4096;

/// Files that are open at the same time.
const MAX_OPEN: usize = 128;

/// Files that are synced one after the other. More are divided among threads: a file system that commits the syncs of
/// several files together does so only for those that wait at the same time.
const SYNCS_IN_TURN: usize = 8;

/// A file of the layout, by its path, and its whole content.
pub(crate) type TileFile = (String, Vec<u8>);

/// The tree, with the entries of its partial bundle.
// INVARIANT: `tail` holds `size % 256` entries.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    tiles: TileWriter,
    tail: Vec<Bytes>,
}

impl Tree {
    /// The tree that `head` names, from its files.
    pub(crate) fn load(source: &FolderSource, head: &TreeHead) -> Result<Self, LogOpenError> {
        let tampered = |cause: &dyn ToString| LogOpenError::tampered(source.folder(), cause.to_string());
        let tiles = TileWriter::from_source(head.size, source).map_err(|cause| tampered(&cause))?;
        if tiles.root() != head.root {
            return Err(tampered(&format!(
                "its tiles do not give the root of {} entries",
                head.size
            )));
        }
        let (bundle, width) = (
            head.size / u64::from(FULL_WIDTH),
            head.size % u64::from(FULL_WIDTH),
        );
        let tail = match u16::try_from(width).unwrap_or(0) {
            0 => Vec::new(),
            width => source
                .checked_bundle(bundle, width)
                .map_err(|cause| tampered(&cause))?,
        };
        Ok(Self {
            tiles,
            tail: tail.into_iter().map(Bytes::from).collect(),
        })
    }

    /// Size and root.
    pub(crate) fn head(&self) -> TreeHead {
        TreeHead {
            size: self.tiles.size(),
            root: self.root(),
        }
    }

    /// The number of entries.
    pub(crate) const fn size(&self) -> u64 {
        self.tiles.size()
    }

    fn root(&self) -> Hash {
        self.tiles.root()
    }

    /// The tree with `leaves` added, and the files that are new in it.
    pub(crate) fn grown(&self, leaves: &[Bytes]) -> Result<(Self, Vec<TileFile>), EntryTooLarge> {
        let mut tiles = self.tiles.clone();
        leaves.iter().for_each(|leaf| tiles.append(leaf_hash(leaf)));
        let mut files = tiles.take_changed();
        let mut tail = self.tail.clone();
        let mut bundle = self.size() / u64::from(FULL_WIDTH);
        tail.extend_from_slice(leaves);
        let mut rest = tail.as_slice();
        while let Some((full, left)) = rest.split_at_checked(FULL_WIDTH.into()) {
            files.push((
                entries_path(bundle, FULL_WIDTH),
                encode_entries(full.iter().map(AsRef::as_ref))?,
            ));
            (bundle, rest) = (bundle + 1, left);
        }
        if !rest.is_empty() && !leaves.is_empty() {
            let width = u16::try_from(rest.len()).unwrap_or(FULL_WIDTH);
            files.push((
                entries_path(bundle, width),
                encode_entries(rest.iter().map(AsRef::as_ref))?,
            ));
        }
        let tail = rest.to_vec();
        Ok((Self { tiles, tail }, files))
    }
}

/// Writes tiles durably, and removes what they replace.
#[derive(Debug)]
pub(crate) struct TileFolder {
    log: PathBuf,
    /// Folders whose own names this process has synced.
    durable: HashSet<PathBuf>,
}

impl TileFolder {
    /// Tiles under `log`, a folder that exists.
    pub(crate) fn new(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            durable: HashSet::new(),
        }
    }

    /// Writes every file, then syncs the folders they are in.
    pub(crate) fn write(&mut self, disk: &dyn Disk, files: &[TileFile]) -> Result<(), DiskError> {
        let (mut folders, mut made) = (BTreeSet::new(), BTreeSet::new());
        for files in files.chunks(MAX_OPEN) {
            let mut open = Vec::with_capacity(files.len());
            for (path, bytes) in files {
                let path = self.log.join(path);
                self.make_folders(disk, parent(&path), &mut made)?;
                open.push(write_anew(disk, &path, bytes)?);
                folders.insert(parent(&path).to_owned());
            }
            // Written first, synced then: a file system commits the names of all of them with the first.
            sync_all(disk, &open)?;
        }
        for folder in &folders {
            disk.sync_dir(folder, SyncPoint::TileDir)?;
        }
        let parents: BTreeSet<PathBuf> = made.iter().map(|folder| parent(folder).to_owned()).collect();
        for folder in parents.difference(&folders) {
            disk.sync_dir(folder, SyncPoint::TileParent)?;
        }
        if self.durable.len() > MAX_REMEMBERED {
            self.durable.clear();
        }
        self.durable.extend(made);
        Ok(())
    }

    /// Creates `folder` and those above it up to `log`, and notes those whose names are to be synced. A folder that
    /// exists counts as new until this process has synced it: another one may have died before it could.
    fn make_folders(
        &self,
        disk: &dyn Disk,
        folder: &Path,
        made: &mut BTreeSet<PathBuf>,
    ) -> Result<(), DiskError> {
        if folder == self.log || self.durable.contains(folder) || made.contains(folder) {
            return Ok(());
        }
        self.make_folders(disk, parent(folder), made)?;
        disk.make_dir(folder)?;
        made.insert(folder.to_owned());
        Ok(())
    }

    /// Removes the partial files beside `files` that a tree of `size` entries does not have. Returns the bytes freed.
    /// Call it once the checkpoint of `size` is durable.
    pub(crate) fn remove_superseded(
        &self,
        disk: &dyn Disk,
        files: &[TileFile],
        size: u64,
    ) -> Result<u64, DiskError> {
        let mut freed = 0;
        for (path, _) in files {
            let full = path.split_once(".p/").map_or(path.as_str(), |(full, _)| full);
            let folder = format!("{full}.p");
            for entry in disk.list(&self.log.join(&folder))?.unwrap_or_default() {
                let partial = format!("{folder}/{}", entry.name);
                if is_replaced(&partial, size) {
                    freed += disk.len(&self.log.join(&partial))?.unwrap_or(0);
                    disk.remove(&self.log.join(&partial))?;
                }
            }
            if full == path {
                disk.remove_dir(&self.log.join(&folder))?;
            }
        }
        Ok(freed)
    }
}

/// Syncs files, many of them at the same time.
fn sync_all(disk: &dyn Disk, files: &[DiskFile]) -> Result<(), DiskError> {
    let sync = |files: &[DiskFile]| {
        files
            .iter()
            .try_for_each(|file| disk.sync_data(file, SyncPoint::TileFile))
    };
    thread::scope(|scope| {
        let mut shares = files.chunks(SYNCS_IN_TURN);
        let own = shares.next().unwrap_or_default();
        let syncing: Vec<_> = shares
            .map(|share| {
                (
                    share,
                    thread::Builder::new().spawn_scoped(scope, move || sync(share)),
                )
            })
            .collect();
        let mut result = sync(own);
        for (share, thread) in syncing {
            let synced = match thread {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => sync(share),
            };
            result = result.and(synced);
        }
        result
    })
}

/// Removes every partial file that a tree of `size` entries does not have: those whose removal was not durable, and
/// what an interrupted attempt left. Returns the bytes of the files that stay.
pub(crate) fn sweep(disk: &dyn Disk, log: &Path, size: u64) -> Result<u64, DiskError> {
    let (mut kept, mut folders) = (0, vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in disk.list(&log.join(&folder))?.unwrap_or_default() {
            let path = if folder.is_empty() {
                entry.name
            } else {
                format!("{folder}/{}", entry.name)
            };
            match entry.kind {
                EntryKind::Dir => folders.push(path),
                EntryKind::File | EntryKind::Other if is_replaced(&path, size) => {
                    disk.remove(&log.join(&path))?;
                }
                EntryKind::File | EntryKind::Other => kept += disk.len(&log.join(&path))?.unwrap_or(0),
            }
        }
        if folder.ends_with(".p") {
            disk.remove_dir(&log.join(&folder))?;
        }
    }
    Ok(kept)
}

/// Whether a tree of `size` entries has another file in place of this partial one.
fn is_replaced(path: &str, size: u64) -> bool {
    let (level, index, width) = match parse_path(path) {
        Some(TilePath::Hashes { level, index, width }) => (level, index, width),
        Some(TilePath::Entries { index, width }) => (0, index, width),
        None => return false,
    };
    // C2SP tlog-tiles, "Partial Tiles": floor(s / 256**l) mod 256 hashes, after the full ones.
    let row = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let current = (row / u64::from(FULL_WIDTH), row % u64::from(FULL_WIDTH));
    width < FULL_WIDTH && (index, u64::from(width)) != current
}
