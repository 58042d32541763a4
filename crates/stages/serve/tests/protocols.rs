//! One model through every protocol: binary tensors, compressed bodies, gRPC, TensorFlow Serving's, and what a role may
//! learn or do beside inference.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use serde_json::{Value, json};
use stockade_access::{PolicySet, default_policies};
use stockade_evidence::Event;
use stockade_protocol::{
    InferRequest, RequestedOutput, WireData, WireTensor, WireType,
    grpc::{
        Contents, GrpcMethod, ModelConfig, ModelConfigRequest, ModelConfigResponse, ModelMetadataRequest,
        ModelMetadataResponse, ModelStatisticsResponse, RepositoryIndexResponse, ServerMetadataResponse,
        decode, encode, frame, parse_grpc_infer_response, write_grpc_infer_request,
    },
    oip::{
        BodyLimits, parse_binary_infer_response, parse_infer_request, write_binary_infer_request,
        write_infer_request,
    },
};

use crate::harness::{Called, House, Reply, Running, batch, client::request, seven, sevens_label};

/// The example's request as the protocols' common words.
fn asked() -> InferRequest {
    parse_infer_request(seven().to_string().as_bytes(), &BodyLimits::default()).unwrap()
}

async fn post(
    running: &Running,
    path: &str,
    key: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Reply {
    let mut request = request("POST", path, Some(key), body);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    running.client.connect().await.request(request).await
}

const INFER: &str = "/v2/models/digits/infer";

fn framed(message: &[u8]) -> Vec<u8> {
    [&frame(message.len()).unwrap(), message].concat()
}

async fn infer_grpc(running: &Running, key: &str, request: &InferRequest, contents: Contents) -> Called {
    let message = write_grpc_infer_request(request, "digits", None, contents).unwrap();
    let path = GrpcMethod::ModelInfer.path();
    running.grpc.call(path, Some(key), &[], framed(&message)).await
}

fn grpc_outputs(called: &Called) -> Vec<WireTensor> {
    parse_grpc_infer_response(called.message(), &BodyLimits::default())
        .unwrap()
        .outputs
}

fn binary_outputs(reply: &Reply) -> Vec<WireTensor> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    let length = reply.headers["inference-header-content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    parse_binary_infer_response(&reply.body, length, &BodyLimits::default())
        .unwrap()
        .outputs
}

fn scores(outputs: &[WireTensor]) -> Vec<f32> {
    match outputs {
        [
            WireTensor {
                data: WireData::F32(scores),
                ..
            },
        ] => scores.clone(),
        other => panic!("{other:?}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_gives_the_same_scores() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let answer = running.client.infer(&key, &seven()).await;
    let json = answer.scores();
    let expected: Vec<f32> = serde_json::from_value(answer.json()["outputs"][0]["data"].clone()).unwrap();
    let mut request = asked();
    for contents in [Contents::Raw, Contents::Typed] {
        assert_eq!(
            scores(&grpc_outputs(
                &infer_grpc(&running, &key, &request, contents).await
            )),
            expected
        );
    }
    request.binary_outputs = Some(true);
    let body = write_binary_infer_request(&request, |_| true).unwrap();
    let length = body.json_length.to_string();
    let header = ("inference-header-content-length", length.as_str());
    let reply = post(&running, INFER, &key, &[header], body.bytes.clone().into()).await;
    assert_eq!(scores(&binary_outputs(&reply)), expected);
    let raw = body.bytes[body.json_length..].to_vec();
    let reply = post(
        &running,
        INFER,
        &key,
        &[("inference-header-content-length", "0")],
        raw.into(),
    )
    .await;
    assert_eq!(scores(&binary_outputs(&reply)), expected);
    for (coding, zipped) in [("gzip", gzip(&body.bytes)), ("deflate", deflate(&body.bytes))] {
        let reply = post(
            &running,
            INFER,
            &key,
            &[header, ("content-encoding", coding)],
            zipped.into(),
        )
        .await;
        assert_eq!(scores(&binary_outputs(&reply)), expected, "{coding}");
    }
    let image = &seven()["inputs"][0]["data"];
    for (form, answer) in [("instances", "predictions"), ("inputs", "outputs")] {
        let reply = running
            .client
            .post("/v1/models/digits:predict", &key, &json!({form: [image]}))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let row = reply.json()[answer][0].as_array().unwrap().clone();
        assert_eq!(
            row.iter()
                .map(|score| score.as_f64().unwrap())
                .collect::<Vec<_>>(),
            json
        );
    }
    running.stop().await;
    assert_eq!(house.records(Event::RequestAdmitted).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_calls_may_be_compressed_within_bounds() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house
        .serve(json!({"bodies": {"max_bytes": 100_000, "max_compression_ratio": 50}}))
        .await;
    let message = write_grpc_infer_request(&asked(), "digits", None, Contents::Raw).unwrap();
    let path = GrpcMethod::ModelInfer.path();
    let compressed = |bytes: Vec<u8>| {
        let mut body = framed(&bytes);
        body[0] = 1;
        body
    };
    for (coding, zipped) in [("gzip", gzip(&message)), ("deflate", deflate(&message))] {
        let headers = [("grpc-encoding", coding)];
        let called = running
            .grpc
            .call(path, Some(&key), &headers, compressed(zipped))
            .await;
        assert_eq!(scores(&grpc_outputs(&called)).len(), 10, "{coding}");
        let plain = running
            .grpc
            .call(path, Some(&key), &headers, framed(&message))
            .await;
        assert_eq!(grpc_outputs(&plain).len(), 1);
        let bomb = match coding {
            "gzip" => gzip(&vec![0; 90_000]),
            _ => deflate(&vec![0; 90_000]),
        };
        let refused = running
            .grpc
            .call(path, Some(&key), &headers, compressed(bomb))
            .await;
        assert_eq!(refused.refusal(), (8, "body_too_large".to_owned()), "{coding}");
    }
    let unnamed = running
        .grpc
        .call(path, Some(&key), &[], compressed(gzip(&message)))
        .await;
    assert_eq!(unnamed.refusal(), (3, "invalid_request".to_owned()));
    let other = running
        .grpc
        .call(path, Some(&key), &[("grpc-encoding", "snappy")], framed(&message))
        .await;
    assert_eq!(other.refusal(), (12, "unsupported_media".to_owned()));
    assert_eq!(other.headers["grpc-accept-encoding"], "identity,deflate,gzip");
    let large = running
        .grpc
        .call(path, Some(&key), &[], framed(&vec![0; 100_001]))
        .await;
    assert_eq!(large.refusal(), (8, "body_too_large".to_owned()));
    let twice = gzip(&gzip(seven().to_string().as_bytes()));
    let headers = [("content-encoding", "gzip, gzip")];
    let refused = post(&running, INFER, &key, &headers, twice.into()).await;
    assert_eq!(refused.refusal(), (415, "unsupported_media".to_owned()));
    let bomb = gzip(&vec![b' '; 90_000]);
    let refused = post(
        &running,
        INFER,
        &key,
        &[("content-encoding", "gzip")],
        bomb.into(),
    )
    .await;
    assert_eq!(refused.refusal(), (413, "body_too_large".to_owned()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_as_a_request_is() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house.serve(json!({})).await;
    let path = GrpcMethod::ModelInfer.path();
    let message = write_grpc_infer_request(&asked(), "digits", None, Contents::Raw).unwrap();
    let to = |model: &str| framed(&write_grpc_infer_request(&asked(), model, None, Contents::Raw).unwrap());
    let call = async |path: &str, key: Option<&str>, headers: &[(&'static str, &str)], body: Vec<u8>| {
        running.grpc.call(path, key, headers, body).await.refusal()
    };
    let refused = |status: u8, code: &str| (status, code.to_owned());
    assert_eq!(
        call(path, None, &[], framed(&message)).await,
        refused(16, "unauthenticated")
    );
    assert_eq!(
        call(path, Some("x"), &[], framed(&message)).await,
        refused(16, "unauthenticated")
    );
    let key = Some(key.as_str());
    assert_eq!(call(path, key, &[], to("none")).await, refused(5, "not_found"));
    assert_eq!(
        call(path, key, &[], message.clone()).await,
        refused(3, "invalid_request")
    );
    assert_eq!(
        call(path, key, &[], framed(b"\xff\xff")).await,
        refused(3, "invalid_request")
    );
    assert_eq!(
        call(path, key, &[("grpc-timeout", "0n")], framed(&message)).await,
        refused(4, "upstream_timeout")
    );
    assert_eq!(
        call(path, key, &[("grpc-timeout", "soon")], framed(&message)).await,
        refused(3, "invalid_request")
    );
    let stream = GrpcMethod::ModelStreamInfer.path();
    assert_eq!(
        call(stream, key, &[], framed(&message)).await,
        refused(12, "not_served")
    );
    assert_eq!(
        call("/grpc.health.v1.Health/Check", key, &[], framed(b"")).await,
        refused(12, "not_served")
    );
    let json = [("content-type", "application/grpc+json")];
    assert_eq!(
        call(path, key, &json, framed(&message)).await,
        refused(12, "unsupported_media")
    );
    assert!(
        running
            .grpc
            .tls(b"http/1.1", &[&rustls::version::TLS13])
            .await
            .is_err()
    );
    let in_time = running
        .grpc
        .call(path, key, &[("grpc-timeout", "1M")], framed(&message))
        .await;
    assert_eq!(grpc_outputs(&in_time).len(), 1);
    running.stop().await;
    assert_eq!(house.records(Event::RequestAdmitted).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_calls_whose_messages_do_not_come_hold_no_more_than_a_share() {
    let house = House::new().await;
    let slow = house.enrol("a", &["client"]).await;
    let other = house.enrol("b", &["client"]).await;
    let limits = json!({"max_concurrent_per_principal": 2});
    let running = house.serve(json!({"limits": limits})).await;
    let path = GrpcMethod::ModelInfer.path();
    let _stuck = [
        running.grpc.stuck_call(path, &slow).await,
        running.grpc.stuck_call(path, &slow).await,
    ];
    let message = framed(&write_grpc_infer_request(&asked(), "digits", None, Contents::Raw).unwrap());
    let mut crowded = false;
    for _ in 0..200 {
        let called = running.grpc.call(path, Some(&slow), &[], message.clone()).await;
        crowded = called.message.is_none();
        if crowded {
            assert_eq!(called.refusal(), (8, "rate_limited".to_owned()));
            break;
        }
    }
    assert!(crowded, "its calls take no place");
    let called = running.grpc.call(path, Some(&other), &[], message).await;
    assert_eq!(grpc_outputs(&called).len(), 1);
    drop(_stuck);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_follows_role_and_policy() {
    let house = House::new().await;
    let client = house.enrol("a", &["client"]).await;
    let operator = house.enrol("b", &["operator"]).await;
    let hidden = json!({"hidden": ["output_probability"]});
    let forest =
        json!({"source": "example:forest_strings", "environment": "prod", "output": {"operator": hidden}});
    let running = house.serve(json!({"models": {"forest": forest}})).await;
    running.client.infer(&client, &batch(3)).await;
    let get = async |path: &str, key: &str| running.client.get(path, Some(key)).await;
    for path in [
        "/v2/models/digits/config",
        "/v2/models/digits/stats",
        "/v2/models/stats",
    ] {
        assert_eq!(
            get(path, &client).await.refusal(),
            (403, "forbidden".to_owned()),
            "{path}"
        );
    }
    let config = get("/v2/models/forest/config", &operator).await;
    assert_eq!(config.json()["output"].as_array().unwrap().len(), 1, "{config:?}");
    assert_eq!(config.json()["output"][0]["data_type"], "TYPE_STRING");
    assert!(!String::from_utf8_lossy(&config.body).contains("probability"));
    let statistics = get("/v2/models/digits/versions/1/stats", &operator).await.json();
    let digits = &statistics["model_stats"][0];
    assert_eq!(
        (
            &digits["inference_count"],
            &digits["execution_count"],
            &digits["inference_stats"]["success"]["count"]
        ),
        (&json!(3), &json!(1), &json!(1))
    );
    assert_eq!(
        get("/v2/models/stats", &operator).await.json()["model_stats"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let index = "/v2/repository/index";
    assert_eq!(
        running.client.post(index, &client, &json!({})).await.refusal().0,
        403
    );
    let models = running.client.post(index, &operator, &json!({})).await.json();
    assert_eq!(
        models[0],
        json!({"name": "digits", "version": "1", "state": "READY", "reason": ""})
    );
    let status = get("/v1/models/digits", &client).await.json();
    assert_eq!(status["model_version_status"][0]["state"], "AVAILABLE");
    let metadata = get("/v1/models/digits/metadata", &client).await.json();
    assert_eq!(
        metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["pixels"]["dtype"],
        "DT_FLOAT"
    );
    assert_eq!(
        get("/v1/models/digits/labels/stable", &client).await.refusal().0,
        404
    );
    assert_eq!(
        get("/v1/models/digits:predict", &client).await.headers["allow"],
        "POST"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_tell_what_requests_tell() {
    let house = House::new().await;
    let client = house.enrol("a", &["client"]).await;
    let operator = house.enrol("b", &["operator"]).await;
    let running = house.serve(json!({})).await;
    let call = async |method: GrpcMethod, key: &str, message: Vec<u8>| {
        running
            .grpc
            .call(method.path(), Some(key), &[], framed(&message))
            .await
    };
    let server: ServerMetadataResponse = decode(
        call(GrpcMethod::ServerMetadata, &client, vec![]).await.message(),
        1000,
    )
    .unwrap();
    assert_eq!(server.name, "stockade");
    for method in [GrpcMethod::ServerLive, GrpcMethod::ServerReady] {
        assert_eq!(
            call(method, &client, vec![]).await.message(),
            Bytes::from_static(&[8, 1])
        );
    }
    let named = encode(&ModelMetadataRequest {
        name: "digits".into(),
        version: "1".into(),
    });
    assert_eq!(
        call(GrpcMethod::ModelReady, &client, named.clone())
            .await
            .message(),
        Bytes::from_static(&[8, 1])
    );
    let metadata: ModelMetadataResponse = decode(
        call(GrpcMethod::ModelMetadata, &client, named.clone())
            .await
            .message(),
        1000,
    )
    .unwrap();
    assert_eq!(
        (
            metadata.inputs[0].datatype.as_str(),
            &metadata.inputs[0].shape[..]
        ),
        ("FP32", &[-1, 64][..])
    );
    let config = encode(&ModelConfigRequest {
        name: "digits".into(),
        version: String::new(),
    });
    assert_eq!(
        call(GrpcMethod::ModelConfig, &client, config.clone())
            .await
            .refusal()
            .0,
        7
    );
    let config: ModelConfigResponse = decode(
        call(GrpcMethod::ModelConfig, &operator, config).await.message(),
        1000,
    )
    .unwrap();
    let config: ModelConfig = decode(config.config.unwrap(), 1000).unwrap();
    assert_eq!((config.name.as_str(), config.input[0].data_type), ("digits", 11));
    let statistics: ModelStatisticsResponse = decode(
        call(GrpcMethod::ModelStatistics, &operator, vec![])
            .await
            .message(),
        1000,
    )
    .unwrap();
    assert_eq!(statistics.model_stats[0].execution_count, 0);
    let index: RepositoryIndexResponse = decode(
        call(GrpcMethod::RepositoryIndex, &operator, vec![])
            .await
            .message(),
        1000,
    )
    .unwrap();
    assert_eq!(index.models[0].state, "READY");
    let absent = encode(&ModelMetadataRequest {
        name: "digit".into(),
        version: String::new(),
    });
    assert_eq!(
        call(GrpcMethod::ModelMetadata, &client, absent).await.refusal(),
        (5, "not_found".to_owned())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_ways_around_the_gateway_are_denied_and_then_not_served() {
    let house = House::new().await;
    let admin = house.enrol("a", &["admin"]).await;
    let trainer = house.enrol("b", &["trainer"]).await;
    let mut files: Vec<(String, String)> = default_policies()
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let allow = "permit (principal in Role::\"trainer\", action in [Action::\"repository.control\",
        Action::\"server.shared_memory\", Action::\"server.settings\"], resource);";
    files.push(("control.cedar".to_owned(), allow.to_owned()));
    let running = house
        .serve_under(json!({}), PolicySet::parse(&files).unwrap())
        .await;
    for path in [
        "/v2/repository/models/digits/load",
        "/v2/repository/models/digits/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/unregister",
        "/v2/logging",
        "/v2/models/digits/trace/setting",
    ] {
        let denied = running.client.post(path, &admin, &json!({})).await;
        assert_eq!(denied.refusal(), (403, "forbidden".to_owned()), "{path}");
        let unserved = running.client.post(path, &trainer, &json!({})).await;
        assert_eq!(unserved.refusal(), (501, "not_served".to_owned()), "{path}");
    }
    for method in GrpcMethod::ALL
        .iter()
        .filter(|method| method.operation().is_control())
    {
        let denied = running
            .grpc
            .call(method.path(), Some(&admin), &[], framed(b""))
            .await;
        assert_eq!(denied.refusal(), (7, "forbidden".to_owned()), "{method:?}");
        let unserved = running
            .grpc
            .call(method.path(), Some(&trainer), &[], framed(b""))
            .await;
        assert_eq!(unserved.refusal(), (12, "not_served".to_owned()), "{method:?}");
    }
    let mut request = seven();
    request["inputs"][0]["parameters"] = json!({"shared_memory_region": "x", "shared_memory_byte_size": 256});
    request["inputs"][0].as_object_mut().unwrap().remove("data");
    assert_eq!(
        running.client.infer(&admin, &request).await.refusal(),
        (403, "forbidden".to_owned())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classification_says_no_more_than_the_policy() {
    let house = House::new().await;
    let client = house.enrol("a", &["client"]).await;
    let labels = house.enrol("b", &["operator"]).await;
    let full = house.enrol("c", &["admin"]).await;
    let output = json!({"client": {"top_k": 2, "decimals": 1}, "operator": {"labels_only": true}});
    let running = house
        .serve(json!({"models": {"digits": {"output": output}}}))
        .await;
    let mut request = asked();
    request.outputs = Some(vec![RequestedOutput {
        name: "probabilities".into(),
        classification: std::num::NonZeroU32::new(5),
        binary: Some(true),
        ..RequestedOutput::default()
    }]);
    let body: Value = serde_json::from_slice(&write_infer_request(&request).unwrap()).unwrap();
    let texts = |outputs: &[WireTensor]| match outputs {
        [
            WireTensor {
                data: WireData::Bytes(texts),
                datatype: WireType::Bytes,
                ..
            },
        ] => texts
            .iter()
            .map(|text| String::from_utf8(text.clone()).unwrap())
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let all = texts(&binary_outputs(&running.client.infer(&full, &body).await));
    assert_eq!(all.len(), 5);
    let seven = sevens_label();
    assert!(all[0].ends_with(&format!(":{seven}:{seven}")), "{all:?}");
    let cut = texts(&binary_outputs(&running.client.infer(&client, &body).await));
    assert_eq!(
        cut,
        texts(&grpc_outputs(
            &infer_grpc(&running, &client, &request, Contents::Raw).await
        ))
    );
    assert_eq!(cut.len(), 2);
    assert!(cut.iter().all(|text| text.get(3..8) == Some("00000")), "{cut:?}");
    assert_eq!(
        running.client.infer(&labels, &body).await.refusal(),
        (400, "invalid_request".to_owned())
    );
    request.outputs.as_mut().unwrap()[0].name = "label".into();
    let body: Value = serde_json::from_slice(&write_infer_request(&request).unwrap()).unwrap();
    let refused = running.client.infer(&labels, &body).await;
    assert!(
        refused.json()["error"]
            .as_str()
            .unwrap()
            .contains("classification"),
        "{refused:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_where_it_is_configured_and_asked_for() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let running = house
        .serve(json!({"bodies": {"compress_answers_from": 1000}}))
        .await;
    let ask = async |rows: usize, accept: &str| {
        let headers = [("accept-encoding", accept)];
        post(&running, INFER, &key, &headers, batch(rows).to_string().into()).await
    };
    let plain = ask(50, "identity").await;
    assert!(plain.status == 200 && plain.headers.get("content-encoding").is_none());
    let zipped = ask(50, "gzip").await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    assert!(zipped.body.len() < plain.body.len());
    let mut decoder = flate2::read::GzDecoder::new(&*zipped.body);
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut text).unwrap();
    assert_eq!(text, plain.body);
    assert!(
        ask(1, "gzip").await.headers.get("content-encoding").is_none(),
        "it is small"
    );
    running.stop().await;
}
