//! `stockade log`: verify, show, export, recover and prune the evidence.

mod maintain;
mod show;
mod verify;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use stockade_evidence::LogVerifier;
use stockade_store::{UnconfirmedRows, disk::Posix, log::read_log_head};

pub(super) use self::verify::read_text;
use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    project::Project,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check every byte of the log; exit 0 if nobody changed it, 4 if somebody did
    #[command(after_help = "Examples:\n  stockade log verify --dir prod\n  \
        stockade log verify --log ./copy --key log.vkey --since checkpoint.old")]
    Verify(Verify),
    /// Print the verifier keys, one a line, for those who check the log elsewhere
    Key {
        /// Print those in `log.vkey` although the keyring does not confirm them
        #[arg(long)]
        unconfirmed: bool,
    },
    /// Print records
    Show(Show),
    /// Write one record and its inclusion proof, for somebody without the log
    #[command(after_help = "Example:\n  stockade log export 42 --out evidence")]
    Export {
        /// The record's index
        index: u64,
        /// A folder for `entry.json` and `entry.tlog-proof`
        #[arg(long)]
        out: PathBuf,
    },
    /// Check an exported record against its proof and the log's keys
    Check {
        /// The record: `entry.json`
        entry: PathBuf,
        /// Its proof: `entry.tlog-proof`
        proof: PathBuf,
        /// The log's verifier keys, as `log key` prints them
        #[arg(long)]
        key: PathBuf,
    },
    /// Leave a broken or rolled-back log behind and start a new origin that names its head
    Recover {
        /// Take rows that the old log does not confirm, or not as the newest, and record that
        #[arg(long)]
        accept_rows: bool,
    },
    /// Remove entries older than the retention policy says; the tree and every proof stay
    Prune,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("copy").args(["log"]).requires("key"))]
pub(crate) struct Verify {
    /// A copy of a log folder, instead of the project's own
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
    /// The verifier keys of that copy, as `log key` prints them
    #[arg(long, value_name = "FILE", requires = "log")]
    key: Option<PathBuf>,
    /// A checkpoint seen earlier, which the log must still contain
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// The first index that must be there, where a copy was pruned
    #[arg(long, value_name = "INDEX", default_value_t = 0, requires = "log")]
    minimum_index: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Only this event, such as `request.admitted`
    #[arg(long)]
    event: Option<String>,
    /// At most this many, the newest
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Verify(arguments) => verify::run(global, &arguments, output),
        Verb::Key { unconfirmed } => key(global, unconfirmed, output),
        Verb::Show(arguments) => show::run(global, &arguments, output).await,
        Verb::Export { index, out } => show::export(global, index, &out, output).await,
        Verb::Check { entry, proof, key } => show::check(&entry, &proof, &key, output),
        Verb::Recover { accept_rows } => {
            let unconfirmed = if accept_rows {
                UnconfirmedRows::Accept
            } else {
                UnconfirmedRows::Refuse
            };
            maintain::recover(global, unconfirmed, output).await
        }
        Verb::Prune => maintain::prune(global, output).await,
    }
}

fn key(global: &Global, unconfirmed: bool, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let trust = project.log_trust()?;
    if !trust.is_confirmed() && !unconfirmed {
        return Err(Failure::new(
            Exit::Broken,
            "the keyring does not open, so nothing here confirms the keys in `log.vkey`",
        )
        .hint("take the keys from where they were kept; `--unconfirmed` prints those of the file"));
    }
    if trust.file_differs() {
        return Err(Failure::new(
            Exit::Broken,
            "`log.vkey` does not hold the keys that the keyring holds",
        )
        .hint("find out who changed it; the next start of a server writes it anew"));
    }
    let head = read_log_head(&Posix, &project.log_paths()).exit(Exit::Broken)?;
    let origin = head.map(|head| head.origin).unwrap_or_default();
    let verifiers = trust.verifiers(&origin);
    let lines: Vec<String> = verifiers.iter().take(1).flat_map(LogVerifier::to_vkeys).collect();
    output.result(&serde_json::json!({ "keys": lines }), || lines.join("\n"))?;
    Ok(Exit::Fine)
}
