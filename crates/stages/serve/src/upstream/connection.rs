//! Connections to one replica, kept and used again: HTTP/1.1 one request at a time, HTTP/2 many.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{
    failure::Failure,
    io::{Heard, Listening},
    request::Answer,
};
use crate::config::BaseUrl;

type Sent = Request<Full<Bytes>>;

/// An idle connection older than this is not used again: servers close theirs after 5 s (uvicorn) or later, and a
/// request that meets the close is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for one replica.
const MOST_IDLE: usize = 64;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// Where connections go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: BaseUrl,
    /// The name that its certificate must have, and what to hold it against.
    pub(super) tls: Option<(ServerName<'static>, TlsConnector)>,
    pub(super) http2: bool,
    pub(super) connect_timeout: Duration,
    pub(super) max_response_bytes: usize,
}

/// The connections to one replica.
pub(super) struct Connections {
    target: Target,
    idle: Mutex<Vec<Idle>>,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
    tasks: TaskTracker,
}

struct Idle {
    connection: OverHttp1,
    since: Instant,
}

struct OverHttp1 {
    sender: http1::SendRequest<Full<Bytes>>,
    heard: Heard,
}

impl Connections {
    pub(super) fn new(target: Target, tasks: TaskTracker) -> Self {
        Self {
            target,
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            tasks,
        }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn exchange(&self, request: Sent) -> Result<Answer, Failure> {
        if self.target.http2 {
            self.over_http2(request).await
        } else {
            self.over_http1(request).await
        }
    }

    async fn over_http1(&self, mut request: Sent) -> Result<Answer, Failure> {
        loop {
            let (mut connection, is_fresh) = match self.take_idle() {
                Some(connection) => (connection, false),
                None => (self.open_http1().await?, true),
            };
            if connection.sender.ready().await.is_err() {
                if is_fresh {
                    return Err(Failure::NotSent);
                }
                continue;
            }
            connection.heard.clear();
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let answer = self.whole(response).await?;
                    self.keep(connection);
                    return Ok(answer);
                }
                // A connection that was closed before anything of the request left.
                Err(error) => match unsent(error, &connection.heard) {
                    Ok(unsent) if !is_fresh => request = unsent,
                    Ok(_) => return Err(Failure::NotSent),
                    Err(failure) => return Err(failure),
                },
            }
        }
    }

    async fn over_http2(&self, request: Sent) -> Result<Answer, Failure> {
        let mut sender = self.shared_http2().await?;
        sender.ready().await.map_err(|_| Failure::NotSent)?;
        // One connection carries many answers: whether bytes of this one came in, the missing head tells.
        let sent = sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(_) => Failure::NotSent,
            None => Failure::Unanswered,
        })?;
        self.whole(response).await
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = response.into_parts();
        let most = self.target.max_response_bytes;
        let declared = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if declared.is_some_and(|length: u64| length > most as u64) {
            return Err(Failure::TooLarge);
        }
        let collected = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::TooLarge
            } else {
                Failure::Broken
            }
        })?;
        let status_of = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        let grpc_status = collected
            .trailers()
            .and_then(status_of)
            .or_else(|| status_of(&head.headers));
        let json_length = head.headers.get("inference-header-content-length");
        Ok(Answer {
            status: head.status.as_u16(),
            json_length: json_length.map(|length| length.to_str().ok()?.parse().ok()),
            grpc_status,
            body: collected.to_bytes(),
        })
    }

    fn take_idle(&self) -> Option<OverHttp1> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_MAX && !idle.connection.sender.is_closed());
        idle.pop().map(|idle| idle.connection)
    }

    fn keep(&self, connection: OverHttp1) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE && !connection.sender.is_closed() {
            let since = Instant::now();
            idle.push(Idle { connection, since });
        }
    }

    async fn open_http1(&self) -> Result<OverHttp1, Failure> {
        let heard = Heard::default();
        // Boxed: a handshake is rare, and its state would be part of every request's.
        let opening = Box::pin(async {
            let tcp = tcp(&self.target.url).await?;
            match &self.target.tls {
                Some((name, connector)) => {
                    let stream = connector.connect(name.clone(), tcp).await?;
                    self.http1(stream, heard.clone()).await
                }
                None => self.http1(tcp, heard.clone()).await,
            }
        });
        let sender = self.within(opening).await?;
        Ok(OverHttp1 { sender, heard })
    }

    async fn http1<S>(&self, stream: S, heard: Heard) -> io::Result<http1::SendRequest<Full<Bytes>>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(Listening::new(stream, heard));
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            // How it ended, whoever asked something over it knows.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn shared_http2(&self) -> Result<http2::SendRequest<Full<Bytes>>, Failure> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let opening = Box::pin(async {
            let tcp = tcp(&self.target.url).await?;
            match &self.target.tls {
                Some((name, connector)) => {
                    let stream = connector.connect(name.clone(), tcp).await?;
                    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                        return Err(io::Error::other("the server does not speak HTTP/2"));
                    }
                    self.http2(stream).await
                }
                None => self.http2(tcp).await,
            }
        });
        let sender = self.within(opening).await?;
        *shared = Some(sender.clone());
        Ok(sender)
    }

    async fn http2<S>(&self, stream: S) -> io::Result<http2::SendRequest<Full<Bytes>>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn within<T>(&self, opening: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        let url = &self.target.url;
        match timeout(self.target.connect_timeout, opening).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => {
                tracing::warn!(phase = "forward", %url, %error, "a model server cannot be connected to");
                Err(Failure::NotSent)
            }
            Err(_) => {
                tracing::warn!(phase = "forward", %url, "a model server does not take a connection in time");
                Err(Failure::NotSent)
            }
        }
    }
}

async fn tcp(url: &BaseUrl) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((url.host(), url.port())).await?;
    // `localhost` is whatever the resolver says.
    if !url.is_tls() && !stream.peer_addr()?.ip().is_loopback() {
        return Err(io::Error::other("plaintext goes to this machine alone"));
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The request, where nothing of it left.
fn unsent(mut error: TrySendError<Sent>, heard: &Heard) -> Result<Sent, Failure> {
    match error.take_message() {
        Some(request) => Ok(request),
        None if heard.anything() => Err(Failure::Broken),
        None => Err(Failure::Unanswered),
    }
}
