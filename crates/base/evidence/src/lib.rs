//! The shared words of Stockade's evidence, and the mathematics that makes it tamper-evident.
//!
//! [`Record`] is one event; its leaf is canonical JSON (RFC 8785) in OCSF form. Records are the leaves of an
//! RFC 6962 Merkle tree kept in C2SP tiles under signed checkpoints. Nothing here reads a clock, a file or a
//! network: time and bytes come in as arguments, verdicts go out as values.
//!
//! Start at [`Record`], then [`Checkpoint`] and [`verify_log`].

mod digest;
mod event;
mod record;
mod time;

pub use self::{
    digest::{Digest, DigestAlgorithm, InvalidDigest},
    event::{Control, Event, OcsfClass},
    record::{
        Actor, Change, Decision, Finding, InvalidRecordId, Personal, Record, RecordId, Subject, SubjectKind,
        Verdict,
    },
    time::Timestamp,
};
