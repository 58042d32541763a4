//! The watch over queries: attacks on the model through its API with the control off and on, what is done about them, and
//! that honest clients are left alone.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_access::PrincipalId;
use stockade_evidence::{Actor, Event};
use stockade_serve::release;
use stockade_store::Handle;

use crate::harness::{House, REFERENCE, about, batch, client::Connection, images};

fn watched(ladder: &[&str]) -> Value {
    with(json!({"ladder": ladder, "act_within_ms": 0}))
}

fn with(mut extraction: Value) -> Value {
    extraction["reference"] = json!("vault:digits-reference@1");
    json!({"models": {"digits": {"extraction": extraction}}})
}

/// An image, moved a little in a direction of its own, as who walks to the model's boundary does.
fn perturbed(step: usize) -> Vec<f32> {
    let (mut image, _) = images().swap_remove(REFERENCE);
    for (place, pixel) in image.iter_mut().enumerate() {
        let noise = ((place * 31 + step * 17 + place * step) % 13) as f32 / 13.0 - 0.5;
        *pixel = (*pixel + noise).clamp(0.0, 16.0);
    }
    image
}

async fn ask(connection: &mut Connection, key: &str, image: &[f32]) -> crate::harness::Reply {
    let body = Bytes::from(about(image).to_string());
    connection
        .send("POST", "/v2/models/digits/infer", Some(key), body)
        .await
}

fn scores(reply: &crate::harness::Reply) -> Vec<f64> {
    let body = reply.json();
    let data = body["outputs"][0]["data"].as_array().unwrap();
    data.iter().map(|score| score.as_f64().unwrap()).collect()
}

