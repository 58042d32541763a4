//! The gateway: one file per phase of a request.
