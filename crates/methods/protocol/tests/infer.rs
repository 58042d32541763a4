//! Bodies of inference requests and answers: the specification's examples, what is refused and how, and properties.
//!
//! The examples are those of kserve/open-inference-protocol, `specification/protocol/inference_rest.md`, "Inference
//! Request Examples".

#[cfg(test)]
mod examples {
    use stockade_protocol::oip::{
        BodyLimits, parse_infer_request, parse_infer_response, write_infer_response,
    };
    use stockade_protocol::{
        ErrorCode, InferRequest, InferResponse, Parameter, Parameters, UnknownOutput, WireData, WireTensor,
        WireType, select_outputs,
    };

    fn parse(body: &str) -> Result<InferRequest, String> {
        parse_infer_request(body.as_bytes(), &BodyLimits::default()).map_err(|error| {
            let forbidden = error.to_string().contains("shared memory");
            let code = if forbidden {
                ErrorCode::Forbidden
            } else {
                ErrorCode::InvalidRequest
            };
            assert_eq!(error.code(), code);
            error.to_string()
        })
    }

    fn tensor(datatype: &str, shape: &str, data: &str) -> Result<WireData, String> {
        let body =
            format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#);
        parse(&body).map(|request| request.inputs[0].data.clone())
    }

    #[track_caller]
    fn refused(body: &str, message: &str) {
        assert_eq!(parse(body).unwrap_err(), message, "{body}");
    }

    #[track_caller]
    fn refused_data(datatype: &str, shape: &str, data: &str, message: &str) {
        assert_eq!(
            tensor(datatype, shape, data).unwrap_err(),
            message,
            "{datatype} {shape} {data}"
        );
    }

    fn output(name: &str, data: WireData) -> WireTensor {
        WireTensor {
            name: name.into(),
            datatype: data.datatype(),
            shape: vec![data.len() as u64],
            parameters: Parameters::new(),
            data,
        }
    }

