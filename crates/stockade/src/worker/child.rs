//! The worker's side: take what the keeper gives, give up the rest, serve.

use std::{
    collections::HashMap,
    io,
    net::TcpListener,
    num::NonZeroUsize,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use stockade_access::{Access, PolicySet};
use stockade_confine::{Allowed, lock_down};
use stockade_serve::{
    Config, Desk, DeskAnswer, DeskLink, DeskQuestion, EngineConfig, EngineKind, Gateway, Given, Listeners,
    Reload,
};
use stockade_store::{Station, WorkerLink};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    channel::{self, Incoming, Outbox},
    words::{Setup, ToKeeper, ToWorker},
};
use crate::{
    failure::{Exit, Failing as _, Failure},
    models,
};

/// How long threads that still work may keep the process after it has drained.
const LAST_THREADS: Duration = Duration::from_secs(1);
/// Questions to the keeper that wait to be sent.
const QUESTIONS_MAX: usize = 64;
/// What a resolver reads, where configuration names hosts.
const RESOLVER: [&str; 7] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/run/systemd/resolve",
    "/run/NetworkManager",
];
const DNS_PORT: u16 = 53;
/// Where systems keep the authorities that they trust.
const AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// What ONNX Runtime reads of the machine.
const MACHINE: [&str; 2] = ["/proc/cpuinfo", "/sys/devices/system/cpu"];

/// Runs the worker until the keeper stops it.
pub(crate) fn run() -> Result<Exit, Failure> {
    stockade_confine::end_with_parent().exit(Exit::Failed)?;
    let socket = inherited().exit(Exit::Failed)?;
    let last_words = socket.try_clone().exit(Exit::Failed)?;
    let Err(failure) = serve(socket) else {
        return Ok(Exit::Fine);
    };
    let failed = ToKeeper::Failed {
        failure: failure.to_json(),
    };
    match channel::tell(last_words, &failed) {
        Ok(()) => Ok(failure.exit),
        Err(_) => Err(failure),
    }
}

/// The socket that this process was started with as its standard input. Nothing else reads it.
fn inherited() -> io::Result<UnixStream> {
    Ok(std::io::stdin().as_fd().try_clone_to_owned()?.into())
}

