//! Models in another server, over real sockets: right answers over every protocol, and every way in which the other
//! side goes wrong. Whatever happens there, nothing is admitted unrecorded, no wrong answer leaves, and what recovers
//! is used again without a restart.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use stockade_access::PolicySet;
use stockade_evidence::{Event, Record};
use stockade_serve::{Config, Reload};

use crate::harness::{
    House, Reply, Running, configuration, models_for,
    server::{Behaviour, Server, Speaks, UPSTREAM_TEXT, tensor},
};

/// A gateway whose model `m` is `double` in other servers.
struct Front {
    house: House,
    running: Running,
    key: String,
}

impl Front {
    async fn new(servers: &[&Server], over: Value) -> Self {
        let house = House::new().await;
        let key = house.enrol("a", &["client", "admin"]).await;
        let running = house.serve(config(servers, over)).await;
        Self { house, running, key }
    }

    /// The same, once the model can be asked.
    async fn ready(servers: &[&Server], over: Value) -> Self {
        let front = Self::new(servers, over).await;
        front.until(200).await;
        front
    }

    /// Asks until each of the servers was asked.
    async fn reach(&self, servers: &[&Server]) {
        while servers.iter().any(|server| server.count() == 0) {
            is_right(&self.infer().await);
        }
    }

    async fn status(&self) -> u16 {
        self.running
            .client
            .get("/v2/models/m/ready", Some(&self.key))
            .await
            .status
    }

    async fn until(&self, status: u16) {
        for _ in 0..2_000 {
            if self.status().await == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the model's status never was {status}");
    }

    async fn infer(&self) -> Reply {
        self.running
            .client
            .post("/v2/models/m/infer", &self.key, &request())
            .await
    }

    async fn reload(&self, servers: &[&Server], over: Value) {
        let config = configuration(config(servers, over));
        let reload = Reload {
            models: models_for(&config),
            config,
            policies: PolicySet::defaults().unwrap(),
            needs_restart: Vec::new(),
        };
        self.running.gateway.reload(reload).await.unwrap();
    }

    /// The outcomes of inferences, after the gateway has stopped; each has its admission.
    async fn outcomes(self) -> Vec<Record> {
        let Self { house, running, .. } = self;
        running.stop().await;
        let infers = |record: &Record| {
            record
                .details
                .get("action")
                .is_some_and(|action| action == "model.infer")
        };
        let mut admitted = house.records(Event::RequestAdmitted).await;
        admitted.retain(infers);
        let mut outcomes = house.records(Event::RequestOutcome).await;
        outcomes.retain(|record| record.details.contains_key("upstream"));
        let of = |record: &Record| record.details["request_id"].as_str().unwrap().to_owned();
        assert_eq!(admitted.len(), outcomes.len());
        for record in &admitted {
            assert!(
                outcomes
                    .iter()
                    .any(|outcome| of(outcome) == record.id.to_string())
            );
        }
        outcomes
    }
}

fn config(servers: &[&Server], over: Value) -> Value {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let mut upstream = json!({
        "name": "other", "url": urls[0], "replicas": &urls[1..], "protocol": "oip_http",
        "dangerous_plaintext": urls[0].starts_with("http:"),
        "health": {"every_ms": 50, "timeout_ms": 2000},
    });
    for (name, value) in over.as_object().unwrap() {
        upstream[name] = value.clone();
    }
    let limits = json!({"per_second": 100_000.0, "burst": 100_000});
    json!({
        "upstreams": [upstream],
        "models": {"m": {"source": "upstream:other/double", "environment": "prod", "limits": limits}},
    })
}

fn request() -> Value {
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, 1.0, 1.5, 2.0]}]})
}

fn detail<'a>(record: &'a Record, name: &str) -> &'a Value {
    &record.details[name]
}

