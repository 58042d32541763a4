//! rten and ONNX Runtime against ONNX Runtime in Python, on 100 random inputs for each model of `examples/models` and for the digits example.
//!
//! Scores within 1e-4, labels and whole numbers equal. Values are drawn around the models' own range and not from their data, so trees are walked along rare paths too.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use serde_json::Value;
    use stockade_conformance::python;
    use stockade_model::{
        DataType, EngineChoice, Graph, Limits, NoExternalData, Session, Tensor, TensorData,
    };

    const SEED: &str = "2";
    const TOLERANCE: f64 = 1e-4;

    #[test]
    fn both_engines_agree_with_onnxruntime() {
        let python = python::environment("onnxruntime", include_str!("../python/onnxruntime.txt")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/onnxruntime_run.py");
        let named = python::run(Command::new(&python).args([script, "library"])).unwrap();
        let library = PathBuf::from(String::from_utf8(named.stdout).unwrap().trim());
        let engines = [EngineChoice::Rten, EngineChoice::OnnxRuntime { library }];
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut models = 0;
        for folder in ["models", "digits"] {
            let models_folder = examples.join(folder);
            let out = tempfile::tempdir().unwrap();
            let mut command = Command::new(&python);
            command
                .args([script, "run"])
                .arg(&models_folder)
                .arg(out.path())
                .arg(SEED);
            python::run(&mut command).unwrap();
            let mut answers: Vec<PathBuf> = fs::read_dir(out.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            answers.sort();
            for answer in answers {
                let name = answer.file_stem().unwrap().to_str().unwrap().to_owned();
                let bytes = fs::read(models_folder.join(format!("{name}.onnx"))).unwrap();
                let graph = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default()).unwrap();
                let expected: Value = serde_json::from_slice(&fs::read(answer).unwrap()).unwrap();
                for engine in &engines {
                    let session = Session::load(&graph, engine, 1).unwrap();
                    let outputs = session.run(tensors(&expected["inputs"])).unwrap();
                    check_same(
                        &format!("{name} on {}", session.engine_name()),
                        &outputs,
                        &tensors(&expected["outputs"]),
                    );
                }
                models += 1;
            }
        }
        println!("{models} models, 100 inputs each, on rten and ONNX Runtime");
        assert!(models > 35);
    }

    fn tensors(value: &Value) -> Vec<(String, Tensor)> {
        value.as_array().unwrap().iter().map(tensor).collect()
    }

    fn tensor(value: &Value) -> (String, Tensor) {
        let shape = value["shape"].as_array().unwrap();
        let shape = shape
            .iter()
            .map(|dim| usize::try_from(dim.as_u64().unwrap()).unwrap())
            .collect();
        let data = value["data"].as_array().unwrap();
        let doubles = || data.iter().map(|item| item.as_f64().unwrap_or(f64::NAN));
        let data = match DataType::from_oip_name(value["datatype"].as_str().unwrap()).unwrap() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "nine digits name one 32-bit float"
            )]
            DataType::F32 => TensorData::F32(doubles().map(|value| value as f32).collect()),
            DataType::F64 => TensorData::F64(doubles().collect()),
            DataType::I64 => TensorData::I64(data.iter().map(|item| item.as_i64().unwrap()).collect()),
            DataType::Bool => TensorData::Bool(data.iter().map(|item| item.as_bool().unwrap()).collect()),
            DataType::Bytes => {
                TensorData::Bytes(data.iter().map(|item| item.as_str().unwrap().into()).collect())
            }
            other => panic!("no model has {other}"),
        };
        (
            value["name"].as_str().unwrap().to_owned(),
            Tensor::new(shape, data).unwrap(),
        )
    }

    #[track_caller]
    fn check_same(title: &str, given: &[(String, Tensor)], expected: &[(String, Tensor)]) {
        assert_eq!(given.len(), expected.len(), "{title}");
        for ((name, given), (expected_name, expected)) in given.iter().zip(expected) {
            assert_eq!(name, expected_name, "{title}");
            assert_eq!(given.shape(), expected.shape(), "{title}: {name}");
            let pairs: Vec<(f64, f64)> = match (given.data(), expected.data()) {
                (TensorData::F32(given), TensorData::F32(expected)) => given
                    .iter()
                    .zip(expected)
                    .map(|(a, b)| (f64::from(*a), f64::from(*b)))
                    .collect(),
                (TensorData::F64(given), TensorData::F64(expected)) => {
                    given.iter().copied().zip(expected.iter().copied()).collect()
                }
                (given, expected) => {
                    assert_eq!(given, expected, "{title}: {name}");
                    continue;
                }
            };
            for (index, (given, expected)) in pairs.into_iter().enumerate() {
                let scale = expected.abs().max(1.0);
                let same =
                    given.is_nan() && expected.is_nan() || (given - expected).abs() <= TOLERANCE * scale;
                assert!(same, "{title}: {name}[{index}] is {given}, expected {expected}");
            }
        }
    }
}
