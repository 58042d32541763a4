//! What every store of blobs must do.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use object_store::memory::InMemory;
use stockade_crypto::ReadAt as _;
use stockade_evidence::{Digest, DigestAlgorithm};
use stockade_store::{BlobError, Blobs};

async fn suite(blobs: Blobs) {
    whole_blobs(&blobs).await;
    absent_blobs(&blobs).await;
    lists_by_folder(&blobs).await;
    streams_both_ways(&blobs).await;
    a_failed_write_leaves_what_was_there(&blobs).await;
    refuses_paths(&blobs).await;
}

async fn whole_blobs(blobs: &Blobs) {
    for bytes in [&b""[..], b"one", &[7; 100_000]] {
        let digest = blobs.put("whole/blob", bytes.to_vec()).await.unwrap();
        assert_eq!(digest, Digest::sha256(bytes));
        assert_eq!(blobs.get("whole/blob").await.unwrap(), bytes);
        assert_eq!(
            blobs.head("whole/blob").await.unwrap().unwrap().size,
            bytes.len() as u64
        );
    }
    assert_eq!(blobs.get_range("whole/blob", 10..14).await.unwrap(), [7; 4][..]);
    blobs.delete("whole/blob").await.unwrap();
}

async fn absent_blobs(blobs: &Blobs) {
    assert!(matches!(
        blobs.get("no/such").await,
        Err(BlobError::NotFound { .. })
    ));
    assert!(blobs.reader("no/such").await.is_err());
    assert_eq!(blobs.head("no/such").await.unwrap(), None);
    blobs.delete("no/such").await.unwrap();
}

async fn lists_by_folder(blobs: &Blobs) {
    for path in ["list/b", "list/a/2", "list/a/1", "listen"] {
        blobs.put(path, path.as_bytes().to_vec()).await.unwrap();
    }
    let names = |found: Vec<stockade_store::BlobInfo>| -> Vec<String> {
        found.into_iter().map(|info| info.path).collect()
    };
    assert_eq!(
        names(blobs.list("list").await.unwrap()),
        ["list/a/1", "list/a/2", "list/b"]
    );
    assert_eq!(
        names(blobs.list("list/a").await.unwrap()),
        ["list/a/1", "list/a/2"]
    );
    assert!(blobs.list("nothing").await.unwrap().is_empty());
    for path in ["list/b", "list/a/2", "list/a/1", "listen"] {
        blobs.delete(path).await.unwrap();
    }
    assert!(blobs.list("").await.unwrap().is_empty());
}

async fn streams_both_ways(blobs: &Blobs) {
    const PARTS: usize = 23;
    let part: Vec<u8> = (0..1_000_003_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let expected = part.repeat(PARTS);
    let written = part.clone();
    let (digest, made) = blobs
        .put_with("stream/large", DigestAlgorithm::Blake3, move |writer| {
            for _ in 0..PARTS {
                writer.write_all(&written)?;
            }
            Ok(writer.written())
        })
        .await
        .unwrap();
    assert_eq!((digest, made), (Digest::blake3(&expected), expected.len() as u64));
    let reader = blobs.reader("stream/large").await.unwrap();
    let checked = tokio::task::spawn_blocking(move || {
        assert_eq!(reader.len().unwrap(), expected.len() as u64);
        for (offset, length) in [(0, 10), (5_000_000, 70_000), (expected.len() - 5, 5)] {
            let mut found = vec![0; length];
            let read = reader.read_at(&mut found, offset as u64).unwrap();
            assert_eq!(found[..read], expected[offset..offset + read]);
            assert!(read > 0);
        }
        assert_eq!(reader.read_at(&mut [0; 8], expected.len() as u64).unwrap(), 0);
    });
    checked.await.unwrap();
    blobs.delete("stream/large").await.unwrap();
}

async fn a_failed_write_leaves_what_was_there(blobs: &Blobs) {
    blobs.put("keep/me", b"old".to_vec()).await.unwrap();
    let failed = blobs
        .put_with("keep/me", DigestAlgorithm::Sha256, |writer| -> io::Result<()> {
            writer.write_all(&[1; 3_000_000])?;
            Err(io::Error::other("stop"))
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(blobs.get("keep/me").await.unwrap(), &b"old"[..]);
    assert_eq!(blobs.list("").await.unwrap().len(), 1);
    blobs.delete("keep/me").await.unwrap();
}

async fn refuses_paths(blobs: &Blobs) {
    for path in [
        "",
        "/etc/passwd",
        "../up",
        "a/../../up",
        ".hidden",
        "a b",
        "x.part",
    ] {
        assert!(
            matches!(blobs.put(path, b"x".to_vec()).await, Err(BlobError::Path(_))),
            "{path}"
        );
        assert!(matches!(blobs.get(path).await, Err(BlobError::Path(_))), "{path}");
    }
}

#[tokio::test]
async fn folder() {
    let temp = tempfile::tempdir().unwrap();
    suite(Blobs::folder(temp.path().join("blobs")).unwrap()).await;
    let left: Vec<_> = crate::folder::files(temp.path());
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn object_store_in_memory() {
    suite(Blobs::in_store(Arc::new(InMemory::new()))).await;
}

#[tokio::test]
async fn files_of_a_folder_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(temp.path().join("blobs")).unwrap();
    blobs.put("a/b/c", b"x".to_vec()).await.unwrap();
    let mode = |path: &str| {
        std::fs::metadata(temp.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("blobs"), mode("blobs/a/b"), mode("blobs/a/b/c")),
        (0o700, 0o700, 0o600)
    );
}
