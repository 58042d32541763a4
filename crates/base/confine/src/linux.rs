//! Landlock and seccomp, one after the other, on the calling thread before there are others.

use std::thread;

use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};

use crate::{Allowed, ConfineError, Isolation, calls, landlocked};

/// Gives up everything but what is `allowed`, for this process and whatever it would start.
///
/// # Guarantee
/// What the returned [`Isolation`] names is in force when this returns. Landlock binds the calling thread and the threads
/// that it starts, so this is called before a process has others; descriptors that are open stay open.
///
/// # Errors
/// Where the kernel has one of the two and does not let it be put in force. A kernel that lacks one is no error.
pub fn lock_down(allowed: &Allowed) -> Result<Isolation, ConfineError> {
    // Nobody reads this process's memory through /proc, and a crash leaves no image of it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| ConfineError::new(&error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| ConfineError::new(&error))?;
    Ok(Isolation {
        landlock: landlocked::restrict(allowed)?,
        seccomp: calls::filter(allowed)?,
    })
}

/// What this kernel has. It is tried on a thread that ends.
pub fn supported() -> Isolation {
    let tried = thread::spawn(|| Isolation {
        landlock: landlocked::restrict(&Allowed::default()).ok().flatten(),
        seccomp: calls::is_supported(),
    });
    tried.join().unwrap_or(Isolation {
        landlock: None,
        seccomp: false,
    })
}

/// Has the kernel end this process when the thread that started it ends.
///
/// # Errors
/// Where the kernel refuses.
pub fn end_with_parent() -> Result<(), ConfineError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| ConfineError::new(&error))
}
