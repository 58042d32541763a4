//! One suite for each kind of backend. A second backend is one more function here that makes it.

mod blobs;
mod counters;
mod rows;
