//! The store from outside: its suites over every backend, and the keeper's promises.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod ownership;
#[cfg(test)]
mod personal;
#[cfg(test)]
mod projection;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod worker;
