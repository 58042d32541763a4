//! Operators' logs: JSON lines on standard error, never on standard output.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts logging. `STOCKADE_LOG` (a tracing filter) wins over the flags.
pub(crate) fn start(verbose: u8, quiet: bool) {
    let default = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn,stockade=info",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("STOCKADE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_target(true)
        .with_writer(std::io::stderr);
    // A second start in one process would be a mistake of ours; the first one stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
