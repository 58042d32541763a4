//! TensorFlow Serving's REST API: its documentation's examples, what is refused and how.
//!
//! The examples are those of tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md`, "Predict API", "Encoding binary
//! values" and "Model status API".

#[cfg(test)]
mod examples {
    use stockade_protocol::oip::{BodyLimits, ModelMetadata, TensorMetadata};
    use stockade_protocol::tfs::{
        Form, Predict, TfsSignature, parse_predict_request, parse_predict_response, parse_tfs_metadata,
        parse_tfs_status, write_predict_request, write_predict_response, write_tfs_metadata,
        write_tfs_status,
    };
    use stockade_protocol::{
        ErrorCode, InferRequest, Parameters, WireData, WireTensor, WireType, fuzz_tfs_metadata,
        fuzz_tfs_predict, fuzz_tfs_route,
    };

    fn metadata(name: &str, datatype: WireType, shape: &[i64]) -> TensorMetadata {
        TensorMetadata {
            name: name.into(),
            datatype,
            shape: shape.to_vec(),
            labels: vec![],
        }
    }

    fn x(datatype: WireType, shape: &[i64]) -> Vec<TensorMetadata> {
        vec![metadata("x", datatype, shape)]
    }

    fn three() -> Vec<TensorMetadata> {
        vec![
            metadata("tag", WireType::Bytes, &[-1]),
            metadata("signal", WireType::I32, &[-1, 5]),
            metadata("sensor", WireType::F32, &[-1, 2, 2]),
        ]
    }

    fn parse(body: &str, inputs: &[TensorMetadata]) -> Result<Predict, String> {
        let read = parse_predict_request(body.as_bytes(), inputs, &BodyLimits::default());
        read.map_err(|error| {
            assert_eq!(error.code(), ErrorCode::InvalidRequest);
            error.to_string()
        })
    }

    fn single(body: &str, datatype: WireType, shape: &[i64]) -> Result<(Vec<u64>, WireData), String> {
        let mut predict = parse(body, &x(datatype, shape))?;
        let input = predict.request.inputs.remove(0);
        Ok((input.shape, input.data))
    }

