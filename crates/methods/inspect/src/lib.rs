//! Look at one thing and say what is found; pure. Time, keys and randomness are arguments.
//!
//! [`queries`] looks at the stream of queries to one model, per principal and across principals.

pub mod queries;
