//! Systems without Landlock and seccomp: nothing is given up, and nobody is told otherwise.

use crate::{Allowed, ConfineError, Isolation};

const NOTHING: Isolation = Isolation {
    landlock: None,
    seccomp: false,
};

/// Gives nothing up, and says so.
///
/// # Errors
/// None here.
pub const fn lock_down(_: &Allowed) -> Result<Isolation, ConfineError> {
    Ok(NOTHING)
}

/// What this system has.
pub const fn supported() -> Isolation {
    NOTHING
}

/// Not here: whoever needs it watches a descriptor that its parent holds.
///
/// # Errors
/// None here.
pub const fn end_with_parent() -> Result<(), ConfineError> {
    Ok(())
}
