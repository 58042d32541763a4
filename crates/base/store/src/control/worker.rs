//! The keeper's end of a worker's link: a short list of what a worker may ask, and nothing that gives it more.
//!
//! A worker runs the gateway in a process without keys. Whatever it says is checked as if somebody else spoke through it:
//! it appends only events of its own kind, in the keeper's time, which change no row but those that [`MayPut`] names, and it
//! reads only the rows that it is there for. What it may not ask ends the link, for a sound worker never does.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use stockade_evidence::{Actor, Change, Event, Record};
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ControlError, frame,
    message::{Request, Response},
    server::commit_failed,
};
use crate::keeper::Keeper;

/// Longest question of a worker: a record that fits into a leaf, with room for its escapes.
const QUESTION_MAX: usize = 512 << 10;
/// Questions of a worker that are answered at once.
const QUESTIONS_MAX: usize = 1024;
/// Answers that wait to be written.
const ANSWERS_MAX: usize = 1024;
/// How often a worker is told the time and the keeper's health.
const PULSE_EVERY: Duration = Duration::from_millis(500);

/// What a worker may ask of the keeper.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The events that it may append, and by whom.
    pub events: &'static [(Event, ActorKind)],
    /// The rows that its events may set; no event of a worker removes one.
    pub puts: &'static [MayPut],
    /// The kinds of rows that it may read.
    pub kinds: &'static [&'static str],
    /// The personal fields that it may open.
    pub fields: &'static [&'static str],
}

/// A row that a worker's event may set.
#[derive(Clone, Copy, Debug)]
pub struct MayPut {
    /// The event.
    pub event: Event,
    /// The kind of row.
    pub kind: &'static str,
    /// Whether an id and a content are such a row's.
    pub fits: fn(&str, &Value) -> bool,
}

/// In whose name a worker may append an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActorKind {
    /// A principal.
    Principal,
    /// The gateway itself.
    System,
    /// A principal, or nobody yet.
    Anybody,
}

