//! Reading an Open Inference Protocol body: our bounded reader beside serde_json's derived one and its tree of values.
//!
//! The peers check nothing but JSON: no duplicate keys, bounds, shapes, ranges or names. Ratios in one run are what
//! counts; each figure is the median of rounds that take turns.

use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use stockade_protocol::oip::{BodyLimits, parse_infer_request, write_infer_request, write_infer_response};
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
    for (elements, value) in [(64, digit as fn(usize) -> f32), (1_000, wave), (150_528, wave)] {
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
