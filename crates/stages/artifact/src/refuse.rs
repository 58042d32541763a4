//! An artifact that is not what was sealed: the error that names the file, and the record of it.

use stockade_evidence::{Actor, Decision, Event, Subject, SubjectKind, Timestamp};

use crate::{ArtifactName, OpenArtifactError, Vault, rows::VersionRow, vault::record};

/// A file of the vault is not what was sealed (exit code 4). Nothing of the artifact is released.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{artifact}@{version}` is not what was sealed: `{file}` {problem}\nhint: restore the vault from a backup"
)]
pub struct Tampered {
    artifact: ArtifactName,
    version: u64,
    file: String,
    problem: String,
}

impl Tampered {
    pub(crate) fn new(of: &VersionRow, file: &str, problem: impl Into<String>) -> Self {
        Self {
            artifact: of.artifact.clone(),
            version: of.version,
            file: file.to_owned(),
            problem: problem.into(),
        }
    }

    /// The file, by its path in the vault.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl Vault {
    /// The same error, after it was recorded. Where it cannot be recorded that is said instead: a refusal without a
    /// record would be no refusal.
    pub(crate) async fn refused(
        &self,
        error: OpenArtifactError,
        actor: &Actor,
        now: Timestamp,
    ) -> OpenArtifactError {
        let OpenArtifactError::Tampered(tampered) = &error else {
            return error;
        };
        let mut subject = Subject::new(SubjectKind::Artifact, tampered.artifact.as_str());
        subject.version = Some(tampered.version);
        let decision = Decision::Refused {
            code: "integrity".to_owned(),
            policies: Vec::new(),
        };
        let record = match record(Event::ArtifactRefused, actor, now) {
            Ok(record) => record
                .about(subject)
                .deciding(decision)
                .with("file", tampered.file.as_str()),
            Err(unavailable) => return unavailable.into(),
        };
        match self.handle.append(record).await {
            Ok(_) => error,
            Err(source) => OpenArtifactError::RefusalNotRecorded {
                tampered: tampered.clone(),
                source,
            },
        }
    }
}