#[track_caller]
fn is_right(reply: &Reply) {
    assert_eq!(reply.scores(), [1.0, 2.0, 3.0, 4.0]);
    let body = reply.json();
    assert_eq!(
        (&body["model_name"], &body["outputs"][0]["name"]),
        (&json!("m"), &json!("y"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_answers_like_an_engine_and_is_recorded() {
    let server = Server::start(Speaks::Http).await;
    let front = Front::ready(&[&server], json!({})).await;
    let traced = http::Request::post("/v2/models/m/infer")
        .header("host", "gateway")
        .header("authorization", format!("Bearer {}", front.key))
        .header("cookie", "of-the-client")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .body(http_body_util::Full::new(Bytes::from(request().to_string())))
        .unwrap();
    let reply = front.running.client.connect().await.request(traced).await;
    is_right(&reply);
    for _ in 0..20 {
        is_right(&front.infer().await);
    }
    let metadata = front
        .running
        .client
        .get("/v2/models/m", Some(&front.key))
        .await
        .json();
    assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 4]));
    let (head, _) = server.state.inferences.lock().unwrap()[0].clone();
    assert!(head.contains(&format!(
        "x-request-id: {}",
        reply.headers["x-request-id"].to_str().unwrap()
    )));
    assert!(head.contains("traceparent: 00-4bf92f35"));
    assert!(
        !head.contains("authorization") && !head.contains("cookie"),
        "{head}"
    );
    let connections = server
        .state
        .connections
        .load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        connections < 10,
        "{connections} connections for 21 requests and a few looks"
    );

    let metrics = front.running.admin.get("/metrics", Some(&front.key)).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "stockade_upstream_requests_total{upstream=\"other\",replica=\"0\",result=\"answered\"} 21",
        "stockade_upstream_duration_seconds_count{upstream=\"other\",replica=\"0\"} 21",
        "stockade_upstream_healthy{upstream=\"other\",replica=\"0\"} 1",
        "stockade_upstream_breaker_open{upstream=\"other\",replica=\"0\"} 0",
    ] {
        assert!(metrics.lines().any(|each| each == line), "{line}\n{metrics}");
    }
    let started = front.house.records(Event::GatewayStarted).await;
    let named =
        json!([{"name": "other", "protocol": "oip_http", "replicas": 1, "dangerous_plaintext": true}]);
    assert_eq!(detail(&started[0], "upstreams"), &named);
    let outcomes = front.outcomes().await;
    assert_eq!(outcomes.len(), 21);
    let way =
        ["upstream", "upstream_replica", "upstream_retries"].map(|name| detail(&outcomes[0], name).clone());
    assert_eq!(way, [json!("other"), json!(0), json!(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_go_in_binary_where_the_server_reads_them() {
    let server = Server::start(Speaks::Http).await;
    *server.state.extensions.lock().unwrap() = vec!["classification", "binary_tensor_data"];
    let front = Front::ready(&[&server], json!({})).await;
    is_right(&front.infer().await);
    let (head, body) = server.state.inferences.lock().unwrap()[0].clone();
    assert!(head.contains("inference-header-content-length: "), "{head}");
    let raw: Vec<u8> = [0.5_f32, 1.0, 1.5, 2.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert!(body.ends_with(&raw));
    assert_eq!(front.outcomes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tensors_travel_both_ways() {
    let server = Server::start(Speaks::Http).await;
    let front = Front::ready(&[&server], json!({})).await;
    let data = vec![0.25; 4 * 4096];
    let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [4096, 4], "data": data}]});
    for extensions in [vec![], vec!["binary_tensor_data"]] {
        *server.state.extensions.lock().unwrap() = extensions;
        let reply = front
            .running
            .client
            .post("/v2/models/m/infer", &front.key, &body)
            .await;
        let scores = reply.scores();
        assert!(scores.len() == 4 * 4096 && scores.iter().all(|score| (score - 0.5).abs() < 1e-9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_tensorflow_serving_are_spoken() {
    for (speaks, protocol) in [(Speaks::Grpc, "oip_grpc"), (Speaks::Http, "tfs")] {
        let server = Server::start(speaks).await;
        let front = Front::ready(&[&server], json!({"protocol": protocol})).await;
        for _ in 0..3 {
            is_right(&front.infer().await);
        }
        for (status, code) in [
            (3, (502, "upstream_failed")),
            (14, (503, "unavailable")),
            (4, (504, "upstream_timeout")),
        ] {
            if protocol != "oip_grpc" {
                continue;
            }
            server.set(Behaviour::Status(status));
            let reply = front.infer().await;
            assert_eq!(reply.refusal(), (code.0, code.1.to_owned()), "{status}");
            assert!(!String::from_utf8_lossy(&reply.body).contains(UPSTREAM_TEXT));
        }
        assert!(front.outcomes().await.len() >= 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_again_once_an_answer_began() {
    for began in [
        Behaviour::Half,
        Behaviour::HalfHead,
        Behaviour::Bytes("SSH-2.0-x\r\n\r\n".into()),
    ] {
        let (a, b) = (
            Server::start(Speaks::Http).await,
            Server::start(Speaks::Http).await,
        );
        let front = Front::ready(&[&a, &b], json!({"retry": true})).await;
        front.reach(&[&a, &b]).await;
        let before = a.count() + b.count();
        a.set(began.clone());
        b.set(began.clone());
        let reply = front.infer().await;
        assert_eq!(reply.refusal(), (502, "upstream_failed".to_owned()), "{began:?}");
        assert_eq!(a.count() + b.count(), before + 1, "{began:?}");
        a.set(Behaviour::Right);
        b.set(Behaviour::Right);
        is_right(&front.infer().await);
        let outcomes = front.outcomes().await;
        let failed: Vec<&Record> = outcomes
            .iter()
            .filter(|record| record.details.contains_key("code"))
            .collect();
        assert_eq!((outcomes.len(), failed.len()), (before + 2, 1));
        assert_eq!(detail(failed[0], "code"), "upstream_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_got_no_answer_is_sent_again_only_where_allowed() {
    for retry in [false, true] {
        let (a, b) = (
            Server::start(Speaks::Http).await,
            Server::start(Speaks::Http).await,
        );
        let front = Front::ready(&[&a, &b], json!({"retry": retry})).await;
        front.reach(&[&a, &b]).await;
        a.set(Behaviour::Nothing);
        let mut statuses: Vec<u16> = Vec::new();
        for _ in 0..2 {
            statuses.push(front.infer().await.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, if retry { [200, 200] } else { [200, 502] });
        let retries = |record: &Record| detail(record, "upstream_retries").as_u64().unwrap();
        let outcomes = front.outcomes().await;
        assert_eq!(outcomes.iter().map(retries).sum::<u64>() > 0, retry);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_replicas_may_be_down() {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Server::start(Speaks::Http).await);
    }
    let front = Front::ready(&servers.iter().collect::<Vec<_>>(), json!({})).await;
    front.reach(&servers.iter().collect::<Vec<_>>()).await;
    servers[1].kill().await;
    servers[2].kill().await;
    // A request that left over a connection which dies with its server is lost; none was under way.
    for _ in 0..50 {
        is_right(&front.infer().await);
    }
    servers[1].resume().await;
    servers[2].resume().await;
    let before = servers[1].count() + servers[2].count();
    while servers[1].count() + servers[2].count() < before + 2 {
        is_right(&front.infer().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    front.outcomes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_and_closes_again() {
    let server = Server::start(Speaks::Http).await;
    let over = json!({"breaker": {"failures": 3, "open_ms": 300}});
    let front = Front::ready(&[&server], over).await;
    server.set(Behaviour::Status(503));
    for _ in 0..20 {
        assert_eq!(front.infer().await.refusal(), (503, "unavailable".to_owned()));
    }
    assert!(
        (3..=6).contains(&server.count()),
        "{} of 20 requests reached it",
        server.count()
    );
    server.set(Behaviour::Right);
    for _ in 0..500 {
        if front.infer().await.status == 200 {
            is_right(&front.infer().await);
            front.outcomes().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the breaker never closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_request_can_cause_opens_no_breaker() {
    let server = Server::start(Speaks::Http).await;
    let front = Front::ready(&[&server], json!({"breaker": {"failures": 2}})).await;
    for status in [400, 500, 422, 500, 400] {
        server.set(Behaviour::Status(status));
        assert_eq!(front.infer().await.status, 502);
    }
    server.set(Behaviour::Right);
    is_right(&front.infer().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_bounded() {
    let server = Server::start(Speaks::Http).await;
    let front = Front::ready(&[&server], json!({"timeout_ms": 100, "retry": true})).await;
    server.set(Behaviour::Slow(Duration::from_secs(60)));
    assert_eq!(
        front.infer().await.refusal(),
        (504, "upstream_timeout".to_owned())
    );
    assert_eq!(server.count(), 1);
    server.set(Behaviour::Right);
    is_right(&front.infer().await);
    assert_eq!(front.outcomes().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_wrong_in_any_way_does_not_leave() {
    let server = Server::start(Speaks::Http).await;
    let over = json!({"max_response_bytes": 65_536, "breaker": {"failures": 1000}});
    let front = Front::ready(&[&server], over).await;
    let output = |name: &str, datatype: &str, shape: Value, data: Value| json!({"model_name": "double", "outputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]});
    let four = json!([1.0, 2.0, 3.0, 4.0]);
    let right = output("y", "FP32", json!([1, 4]), four.clone());
    let with = |field: &str, value: &str| {
        let mut answer = right.clone();
        answer[field] = json!(value);
        answer
    };
    let mut twice = right.clone();
    let second = twice["outputs"][0].clone();
    twice["outputs"].as_array_mut().unwrap().push(second);
    let mut wrong = vec![
        Behaviour::Body(output("weights", "FP32", json!([1, 4]), four.clone())),
        Behaviour::Body(output("y", "FP64", json!([1, 4]), four.clone())),
        Behaviour::Body(output("y", "FP32", json!([4, 1]), four.clone())),
        Behaviour::Body(output("y", "FP32", json!([1, 3]), json!([1, 2, 3]))),
        Behaviour::Body(output("y", "FP32", json!([1, 5]), four)),
        Behaviour::Body(output("y", "FP32", json!([1, 4]), json!([1, 2, 3, 1e300]))),
        Behaviour::Body(output("y", "FP32", json!([1, 4]), json!(["NaN", 2, 3, 4]))),
        Behaviour::Body(with("model_name", "another")),
        Behaviour::Body(with("id", "another request's")),
        Behaviour::Body(twice),
        Behaviour::Body(json!({"model_name": "double", "outputs": []})),
        Behaviour::Body(json!(UPSTREAM_TEXT)),
        Behaviour::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{right}")),
        Behaviour::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{right}")),
        Behaviour::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{".to_owned()),
        Behaviour::Bytes(
            "HTTP/1.1 200 OK\r\ninference-header-content-length: x\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        ),
        Behaviour::Bytes("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned()),
        Behaviour::Huge(1 << 20),
    ];
    wrong.extend([201, 204, 302, 307, 400, 401, 404, 500, 502].map(Behaviour::Status));
    for behaviour in &wrong {
        server.set(behaviour.clone());
        let before = server.count();
        let reply = front.infer().await;
        assert_eq!(
            reply.refusal(),
            (502, "upstream_failed".to_owned()),
            "{behaviour:?}"
        );
        assert!(
            !String::from_utf8_lossy(&reply.body).contains(UPSTREAM_TEXT),
            "{behaviour:?}"
        );
        assert_eq!(
            server.count(),
            before + 1,
            "{behaviour:?}: a redirect is not followed"
        );
    }
    server.set(Behaviour::Right);
    is_right(&front.infer().await);
    assert_eq!(front.outcomes().await.len(), wrong.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_starts_before_its_upstream_and_outlives_it() {
    let mut server = Server::start(Speaks::Http).await;
    server.kill().await;
    let front = Front::new(&[&server], json!({})).await;
    assert_eq!(front.infer().await.refusal(), (503, "unavailable".to_owned()));
    assert_eq!(front.running.client.get("/readyz", None).await.status, 200);
    assert_eq!(front.house.records(Event::RequestRefused).await.len(), 1);
    server.resume().await;
    front.until(200).await;
    is_right(&front.infer().await);
    *server.state.ready.lock().unwrap() = false;
    front.until(503).await;
    *server.state.ready.lock().unwrap() = true;
    front.until(200).await;
    server.kill().await;
    front.until(503).await;
    server.resume().await;
    front.until(200).await;
    is_right(&front.infer().await);
    assert_eq!(front.outcomes().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_signature_is_an_alarm_until_a_reload() {
    let server = Server::start(Speaks::Http).await;
    let front = Front::ready(&[&server], json!({})).await;
    *server.state.tensors.lock().unwrap() = (tensor("x", "FP32"), tensor("z", "FP32"));
    front.until(503).await;
    let reached = server.count();
    assert_eq!(front.infer().await.refusal(), (503, "unavailable".to_owned()));
    *server.state.tensors.lock().unwrap() = (tensor("x", "FP32"), tensor("y", "FP32"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        front.status().await,
        503,
        "what once differed is not believed again"
    );
    assert_eq!(server.count(), reached);
    let alarms = front.house.records(Event::ModelChanged).await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(detail(&alarms[0], "upstream"), "other");
    front.reload(&[&server], json!({})).await;
    front.until(200).await;
    is_right(&front.infer().await);
    // A reload that changes nothing about it interrupts nothing.
    front.reload(&[&server], json!({})).await;
    is_right(&front.infer().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_that_differs_is_left_out() {
    let (a, b) = (
        Server::start(Speaks::Http).await,
        Server::start(Speaks::Http).await,
    );
    let front = Front::ready(&[&a, &b], json!({})).await;
    front.reach(&[&a, &b]).await;
    *b.state.tensors.lock().unwrap() = (tensor("x", "INT64"), tensor("y", "FP32"));
    while front.house.records(Event::ModelChanged).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reached = b.count();
    for _ in 0..10 {
        is_right(&front.infer().await);
    }
    assert_eq!(b.count(), reached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_signature_stands_in_for_a_silent_server_and_binds_a_speaking_one() {
    let server = Server::start(Speaks::Http).await;
    *server.state.tensors.lock().unwrap() = (json!([]), json!([]));
    let front = Front::new(&[&server], json!({})).await;
    assert_eq!(front.infer().await.status, 503);
    let mut declared = config(&[&server], json!({}));
    declared["models"]["m"]["inputs"] = tensor("x", "FP32");
    declared["models"]["m"]["outputs"] = tensor("y", "FP32");
    let running = front.house.serve(declared.clone()).await;
    let front = Front { running, ..front };
    front.until(200).await;
    is_right(&front.infer().await);
    *server.state.tensors.lock().unwrap() = (tensor("x", "FP64"), tensor("y", "FP32"));
    front.until(503).await;
    assert_eq!(front.house.records(Event::ModelChanged).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_the_right_authority_and_the_token_is_sent() {
    let house = House::new().await;
    let tls = |authority: &stockade_crypto::CertificateAuthority, host: &str| {
        let now = house.keeper.now().unix_seconds();
        let issued = authority.issue_server(&[host.to_owned()], now, 86_400).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key_pkcs8.expose().to_vec()));
        let chain = issued.chain_der.into_iter().map(Into::into).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Speaks::Tls(Arc::new(config))
    };
    let authority = house.provider().certificate_authority().unwrap();
    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca.pem"), files.path().join("token"));
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    std::fs::write(&token, "a-token\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let over = json!({"ca": format!("file:{}", ca.display()), "bearer": format!("file:{}", token.display())});
    let server = Server::start(tls(&authority, "127.0.0.1")).await;
    let front = Front::ready(&[&server], over.clone()).await;
    is_right(&front.infer().await);
    let (head, _) = server.state.inferences.lock().unwrap()[0].clone();
    assert!(head.contains("authorization: bearer a-token\r\n"), "{head}");
    let elsewhere = Server::start(tls(&authority, "192.0.2.1")).await;
    let stranger = House::new().await.provider().certificate_authority().unwrap();
    let stranger = Server::start(tls(&stranger, "127.0.0.1")).await;
    for wrong in [elsewhere, stranger] {
        let front = Front::new(&[&wrong], over.clone()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(front.infer().await.refusal(), (503, "unavailable".to_owned()));
        assert_eq!(wrong.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_answers() {
    let server = Server::start(Speaks::Http).await;
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let small = stockade_store::Config {
        disk_budget_bytes: Some(house.keeper.health().log.disk_used + 60_000),
        ..Default::default()
    };
    let house = house.reopen(small).await;
    let running = house.serve(config(&[&server], json!({}))).await;
    let front = Front { house, running, key };
    front.until(200).await;
    let mut answered = 0;
    let refused = loop {
        let reply = front.infer().await;
        if reply.status != 200 {
            break reply;
        }
        is_right(&reply);
        answered += 1;
    };
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    let mut admitted = front.house.records(Event::RequestAdmitted).await;
    admitted.retain(|record| detail(record, "action") == "model.infer");
    assert!(answered > 0 && admitted.len() >= answered, "{answered} answers");
    assert!(server.count() <= answered + 1);
    let _ = front.running.begin_stop();
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), says: &str) {
    let mut config = json!({
        "upstreams": [{"name": "other", "url": "http://127.0.0.1:1", "protocol": "oip_http", "dangerous_plaintext": true}],
        "models": {"m": {"source": "upstream:other/double", "environment": "prod"}},
    });
    change(&mut config);
    let error = match serde_json::from_value::<Config>(config) {
        Ok(config) => config.check_upstreams().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_a_cure() {
    let shared = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(shared.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let shared = format!("file:{}", shared.path().display());
    refused(
        |config| config["models"]["m"]["source"] = json!("upstream:othr/double"),
        "configured are `other`",
    );
    refused(
        |config| config["models"]["m"]["source"] = json!("upstream:other"),
        "upstream:NAME/MODEL",
    );
    refused(
        |config| config["models"]["m"]["source"] = json!("upstream:other/double@latest"),
        "a whole number",
    );
    refused(
        |config| config["models"]["m"]["inputs"] = tensor("x", "FP32"),
        "declare both",
    );
    refused(
        |config| config["models"]["m"]["inputs"] = tensor("x", "FP31"),
        "such as `FP32`",
    );
    refused(
        |config| {
            config["models"]["m"]["source"] = json!("vault:m@1");
            config["models"]["m"]["inputs"] = tensor("x", "FP32");
        },
        "remove `inputs` and `outputs`",
    );
    let upstream = |name: &str, value: Value, says: &str| {
        refused(|config| config["upstreams"][0][name] = value, says);
    };
    upstream("url", json!("127.0.0.1:8080"), "a scheme, a host and a port");
    upstream("url", json!("http://10.0.0.1:1"), "loopback only");
    upstream("url", json!("https://127.0.0.1:1"), "has no `http://` URL");
    upstream("dangerous_plaintext", json!(false), "without TLS");
    upstream("replicas", json!(["http://127.0.0.1:1"]), "twice");
    upstream("name", json!("Other"), "`a-z`");
    upstream("protocol", json!("oip"), "oip_http");
    upstream("bearer", json!("hunter2"), "`file:PATH`, or as `env:`");
    upstream("bearer", json!("env:STOCKADE_TEST_UNSET"), "which is not set");
    upstream("bearer", json!(shared), "`chmod 600`");
    upstream("ca", json!("file:/nowhere.pem"), "cannot be read");
    upstream("ca", json!(shared), "holds no certificate");
    upstream("retires", json!(true), "unknown field");
    refused(
        |config| {
            let again = config["upstreams"][0].clone();
            config["upstreams"].as_array_mut().unwrap().push(again);
        },
        "its `replicas`",
    );
}
