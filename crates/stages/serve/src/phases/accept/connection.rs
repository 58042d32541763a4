//! One listener's connections: handshake, HTTP/1.1 or HTTP/2 as ALPN says, a watch over idleness and slow heads, and
//! the drain.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    activity::{Activity, State},
    by_hand,
    doors::{Doors, Entered},
};
use crate::{
    answer::Answer,
    config::{Bodies, HTTP_DEFAULT_HEADERS, Timeouts},
    identity::{Clients, Presented},
    merged::{MergedRefusals, Refused},
    snapshot::Live,
    source::Source,
    watched::Watched,
};

/// Time that a connection has to end by itself once it is asked to.
const GOODBYE: Duration = Duration::from_secs(5);
/// Pause after the operating system gave no connection (out of file descriptors, say).
const BREATH: Duration = Duration::from_millis(50);

/// How a listener is protected.
pub(crate) enum Protection {
    /// TLS 1.3; who vouches for client certificates, where they are taken.
    Tls(TlsAcceptor, Option<Arc<Clients>>),
    /// Nothing: loopback only, by explicit and recorded choice.
    DangerousPlaintext,
}

/// What answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        source: Source,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answer> + Send + 'static;
}

/// The connections of one listener.
pub(crate) struct Connections<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) protection: Protection,
    pub(crate) doors: Arc<Doors>,
    pub(crate) live: Arc<Live>,
    pub(crate) merged: Arc<MergedRefusals>,
    /// Every connection and its streams.
    pub(crate) tracker: TaskTracker,
    /// No more connections and requests; finish what runs.
    pub(crate) stop: CancellationToken,
    /// Drop what still runs.
    pub(crate) kill: CancellationToken,
}

/// Why the watch over a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Malformed,
    HeadLate,
    Dropped,
}

/// Where a connection comes from, and the certificate that it brought. Requests carry it in their extensions.
struct Peer {
    source: Source,
    certificate: Option<Arc<Presented>>,
}

