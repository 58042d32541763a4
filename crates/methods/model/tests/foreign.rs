//! Foreign bytes: damaged, hostile and unsupported models end in a typed error that names the cause.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use stockade_model::{ExternalFolder, Graph, ImportError, Limits, NoExternalData, fuzz_onnx};

    /// Messages of protobuf by hand: the field's number, and its content.
    enum Field<'a> {
        Number(u64, u64),
        Bytes(u64, &'a [u8]),
    }

    fn message(fields: &[Field<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for field in fields {
            match field {
                Field::Number(tag, value) => {
                    varint(tag << 3, &mut out);
                    varint(*value, &mut out);
                }
                Field::Bytes(tag, bytes) => {
                    varint(tag << 3 | 2, &mut out);
                    varint(bytes.len() as u64, &mut out);
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    fn varint(mut value: u64, out: &mut Vec<u8>) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap();
            value >>= 7;
            out.push(if value == 0 { low } else { low | 0x80 });
            if value == 0 {
                break;
            }
        }
    }

    use Field::{Bytes, Number};

    /// An FP32 value of shape [2].
    fn value(name: &str) -> Vec<u8> {
        let shape = message(&[Bytes(1, &message(&[Number(1, 2)]))]);
        let tensor = message(&[Number(1, 1), Bytes(2, &shape)]);
        message(&[
            Bytes(1, name.as_bytes()),
            Bytes(2, &message(&[Bytes(1, &tensor)])),
        ])
    }

    fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let mut fields: Vec<Field<'_>> = inputs.iter().map(|input| Bytes(1, input.as_bytes())).collect();
        fields.extend(outputs.iter().map(|output| Bytes(2, output.as_bytes())));
        fields.extend([Bytes(4, op.as_bytes()), Bytes(7, domain.as_bytes())]);
        message(&fields)
    }

    fn model(opset: u64, nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
        let (input, output) = (value("x"), value("y"));
        let mut fields: Vec<Field<'_>> = nodes.iter().map(|node| Bytes(1, node)).collect();
        fields.extend(initializers.iter().map(|tensor| Bytes(5, tensor)));
        fields.extend([Bytes(11, &input), Bytes(12, &output)]);
        let graph = message(&fields);
        let import = message(&[Bytes(1, b""), Number(2, opset)]);
        message(&[Number(1, 8), Bytes(8, &import), Bytes(7, &graph)])
    }

    #[track_caller]
    fn refused(bytes: &[u8]) -> String {
        Graph::from_onnx(bytes, &NoExternalData, &Limits::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_model_by_hand_is_read() {
        let bytes = model(18, &[node("Relu", "", &["x"], &["y"])], &[]);
        let graph = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default()).unwrap();
        assert_eq!(graph.operators().into_iter().collect::<Vec<_>>(), ["Relu"]);
        assert_eq!(graph.opset(), 18);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert_eq!(refused(b""), "not an ONNX file: it has no graph");
        assert!(refused(b"{\"json\": true}").starts_with("not an ONNX file: "));
        assert!(refused(&[0xff; 64]).starts_with("not an ONNX file: "));
        let no_opset = message(&[Bytes(7, &message(&[Bytes(11, &value("x"))]))]);
        assert_eq!(
            refused(&no_opset),
            "not an ONNX file: it names no version of the operator set ai.onnx"
        );
    }

    #[test]
    fn opsets_out_of_range_are_refused_with_a_cure() {
        let relu = [node("Relu", "", &["x"], &["y"])];
        for opset in [9, 22] {
            assert!(Graph::from_onnx(&model(opset, &relu, &[]), &NoExternalData, &Limits::default()).is_ok());
        }
        for opset in [0, 8, 23, u64::MAX] {
            let message = refused(&model(opset, &relu, &[]));
            assert!(
                message.contains("9 to 22 can be read\nhint: export the model again"),
                "{message}"
            );
        }
    }

    #[test]
    fn operators_that_are_not_read_are_named_with_their_node() {
        let svm = node("SVMClassifier", "ai.onnx.ml", &["x"], &["y"]);
        assert_eq!(
            refused(&model(18, &[svm], &[])),
            "the node `y` (ai.onnx.ml.SVMClassifier) cannot be read: only linear models, trees and their labels are lowered"
        );
        let own = node("Fancy", "org.example", &["x"], &["y"]);
        assert_eq!(
            refused(&model(18, &[own], &[])),
            "the node `y` (org.example.Fancy) cannot be read: its operator set is unknown"
        );
    }

    #[test]
    fn graphs_that_are_none_are_refused() {
        let relu = |input, output| node("Relu", "", &[input], &[output]);
        for (nodes, reason) in [
            (vec![relu("z", "y")], "`y` is not valid ONNX: it uses `z`"),
            (vec![relu("y", "y")], "`y` is not valid ONNX: it uses `y`"),
            (
                vec![relu("a", "y"), relu("x", "a")],
                "`y` is not valid ONNX: it uses `a`",
            ),
            (
                vec![relu("x", "y"), relu("x", "y")],
                "`y` is not valid ONNX: it is defined twice",
            ),
            (vec![relu("x", "x")], "`x` is not valid ONNX: it is defined twice"),
            (vec![relu("x", "a")], "`y` is not valid ONNX: it is an output"),
        ] {
            let message = refused(&model(18, &nodes, &[]));
            assert!(message.starts_with(reason), "{message}");
        }
    }

    #[test]
    fn weights_that_do_not_fill_their_shape_are_refused() {
        let add = [node("Add", "", &["x", "w"], &["y"])];
        let weight = |dims: &[u64], raw: &[u8], data_type| {
            let mut fields: Vec<Field<'_>> = dims.iter().map(|dim| Number(1, *dim)).collect();
            fields.extend([Number(2, data_type), Bytes(8, b"w"), Bytes(9, raw)]);
            model(18, &add, &[message(&fields)])
        };
        assert!(Graph::from_onnx(&weight(&[2], &[0; 8], 1), &NoExternalData, &Limits::default()).is_ok());
        for (bytes, reason) in [
            (
                weight(&[2], &[0; 7], 1),
                "its 7 bytes do not fill its shape, which needs 8",
            ),
            (weight(&[u64::MAX], &[0; 8], 1), "a dimension is negative"),
            (weight(&[1 << 40, 1 << 40], &[0; 8], 1), "its shape overflows"),
            (weight(&[1 << 61, 8], &[0; 8], 1), "its shape overflows"),
            (
                weight(&[2], &[0; 8], 99),
                "its element type is unknown or not supported",
            ),
        ] {
            assert_eq!(refused(&bytes), format!("`w` is not valid ONNX: {reason}"));
        }
        let few = Limits {
            max_weight_bytes: 7,
            ..Limits::default()
        };
        assert!(matches!(
            Graph::from_onnx(&weight(&[2], &[0; 8], 1), &NoExternalData, &few),
            Err(ImportError::TooLarge { .. })
        ));
    }

    #[test]
    fn external_weights_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("model");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret"), [0; 8]).unwrap();
        fs::write(inner.join("w.bin"), [0; 12]).unwrap();
        let add = [node("Add", "", &["x", "w"], &["y"])];
        let external = |location: &str, offset: &str, length: &str| {
            let entry =
                |key: &str, value: &str| message(&[Bytes(1, key.as_bytes()), Bytes(2, value.as_bytes())]);
            let entries = [
                entry("location", location),
                entry("offset", offset),
                entry("length", length),
            ];
            let mut fields = vec![Number(1, 2), Number(2, 1), Bytes(8, b"w"), Number(14, 1)];
            fields.extend(entries.iter().map(|entry| Bytes(13, entry)));
            model(18, &add, &[message(&fields)])
        };
        let data = ExternalFolder::new(&inner);
        let read = |bytes: &[u8]| Graph::from_onnx(bytes, &data, &Limits::default());
        assert!(read(&external("w.bin", "4", "8")).is_ok());
        for location in ["../secret", "/etc/passwd", "a/../../secret", ""] {
            let message = read(&external(location, "0", "8")).unwrap_err().to_string();
            assert!(
                message.ends_with("are not a plain path below the model's folder"),
                "{message}"
            );
        }
        for (offset, length, reason) in [
            ("8", "8", "the external weights `w.bin` end before offset 16"),
            (
                "0",
                "9",
                "`w` is not valid ONNX: its external length does not fill its shape",
            ),
            (
                "18446744073709551615",
                "8",
                "the external weights `w.bin` are larger than",
            ),
            ("-1", "8", "`w` is not valid ONNX: its offset is not a number"),
        ] {
            let message = read(&external("w.bin", offset, length)).unwrap_err().to_string();
            assert!(message.starts_with(reason), "{message}");
        }
        let message = refused(&external("w.bin", "0", "8"));
        assert!(
            message.contains("hint: give the folder of the model"),
            "{message}"
        );
    }

    /// Marsaglia, "Xorshift RNGs" (2003).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).unwrap()
        }
    }

    #[test]
    fn damaged_models_never_panic() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/models");
        let mut paths: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
        paths.sort();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for path in paths {
            let whole = fs::read(&path).unwrap();
            fuzz_onnx(&whole);
            for _ in 0..if whole.len() < 8_000 { 60 } else { 8 } {
                let mut bytes = whole.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len());
                    match random.below(4) {
                        0 => bytes[at] ^= 1 << random.below(8),
                        1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                        2 => bytes.truncate(at.max(1)),
                        _ => {
                            let end = (at + random.below(16)).min(bytes.len());
                            let piece = bytes[at..end].to_vec();
                            bytes.splice(at..at, piece);
                        }
                    }
                }
                fuzz_onnx(&bytes);
            }
        }
    }
}