    fn texts(texts: &[&str]) -> WireData {
        WireData::Bytes(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    fn tensor(name: &str, shape: &[u64], data: WireData) -> WireTensor {
        WireTensor {
            name: name.into(),
            datatype: data.datatype(),
            shape: shape.to_vec(),
            parameters: Parameters::new(),
            data,
        }
    }

    #[track_caller]
    fn refused(body: &str, inputs: &[TensorMetadata], message: &str) {
        assert_eq!(parse(body, inputs).unwrap_err(), message, "{body}");
    }

    #[test]
    fn rows_of_a_single_input() {
        assert_eq!(
            single(
                r#"{ "instances": [ "foo", "bar", "baz" ] }"#,
                WireType::Bytes,
                &[-1]
            ),
            Ok((vec![3], texts(&["foo", "bar", "baz"])))
        );
        assert_eq!(
            single(
                r#"{ "instances": [ [[1, 2]], [[3, 4]] ] }"#,
                WireType::I8,
                &[-1, 1, 2]
            ),
            Ok((vec![2, 1, 2], WireData::I8(vec![1, 2, 3, 4])))
        );
        assert_eq!(
            single(r#"{"instances":[{"x":1.0},{"x":2.0}]}"#, WireType::F64, &[-1]),
            Ok((vec![2], WireData::F64(vec![1.0, 2.0])))
        );
    }

    #[test]
    fn rows_and_columns_of_several_inputs_are_the_same() {
        let rows = r#"{ "signature_name": "s", "instances": [
            { "tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]] },
            { "sensor": [[4, 5], [6, 8]], "tag": "bar", "signal": [3, 4, 1, 2, 5] } ] }"#;
        let columns = r#"{ "inputs": { "tag": ["foo", "bar"], "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
            "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]] }, "other": [{"a": NaN}, "\u00e9", {}, []] }"#;
        let (rows, columns) = (parse(rows, &three()).unwrap(), parse(columns, &three()).unwrap());
        assert_eq!((rows.form, columns.form), (Form::Row, Form::Column));
        assert_eq!(
            (rows.signature.as_deref(), columns.signature.as_deref()),
            (Some("s"), None)
        );
        assert_eq!(rows.request, columns.request);
        let shapes: Vec<_> = rows
            .request
            .inputs
            .iter()
            .map(|input| input.shape.clone())
            .collect();
        assert_eq!(shapes, [vec![2], vec![2, 5], vec![2, 2, 2]]);
        assert_eq!(rows.request.inputs[0].data, texts(&["foo", "bar"]));
        for predict in [rows, columns] {
            let body = write_predict_request(&predict.request, predict.form, predict.signature.as_deref());
            let body = String::from_utf8(body.unwrap()).unwrap();
            assert_eq!(parse(&body, &three()), Ok(predict));
        }
    }

    #[test]
    fn answers_have_the_form_of_their_requests() {
        let one = [tensor("y", &[3], WireData::F32(vec![3.5, 4.0, 5.5]))];
        let two = [one[0].clone(), tensor("z", &[3, 1], WireData::I64(vec![1, 2, 3]))];
        let outputs = [
            metadata("y", WireType::F32, &[-1]),
            metadata("z", WireType::I64, &[-1, 1]),
        ];
        let check = |tensors: &[WireTensor], form, expected: &str| {
            let body = write_predict_response(tensors, form).unwrap();
            assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
            let read = parse_predict_response(&body, &outputs[..tensors.len()], &BodyLimits::default());
            assert_eq!(read.unwrap(), tensors);
        };
        check(&one, Form::Row, r#"{"predictions":[3.5,4.0,5.5]}"#);
        check(&one, Form::Column, r#"{"outputs":[3.5,4.0,5.5]}"#);
        check(
            &two,
            Form::Row,
            r#"{"predictions":[{"y":3.5,"z":[1]},{"y":4.0,"z":[2]},{"y":5.5,"z":[3]}]}"#,
        );
        check(
            &two,
            Form::Column,
            r#"{"outputs":{"y":[3.5,4.0,5.5],"z":[[1],[2],[3]]}}"#,
        );
    }

    #[test]
    fn bytes_are_strings_or_base64() {
        let bytes = |body| single(body, WireType::Bytes, &[-1]).map(|(_, data)| data);
        assert_eq!(
            bytes(r#"{"instances":[{"b64":"aW1hZ2UgYnl0ZXM="}, "b64", {"x":{"b64":"/w"}}]}"#),
            Ok(WireData::Bytes(vec![
                b"image bytes".to_vec(),
                b"b64".to_vec(),
                vec![0xff]
            ]))
        );
        assert_eq!(
            bytes(r#"{"inputs":[{"b64":""}]}"#),
            Ok(WireData::Bytes(vec![vec![]]))
        );
        assert_eq!(
            single(r#"{"inputs":{"b64":"/w=="}}"#, WireType::Bytes, &[]),
            Ok((vec![], WireData::Bytes(vec![vec![0xff]])))
        );
        // An input may have that name; then the object is one of names.
        let b64 = [metadata("b64", WireType::Bytes, &[-1])];
        let named = parse(r#"{"instances":[{"b64":"/w=="}]}"#, &b64).unwrap();
        assert_eq!(named.request.inputs[0].data, texts(&["/w=="]));
        let wrong = "`inputs[0]`: element 0 must be a string, or an object of `b64` alone, as `BYTES` says";
        refused(r#"{"inputs":[{"b65":""}]}"#, &x(WireType::Bytes, &[-1]), wrong);
        refused(
            r#"{"inputs":[{"b64":"","c":1}]}"#,
            &x(WireType::Bytes, &[-1]),
            wrong,
        );
        refused(r#"{"inputs":[{}]}"#, &x(WireType::Bytes, &[-1]), wrong);
        for text in ["=", "a", "a*==", "_w=="] {
            refused(
                &format!(r#"{{"inputs":[{{"b64":"{text}"}}]}}"#),
                &x(WireType::Bytes, &[-1]),
                "`inputs[0]`: element 0 must be valid base64, as `BYTES` says",
            );
        }
        let output = |name: &str, bytes: &[u8]| {
            let tensor = tensor(name, &[1], WireData::Bytes(vec![bytes.to_vec()]));
            String::from_utf8(write_predict_response(&[tensor], Form::Row).unwrap()).unwrap()
        };
        assert_eq!(output("y", b"a\""), r#"{"predictions":["a\""]}"#);
        assert_eq!(output("y_bytes", b"a"), r#"{"predictions":[{"b64":"YQ=="}]}"#);
        assert_eq!(output("y", b"\xff"), r#"{"predictions":[{"b64":"/w=="}]}"#);
    }

    #[test]
    fn words_for_what_is_no_number_are_read_but_no_input() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            for form in ["instances", "inputs"] {
                refused(
                    &format!(r#"{{"{form}":[1.0,{word}]}}"#),
                    &x(WireType::F32, &[-1]),
                    "`inputs[0]`: element 1 must be a finite number",
                );
            }
            refused(
                &format!(r#"{{"inputs":[{word}]}}"#),
                &x(WireType::I32, &[-1]),
                "`inputs[0]`: element 0 must be an integer, as `INT32` says",
            );
        }
        for word in ["nan", "Inf", "+Infinity", "-NaN", "infinity", "TRUE", "None"] {
            let message = single(&format!(r#"{{"inputs":[{word}]}}"#), WireType::F32, &[-1]).unwrap_err();
            assert!(
                message.starts_with("the body is not valid JSON"),
                "{word}: {message}"
            );
        }
        let values = WireData::F64(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]);
        let output = [tensor("y", &[4], values)];
        let body = write_predict_response(&output, Form::Column).unwrap();
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"outputs":[NaN,Infinity,-Infinity,-0.0]}"#
        );
        let model = [metadata("y", WireType::F64, &[-1])];
        let read = parse_predict_response(&body, &model, &BodyLimits::default()).unwrap();
        assert_eq!(write_predict_response(&read, Form::Column), Ok(body));
        let request = InferRequest {
            inputs: output.to_vec(),
            ..InferRequest::default()
        };
        let error = write_predict_request(&request, Form::Column, None).unwrap_err();
        assert!(error.to_string().contains("not finite"));
    }

    #[test]
    fn lists_are_as_deep_as_the_model_says_and_not_ragged() {
        let rank = "`inputs[0]` must be lists as deep as the model's metadata says";
        let ragged = "`inputs[0]` must be lists of the same length at each depth";
        let deep = x(WireType::I8, &[-1, -1]);
        refused(r#"{"inputs":[1,2]}"#, &deep, rank);
        refused(r#"{"inputs":[[[1]]]}"#, &deep, rank);
        refused(r#"{"inputs":1}"#, &deep, rank);
        refused(r#"{"instances":[1]}"#, &deep, rank);
        refused(r#"{"inputs":[[1,2],[3]]}"#, &deep, ragged);
        refused(r#"{"inputs":[[],[3]]}"#, &deep, ragged);
        refused(r#"{"instances":[[1,2],[3]]}"#, &deep, ragged);
        let shape = |body, shape: &[i64]| single(body, WireType::I8, shape).unwrap().0;
        assert_eq!(shape(r#"{"inputs":[[],[]]}"#, &[-1, -1, 3]), [2, 0, 3]);
        assert_eq!(shape(r#"{"inputs":[]}"#, &[-1, 7, -1]), [0, 7, 0]);
        assert_eq!(shape(r#"{"inputs":5}"#, &[]), [0_u64; 0]);
        assert_eq!(shape(r#"{"instances":[[]]}"#, &[-1, -1]), [1, 0]);
    }

    #[test]
    fn each_input_is_there_once() {
        let both = [
            metadata("a", WireType::I8, &[-1]),
            metadata("b", WireType::I8, &[-1]),
        ];
        let each = |field: &str| {
            format!("`{field}` must have each tensor of the model by its name, once, and nothing else")
        };
        for body in [
            r#"{"instances":[{"a":1}]}"#,
            r#"{"instances":[{"a":1,"a":1,"b":1}]}"#,
            r#"{"instances":[{"a":1,"b":1,"c":1}]}"#,
            r#"{"instances":[{"a":1,"b":1},{}]}"#,
            r#"{"instances":[1]}"#,
        ] {
            refused(body, &both, &each("instances"));
        }
        refused(r#"{"inputs":{"a":[1]}}"#, &both, &each("inputs"));
        refused(r#"{"inputs":[1]}"#, &both, &each("inputs"));
        refused(
            r#"{"inputs":{"y":[1]}}"#,
            &x(WireType::I8, &[-1]),
            &each("inputs"),
        );
    }

    #[test]
    fn bodies_have_one_form() {
        let inputs = x(WireType::I8, &[-1]);
        refused("{}", &inputs, "`instances` is missing");
        refused(
            r#"{"instances":[1],"inputs":[1]}"#,
            &inputs,
            "the body has its data in two forms",
        );
        refused(
            r#"{"inputs":[1],"inputs":[1]}"#,
            &inputs,
            "the body has a key twice",
        );
        refused(r#"{"a":1,"\u0061":1}"#, &inputs, "the body has a key twice");
        for body in [
            r#"{"instances":[]}"#,
            r#"{"instances":{"x":1}}"#,
            r#"{"instances":3}"#,
        ] {
            refused(body, &inputs, "`instances` must be a list of at least one row");
        }
        refused(
            r#"{"instances":[1]}"#,
            &x(WireType::I8, &[]),
            "`instances`: the model has a tensor without rows; use the column form",
        );
        refused(
            r#"{"signature_name":1}"#,
            &inputs,
            "`signature_name` must be a string",
        );
        refused("[1]", &inputs, "the body must be an object");
        let message = single(r#"{"inputs":[1.0]}"#, WireType::F16, &[-1]).unwrap_err();
        assert!(message.contains("`FP16` has no JSON form"));
    }

    #[test]
    fn malformed_bodies() {
        for body in [
            "",
            " ",
            "{",
            "}",
            "{\"inputs\":",
            "{\"inputs\":[1]",
            "{\"inputs\":[1}",
            "{\"inputs\":[1,]}",
            "{\"inputs\":[1] \"a\":1}",
            "{\"inputs\":[1]} {}",
            "{\"inputs\":[1],}",
            "{'a':1}",
            "{a:1}",
            "{1:1}",
            "\u{feff}{}",
            "{\"inputs\":[01]}",
            "{\"inputs\":[+1]}",
            "{\"inputs\":[.5]}",
            "{\"inputs\":[1.]}",
            "{\"inputs\":[1e]}",
            "{\"inputs\":[-]}",
            "{\"a\":[1,2}",
            "{\"a\":{\"b\"}}",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":[,]}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"b}",
            "{\"\\ud800\":1}",
        ] {
            let message = parse(body, &x(WireType::F32, &[-1])).unwrap_err();
            assert!(
                message.starts_with("the body is not valid JSON (line "),
                "{body}: {message}"
            );
        }
        let error = parse_predict_request(b"{\"a\":\"\xff\"}", &[], &BodyLimits::default()).unwrap_err();
        assert_eq!(error.to_string(), "the body is not valid JSON (line 1, column 7)");
    }

    #[test]
    fn bounds_hold() {
        let limits = BodyLimits {
            max_bytes: 200,
            max_elements: 3,
            max_depth: 4,
            max_keys: 3,
            max_name_bytes: 14,
            max_element_bytes: 3,
            ..BodyLimits::default()
        };
        let check = |body: &str, datatype, message: &str| {
            let error = parse_predict_request(body.as_bytes(), &x(datatype, &[-1]), &limits).unwrap_err();
            assert_eq!(error.to_string(), message, "{body}");
        };
        check(
            r#"{"inputs":[1,2,3,4]}"#,
            WireType::I8,
            "the body has more than 3 tensor elements",
        );
        check(
            r#"{"instances":[1,2,3,4]}"#,
            WireType::I8,
            "the body has more than 3 tensor elements",
        );
        check(
            r#"{"a":1,"b":1,"c":1,"d":1}"#,
            WireType::I8,
            "the body has more than 3 keys",
        );
        check(r#"{"a":[[[[]]]]}"#, WireType::I8, "`instances` is missing");
        check(
            r#"{"a":[[[[[]]]]]}"#,
            WireType::I8,
            "the body has a value nested deeper than 4",
        );
        check(
            r#"{"123456789012345":1}"#,
            WireType::I8,
            "the body has a key of more than 14 bytes",
        );
        let element = "`inputs[0]` has an element of more than 3 bytes";
        check(r#"{"inputs":["1234"]}"#, WireType::Bytes, element);
        check(r#"{"inputs":[{"b64":"AAAAAA=="}]}"#, WireType::Bytes, element);
        let error = parse_predict_request(&[b' '; 201], &[], &limits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BodyTooLarge);
        let deep = "[".repeat(200_000);
        for body in [format!(r#"{{"a":{deep}"#), format!(r#"{{"inputs":{deep}"#), deep] {
            assert!(
                parse_predict_request(body.as_bytes(), &x(WireType::I8, &[-1]), &BodyLimits::default())
                    .is_err()
            );
        }
    }

    #[test]
    fn errors_repeat_nothing_that_was_sent() {
        let secret = "c4nary";
        for body in [
            format!(r#"{{"{secret}":1,"{secret}":1}}"#),
            format!(r#"{{"inputs":["{secret}"]}}"#),
            format!(r#"{{"inputs":{{"{secret}":1}}}}"#),
            format!(r#"{{"inputs":[{secret}]}}"#),
            format!(r#"{{"signature_name":"{}"}}"#, secret.repeat(100)),
        ] {
            let error =
                parse_predict_request(body.as_bytes(), &x(WireType::F32, &[-1]), &BodyLimits::default());
            let error = error.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }

    #[test]
    fn what_has_no_rows_is_no_row_form() {
        let refused =
            |tensors: &[WireTensor], form| write_predict_response(tensors, form).unwrap_err().to_string();
        let y = |shape: &[u64], count| tensor("y", shape, WireData::I8(vec![1; count]));
        let rows = "tensor 0 has no rows, or not as many as the others; use the column form";
        assert_eq!(refused(&[y(&[], 1)], Form::Row), rows);
        assert_eq!(refused(&[y(&[0, 2], 0)], Form::Row), rows);
        assert_eq!(
            refused(&[y(&[1], 1), y(&[2], 2)], Form::Row),
            rows.replace('0', "1")
        );
        let empty = "tensor 0 has too many rows without an element";
        assert_eq!(refused(&[y(&[1 << 40, 0], 0)], Form::Row), empty);
        assert_eq!(refused(&[y(&[1 << 40, 0], 0)], Form::Column), empty);
        assert!(refused(&[y(&[2], 1)], Form::Column).contains("does not fit"));
        let half = tensor("y", &[1], WireData::F16(vec![0]));
        assert!(refused(&[half], Form::Row).contains("`FP16`"));
    }

    #[test]
    fn status_and_metadata() {
        let documented = br#"{ "model_version_status": [ { "version": "123", "state": "AVAILABLE",
            "status": { "error_code": "OK", "error_message": "" } } ] }"#;
        let ready = |body: &[u8]| parse_tfs_status(body, &BodyLimits::default());
        assert_eq!(ready(documented), Ok(true));
        for state in [true, false] {
            assert_eq!(ready(&write_tfs_status("m", "1", state)), Ok(state));
        }
        assert_eq!(ready(br#"{"name":"m","ready":true}"#), Ok(true));
        assert_eq!(ready(br#"{"model_version_status":[]}"#), Ok(false));
        assert!(
            ready(b"[1")
                .unwrap_err()
                .to_string()
                .starts_with("the body is not valid JSON")
        );
        let model = ModelMetadata {
            name: "m".into(),
            versions: vec![],
            platform: "onnx".into(),
            inputs: WireType::ALL
                .iter()
                .map(|&datatype| metadata(datatype.as_str(), datatype, &[-1, 2]))
                .collect(),
            outputs: vec![metadata("y", WireType::F32, &[])],
        };
        let body = write_tfs_metadata(&model, "3");
        let mut inputs = model.inputs.clone();
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        let expected = TfsSignature {
            inputs,
            outputs: model.outputs,
        };
        let read = |signature| parse_tfs_metadata(&body, signature, &BodyLimits::default());
        assert_eq!(read(None), Ok(expected.clone()));
        assert_eq!(read(Some("serving_default")), Ok(expected));
        assert_eq!(
            read(Some("other")).unwrap_err().to_string(),
            "`signature_def` is missing"
        );
        let text = String::from_utf8(body.clone()).unwrap();
        for (from, to, message) in [
            (
                "DT_STRING",
                "DT_RESOURCE",
                "`inputs[2].dtype` is not a data type of the protocol (such as `FP32`)",
            ),
            (
                "\"unknown_rank\":false",
                "\"unknown_rank\":true",
                "`inputs[0].tensor_shape` must be a shape of known rank",
            ),
            (
                "\"-1\"",
                "\"x\"",
                "`inputs[0].tensor_shape` must be a shape of known rank",
            ),
        ] {
            let body = text.replace(from, to);
            let error = parse_tfs_metadata(body.as_bytes(), None, &BodyLimits::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        fuzz_tfs_metadata(&body);
        fuzz_tfs_metadata(b"{}");
    }

    #[test]
    fn corpus() {
        let seeds = [
            r#"{"instances":[[[1,2]],[[3,4]]],"signature_name":"s"}"#,
            r#"{"inputs":[{"b64":"/w=="},"a\u00e9"]}"#,
            r#"{"instances":[{"x":1,"b64":2},{"b64":0,"x":-1.5e3}],"o":[{"a":NaN}]}"#,
            r#"{"predictions":[NaN,-Infinity,1.5]}"#,
            r#"{"outputs":{"x":[true],"b64":[0]}}"#,
        ];
        for seed in seeds {
            for choice in (0..=255).step_by(3) {
                let data = [&[choice], seed.as_bytes()].concat();
                fuzz_tfs_predict(&data);
                for at in 1..data.len() {
                    let mut data = data.clone();
                    data[at] = b"[]{}\",:-0.eENIb\\"[(usize::from(choice) + at) % 16];
                    fuzz_tfs_predict(&data);
                    fuzz_tfs_predict(&data[..at]);
                }
            }
        }
        for data in [
            "",
            "POST\n/v1/models/m:predict",
            "GET\n/v1/models/%",
            "/v1/models/m/labels/a:classify",
        ] {
            fuzz_tfs_route(data.as_bytes());
        }
    }
}
