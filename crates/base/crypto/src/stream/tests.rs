//! Files that Tink wrote, then round trips, then every way to damage a file.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    sync::{Arc, LazyLock},
};

use proptest::{prelude::*, sample::Index};

use super::layout::{BODY_LEN, FIRST_BODY_LEN, HEADER_LEN, Header, Layout, SEGMENT_LEN};
use super::*;
use crate::{
    aead::{DataKey, TAG_LEN},
    hash::sha256,
};

const NAME: &[u8] = b"stockade test";

fn key() -> DataKey {
    DataKey::from_bytes([7; 32])
}

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

fn seal(plaintext: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), &key(), NAME).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn open(sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let reader = OpenReader::new(sealed, &key(), NAME)?;
    let mut plaintext = vec![0; usize::try_from(reader.plaintext_len()).unwrap()];
    let read = reader.read_at(&mut plaintext, 0)?;
    assert_eq!(read, plaintext.len());
    Ok(plaintext)
}

/// Three segments, the last one short.
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(2 * SEGMENT_LEN + 4321));
static SEALED: LazyLock<Vec<u8>> = LazyLock::new(|| seal(&PLAIN));

/// Written by Tink for Python 1.16.1: AES256_GCM_HKDF_1MB, key 07 (32 times), associated data `stockade test`.
#[test]
fn files_of_tink_open_and_are_written_byte_for_byte() {
    for (plaintext, sealed) in [
        (
            "",
            "2884a67e673f4f27821b3985e5c1c1bbbf95498465d61daea256d7a77539baad7f84bc7d878ab424fafdca5b3120fbd8fa6605a2fbc17e80",
        ),
        (
            "Stockade",
            "281ffcc69b30c635c82504c572ac646ebdc4a9607d27417133d845adc33ef9ec68012e14805cb268b5929cbf773fcd1e7123ec72939f75a987abe356cc6245ab",
        ),
    ] {
        let sealed = hex::decode(sealed).unwrap();
        assert_eq!(open(&sealed).unwrap(), plaintext.as_bytes());
        let header = Header::parse(sealed.first_chunk().unwrap()).unwrap();
        let mut writer = SealWriter::with_header(Vec::new(), &key(), NAME, header).unwrap();
        writer.write_all(plaintext.as_bytes()).unwrap();
        assert_eq!(writer.finish().unwrap(), sealed);
    }
}

#[test]
fn lengths_around_each_boundary_round_trip() {
    let plain = pattern(FIRST_BODY_LEN + BODY_LEN + 2);
    for at in [0, 1, FIRST_BODY_LEN, FIRST_BODY_LEN + BODY_LEN] {
        for len in at.saturating_sub(1)..=at + 1 {
            let sealed = seal(&plain[..len]);
            assert_eq!(sealed.len() as u64, sealed_len(len as u64), "{len}");
            assert_eq!(sha256(&open(&sealed).unwrap()), sha256(&plain[..len]), "{len}");
        }
    }
}

#[test]
fn the_size_of_a_write_does_not_matter() {
    let header = Header {
        salt: [1; 32],
        prefix: [2; 7],
    };
    let seal_in = |size: usize| {
        let mut writer = SealWriter::with_header(Vec::new(), &key(), NAME, header).unwrap();
        for part in PLAIN.chunks(size) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        sha256(&writer.finish().unwrap())
    };
    let whole = seal_in(PLAIN.len());
    for size in [
        997,
        65_536,
        FIRST_BODY_LEN,
        FIRST_BODY_LEN + 1,
        BODY_LEN,
        SEGMENT_LEN,
        SEGMENT_LEN + 1,
    ] {
        assert_eq!(seal_in(size), whole, "{size}");
    }
}

#[test]
fn two_seals_of_one_plaintext_share_nothing() {
    let (a, b) = (seal(b"same"), seal(b"same"));
    assert_ne!(a[1..HEADER_LEN], b[1..HEADER_LEN]);
    assert_ne!(a[HEADER_LEN..], b[HEADER_LEN..]);
}

