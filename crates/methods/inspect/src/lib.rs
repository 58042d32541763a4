//! Look at one thing and say what is found; pure. Time, keys and randomness are arguments.
//!
//! - [`inputs`] looks at one input: is it like real ones, and does the model say the same when it is squeezed;
//! - [`queries`] looks at the stream of queries to one model, per principal and across principals.

mod codec;
mod features;
pub mod inputs;
mod nearest;
mod numbers;
pub mod queries;