fn serve(socket: UnixStream) -> Result<(), Failure> {
    let first = channel::receive(&socket).exit(Exit::Failed)?;
    let first = first.ok_or_else(|| Failure::new(Exit::Usage, "the keeper went away"))?;
    let ToWorker::Setup(setup) = first.read().exit(Exit::Failed)? else {
        return Err(Failure::new(Exit::Usage, "`stockade serve` starts workers"));
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let isolation = give_up(&setup)?;
    // From here on threads may start, and foreign bytes may be read.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.get())
        .enable_all()
        .build()
        .exit(Exit::Failed)?;
    let (outbox, inbox) = channel::open(socket).exit(Exit::Failed)?;
    let worker = Worker {
        cores,
        isolation,
        outbox,
        engine: setup.config.engine.clone(),
        given: Given::default(),
        stop: CancellationToken::new(),
    };
    let served = runtime.block_on(Box::pin(worker.serve(*setup, first.descriptors, inbox)));
    runtime.shutdown_timeout(LAST_THREADS);
    served
}

/// Locks this process down, after what must be there before: the engine's library, and the source of randomness.
fn give_up(setup: &Setup) -> Result<Vec<String>, Failure> {
    let engine = setup.config.engine.choice().exit(Exit::Usage)?;
    engine.start().exit(Exit::Failed)?;
    let _: [u8; 32] = stockade_crypto::random_array().exit(Exit::Failed)?;
    let isolation = lock_down(&allowed(&setup.config)).exit(Exit::Failed)?;
    if !isolation.is_whole() {
        if setup.require_isolation {
            return Err(Failure::new(
                Exit::Usage,
                "the kernel lacks what `worker.require_isolation` asks for: Landlock and seccomp",
            )
            .hint("use Linux 5.13 or later with both; `stockade doctor` shows what there is"));
        }
        let has = isolation.names().join(", ");
        tracing::warn!(
            has,
            "the worker is not isolated as it could be: the kernel lacks Landlock or seccomp"
        );
    }
    Ok(isolation.names())
}

/// What a worker with this configuration may still open and connect to.
fn allowed(config: &Config) -> Allowed {
    let mut allowed = Allowed::default();
    let destinations = config.destinations();
    if !destinations.is_empty() {
        allowed.files.extend(AUTHORITIES.map(PathBuf::from));
    }
    if destinations
        .iter()
        .any(|(host, _)| host.parse::<std::net::IpAddr>().is_err())
    {
        allowed.files.extend(RESOLVER.map(PathBuf::from));
        allowed.connect.push(DNS_PORT);
    }
    allowed
        .connect
        .extend(destinations.into_iter().map(|(_, port)| port));
    if let (EngineKind::OnnxRuntime, Some(library)) = (config.engine.kind, &config.engine.library) {
        allowed.files.push(library.clone());
        allowed.files.extend(MACHINE.map(PathBuf::from));
    }
    allowed
}

/// What is the same from the first request to the last.
struct Worker {
    cores: NonZeroUsize,
    isolation: Vec<String>,
    outbox: Outbox,
    engine: EngineConfig,
    given: Given,
    stop: CancellationToken,
}

impl Worker {
    async fn serve(
        self,
        setup: Setup,
        descriptors: Vec<OwnedFd>,
        inbox: mpsc::Receiver<Incoming>,
    ) -> Result<(), Failure> {
        // A signal that reaches every process of a service is for the keeper, which lets requests finish.
        let _deaf = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ]
        .map(signal);
        let mut descriptors = descriptors.into_iter();
        let malformed = || Failure::new(Exit::Failed, "the keeper gave too few descriptors");
        let mut next = || descriptors.next().ok_or_else(malformed);
        let link = UnixStream::from(next()?);
        let sockets = [next()?, next()?, next()?].map(TcpListener::from);
        link.set_nonblocking(true).exit(Exit::Failed)?;
        let link = tokio::net::UnixStream::from_std(link).exit(Exit::Failed)?;
        let link = WorkerLink::open(link).await.exit(Exit::Failed)?;
        let station = Station::Worker(link.clone());
        let reload = self.parts(setup, descriptors.collect())?;
        let access = Access::new(station.handle(), reload.policies)
            .await
            .exit(Exit::Failed)?;
        let listeners = Listeners::of(&reload.config, sockets);
        let (asks, asked) = mpsc::channel(QUESTIONS_MAX);
        let gateway = Gateway::new(
            reload.config,
            Arc::new(access),
            station,
            reload.models,
            Desk::Keeper(DeskLink::new(asks)),
        )
        .exit(Exit::Usage)?;
        let worker = Arc::new(self);
        let tasks = TaskTracker::new();
        let gone = CancellationToken::new();
        tasks.spawn(worker.clone().talk(gateway.clone(), inbox, asked, gone.clone()));
        let bound = gateway
            .bind_to(listeners, worker.isolation.clone())
            .await
            .exit(Exit::Failed)?;
        worker
            .outbox
            .send(&ToKeeper::Ready { bound }, Vec::new())
            .exit(Exit::Failed)?;
        let stop = worker.stop.clone();
        tokio::select! {
            served = gateway.run(stop.cancelled_owned()) => served.exit(Exit::Failed),
            () = link.ended() => Err(Failure::new(Exit::Failed, "the keeper went away")),
            () = gone.cancelled() => Err(Failure::new(Exit::Failed, "the keeper went away")),
        }
    }

    /// Listens to the keeper, and carries the gateway's questions to it.
    async fn talk(
        self: Arc<Self>,
        gateway: Gateway,
        mut inbox: mpsc::Receiver<Incoming>,
        mut asked: mpsc::Receiver<DeskQuestion>,
        gone: CancellationToken,
    ) {
        let mut waiting: HashMap<u64, oneshot::Sender<DeskAnswer>> = HashMap::new();
        let mut next = 0;
        let _gone = gone.drop_guard();
        let reloads = TaskTracker::new();
        loop {
            tokio::select! {
                question = asked.recv() => {
                    let Some(DeskQuestion { ask, answer }) = question else { return };
                    next += 1;
                    waiting.insert(next, answer);
                    if self.outbox.send(&ToKeeper::Ask { id: next, ask }, Vec::new()).is_err() {
                        return;
                    }
                }
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    match message.read() {
                        Ok(ToWorker::Answer { id, answer }) => {
                            // Whoever asked may have stopped waiting.
                            let _ = waiting.remove(&id).map(|asked| asked.send(answer));
                        }
                        Ok(ToWorker::Contents { contents }) => self.given.replace(contents),
                        Ok(ToWorker::Stop {}) => self.stop.cancel(),
                        Ok(ToWorker::Reload(setup)) => {
                            let (worker, gateway) = (self.clone(), gateway.clone());
                            reloads.spawn(async move { worker.reload(&gateway, *setup, message.descriptors).await });
                        }
                        Ok(ToWorker::RefuseReload { reason }) => {
                            let gateway = gateway.clone();
                            reloads.spawn(async move { gateway.refuse_reload(&reason).await });
                        }
                        Ok(ToWorker::Setup(_)) | Err(_) => return,
                    }
                }
            }
        }
    }

    async fn reload(&self, gateway: &Gateway, setup: Setup, descriptors: Vec<OwnedFd>) {
        let problem = match self.parts(setup, descriptors) {
            Ok(parts) => gateway.reload(parts).await.err().map(|error| error.to_string()),
            Err(failure) => {
                let reason = failure.to_string();
                gateway.refuse_reload(&reason).await;
                Some(reason)
            }
        };
        if let Err(error) = self.outbox.send(&ToKeeper::Reloaded { problem }, Vec::new()) {
            tracing::error!(%error, "the keeper was not told how the reload ended");
        }
    }

    /// What was given, read and loaded.
    fn parts(&self, setup: Setup, descriptors: Vec<OwnedFd>) -> Result<Reload, Failure> {
        let Setup {
            mut config,
            policies,
            contents,
            artifacts,
            watch_secret,
            require_isolation: _,
            needs_restart,
        } = setup;
        self.given.replace(contents);
        // A locked process cannot see how many cores it may use.
        config.limits.workers.get_or_insert(self.cores);
        let models = models::load_held(artifacts, descriptors, &self.engine, watch_secret.0)?;
        Ok(Reload {
            config: config.reading_from(&self.given),
            policies: PolicySet::parse(&policies).exit(Exit::Usage)?,
            models,
            needs_restart,
        })
    }
}
