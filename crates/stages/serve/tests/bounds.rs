//! Bounds of time and number: slow senders, silence, a model's deadline, a full queue.

use std::time::Duration;

use serde_json::json;
use stockade_evidence::{Actor, Decision, Event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{House, Reply, batch};

/// Writes `head`, then a byte of `rest` every `pause`, and returns what came back before the end.
async fn drip(client: &crate::harness::Client, head: &str, rest: &[u8], pause: Duration) -> String {
    let mut stream = client.tls(b"http/1.1", &[&rustls::version::TLS13]).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    for byte in rest {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(pause, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(read)) => reply.extend_from_slice(&buffer[..read]),
            Err(_) => {
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let timeouts = json!({"header_ms": 200, "body_ms": 60_000, "body_grace_ms": 200, "idle_ms": 400, "handshake_ms": 200});
    let running = house.serve(json!({ "timeouts": timeouts })).await;
    let start = tokio::time::Instant::now();
    let head = drip(
        &running.client,
        "POST /v2/models",
        &[b'x'; 1000],
        Duration::from_millis(20),
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(
        head.contains("x-request-id: ") && head.contains("\"code\":\"timeout\""),
        "{head}"
    );
    let request = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-length: 900\r\n\r\n"
    );
    let body = drip(
        &running.client,
        &request,
        &[b' '; 1000],
        Duration::from_millis(20),
    )
    .await;
    assert!(
        body.starts_with("HTTP/1.1 408 ") && body.contains("\"code\":\"timeout\""),
        "{body}"
    );
    // Silence: before TLS, and after.
    let mut silent = running.client.tcp().await;
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let idle = drip(&running.client, "", &[], Duration::ZERO).await;
    assert_eq!(idle, "");
    let mut idle = running
        .client
        .tls(b"http/1.1", &[&rustls::version::TLS13])
        .await
        .unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_has_a_deadline_and_a_queue_has_an_end() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let config = json!({
        "limits": {"workers": 1, "max_queued": 0, "max_concurrent_per_principal": 16},
        "timeouts": {"inference_ms": 1},
        "models": {"digits": {"max_rows": 20_000}},
    });
    let running = house.serve(config).await;
    let body = batch(20_000);
    let late = running.client.infer(&key, &body).await;
    assert_eq!(late.refusal(), (504, "upstream_timeout".to_owned()));
    let mut full: Vec<Reply> = Vec::new();
    for _ in 0..50 {
        let replies = futures::future::join_all((0..8).map(|_| running.client.infer(&key, &body))).await;
        full.extend(replies.into_iter().filter(|reply| reply.status == 503));
        if !full.is_empty() {
            break;
        }
    }
    assert!(!full.is_empty());
    assert!(full.iter().all(|reply| reply.headers["retry-after"] == "1"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_beyond_their_records_are_announced_and_counted() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let limits = json!({"refusal_records": {"per_second": 0.001, "burst": 3}});
    let running = house.serve(json!({ "limits": limits })).await;
    for asked in 1..=10 {
        let reply = running.client.get("/nowhere", Some(&key)).await;
        assert_eq!(reply.refusal(), (404, "not_found".to_owned()));
        // Durable before the answer, the announcement too; the counts follow.
        let refused = house.records(Event::RequestRefused).await;
        assert_eq!(refused.len(), asked.min(4));
        let announced = refused
            .iter()
            .filter(|record| record.details.contains_key("further"));
        assert_eq!(announced.count(), usize::from(asked >= 4));
    }
    running.stop().await;
    let merged = house.records(Event::RequestsRefused).await;
    let counts = merged
        .iter()
        .map(|record| record.details["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 6);
    assert!(
        merged
            .iter()
            .all(|record| matches!(&record.actor, Actor::Principal { id } if id == "a"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_answered_and_counted() {
    let house = House::new().await;
    let running = house.serve(json!({})).await;
    let long = format!("GET / HTTP/1.1\r\nhost: g\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    let after_an_answer = "GET /livez HTTP/1.1\r\nhost: g\r\n\r\nGET /\u{1} HTTP/1.1\r\n\r\n";
    for (text, status, code) in [
        ("GET /\u{1} HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400, "invalid_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
        (after_an_answer, 400, "invalid_request"),
        (long.as_str(), 431, "head_too_large"),
    ] {
        let mut stream = running
            .client
            .tls(b"http/1.1", &[&rustls::version::TLS13])
            .await
            .unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        let reply = String::from_utf8_lossy(&reply);
        let refusal = match reply.split_once("{\"live\":true}") {
            Some((_, refusal)) => refusal,
            None => &reply,
        };
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], code);
        let id = format!("x-request-id: {}", body["request_id"].as_str().unwrap());
        assert!(head.contains(&id) && head.contains("connection: close"), "{head}");
    }
    running.stop().await;
    let merged = house.records(Event::RequestsRefused).await;
    let malformed = merged.iter().find(|record| {
        matches!(
        &record.decision, Some(Decision::Refused { code, .. }) if code == "malformed_http")
    });
    assert_eq!(malformed.unwrap().details["count"], 5);
}
