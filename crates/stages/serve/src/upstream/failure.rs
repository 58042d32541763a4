//! How a request to another server ends without an answer, and what of it a client learns.

use stockade_evidence::Control;
use stockade_protocol::ErrorCode;

use crate::answer::Refusal;

/// Why a replica gave no whole answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// Nothing of the request left: no connection, or it was closed before.
    NotSent,
    /// The request left, and not a byte came back.
    Unanswered,
    /// An answer began and was no whole one.
    Broken,
    /// An answer is larger than configured.
    TooLarge,
    /// The time was over.
    TimedOut,
}

/// Why there are no outputs, in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// No replica can take the request now.
    Unavailable,
    /// No answer in time.
    TimedOut,
    /// The answer cannot be used; the text is ours and goes into our own logs.
    Failed(&'static str),
    /// The request has no form that the server reads.
    Unwritable(&'static str),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent => Self::Unavailable,
            Failure::Unanswered => Self::Failed("the connection ended before an answer"),
            Failure::Broken => {
                Self::Failed("the connection ended within an answer, or the answer is not HTTP")
            }
            Failure::TooLarge => Self::Failed("the answer is larger than `max_response_bytes`"),
            Failure::TimedOut => Self::TimedOut,
        }
    }
}

impl Trouble {
    /// What the client is told: our words alone.
    pub(super) fn refusal(self) -> Refusal {
        let refuse = |code, message| Refusal::new(code, Control::RunningModelIntegrity, message);
        match self {
            Self::Unavailable => refuse(
                ErrorCode::Unavailable,
                "the model's server cannot take requests now",
            )
            .after(std::time::Duration::from_secs(1)),
            Self::TimedOut => refuse(ErrorCode::UpstreamTimeout, "the model did not answer in time"),
            Self::Failed(_) => refuse(ErrorCode::UpstreamFailed, "the model failed"),
            Self::Unwritable(problem) => Refusal::invalid(problem),
        }
    }
}