#[test]
fn a_reader_seeks_and_reads_to_its_end() {
    let mut reader = OpenReader::new(SEALED.as_slice(), &key(), NAME).unwrap();
    assert_eq!(reader.plaintext_len(), PLAIN.len() as u64);
    let mut tail = Vec::new();
    assert_eq!(
        reader.seek(SeekFrom::End(-5000)).unwrap(),
        PLAIN.len() as u64 - 5000
    );
    reader.read_to_end(&mut tail).unwrap();
    assert_eq!(tail, PLAIN[PLAIN.len() - 5000..]);
    assert_eq!(
        reader.seek(SeekFrom::Current(100)).unwrap(),
        PLAIN.len() as u64 + 100
    );
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    assert!(reader.seek(SeekFrom::End(-(1 << 40))).is_err());
    let mut small = Vec::new();
    reader.rewind().unwrap();
    io::copy(&mut reader.take(3_000), &mut small).unwrap();
    assert_eq!(small, PLAIN[..3_000]);
}

#[test]
fn threads_share_one_reader() {
    let reader = OpenReader::new(SEALED.as_slice(), &key(), NAME).unwrap();
    let read_part = |start: usize| {
        for offset in (start..PLAIN.len()).step_by(300_007) {
            let mut part = vec![0; 100_000];
            let read = reader.read_at(&mut part, offset as u64).unwrap();
            assert_eq!(part[..read], PLAIN[offset..offset + read]);
            assert!(read == part.len() || offset + read == PLAIN.len());
        }
    };
    std::thread::scope(|scope| {
        for start in [0, 1, 500_000, 1_048_520] {
            scope.spawn(move || read_part(start));
        }
    });
}

#[test]
fn every_kind_of_source_reads_alike() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&SEALED).unwrap();
    check_source(Arc::new(file.reopen().unwrap()));
    check_source(SEALED.clone());
    check_source(SEALED.as_slice());
}

#[track_caller]
fn check_source(source: impl ReadAt) {
    let mut part = [0; 100];
    let reader = OpenReader::new(source, &key(), NAME).unwrap();
    assert_eq!(
        (reader.read_at(&mut part, 77).unwrap(), part.as_slice()),
        (100, &PLAIN[77..177])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_reads_as_it_was_written(start: Index, len in 0usize..1_500_000) {
        let reader = OpenReader::new(SEALED.as_slice(), &key(), NAME).unwrap();
        let start = start.index(PLAIN.len() + 1);
        let expected = &PLAIN[start..(start + len).min(PLAIN.len())];
        let mut actual = vec![0; len];
        let read = reader.read_at(&mut actual, start as u64).unwrap();
        prop_assert_eq!(read, expected.len());
        prop_assert!(actual[..read] == *expected);
    }

    #[test]
    fn layouts_and_lengths_agree(len in 0u64..1 << 50) {
        let layout = Layout::of(sealed_len(len)).unwrap();
        prop_assert_eq!(layout.plaintext_len(), len);
        let last = layout.last().unwrap();
        prop_assert!(last.last && last.plain_at + last.len as u64 == len);
        prop_assert_eq!(last.sealed_at + (last.len + TAG_LEN) as u64, sealed_len(len));
        let holding = layout.holding(len / 2);
        prop_assert!(len == 0 || holding.is_some_and(|it| (it.plain_at..it.plain_at + it.len as u64).contains(&(len / 2))));
    }

    #[test]
    fn a_length_is_that_of_one_plaintext_or_of_none(sealed in 0u64..1 << 50) {
        if let Some(layout) = Layout::of(sealed) {
            prop_assert_eq!(sealed_len(layout.plaintext_len()), sealed);
        }
    }
}

#[test]
fn a_read_touches_only_the_segments_that_it_overlaps() {
    struct Counting<'a>(&'a [u8], std::sync::Mutex<Vec<u64>>);
    impl ReadAt for Counting<'_> {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            self.1.lock().unwrap().push(offset);
            self.0.read_at(buf, offset)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }
    let source = Arc::new(Counting(&SEALED, Default::default()));
    let reader = OpenReader::new(source.clone(), &key(), NAME).unwrap();
    assert_eq!(
        std::mem::take(&mut *source.1.lock().unwrap()),
        [0, 2 * SEGMENT_LEN as u64]
    );
    reader.read_at(&mut vec![0; SEGMENT_LEN], 1000).unwrap();
    assert_eq!(
        std::mem::take(&mut *source.1.lock().unwrap()),
        [40, SEGMENT_LEN as u64]
    );
    reader.read_at(&mut [0; 10], FIRST_BODY_LEN as u64).unwrap();
    assert!(
        source.1.lock().unwrap().is_empty(),
        "the last segment read is kept"
    );
}

