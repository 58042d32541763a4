//! Attack tests of the controls that live in the gateway: one body runs with the control off and with it on, and the
//! attack must work only the first time.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_access::{Environment, PolicySet};
use stockade_evidence::{Event, LogVerifier, decode_entries, verify_log};
use stockade_store::FolderSource;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{House, prefix_of, seven};

fn policies(text: &str) -> PolicySet {
    PolicySet::parse(&[("attack.cedar".into(), text.into())]).unwrap()
}

/// Control 29, access control. A workload of the test environment asks a production model.
async fn stolen_answers(policies: PolicySet) -> usize {
    let house = House::new().await;
    let key = house.enrol_in("outsider", &["client"], Environment::Test).await;
    let running = house.serve_under(json!({}), policies).await;
    let mut stolen = 0;
    for _ in 0..20 {
        stolen += usize::from(running.client.infer(&key, &seven()).await.status == 200);
    }
    running.stop().await;
    stolen
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_other_environments_model() {
    assert_eq!(
        stolen_answers(policies("permit (principal, action, resource);")).await,
        20
    );
    assert_eq!(stolen_answers(PolicySet::defaults().unwrap()).await, 0);
}

/// Control 29 again. A key goes on being used after it leaked; `revoked` says whether anybody did something about it.
async fn answers_to_a_leaked_key(revoked: bool) -> usize {
    let house = House::new().await;
    let key = house.enrol("leaky", &["client"]).await;
    let running = house.serve(json!({})).await;
    if revoked {
        let handle = stockade_store::Handle::Local(house.keeper.clone());
        let (actor, prefix) = (stockade_evidence::Actor::Operator { uid: 0 }, prefix_of(&key));
        stockade_access::revoke_key(&handle, &actor, &prefix, house.keeper.now())
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let mut answered = 0;
    for _ in 0..10 {
        answered += usize::from(running.client.infer(&key, &seven()).await.status == 200);
    }
    running.stop().await;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_leaked_key() {
    assert_eq!(answers_to_a_leaked_key(false).await, 10);
    assert_eq!(answers_to_a_leaked_key(true).await, 0);
}

/// Control 30, rate and query limits. One principal asks 300 times as fast as it can, and again after a restart, as
/// who copies a model does. Returns how many answers it got.
async fn harvested(limits: Value) -> usize {
    let mut house = House::new().await;
    let key = house.enrol("copier", &["client"]).await;
    let mut answered = 0;
    for _ in 0..2 {
        let running = house.serve(limits.clone()).await;
        let mut connection = running.client.connect().await;
        for _ in 0..150 {
            let body = Bytes::from(seven().to_string());
            let reply = connection
                .send("POST", "/v2/models/digits/infer", Some(&key), body)
                .await;
            answered += usize::from(reply.status == 200);
        }
        running.stop().await;
        house = house.reopen(stockade_store::Config::default()).await;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_mass_queries() {
    assert_eq!(harvested(json!({})).await, 300);
    assert_eq!(harvested(json!({"limits": {"daily_budget": 40}})).await, 40);
    let slow = json!({"limits": {"principal": {"per_second": 0.01, "burst": 20}}});
    assert!(harvested(slow).await <= 42);
}

/// Control 30 again. One principal sends bodies that never end and keeps its connections open. Returns the status that
/// another principal gets for one small request.
async fn beside_slow_bodies(config: Value) -> u16 {
    let house = House::new().await;
    let (slow, victim) = (
        house.enrol("slow", &["client"]).await,
        house.enrol("victim", &["client"]).await,
    );
    let running = house.serve(config).await;
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {slow}\r\ncontent-length: 65536\r\n\r\n"
    );
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = running
            .client
            .tls(b"http/1.1", &[&rustls::version::TLS13])
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b' '; 65_535]).await.unwrap();
        open.push(stream);
    }
    // The bodies are in when the gateway has had time to read them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = running.client.infer(&victim, &seven()).await.status;
    drop(open);
    running.stop().await;
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_lock_out_by_slow_bodies() {
    let bodies =
        json!({"max_bytes": 65_536, "max_bytes_in_all": 262_144, "max_bytes_per_principal": 262_144});
    let off = json!({"bodies": bodies, "limits": {"max_concurrent_per_principal": 100}});
    assert_eq!(beside_slow_bodies(off).await, 503);
    let on = json!({"bodies": {"max_bytes": 65_536, "max_bytes_in_all": 262_144}});
    assert_eq!(beside_slow_bodies(on).await, 200);
}

/// Control 30 once more. One principal fills the queue for the models with as many requests as it can.
async fn beside_a_crowd(limits: Value) -> bool {
    let house = House::new().await;
    let (crowd, victim) = (
        house.enrol("crowd", &["client"]).await,
        house.enrol("victim", &["client"]).await,
    );
    let running = house
        .serve(json!({"limits": limits, "models": {"digits": {"max_rows": 20_000}}}))
        .await;
    let (many, client) = (crate::harness::batch(10_000), running.client.clone());
    let mut attack = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (many, client, crowd) = (many.clone(), client.clone(), crowd.clone());
        attack.spawn(async move {
            for _ in 0..5 {
                client.infer(&crowd, &many).await;
            }
        });
    }
    let mut locked_out = false;
    while !attack.is_empty() && !locked_out {
        locked_out = running.client.infer(&victim, &seven()).await.status == 503;
        while attack.try_join_next().is_some() {}
    }
    attack.shutdown().await;
    running.stop().await;
    locked_out
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_lock_out_by_a_crowd() {
    assert!(
        beside_a_crowd(json!({"workers": 1, "max_queued": 3, "max_concurrent_per_principal": 100})).await
    );
    assert!(!beside_a_crowd(json!({"workers": 1, "max_queued": 3})).await);
}

/// Control 31, output shaping. A score-based attacker changes one pixel at a time by 1/16 of the range and needs the
/// answer to move. Returns how many of the 64 pixels gave it a direction.
async fn pixels_with_a_direction(output: Value) -> usize {
    let house = House::new().await;
    let key = house.enrol("climber", &["client"]).await;
    let running = house
        .serve(json!({"models": {"digits": {"output": {"client": output}}}}))
        .await;
    let mut connection = running.client.connect().await;
    let mut ask = async |body: &Value| {
        let body = Bytes::from(body.to_string());
        let reply = connection
            .send("POST", "/v2/models/digits/infer", Some(&key), body)
            .await
            .json();
        reply["outputs"].clone()
    };
    let base = ask(&seven()).await;
    let mut moved = 0;
    for pixel in 0..64 {
        let mut changed = seven();
        let value = changed["inputs"][0]["data"][pixel].as_f64().unwrap();
        changed["inputs"][0]["data"][pixel] = json!(if value < 16.0 { value + 1.0 } else { value - 1.0 });
        moved += usize::from(ask(&changed).await != base);
    }
    running.stop().await;
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_score_hill_climbing() {
    assert!(pixels_with_a_direction(json!({})).await >= 56);
    assert!(pixels_with_a_direction(json!({"decimals": 1})).await <= 6);
    assert_eq!(pixels_with_a_direction(json!({"labels_only": true})).await, 0);
}

/// Control 36, audit log. Somebody with the folder changes who asked, in the log's own files. Returns whether a reader
/// who looks as `reader` does notices.
async fn rewriting_is_noticed(reader: fn(&Path, &[LogVerifier]) -> bool) -> bool {
    let house = House::new().await;
    let key = house.enrol("mallory", &["client"]).await;
    let running = house.serve(json!({})).await;
    assert_eq!(running.client.infer(&key, &seven()).await.status, 200);
    running.stop().await;
    let origin = house.keeper.health().log.origin;
    let keys = house.provider().log_keys().unwrap();
    let verifier = LogVerifier {
        name: origin,
        ed25519: keys.ed25519.verifying_key(),
        ml_dsa_44: keys.ml_dsa_44.verifying_key(),
    };
    let log = house.dir().log();
    assert_eq!(house.records(Event::RequestAdmitted).await.len(), 1);
    house.keeper.close().await.unwrap();
    assert!(!reader(&log, std::slice::from_ref(&verifier)));
    let mut changed = 0;
    for file in entry_bundles(&log) {
        let text = fs::read(&file).unwrap();
        let innocent = replace(&text, b"mallory", b"trusted");
        changed += usize::from(innocent != text);
        fs::write(&file, innocent).unwrap();
    }
    assert!(changed > 0);
    reader(&log, &[verifier])
}

fn entry_bundles(log: &Path) -> Vec<std::path::PathBuf> {
    let listing = FolderSource::new(log).listing().unwrap();
    listing
        .iter()
        .filter(|path| path.starts_with("tile/entries/"))
        .map(|path| log.join(path))
        .collect()
}

fn replace(text: &[u8], from: &[u8; 7], to: &[u8; 7]) -> Vec<u8> {
    let mut text = text.to_vec();
    for start in 0..text.len().saturating_sub(from.len() - 1) {
        if text[start..].starts_with(from) {
            text[start..start + to.len()].copy_from_slice(to);
        }
    }
    text
}

/// Reads records as one reads any log file: whatever parses is believed.
fn believes(log: &Path, _: &[LogVerifier]) -> bool {
    entry_bundles(log).iter().any(|file| {
        let bundle = fs::read(file).unwrap();
        let entries = decode_entries(&bundle).unwrap();
        entries
            .iter()
            .any(|entry| stockade_evidence::Record::from_leaf(entry).is_err())
    })
}

/// Holds the records against the signed checkpoint.
fn verifies(log: &Path, verifiers: &[LogVerifier]) -> bool {
    let source = FolderSource::new(log);
    let listing = source.listing().unwrap();
    !verify_log(&source, Some(&listing), verifiers, None, 0, &|_| {}).ok
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_rewritten_log() {
    assert!(!rewriting_is_noticed(believes).await);
    assert!(rewriting_is_noticed(verifies).await);
}
