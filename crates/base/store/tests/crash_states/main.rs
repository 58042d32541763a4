//! Every state that POSIX permits after a power failure is opened again: no durable record may be lost, the log must
//! verify, and no size may ever be signed with two roots. With any one sync left out, that must fail.

#[cfg(test)]
mod check;
#[cfg(test)]
#[path = "../log_support/mod.rs"]
mod log_support;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "files of a test are small")]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod workload;