/// Why a worker's link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The worker asked what no worker may: somebody else speaks through it.
    #[error("the worker asked for `{what}`, which no worker may")]
    Forbidden {
        /// A word of ours for what was asked.
        what: &'static str,
    },
    /// The socket failed, or what came is no message.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Keeper {
    /// Answers one worker until it hangs up.
    ///
    /// # Errors
    /// Where the worker asked what it may not, or what is no question. Nothing of that was done.
    pub async fn serve_worker(&self, stream: UnixStream, allowance: Allowance) -> Result<(), LinkError> {
        let (read, write) = stream.into_split();
        let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let writing = tasks.spawn(write_all(write, outgoing));
        tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(pulse(self.clone(), answers.clone())),
        );
        let ended = self.questions(read, answers, allowance, &tasks).await;
        stop.cancel();
        writing.abort();
        tasks.close();
        tasks.wait().await;
        ended
    }

    async fn questions(
        &self,
        read: OwnedReadHalf,
        answers: mpsc::Sender<(u64, Response)>,
        allowance: Allowance,
        tasks: &TaskTracker,
    ) -> Result<(), LinkError> {
        let mut read = BufReader::new(read);
        let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
        while let Some((id, request)) = frame::read_within::<(u64, Request)>(&mut read, QUESTION_MAX).await? {
            let request = self.permitted(request, &allowance)?;
            let Ok(place) = places.clone().acquire_owned().await else {
                return Ok(());
            };
            let (keeper, answers) = (self.clone(), answers.clone());
            tasks.spawn(async move {
                let answer = Box::pin(keeper.answer(request))
                    .await
                    .unwrap_or_else(commit_failed);
                // A worker that is gone waits for nothing.
                let _ = answers.send((id, answer)).await;
                drop(place);
            });
        }
        Ok(())
    }

    fn permitted(&self, request: Request, allowance: &Allowance) -> Result<Request, LinkError> {
        let forbidden = |what| Err(LinkError::Forbidden { what });
        match request {
            Request::Append { record } => Ok(Request::Append {
                record: Box::new(self.stamped(*record, allowance)?),
            }),
            Request::AppendSoon { record } => Ok(Request::AppendSoon {
                record: Box::new(self.stamped(*record, allowance)?),
            }),
            Request::Row { kind, id } if allowance.kinds.contains(&kind.as_str()) => {
                Ok(Request::Row { kind, id })
            }
            Request::Page { kind, after } if allowance.kinds.contains(&kind.as_str()) => {
                Ok(Request::Page { kind, after })
            }
            Request::OpenPersonal {
                subject,
                field,
                personal,
            } if allowance.fields.contains(&field.as_str()) => Ok(Request::OpenPersonal {
                subject,
                field,
                personal,
            }),
            Request::Ping {} | Request::Checkpoint {} | Request::AdmittedSince { .. } => Ok(request),
            Request::Row { .. } | Request::Page { .. } => forbidden("rows"),
            Request::OpenPersonal { .. } => forbidden("open_personal"),
            Request::Commit { .. } => forbidden("commit"),
            Request::Integrated {} => forbidden("integrated"),
            Request::CheckRows {} => forbidden("check_rows"),
            Request::SealPersonal { .. } => forbidden("seal_personal"),
            Request::EraseSubject { .. } => forbidden("erase_subject"),
            Request::WrapKey { .. } => forbidden("wrap_key"),
            Request::UnwrapKey { .. } => forbidden("unwrap_key"),
            Request::Now {} => forbidden("now"),
            Request::Backup { .. } => forbidden("backup"),
        }
    }

    /// The record as it may be appended. Its time is the keeper's: a time far ahead would move the security clock.
    fn stamped(&self, mut record: Record, allowance: &Allowance) -> Result<Record, LinkError> {
        let allowed = allowance.events.iter().find(|(event, _)| *event == record.event);
        let (_, kind) = allowed.ok_or(LinkError::Forbidden { what: "append" })?;
        let fits = match (kind, &record.actor) {
            (ActorKind::Principal | ActorKind::Anybody, Actor::Principal { .. })
            | (ActorKind::Anybody, Actor::Unidentified {})
            | (ActorKind::System, Actor::System {}) => true,
            (ActorKind::Principal, Actor::Unidentified {} | Actor::System {})
            | (ActorKind::Anybody, Actor::System {})
            | (ActorKind::System, Actor::Principal { .. } | Actor::Unidentified {})
            | (_, Actor::Operator { .. }) => false,
        };
        if !fits {
            return Err(LinkError::Forbidden { what: "append as" });
        }
        let may_put = |kind: &str, id: &str, value: &Value| {
            let mut puts = allowance.puts.iter();
            puts.any(|put| put.event == record.event && put.kind == kind && (put.fits)(id, value))
        };
        match record.changes.as_slice() {
            [] => {}
            [Change::Put { kind, id, value }] if may_put(kind, id, value) => {}
            _ => return Err(LinkError::Forbidden { what: "change" }),
        }
        record.time = self.now();
        Ok(record)
    }
}

/// Tells the worker the time, the health and the last change, again and again and at each change.
async fn pulse(keeper: Keeper, answers: mpsc::Sender<(u64, Response)>) {
    let mut changes = keeper.changes();
    loop {
        let pulse = Response::Pulse {
            now: keeper.now(),
            health: keeper.health(),
            changes: *changes.borrow_and_update(),
        };
        if answers.send((0, pulse)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PULSE_EVERY) => {}
            changed = changes.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Writes frames as they come, those that wait in one piece.
pub(super) async fn write_all<T: serde::Serialize + Send + Sync>(
    mut write: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<(u64, T)>,
) {
    const TOGETHER: usize = 64;
    let mut waiting = Vec::new();
    while outgoing.recv_many(&mut waiting, TOGETHER).await > 0 {
        let mut bytes = Vec::new();
        for message in waiting.drain(..) {
            match frame::encode(&message) {
                Ok(frame) => bytes.extend_from_slice(frame.expose()),
                Err(error) => tracing::error!(%error, "a message of the worker's link was not sent"),
            }
        }
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
