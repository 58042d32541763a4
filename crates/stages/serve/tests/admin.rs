//! The admin listener: who may see what, and keys made, listed, rotated and revoked over it.

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_evidence::{Actor, Event};

use crate::harness::{House, Running, seven};

async fn call(running: &Running, method: &str, path: &str, key: &str, body: Value) -> crate::harness::Reply {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    running
        .admin
        .connect()
        .await
        .send(method, path, Some(key), body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_see_what_they_may() {
    let house = House::new().await;
    let admin = house.enrol("root", &["admin"]).await;
    let client = house.enrol("a", &["client"]).await;
    let operator = house.enrol("op", &["operator"]).await;
    let running = house.serve(json!({})).await;
    let paths = [
        "/metrics",
        "/admin/openapi.json",
        "/admin/v1/status",
        "/admin/v1/principals",
        "/admin/v1/keys",
    ];
    for path in paths {
        assert_eq!(
            call(&running, "GET", path, &admin, Value::Null).await.status,
            200,
            "{path}"
        );
        assert_eq!(
            call(&running, "GET", path, &client, Value::Null).await.refusal(),
            (403, "forbidden".to_owned()),
            "{path}"
        );
        assert_eq!(
            running.admin.get(path, None).await.refusal(),
            (401, "unauthenticated".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        call(&running, "GET", "/metrics", &operator, Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        call(
            &running,
            "POST",
            "/admin/v1/keys",
            &operator,
            json!({"principal": "a"})
        )
        .await
        .status,
        403
    );
    assert_eq!(
        call(&running, "PUT", "/metrics", &admin, Value::Null)
            .await
            .headers["allow"],
        "GET"
    );
    assert_eq!(
        call(&running, "GET", "/v2", &admin, Value::Null).await.status,
        404
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_says_what_is_served() {
    let house = House::new().await;
    let admin = house.enrol("root", &["admin"]).await;
    let running = house.serve(json!({})).await;
    running.client.infer(&admin, &seven()).await;
    let status = call(&running, "GET", "/admin/v1/status", &admin, Value::Null)
        .await
        .json();
    assert_eq!(
        (&status["ready"], &status["log_writable"], &status["models"]),
        (&json!(true), &json!(true), &json!(1))
    );
    let models = call(&running, "GET", "/admin/v1/models", &admin, Value::Null)
        .await
        .json();
    assert_eq!(
        (&models[0]["name"], &models[0]["environment"]),
        (&json!("digits"), &json!("prod"))
    );
    let metrics = call(&running, "GET", "/metrics", &admin, Value::Null).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        text.contains("stockade_inference_rows_total 1\n") && !text.contains("root"),
        "{text}"
    );
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    let checkpoint = call(&running, "GET", "/admin/v1/log/checkpoint", &admin, Value::Null)
        .await
        .json();
    assert_eq!(
        checkpoint["checkpoint"]
            .as_str()
            .unwrap()
            .lines()
            .filter(|line| line.starts_with('\u{2014}'))
            .count(),
        2
    );
    let document = call(&running, "GET", "/admin/openapi.json", &admin, Value::Null).await;
    assert_eq!(document.body, stockade_serve::openapi_json());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_rotated_and_revoked() {
    let house = House::new().await;
    let admin = house.enrol("root", &["admin"]).await;
    house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let asked = json!({"principal": "a", "expires_in_s": 3600});
    let made = call(&running, "POST", "/admin/v1/keys", &admin, asked).await;
    assert_eq!(made.status, 201);
    let (key, prefix) = (
        made.json()["key"].as_str().unwrap().to_owned(),
        made.json()["prefix"].clone(),
    );
    let works = async |key: &str| {
        for _ in 0..200 {
            if running.client.get("/v2", Some(key)).await.status == 200 {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        false
    };
    assert!(works(&key).await);
    let path = format!("/admin/v1/keys/{}", prefix.as_str().unwrap());
    let rotated = call(
        &running,
        "POST",
        &format!("{path}/rotate"),
        &admin,
        json!({"grace_s": 0}),
    )
    .await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert!(works(rotated.json()["key"].as_str().unwrap()).await);
    let next = format!("/admin/v1/keys/{}", rotated.json()["prefix"].as_str().unwrap());
    let revoked = call(&running, "DELETE", &next, &admin, Value::Null).await;
    assert!(revoked.json()["revoked"].is_string());
    let list = call(&running, "GET", "/admin/v1/keys", &admin, Value::Null).await;
    assert_eq!(list.json().as_array().unwrap().len(), 4);
    assert!(!String::from_utf8_lossy(&list.body).contains(&key));
    for (method, path, body, code) in [
        ("DELETE", "/admin/v1/keys/aaaaaaaa", Value::Null, 404),
        ("DELETE", "/admin/v1/keys/..%2f..", Value::Null, 404),
        ("POST", "/admin/v1/keys", json!({"principal": "ghost"}), 404),
        ("POST", "/admin/v1/keys", json!({"principal": "A B"}), 400),
        (
            "POST",
            "/admin/v1/keys",
            json!({"principal": "a", "admin": true}),
            400,
        ),
        ("POST", "/admin/v1/keys", json!([]), 400),
    ] {
        assert_eq!(
            call(&running, method, path, &admin, body.clone()).await.status,
            code,
            "{method} {path} {body}"
        );
    }
    let mut connection = running.admin.connect().await;
    let large = connection
        .send("POST", "/admin/v1/keys", Some(&admin), vec![b' '; 70_000].into())
        .await;
    assert_eq!(large.status, 413);
    running.stop().await;
    let created = house.records(Event::KeyCreated).await;
    assert_eq!(
        created.last().unwrap().actor,
        Actor::Principal { id: "root".into() }
    );
    assert_eq!(house.records(Event::KeyRevoked).await.len(), 1);
}
