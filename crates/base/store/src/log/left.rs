//! What is left of a log that no writer opens, and how much of it is proven.
//!
//! A head counts with its seal, a checkpoint with signatures by the keys that sign now. An entry counts where it hashes to
//! a tree that one of them names, or where the journal key sealed it. Nothing is changed here.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use stockade_crypto::JournalKey;
use stockade_evidence::{LogVerifier, empty_root, open_checkpoint};

use super::{
    Anchor, FolderSource, LogEntries, LogPaths, LogTrust,
    error::LogOpenError,
    files::MAX_STATE_FILE,
    former::{Predecessor, head_file, journal_folder, names, pruning},
    head::{Head, HeadOf, TreeHead},
    proven::{Bundles, MadeTiles, grown},
    prune::Retention,
    replay::replay,
    trust::made_now,
};
use crate::disk::{Disk as _, DiskError, Posix};

/// File names have at most 255 bytes, and suffixes follow.
const NAME_MAX: usize = 200;
/// The name where nothing confirms another.
const UNKNOWN: &str = "unknown";

/// A log that was left behind.
#[derive(Clone, Debug)]
pub struct FormerLog {
    /// What could be confirmed of it: its origin, and the size and root of its tree. `None` if nothing could.
    pub head: Option<Head>,
    /// Where it is kept: the layout of `log/`, with its journal and head beside it.
    pub kept_at: PathBuf,
}

impl FormerLog {
    /// The name of its folder.
    pub(crate) fn name(&self) -> &str {
        let name = self.kept_at.file_name().and_then(|name| name.to_str());
        name.unwrap_or(UNKNOWN)
    }

    /// What the next log says of it.
    pub(crate) fn as_predecessor(&self) -> Predecessor {
        Predecessor {
            folder: self.name().to_owned(),
            head: self.head.as_ref().map(|head| head.current),
        }
    }
}

/// A log that is about to be left behind.
#[derive(Debug)]
pub struct Left {
    /// What it is, and where it will be kept.
    pub former: FormerLog,
    /// How many logs of the folder were left behind before it.
    pub(crate) generation: u64,
    /// Its files.
    source: FolderSource,
    /// The entries that are proven, by keys of the keyring.
    pub(crate) entries: LogEntries,
    is_whole: bool,
}

impl Left {
    /// Looks at the log at `paths`, or at where an interrupted recovery moved it. `key` sealed its head and journal.
    pub fn survey(paths: &LogPaths, trust: &LogTrust, key: &JournalKey) -> Result<Self, LogOpenError> {
        let before = names(&paths.origins)?;
        let moved = is_empty(&paths.log)?;
        let written = Head::read_sealed(&Posix, &paths.head, HeadOf::Written, key);
        let written = written.ok().flatten();
        let is_newest = written.is_some();
        let sealed = match written {
            None if moved => newest_sealed(paths, before.iter(), key),
            found => found,
        };
        let found = sealed.as_ref().map(|head| file_name(&head.origin));
        let at = match &found {
            Some(name) if moved => folders(paths, name).last(),
            Some(_) | None => None,
        };
        let source = FolderSource::new(at.clone().unwrap_or_else(|| paths.log.clone()));
        // One of another log proves nothing of this one, whoever signed it.
        let signed = signed(&source, trust)
            .filter(|signed| sealed.as_ref().is_none_or(|head| head.origin == signed.origin));
        let generation = match &sealed {
            Some(head) => head.generation,
            None => u64::try_from(before.len()).unwrap_or(u64::MAX),
        };
        let minimum = minimum_index(paths, at.as_deref());
        let head = match (&sealed, &signed) {
            (Some(head), _) => Some(head.clone()),
            // Keys that nothing confirms may name only what is there.
            (None, Some(signed)) if signed.confirmed || grown(&source, minimum, &signed.head).is_some() => {
                Some(Head {
                    current: signed.head,
                    ..Head::first(&signed.origin, generation)
                })
            }
            (None, Some(_) | None) => None,
        };
        let kept_at = match (at, &head) {
            (Some(folder), _) => folder,
            (None, Some(head)) => {
                let present = head.to_json(HeadOf::LeftBehind, key);
                free(paths, &file_name(&head.origin), Some(&present))?
            }
            (None, None) => free(paths, UNKNOWN, None)?,
        };
        let signed = signed.filter(|signed| signed.confirmed).map(|signed| signed.head);
        let heads: Vec<TreeHead> = sealed.iter().flat_map(Head::heads).chain(signed).collect();
        let (bundles, integrated) = proven(&source, minimum, &heads);
        let former = FormerLog { head, kept_at };
        let origin = former.head.as_ref().map_or("", |head| &head.origin).to_owned();
        let pending = pending(paths, former.name(), &origin, key, integrated);
        let entries = LogEntries::new(origin, minimum, bundles, integrated, pending);
        let is_whole =
            is_newest && heads.iter().all(|head| head.size <= entries.end()) && is_pruning_recorded(&entries);
        Ok(Self {
            is_whole,
            former,
            generation,
            source,
            entries,
        })
    }

    /// Whether all that was anchored is in it.
    pub(crate) fn has_what_was_anchored(&self, anchor: &Anchor, trust: &LogTrust) -> bool {
        let Some(head) = &self.former.head else {
            return false;
        };
        let verifiers = trust.verifiers(&head.origin);
        let compared = anchor.compare(&Posix, &self.source, &head.origin, &head.current, &verifiers);
        compared.is_ok()
    }

