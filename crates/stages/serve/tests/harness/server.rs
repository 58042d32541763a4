//! Another model server, over real sockets, that does right or wrong as it is told: it holds the model `double`, whose
//! output `y` is its input `x` twice.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use stockade_protocol::{
    InferResponse, Parameters, WireData, WireTensor, WireType,
    grpc::{self, Contents, GrpcMethod},
    oip::{self, BodyLimits},
    tfs,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What the server's own text holds, which nobody else may see.
pub(crate) const UPSTREAM_TEXT: &str = "secret-of-the-upstream";

/// What an inference meets.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// The right answer.
    Right,
    /// The right answer, later.
    Slow(Duration),
    /// Half of the right answer, then the connection ends.
    Half,
    /// The beginning of a head, then the connection ends.
    HalfHead,
    /// The connection ends at once.
    Nothing,
    /// These bytes in place of HTTP, then the connection ends.
    Bytes(String),
    /// This body with 200.
    Body(Value),
    /// A body of so many bytes without end in sight.
    Huge(usize),
    /// This status.
    Status(u16),
}

pub(crate) struct State {
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) ready: Mutex<bool>,
    pub(crate) extensions: Mutex<Vec<&'static str>>,
    /// `inputs` and `outputs` as metadata has them.
    pub(crate) tensors: Mutex<(Value, Value)>,
    /// Head and body of each inference.
    pub(crate) inferences: Mutex<Vec<(String, Vec<u8>)>>,
    pub(crate) connections: AtomicUsize,
}

#[derive(Clone)]
pub(crate) enum Speaks {
    Http,
    Grpc,
    Tls(Arc<rustls::ServerConfig>),
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    speaks: Speaks,
    tasks: Option<JoinSet<()>>,
}

impl Server {
    pub(crate) async fn start(speaks: Speaks) -> Self {
        let state = State {
            behaviour: Mutex::new(Behaviour::Right),
            ready: Mutex::new(true),
            extensions: Mutex::new(Vec::new()),
            tensors: Mutex::new((tensor("x", "FP32"), tensor("y", "FP32"))),
            inferences: Mutex::default(),
            connections: AtomicUsize::new(0),
        };
        let mut server = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            state: Arc::new(state),
            speaks,
            tasks: None,
        };
        server.resume().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if matches!(self.speaks, Speaks::Tls(_)) {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// How many inferences came.
    pub(crate) fn count(&self) -> usize {
        self.state.inferences.lock().unwrap().len()
    }

    /// Kills it, with everything that is under way.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut tasks) = self.tasks.take() {
            tasks.shutdown().await;
        }
    }

    /// Listens again, where it did before.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (state, speaks) = (self.state.clone(), self.speaks.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, state.clone(), speaks.clone()));
            }
        });
        self.tasks = Some(tasks);
    }
}

pub(crate) fn tensor(name: &str, datatype: &str) -> Value {
    json!([{"name": name, "datatype": datatype, "shape": [-1, 4]}])
}

async fn serve(stream: TcpStream, state: Arc<State>, speaks: Speaks) {
    match speaks {
        Speaks::Http => serve_http(stream, &state).await,
        Speaks::Tls(config) => {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                serve_http(stream, &state).await;
            }
        }
        Speaks::Grpc => {
            let service = hyper::service::service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, std::convert::Infallible>(answer_grpc(&state, request).await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    }
}

/// HTTP/1.1 by hand, so that it can go wrong anywhere.
async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &State) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let ending = respond(&mut stream, state, &path, &head, body).await;
        if ending.is_none() {
            return;
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    while body.len() < length.unwrap_or(0) {
        (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some((head, body))
}

/// Nothing where the connection is to end.
async fn respond<S: AsyncWrite + Unpin>(
    stream: &mut S,
    state: &State,
    path: &str,
    head: &str,
    body: Vec<u8>,
) -> Option<()> {
    let (status, headers, answer) = match path {
        "/v2/health/ready" => {
            let ready = *state.ready.lock().unwrap();
            (if ready { 200 } else { 503 }, String::new(), b"{}".to_vec())
        }
        "/v2" => {
            let extensions = state.extensions.lock().unwrap().clone();
            let server = json!({"name": "test", "version": "1", "extensions": extensions});
            (200, String::new(), server.to_string().into_bytes())
        }
        "/v2/models/double" => {
            let (inputs, outputs) = state.tensors.lock().unwrap().clone();
            let model = json!({"name": "double", "platform": "", "inputs": inputs, "outputs": outputs});
            (200, String::new(), model.to_string().into_bytes())
        }
        "/v1/models/double/metadata" => (200, String::new(), tfs_metadata()),
        "/v2/models/double/infer" | "/v1/models/double:predict" => {
            let right = if path.starts_with("/v1") {
                (String::new(), double_tfs(&body))
            } else {
                double_oip(head, &body)
            };
            state.inferences.lock().unwrap().push((head.to_owned(), body));
            let behaviour = state.behaviour.lock().unwrap().clone();
            match behaviour {
                Behaviour::Right => (200, right.0, right.1),
                Behaviour::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    (200, right.0, right.1)
                }
                Behaviour::Half => {
                    let whole = http(200, &right.0, &right.1);
                    let half = whole.len() - right.1.len() / 2;
                    stream.write_all(&whole[..half]).await.ok()?;
                    stream.shutdown().await.ok()?;
                    return None;
                }
                Behaviour::HalfHead => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-").await.ok()?;
                    stream.shutdown().await.ok()?;
                    return None;
                }
                Behaviour::Nothing => return None,
                Behaviour::Bytes(text) => {
                    stream.write_all(text.as_bytes()).await.ok()?;
                    stream.shutdown().await.ok()?;
                    return None;
                }
                Behaviour::Body(body) => (200, String::new(), body.to_string().into_bytes()),
                Behaviour::Huge(length) => {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                        .await
                        .ok()?;
                    for _ in 0..length / 1024 {
                        stream
                            .write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes())
                            .await
                            .ok()?;
                    }
                    stream.write_all(b"0\r\n\r\n").await.ok()?;
                    return Some(());
                }
                Behaviour::Status(status) => {
                    let location = "location: /v2/models/double/infer\r\n".to_owned();
                    (
                        status,
                        location,
                        format!("{{\"error\":\"{UPSTREAM_TEXT}\"}}").into_bytes(),
                    )
                }
            }
        }
        _ => (404, String::new(), b"{}".to_vec()),
    };
    stream.write_all(&http(status, &headers, &answer)).await.ok()
}

