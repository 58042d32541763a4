//! Threads that rten computes on, lent to it run by run.
//!
//! rten runs a graph on a thread of the pool that it is given and hands the run over from any other thread. On one core
//! that costs many times what a small model takes, because an idle thread of the pool looks for work for a while
//! before it sleeps. Whoever runs many small models therefore stays on a thread of the pool.

use std::{fmt, sync::Arc};

use rten::ThreadPool;

/// Threads for rten. ONNX Runtime has its own, in each session.
#[derive(Clone)]
pub struct Threads {
    pool: Arc<ThreadPool>,
}

impl Threads {
    /// So many threads, at least one.
    pub fn new(count: usize) -> Self {
        Self {
            pool: Arc::new(ThreadPool::with_num_threads(count.max(1))),
        }
    }

    /// Runs `work` on one of them while the caller waits. A [`Session::run_on`](crate::Session::run_on) in it, with
    /// these threads, is handed to no other.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.run(work)
    }

    pub(crate) fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}
