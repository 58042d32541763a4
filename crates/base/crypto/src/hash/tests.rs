//! FIPS 180-4 and RFC 4231 vectors, and those that the BLAKE3 authors publish (`test_vectors.json`).

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(actual: [u8; 32], expected: &str) {
    assert_eq!(hex::encode(actual), expected);
}

#[test]
fn sha256_vectors_of_nist() {
    check(
        sha256(b""),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    );
    check(
        sha256(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    check(
        sha256(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    );
    check(
        sha256(&vec![b'a'; 1_000_000]),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    );
}

#[test]
fn blake3_vectors_of_its_authors() {
    let input: Vec<u8> = (0..102_400u32)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect();
    for (len, expected) in [
        (
            0,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ),
        (
            1,
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        ),
        (
            1023,
            "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
        ),
        (
            1024,
            "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
        ),
        (
            102_400,
            "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
        ),
    ] {
        check(blake3(&input[..len]), expected);
    }
}

#[test]
fn hmac_vectors_of_rfc_4231() {
    for (key, data, expected) in [
        (
            vec![0x0b; 20],
            b"Hi There".as_slice(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            vec![0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ] {
        check(hmac_sha256(&SecretBytes::new(key), data), expected);
    }
}

#[test]
fn comparison_sees_every_byte_and_the_length() {
    assert!(constant_time_eq(b"", b""));
    assert!(constant_time_eq(b"abc", b"abc"));
    for other in [b"abd".as_slice(), b"bbc", b"ab", b"abcd", b""] {
        assert!(!constant_time_eq(b"abc", other));
    }
}

proptest! {
    #[test]
    fn parts_hash_like_the_whole(data: Vec<u8>, cut: prop::sample::Index) {
        let (first, second) = data.split_at(cut.index(data.len() + 1));
        let (mut sha, mut blake) = (Sha256::new(), Blake3::new());
        for part in [first, second] {
            sha.update(part);
            blake.update(part);
        }
        prop_assert_eq!(sha.clone().finish(), sha256(&data));
        prop_assert_eq!(blake.clone().finish(), blake3(&data));
        prop_assert_eq!(sha.finish(), sha256(&data));
        prop_assert_eq!(blake.finish(), blake3(&data));
    }
}
