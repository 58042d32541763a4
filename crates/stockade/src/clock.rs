//! The one place of the binary that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use stockade_evidence::Timestamp;

/// Now, by the wall clock; before 1970 it is the epoch.
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
