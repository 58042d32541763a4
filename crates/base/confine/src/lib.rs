//! What a process gives up before it reads foreign bytes: files, programs, other processes, the network.
//!
//! [`lock_down`] leaves a process with the descriptors that it holds, threads, memory and time; beyond them only what
//! [`Allowed`] names. On Linux it stands on two legs, each of which denies opening files, running programs and touching
//! other processes: Landlock (landlock(7)) and a seccomp filter (seccomp(2)), a list of the system calls that are left.
//! [`Isolation`] says which of them the kernel gave.
//! INVARIANT: nothing here can be taken back by the process, or by what it starts.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod landlocked;
#[cfg(target_os = "linux")]
mod linux;

use std::path::PathBuf;

#[cfg(not(target_os = "linux"))]
pub use self::elsewhere::{end_with_parent, lock_down, supported};
#[cfg(target_os = "linux")]
pub use self::linux::{end_with_parent, lock_down, supported};

/// What a locked process may still do beyond the descriptors that it holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Allowed {
    /// Files that it may open for reading, and folders below which it may; empty takes the system call away.
    pub files: Vec<PathBuf>,
    /// Ports that it may connect to over TCP; empty takes sockets away. A kernel before Landlock's fourth ABI cannot
    /// tell ports apart.
    pub connect: Vec<u16>,
}

/// What keeps a process in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isolation {
    /// Landlock, and how much of it the kernel knows.
    pub landlock: Option<u32>,
    /// The filter of system calls.
    pub seccomp: bool,
}

impl Isolation {
    /// Whether both stand.
    pub const fn is_whole(self) -> bool {
        self.landlock.is_some() && self.seccomp
    }

    /// As a record holds it: `landlock:abi7`, `seccomp`.
    pub fn names(self) -> Vec<String> {
        let landlock = self.landlock.map(|abi| format!("landlock:abi{abi}"));
        landlock
            .into_iter()
            .chain(self.seccomp.then(|| "seccomp".to_owned()))
            .collect()
    }
}

/// A process could not be locked, though the kernel has what it takes.
#[derive(Debug, thiserror::Error)]
#[error("the process cannot give up what it must not have: {what}")]
pub struct ConfineError {
    what: String,
}

impl ConfineError {
    #[cfg(target_os = "linux")]
    fn new(what: &impl std::fmt::Display) -> Self {
        Self {
            what: what.to_string(),
        }
    }
}