/// Reads everything and says which segment failed; header failures are `None`.
#[track_caller]
fn check_refused(sealed: &[u8], segment: Option<u32>) {
    let error = open(sealed).unwrap_err();
    match (&error, segment) {
        (OpenError::NotSealed, None) => {}
        (OpenError::Changed { segment: found }, Some(expected)) => assert_eq!(*found, expected),
        _ => panic!("{error:?}, expected segment {segment:?}"),
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let flip = |offset: usize, segment| {
        for bit in [0x01, 0x80] {
            let mut sealed = SEALED.clone();
            sealed[offset] ^= bit;
            check_refused(&sealed, segment);
        }
    };
    flip(0, None);
    // A wrong salt or prefix makes a wrong key or nonce: the last segment, checked first, does not open.
    for offset in [1, 32, 33, 39] {
        flip(offset, Some(2));
    }
    for (segment, start, end) in [
        (0, HEADER_LEN, SEGMENT_LEN),
        (1, SEGMENT_LEN, 2 * SEGMENT_LEN),
        (2, 2 * SEGMENT_LEN, SEALED.len()),
    ] {
        for offset in [
            start,
            (start + end) / 2,
            end - TAG_LEN - 1,
            end - TAG_LEN,
            end - 1,
        ] {
            flip(offset, Some(segment));
        }
    }
}

#[test]
fn every_byte_of_a_small_file_counts() {
    let sealed = seal(b"a small file");
    for offset in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[offset] ^= 1 << bit;
            assert!(open(&changed).is_err(), "byte {offset} bit {bit}");
        }
        assert!(open(&sealed[..offset]).is_err(), "cut at {offset}");
    }
}

#[test]
fn cut_longer_reordered_and_foreign_segments_are_refused() {
    let segments: Vec<&[u8]> = SEALED.chunks(SEGMENT_LEN).collect();
    let join = |parts: &[&[u8]]| parts.concat();
    check_refused(&SEALED[..SEALED.len() - 1], Some(2));
    check_refused(
        &join(&[segments[0], segments[1], &segments[2][..TAG_LEN + 1]]),
        Some(2),
    );
    check_refused(&join(&[segments[0], segments[1], &segments[2][..TAG_LEN]]), None);
    check_refused(&join(&[segments[0], segments[1]]), Some(1));
    check_refused(segments[0], Some(0));
    check_refused(&SEALED[..HEADER_LEN], None);
    check_refused(&[], None);
    check_refused(&join(&[&SEALED, &[0]]), Some(2));
    check_refused(&join(&[&SEALED, segments[2]]), Some(2));
    check_refused(
        &join(&[segments[0], segments[1], segments[1], segments[2]]),
        Some(3),
    );
    check_refused(&join(&[segments[0], segments[2]]), Some(1));
    let other = seal(&PLAIN);
    let foreign: Vec<&[u8]> = other.chunks(SEGMENT_LEN).collect();
    check_refused(&join(&[segments[0], foreign[1], segments[2]]), Some(1));
    check_refused(&join(&[foreign[0], segments[1], segments[2]]), Some(2));
    // Header of one file, segments of the other.
    check_refused(&[&other[..HEADER_LEN], &SEALED[HEADER_LEN..]].concat(), Some(2));

    let four = seal(&pattern(3 * SEGMENT_LEN));
    let parts: Vec<&[u8]> = four.chunks(SEGMENT_LEN).collect();
    check_refused(&join(&[parts[0], parts[2], parts[1], parts[3]]), Some(1));
}

#[test]
fn another_key_or_name_is_refused() {
    for (key, name) in [
        (DataKey::from_bytes([8; 32]), NAME),
        (key(), b"stockade tesu".as_slice()),
        (key(), b""),
        (key(), b"stockade test\0"),
    ] {
        assert!(matches!(
            OpenReader::new(SEALED.as_slice(), &key, name),
            Err(OpenError::Changed { segment: 2 })
        ));
    }
}

