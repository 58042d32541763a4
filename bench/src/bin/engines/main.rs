//! Time of one inference on rten, on ONNX Runtime, in Python's onnxruntime and in PyTorch or scikit-learn, in the same run and on one thread.
//!
//! Models: digits (a small CNN), residual (a residual block), forest_deep (six deep trees of scikit-learn), boosting. Batch 1 and 64, inputs drawn once.
//! `STOCKADE_ONNXRUNTIME` names the library; `PYTHON` a Python that has `conformance/python/onnxruntime.txt` installed, and
//! `examples/models/requirements.txt` for PyTorch and scikit-learn (otherwise their column is `-`).
//! Printed: the median of each, in microseconds, and its ratio to Python's onnxruntime.

use std::{env, error::Error, fs, hint::black_box, path::Path, process::Command, time::Instant};

use stockade_model::{EngineChoice, Graph, Limits, NoExternalData, Session, Tensor, TensorData};

const MODELS: [(&str, &[usize]); 4] = [
    ("digits/digits.onnx", &[64]),
    ("models/residual.onnx", &[1, 10, 10]),
    ("models/forest_deep.onnx", &[64]),
    ("models/boosting.onnx", &[4]),
];
const BATCHES: [usize; 2] = [1, 64];
const WARM: usize = 50;
const RUNS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let library = env::var_os("STOCKADE_ONNXRUNTIME").ok_or("set STOCKADE_ONNXRUNTIME")?;
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let engines = [
        EngineChoice::Rten,
        EngineChoice::OnnxRuntime {
            library: library.into(),
        },
    ];
    println!(
        "{:<24} {:>5} {:>12} {:>14} {:>14} {:>16}",
        "model", "batch", "rten us", "ORT us", "ORT Python us", "trained with us"
    );
    for (name, row) in MODELS {
        let path = examples.join(name);
        let graph = Graph::from_onnx(&fs::read(&path)?, &NoExternalData, &Limits::default())?;
        for batch in BATCHES {
            let mut shape = vec![batch];
            shape.extend(row);
            let count: usize = shape.iter().product();
            let data: Vec<f32> = (0..count).map(|index| (index * 7919 % 17) as f32).collect();
            let input = graph.inputs().first().ok_or("no input")?.name.clone();
            let mut medians = Vec::new();
            for engine in &engines {
                let session = Session::load(&graph, engine, 1)?;
                let mut times = Vec::new();
                for run in 0..WARM + RUNS {
                    let tensor = Tensor::new(shape.clone(), TensorData::F32(data.clone()))?;
                    let inputs = vec![(input.clone(), tensor)];
                    let start = Instant::now();
                    black_box(session.run(inputs)?);
                    if run >= WARM {
                        times.push(start.elapsed().as_secs_f64() * 1e6);
                    }
                }
                times.sort_by(f64::total_cmp);
                medians.push(times[RUNS / 2]);
            }
            let shape = format!("{shape:?}");
            let peer = Command::new(&python)
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/engines/peer.py"))
                .arg(&path)
                .args([&input, &shape, &WARM.to_string(), &RUNS.to_string()])
                .output()?;
            if !peer.status.success() {
                return Err(String::from_utf8_lossy(&peer.stderr).into());
            }
            let printed = String::from_utf8(peer.stdout)?;
            let (peer, source) = printed.trim().split_once('\n').ok_or("two times")?;
            let peer: f64 = peer.parse()?;
            let source = source.parse().map_or(source.to_owned(), |us: f64| {
                format!("{us:.1} {:>4.1}x", us / peer)
            });
            println!(
                "{name:<24} {batch:>5} {:>7.1} {:>3.1}x {:>9.1} {:>3.1}x {peer:>14.1} {source:>16}",
                medians[0],
                medians[0] / peer,
                medians[1],
                medians[1] / peer
            );
        }
    }
    Ok(())
}
