//! The shared words of Stockade's evidence, and the mathematics that makes it tamper-evident.
//!
//! [`Record`] is one event; its leaf is canonical JSON (RFC 8785) in OCSF form. Records are the leaves of an
//! RFC 6962 Merkle tree kept in C2SP tiles under signed checkpoints. Nothing here reads a clock, a file or a
//! network: time and bytes come in as arguments, verdicts go out as values.
//!
//! Start at [`Record`], then [`TileWriter`], [`sign_checkpoint`] and [`verify_log`].

mod canonical;
mod checkpoint;
mod digest;
mod event;
mod merkle;
mod note;
mod ocsf;
mod proof;
mod record;
mod tiles;
mod time;
mod verify;

pub use self::{
    canonical::{CanonicalError, MAX_DEPTH, canonical_json},
    checkpoint::{
        BadVerifierKeys, Checkpoint, LogVerifier, MalformedCheckpoint, NoteError, OpenedCheckpoint,
        SignError, SignatureStatus, fuzz_checkpoint, open_checkpoint, sign_checkpoint,
    },
    digest::{Digest, DigestAlgorithm, InvalidDigest},
    event::{Control, Event, OcsfClass},
    merkle::{
        Frontier, Hash, InvalidFrontier, ProofError, empty_root, leaf_hash, node_hash, verify_consistency,
        verify_inclusion,
    },
    note::{BadVerifierKey, InvalidKeyName, MalformedNote},
    ocsf::{LeafError, fuzz_leaf},
    proof::{LogProof, LogProofError, MalformedProof, fuzz_proof},
    record::{
        Actor, Change, Decision, Finding, InvalidRecordId, Personal, Record, RecordId, Subject, SubjectKind,
        Verdict,
    },
    tiles::{
        BadBundle, EntryTooLarge, FULL_WIDTH, MAX_ENTRY, TileError, TilePath, TileSource, TileWriter,
        consistency_proof, decode_entries, encode_entries, entries_path, fuzz_bundle, inclusion_proof,
        parse_path, root_at, tile_path,
    },
    time::Timestamp,
    verify::{Problem, Verification, verify_log},
};