#[test]
fn a_failed_read_leaves_no_byte_behind() {
    let mut sealed = SEALED.clone();
    sealed[SEGMENT_LEN + 5] ^= 1;
    let reader = OpenReader::new(sealed, &key(), NAME).unwrap();
    let mut buf = vec![0xaa; 2 * SEGMENT_LEN];
    assert!(matches!(
        reader.read_at(&mut buf, 0),
        Err(OpenError::Changed { segment: 1 })
    ));
    assert!(buf.iter().all(|byte| *byte == 0));
    assert_eq!(
        reader.read_at(&mut buf[..10], 0).unwrap(),
        10,
        "the other segments still open"
    );
}

#[test]
fn an_unfinished_file_does_not_open() {
    let mut sealed = Vec::new();
    let mut writer = SealWriter::new(&mut sealed, &key(), NAME).unwrap();
    writer.write_all(&PLAIN).unwrap();
    writer.flush().unwrap();
    drop(writer);
    check_refused(&sealed, Some(1));
}

/// After a failed write the place in the file is unknown; going on could use a nonce twice.
#[test]
fn a_writer_that_failed_stays_failed() {
    #[derive(Debug)]
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = data.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for room in [0, 39, 40, 1000, SEGMENT_LEN, SEGMENT_LEN + 1] {
        let mut writer = SealWriter::new(Full(room), &key(), NAME).unwrap();
        assert_eq!(
            writer.write_all(&PLAIN).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert!(writer.write_all(&PLAIN).is_err());
        assert!(writer.finish().is_err());
    }
    let mut writer = SealWriter::new(Full(100), &key(), NAME).unwrap();
    writer.write_all(&PLAIN[..200]).unwrap();
    assert_eq!(writer.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_writer_that_failed_once_does_not_go_on() {
    struct FailsOnce(Option<io::Error>);
    impl Write for FailsOnce {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.take().map_or(Ok(data.len()), Err)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer =
        SealWriter::new(FailsOnce(Some(io::ErrorKind::StorageFull.into())), &key(), NAME).unwrap();
    assert_eq!(
        writer.write_all(&PLAIN).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert!(writer.write_all(&PLAIN).is_err());
    assert!(writer.finish().is_err());
}

#[test]
fn a_source_that_shrinks_is_an_error() {
    struct Shrinking(u64);
    impl ReadAt for Shrinking {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            SEALED.as_slice()[..usize::try_from(self.0).unwrap()]
                .as_ref()
                .read_at(buf, offset)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(SEALED.len() as u64)
        }
    }
    let error = OpenReader::new(Shrinking(SEALED.len() as u64 - 1), &key(), NAME).unwrap_err();
    assert!(matches!(error, OpenError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof));
}

#[test]
fn errors_name_the_cause() {
    let error = |sealed: &[u8]| io::Error::from(open(sealed).unwrap_err()).to_string();
    expect_test::expect!["this is not a sealed file, or it was cut"].assert_eq(&error(b"no"));
    expect_test::expect![
        "segment 0 of the sealed file was changed, cut or moved, or the file belongs to another key or name"
    ]
    .assert_eq(&error(&[40; 60]));
}

/// A small corpus with seeded mutations through the fuzz entry.
#[test]
fn mutated_files_do_not_panic() {
    let small = seal(b"corpus");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % bound as u64).unwrap()
    };
    for _ in 0..2000 {
        let mut data = small.clone();
        for _ in 0..=next(4) {
            match next(4) {
                0 => data.truncate(next(data.len() + 1)),
                1 => data.push(u8::try_from(next(256)).unwrap()),
                2 if !data.is_empty() => {
                    let at = next(data.len());
                    data[at] ^= u8::try_from(1 + next(255)).unwrap();
                }
                _ => data.extend_from_within(..next(data.len() + 1)),
            }
        }
        fuzz_stream_header(&data);
    }
    fuzz_stream_header(&[]);
    fuzz_stream_header(&SEALED);
}
