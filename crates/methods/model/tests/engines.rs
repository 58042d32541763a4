//! One suite for both engines: every fixture in `examples/models` and the digits example, against the answers committed beside them.
//!
//! Those answers come from ONNX Runtime in Python and were compared with scikit-learn or PyTorch when they were written. Scores may differ by 1e-4, labels and whole numbers not at all.
//! The half for ONNX Runtime runs where `STOCKADE_ONNXRUNTIME` names the library.

#[cfg(test)]
mod suite {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use serde_json::Value;
    use stockade_model::{
        DataType, EngineChoice, Graph, Labels, Limits, NoExternalData, Session, Tensor, TensorData,
    };

    const TOLERANCE: f64 = 1e-4;

    fn examples() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples")
    }

    /// The engines at hand; a missing one is named.
    fn engines() -> Vec<EngineChoice> {
        let mut engines = vec![EngineChoice::Rten];
        match std::env::var_os("STOCKADE_ONNXRUNTIME") {
            Some(library) => engines.push(EngineChoice::OnnxRuntime {
                library: library.into(),
            }),
            None => {
                println!("skipped: the half of the suite for ONNX Runtime (STOCKADE_ONNXRUNTIME is not set)")
            }
        }
        engines
    }

    fn read(path: &Path) -> Graph {
        let bytes = fs::read(path).unwrap();
        Graph::from_onnx(&bytes, &NoExternalData, &Limits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
        // JSON has no NaN: it is written as null.
        let doubles = || data.iter().map(|item| item.as_f64().unwrap_or(f64::NAN));
        let ints = || data.iter().map(|item| item.as_i64().unwrap());
        let data = match DataType::from_oip_name(value["datatype"].as_str().unwrap()).unwrap() {
            DataType::F32 => TensorData::F32(doubles().map(narrow).collect()),
            DataType::F64 => TensorData::F64(doubles().collect()),
            DataType::I64 => TensorData::I64(ints().collect()),
            DataType::Bool => TensorData::Bool(data.iter().map(|item| item.as_bool().unwrap()).collect()),
            DataType::Bytes => {
                TensorData::Bytes(data.iter().map(|item| item.as_str().unwrap().into()).collect())
            }
            other => panic!("no fixture has {other}"),
        };
        (
            value["name"].as_str().unwrap().to_owned(),
            Tensor::new(shape, data).unwrap(),
        )
    }

    /// The fixtures hold 32-bit floats with nine digits, which is exact.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nine digits name one 32-bit float"
    )]
    fn narrow(value: f64) -> f32 {
        value as f32
    }

    #[track_caller]
    fn check_same(title: &str, given: &[(String, Tensor)], expected: &[(String, Tensor)]) {
        assert_eq!(given.len(), expected.len(), "{title}");
        for ((name, given), (expected_name, expected)) in given.iter().zip(expected) {
            assert_eq!(name, expected_name, "{title}");
            assert_eq!(given.shape(), expected.shape(), "{title}: {name}");
            let floats = match (given.data(), expected.data()) {
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
                    Vec::new()
                }
            };
            for (index, (given, expected)) in floats.into_iter().enumerate() {
                let same = given.is_nan() && expected.is_nan() || (given - expected).abs() <= TOLERANCE;
                assert!(same, "{title}: {name}[{index}] is {given}, expected {expected}");
            }
        }
    }

    fn check_file(engine: &EngineChoice, path: &Path, graph: &Graph) {
        let title = format!("{} on {engine:?}", path.display());
        let expected: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let session = Session::load(graph, engine, 1).unwrap_or_else(|error| panic!("{title}: {error}"));
        let outputs = session
            .run(tensors(&expected["inputs"]))
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        check_same(&title, &outputs, &tensors(&expected["outputs"]));
        for ((_, output), spec) in outputs.iter().zip(&session.signature().outputs) {
            assert_eq!(output.data_type(), spec.data_type, "{title}: {}", spec.name);
            assert_eq!(output.shape().len(), spec.shape.len(), "{title}: {}", spec.name);
        }
    }

    fn fixtures() -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(examples().join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
            .collect();
        paths.sort();
        assert!(paths.len() >= 35, "{}", paths.len());
        paths
    }

    #[test]
    fn every_fixture_agrees_with_its_source() {
        for engine in engines() {
            for path in fixtures() {
                check_file(&engine, &path, &read(&path));
            }
        }
    }

    #[test]
    fn every_fixture_survives_being_written_and_read() {
        for path in fixtures() {
            let graph = read(&path);
            let bytes = graph.to_onnx().unwrap();
            let again = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(again.to_onnx().unwrap(), bytes, "{}", path.display());
            assert_eq!(again.labels(), graph.labels());
            assert_eq!(again.outputs(), graph.outputs());
            assert_eq!(again.operators(), graph.operators());
            assert!(
                !graph
                    .operators()
                    .iter()
                    .any(|operator| operator.starts_with("ai.onnx.ml"))
            );
            check_file(&EngineChoice::Rten, &path, &again);
        }
    }

    #[test]
    fn labels_are_kept_for_every_classifier() {
        let labels = |name: &str| read(&examples().join("models").join(name)).labels().cloned();
        let names = ["setosa", "versicolor", "virginica"].map(str::to_owned).to_vec();
        assert_eq!(
            labels("forest_strings.onnx"),
            Some(Labels::Strings(names.clone()))
        );
        assert_eq!(labels("perceptron_strings.onnx"), Some(Labels::Strings(names)));
        assert_eq!(labels("logistic_binary.onnx"), Some(Labels::Ints(vec![5, 6])));
        assert_eq!(labels("tree_binary.onnx"), Some(Labels::Ints(vec![-1, 1])));
        assert_eq!(labels("mlp.onnx"), None);
    }

    #[test]
    fn digits_are_read_as_the_example_says() {
        let folder = examples().join("digits");
        let graph = read(&folder.join("digits.onnx"));
        assert_eq!(graph.inputs()[0].oip_shape(), [-1, 64]);
        assert_eq!(graph.outputs()[0].oip_shape(), [-1, 10]);
        let json =
            |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
        let (expected, request, answer) = (json("expected.json"), json("request.json"), json("answer.json"));
        let images = expected["images"].as_array().unwrap();
        let numbers = |key: &str| -> Vec<f32> {
            images
                .iter()
                .flat_map(|image| image[key].as_array().unwrap())
                .map(|value| narrow(value.as_f64().unwrap()))
                .collect()
        };
        let pixels = Tensor::new(vec![images.len(), 64], TensorData::F32(numbers("pixels"))).unwrap();
        let scores = Tensor::new(vec![images.len(), 10], TensorData::F32(numbers("probabilities"))).unwrap();
        for engine in engines() {
            let session = Session::load(&graph, &engine, 2).unwrap();
            let outputs = session.run(vec![("pixels".to_owned(), pixels.clone())]).unwrap();
            check_same(
                "digits",
                &outputs,
                &[("probabilities".to_owned(), scores.clone())],
            );
            let TensorData::F32(given) = outputs[0].1.data() else {
                panic!()
            };
            let best = |scores: &[f32]| (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
            let correct = images
                .iter()
                .zip(given.chunks(10))
                .filter(|(image, scores)| image["label"] == best(scores))
                .count();
            assert_eq!(expected["summary"]["correct"], correct);
            let outputs = session.run(tensors(&request["inputs"])).unwrap();
            let TensorData::F32(given) = outputs[0].1.data() else {
                panic!()
            };
            assert_eq!(answer["label"], best(given));
        }
    }

    #[test]
    fn one_session_serves_several_threads() {
        let path = examples().join("models/forest.onnx");
        let graph = read(&path);
        let expected: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        for engine in engines() {
            let session = Session::load(&graph, &engine, 1).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let outputs = session.run(tensors(&expected["inputs"])).unwrap();
                            check_same("threads", &outputs, &tensors(&expected["outputs"]));
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn wrong_inputs_are_refused_by_name() {
        let graph = read(&examples().join("digits/digits.onnx"));
        let f32s = |shape: &[usize]| {
            Tensor::new(shape.to_vec(), TensorData::F32(vec![0.0; shape.iter().product()])).unwrap()
        };
        let pixels = |tensor| vec![("pixels".to_owned(), tensor)];
        for engine in engines() {
            let session = Session::load(&graph, &engine, 1).unwrap();
            let refused = |inputs| {
                let error = session.run(inputs).unwrap_err();
                assert!(error.is_input());
                error.to_string()
            };
            assert_eq!(refused(vec![]), "the input `pixels` is missing");
            assert_eq!(
                refused(vec![("x".to_owned(), f32s(&[1, 64]))]),
                "the model has no input `x`"
            );
            assert_eq!(
                refused(pixels(f32s(&[1, 63]))),
                "the input `pixels` takes the shape [-1, 64], not [1, 63]"
            );
            assert_eq!(
                refused(pixels(f32s(&[64]))),
                "the input `pixels` takes the shape [-1, 64], not [64]"
            );
            let ints = Tensor::new(vec![1, 64], TensorData::I64(vec![0; 64])).unwrap();
            assert_eq!(refused(pixels(ints)), "the input `pixels` takes FP32, not INT64");
            let twice = vec![
                ("pixels".to_owned(), f32s(&[1, 64])),
                ("pixels".to_owned(), f32s(&[1, 64])),
            ];
            assert_eq!(refused(twice), "the input `pixels` is given twice");
            // NaN and infinities are numbers like others to a model.
            let odd = Tensor::new(vec![1, 64], TensorData::F32(vec![f32::NAN; 64])).unwrap();
            assert_eq!(session.run(pixels(odd)).unwrap()[0].1.shape(), [1, 10]);
            // ONNX Runtime divides by the size of some empty tensors, which ends the process.
            assert_eq!(
                refused(pixels(f32s(&[0, 64]))),
                "the input `pixels` takes the shape [-1, 64] with at least one element, not [0, 64]"
            );
        }
    }

    #[test]
    fn whole_numbers_beyond_32_bits_are_refused_by_rten_and_not_cut() {
        let graph = read(&examples().join("models/attention.onnx"));
        let session = Session::load(&graph, &EngineChoice::Rten, 1).unwrap();
        let ids = Tensor::new(vec![1, 6], TensorData::I64(vec![1, 2, 3, 4, 5, 1 << 40])).unwrap();
        let error = session.run(vec![("ids".to_owned(), ids)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input `ids` holds 1099511627776, which does not fit the engine's 32-bit integers"
        );
        let ids = Tensor::new(vec![1, 6], TensorData::I64(vec![1, 2, 3, 4, 5, 20])).unwrap();
        assert!(!session.run(vec![("ids".to_owned(), ids)]).unwrap_err().is_input());
    }
}
