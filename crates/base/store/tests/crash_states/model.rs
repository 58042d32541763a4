//! What POSIX lets a disk hold after the power failed at one point of a trace.
//!
//! A file holds everything written before its last sync; of what was written after, each 512-byte sector may be there or
//! not, and so may the new length. A folder holds every name given before its last sync; each later change of a name
//! may be there or not, whatever their order. A name may be durable while the file's content is not. One thing is asked
//! of the file system beyond POSIX: what is renamed into another folder never loses both names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Component, Path},
    sync::Arc,
};

use stockade_crypto::Sha256;
use stockade_store::disk::{SyncPoint, testing::Operation};

use crate::log_support::Random;

const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    File(u64),
    Dir(usize),
}

#[derive(Clone, Debug)]
struct NameChange {
    sets: Vec<(String, Option<Node>)>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    now: BTreeMap<String, Node>,
    changes: Vec<NameChange>,
    durable: usize,
}

#[derive(Clone, Debug, Default)]
struct File {
    writes: Vec<(u64, Arc<[u8]>)>,
    durable: usize,
}

/// The disk at one point of the trace, with what is durable and what is not.
#[derive(Clone, Debug)]
pub(crate) struct World {
    folders: Vec<Folder>,
    files: HashMap<u64, File>,
    /// Renames into another folder: where the new name is given, and where the old one is taken.
    moves: Vec<[(usize, usize); 2]>,
    /// What the test was promised so far.
    pub(crate) promises: Vec<String>,
    /// Every content that a file named `checkpoint` had, as anybody could have read it.
    pub(crate) published: Vec<String>,
}

/// Which of the operations that are not durable the disk kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Names, but no content.
    Names,
    /// Content, but no names.
    Content,
    /// All but one.
    AllButOne,
    /// One alone.
    OneAlone,
    /// All, with the sectors of the last write torn.
    TornLast,
    /// Any, torn anywhere.
    Any,
}

impl Kept {
    /// What is tried at each cut: some several times, with another choice.
    pub(crate) const TRIED: [Self; 12] = [
        Self::AllButOne,
        Self::AllButOne,
        Self::OneAlone,
        Self::Any,
        Self::Nothing,
        Self::Everything,
        Self::Names,
        Self::Content,
        Self::AllButOne,
        Self::OneAlone,
        Self::TornLast,
        Self::Any,
    ];
}

/// The files and folders of one state; a folder is `None`.
#[derive(Debug)]
pub(crate) struct State(pub(crate) BTreeMap<String, Option<Vec<u8>>>);

impl World {
    pub(crate) fn new() -> Self {
        let (folders, files) = (vec![Folder::default()], HashMap::new());
        Self {
            folders,
            files,
            moves: Vec::new(),
            promises: Vec::new(),
            published: Vec::new(),
        }
    }

    /// Lets one operation happen. Syncs in `dropped` do nothing. Paths start with `root`.
    pub(crate) fn apply(&mut self, operation: &Operation, root: &Path, dropped: &BTreeSet<SyncPoint>) {
        match operation {
            Operation::Create { file, path } => {
                self.files.insert(*file, File::default());
                self.set(root, path, Some(Node::File(*file)));
            }
            Operation::MakeDir { path } => {
                self.folders.push(Folder::default());
                let made = Node::Dir(self.folders.len() - 1);
                self.set(root, path, Some(made));
            }
            Operation::Write { file, offset, data } => {
                self.files
                    .get_mut(file)
                    .unwrap()
                    .writes
                    .push((*offset, data.as_slice().into()));
            }
            Operation::SyncData { file, point } if !dropped.contains(point) => {
                let file = self.files.get_mut(file).unwrap();
                file.durable = file.writes.len();
            }
            Operation::SyncDir { dir, point } if !dropped.contains(point) => {
                let folder = self.folder(root, dir);
                folder.durable = folder.changes.len();
            }
            Operation::SyncData { .. } | Operation::SyncDir { .. } => {}
            Operation::Rename { from, to } => self.rename(root, from, to),
            Operation::Remove { path } => {
                self.set(root, path, None);
            }
            Operation::Mark(promise) => self.promises.push(promise.clone()),
        }
    }

    fn rename(&mut self, root: &Path, from: &Path, to: &Path) {
        let node = self.folder(root, from.parent().unwrap()).now[&name(from)];
        if to.ends_with("log/checkpoint") {
            let Node::File(file) = node else {
                panic!("a checkpoint is a file")
            };
            let content = content(&self.files[&file].writes);
            self.published.push(String::from_utf8(content).unwrap());
        }
        if from.parent() == to.parent() {
            let folder = self.folder(root, from.parent().unwrap());
            folder.change(vec![(name(from), None), (name(to), Some(node))]);
        } else {
            let given = self.set(root, to, Some(node));
            let taken = self.set(root, from, None);
            self.moves.push([given, taken]);
        }
    }

    /// Changes a name. Returns which folder, and its which change.
    fn set(&mut self, root: &Path, path: &Path, node: Option<Node>) -> (usize, usize) {
        let at = self.find(root, path.parent().unwrap());
        self.folders[at].change(vec![(name(path), node)]);
        (at, self.folders[at].changes.len() - 1)
    }

    fn folder(&mut self, root: &Path, path: &Path) -> &mut Folder {
        let at = self.find(root, path);
        &mut self.folders[at]
    }

    fn find(&self, root: &Path, path: &Path) -> usize {
        let mut at = 0;
        for part in path.strip_prefix(root).unwrap().components() {
            let Component::Normal(part) = part else {
                panic!("a plain path")
            };
            let Node::Dir(next) = self.folders[at].now[part.to_str().unwrap()] else {
                panic!("a folder")
            };
            at = next;
        }
        at
    }

