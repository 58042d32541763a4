//! Entry bundles (C2SP tlog-tiles, "Log entries"): entries one after the other, each behind its length as a big-endian
//! `uint16`.

use super::FULL_WIDTH;

/// The longest entry that a bundle can hold, in bytes.
pub const MAX_ENTRY: usize = 65_535;

/// An entry is longer than [`MAX_ENTRY`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an entry of {length} bytes is over the limit of {MAX_ENTRY}")]
pub struct EntryTooLarge {
    length: usize,
}

/// The bytes are not an entry bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadBundle {
    /// The bundle ends inside an entry or its length.
    #[error("the bundle ends inside entry {entry}")]
    Cut {
        /// The position of that entry in the bundle.
        entry: usize,
    },
    /// There are more than 256 entries.
    #[error("the bundle holds more than {FULL_WIDTH} entries")]
    TooManyEntries,
}

/// Writes entries as one bundle.
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, EntryTooLarge> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| EntryTooLarge { length: entry.len() })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Reads the entries of a bundle.
pub fn decode_entries(bundle: &[u8]) -> Result<Vec<&[u8]>, BadBundle> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while !rest.is_empty() {
        if entries.len() == usize::from(FULL_WIDTH) {
            return Err(BadBundle::TooManyEntries);
        }
        let cut = BadBundle::Cut { entry: entries.len() };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
        let (entry, after) = after
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or(cut)?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// Fuzz entry: must not panic. Whatever decodes, encodes to the same bytes.
pub fn fuzz_bundle(data: &[u8]) {
    if let Ok(entries) = decode_entries(data) {
        assert_eq!(encode_entries(entries).as_deref(), Ok(data));
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn writes_lengths_big_endian() {
        let bundle = encode_entries([b"abc".as_slice(), b"", &[7; 258]]).unwrap();
        assert_eq!(bundle[..8], [0, 3, b'a', b'b', b'c', 0, 0, 1]);
        assert_eq!(bundle.len(), 5 + 2 + 2 + 258);
    }

    #[test]
    fn entries_end_at_65535_bytes() {
        let entry = vec![1; MAX_ENTRY];
        let bundle = encode_entries([entry.as_slice()]).unwrap();
        assert_eq!(decode_entries(&bundle), Ok(vec![entry.as_slice()]));
        let entry = vec![1; MAX_ENTRY + 1];
        assert_eq!(
            encode_entries([entry.as_slice()]),
            Err(EntryTooLarge {
                length: MAX_ENTRY + 1
            })
        );
    }

    #[test]
    fn refuses_cut_and_overlong_bundles() {
        assert_eq!(decode_entries(&[0]), Err(BadBundle::Cut { entry: 0 }));
        assert_eq!(
            decode_entries(&[0, 1, 5, 0, 2, 5]),
            Err(BadBundle::Cut { entry: 1 })
        );
        assert_eq!(
            decode_entries(&[0; 2 * 256]).map(|entries| entries.len()),
            Ok(256)
        );
        assert_eq!(decode_entries(&[0; 2 * 257]), Err(BadBundle::TooManyEntries));
    }

    proptest! {
        #[test]
        fn round_trips(entries in vec(vec(any::<u8>(), 0..40), 0..=256)) {
            let bundle = encode_entries(entries.iter().map(Vec::as_slice)).unwrap();
            let decoded: Vec<Vec<u8>> = decode_entries(&bundle).unwrap().into_iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(decoded, entries);
        }

        #[test]
        fn never_panics(data in vec(any::<u8>(), 0..200)) {
            fuzz_bundle(&data);
        }
    }
}