impl<H: Handler> Connections<H> {
    /// Accepts until told to stop.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((socket, address)) = accepted else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            let source = Source::new(address.ip());
            match self.doors.enter(source) {
                Ok(entered) => {
                    self.tracker
                        .spawn(self.clone().connection(socket, source, entered));
                }
                Err(reason) => self.refused(reason, source),
            }
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream, source: Source, entered: Entered) {
        let _ = socket.set_nodelay(true);
        let live = self.live.load();
        let (timeouts, bodies) = (&live.config.timeouts, &live.config.bodies);
        let streams = live.config.limits.max_streams.get();
        match &self.protection {
            Protection::DangerousPlaintext => {
                let peer = Peer {
                    source,
                    certificate: None,
                };
                self.http1(socket, peer, timeouts, bodies).await;
            }
            Protection::Tls(acceptor, clients) => {
                let handshake = tokio::time::timeout(timeouts.handshake_ms.get(), acceptor.accept(socket));
                let accepted = tokio::select! {
                    () = self.stop.cancelled() => return,
                    accepted = handshake => accepted,
                };
                match accepted {
                    Err(_) => self.refused("tls_handshake_late", source),
                    Ok(Err(_)) => self.refused("tls_handshake_failed", source),
                    Ok(Ok(stream)) => {
                        let tls = stream.get_ref().1;
                        let present = |clients: &Arc<Clients>| clients.present(tls.peer_certificates());
                        let certificate = clients.as_ref().and_then(present);
                        let peer = Peer { source, certificate };
                        if tls.alpn_protocol() == Some(b"h2") {
                            Box::pin(self.http2(stream, peer, timeouts, bodies, streams)).await;
                        } else {
                            self.http1(stream, peer, timeouts, bodies).await;
                        }
                    }
                }
            }
        }
        drop(entered);
    }

    async fn http1<S>(&self, socket: S, peer: Peer, timeouts: &Timeouts, bodies: &Bodies)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::new());
        let source = peer.source;
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_header_size(head_bytes(bodies));
        // Asking for the number that is there anyway would cost an allocation per request.
        if bodies.max_headers.get() != HTTP_DEFAULT_HEADERS {
            builder.max_headers(bodies.max_headers.get());
        }
        let watched = TokioIo::new(Watched::http1(socket, activity.clone()));
        let mut connection = builder.serve_connection(watched, self.service(peer, activity.clone()));
        let (head, idle) = (timeouts.header_ms.get(), timeouts.idle_ms.get());
        let end = self
            .watch(Pin::new(&mut connection), &activity, Some(head), idle)
            .await;
        let (socket, status) = connection.into_parts().io.into_inner().into_parts();
        let (reason, refusal) = match end {
            End::Closed | End::Dropped => return,
            End::Malformed => ("malformed_http", by_hand::unreadable(status)),
            End::HeadLate => ("slow_head", by_hand::late()),
        };
        self.refused(reason, source);
        let _ = tokio::time::timeout(GOODBYE, by_hand::answer(socket, &refusal)).await;
    }

    async fn http2<S>(&self, socket: S, peer: Peer, timeouts: &Timeouts, bodies: &Bodies, streams: u32)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::new());
        let mut builder = hyper::server::conn::http2::Builder::new(Tracked(self.tracker.clone()));
        let idle = timeouts.idle_ms.get();
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .max_header_list_size(bodies.max_head_bytes.into())
            .keep_alive_interval(idle)
            .keep_alive_timeout(GOODBYE);
        let watched = TokioIo::new(Watched::http2(socket, activity.clone()));
        let connection = builder.serve_connection(watched, self.service(peer, activity.clone()));
        let connection = std::pin::pin!(connection);
        self.watch(connection, &activity, None, idle).await;
    }

    /// Drives a connection until it ends, is late, is idle, or is told to stop.
    async fn watch<C: GracefulConnection<Error = hyper::Error>>(
        &self,
        mut connection: Pin<&mut C>,
        activity: &Activity,
        head: Option<Duration>,
        idle: Duration,
    ) -> End {
        let mut leaving = false;
        loop {
            let wait = match activity.state(head, idle) {
                State::Fine(wait) => wait,
                State::HeadLate => return End::HeadLate,
                State::Idle if leaving => return End::Dropped,
                State::Idle => {
                    connection.as_mut().graceful_shutdown();
                    leaving = true;
                    GOODBYE
                }
            };
            tokio::select! {
                biased;
                ended = connection.as_mut() => return match ended {
                    Err(error) if error.is_parse() => End::Malformed,
                    Ok(()) | Err(_) => End::Closed,
                },
                () = self.kill.cancelled() => return End::Dropped,
                () = self.stop.cancelled(), if !leaving => {
                    connection.as_mut().graceful_shutdown();
                    leaving = true;
                }
                () = tokio::time::sleep(if leaving { wait.min(GOODBYE) } else { wait }) => {
                    if leaving && !activity.is_busy() {
                        return End::Dropped;
                    }
                }
            }
        }
    }

    fn service(
        &self,
        peer: Peer,
        activity: Arc<Activity>,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Answer,
        Error = Infallible,
        Future: Send + 'static,
    > + use<H> {
        let handler = self.handler.clone();
        service_fn(move |mut request: Request<Incoming>| {
            let (handler, activity) = (handler.clone(), activity.clone());
            if let Some(certificate) = &peer.certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            let source = peer.source;
            async move {
                let _in_flight = activity.request();
                Ok(handler.answer(source, request).await)
            }
        })
    }

    fn refused(&self, reason: &'static str, source: Source) {
        tracing::debug!(phase = "accept", reason, "a connection was refused");
        self.merged.count(reason, Refused::From(source.prefix()), 1);
    }
}

fn head_bytes(bodies: &Bodies) -> usize {
    usize::try_from(u32::from(bodies.max_head_bytes)).unwrap_or(usize::MAX)
}

/// Runs the tasks of HTTP/2 streams where the drain waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
