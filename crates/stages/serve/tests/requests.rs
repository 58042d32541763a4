//! What a client sends and what it gets: the happy path, and each refusal with its code and record.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_access::Environment;
use stockade_evidence::{Actor, Decision, Event};

use crate::harness::{House, Reply, batch, client::request, prefix_of, seven, sevens_label};

fn greatest(scores: &[f64]) -> usize {
    (0..scores.len())
        .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seven_is_a_seven_and_both_records_say_so() {
    let house = House::new().await;
    let key = house.enrol("digits-client", &["client"]).await;
    let running = house.serve(json!({})).await;
    let mut asked = seven();
    asked["id"] = json!("mine-1");
    let reply = running.client.infer(&key, &asked).await;
    let scores = reply.scores();
    assert_eq!(scores.len(), 10);
    assert_eq!(greatest(&scores) as i64, sevens_label());
    let body = reply.json();
    assert_eq!(
        (&body["id"], &body["model_name"], &body["model_version"]),
        (&json!("mine-1"), &json!("digits"), &json!("1"))
    );
    let request_id = reply.headers["x-request-id"].to_str().unwrap().to_owned();
    running.stop().await;

    let admitted = house.records(Event::RequestAdmitted).await;
    assert_eq!(admitted.len(), 1);
    assert_eq!(admitted[0].id.to_string(), request_id);
    assert_eq!(
        admitted[0].actor,
        Actor::Principal {
            id: "digits-client".into()
        }
    );
    assert_eq!(admitted[0].subject.as_ref().unwrap().version, Some(1));
    assert_eq!(admitted[0].details["action"], "model.infer");
    let Some(Decision::Allowed { policies }) = &admitted[0].decision else {
        panic!("{admitted:?}")
    };
    assert!(
        policies.iter().any(|policy| policy.starts_with("client.cedar")),
        "{policies:?}"
    );
    let outcome = house.records(Event::RequestOutcome).await;
    assert_eq!(outcome.len(), 1);
    assert_eq!(outcome[0].details["request_id"], request_id.as_str());
    assert_eq!(
        (&outcome[0].details["status"], &outcome[0].details["rows"]),
        (&json!(200), &json!(1))
    );
    assert_eq!(outcome[0].details["output_policy"], "full");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_answers_and_each_has_its_record() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let bearer = key.as_str();
    let key = Some(bearer);
    let model = running.client.get("/v2/models/digits", key).await.json();
    assert_eq!(
        (&model["name"], &model["versions"], &model["platform"]),
        (&json!("digits"), &json!(["1"]), &json!("onnx"))
    );
    assert_eq!(model["inputs"][0]["datatype"], "FP32");
    assert_eq!(
        model["outputs"][0]["labels"],
        json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    );
    for path in [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/digits/ready",
        "/v2/models/digits/versions/1",
    ] {
        assert_eq!(running.client.get(path, key).await.status, 200, "{path}");
    }
    assert_eq!(
        running
            .client
            .over_http2("GET", "/v2", key, Bytes::new())
            .await
            .0
            .json()["name"],
        "stockade"
    );
    assert_eq!(house.records(Event::RequestAdmitted).await.len(), 7);
    running.stop().await;
    assert_eq!(house.records(Event::RequestOutcome).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_need_no_key_and_leave_no_record() {
    let house = House::new().await;
    let running = house.serve(json!({})).await;
    for client in [&running.client, &running.admin] {
        assert_eq!(client.get("/livez", None).await.json(), json!({"live": true}));
        assert_eq!(client.get("/readyz", None).await.json(), json!({"ready": true}));
    }
    assert!(house.records(Event::RequestAdmitted).await.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_3_is_spoken() {
    let house = House::new().await;
    let running = house.serve(json!({})).await;
    assert!(
        running
            .client
            .tls(b"http/1.1", &[&rustls::version::TLS12])
            .await
            .is_err()
    );
    let stream = running
        .client
        .tls(b"h2", &[&rustls::version::TLS13])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    running.stop().await;
    let merged = house.records(Event::RequestsRefused).await;
    assert!(merged.iter().any(|record| matches!(
        &record.decision, Some(Decision::Refused { code, .. }) if code == "tls_handshake_failed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_key_nothing_is_told() {
    let house = House::new().await;
    let good = house.enrol("a", &["client"]).await;
    let expired = house
        .key_of("a", Some(house.keeper.now().plus_ms(1)))
        .await
        .expose()
        .to_owned();
    let running = house.serve(json!({})).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let unknown = format!("stk_aaaaaaaa_{}", "A".repeat(43));
    let last = if good.ends_with('A') { "B" } else { "A" };
    let wrong: String = good.chars().take(good.len() - 1).chain(last.chars()).collect();
    for key in [
        None,
        Some("x"),
        Some(""),
        Some(unknown.as_str()),
        Some(wrong.as_str()),
        Some(expired.as_str()),
    ] {
        for path in ["/v2", "/v2/models/digits", "/v2/models/none", "/nowhere"] {
            let reply = running.client.get(path, key).await;
            assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()), "{path}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
        }
    }
    running.stop().await;
    let merged = house.records(Event::RequestsRefused).await;
    let count = |reason: &str| -> u64 {
        merged
            .iter()
            .filter(
                |record| matches!(&record.decision, Some(Decision::Refused { code, .. }) if code == reason),
            )
            .map(|record| record.details["count"].as_u64().unwrap())
            .sum()
    };
    assert_eq!((count("missing_key"), count("malformed_key")), (8, 4));
    assert_eq!((count("unknown_key"), count("expired_key")), (8, 4));
    assert!(
        merged
            .iter()
            .all(|record| record.details["source"] == "127.0.0.0/24")
    );
    assert!(merged.len() <= 8, "{}", merged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_within_a_second() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let mut connection = running.client.connect().await;
    assert_eq!(
        connection
            .send("GET", "/v2", Some(&key), Bytes::new())
            .await
            .status,
        200
    );
    let prefix = prefix_of(&key);
    let handle = stockade_store::Handle::Local(house.keeper.clone());
    let actor = Actor::Operator { uid: 0 };
    stockade_access::revoke_key(&handle, &actor, &prefix, house.keeper.now())
        .await
        .unwrap();
    let revoked = tokio::time::Instant::now();
    while connection
        .send("GET", "/v2", Some(&key), Bytes::new())
        .await
        .status
        != 401
    {
        assert!(revoked.elapsed() < Duration::from_secs(1));
    }
    running.stop().await;
}

/// Everything but the request id and the date.
fn comparable(reply: &Reply) -> (u16, Value, Vec<(String, String)>) {
    let mut body = reply.json();
    body["request_id"] = Value::Null;
    let headers = reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id" && *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (reply.status, body, headers.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_one_may_not_see_does_not_exist() {
    let house = House::new().await;
    let prod = house.enrol("prod-client", &["client"]).await;
    let test = house
        .enrol_in("test-client", &["client"], Environment::Test)
        .await;
    let nobody = house.enrol("nobody", &["guest"]).await;
    let running = house.serve(json!({})).await;
    for key in [&test, &nobody] {
        for (method, suffix) in [
            ("POST", "/infer"),
            ("GET", ""),
            ("GET", "/ready"),
            ("GET", "/versions/1"),
        ] {
            let mut connection = running.client.connect().await;
            let body = Bytes::from(seven().to_string());
            let hidden = connection
                .send(
                    method,
                    &format!("/v2/models/digits{suffix}"),
                    Some(key),
                    body.clone(),
                )
                .await;
            let mut connection = running.client.connect().await;
            let absent = connection
                .send(method, &format!("/v2/models/ghosts{suffix}"), Some(key), body)
                .await;
            assert_eq!(comparable(&hidden), comparable(&absent), "{method} {suffix}");
            assert_eq!(hidden.refusal(), (404, "not_found".to_owned()));
        }
    }
    let absent = running
        .client
        .get("/v2/models/digits/versions/2", Some(&prod))
        .await;
    assert_eq!(
        comparable(&absent),
        comparable(&running.client.get("/v2/models/ghosts", Some(&prod)).await)
    );
    running.stop().await;
    let refused = house.records(Event::RequestRefused).await;
    assert_eq!(refused.len(), 18);
    assert!(!serde_json::to_string(&refused).unwrap().contains("ghosts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_look_but_not_ask_is_told_so() {
    let house = House::new().await;
    let key = house.enrol("looker", &["looker"]).await;
    let policy = r#"permit (principal in Role::"looker", action == Action::"model.metadata", resource);"#;
    let policies = stockade_access::PolicySet::parse(&[("looker.cedar".into(), policy.into())]).unwrap();
    let running = house.serve_under(json!({}), policies).await;
    assert_eq!(
        running.client.get("/v2/models/digits", Some(&key)).await.status,
        200
    );
    assert_eq!(
        running.client.infer(&key, &seven()).await.refusal(),
        (403, "forbidden".to_owned())
    );
    assert_eq!(
        running.client.get("/v2", Some(&key)).await.refusal(),
        (403, "forbidden".to_owned())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_fit_are_refused() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({"models": {"digits": {"max_rows": 8}}})).await;
    let with = |change: fn(&mut Value)| {
        let mut body = seven();
        change(&mut body);
        body.to_string()
    };
    let nested = format!(
        "{{\"x\":{}1{},\"inputs\":[]}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for body in [
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        nested,
        with(|body| body["inputs"] = json!([])),
        with(|body| body["inputs"][0]["name"] = json!("marker")),
        with(|body| body["inputs"][0]["datatype"] = json!("FP64")),
        with(|body| body["inputs"][0]["datatype"] = json!("FP16")),
        with(|body| body["inputs"][0]["datatype"] = json!("BYTES")),
        with(|body| body["inputs"][0]["shape"] = json!([64])),
        with(|body| body["inputs"][0]["shape"] = json!([2, 64])),
        with(|body| body["inputs"][0]["shape"] = json!([0, 64])),
        with(|body| body["inputs"][0]["shape"] = json!([-1, 64])),
        with(|body| body["inputs"][0]["shape"] = json!([u64::MAX, 64])),
        with(|body| body["inputs"][0]["data"][0] = json!("1")),
        with(|body| body["inputs"][0]["data"][0] = json!(null)),
        with(|body| body["inputs"][0]["data"][0] = json!(1e300)),
        seven().to_string().replacen("[0,3", "[NaN,3", 1),
        seven().to_string().replacen("[0,3", "[1e999,3", 1),
        seven().to_string().replacen("[0,3", "[-Infinity,3", 1),
        with(|body| body["outputs"] = json!([{"name": "weights"}])),
        batch(9).to_string(),
    ] {
        let mut connection = running.client.connect().await;
        let start: String = body.chars().take(200).collect();
        let reply = connection
            .send("POST", "/v2/models/digits/infer", Some(&key), body.into())
            .await;
        assert_eq!(reply.refusal(), (400, "invalid_request".to_owned()), "{start}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("marker"));
    }
    assert_eq!(running.client.infer(&key, &batch(8)).await.scores().len(), 80);
    running.stop().await;
    assert_eq!(house.records(Event::RequestRefused).await.len(), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_forms_and_methods_are_named() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({"bodies": {"max_bytes": 10_000}})).await;
    let infer = "/v2/models/digits/infer";
    let send = async |method: &str, path: &str, header: Option<(&'static str, &'static str)>, body: Bytes| {
        let mut request = request(method, path, Some(&key), body);
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        running.client.connect().await.request(request).await
    };
    let reply = send("GET", infer, None, Bytes::new()).await;
    assert_eq!(reply.refusal(), (405, "method_not_allowed".to_owned()));
    assert_eq!(reply.headers["allow"], "POST");
    let html = send("POST", infer, Some(("content-type", "text/html")), "x".into()).await;
    assert_eq!(html.refusal(), (415, "unsupported_media".to_owned()));
    let zipped = send("POST", infer, Some(("content-encoding", "br")), "x".into()).await;
    assert_eq!(zipped.refusal(), (415, "unsupported_media".to_owned()));
    let large = send("POST", infer, None, vec![b' '; 10_001].into()).await;
    assert_eq!(large.refusal(), (413, "body_too_large".to_owned()));
    for path in [
        "/",
        "/v2/",
        "/v2/models/%2e%2e/infer",
        "/v2/models/digits/files",
        "/metrics",
        "/admin/v1/status",
    ] {
        assert_eq!(
            send("GET", path, None, Bytes::new()).await.refusal(),
            (404, "not_found".to_owned()),
            "{path}"
        );
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reach_http2_clients_that_still_send() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({"bodies": {"max_bytes": 100_000}})).await;
    let infer = "/v2/models/digits/infer";
    let post = async |path: &str, key: Option<&str>, bytes: usize| {
        let body = vec![b' '; bytes].into();
        let (reply, sent) = running.client.over_http2("POST", path, key, body).await;
        // An answer that comes earlier resets the stream under a client that sends, which several clients take for a
        // failure.
        assert!(sent == bytes || bytes > 4 << 20, "{sent} of {bytes}");
        reply.refusal()
    };
    for _ in 0..10 {
        assert_eq!(
            post(infer, None, 90_000).await,
            (401, "unauthenticated".to_owned())
        );
        assert_eq!(
            post(infer, Some(&key), 150_000).await,
            (413, "body_too_large".to_owned())
        );
        assert_eq!(post("/v2", Some(&key), 90_000).await.0, 405);
    }
    // More than anybody reads: the answer still comes before the stream ends.
    assert_eq!(post(infer, None, 8 << 20).await.0, 401);
    assert_eq!(post(infer, Some(&key), 8 << 20).await.0, 413);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_client_reaches_the_folder() {
    const MARKER: &str = "Xq7markerZ";
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let mut body = seven();
    body["id"] = json!(MARKER);
    body["parameters"] = json!({MARKER: MARKER});
    assert_eq!(running.client.infer(&key, &body).await.json()["id"], MARKER);
    body["inputs"][0]["name"] = json!(MARKER);
    running.client.infer(&key, &body).await;
    body["inputs"][0] = json!({"name": "pixels", "shape": [1], "datatype": "BYTES", "data": [MARKER]});
    running.client.infer(&key, &body).await;
    body["outputs"] = json!([{"name": MARKER}]);
    running.client.infer(&key, &body).await;
    running
        .client
        .get(&format!("/v2/models/{MARKER}"), Some(&key))
        .await;
    running.client.get(&format!("/{MARKER}"), Some(&key)).await;
    running.client.get("/v2", Some(MARKER)).await;
    running
        .client
        .get("/v2", Some(&format!("stk_aaaaaaaa_{MARKER}{}", "A".repeat(33))))
        .await;
    running
        .admin
        .get(&format!("/admin/v1/keys/{MARKER}"), Some(&key))
        .await;
    let mut claimed = request("GET", "/v2", Some(&key), Bytes::new());
    for header in ["x-forwarded-for", "x-principal", "user-agent", "x-request-id"] {
        claimed.headers_mut().insert(header, MARKER.parse().unwrap());
    }
    running.client.connect().await.request(claimed).await;
    running.stop().await;
    house.keeper.integrated().await.unwrap();
    let (mut folders, mut read) = (vec![house.dir().state().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes
                    .windows(MARKER.len())
                    .any(|window| window == MARKER.as_bytes());
                assert!(!found, "{}", entry.path().display());
                read += 1;
            }
        }
    }
    assert!(read > 5);
}