    #[test]
    fn the_request_of_the_specification() {
        let request = parse(
            r#"{ "id" : "42",
              "inputs" : [
                { "name" : "input0", "shape" : [ 2, 2 ], "datatype" : "UINT32", "data" : [ 1, 2, 3, 4 ] },
                { "name" : "input1", "shape" : [ 1 ], "datatype" : "BOOL", "data" : [ true ] } ],
              "outputs" : [ { "name" : "output0" } ] }"#,
        )
        .unwrap();
        assert_eq!(request.id.as_deref(), Some("42"));
        assert_eq!(request.inputs[0].shape, [2, 2]);
        assert_eq!(request.inputs[0].datatype, WireType::U32);
        assert_eq!(request.inputs[0].data, WireData::U32(vec![1, 2, 3, 4]));
        assert_eq!(request.inputs[1].data, WireData::Bool(vec![true]));
        assert_eq!(request.outputs.unwrap()[0].name, "output0");
    }

    #[test]
    fn the_specifications_second_input_claims_three_elements_and_has_one() {
        refused_data(
            "BOOL",
            "[3]",
            "[true]",
            "`inputs[0].data` must have 3 elements, as `shape` says",
        );
    }

    #[test]
    fn the_answer_of_the_specification() {
        let response = InferResponse {
            model_name: "mymodel".into(),
            model_version: Some("1".into()),
            id: Some("42".into()),
            outputs: vec![WireTensor {
                shape: vec![3, 2],
                ..output("output0", WireData::F32(vec![1.0, 1.1, 2.0, 2.1, 3.0, 3.1]))
            }],
            ..InferResponse::default()
        };
        let body = write_infer_response(&response).unwrap();
        let expected = concat!(
            r#"{"model_name":"mymodel","model_version":"1","id":"42","outputs":[{"name":"output0","datatype":"FP32","#,
            r#""shape":[3,2],"data":[1.0,1.1,2.0,2.1,3.0,3.1]}]}"#
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(
            parse_infer_response(expected.as_bytes(), &BodyLimits::default()),
            Ok(response)
        );
    }

    #[test]
    fn data_is_flat_or_nested() {
        let cube = WireData::I64((1..=8).collect());
        assert_eq!(tensor("INT64", "[2,2,2]", "[1,2,3,4,5,6,7,8]"), Ok(cube.clone()));
        assert_eq!(
            tensor("INT64", "[2,2,2]", "[[[1,2],[3,4]], [ [5,6],\n[7,8] ] ]"),
            Ok(cube)
        );
        assert_eq!(tensor("INT64", "[]", "[7]"), Ok(WireData::I64(vec![7])));
        assert_eq!(tensor("INT64", "[0,3]", "[]"), Ok(WireData::I64(vec![])));
        assert_eq!(tensor("INT64", "[2,0]", "[[],[]]"), Ok(WireData::I64(vec![])));
        for data in [
            "[[1,2,3,4]]",
            "[[1,2],[3]]",
            "[[1],[2],[3],[4]]",
            "[[1,2],3,4]",
            "[1,2,[3,4]]",
            "[[[1,2],[3,4]]]",
        ] {
            assert!(tensor("INT64", "[2,2]", data).is_err(), "{data}");
        }
        let nesting = "`inputs[0].data` must be flat, or nested exactly as `shape` says";
        refused_data("INT64", "[2]", "[[1,2]]", nesting);
        refused_data("INT64", "[2]", "[{},{}]", nesting);
        refused_data("INT64", "[2,2]", "[[1,2]]", nesting);
        refused_data("INT64", "[]", "7", "`inputs[0].data` must be a list");
        refused_data(
            "INT64",
            "[2]",
            "[1]",
            "`inputs[0].data` must have 2 elements, as `shape` says",
        );
        refused_data(
            "INT64",
            "[2]",
            "[1,2,3]",
            "`inputs[0].data` must have 2 elements, as `shape` says",
        );
    }

    #[test]
    fn integers_are_exact_and_in_range() {
        assert_eq!(
            tensor("UINT8", "[3]", "[0,255,-0]"),
            Ok(WireData::U8(vec![0, 255, 0]))
        );
        assert_eq!(
            tensor("INT64", "[2]", "[-9223372036854775808,9223372036854775807]"),
            Ok(WireData::I64(vec![i64::MIN, i64::MAX]))
        );
        assert_eq!(
            tensor("UINT64", "[1]", "[18446744073709551615]"),
            Ok(WireData::U64(vec![u64::MAX]))
        );
        for (datatype, data) in [
            ("UINT8", "[256]"),
            ("UINT8", "[-1]"),
            ("INT8", "[-129]"),
            ("INT8", "[128]"),
            ("UINT16", "[65536]"),
            ("INT16", "[32768]"),
            ("UINT32", "[4294967296]"),
            ("INT32", "[2147483648]"),
            ("INT64", "[9223372036854775808]"),
            ("UINT64", "[18446744073709551616]"),
            ("UINT64", "[99999999999999999999999999999999999999999999]"),
        ] {
            refused_data(
                datatype,
                "[1]",
                data,
                &format!("`inputs[0].data`: element 0 does not fit `{datatype}`"),
            );
        }
        for data in ["[1.0]", "[1.5]", "[1e2]", "[\"1\"]", "[true]", "[null]"] {
            refused_data(
                "INT32",
                "[1]",
                data,
                "`inputs[0].data`: element 0 must be an integer, as `INT32` says",
            );
        }
    }

    #[test]
    fn floats_are_rounded_once() {
        let bits = |data| match tensor("FP32", "[1]", data) {
            Ok(WireData::F32(values)) => values[0].to_bits(),
            other => panic!("{other:?}"),
        };
        assert_eq!(bits("[-0]"), (-0.0_f32).to_bits());
        assert_eq!(bits("[-0.0]"), (-0.0_f32).to_bits());
        assert_eq!(bits("[1e-400]"), 0);
        assert_eq!(bits("[3.4028235e38]"), f32::MAX.to_bits());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the second rounding is what is shown"
        )]
        let rounded_twice = 7.038531e-26_f64 as f32;
        // Known to round to the neighbour when it goes through a double first.
        assert_eq!(
            bits("[7.038531e-26]"),
            "7.038531e-26".parse::<f32>().unwrap().to_bits()
        );
        assert_ne!(bits("[7.038531e-26]"), rounded_twice.to_bits());
        assert_eq!(
            tensor("FP64", "[2]", "[0.1, 5e-324]"),
            Ok(WireData::F64(vec![0.1, 5e-324]))
        );
        for (datatype, data) in [
            ("FP32", "[1e39]"),
            ("FP32", "[-1e39]"),
            ("FP64", "[1e400]"),
            ("FP64", "[-1e400]"),
        ] {
            refused_data(
                datatype,
                "[1]",
                data,
                &format!("`inputs[0].data`: element 0 does not fit `{datatype}`"),
            );
        }
        for data in ["[\"1\"]", "[true]", "[null]", "[\"NaN\"]"] {
            refused_data(
                "FP32",
                "[1]",
                data,
                "`inputs[0].data`: element 0 must be a number, as `FP32` says",
            );
        }
    }

    #[test]
    fn words_for_what_is_no_number_are_named() {
        for word in ["NaN", "Infinity", "-Infinity", "nan", "inf", "-inf", "-NaN"] {
            let message = tensor("FP32", "[2]", &format!("[1.0,{word}]")).unwrap_err();
            assert!(
                message.starts_with("`NaN` and `Infinity` are not numbers in JSON (line 1"),
                "{word}: {message}"
            );
        }
    }

    #[test]
    fn bytes_are_strings() {
        let texts = |texts: &[&str]| {
            Ok(WireData::Bytes(
                texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
            ))
        };
        assert_eq!(
            tensor("BYTES", "[3]", r#"["a,]\"\\","é\u00e9\ud83d\ude00",""]"#),
            texts(&["a,]\"\\", "éé😀", ""])
        );
        assert_eq!(tensor("BYTES", "[2,1]", r#"[["["],["]"]]"#), texts(&["[", "]"]));
        refused_data(
            "BYTES",
            "[1]",
            "[1]",
            "`inputs[0].data`: element 0 must be a string, as `BYTES` says",
        );
        refused_data(
            "BYTES",
            "[1]",
            r#"["\ud800"]"#,
            "`inputs[0].data`: element 0 must be a string of Unicode text, as `BYTES` says",
        );
        assert!(
            tensor("BYTES", "[1]", "[\"\u{1}\"]")
                .unwrap_err()
                .starts_with("the body is not valid JSON")
        );
        let body = [
            br#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":[""#.as_slice(),
            &[0xff],
            br#""]}]}"#,
        ]
        .concat();
        assert!(parse_infer_request(&body, &BodyLimits::default()).is_err());
    }

    #[test]
    fn booleans_are_words() {
        assert_eq!(
            tensor("BOOL", "[2]", "[true,false]"),
            Ok(WireData::Bool(vec![true, false]))
        );
        for data in ["[1]", "[\"true\"]", "[null]"] {
            refused_data(
                "BOOL",
                "[1]",
                data,
                "`inputs[0].data`: element 0 must be true or false, as `BOOL` says",
            );
        }
    }

    #[test]
    fn half_precision_names_its_way() {
        for datatype in ["FP16", "BF16"] {
            let message = tensor(datatype, "[1]", "[1.0]").unwrap_err();
            assert_eq!(
                message,
                format!(
                    "`inputs[0].data`: `{datatype}` has no JSON form, only the binary tensor data extension carries it; send `FP32`"
                )
            );
        }
    }

    #[test]
    fn extensions_are_refused_by_name() {
        refused(
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#,
            "`inputs[0]`: `binary_data_size` needs the header `Inference-Header-Content-Length`",
        );
        refused(
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}}]}"#,
            "`inputs[0]`: shared memory is not served; send `data`",
        );
        refused(
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]}"#,
            "`outputs[0]`: shared memory is not served; send `data`",
        );
    }

    #[test]
    fn parameters_pass_and_unknown_keys_are_passed_over() {
        let request = parse(
            r#"{"parameters":{"a":1,"b":-2,"c":0.5,"d":true,"e":"t"},"new":[{"x":[1]}],
                "inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"also":null,"parameters":{"content_type":"np"}}],
                "outputs":[{"name":"y","parameters":{"binary_data":true}}]}"#,
        )
        .unwrap();
        assert_eq!(request.parameters.len(), 5);
        assert_eq!(request.parameters["d"], Parameter::Bool(true));
        assert_eq!(
            request.inputs[0].parameters["content_type"],
            Parameter::String("np".into())
        );
        let output = &request.outputs.unwrap()[0];
        assert_eq!((output.binary, output.parameters.len()), (Some(true), 0));
        for value in ["[1]", "{}", "null"] {
            refused(
                &format!(r#"{{"parameters":{{"a":{value}}},"inputs":[]}}"#),
                "`parameters` must be an object of strings, numbers and booleans",
            );
        }
    }

    #[test]
    fn each_key_and_each_name_is_there_once() {
        let x = r#"{"name":"x","shape":[1],"datatype":"FP32","data":[1]}"#;
        refused(
            &format!(r#"{{"inputs":[{x}],"inputs":[{x}]}}"#),
            "the body has a key twice",
        );
        refused(
            &format!(r#"{{"inputs":[{x}],"unknown":1,"\u0075nknown":2}}"#),
            "the body has a key twice",
        );
        refused(
            r#"{"inputs":[{"name":"x","name":"y"}]}"#,
            "`inputs[0]` has a key twice",
        );
        refused(r#"{"parameters":{"a":1,"a":1}}"#, "`parameters` has a key twice");
        refused(
            &format!(r#"{{"inputs":[{x},{x}]}}"#),
            "`inputs[1]` has the name of an earlier tensor",
        );
        refused(
            &format!(r#"{{"inputs":[{x}],"outputs":[{{"name":"y"}},{{"name":"y"}}]}}"#),
            "`outputs[1]` has the name of an earlier tensor",
        );
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        refused("{}", "`inputs` is missing");
        refused(
            r#"{"inputs":[]}"#,
            "`inputs` must be a list of at least one tensor",
        );
        refused(r#"{"inputs":{}}"#, "`inputs` must be a list of tensors");
        refused(r#"{"inputs":[3]}"#, "`inputs[0]` must be an object");
        refused(r#"{"inputs":[{}]}"#, "`inputs[0].name` is missing");
        refused(r#"{"inputs":[{"name":"x"}]}"#, "`inputs[0].datatype` is missing");
        refused(
            r#"{"inputs":[{"name":"x","datatype":"FP32"}]}"#,
            "`inputs[0].shape` is missing",
        );
        refused(
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}"#,
            "`inputs[0].data` is missing",
        );
        refused(r#"{"inputs":[{"name":1}]}"#, "`inputs[0].name` must be a string");
        refused(
            r#"{"inputs":[{"datatype":"fp32"}]}"#,
            "`inputs[0].datatype` is not a data type of the protocol (such as `FP32`)",
        );
        for shape in ["[-1]", "[1.5]", "[\"1\"]", "1", "[[1]]", "[18446744073709551616]"] {
            refused(
                &format!(r#"{{"inputs":[{{"shape":{shape}}}]}}"#),
                "`inputs[0].shape` must be a list of integers from 0 on",
            );
        }
        refused(r#"{"id":7}"#, "`id` must be a string");
        refused("[]", "the body must be an object");
        refused("\"x\"", "the body must be an object");
    }

    #[test]
    fn malformed_bodies() {
        for body in [
            "",
            " ",
            "{",
            "}",
            "{\"inputs\":",
            "{} {}",
            "{},",
            "{'a':1}",
            "{\"a\":1,}",
            "\u{feff}{}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "nul",
            "{\"a\":\"\\x\"}",
        ] {
            let message = parse(body).unwrap_err();
            assert!(
                message.starts_with("the body is not valid JSON (line "),
                "{body}: {message}"
            );
        }
    }

    #[test]
    fn bounds_hold() {
        let limits = BodyLimits {
            max_bytes: 400,
            max_tensors: 2,
            max_elements: 5,
            max_dimensions: 3,
            max_depth: 4,
            max_keys: 6,
            max_name_bytes: 12,
            max_id_bytes: 4,
            max_element_bytes: 3,
        };
        let check = |body: String, message: &str| {
            let error = parse_infer_request(body.as_bytes(), &limits).unwrap_err();
            assert_eq!(error.to_string(), message, "{body}");
        };
        let x = |name: &str, n: usize| {
            let data = vec!["1"; n].join(",");
            format!(r#"{{"name":"{name}","shape":[{n}],"datatype":"INT8","data":[{data}]}}"#)
        };
        assert!(
            parse_infer_request(
                format!(r#"{{"id":"1234","inputs":[{},{}]}}"#, x("a", 2), x("b", 3)).as_bytes(),
                &limits
            )
            .is_ok()
        );
        check(
            format!(r#"{{"inputs":[{},{}]}}"#, x("a", 3), x("b", 3)),
            "the body has more than 5 tensor elements",
        );
        check(
            format!(r#"{{"inputs":[{},{},{}]}}"#, x("a", 1), x("b", 1), x("c", 1)),
            "`inputs` has more than 2 tensors",
        );
        check(r#"{"id":"12345"}"#.into(), "`id` has a text of more than 4 bytes");
        check(
            r#"{"inputs":[{"name":"1234567890123"}]}"#.into(),
            "`inputs[0].name` has a text of more than 12 bytes",
        );
        check(
            r#"{"1234567890123":1}"#.into(),
            "the body has a key of more than 12 bytes",
        );
        check(
            r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}"#.into(),
            "the body has more than 6 keys",
        );
        check(
            r#"{"inputs":[{"shape":[1,1,1,1]}]}"#.into(),
            "`inputs[0].shape` has more than 3 dimensions",
        );
        check(
            r#"{"a":[[[[[]]]]]}"#.into(),
            "the body has a value nested deeper than 4",
        );
        check(
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["1234"]}]}"#.into(),
            "`inputs[0].data` has an element of more than 3 bytes",
        );
        check(
            r#"{"inputs":[{"name":"x","shape":[9999999999],"datatype":"INT8","data":[]}]}"#.into(),
            "the body has more than 5 tensor elements",
        );
        check(
            r#"{"inputs":[{"name":"x","shape":[4294967296,4294967296,1],"datatype":"INT8","data":[]}]}"#
                .into(),
            "`inputs[0].shape` has more elements than can be counted",
        );
        let long = parse_infer_request(" ".repeat(401).as_bytes(), &limits).unwrap_err();
        assert_eq!(long.code(), ErrorCode::BodyTooLarge);
        assert_eq!(long.to_string(), "the body is larger than 400 bytes");
    }

    #[test]
    fn deep_nesting_ends_in_an_error_everywhere() {
        let deep = "[".repeat(200_000);
        let closed = format!("{deep}{}", "]".repeat(200_000));
        for value in [&deep, &closed] {
            assert!(parse(&format!(r#"{{"unknown":{value}}}"#)).is_err());
            assert!(parse(&format!(r#"{{"id":{value}}}"#)).is_err());
            assert!(parse(&format!(r#"{{"inputs":{value}}}"#)).is_err());
            assert!(parse(&format!(r#"{{"parameters":{{"a":{value}}}}}"#)).is_err());
            assert!(tensor("FP32", "[1]", value).is_err());
            assert!(tensor("FP32", "[1,1,1]", value).is_err());
        }
    }

    #[test]
    fn errors_repeat_nothing_that_was_sent() {
        let secret = "c4nary";
        for body in [
            format!(r#"{{"id":{{"{secret}":1}}}}"#),
            format!(r#"{{"inputs":"{secret}"}}"#),
            format!(r#"{{"{secret}":1,"{secret}":1}}"#),
            format!(
                r#"{{"inputs":[{{"name":"{secret}","shape":[2],"datatype":"FP32","data":["{secret}"]}}]}}"#
            ),
            format!(r#"{{"inputs":[{{"name":"{secret}","datatype":"{secret}"}}]}}"#),
            format!(r#"{{"inputs":[{{"name":"{secret}","shape":"{secret}"}}]}}"#),
            format!(r#"{{"parameters":{{"{secret}":["{secret}"]}}}}"#),
            format!(r#"{{"a":{secret}}}"#),
        ] {
            let error = parse_infer_request(body.as_bytes(), &BodyLimits::default()).unwrap_err();
            assert!(!error.to_string().contains(secret), "{error}");
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
    }

    #[test]
    fn requested_outputs_come_in_the_order_asked_for() {
        let outputs = || {
            ["a", "b", "c"]
                .map(|name| output(name, WireData::I8(vec![1])))
                .to_vec()
        };
        let request = |names: &[&str]| {
            let wanted: Vec<String> = names
                .iter()
                .map(|name| format!(r#"{{"name":"{name}"}}"#))
                .collect();
            let body = format!(
                r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":[1]}}],"outputs":[{}]}}"#,
                wanted.join(",")
            );
            parse(&body).unwrap().outputs
        };
        let names = |selected: Result<Vec<WireTensor>, UnknownOutput>| -> Vec<String> {
            selected.unwrap().into_iter().map(|output| output.name).collect()
        };
        assert_eq!(names(select_outputs(outputs(), None)), ["a", "b", "c"]);
        assert_eq!(
            names(select_outputs(outputs(), request(&[]).as_deref())),
            ["a", "b", "c"]
        );
        assert_eq!(
            names(select_outputs(outputs(), request(&["c", "a"]).as_deref())),
            ["c", "a"]
        );
        let error = select_outputs(outputs(), request(&["a", "nothing"]).as_deref()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`outputs[1]` asks for an output that the model does not have"
        );
    }

    #[test]
    fn what_json_cannot_carry_is_no_answer() {
        let write = |data: WireData| {
            let response = InferResponse {
                outputs: vec![output("y", data)],
                ..InferResponse::default()
            };
            write_infer_response(&response).map_err(|error| error.to_string())
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(
                write(WireData::F32(vec![0.0, value]))
                    .unwrap_err()
                    .contains("not finite")
            );
            assert!(
                write(WireData::F64(vec![f64::from(value)]))
                    .unwrap_err()
                    .contains("not finite")
            );
        }
        assert!(write(WireData::F16(vec![0])).unwrap_err().contains("`FP16`"));
        assert!(write(WireData::BF16(vec![0])).unwrap_err().contains("`BF16`"));
        assert!(
            write(WireData::Bytes(vec![vec![0xff]]))
                .unwrap_err()
                .contains("not text")
        );
        let mut wrong = output("y", WireData::I8(vec![1]));
        wrong.shape = vec![2];
        let response = InferResponse {
            outputs: vec![wrong],
            ..InferResponse::default()
        };
        assert!(
            write_infer_response(&response)
                .unwrap_err()
                .to_string()
                .contains("does not fit")
        );
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;
    use proptest::sample::{Index, subsequence};
    use stockade_protocol::oip::{
        BodyLimits, fuzz_oip_body, fuzz_oip_route, parse_infer_request, parse_infer_response,
        write_infer_request, write_infer_response,
    };
    use stockade_protocol::{
        InferRequest, InferResponse, Parameter, Parameters, RequestedOutput, WireData, WireTensor,
    };

    fn data(count: usize) -> impl Strategy<Value = WireData> {
        use prop::collection::vec;
        fn finite<T: Copy + Into<f64>>(values: &[T]) -> bool {
            values.iter().all(|&value| value.into().is_finite())
        }
        let f32s =
            vec(any::<u32>().prop_map(f32::from_bits), count).prop_filter("finite", |values| finite(values));
        let f64s =
            vec(any::<u64>().prop_map(f64::from_bits), count).prop_filter("finite", |values| finite(values));
        prop_oneof![
            vec(any::<bool>(), count).prop_map(WireData::Bool),
            vec(any::<u8>(), count).prop_map(WireData::U8),
            vec(any::<i8>(), count).prop_map(WireData::I8),
            vec(any::<u16>(), count).prop_map(WireData::U16),
            vec(any::<i16>(), count).prop_map(WireData::I16),
            vec(any::<u32>(), count).prop_map(WireData::U32),
            vec(any::<i32>(), count).prop_map(WireData::I32),
            vec(any::<u64>(), count).prop_map(WireData::U64),
            vec(any::<i64>(), count).prop_map(WireData::I64),
            f32s.prop_map(WireData::F32),
            f64s.prop_map(WireData::F64),
            vec(any::<String>().prop_map(String::into_bytes), count).prop_map(WireData::Bytes),
        ]
    }

    fn size(shape: &[u64]) -> usize {
        usize::try_from(shape.iter().product::<u64>()).unwrap()
    }

    fn parameters() -> impl Strategy<Value = Parameters> {
        let value = prop_oneof![
            any::<bool>().prop_map(Parameter::Bool),
            any::<i64>().prop_map(|number| Parameter::Number(number.into())),
            any::<f64>()
                .prop_filter_map("finite", serde_json::Number::from_f64)
                .prop_map(Parameter::Number),
            "\\PC{0,8}".prop_map(Parameter::String),
        ];
        prop::collection::btree_map("\\PC{0,6}", value, 0..3)
    }

    fn tensors() -> impl Strategy<Value = Vec<WireTensor>> {
        let shape = prop::collection::vec(0_u64..4, 0..4);
        let tensor = shape.prop_flat_map(|shape| {
            let count = size(&shape);
            (Just(shape), data(count), parameters())
        });
        prop::collection::btree_map("\\PC{0,12}", tensor, 1..4).prop_map(|tensors| {
            let tensor =
                |(name, (shape, data, parameters)): (String, (Vec<u64>, WireData, Parameters))| WireTensor {
                    name,
                    datatype: data.datatype(),
                    shape,
                    parameters,
                    data,
                };
            tensors.into_iter().map(tensor).collect()
        })
    }

    /// The same body with the keys of every object that has an order in the protocol's text turned around by `turn`.
    fn turned(value: &serde_json::Value, turn: usize) -> String {
        match value {
            serde_json::Value::Object(map) => {
                let mut fields: Vec<String> = map
                    .iter()
                    .map(|(key, value)| {
                        format!(
                            "{}:{}",
                            serde_json::Value::from(key.as_str()),
                            turned(value, turn)
                        )
                    })
                    .collect();
                let by = turn % fields.len().max(1);
                fields.rotate_left(by);
                if turn % 2 == 1 {
                    fields.reverse();
                }
                format!("{{{}}}", fields.join(" ,\n"))
            }
            serde_json::Value::Array(list) => {
                let list: Vec<String> = list.iter().map(|value| turned(value, turn)).collect();
                format!("[ {}\t]", list.join(","))
            }
            scalar => scalar.to_string(),
        }
    }

    /// Flat elements as lists in lists.
    fn nested(elements: &[serde_json::Value], shape: &[u64]) -> serde_json::Value {
        match shape {
            [] | [_] => elements.to_vec().into(),
            [extent, inner @ ..] => {
                let size = size(inner);
                let part = |index| nested(&elements[index * size..][..size], inner);
                (0..usize::try_from(*extent).unwrap())
                    .map(part)
                    .collect::<Vec<_>>()
                    .into()
            }
        }
    }

    proptest! {
        #[test]
        fn a_request_survives_its_json(
            inputs in tensors(),
            parameters in parameters(),
            id in proptest::option::of("\\PC{0,20}"),
            outputs in prop::collection::btree_map("\\PC{0,5}", parameters(), 0..3),
        ) {
            let outputs: Vec<_> = outputs.into_iter().map(|(name, parameters)| RequestedOutput { name, parameters, ..RequestedOutput::default() }).collect();
            let outputs = (!outputs.is_empty()).then_some(outputs);
            let request = InferRequest { id, parameters, inputs, outputs, binary_outputs: None };
            let body = write_infer_request(&request).unwrap();
            let read = parse_infer_request(&body, &BodyLimits::default()).unwrap();
            prop_assert_eq!(&read, &request);
            // -0.0 == 0.0, so the bits are compared by what they are written as.
            prop_assert_eq!(write_infer_request(&read).unwrap(), body);
        }

        #[test]
        fn an_answer_survives_its_json(
            outputs in tensors(),
            parameters in parameters(),
            model_name in "\\PC{0,20}",
            model_version in proptest::option::of("\\PC{0,20}"),
            id in proptest::option::of("\\PC{0,20}"),
        ) {
            let response = InferResponse { model_name, model_version, id, parameters, outputs };
            let body = write_infer_response(&response).unwrap();
            prop_assert_eq!(parse_infer_response(&body, &BodyLimits::default()), Ok(response));
        }

        #[test]
        fn the_order_of_keys_and_the_nesting_of_data_change_nothing(inputs in tensors(), turn in 0_usize..24) {
            let request = InferRequest { inputs, ..InferRequest::default() };
            let mut value: serde_json::Value = serde_json::from_slice(&write_infer_request(&request).unwrap()).unwrap();
            prop_assert_eq!(parse_infer_request(turned(&value, turn).as_bytes(), &BodyLimits::default()).unwrap(), request.clone());
            for (position, input) in request.inputs.iter().enumerate() {
                let data = &mut value["inputs"][position]["data"];
                *data = nested(data.as_array().unwrap(), &input.shape);
            }
            prop_assert_eq!(parse_infer_request(turned(&value, turn).as_bytes(), &BodyLimits::default()).unwrap(), request);
        }

        #[test]
        fn what_is_accepted_is_json(body in "[\\[\\]{}\",:0-9a-z.eE+ -]{0,40}", inside in any::<bool>()) {
            let body = if inside {
                format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP64","data":[{body}]}}]}}"#)
            } else {
                body
            };
            if parse_infer_request(body.as_bytes(), &BodyLimits::default()).is_ok() {
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok());
            }
        }

        #[test]
        fn any_bytes_end_in_a_value(
            inputs in tensors(),
            edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..4), 1..12),
        ) {
            let mut body = write_infer_request(&InferRequest { inputs, ..InferRequest::default() }).unwrap();
            for (at, byte, kind) in edits {
                if body.is_empty() {
                    break;
                }
                let at = at.index(body.len());
                match kind {
                    0 => body[at] = byte,
                    1 => body.insert(at, b"[]{}\",:-0.eE\\ntN"[usize::from(byte) % 16]),
                    2 => drop(body.remove(at)),
                    _ => body.truncate(at),
                }
            }
            fuzz_oip_body(&body);
        }

        #[test]
        fn any_bytes_are_a_route_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            fuzz_oip_route(&bytes);
        }

        #[test]
        fn selected_names_are_the_requested(
            picks in subsequence(vec!["a", "b", "c", "d"], 1..4).prop_shuffle(),
        ) {
            let tensor = |name: &str| WireTensor {
                name: name.into(),
                datatype: stockade_protocol::WireType::I8,
                shape: vec![0],
                parameters: Parameters::new(),
                data: WireData::I8(vec![]),
            };
            let outputs: Vec<_> = ["a", "b", "c", "d"].map(tensor).to_vec();
            let wanted: Vec<_> = picks.iter().map(|&name| RequestedOutput { name: name.into(), ..RequestedOutput::default() }).collect();
            let selected = stockade_protocol::select_outputs(outputs, Some(&wanted)).unwrap();
            let names: Vec<&str> = selected.iter().map(|output| output.name.as_str()).collect();
            prop_assert_eq!(names, picks);
        }
    }
}
