//! The shared words (Digest, Subject, Control, Finding, Decision, Record), Merkle tree, checkpoints and proofs; pure, no I/O.
