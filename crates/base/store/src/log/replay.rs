//! What the journal still holds when the log is opened.
//!
//! The groups above the head must follow each other without a gap. A torn group leaves none: nothing was written after
//! it. So a gap means that a durable group was changed. Each entry must be a record.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use stockade_crypto::JournalKey;
use stockade_evidence::Record;

use super::{
    error::LogOpenError,
    journal::parse_segment_name,
    segment::{Group, Segment, decode_segment},
};
use crate::disk::Disk;

/// No segment is larger.
pub(crate) const MAX_SEGMENT: u64 = 64 * 1024 * 1024;

/// The journal's content.
pub(crate) struct Replayed {
    /// The entries above the head, in order.
    pub(crate) leaves: Vec<Bytes>,
    /// Every segment file, with its length.
    pub(crate) segments: Vec<(PathBuf, u64)>,
    /// The number of the next segment.
    pub(crate) next_sequence: u64,
}

/// Reads the journal of `origin` in `folder`, whose head has `size` entries.
pub(crate) fn replay(
    disk: &dyn Disk,
    folder: &Path,
    origin: &str,
    key: &JournalKey,
    size: u64,
) -> Result<Replayed, LogOpenError> {
    let (mut segments, mut groups, mut next_sequence) = (Vec::new(), Vec::new(), 0);
    for entry in disk.list(folder)?.unwrap_or_default() {
        let Some(sequence) = parse_segment_name(&entry.name) else {
            continue;
        };
        next_sequence = next_sequence.max(sequence.saturating_add(1));
        let path = folder.join(&entry.name);
        let bytes = disk.read(&path, MAX_SEGMENT)?.unwrap_or_default();
        let read = decode_segment(&bytes, key).map_err(|cause| LogOpenError::tampered(&path, cause))?;
        if let Segment::Used(header, found) = read {
            if header.origin != origin {
                return Err(LogOpenError::tampered(
                    &path,
                    format!("it belongs to `{}`", header.origin),
                ));
            }
            for group in found.into_iter().filter(|group| group.end() > size) {
                check_records(&path, &group)?;
                groups.push((path.clone(), group));
            }
        }
        segments.push((path, bytes.len() as u64));
    }
    groups.sort_by_key(|(_, group)| group.first);
    Ok(Replayed {
        leaves: chain(groups, size)?,
        segments,
        next_sequence,
    })
}

fn check_records(path: &Path, group: &Group) -> Result<(), LogOpenError> {
    for (index, leaf) in (group.first..).zip(&group.leaves) {
        Record::from_leaf(leaf)
            .map_err(|cause| LogOpenError::tampered(path, format!("entry {index} is no record: {cause}")))?;
    }
    Ok(())
}

fn chain(groups: Vec<(PathBuf, Group)>, size: u64) -> Result<Vec<Bytes>, LogOpenError> {
    let mut leaves: Vec<Bytes> = Vec::new();
    for (path, group) in groups {
        let next = size + leaves.len() as u64;
        if group.first > next {
            let reason = format!("entries {next} to {} are missing before it", group.first - 1);
            return Err(LogOpenError::tampered(&path, reason));
        }
        if group.first < next && !leaves.is_empty() {
            return Err(LogOpenError::tampered(
                &path,
                format!("it holds entry {} again", group.first),
            ));
        }
        // The head may lie inside the first group.
        let skip = usize::try_from(next - group.first).unwrap_or(usize::MAX);
        leaves.extend(group.leaves.into_iter().skip(skip));
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(spans: &[(u64, u64)]) -> Vec<(PathBuf, Group)> {
        let leaf = |index: u64| Bytes::from(index.to_be_bytes().to_vec());
        let group = |(first, end): &(u64, u64)| Group {
            first: *first,
            leaves: (*first..*end).map(leaf).collect(),
        };
        spans
            .iter()
            .map(|span| (PathBuf::from("j"), group(span)))
            .collect()
    }

    #[track_caller]
    fn check(spans: &[(u64, u64)], size: u64, entries: Option<u64>) {
        assert_eq!(
            chain(groups(spans), size).ok().map(|leaves| leaves.len() as u64),
            entries,
            "{spans:?}"
        );
    }

    #[test]
    fn entries_follow_without_gap_or_doubt() {
        check(&[], 5, Some(0));
        check(&[(5, 8), (8, 9)], 5, Some(4));
        check(&[(3, 8), (8, 9)], 5, Some(4));
        check(&[(6, 8)], 5, None);
        check(&[(5, 7), (8, 9)], 5, None);
        check(&[(5, 7), (6, 9)], 5, None);
        check(&[(5, 7), (5, 7)], 5, None);
    }
}
