//! Evidence for a stranger: one entry's proof, in C2SP tlog-proof form.

use stockade_evidence::{LogProof, LogVerifier, inclusion_proof, open_checkpoint};

use super::{error::ReadError, source::FolderSource};

/// The proof that entry `index` is in the log, under the checkpoint that is in `source` now. It is checked with
/// `verifiers` before it is handed out.
pub fn export_proof(
    source: &FolderSource,
    index: u64,
    verifiers: &[LogVerifier],
) -> Result<LogProof, ReadError> {
    let missing = || ReadError::Missing {
        path: super::source::CHECKPOINT.into(),
    };
    let checkpoint = source.checkpoint()?.ok_or_else(missing)?;
    let size = open_checkpoint(&checkpoint, verifiers)?.checkpoint.size;
    if index >= size {
        return Err(ReadError::OutOfRange { index, size });
    }
    let damaged = |cause: &dyn ToString| ReadError::Damaged {
        path: "tile".into(),
        reason: cause.to_string(),
    };
    let path = inclusion_proof(source, index, size).map_err(|cause| damaged(&cause))?;
    Ok(LogProof {
        index,
        path,
        checkpoint,
        extra: None,
    })
}
