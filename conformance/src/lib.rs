//! Real clients and second implementations against the real binary.
