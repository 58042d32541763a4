//! What each role sees of a model with two outputs and named classes: answers and metadata agree, and nothing more.

use serde_json::{Value, json};
use stockade_access::PolicySet;
use stockade_serve::{ConfigError, ModelError};

use crate::harness::{House, Reply, Running, configuration};

/// Serves the forest with these policies by role.
async fn forest(house: &House, output: Value) -> Running {
    let model = json!({"source": "example:forest_strings", "environment": "prod", "output": output});
    house.serve(json!({"models": {"forest": model}})).await
}

async fn ask(running: &Running, key: &str, outputs: Option<&[&str]>) -> Reply {
    let metadata = running.client.get("/v2/models/forest", Some(key)).await.json();
    let name = &metadata["inputs"][0]["name"];
    let data = json!([5.1, 3.5, 1.4, 0.2, 6.2, 2.2, 4.5, 1.5]);
    let mut body = json!({"inputs": [{"name": name, "shape": [2, 4], "datatype": "FP32", "data": data}]});
    if let Some(outputs) = outputs {
        body["outputs"] = outputs.iter().map(|name| json!({"name": name})).collect();
    }
    running.client.post("/v2/models/forest/infer", key, &body).await
}

/// The names that an answer and the metadata give; they must be the same.
async fn names(running: &Running, key: &str) -> Vec<String> {
    let name = |output: &Value| output["name"].as_str().unwrap().to_owned();
    let list = |value: &Value| {
        value["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
    };
    let answered = list(&ask(running, key, None).await.json());
    assert_eq!(
        answered,
        list(&running.client.get("/v2/models/forest", Some(key)).await.json())
    );
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_output_does_not_exist() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let full = house.enrol("b", &["operator"]).await;
    let running = forest(&house, json!({"client": {"hidden": ["output_probability"]}})).await;
    assert_eq!(
        names(&running, &full).await,
        ["output_label", "output_probability"]
    );
    assert_eq!(names(&running, &key).await, ["output_label"]);
    let reply = ask(&running, &key, None).await;
    let metadata = running.client.get("/v2/models/forest", Some(&key)).await;
    for text in [&reply.body, &metadata.body] {
        assert!(!String::from_utf8_lossy(text).contains("probability"));
    }
    let hidden = ask(&running, &key, Some(&["output_probability"])).await;
    let absent = ask(&running, &key, Some(&["output_probabilitx"])).await;
    assert_eq!(hidden.refusal(), (400, "invalid_request".to_owned()));
    assert_eq!(hidden.json()["error"], absent.json()["error"]);
    assert_eq!(ask(&running, &key, Some(&["output_label"])).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_alone_are_the_classes_with_the_greatest_scores() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let full = house.enrol("b", &["operator"]).await;
    let running = forest(&house, json!({"client": {"labels_only": true}})).await;
    let labels = ask(&running, &key, None).await.json();
    let outputs = labels["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(
        (&outputs[0]["name"], &outputs[0]["datatype"], &outputs[0]["shape"]),
        (&json!("label"), &json!("BYTES"), &json!([2]))
    );
    let model = ask(&running, &full, Some(&["output_label"])).await.json();
    assert_eq!(outputs[0]["data"], model["outputs"][0]["data"]);
    assert_eq!(names(&running, &key).await, ["label"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_roles_the_most_restrictive_parts_bind() {
    let house = House::new().await;
    let both = house.enrol("a", &["client", "operator"]).await;
    let other = house.enrol("b", &["admin"]).await;
    let output =
        json!({"client": {"top_k": 1}, "operator": {"decimals": 1}, "default": {"hidden": ["output_label"]}});
    let running = forest(&house, output).await;
    let scores = ask(&running, &both, Some(&["output_probability"])).await.scores();
    assert_eq!(scores.iter().filter(|score| **score > 0.0).count(), 2);
    assert!(
        scores
            .iter()
            .all(|score| (score * 10.0 - (score * 10.0).round()).abs() < 1e-6),
        "{scores:?}"
    );
    assert_eq!(names(&running, &other).await, ["output_probability"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_means_nothing_is_refused_at_start() {
    let house = House::new().await;
    let refused = async |output: Value| {
        let model = json!({"source": "example:forest_strings", "environment": "prod", "output": output});
        let config = configuration(json!({"models": {"forest": model}}));
        house
            .gateway(config, PolicySet::defaults().unwrap())
            .await
            .unwrap_err()
    };
    let model = |error| match error {
        ConfigError::Model(error) => error,
        other => panic!("{other}"),
    };
    let misspelt = model(refused(json!({"client": {"hidden": ["probability"]}})).await);
    assert!(matches!(misspelt, ModelError::NoSuchOutput { .. }), "{misspelt}");
    let all = model(refused(json!({"client": {"hidden": ["output_probability", "output_label"]}})).await);
    assert!(matches!(all, ModelError::NothingVisible { .. }), "{all}");
    let hidden = json!({"client": {"labels_only": true, "hidden": ["output_probability"]}});
    let scoreless = model(refused(hidden).await);
    assert!(
        matches!(
            scoreless,
            ModelError::NoScores {
                part: "labels_only",
                ..
            }
        ),
        "{scoreless}"
    );
    let role = refused(json!({"Client!": {}})).await;
    assert!(matches!(role, ConfigError::Role { .. }), "{role}");
}
