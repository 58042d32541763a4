//! The bytes of a journal segment: a header, then commit groups, each on a sector boundary.
//!
//! ```text
//! header  512 bytes: "STKJRNL1", sequence u64, salt [16], origin length u16, origin, zeros, seal [16]
//! group   salt [16], first index u64, count u32, payload length u32, seal [16],
//!         then count times: length u32, leaf; zeros up to the next multiple of 512
//! ```
//! Integers are big-endian. The seal is the first half of HMAC-SHA-256, under the journal key, of the SHA-256 over the
//! header, or over sequence, origin, group header and payload. So nobody without the key can add or change an entry: the
//! most that a changed file can look like is a torn end. The salt keeps a search for groups from starting in a leaf.
//!
//! A group is written in one piece and synced before the next one is written. So a group that fails its seal is
//! unsynced data if nothing valid follows; if a valid group with a higher index follows, somebody changed it.
//! A group starts on a sector boundary, so that a torn write cannot touch a group that is already durable.

use bytes::Bytes;
use stockade_crypto::{JournalKey, SecretBytes, Sha256, constant_time_eq};

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"STKJRNL1";
const GROUP_HEADER: usize = 48;
const DIGEST: usize = 16;
const HEADER: &[u8] = b"stockade journal header 1\n";
const GROUP: &[u8] = b"stockade journal group 1\n";
/// An origin must fit into the header's sector.
pub(crate) const MAX_ORIGIN: usize = SECTOR - MAGIC.len() - 8 - 16 - 2 - DIGEST;

/// What names a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) sequence: u64,
    pub(crate) salt: [u8; 16],
    pub(crate) origin: String,
}

/// Entries that became durable together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Group {
    pub(crate) first: u64,
    pub(crate) leaves: Vec<Bytes>,
}

impl Group {
    /// One past the last index.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.leaves.len() as u64)
    }
}

/// What a segment holds.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// It was being created when the power failed: nothing was ever written behind its header.
    Unused,
    /// Whole groups, in the order of the file. What is torn is left out.
    Used(SegmentHeader, Vec<Group>),
}

/// There is data behind a header that does not match its digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header of a journal segment was changed")]
pub(crate) struct BadHeader;

impl SegmentHeader {
    /// The header's sector; `None` if the origin does not fit.
    pub(crate) fn encode(&self, key: &JournalKey) -> Option<Vec<u8>> {
        let length = u16::try_from(self.origin.len())
            .ok()
            .filter(|n| usize::from(*n) <= MAX_ORIGIN)?;
        let mut sector = Vec::with_capacity(SECTOR);
        sector.extend_from_slice(MAGIC);
        sector.extend_from_slice(&self.sequence.to_be_bytes());
        sector.extend_from_slice(&self.salt);
        sector.extend_from_slice(&length.to_be_bytes());
        sector.extend_from_slice(self.origin.as_bytes());
        sector.resize(SECTOR - DIGEST, 0);
        let seal = seal(key, HEADER, &[&sector]);
        sector.extend_from_slice(&seal);
        Some(sector)
    }

    fn decode(sector: &[u8], key: &JournalKey) -> Option<Self> {
        let (body, found) = sector.split_at_checked(SECTOR - DIGEST)?;
        if !constant_time_eq(&seal(key, HEADER, &[body]), found) {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (salt, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let origin = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        let origin = String::from_utf8(origin.to_vec()).ok()?;
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            salt: *salt,
            origin,
        })
    }