fn http(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn doubled(mut input: WireTensor) -> WireTensor {
    assert_eq!((input.name.as_str(), input.datatype), ("x", WireType::F32));
    match &mut input.data {
        WireData::F32(values) => values.iter_mut().for_each(|value| *value *= 2.0),
        other => panic!("{other:?}"),
    }
    WireTensor {
        name: "y".into(),
        ..input
    }
}

fn response(id: Option<String>, input: WireTensor) -> InferResponse {
    InferResponse {
        model_name: "double".into(),
        model_version: None,
        id,
        parameters: Parameters::new(),
        outputs: vec![doubled(input)],
    }
}

fn double_oip(head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let limits = BodyLimits::default();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("inference-header-content-length: "));
    let Some(length) = length else {
        let mut request = oip::parse_infer_request(body, &limits).unwrap();
        let answer = response(request.id, request.inputs.remove(0));
        return (String::new(), oip::write_infer_response(&answer).unwrap());
    };
    let length = length.parse().unwrap();
    let mut request = oip::parse_binary_infer_request(body, length, &[], &limits).unwrap();
    assert!(request.wants_binary("y"));
    let answer = response(request.id, request.inputs.remove(0));
    let body = oip::write_binary_infer_response(&answer, |_| true).unwrap();
    (
        format!("Inference-Header-Content-Length: {}\r\n", body.json_length),
        body.bytes,
    )
}

fn tfs_metadata() -> Vec<u8> {
    tfs::write_tfs_metadata(&described(), "1")
}

fn described() -> oip::ModelMetadata {
    let tensor = |name: &str| oip::TensorMetadata {
        name: name.into(),
        datatype: WireType::F32,
        shape: vec![-1, 4],
        labels: Vec::new(),
    };
    oip::ModelMetadata {
        name: "double".into(),
        versions: Vec::new(),
        platform: String::new(),
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
    }
}

fn double_tfs(body: &[u8]) -> Vec<u8> {
    let mut predict = tfs::parse_predict_request(body, &described().inputs, &BodyLimits::default()).unwrap();
    let output = doubled(predict.request.inputs.remove(0));
    tfs::write_predict_response(&[output], predict.form).unwrap()
}

type GrpcBody = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

async fn answer_grpc(state: &State, request: Request<Incoming>) -> Response<GrpcBody> {
    let (head, body) = request.into_parts();
    assert_eq!(head.headers["content-type"], "application/grpc");
    let message = grpc::unframe(body.collect().await.unwrap().to_bytes()).unwrap();
    let answer = match grpc::grpc_method(head.uri.path()) {
        Some(GrpcMethod::ServerReady) => encode(&grpc::ServerReadyResponse {
            ready: *state.ready.lock().unwrap(),
        }),
        Some(GrpcMethod::ModelMetadata) => {
            let tensor = |name: &str| grpc::TensorMetadata {
                name: name.into(),
                datatype: "FP32".into(),
                shape: vec![-1, 4],
            };
            encode(&grpc::ModelMetadataResponse {
                name: "double".into(),
                inputs: vec![tensor("x")],
                outputs: vec![tensor("y")],
                ..Default::default()
            })
        }
        Some(GrpcMethod::ModelInfer) => {
            state
                .inferences
                .lock()
                .unwrap()
                .push((format!("{:?}", head.headers), message.to_vec()));
            let behaviour = state.behaviour.lock().unwrap().clone();
            match behaviour {
                Behaviour::Right => {}
                Behaviour::Status(status) => return grpc_reply(Vec::new(), status),
                other => panic!("{other:?}"),
            }
            let mut call = grpc::parse_grpc_infer_request(message, &BodyLimits::default()).unwrap();
            assert_eq!((call.model.as_str(), call.contents), ("double", Contents::Raw));
            let answer = response(call.request.id, call.request.inputs.remove(0));
            grpc::write_grpc_infer_response(&answer, Contents::Raw).unwrap()
        }
        Some(_) | None => return grpc_reply(Vec::new(), 12),
    };
    grpc_reply(answer, 0)
}

fn encode(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

fn grpc_reply(message: Vec<u8>, status: u16) -> Response<GrpcBody> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    trailers.insert("grpc-message", UPSTREAM_TEXT.parse().unwrap());
    let mut frames = vec![Ok(Frame::trailers(trailers))];
    if status == 0 {
        let framed = [&grpc::frame(message.len()).unwrap()[..], &message].concat();
        frames.insert(0, Ok(Frame::data(framed.into())));
    }
    let body = StreamBody::new(futures::stream::iter(frames)).boxed();
    Response::builder()
        .status(StatusCode::OK)
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}
