//! Nothing leaves but what the policy grants: inputs whose granted answers agree get equal bytes, header fields and
//! trailers over every protocol, except the request's id and the date. Timing is not covered.

use std::collections::BTreeMap;

use http::HeaderMap;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRng, TestRunner},
};
use serde_json::json;
use stockade_protocol::{
    InferRequest, RequestedOutput, WireData,
    grpc::{Contents, GrpcMethod, frame, write_grpc_infer_request},
    oip::{BodyLimits, parse_infer_request, write_binary_infer_request, write_infer_request},
};

use crate::harness::{House, Running, client::request, seven};

/// Everything of an answer that a client sees, over one protocol.
type Seen = (BTreeMap<String, Vec<u8>>, Vec<u8>, BTreeMap<String, Vec<u8>>);

fn fields(headers: &HeaderMap) -> BTreeMap<String, Vec<u8>> {
    let kept = headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

async fn over_http(running: &Running, key: &str, length: Option<usize>, path: &str, body: Vec<u8>) -> Seen {
    let mut request = request("POST", path, Some(key), body.into());
    if let Some(length) = length {
        request
            .headers_mut()
            .insert("inference-header-content-length", length.into());
    }
    let reply = running.client.connect().await.request(request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    (fields(&reply.headers), reply.body.to_vec(), BTreeMap::new())
}

/// The answers over JSON, binary tensors, gRPC in both forms, and TensorFlow Serving's protocol.
async fn seen(running: &Running, key: &str, request: &InferRequest) -> Vec<Seen> {
    let infer = "/v2/models/digits/infer";
    let mut all = vec![over_http(running, key, None, infer, write_infer_request(request).unwrap()).await];
    let mut binary = request.clone();
    binary.binary_outputs = Some(true);
    let body = write_binary_infer_request(&binary, |_| true).unwrap();
    all.push(over_http(running, key, Some(body.json_length), infer, body.bytes).await);
    for contents in [Contents::Raw, Contents::Typed] {
        let message = write_grpc_infer_request(request, "digits", None, contents).unwrap();
        let body = [&frame(message.len()).unwrap()[..], &message].concat();
        let called = running
            .grpc
            .call(GrpcMethod::ModelInfer.path(), Some(key), &[], body)
            .await;
        all.push((
            fields(&called.headers),
            called.message().to_vec(),
            fields(&called.trailers),
        ));
    }
    let WireData::F32(pixels) = &request.inputs[0].data else {
        panic!()
    };
    let body = json!({"instances": [pixels]}).to_string();
    all.push(over_http(running, key, None, "/v1/models/digits:predict", body.into()).await);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_granted_answers_are_equal_bytes_over_every_protocol() {
    let house = House::new().await;
    let key = house.enrol("a", &["client"]).await;
    let seven = parse_infer_request(seven().to_string().as_bytes(), &BodyLimits::default()).unwrap();
    let seeded = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &[3; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seeded);
    let noise = prop::collection::vec(-3.0_f32..3.0, 64);
    for (policy, output, classification) in [
        (json!({"labels_only": true}), None, None),
        (json!({"top_k": 1, "decimals": 0}), None, None),
        (
            json!({"top_k": 3, "decimals": 0}),
            Some("probabilities"),
            std::num::NonZeroU32::new(10),
        ),
    ] {
        let running = house
            .serve(json!({"models": {"digits": {"output": {"client": policy}}}}))
            .await;
        let mut by_granted: BTreeMap<Vec<u8>, Vec<Vec<Seen>>> = BTreeMap::new();
        for _ in 0..24 {
            let mut request = seven.clone();
            request.outputs = output.map(|name| {
                let name = name.to_owned();
                vec![RequestedOutput {
                    name,
                    classification,
                    ..RequestedOutput::default()
                }]
            });
            let WireData::F32(pixels) = &mut request.inputs[0].data else {
                panic!()
            };
            let noise = noise.new_tree(&mut runner).unwrap().current();
            pixels
                .iter_mut()
                .zip(noise)
                .for_each(|(pixel, noise)| *pixel += noise);
            let seen = seen(&running, &key, &request).await;
            by_granted.entry(seen[0].1.clone()).or_default().push(seen);
        }
        let mut compared = 0;
        for group in by_granted.values() {
            for other in &group[1..] {
                compared += 1;
                // TensorFlow Serving's protocol asks for no classification: its answer has more to agree in.
                let forms = if classification.is_some() { 4 } else { 5 };
                assert_eq!(other[..forms], group[0][..forms], "{policy}");
            }
        }
        assert!(compared >= 8, "{policy}: only {compared} pairs agreed");
        running.stop().await;
    }
}