    /// Everything that happened so far is durable: the state before the trace that matters.
    pub(crate) fn settle(&mut self) {
        self.folders
            .iter_mut()
            .for_each(|folder| folder.durable = folder.changes.len());
        self.files
            .values_mut()
            .for_each(|file| file.durable = file.writes.len());
    }

    /// One state that the disk may be in now.
    pub(crate) fn state(&self, kept: Kept, random: &mut Random) -> State {
        let pending_names: usize = self.folders.iter().map(|f| f.changes.len() - f.durable).sum();
        let mut files: Vec<&u64> = self.files.keys().collect();
        files.sort_unstable();
        let pending_writes: usize = self.files.values().map(|f| f.writes.len() - f.durable).sum();
        let pending = pending_names + pending_writes;
        let chosen = random.below(pending.max(1) as u64) as usize;
        let last = self
            .files
            .iter()
            .filter(|(_, f)| f.writes.len() > f.durable)
            .map(|(id, _)| *id)
            .max();
        let mut counter = 0;
        let mut keeps = |random: &mut Random, is_name: bool| {
            counter += 1;
            match kept {
                Kept::Nothing => false,
                Kept::Everything | Kept::TornLast => true,
                Kept::Names => is_name,
                Kept::Content => !is_name,
                Kept::AllButOne => counter - 1 != chosen,
                Kept::OneAlone => counter - 1 == chosen,
                Kept::Any => random.below(4) != 0,
            }
        };
        let mut happened: Vec<Vec<bool>> = self
            .folders
            .iter()
            .map(|folder| {
                (0..folder.changes.len())
                    .map(|at| at < folder.durable || keeps(random, true))
                    .collect()
            })
            .collect();
        for [given, taken] in &self.moves {
            happened[given.0][given.1] |= happened[taken.0][taken.1];
        }
        let mut tables = Vec::new();
        for (folder, happened) in self.folders.iter().zip(happened) {
            let mut names = BTreeMap::new();
            for (change, _) in folder
                .changes
                .iter()
                .zip(happened)
                .filter(|(_, happened)| *happened)
            {
                for (name, node) in &change.sets {
                    match node {
                        Some(node) => names.insert(name.clone(), *node),
                        None => names.remove(name),
                    };
                }
            }
            tables.push(names);
        }
        let mut contents = HashMap::new();
        for id in files {
            let file = &self.files[id];
            let mut bytes = content(&file.writes[..file.durable]);
            for (at, (offset, data)) in file.writes.iter().enumerate().skip(file.durable) {
                let torn = match kept {
                    Kept::Any => random.coin(),
                    Kept::TornLast => last == Some(*id) && at + 1 == file.writes.len(),
                    _ => false,
                };
                if torn {
                    write_torn(&mut bytes, *offset, data, random);
                } else if keeps(random, false) {
                    write(&mut bytes, *offset, data);
                }
            }
            contents.insert(*id, bytes);
        }
        let mut state = BTreeMap::new();
        list(&tables, &contents, 0, "", &mut state);
        State(state)
    }
}

impl Folder {
    fn change(&mut self, sets: Vec<(String, Option<Node>)>) {
        for (name, node) in &sets {
            match node {
                Some(node) => self.now.insert(name.clone(), *node),
                None => self.now.remove(name),
            };
        }
        self.changes.push(NameChange { sets });
    }
}

impl State {
    /// A number that equal states share.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (path, content) in &self.0 {
            hash.update(path.as_bytes());
            hash.update(&[u8::from(content.is_some())]);
            hash.update(&(content.as_ref().map_or(0, Vec::len) as u64).to_be_bytes());
            hash.update(content.as_deref().unwrap_or_default());
        }
        hash.finish()
    }

    /// Puts the state into an empty folder.
    pub(crate) fn materialise(&self, root: &Path) {
        for (path, content) in &self.0 {
            let path = root.join(path);
            let Some(content) = content else {
                fs::create_dir(path).unwrap();
                continue;
            };
            let mut file = fs::File::create(path).unwrap();
            let zeros = content.iter().rev().take_while(|byte| **byte == 0).count();
            file.write_all(&content[..content.len() - zeros]).unwrap();
            if zeros > 0 {
                file.write_all_at(&[0], content.len() as u64 - 1).unwrap();
            }
        }
    }
}

fn list(
    tables: &[BTreeMap<String, Node>],
    contents: &HashMap<u64, Vec<u8>>,
    at: usize,
    prefix: &str,
    state: &mut BTreeMap<String, Option<Vec<u8>>>,
) {
    for (name, node) in &tables[at] {
        let path = format!("{prefix}{name}");
        match node {
            Node::File(file) => {
                state.insert(path, Some(contents[file].clone()));
            }
            Node::Dir(folder) => {
                list(tables, contents, *folder, &format!("{path}/"), state);
                state.insert(path, None);
            }
        }
    }
}

fn content(writes: &[(u64, Arc<[u8]>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    writes
        .iter()
        .for_each(|(offset, data)| write(&mut bytes, *offset, data));
    bytes
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = offset as usize;
    let end = start + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

/// Some sectors of a write, and perhaps its length.
fn write_torn(bytes: &mut Vec<u8>, offset: u64, data: &[u8], random: &mut Random) {
    if random.coin() {
        write(bytes, offset + data.len() as u64, &[]);
    }
    let mut at = 0;
    while at < data.len() {
        let sector_end = ((offset as usize + at) / SECTOR + 1) * SECTOR - offset as usize;
        let end = sector_end.min(data.len());
        if random.coin() {
            write(bytes, offset + at as u64, &data[at..end]);
        }
        at = end;
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
