//! Disks for crash tests: [`Recording`] keeps a trace of what a real disk was asked, [`Faulty`] fails on demand.
//!
//! They are real code beside the trait they wrap, so that any crate's crash tests may use them; the product never does.

mod faulty;
mod recording;

pub use self::{
    faulty::{Fault, Faulty},
    recording::{Operation, Recording},
};
