//! Why a key operation failed. Messages name the file and never its content.

use std::{io, path::PathBuf};

use crate::{aead::SealFailed, random::RandomnessUnavailable, sign::SigningError, x509::IssueError};

/// Why a key operation failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no key folder.
    #[error("there is no key folder at `{}`\nhint: `stockade init` or `stockade up` makes one", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is something at the place of the new key folder.
    #[error("`{}` exists already; keys are never overwritten", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Others than the owner may read a key file or its folder.
    #[error(
        "`{}` has mode {mode:04o}: others than its owner may use it\nhint: find out who read it; then `chmod {} '{}'`",
        path.display(), if *folder { "700" } else { "600" }, path.display()
    )]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a folder.
        folder: bool,
    },
    /// A key file is not what was written.
    #[error("`{}` is damaged\nhint: restore it from a backup{}", path.display(), if *recoverable { ", or recover the root key with the passphrase" } else { "" })]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Whether the recovery passphrase can bring it back.
        recoverable: bool,
    },
    /// A root key that something is wrapped under is gone.
    #[error(
        "the root key `{key_id}` is not in `{}`\nhint: restore its file from a backup, or recover it with the passphrase",
        path.display()
    )]
    RootLost {
        /// The key folder.
        path: PathBuf,
        /// Which root key.
        key_id: String,
    },
    /// The wrapped key names a root key that is not there.
    #[error(
        "the key is wrapped under `{key_id}`, which is not here\nhint: restore that root key from a backup"
    )]
    UnknownRoot {
        /// Which root key.
        key_id: String,
    },
    /// The wrapped key was changed, or belongs to another context.
    #[error("the wrapped key was changed, or belongs to something else")]
    NotAuthentic,
    /// The root key that wraps now cannot be retired.
    #[error("`{key_id}` is the current root key\nhint: rotate the root key first and wrap everything again")]
    RootInUse {
        /// Which root key.
        key_id: String,
    },
    /// No recovery passphrase was set for this folder.
    #[error("`{}` has no recovery file: no passphrase was set", path.display())]
    NoRecovery {
        /// The key folder.
        path: PathBuf,
    },
    /// A recovery passphrase was set, and its file is gone or belongs to other keys.
    #[error(
        "`{}` is lost, or belongs to other keys\nhint: set the recovery passphrase again: `stockade keys set-recovery`",
        path.display()
    )]
    RecoveryLost {
        /// The recovery file.
        path: PathBuf,
    },
    /// The passphrase is another one, or the sealed bytes were changed.
    #[error("the passphrase is wrong, or the file was changed")]
    WrongPassphrase,
    /// The bytes are no key export, or one of a newer version.
    #[error("this is not a key export that this version can read")]
    NotAnExport,
    /// A file operation failed.
    #[error("`{}` could not be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// A key could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealFailed),
    /// A signing key could not be made.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}
