//! Landlock (landlock(7)): no file but those allowed, no TCP but to ports allowed, no process outside, no abstract socket.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use crate::{Allowed, ConfineError};

/// The newest that this code knows; of an older kernel's, what it has.
const KNOWN: ABI = ABI::V7;

/// Restricts the calling thread. Answers with the kernel's ABI, or `None` where it has no Landlock.
pub(crate) fn restrict(allowed: &Allowed) -> Result<Option<u32>, ConfineError> {
    restricted(allowed).map_err(|error| ConfineError::new(&error))
}

fn restricted(allowed: &Allowed) -> Result<Option<u32>, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for path in &allowed.files {
        // What is not there cannot be read.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access: BitFlags<AccessFs> = if path.is_dir() {
            AccessFs::ReadFile | AccessFs::ReadDir
        } else {
            AccessFs::ReadFile.into()
        };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    for port in &allowed.connect {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(match rules.restrict_self()?.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => Some(
            kernel_abi
                .and_then(|abi| abi.try_into().ok())
                .unwrap_or(effective_abi as u32),
        ),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    })
}
