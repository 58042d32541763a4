//! The keeper's side: start a worker, give it what it needs, answer it, and put another in its place when it dies.
//!
//! INVARIANT: one worker serves at a time, and the listeners stay open in this process until the last one is told to stop.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};

use stockade_access::{Access, PolicySet};
use stockade_artifact::Vault;
use stockade_crypto::random_array;
use stockade_evidence::{Actor, Event, Record, RecordId, Subject, SubjectKind};
use stockade_serve::{Bound, DeskAsk, KeeperDesk, Listeners, WORKER_ALLOWANCE};
use stockade_store::{Handle, Keeper, LinkError, Secret};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    channel::{self, Incoming, Outbox},
    parts::Parts,
    process,
    words::{Setup, ToKeeper, ToWorker},
};
use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    models,
    project::Project,
};

/// The secret that the watches over queries hide their choices under.
const WATCH: &str = "query watch";
/// How often files and variables of the configuration are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Workers that may end within [`WINDOW`] before the server gives up.
const LOSSES_MAX: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);
/// The wait before the second new worker of a window; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How long a worker may take to end beyond the time in which it drains.
const LAST_MOMENTS: Duration = Duration::from_secs(30);

/// A reload to be made, and who waits for how it ends.
#[derive(Debug)]
pub(crate) struct Reloading {
    /// The new parts, or why they could not be read.
    pub(crate) parts: Result<Parts, String>,
    pub(crate) ended: oneshot::Sender<Result<(), String>>,
}

/// What starts workers and answers them.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    global: &'a Global,
    keeper: Keeper,
    vault: Vault,
    access: Arc<Access>,
    desk: Arc<KeeperDesk>,
    listeners: Option<Listeners>,
    parts: Parts,
    tasks: TaskTracker,
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    outbox: Outbox,
    inbox: mpsc::Receiver<Incoming>,
    /// What it asked that no worker may.
    unlinked: mpsc::Receiver<String>,
    contents: [u8; 32],
    since: Instant,
}

/// What a worker says, or what becomes of it.
#[derive(Debug)]
enum Said {
    Ready(Bound),
    Failed(Failure),
    Reloaded(Option<String>),
    Lost(String),
}

