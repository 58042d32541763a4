//! Starting, reloading, draining, restarting, and what happens when the disk is full.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use stockade_access::PolicySet;
use stockade_evidence::{Decision, Event};
use stockade_serve::{ConfigError, Reload, ReloadError};
use stockade_store::{Keeper, OpenError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{House, Running, configuration, models_for, seven};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_refill_the_budget() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let other = house.enrol("b", &["client"]).await;
    let config = json!({"limits": {"daily_budget": 3}});
    let running = house.serve(config.clone()).await;
    for _ in 0..2 {
        assert_eq!(running.client.infer(&key, &seven()).await.status, 200);
    }
    let mut bad = seven();
    bad["inputs"] = json!([]);
    assert_eq!(running.client.infer(&key, &bad).await.status, 400);
    running.stop().await;
    let house = house.reopen(stockade_store::Config::default()).await;
    let running = house.serve(config).await;
    assert_eq!(running.client.infer(&key, &seven()).await.status, 200);
    let spent = running.client.infer(&key, &seven()).await;
    assert_eq!(spent.refusal(), (429, "budget_spent".to_owned()));
    let wait: u64 = spent.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait));
    assert_eq!(running.client.infer(&other, &seven()).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_the_log_stops_the_answers() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let used = house.keeper.health().log.disk_used;
    let small = stockade_store::Config {
        disk_budget_bytes: Some(used + 100_000),
        ..Default::default()
    };
    let house = house.reopen(small).await;
    let running = house.serve(json!({})).await;
    let mut connection = running.client.connect().await;
    let mut answered = 0;
    let refused = loop {
        let reply = connection.send("GET", "/v2", Some(&key), Bytes::new()).await;
        if reply.status != 200 {
            break reply;
        }
        answered += 1;
        assert!(answered < 20_000, "the disk budget of {used} is never spent");
    };
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(house.records(Event::RequestAdmitted).await.len() >= answered);
    assert_eq!(running.client.get("/readyz", None).await.status, 503);
    assert_eq!(running.client.get("/livez", None).await.status, 200);
    let _ = running.begin_stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_flight() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let mut busy = running
        .client
        .tls(b"http/1.1", &[&rustls::version::TLS13])
        .await
        .unwrap();
    let body = seven().to_string();
    let (first, rest) = body.split_at(10);
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = running
        .bound
        .gateway_url
        .trim_start_matches("https://")
        .to_owned();
    let stopping = running.begin_stop();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    busy.write_all(rest.as_bytes()).await.unwrap();
    let mut reply = String::new();
    let _ = busy.read_to_string(&mut reply).await;
    assert!(
        reply.starts_with("HTTP/1.1 200 ") && reply.contains("\"model_name\":\"digits\""),
        "{reply}"
    );
    stopping.ended().await;
    assert_eq!(house.records(Event::RequestOutcome).await.len(), 1);
    let stopped = house.records(Event::GatewayStopped).await;
    assert_eq!(stopped[0].details["drained"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_ever() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({"timeouts": {"drain_ms": 100}})).await;
    let mut busy = running
        .client
        .tls(b"http/1.1", &[&rustls::version::TLS13])
        .await
        .unwrap();
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-length: 900\r\n\r\n"
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop().await;
    assert_eq!(
        house.records(Event::GatewayStopped).await[0].details["drained"],
        false
    );
}

/// How many of the ten scores the client sees.
async fn scores_seen(running: &Running, key: &str) -> usize {
    let scores = running.client.infer(key, &seven()).await.scores();
    scores.iter().filter(|score| **score > 0.0).count()
}

/// `over` laid over the usual configuration, as a reload under these policies.
fn change(over: serde_json::Value, policies: PolicySet) -> Reload {
    let config = configuration(over);
    let models = models_for(&config);
    Reload {
        config,
        policies,
        models,
        needs_restart: vec!["evidence.anchor".to_owned()],
    }
}

fn forbidding() -> PolicySet {
    PolicySet::parse(&[(
        "none.cedar".into(),
        "forbid (principal, action, resource);".into(),
    )])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_effect_whole() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    assert!(scores_seen(&running, &key).await > 1);
    let shaped = json!({"models": {"digits": {"output": {"client": {"top_k": 1, "decimals": 1}}}}});
    let defaults = PolicySet::defaults().unwrap();
    running
        .gateway
        .reload(change(shaped.clone(), defaults))
        .await
        .unwrap();
    assert_eq!(scores_seen(&running, &key).await, 1);
    running
        .gateway
        .reload(change(shaped, forbidding()))
        .await
        .unwrap();
    assert_eq!(
        running.client.infer(&key, &seven()).await.refusal(),
        (404, "not_found".to_owned())
    );
    running.stop().await;
    assert_eq!(house.records(Event::ConfigReloaded).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_what_needs_a_restart() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let changed = json!({"listen": "127.0.0.2:0", "limits": {"max_queued": 7}, "engine": {"threads": 2}});
    running
        .gateway
        .reload(change(changed, forbidding()))
        .await
        .unwrap();
    assert_eq!(
        running.client.infer(&key, &seven()).await.status,
        404,
        "all else is in force"
    );
    running.stop().await;
    assert_eq!(
        house.records(Event::ConfigReloaded).await[0].details["needs_restart"],
        json!(["evidence.anchor", "listen", "engine", "limits.max_queued"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reload_keeps_everything_and_says_why() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let before = scores_seen(&running, &key).await;
    let misspelt = json!({"models": {"digits": {"output": {"client": {"hidden": ["probabilitys"]}}}}});
    let refused = running.gateway.reload(change(misspelt, forbidding())).await;
    assert!(
        matches!(refused, Err(ReloadError::Config(ConfigError::Model(_)))),
        "{refused:?}"
    );
    let plaintext = json!({"listen": "0.0.0.0:0", "dangerous_plaintext": true});
    let refused = running.gateway.reload(change(plaintext, forbidding())).await;
    assert!(
        matches!(
            refused,
            Err(ReloadError::Config(ConfigError::PlaintextBeyondLoopback { .. }))
        ),
        "what a restart would refuse: {refused:?}"
    );
    running
        .gateway
        .refuse_reload("stockade.toml:3: unknown field `lisen`")
        .await;
    assert_eq!(scores_seen(&running, &key).await, before);
    running.stop().await;
    assert!(house.records(Event::ConfigReloaded).await.is_empty());
    let refused = house.records(Event::ConfigRefused).await;
    assert_eq!(refused.len(), 3);
    assert!(refused[2].details["reason"].as_str().unwrap().contains("lisen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_for_loopback_and_is_recorded() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let config = configuration(json!({"listen": "0.0.0.0:0", "dangerous_plaintext": true}));
    let refused = house.gateway(config, PolicySet::defaults().unwrap()).await;
    assert!(matches!(
        refused,
        Err(ConfigError::PlaintextBeyondLoopback { .. })
    ));
    let running = house.serve(json!({"dangerous_plaintext": true})).await;
    assert!(
        running.bound.gateway_url.starts_with("http://") && running.bound.admin_url.starts_with("https://")
    );
    assert_eq!(running.client.infer(&key, &seven()).await.status, 200);
    running.stop().await;
    assert_eq!(
        house.records(Event::GatewayStarted).await[0].details["dangerous_plaintext"],
        true
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_finds_the_first() {
    let house = House::new().await;
    let running = house.serve(json!({})).await;
    let second = Keeper::open(house.dir(), house.provider(), stockade_store::Config::default()).await;
    assert!(matches!(second, Err(OpenError::AlreadyOwned { .. })));
    let taken = configuration(json!({"listen": running.bound.gateway_url.trim_start_matches("https://")}));
    let gateway = house
        .gateway(taken, PolicySet::defaults().unwrap())
        .await
        .unwrap();
    let error = gateway.bind().await.unwrap_err().to_string();
    assert!(
        error.contains("cannot be listened on") && error.contains("hint: "),
        "{error}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_and_stop_are_in_the_log() {
    let house = House::new().await;
    let running = house.serve(json!({})).await;
    running.stop().await;
    let started = house.records(Event::GatewayStarted).await;
    assert_eq!(started[0].details["engine"], "rten");
    assert!(started[0].details["engine_version"].is_string());
    assert!(started[0].details["engine_library"].is_null());
    assert_eq!(started[0].details["models"], json!(["digits@1"]));
    assert!(
        started[0].details["policies"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(house.records(Event::GatewayStopped).await.len(), 1);
    assert!(matches!(
        started[0].decision,
        None | Some(Decision::Allowed { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_source_are_bounded() {
    let house = House::new().await;
    let running = house
        .serve(json!({"limits": {"max_connections_per_source": 3}}))
        .await;
    let connect = async || running.client.tls(b"http/1.1", &[&rustls::version::TLS13]).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.extend(connect().await);
    }
    assert!((1..=3).contains(&open.len()), "{}", open.len());
    drop(open);
    while connect().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    let merged = house.records(Event::RequestsRefused).await;
    assert!(merged.iter().any(|record| matches!(
        &record.decision, Some(Decision::Refused { code, .. }) if code == "too_many_connections_of_source")));
}
