//! A client: TLS 1.3 with the local authority as its only root, HTTP/1.1 or HTTP/2.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::authority::Certified;

/// Where to connect and whom to trust.
#[derive(Clone)]
pub(crate) struct Client {
    address: String,
    host: String,
    tls: bool,
    authority: Vec<u8>,
    certificate: Option<Certified>,
}

/// One HTTP/1.1 connection.
pub(crate) struct Connection {
    sender: conn::http1::SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

/// What came back of a call.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) headers: HeaderMap,
    pub(crate) message: Option<Bytes>,
    pub(crate) trailers: HeaderMap,
}

impl Called {
    /// The status, and the error code beside it.
    pub(crate) fn refusal(&self) -> (u8, String) {
        let text = |name: &str| self.headers[name].to_str().unwrap().to_owned();
        assert!(self.message.is_none() && self.trailers.is_empty(), "{self:?}");
        assert!(!text("grpc-message").is_empty());
        (text("grpc-status").parse().unwrap(), text("error-code"))
    }

    /// The message of a call that went well.
    pub(crate) fn message(&self) -> Bytes {
        assert_eq!(self.trailers["grpc-status"], "0", "{self:?}");
        self.message.clone().unwrap()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The status and the error code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["request_id"], self.headers["x-request-id"].to_str().unwrap());
        (self.status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The elements of the only output.
    pub(crate) fn scores(&self) -> Vec<f64> {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        assert_eq!(body["outputs"].as_array().unwrap().len(), 1, "{body}");
        body["outputs"][0]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|score| score.as_f64().unwrap())
            .collect()
    }
}

impl Client {
    pub(crate) fn new(url: &str, authority: &[u8]) -> Self {
        let uri: Uri = url.parse().unwrap();
        Self {
            address: uri.authority().unwrap().to_string(),
            host: uri.host().unwrap().to_owned(),
            tls: uri.scheme_str() == Some("https"),
            authority: authority.to_vec(),
            certificate: None,
        }
    }

    /// The same client with a certificate of its own.
    pub(crate) fn with_certificate(&self, certificate: &Certified) -> Self {
        Self {
            certificate: Some(certificate.clone()),
            ..self.clone()
        }
    }

    /// The same client, which trusts another authority.
    pub(crate) fn trusting(&self, authority: &[u8]) -> Self {
        Self {
            authority: authority.to_vec(),
            ..self.clone()
        }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// A TLS stream, or why there is none.
    pub(crate) async fn tls(
        &self,
        alpn: &[u8],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone().into()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            Some(own) => builder
                .with_client_auth_cert(own.chain(), own.private_key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(self.host.clone()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, self.tcp().await)
            .await
    }

    pub(crate) async fn connect(&self) -> Connection {
        if self.tls {
            let stream = self.tls(b"http/1.1", &[&rustls::version::TLS13]).await.unwrap();
            Connection::over(stream).await
        } else {
            Connection::over(self.tcp().await).await
        }
    }

    pub(crate) async fn get(&self, path: &str, key: Option<&str>) -> Reply {
        self.connect().await.send("GET", path, key, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.connect()
            .await
            .send("POST", path, Some(key), body.to_string().into())
            .await
    }

    pub(crate) async fn infer(&self, key: &str, body: &Value) -> Reply {
        self.post("/v2/models/digits/infer", key, body).await
    }

    /// An HTTP/2 connection, which lives as long as its tasks.
    async fn http2<B>(&self) -> (conn::http2::SendRequest<B>, JoinSet<()>)
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.tls(b"h2", &[&rustls::version::TLS13]).await.unwrap();
        let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        (sender, tasks)
    }

    fn call_to(&self, path: &str, key: Option<&str>, body: Bytes) -> Request<Full<Bytes>> {
        let url = format!("https://{}{path}", self.address);
        let mut request = request("POST", &url, key, body);
        request
            .headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        request
    }

    /// One call on a connection of its own: `body` is the message in its frame.
    pub(crate) async fn call(
        &self,
        path: &str,
        key: Option<&str>,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Called {
        let (mut sender, _tasks) = self.http2().await;
        let mut request = self.call_to(path, key, body.into());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        assert_eq!(
            (parts.status.as_u16(), parts.headers["x-request-id"].len()),
            (200, 32)
        );
        assert_eq!(parts.headers["content-type"], "application/grpc");
        let message = (!body.is_empty()).then(|| stockade_protocol::grpc::unframe(body).unwrap());
        Called {
            headers: parts.headers,
            message,
            trailers,
        }
    }

    /// A call whose message does not come, until it is dropped.
    pub(crate) async fn stuck_call(&self, path: &str, key: &str) -> JoinSet<()> {
        let (mut sender, mut tasks) = self.http2().await;
        let request = self.call_to(path, Some(key), Bytes::new());
        let never = futures::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
        let request = request.map(|_| StreamBody::new(never));
        tasks.spawn(async move {
            let _ = sender.send_request(request).await;
        });
        tasks
    }

    /// One request on an HTTP/2 connection of its own. The body goes out in two pieces with a pause between them; how
    /// many of its bytes had left when the answer came is returned with it.
    pub(crate) async fn over_http2(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> (Reply, usize) {
        let (mut sender, _tasks) = self.http2().await;
        let url = format!("https://{}{path}", self.address);
        let (parts, ()) = request(method, &url, key, Bytes::new()).map(drop).into_parts();
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = sent.clone();
        let half = body.len() / 2;
        let pieces = [body.slice(..half), body.slice(half..)].into_iter();
        let pieces = futures::stream::iter(pieces.filter(|piece| !piece.is_empty())).then(move |piece| {
            let sending = sending.clone();
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                sending.fetch_add(piece.len(), Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(Frame::data(piece))
            }
        });
        let body = BodyExt::boxed(StreamBody::new(Box::pin(pieces)));
        let request = Request::from_parts(parts, body);
        let reply = collect(sender.send_request(request).await.unwrap()).await;
        (reply, sent.load(Ordering::Relaxed))
    }
}

impl Connection {
    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, _task: task }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, key: Option<&str>, body: Bytes) -> Reply {
        self.request(request(method, path, key, body)).await
    }

    /// A request without a body; `None` where the connection does not live.
    pub(crate) async fn try_send(&mut self, method: &str, path: &str, key: Option<&str>) -> Option<Reply> {
        self.sender.ready().await.ok()?;
        let request = request(method, path, key, Bytes::new());
        Some(collect(self.sender.send_request(request).await.ok()?).await)
    }

    pub(crate) async fn request(&mut self, request: Request<Full<Bytes>>) -> Reply {
        self.sender.ready().await.unwrap();
        collect(self.sender.send_request(request).await.unwrap()).await
    }
}

/// A request with a bearer key.
pub(crate) fn request(method: &str, path: &str, key: Option<&str>, body: Bytes) -> Request<Full<Bytes>> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gateway");
    if let Some(key) = key {
        builder = builder.header("authorization", format!("Bearer {key}"));
    }
    builder.body(Full::new(body)).unwrap()
}

async fn collect(response: Response<Incoming>) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert!(parts.headers.get("server").is_none());
    assert_eq!(parts.headers["x-request-id"].len(), 32);
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}