    /// Appends a group to `out`, padded to whole sectors.
    pub(crate) fn encode_group(&self, key: &JournalKey, first: u64, leaves: &[Bytes], out: &mut Vec<u8>) {
        let start = out.len();
        let payload: usize = leaves.iter().map(|leaf| leaf.len() + 4).sum();
        out.reserve(padded(GROUP_HEADER + payload));
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&u32::try_from(leaves.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&[0; DIGEST]);
        for leaf in leaves {
            out.extend_from_slice(&u32::try_from(leaf.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(leaf);
        }
        let group = out.get_mut(start..).unwrap_or_default();
        if let Some((header, payload)) = group.split_first_chunk_mut::<GROUP_HEADER>() {
            let (fields, digest) = header.split_at_mut(GROUP_HEADER - DIGEST);
            digest.copy_from_slice(&self.group_seal(key, fields, payload));
        }
        out.resize(start + padded(GROUP_HEADER + payload), 0);
    }

    fn group_seal(&self, key: &JournalKey, fields: &[u8], payload: &[u8]) -> [u8; DIGEST] {
        let sequence = self.sequence.to_be_bytes();
        let length = (self.origin.len() as u64).to_be_bytes();
        seal(
            key,
            GROUP,
            &[&sequence, &length, self.origin.as_bytes(), fields, payload],
        )
    }

    /// The group that `bytes` start with, and the bytes it takes.
    fn decode_group(&self, key: &JournalKey, bytes: &[u8]) -> Option<(Group, usize)> {
        let (header, rest) = bytes.split_first_chunk::<GROUP_HEADER>()?;
        let (fields, found) = header.split_at_checked(GROUP_HEADER - DIGEST)?;
        let numbers = fields.strip_prefix(&self.salt)?;
        let (first, numbers) = numbers.split_first_chunk::<8>()?;
        let (count, numbers) = numbers.split_first_chunk::<4>()?;
        let (length, _) = numbers.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let payload = rest.get(..length)?;
        if !constant_time_eq(&self.group_seal(key, fields, payload), found) {
            return None;
        }
        let leaves = decode_leaves(payload, u32::from_be_bytes(*count))?;
        Some((
            Group {
                first: u64::from_be_bytes(*first),
                leaves,
            },
            padded(GROUP_HEADER + length),
        ))
    }
}

/// Reads a segment file.
pub(crate) fn decode_segment(bytes: &[u8], key: &JournalKey) -> Result<Segment, BadHeader> {
    let (sector, mut rest) = bytes.split_at_checked(SECTOR).unwrap_or((bytes, &[]));
    let Some(header) = SegmentHeader::decode(sector, key) else {
        return if rest.iter().all(|byte| *byte == 0) {
            Ok(Segment::Unused)
        } else {
            Err(BadHeader)
        };
    };
    let mut groups = Vec::new();
    while !rest.is_empty() {
        let taken = match header.decode_group(key, rest) {
            Some((group, taken)) => {
                groups.push(group);
                taken
            }
            None => SECTOR,
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(Segment::Used(header, groups))
}

fn decode_leaves(mut payload: &[u8], count: u32) -> Option<Vec<Bytes>> {
    let mut leaves = Vec::new();
    for _ in 0..count {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (leaf, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        leaves.push(Bytes::copy_from_slice(leaf));
        payload = rest;
    }
    payload.is_empty().then_some(leaves)
}

/// Bytes that a group with these leaves takes in the file.
pub(crate) fn group_len(leaves: &[Bytes]) -> u64 {
    padded(GROUP_HEADER + leaves.iter().map(|leaf| leaf.len() + 4).sum::<usize>()) as u64
}

const fn padded(length: usize) -> usize {
    length.next_multiple_of(SECTOR)
}

/// Only the keeper of this folder can make it. `kind` keeps a header from passing for a group.
fn seal(key: &JournalKey, kind: &[u8], parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(kind);
    parts.iter().for_each(|part| hash.update(part));
    let mac = key.mac(&hash.finish());
    let mut first = [0; DIGEST];
    first.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
    first
}

/// Fuzz entry: must not panic.
pub fn fuzz_journal(data: &[u8]) {
    let key = JournalKey::new(SecretBytes::new(vec![7; 32]));
    let _ = decode_segment(data, &key);
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the tests' numbers are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            sequence: 7,
            salt: [9; 16],
            origin: "log.example/a".into(),
        }
    }

    fn key() -> JournalKey {
        JournalKey::new(SecretBytes::new(vec![7; 32]))
    }

    fn decode(bytes: &[u8]) -> Result<Segment, BadHeader> {
        decode_segment(bytes, &key())
    }

    fn segment(groups: &[Group]) -> Vec<u8> {
        let mut bytes = header().encode(&key()).unwrap();
        groups
            .iter()
            .for_each(|group| header().encode_group(&key(), group.first, &group.leaves, &mut bytes));
        bytes.resize(bytes.len() + 4 * SECTOR, 0);
        bytes
    }

    fn groups(sizes: &[Vec<usize>]) -> Vec<Group> {
        let mut first = 5;
        let mut made = Vec::new();
        for sizes in sizes {
            let leaves: Vec<Bytes> = sizes.iter().map(|n| Bytes::from(vec![*n as u8; *n])).collect();
            made.push(Group { first, leaves });
            first += sizes.len() as u64;
        }
        made
    }

    proptest! {
        #[test]
        fn round_trips(sizes in prop::collection::vec(prop::collection::vec(0..2000_usize, 1..6), 0..6)) {
            let groups = groups(&sizes);
            let read = decode(&segment(&groups));
            prop_assert_eq!(read, Ok(Segment::Used(header(), groups)));
        }

        #[test]
        fn any_changed_byte_of_a_group_drops_that_group_alone(at in 0..100_000_usize, bit in 0..8_u8) {
            let groups = groups(&[vec![700, 3], vec![400], vec![1, 1, 900]]);
            let mut bytes = segment(&groups);
            let lengths: Vec<usize> = groups.iter().map(|g| group_len(&g.leaves) as usize).collect();
            let at = SECTOR + at % lengths.iter().sum::<usize>();
            bytes[at] ^= 1 << bit;
            let Ok(Segment::Used(_, read)) = decode(&bytes) else { panic!("the header is whole") };
            let mut start = SECTOR;
            let kept: Vec<Group> = groups.into_iter().zip(lengths).filter_map(|(group, length)| {
                let used = GROUP_HEADER + group.leaves.iter().map(|leaf| leaf.len() + 4).sum::<usize>();
                let hit = (start..start + used).contains(&at);
                start += length;
                (!hit).then_some(group)
            }).collect();
            prop_assert_eq!(read, kept);
        }
    }

    #[test]
    fn a_torn_header_is_unused_only_if_nothing_follows() {
        let mut bytes = segment(&[]);
        bytes[20] ^= 1;
        assert_eq!(decode(&bytes), Ok(Segment::Unused));
        let mut bytes = segment(&groups(&[vec![1]]));
        bytes[20] ^= 1;
        assert_eq!(decode(&bytes), Err(BadHeader));
        assert_eq!(decode(&[]), Ok(Segment::Unused));
    }

    #[test]
    fn a_group_without_the_key_is_no_group() {
        let mut bytes = segment(&groups(&[vec![3]]));
        bytes.truncate(2 * SECTOR);
        let other = JournalKey::new(SecretBytes::new(vec![8; 32]));
        header().encode_group(&other, 6, &[Bytes::from_static(b"forged")], &mut bytes);
        let read = decode(&bytes);
        assert_eq!(read, Ok(Segment::Used(header(), groups(&[vec![3]]))));
        assert_eq!(decode_segment(&bytes, &other), Err(BadHeader));
    }

    #[test]
    fn foreign_bytes_do_not_panic() {
        let good = segment(&groups(&[vec![300, 2], vec![64]]));
        let mut state = 1_u64;
        for _ in 0..2000 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = state as u8;
            }
            bytes.truncate((state >> 40) as usize % (bytes.len() + 1));
            fuzz_journal(&bytes);
        }
    }
}