/// How a worker's time ended.
#[derive(Debug)]
enum Ended {
    Stopped,
    Lost(String),
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        global: &'a Global,
        project: &Project,
        keeper: Keeper,
        access: Arc<Access>,
        parts: Parts,
        listeners: Listeners,
    ) -> Result<Self, Failure> {
        let vault = project.vault(&Handle::Local(keeper.clone()))?;
        Ok(Self {
            global,
            desk: Arc::new(KeeperDesk::new(keeper.clone(), access.clone())),
            keeper,
            vault,
            access,
            listeners: Some(listeners),
            parts,
            tasks: TaskTracker::new(),
        })
    }

    /// Starts a worker and waits until it serves.
    pub(crate) async fn start(&self) -> Result<(Worker, Bound), Failure> {
        let (child, socket) = process::start(self.global)?;
        let mut worker = self.set_up(child, socket).await?;
        let failure = match self.listen(&mut worker).await {
            Said::Ready(bound) => return Ok((worker, bound)),
            Said::Failed(failure) => failure,
            Said::Lost(how) => {
                Failure::new(Exit::Failed, format!("the worker ended before it served: {how}"))
            }
            Said::Reloaded(_) => Failure::new(Exit::Failed, "the worker spoke out of turn"),
        };
        worker.end();
        Err(failure)
    }

    /// Serves until `shutdown`, with one worker after another.
    pub(crate) async fn run(
        mut self,
        mut worker: Worker,
        mut reloads: mpsc::Receiver<Reloading>,
        shutdown: CancellationToken,
    ) -> Result<(), Failure> {
        let mut losses = VecDeque::new();
        loop {
            match self.attend(&mut worker, &mut reloads, &shutdown).await? {
                Ended::Stopped => break,
                Ended::Lost(how) => self.record_loss(&worker, &how).await,
            }
            let next = shutdown
                .clone()
                .run_until_cancelled_owned(self.another(&mut losses))
                .await;
            match next {
                Some(next) => worker = next?,
                None => break,
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }

    /// Another worker, at once after a first loss and later after each further one, until there were too many.
    async fn another(&self, losses: &mut VecDeque<Instant>) -> Result<Worker, Failure> {
        loop {
            losses.push_back(Instant::now());
            losses.retain(|lost| lost.elapsed() < WINDOW);
            let before = u32::try_from(losses.len().saturating_sub(1)).unwrap_or(u32::MAX);
            if losses.len() > LOSSES_MAX {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{} workers ended within {} s", losses.len(), WINDOW.as_secs()),
                )
                .hint("the log's `worker.lost` records and standard error say how"));
            }
            if let Some(doubled) = before.checked_sub(1) {
                tokio::time::sleep(FIRST_WAIT.saturating_mul(2u32.saturating_pow(doubled))).await;
            }
            match self.start().await {
                Ok((worker, _)) => return Ok(worker),
                Err(failure) => tracing::error!(%failure, "a worker did not start"),
            }
        }
    }

    async fn set_up(&self, child: Child, socket: std::os::unix::net::UnixStream) -> Result<Worker, Failure> {
        let mut starting = Starting(Some(child));
        let (outbox, inbox) = channel::open(socket).exit(Exit::Failed)?;
        let (near, far) = std::os::unix::net::UnixStream::pair().exit(Exit::Failed)?;
        let (ended, unlinked) = mpsc::channel(1);
        self.link(near, ended)?;
        let listeners = self.listeners.as_ref().ok_or_else(stopping)?;
        self.desk.serve_hosts(listeners);
        let mut descriptors = vec![OwnedFd::from(far)];
        for socket in listeners.sockets() {
            descriptors.push(socket.try_clone().exit(Exit::Failed)?.into());
        }
        let (setup, contents) = self.setup(&self.parts, &mut descriptors).await?;
        outbox
            .send(&ToWorker::Setup(Box::new(setup)), descriptors)
            .exit(Exit::Failed)?;
        let child = starting.0.take().ok_or_else(stopping)?;
        Ok(Worker {
            child,
            outbox,
            inbox,
            unlinked,
            contents,
            since: Instant::now(),
        })
    }

    /// Serves the worker's link to the log and the rows.
    fn link(&self, near: std::os::unix::net::UnixStream, ended: mpsc::Sender<String>) -> Result<(), Failure> {
        near.set_nonblocking(true).exit(Exit::Failed)?;
        let near = UnixStream::from_std(near).exit(Exit::Failed)?;
        let keeper = self.keeper.clone();
        self.tasks.spawn(async move {
            match keeper.serve_worker(near, WORKER_ALLOWANCE).await {
                Err(error @ LinkError::Forbidden { .. }) => {
                    // Nobody listens any more where the worker has ended.
                    let _ = ended.send(error.to_string()).await;
                }
                // It has ended, or will when it finds the link gone; how, its socket's end tells.
                Err(LinkError::Control(error)) => tracing::debug!(%error, "a worker's link failed"),
                Ok(()) => {}
            }
        });
        Ok(())
    }

    /// What a worker is given; the artifacts' descriptors are added to `descriptors`.
    async fn setup(
        &self,
        parts: &Parts,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<(Setup, [u8; 32]), Failure> {
        let held = models::hold(&self.vault, &parts.config.models).await?;
        let watch_secret = self.keeper.keys().derived_secret(WATCH).exit(Exit::Failed)?;
        let contents = parts.config.contents();
        let digest = contents.digest();
        let mut artifacts = Vec::new();
        for (head, memory) in held {
            artifacts.push(head);
            descriptors.push(memory);
        }
        let setup = Setup {
            config: parts.config.clone(),
            policies: parts.policies.clone(),
            contents,
            artifacts,
            watch_secret: Secret(watch_secret),
            require_isolation: parts.require_isolation,
            needs_restart: parts.needs_restart.clone(),
        };
        Ok((setup, digest))
    }

    /// The next thing to know of a worker; its questions are answered meanwhile.
    async fn listen(&self, worker: &mut Worker) -> Said {
        loop {
            let message = tokio::select! {
                message = worker.inbox.recv() => message,
                Some(why) = worker.unlinked.recv() => {
                    worker.end();
                    return Said::Lost(why);
                }
            };
            let Some(message) = message else {
                return Said::Lost(worker.end());
            };
            match message.read() {
                Ok(ToKeeper::Ready { bound }) => return Said::Ready(bound),
                Ok(ToKeeper::Failed { failure }) => return Said::Failed(Failure::from_json(&failure)),
                Ok(ToKeeper::Reloaded { problem }) => return Said::Reloaded(problem),
                Ok(ToKeeper::Ask { id, ask }) => self.answer(worker, id, ask),
                Err(error) => {
                    worker.end();
                    return Said::Lost(format!("it said what no worker says: {error}"));
                }
            }
        }
    }

    fn answer(&self, worker: &Worker, id: u64, ask: DeskAsk) {
        let (desk, outbox) = (self.desk.clone(), worker.outbox.clone());
        self.tasks.spawn(async move {
            let answer = desk.answer(ask).await;
            // A worker that is gone waits for nothing.
            let _ = outbox.send(&ToWorker::Answer { id, answer }, Vec::new());
        });
    }

    /// Attends to a worker until it ends, or `shutdown` has it stop.
    async fn attend(
        &mut self,
        worker: &mut Worker,
        reloads: &mut mpsc::Receiver<Reloading>,
        shutdown: &CancellationToken,
    ) -> Result<Ended, Failure> {
        let mut looking = tokio::time::interval(LOOK_EVERY);
        let mut reloading: Option<(Parts, oneshot::Sender<Result<(), String>>)> = None;
        loop {
            let said = tokio::select! {
                () = shutdown.cancelled() => return self.stop(worker).await,
                said = self.listen(worker) => said,
                asked = reloads.recv(), if reloading.is_none() => {
                    if let Some(asked) = asked {
                        reloading = self.begin_reload(worker, asked).await;
                    }
                    continue;
                }
                _ = looking.tick() => {
                    self.look(worker);
                    continue;
                }
            };
            match said {
                Said::Lost(how) => return Ok(Ended::Lost(how)),
                Said::Failed(failure) => {
                    worker.end();
                    return Ok(Ended::Lost(failure.to_string()));
                }
                Said::Reloaded(problem) => {
                    if let Some((parts, ended)) = reloading.take() {
                        let _ = ended.send(self.reloaded(parts, problem));
                    }
                }
                Said::Ready(_) => {}
            }
        }
    }

    /// Hands the new parts over. Those that wait are returned.
    async fn begin_reload(
        &mut self,
        worker: &mut Worker,
        Reloading { parts, ended }: Reloading,
    ) -> Option<(Parts, oneshot::Sender<Result<(), String>>)> {
        let parts = match parts {
            Ok(parts) if !self.parts.reach(&parts) => {
                let _ = ended.send(self.replace(worker, parts).await);
                return None;
            }
            parts => parts,
        };
        let mut descriptors = Vec::new();
        let prepared = match parts {
            Ok(parts) => match self.setup(&parts, &mut descriptors).await {
                Ok((setup, _)) => Ok((parts, setup)),
                Err(failure) => Err(failure.to_string()),
            },
            Err(reason) => Err(reason),
        };
        let sent = match prepared {
            Ok((parts, setup)) => {
                let reload = ToWorker::Reload(Box::new(setup));
                match worker.outbox.send(&reload, descriptors) {
                    Ok(()) => return Some((parts, ended)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(reason) => {
                let refuse = ToWorker::RefuseReload {
                    reason: reason.clone(),
                };
                // A worker that is gone is replaced, and another serves the old parts.
                let _ = worker.outbox.send(&refuse, Vec::new());
                Err(reason)
            }
        };
        let _ = ended.send(sent);
        None
    }

    fn reloaded(&mut self, parts: Parts, problem: Option<String>) -> Result<(), String> {
        if let Some(problem) = problem {
            return Err(problem);
        }
        let policies = PolicySet::parse(&parts.policies).map_err(|error| error.to_string())?;
        self.access.replace_policies(policies);
        self.parts = parts.on_ports_of(&self.parts.config);
        Ok(())
    }

    /// Puts another worker in the place of one that could not reach what new parts name: it gave that up. Both serve until
    /// the former has finished.
    async fn replace(&mut self, worker: &mut Worker, parts: Parts) -> Result<(), String> {
        let policies = PolicySet::parse(&parts.policies).map_err(|error| error.to_string())?;
        let parts = parts.on_ports_of(&self.parts.config);
        let digest = policies.digest().to_string();
        let old = std::mem::replace(&mut self.parts, parts);
        match self.start().await {
            Ok((new, _)) => {
                let mut former = std::mem::replace(worker, new);
                self.access.replace_policies(policies);
                self.tasks.spawn(async move {
                    let _ = former.outbox.send(&ToWorker::Stop {}, Vec::new());
                    while former.inbox.recv().await.is_some() {}
                    former.end();
                });
                let event = Event::ConfigReloaded;
                self.record(event, |record| {
                    record.with("policies", digest).with("worker", "replaced")
                })
                .await;
                Ok(())
            }
            Err(failure) => {
                self.parts = old;
                let reason = failure.to_string();
                let refuse = ToWorker::RefuseReload {
                    reason: reason.clone(),
                };
                let _ = worker.outbox.send(&refuse, Vec::new());
                Err(reason)
            }
        }
    }

    /// Gives the worker the files and variables that changed.
    fn look(&self, worker: &mut Worker) {
        let contents = self.parts.config.contents();
        let digest = contents.digest();
        if digest != worker.contents
            && worker
                .outbox
                .send(&ToWorker::Contents { contents }, Vec::new())
                .is_ok()
        {
            worker.contents = digest;
        }
    }

    /// Has the worker finish what is in flight. Nothing new is taken: the listeners close here as they do there.
    async fn stop(&mut self, worker: &mut Worker) -> Result<Ended, Failure> {
        self.listeners = None;
        let within = self.parts.config.timeouts.drain_ms.get() + LAST_MOMENTS;
        // Where it is gone already, listening says so.
        let _ = worker.outbox.send(&ToWorker::Stop {}, Vec::new());
        let finished = async {
            loop {
                match self.listen(worker).await {
                    Said::Lost(how) if how == FINE => return Ok(Ended::Stopped),
                    Said::Lost(how) => return Ok(Ended::Lost(how)),
                    Said::Failed(failure) => return Err(failure),
                    Said::Ready(_) | Said::Reloaded(_) => {}
                }
            }
        };
        match tokio::time::timeout(within, finished).await {
            Ok(ended) => ended,
            Err(_) => {
                worker.end();
                Ok(Ended::Lost("it did not end when it was told to".to_owned()))
            }
        }
    }

    async fn record_loss(&self, worker: &Worker, how: &str) {
        tracing::error!(how, "the worker ended; another takes its place");
        let lived = u64::try_from(worker.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record(Event::WorkerLost, |record| {
            record.with("how", how).with("lived_ms", lived)
        })
        .await;
    }

    async fn record(&self, event: Event, fill: impl FnOnce(Record) -> Record) {
        let Ok(id) = random_array().map(RecordId::new) else {
            return;
        };
        let record = Record::new(self.keeper.now(), id, event, Actor::System {});
        let record = fill(record.about(Subject::new(SubjectKind::Server, "gateway")));
        if let Err(error) = self.keeper.append(record).await {
            tracing::error!(%error, event = event.name(), "that could not be recorded");
        }
    }
}

/// How long a worker may live on after it hung up.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How a worker that finished ended.
const FINE: &str = "exit status: 0";

impl Worker {
    /// Ends it, if it has not ended; says how it did.
    fn end(&mut self) -> String {
        // What hung up is about to end by itself.
        let patience = if self.inbox.is_closed() {
            LAST_BREATH
        } else {
            Duration::ZERO
        };
        let status = tokio::task::block_in_place(|| {
            let until = Instant::now() + patience;
            while self.child.try_wait()?.is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
            // What has ended cannot be killed.
            let _ = self.child.kill();
            self.child.wait()
        });
        status.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

/// A child that nobody waits for yet; ended where it cannot be set up.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn stopping() -> Failure {
    Failure::new(Exit::Failed, "the server stops")
}