/// Control 32, extraction detection. One client walks around one image. Returns how many of 300 queries were answered.
async fn answers_to_a_walk(config: Value) -> usize {
    let house = House::new().await;
    let key = house.enrol("walker", &["client"]).await;
    let running = house.serve(config).await;
    let mut connection = running.client.connect().await;
    let mut answered = 0;
    for step in 0..300 {
        let reply = ask(&mut connection, &key, &perturbed(step)).await;
        if reply.status == 200 {
            answered += 1;
        } else {
            assert_eq!(reply.refusal(), (429, "blocked".to_owned()));
            assert!(!reply.headers.contains_key("retry-after"));
        }
    }
    running.stop().await;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_walk_to_the_boundary() {
    assert_eq!(answers_to_a_walk(json!({})).await, 300);
    assert_eq!(answers_to_a_walk(watched(&["record"])).await, 300);
    let answered = answers_to_a_walk(watched(&["block"])).await;
    assert!(answered < 100, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_clients_are_left_alone() {
    let house = House::new().await;
    let key = house.enrol("honest", &["client"]).await;
    let running = house.serve(watched(&["block"])).await;
    let mut connection = running.client.connect().await;
    // Fresh images, then the same ones again and again.
    for _ in 0..5 {
        for (image, _) in images().iter().skip(REFERENCE) {
            assert_eq!(ask(&mut connection, &key, image).await.status, 200);
        }
    }
    assert!(house.records(Event::ClientSuspected).await.is_empty());
    assert_eq!(house.records(Event::WatchStarted).await.len(), 1);
    running.stop().await;
}

/// Control 34, unpredictable answers. A client that was found out goes on asking. Returns of 100 answers how many have the
/// true class on top, and how many the true scores.
async fn true_answers_after_an_alarm(extraction: Value) -> (usize, usize) {
    let house = House::new().await;
    let (key, other) = (
        house.enrol("copier", &["client"]).await,
        house.enrol("honest", &["client"]).await,
    );
    let running = house.serve(with(extraction)).await;
    let mut connection = running.client.connect().await;
    for step in 0..200 {
        ask(&mut connection, &key, &perturbed(step)).await;
    }
    let top = |scores: &[f64]| {
        scores
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(class, _)| class)
    };
    let (mut classes, mut exact) = (0, 0);
    for (image, _) in images().iter().skip(REFERENCE).take(100) {
        let told = scores(&ask(&mut connection, &key, image).await);
        assert_eq!(told, scores(&ask(&mut connection, &key, image).await));
        let truth = scores(&ask(&mut connection, &other, image).await);
        classes += usize::from(top(&told) == top(&truth));
        exact += usize::from(told == truth);
    }
    running.stop().await;
    (classes, exact)
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_learn_from_the_scores() {
    let base = json!({"ladder": ["record"], "act_within_ms": 0});
    assert_eq!(true_answers_after_an_alarm(base).await, (100, 100));
    let keep = json!({"ladder": ["deceptive"], "act_within_ms": 0});
    assert_eq!(true_answers_after_an_alarm(keep).await, (100, 0));
    let broken = json!({"ladder": ["deceptive"], "deceive": "break_top1", "act_within_ms": 0});
    assert_eq!(true_answers_after_an_alarm(broken).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_survives_a_restart_and_ends_by_command() {
    let house = House::new().await;
    let key = house.enrol("walker", &["client"]).await;
    let running = house.serve(watched(&["record", "block"])).await;
    let mut connection = running.client.connect().await;
    let mut step = 0;
    while ask(&mut connection, &key, &perturbed(step)).await.status == 200 {
        step += 1;
        assert!(step < 1000, "nobody noticed");
    }
    let alarms = house.records(Event::ClientSuspected).await;
    assert!(alarms.len() >= 2, "a step for each alarm");
    assert_eq!(alarms[0].details["step"], "record");
    assert_eq!(alarms[0].details["model"], "digits");
    running.stop().await;

    let house = house.reopen(stockade_store::Config::default()).await;
    let running = house.serve(watched(&["record", "block"])).await;
    let (image, _) = &images()[REFERENCE + 1];
    let refused = running.client.infer(&key, &about(image)).await;
    assert_eq!(refused.refusal(), (429, "blocked".to_owned()));

    let handle = Handle::Local(house.keeper.clone());
    let walker: PrincipalId = "walker".parse().unwrap();
    let actor = Actor::Operator { uid: 0 };
    release(&handle, &actor, "digits", &walker, house.keeper.now())
        .await
        .unwrap();
    let again = release(&handle, &actor, "digits", &walker, house.keeper.now()).await;
    assert!(again.unwrap_err().is_usage());
    let mut status = 0;
    for _ in 0..100 {
        status = running.client.infer(&key, &about(image)).await.status;
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coarser_answer_and_a_late_one() {
    let house = House::new().await;
    let key = house.enrol("walker", &["client"]).await;
    let running = house
        .serve(with(
            json!({"ladder": ["coarser", "slow"], "act_within_ms": 0, "slow_ms": 300}),
        ))
        .await;
    let mut connection = running.client.connect().await;
    let (mut outputs, mut late) = (Vec::new(), false);
    for step in 0..1000 {
        let began = std::time::Instant::now();
        let reply = ask(&mut connection, &key, &perturbed(step)).await;
        outputs.push(reply.json()["outputs"][0]["name"].clone());
        late = began.elapsed() >= Duration::from_millis(300);
        if late {
            break;
        }
    }
    assert!(late);
    assert_eq!(outputs.first(), Some(&json!("probabilities")));
    assert_eq!(outputs.last(), Some(&json!("label")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_watched_is_not_served() {
    let house = House::new().await;
    let config = json!({"models": {"text": {
        "source": "example:linear_posts", "environment": "prod", "extraction": {"reference": "vault:r@1"},
    }}});
    let error = house.bind_error(config).await;
    assert!(error.contains("the model `text` takes rows of"), "{error}");
}

/// Control 32 again. A client asks with real rows, which no detector knows from honest ones. Returns how many bits its
/// answers could carry.
async fn bits_learned(budget: Option<u64>) -> u64 {
    let mut house = House::new().await;
    let key = house.enrol("learner", &["client"]).await;
    let config = json!({"models": {"digits": {"limits": {"bits_per_day": budget}}}});
    let mut refused = 0;
    // Again after a restart, which fills no budget.
    for _ in 0..2 {
        let running = house.serve(config.clone()).await;
        let mut connection = running.client.connect().await;
        for (image, _) in images().iter().take(30) {
            let reply = ask(&mut connection, &key, image).await;
            if reply.status != 200 {
                assert_eq!(reply.refusal(), (429, "budget_spent".to_owned()));
                assert!(
                    reply.headers["ratelimit"]
                        .to_str()
                        .unwrap()
                        .starts_with("\"bits\";r=0;t=")
                );
                refused += 1;
            }
        }
        running.stop().await;
        house = house.reopen(stockade_store::Config::default()).await;
    }
    assert_eq!(refused > 0, budget.is_some());
    let admitted = house.records(Event::RequestAdmitted).await;
    admitted
        .iter()
        .map(|record| record.details["bits"].as_u64().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_learn_beyond_the_budget() {
    // Ten scores of 32 bits, 60 times.
    assert_eq!(bits_learned(None).await, 60 * 320);
    assert_eq!(bits_learned(Some(10_000)).await, 9_920);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_bytes_have_rates_of_their_own() {
    let house = House::new().await;
    let key = house.enrol("bulk", &["client"]).await;
    let limits = json!({"limits": {"rows": {"per_second": 0.001, "burst": 10}, "bytes": {"per_second": 1e6, "burst": 20_000}}});
    let running = house.serve(limits).await;
    let ask = async |rows| running.client.infer(&key, &batch(rows)).await;
    assert_eq!(ask(11).await.refusal(), (400, "invalid_request".to_owned()));
    let first = ask(6).await;
    assert_eq!(first.status, 200);
    let policy = first.headers["ratelimit-policy"].to_str().unwrap();
    assert!(policy.ends_with("\"day\";q=100000;w=86400"), "{policy}");
    assert!(!first.headers.contains_key("ratelimit"));
    let second = ask(6).await;
    assert_eq!(second.refusal(), (429, "rate_limited".to_owned()));
    assert!(
        second.headers["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"rows\";r=0;t=")
    );
    assert_eq!(ask(4).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn little_is_left_of_a_day() {
    let house = House::new().await;
    let key = house.enrol("thrifty", &["client"]).await;
    let running = house.serve(json!({"limits": {"daily_budget": 20}})).await;
    let (image, _) = &images()[0];
    for asked in 1..=20 {
        let reply = running.client.infer(&key, &about(image)).await;
        let left = reply
            .headers
            .get("ratelimit")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(left.is_some(), asked > 18, "{asked}: {left:?}");
    }
    running.stop().await;
}
