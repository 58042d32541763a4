//! Reading an Open Inference Protocol body: our bounded reader beside serde_json's derived one and its tree of values.
//!
//! The peers check nothing but JSON: no duplicate keys, bounds, shapes, ranges or names. Ratios in one run are what
//! counts; each figure is the median of rounds that take turns. A second table has the same request in the other forms,
//! beside the copy of its bytes.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use stockade_protocol::grpc::{Contents, parse_grpc_infer_request, write_grpc_infer_request};
use stockade_protocol::oip::{
    BodyLimits, TensorMetadata, parse_binary_infer_request, parse_infer_request, write_binary_infer_request,
    write_infer_request, write_infer_response,
};
use stockade_protocol::tfs::{Form, parse_predict_request, write_predict_request};
use stockade_protocol::{InferRequest, InferResponse, Parameters, WireData, WireTensor, WireType};

const ROUNDS: usize = 15;
/// Bytes that each round reads.
const ROUND_BYTES: usize = 4 << 20;

#[derive(Deserialize)]
struct Plain {
    inputs: Vec<PlainTensor>,
}

#[derive(Deserialize)]
struct PlainTensor {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    data: Vec<f32>,
}

fn main() {
    println!(
        "{:>9} {:>9} {:>11} {:>11} {:>11} {:>11}",
        "elements", "bytes", "ours", "derived", "tree", "write ours"
    );
    let sizes = [(64, digit as fn(usize) -> f32), (1_000, wave), (150_528, wave)];
    for (elements, value) in sizes {
        let tensor = WireTensor {
            name: "input".to_owned(),
            datatype: WireType::F32,
            shape: vec![1, elements as u64],
            parameters: Parameters::new(),
            data: WireData::F32((0..elements).map(value).collect()),
        };
        let request = InferRequest {
            inputs: vec![tensor.clone()],
            ..InferRequest::default()
        };
        let response = InferResponse {
            outputs: vec![tensor],
            ..InferResponse::default()
        };
        let body = write_infer_request(&request).expect("finite values");
        let limits = BodyLimits::default();
        let times = medians(
            ROUND_BYTES / body.len() + 1,
            [
                &mut || {
                    drop(black_box(
                        parse_infer_request(black_box(&body), &limits).expect("a request"),
                    ))
                },
                &mut || {
                    let plain: Plain = serde_json::from_slice(black_box(&body)).expect("a request");
                    let read = plain.inputs.iter().map(|input| {
                        input.name.len() + input.shape.len() + input.datatype.len() + input.data.len()
                    });
                    black_box(read.sum::<usize>());
                },
                &mut || {
                    drop(black_box(
                        serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("JSON"),
                    ))
                },
                &mut || {
                    drop(black_box(
                        write_infer_response(black_box(&response)).expect("finite values"),
                    ))
                },
            ],
        );
        let [ours, derived, tree, write] = times.map(|seconds| format!("{:.2} us", seconds * 1e6));
        println!(
            "{elements:>9} {:>9} {ours:>11} {derived:>11} {tree:>11} {write:>11}",
            body.len()
        );
    }
    println!(
        "{:>9} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "elements", "copy", "binary", "write", "grpc raw", "grpc typed", "tfs rows"
    );
    for (elements, value) in sizes {
        other_forms(elements, value);
    }
}

/// The same request read from each other form, and written as raw bytes.
fn other_forms(elements: usize, value: fn(usize) -> f32) {
    let limits = BodyLimits::default();
    let model = [TensorMetadata {
        name: "input".to_owned(),
        datatype: WireType::F32,
        shape: vec![-1, elements as i64],
        labels: Vec::new(),
    }];
    let request = InferRequest {
        inputs: vec![WireTensor {
            name: "input".to_owned(),
            datatype: WireType::F32,
            shape: vec![1, elements as u64],
            parameters: Parameters::new(),
            data: WireData::F32((0..elements).map(value).collect()),
        }],
        ..InferRequest::default()
    };
    let grpc = |contents| write_grpc_infer_request(&request, "m", None, contents).expect("finite values");
    let binary = write_binary_infer_request(&request, |_| true).expect("finite values");
    let [raw, typed] = [Contents::Raw, Contents::Typed].map(|contents| Bytes::from(grpc(contents)));
    let rows = write_predict_request(&request, Form::Row, None).expect("finite values");
    let times = medians(
        ROUND_BYTES / binary.bytes.len() + 1,
        [
            &mut || drop(black_box(black_box(&binary.bytes).to_vec())),
            &mut || {
                let (body, json_length) = (black_box(&binary.bytes), binary.json_length);
                drop(black_box(
                    parse_binary_infer_request(body, json_length, &[], &limits).expect("a request"),
                ))
            },
            &mut || {
                drop(black_box(
                    write_binary_infer_request(black_box(&request), |_| true).expect("finite values"),
                ))
            },
            &mut || {
                drop(black_box(
                    parse_grpc_infer_request(black_box(&raw).clone(), &limits).expect("a request"),
                ))
            },
            &mut || {
                drop(black_box(
                    parse_grpc_infer_request(black_box(&typed).clone(), &limits).expect("a request"),
                ))
            },
            &mut || {
                drop(black_box(
                    parse_predict_request(black_box(&rows), &model, &limits).expect("a request"),
                ))
            },
        ],
    );
    let [copy, read, write, raw, typed, rows] = times.map(|seconds| format!("{:.2} us", seconds * 1e6));
    println!("{elements:>9} {copy:>11} {read:>11} {write:>11} {raw:>11} {typed:>11} {rows:>11}");
}

/// Seconds per call of each, in turns.
fn medians<const N: usize>(calls: usize, mut work: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (work, times) in work.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            times.push(start.elapsed().as_secs_f64() / calls as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

/// A pixel of a digit: 0 to 16.
fn digit(n: usize) -> f32 {
    (n % 17) as f32
}

/// Values with as many digits as an FP32 has.
fn wave(n: usize) -> f32 {
    (n as f32 * 0.7312).sin()
}
