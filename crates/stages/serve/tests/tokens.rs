//! Tokens at the gateway: who is let in, rotation of keys, issuers that are down, revocation and expiry.

use std::{fs, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_access::unbind_identity;
use stockade_evidence::{Actor, Event};

use crate::harness::{
    House, Running,
    authority::{Authority, Wanted},
    issuer::{Host, ISSUER, Key, jwks, now_s, subject},
    seven,
};

const MODEL: &str = "/v2/models/digits";

/// Configuration with one issuer, whose keys are at `source`.
fn issuer(source: &str, over: Value) -> Value {
    let mut jwt = json!({"issuer": ISSUER, "audience": "stockade", "algorithms": ["EdDSA"], "jwks": source, "leeway_s": 0});
    for (name, value) in over.as_object().unwrap() {
        jwt[name] = value.clone();
    }
    json!({"identity": {"jwt": [jwt]}})
}

/// A house with the principal `robot`, bound to the subject `svc-1`.
async fn house() -> (House, String) {
    let house = House::new().await;
    let key = house.enrol("robot", &["client"]).await;
    house.bind("robot", &subject("svc-1")).await;
    (house, key)
}

async fn status(running: &Running, credential: &str) -> u16 {
    running.client.get(MODEL, Some(credential)).await.status
}

/// Asks until the answer has this status.
async fn until(running: &Running, credential: &str, expected: u16) {
    for _ in 0..400 {
        if status(running, credential).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the status never became {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_identifies_and_leaves_no_trace_of_itself() {
    let (house, api_key) = house().await;
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (Key::new("k1"), folder.path().join("jwks.json"));
    fs::write(&file, jwks(&[&key])).unwrap();
    let running = house
        .serve(issuer(&format!("file:{}", file.display()), json!({})))
        .await;
    let token = key.token("svc-1", 60);
    assert_eq!(running.client.infer(&token, &seven()).await.status, 200);
    assert_eq!(status(&running, &api_key).await, 200, "keys go on working");
    for (refused, reason) in [
        (key.token("svc-2", 60), "nobody is bound to it"),
        (key.token("svc-1", -1), "expired"),
        (Key::new("k1").token("svc-1", 60), "forged"),
        (
            key.sign(&json!({"iss": ISSUER, "aud": "other", "sub": "svc-1", "exp": now_s() + 60})),
            "audience",
        ),
        (
            key.sign(&json!({"iss": ISSUER, "aud": "stockade", "sub": "svc-1"})),
            "no expiry",
        ),
        (format!("{}x", token), "signature"),
        (format!("a.{}.c", "b".repeat(9000)), "huge"),
    ] {
        let reply = running.client.get(MODEL, Some(&refused)).await;
        assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()), "{reason}");
    }
    running.stop().await;
    let ways: Vec<Value> = house
        .records(Event::RequestAdmitted)
        .await
        .iter()
        .map(|record| record.details["identified_by"].clone())
        .collect();
    assert_eq!(ways, [json!("jwt"), json!("api_key")]);
    let reasons = house.records(Event::RequestsRefused).await;
    let text = serde_json::to_string(&reasons).unwrap();
    for code in [
        "unknown_identity",
        "expired_token",
        "token_signature",
        "token_audience",
        "token_claims",
        "token_too_long",
    ] {
        assert!(text.contains(code), "{code}: {text}");
    }
    assert!(!text.contains("svc-") && token.split('.').all(|part| !text.contains(part)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_file_binds_and_the_old_key_ends() {
    let (house, _) = house().await;
    let folder = tempfile::tempdir().unwrap();
    let (old, new, file) = (Key::new("k1"), Key::new("k2"), folder.path().join("jwks.json"));
    fs::write(&file, jwks(&[&old])).unwrap();
    let running = house
        .serve(issuer(&format!("file:{}", file.display()), json!({})))
        .await;
    assert_eq!(status(&running, &new.token("svc-1", 60)).await, 401);
    fs::write(&file, "half a f").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        status(&running, &old.token("svc-1", 60)).await,
        200,
        "a broken file changes nothing"
    );
    running.stop().await;
    let running = house
        .serve(issuer(&format!("file:{}", file.display()), json!({"retry_s": 1})))
        .await;
    assert_eq!(
        status(&running, &old.token("svc-1", 60)).await,
        503,
        "nothing was ever read"
    );
    fs::write(&file, jwks(&[&new])).unwrap();
    until(&running, &new.token("svc-1", 60), 200).await;
    assert_eq!(status(&running, &old.token("svc-1", 60)).await, 401);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_looked_for_and_a_flood_of_them_is_not() {
    let (house, _) = house().await;
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let host = Host::new(&jwks(&[&old]), None).await;
    let url = format!("http://127.0.0.1:{}/keys", host.port);
    let running = house
        .serve(issuer(&url, json!({"dangerous_plaintext": true, "retry_s": 2})))
        .await;
    until(&running, &old.token("svc-1", 60), 200).await;
    host.serve(&jwks(&[&old, &new]));
    until(&running, &new.token("svc-1", 60), 200).await;
    assert_eq!(status(&running, &old.token("svc-1", 60)).await, 200);
    let (before, started) = (host.asked(), std::time::Instant::now());
    for n in 0..100 {
        assert_eq!(
            status(&running, &Key::new(&format!("x{n}")).token("svc-1", 60)).await,
            401
        );
    }
    let allowed = usize::try_from(started.elapsed().as_secs() / 2).unwrap() + 2;
    assert!(
        host.asked() - before <= allowed,
        "{} readings",
        host.asked() - before
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_is_believed_for_a_stated_time() {
    let (house, api_key) = house().await;
    let key = Key::new("k1");
    let host = Host::new(&jwks(&[&key]), None).await;
    let url = format!("http://127.0.0.1:{}/keys", host.port);
    let config = json!({"dangerous_plaintext": true, "retry_s": 1, "refresh_s": 1, "keep_s": 4});
    let running = house.serve(issuer(&url, config)).await;
    let token = key.token("svc-1", 600);
    until(&running, &token, 200).await;
    let elsewhere = Host::new(&jwks(&[&Key::new("evil")]), None).await;
    let away = format!(
        "location: http://127.0.0.1:{}/keys\r\ncontent-length: 0",
        elsewhere.port
    );
    host.answer(&format!(
        "HTTP/1.1 302 Found\r\n{away}\r\nconnection: close\r\n\r\n"
    ));
    assert_eq!(status(&running, &token).await, 200);
    until(&running, &token, 503).await;
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
    assert_eq!(status(&running, &api_key).await, 200);
    host.answer(&format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        "x".repeat(300 << 10)
    ));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(status(&running, &token).await, 503, "too large");
    host.serve(&jwks(&[&key]));
    until(&running, &token, 200).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_https_come_from_the_right_host_alone() {
    let (house, _) = house().await;
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, ours.pem()).unwrap();
    let key = Key::new("k1");
    let named = Wanted {
        dns: &["127.0.0.1"],
        ..Wanted::uris(&[])
    };
    for (authority, expected) in [(&ours, 200), (&theirs, 503)] {
        let host = Host::new(&jwks(&[&key]), Some(&authority.issue(&named))).await;
        let url = format!("https://127.0.0.1:{}/keys", host.port);
        let config = json!({"ca": format!("file:{}", ca.display()), "retry_s": 1});
        let running = house.serve(issuer(&url, config)).await;
        until(&running, &key.token("svc-1", 60), expected).await;
        assert!(host.asked() > 0);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_and_unbinding_bind_on_an_open_connection() {
    let (house, _) = house().await;
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (Key::new("k1"), folder.path().join("jwks.json"));
    fs::write(&file, jwks(&[&key])).unwrap();
    let running = house
        .serve(issuer(&format!("file:{}", file.display()), json!({})))
        .await;
    let (short, long) = (key.token("svc-1", 3), key.token("svc-1", 600));
    let mut connection = running.client.connect().await;
    let mut ask = async |token: &str| {
        let reply = connection.send("GET", MODEL, Some(token), Bytes::new()).await;
        reply.status
    };
    assert_eq!((ask(&short).await, ask(&long).await), (200, 200));
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!((ask(&short).await, ask(&long).await), (401, 200));
    let (actor, id) = (Actor::Operator { uid: 0 }, "robot".parse().unwrap());
    unbind_identity(
        &house.handle(),
        &actor,
        &id,
        &subject("svc-1"),
        house.keeper.now(),
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&long).await, 401);
    running.stop().await;
}