    /// Whether the sealed head of the log now written says that no entry is missing.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// A checkpoint that known keys signed.
struct Signed {
    origin: String,
    head: TreeHead,
    /// Whether the keys sign now. Others were rotated out, or are of before the keyring was rebuilt.
    confirmed: bool,
}

fn signed(source: &FolderSource, trust: &LogTrust) -> Option<Signed> {
    let text = source.checkpoint().ok().flatten()?;
    let origin = text.lines().next().unwrap_or_default().to_owned();
    let known = trust.verifiers(&origin);
    let open = |verifiers: &[LogVerifier]| open_checkpoint(&text, verifiers).ok();
    let opened = open(&known).or_else(|| open(&trust.verifiers_before_rebuild(&origin)))?;
    let confirmed = made_now(&known, &opened);
    let head = TreeHead {
        size: opened.checkpoint.size,
        root: opened.checkpoint.root,
    };
    Some(Signed {
        origin,
        head,
        confirmed,
    })
}

/// The bundles that one of `heads` proves, and how many entries are proven.
fn proven(source: &FolderSource, minimum: u64, heads: &[TreeHead]) -> (Bundles, u64) {
    let nothing = TreeHead {
        size: minimum,
        root: empty_root(),
    };
    let mut best = (Bundles::new(source.clone(), nothing, MadeTiles::new()), minimum);
    for head in heads {
        if head.size <= best.1 {
            continue;
        }
        let made = grown(source, minimum, head).unwrap_or_default();
        let bundles = Bundles::new(source.clone(), *head, made);
        let mut end = minimum;
        // What cannot be read ends it too: the log is damaged further on.
        let _ = bundles.entries(minimum, head.size, &mut |index, _| {
            end = index.saturating_add(1);
            true
        });
        if end > best.1 {
            best = (bundles, end);
        }
    }
    best
}

/// Entries may be missing only where a record of the log says that they were pruned.
fn is_pruning_recorded(entries: &LogEntries) -> bool {
    let minimum = entries.minimum();
    minimum == 0 || matches!(pruning(entries, minimum), Ok(Some(_)))
}

/// The sealed entries that follow, in the journal or where an interrupted recovery moved it.
fn pending(paths: &LogPaths, name: &str, origin: &str, key: &JournalKey, integrated: u64) -> Vec<Bytes> {
    let journals = [paths.journal.clone(), journal_folder(&paths.origins, name)];
    let mut found = journals
        .iter()
        .filter_map(|journal| replay(&Posix, journal, origin, key, integrated).ok())
        .map(|replayed| replayed.leaves);
    found.find(|leaves| !leaves.is_empty()).unwrap_or_default()
}

/// Of the logs in `origins`, the newest one whose head is sealed: without a log and a head it was moved there last.
fn newest_sealed<'a>(
    paths: &LogPaths,
    names: impl Iterator<Item = &'a String>,
    key: &JournalKey,
) -> Option<Head> {
    let head = |name| Head::read_sealed(&Posix, &head_file(&paths.origins, name), HeadOf::LeftBehind, key);
    names
        .filter_map(|name: &String| head(name).ok().flatten())
        .max_by_key(|head| head.generation)
}

fn minimum_index(paths: &LogPaths, moved_to: Option<&Path>) -> u64 {
    let name = moved_to.and_then(|folder| folder.file_name()?.to_str());
    let moved = name.map(|name| Retention::of_former(&Posix, &paths.origins, name));
    // What is damaged or forged proves no entry.
    let read =
        |retention: Result<Retention, DiskError>| retention.map_or(0, |retention| retention.minimum_index);
    read(Retention::read(&Posix, paths)).max(moved.map_or(0, read))
}

fn is_empty(folder: &Path) -> Result<bool, DiskError> {
    Ok(Posix.list(folder)?.is_none_or(|entries| entries.is_empty()))
}

/// The folders that logs of this name have in `origins`, oldest first.
fn folders(paths: &LogPaths, name: &str) -> impl Iterator<Item = PathBuf> {
    let origins = paths.origins.clone();
    numbered(name)
        .map(move |name| origins.join(name))
        .take_while(|folder| folder.exists())
}

/// A folder that nothing has: what was left behind before is never overwritten. The head of an interrupted recovery,
/// which is the same, is none.
fn free(paths: &LogPaths, name: &str, head: Option<&[u8]>) -> Result<PathBuf, DiskError> {
    let mut names = numbered(name);
    loop {
        let name = names.next().unwrap_or_default();
        let present = Posix.read(&head_file(&paths.origins, &name), MAX_STATE_FILE)?;
        let folder = paths.origins.join(&name);
        if !folder.exists() && present.is_none_or(|present| Some(present.as_slice()) == head) {
            return Ok(folder);
        }
    }
}

fn numbered(name: &str) -> impl Iterator<Item = String> {
    let name = name.to_owned();
    (1_u64..).map(move |attempt| match attempt {
        1 => name.clone(),
        attempt => format!("{name}.{attempt}"),
    })
}

/// A file name for an origin: letters, digits, `.`, `-` and `_` stay, all else is written as `=` and two hex digits.
fn file_name(origin: &str) -> String {
    let mut name = String::new();
    for byte in origin.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("={byte:02x}")),
        }
    }
    if name.is_empty() || name.len() > NAME_MAX {
        return UNKNOWN.to_owned();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(file_name("stockade.local/a1"), "stockade.local=2fa1");
        assert_eq!(file_name("../x"), "=2e.=2fx");
        assert_eq!(file_name(""), "unknown");
        assert_eq!(file_name(&"/".repeat(90)), "unknown");
    }
}
