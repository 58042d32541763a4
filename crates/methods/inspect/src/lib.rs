//! Look at one thing and say what is found; pure. Time, keys and randomness are arguments.
//!
//! [`queries`] looks at the stream of queries to one model, per principal and across principals.

mod features;
mod nearest;
mod numbers;
pub mod queries;
