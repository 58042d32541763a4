//! A worker's end of its link: many questions at once, answered as each is done, and what the keeper tells unasked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use stockade_evidence::Timestamp;
use tokio::{
    io::BufReader,
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ControlError, frame,
    message::{Request, Response},
    worker::write_all,
};
use crate::keeper::Health;

/// Questions that wait to be written.
const QUESTIONS_MAX: usize = 1024;

/// What the keeper says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    pub(crate) now: Timestamp,
    pub(crate) health: Health,
    /// See [`crate::Keeper::changes`].
    pub(crate) changes: u64,
}

/// The connection. It ends when the last question's sender is dropped, or the keeper hangs up.
#[derive(Debug)]
pub(crate) struct Pipe {
    questions: mpsc::Sender<(u64, Request)>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    _tasks: TaskTracker,
}

/// Who waits for which answer; nobody any more once the connection has ended.
#[derive(Debug, Default)]
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Response>>>>);

impl Pipe {
    /// Starts to read and write. `told` gets what the keeper says unasked, `ended` is cancelled when it hangs up.
    pub(crate) fn open(
        stream: UnixStream,
        told: watch::Sender<Option<Pulse>>,
        ended: CancellationToken,
    ) -> Self {
        let (read, write) = stream.into_split();
        let (questions, outgoing) = mpsc::channel(QUESTIONS_MAX);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let tasks = TaskTracker::new();
        tasks.spawn(write_all(write, outgoing));
        let answering = waiting.clone();
        tasks.spawn(async move {
            if let Err(error) = answers(read, &answering, &told).await {
                tracing::error!(%error, "the link to the keeper failed");
            }
            answering.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            ended.cancel();
        });
        Self {
            questions,
            waiting,
            // 0 is what nobody asked for.
            next: AtomicU64::new(1),
            _tasks: tasks,
        }
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Response, ControlError> {
        let gone = || ControlError::Io(std::io::ErrorKind::NotConnected.into());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let place = self.waiting.place(id, answer).ok_or_else(gone)?;
        self.questions.send((id, request)).await.map_err(|_| gone())?;
        let answer = answered.await.map_err(|_| gone());
        drop(place);
        answer
    }
}

impl Waiting {
    fn place(&self, id: u64, answer: oneshot::Sender<Response>) -> Option<Place<'_>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut()?.insert(id, answer);
        Some(Place { waiting: self, id })
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Response>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut()?.remove(&id)
    }
}

/// A question's place, given back when whoever asked no longer waits.
struct Place<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.take(self.id);
    }
}

async fn answers(
    read: OwnedReadHalf,
    waiting: &Waiting,
    told: &watch::Sender<Option<Pulse>>,
) -> Result<(), ControlError> {
    let mut read = BufReader::new(read);
    while let Some((id, response)) = frame::read::<(u64, Response)>(&mut read).await? {
        match response {
            Response::Pulse { now, health, changes } => {
                told.send_replace(Some(Pulse { now, health, changes }));
            }
            response => {
                if let Some(asked) = waiting.take(id) {
                    // Whoever asked may have stopped waiting meanwhile.
                    let _ = asked.send(response);
                }
            }
        }
    }
    Ok(())
}
