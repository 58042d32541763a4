//! The binary tensor data extension: Triton's examples, what is refused and how.
//!
//! The examples are those of triton-inference-server/server, `docs/protocol/extension_binary_data.md`, "Examples".

#[cfg(test)]
mod examples {
    use stockade_protocol::oip::{
        BinaryBody, BodyLimits, TensorMetadata, parse_binary_infer_request, parse_binary_infer_response,
        parse_infer_request, write_binary_infer_request, write_binary_infer_response,
    };
    use stockade_protocol::{
        ErrorCode, InferRequest, InferResponse, Parameters, WireData, WireTensor, WireType, fuzz_oip_binary,
    };

    fn parse(json: &str, raw: &[u8]) -> Result<InferRequest, String> {
        let body = [json.as_bytes(), raw].concat();
        let read = parse_binary_infer_request(&body, json.len(), &[], &BodyLimits::default());
        read.map_err(|error| error.to_string())
    }

    fn tensor(datatype: &str, shape: &str, raw: &[u8]) -> Result<WireData, String> {
        let size = raw.len();
        let json = format!(
            r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        parse(&json, raw).map(|request| request.inputs[0].data.clone())
    }

    #[track_caller]
    fn refused(json: &str, raw: &[u8], message: &str) {
        assert_eq!(parse(json, raw).unwrap_err(), message, "{json}");
    }

    fn metadata(datatype: WireType, shape: &[i64]) -> TensorMetadata {
        TensorMetadata {
            name: "x".into(),
            datatype,
            shape: shape.to_vec(),
            labels: vec![],
        }
    }

    fn raw(body: &[u8], inputs: &[TensorMetadata]) -> Result<(Vec<u64>, WireData), String> {
        let read = parse_binary_infer_request(body, 0, inputs, &BodyLimits::default());
        let mut request = read.map_err(|error| error.to_string())?;
        assert!(request.wants_binary("any"));
        let input = request.inputs.remove(0);
        Ok((input.shape, input.data))
    }

    #[test]
    fn the_request_of_the_extension() {
        let json = r#"{ "model_name" : "mymodel",
          "inputs" : [
            { "name" : "input0", "shape" : [ 2, 2 ], "datatype" : "UINT32", "parameters" : { "binary_data_size" : 16 } },
            { "name" : "input1", "shape" : [ 3 ], "datatype" : "BOOL", "parameters" : { "binary_data_size" : 3 } } ],
          "outputs" : [ { "name" : "output0", "parameters" : { "binary_data" : true } } ] }"#;
        let raw = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 1, 0, 0, 1, 0, 1];
        let request = parse(json, &raw).unwrap();
        assert_eq!(request.inputs[0].data, WireData::U32(vec![1, 2, 3, 260]));
        assert_eq!(request.inputs[1].data, WireData::Bool(vec![true, false, true]));
        assert!(request.inputs.iter().all(|input| input.parameters.is_empty()));
        assert!(request.wants_binary("output0") && !request.wants_binary("output1"));
    }

    #[test]
    fn the_answer_of_the_extension() {
        let response = InferResponse {
            model_name: "mymodel".into(),
            outputs: vec![WireTensor {
                name: "output0".into(),
                datatype: WireType::F32,
                shape: vec![3, 2],
                parameters: Parameters::new(),
                data: WireData::F32(vec![1.0, 1.5, 2.0, 2.5, 3.0, -0.0]),
            }],
            ..InferResponse::default()
        };
        let json = concat!(
            r#"{"model_name":"mymodel","outputs":[{"name":"output0","datatype":"FP32","shape":[3,2],"#,
            r#""parameters":{"binary_data_size":24}}]}"#
        );
        let BinaryBody { bytes, json_length } = write_binary_infer_response(&response, |_| true).unwrap();
        assert_eq!((json_length, bytes.len()), (json.len(), json.len() + 24));
        assert_eq!(&bytes[..json_length], json.as_bytes());
        assert_eq!(&bytes[json_length..][..8], [0, 0, 128, 63, 0, 0, 192, 63]);
        let read = parse_binary_infer_response(&bytes, json_length, &BodyLimits::default());
        assert_eq!(read, Ok(response));
    }

    /// Made with PyPI tritonclient 2.73.0: `tritonclient.http.InferenceServerClient.generate_request_body` of five
    /// `InferInput`, `j` with `binary_data=False`, and two `InferRequestedOutput`.
    #[test]
    fn what_a_default_client_sends() {
        let inputs = concat!(
            r#"{"id":"42","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},"#,
            r#"{"name":"t","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10}},"#,
            r#"{"name":"j","shape":[2],"datatype":"INT64","data":[1,-2]},"#,
            r#"{"name":"h","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}},"#,
            r#"{"name":"b","shape":[3],"datatype":"BOOL","parameters":{"binary_data_size":3}}],"#
        );
        let raw = b"\0\0\xc0\x3f\0\0\0\xc0\0\0\0\0\0\0\x80\x3e\x02\0\0\0a\xff\0\0\0\0\0\x3c\0\xc0\x01\0\x01";
        let outputs = concat!(
            r#""outputs":[{"name":"y","parameters":{"classification":3,"binary_data":true}},"#,
            r#"{"name":"z","parameters":{"binary_data":false}}],"parameters":{"k":"v"}}"#
        );
        let request = parse(&format!("{inputs}{outputs}"), raw).unwrap();
        let data: Vec<_> = request.inputs.iter().map(|input| input.data.clone()).collect();
        let expected = [
            WireData::F32(vec![1.5, -2.0, 0.0, 0.25]),
            WireData::Bytes(vec![b"a\xff".to_vec(), vec![]]),
            WireData::I64(vec![1, -2]),
            WireData::F16(vec![0x3c00, 0xc000]),
            WireData::Bool(vec![true, false, true]),
        ];
        assert_eq!(data, expected);
        assert!(request.wants_binary("y") && !request.wants_binary("z"));
        let classification = request.outputs.as_ref().unwrap()[0].classification;
        assert_eq!(classification.map(u32::from), Some(3));
        // Without requested outputs the client asks for all of them raw.
        let all = r#""parameters":{"binary_data_output":true,"k":"v"}}"#;
        let request = parse(&format!("{inputs}{all}"), raw).unwrap();
        assert!(request.wants_binary("anything"));
        assert_eq!(request.parameters.len(), 1);
    }

    #[test]
    fn an_output_overrides_the_request() {
        let input = r#"{"name":"x","shape":[1],"datatype":"INT8","data":[1]}"#;
        let request = parse(
            &format!(
                r#"{{"parameters":{{"binary_data_output":true,"free":1}},"inputs":[{input}],"outputs":[
                    {{"name":"a"}},{{"name":"b","parameters":{{"binary_data":false,"classification":3}}}}]}}"#
            ),
            &[],
        )
        .unwrap();
        assert!(request.wants_binary("a") && !request.wants_binary("b") && request.wants_binary("c"));
        assert_eq!(request.parameters.len(), 1);
        let outputs = request.outputs.as_ref().unwrap();
        assert_eq!(outputs[1].classification.map(u32::from), Some(3));
        let body = write_binary_infer_request(&request, |_| true).unwrap();
        let read = parse_binary_infer_request(&body.bytes, body.json_length, &[], &BodyLimits::default());
        assert_eq!(read, Ok(request));
    }

    #[test]
    fn elements_are_little_endian_and_finite() {
        assert_eq!(
            tensor("INT16", "[2]", &[0xfe, 0xff, 1, 2]),
            Ok(WireData::I16(vec![-2, 513]))
        );
        assert_eq!(tensor("FP16", "[1]", &[0, 0x3c]), Ok(WireData::F16(vec![0x3c00])));
        assert_eq!(
            tensor("BF16", "[1]", &[0x80, 0x3f]),
            Ok(WireData::BF16(vec![0x3f80]))
        );
        let finite = "`inputs[0]`: element 1 must be a finite number";
        for (datatype, raw) in [
            ("FP16", vec![0, 0, 0, 0x7c]),
            ("FP16", vec![0, 0, 1, 0xfe]),
            ("BF16", vec![0, 0, 0x80, 0x7f]),
            ("FP32", [0.0_f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat()),
            (
                "FP64",
                [0.0_f64.to_le_bytes(), f64::NEG_INFINITY.to_le_bytes()].concat(),
            ),
        ] {
            assert_eq!(tensor(datatype, "[2]", &raw).unwrap_err(), finite, "{datatype}");
        }
        assert_eq!(
            tensor("BOOL", "[2]", &[1, 2]).unwrap_err(),
            "`inputs[0]`: element 1 must be the byte 0 or 1"
        );
    }

    #[test]
    fn bytes_have_their_length_before_them() {
        let two = [2, 0, 0, 0, 0xff, 0, 0, 0, 0, 0];
        assert_eq!(
            tensor("BYTES", "[2]", &two),
            Ok(WireData::Bytes(vec![vec![0xff, 0], vec![]]))
        );
        let broken = "`inputs[0]` must be as many elements as `shape` says, each a length (4 bytes, little endian) and its bytes";
        for (shape, raw) in [
            ("[1]", two.as_slice()),
            ("[3]", &two),
            ("[2]", &two[..9]),
            ("[1]", &two[..5]),
            ("[1]", &[]),
            ("[0]", &[0]),
        ] {
            assert_eq!(
                tensor("BYTES", shape, raw).unwrap_err(),
                broken,
                "{shape} {raw:?}"
            );
        }
        assert!(
            tensor("BYTES", "[1]", &[0xff; 8])
                .unwrap_err()
                .contains("an element of more than")
        );
    }

    #[test]
    fn sizes_agree_with_shapes_and_with_the_body() {
        let x = |parameters: &str, rest: &str| {
            format!(
                r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"INT16","parameters":{{{parameters}}}{rest}}}]}}"#
            )
        };
        let size = "`inputs[0]` must be 4 bytes of raw data, as `datatype` and `shape` say";
        refused(&x(r#""binary_data_size":3"#, ""), &[0; 3], size);
        refused(&x(r#""binary_data_size":5"#, ""), &[0; 5], size);
        refused(
            &x(r#""binary_data_size":4"#, ""),
            &[0; 5],
            "the body has bytes after its last tensor",
        );
        refused(
            &x("", r#","data":[1,2]"#),
            &[0],
            "the body has bytes after its last tensor",
        );
        refused(
            &x(r#""binary_data_size":4"#, ""),
            &[0; 3],
            "`inputs[0]`: `binary_data_size` must be no more than the bytes that follow",
        );
        refused(
            &x(r#""binary_data_size":4"#, r#","data":[1,2]"#),
            &[0; 4],
            "`inputs[0]` has its data in two forms",
        );
        for value in ["-1", "1.5", "true", "\"4\"", "99999999999999999999999"] {
            refused(
                &x(&format!(r#""binary_data_size":{value}"#), ""),
                &[0; 4],
                "`inputs[0]`: `binary_data_size` must be an integer from 0 on",
            );
        }
        let limits = BodyLimits::default();
        let error = parse_binary_infer_request(b"{}", 3, &[], &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`Inference-Header-Content-Length` is more than the body has bytes"
        );
        let small = BodyLimits {
            max_bytes: 3,
            max_elements: 4,
            ..limits
        };
        let error = parse_binary_infer_request(b"{}12", 2, &[], &small).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BodyTooLarge);
        let error = parse_binary_infer_request(b"1234", 0, &[], &small).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BodyTooLarge);
    }

    #[test]
    fn what_is_claimed_is_bounded_before_it_is_read() {
        let limits = BodyLimits {
            max_elements: 4,
            ..BodyLimits::default()
        };
        let json =
            r#"{"inputs":[{"name":"x","shape":[5],"datatype":"INT8","parameters":{"binary_data_size":5}}]}"#;
        let body = [json.as_bytes(), &[0; 5]].concat();
        let error = parse_binary_infer_request(&body, json.len(), &[], &limits).unwrap_err();
        assert_eq!(error.to_string(), "the body has more than 4 tensor elements");
        let error = parse_binary_infer_request(&[0; 5], 0, &[metadata(WireType::I8, &[-1])], &limits);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the body has more than 4 tensor elements"
        );
    }

    #[test]
    fn raw_data_alone_is_the_single_input() {
        let f32s = |count: usize| [1.5_f32.to_le_bytes()].concat().repeat(count);
        assert_eq!(
            raw(&f32s(6), &[metadata(WireType::F32, &[-1, 3])]),
            Ok((vec![2, 3], WireData::F32(vec![1.5; 6])))
        );
        assert_eq!(
            raw(&f32s(1), &[metadata(WireType::F32, &[])]),
            Ok((vec![], WireData::F32(vec![1.5])))
        );
        assert_eq!(
            raw(&[], &[metadata(WireType::F32, &[-1])]),
            Ok((vec![0], WireData::F32(vec![])))
        );
        assert_eq!(
            raw(b"\xff\0\0\0\0", &[metadata(WireType::Bytes, &[-1, 1])]),
            Ok((vec![1, 1], WireData::Bytes(vec![b"\xff\0\0\0\0".to_vec()])))
        );
        let alone = |inputs: &[TensorMetadata]| raw(&f32s(5), inputs).unwrap_err();
        let x = |shape: &[i64]| metadata(WireType::F32, shape);
        assert_eq!(
            alone(&[]),
            "a body of raw data alone needs a model with a single input"
        );
        assert_eq!(
            alone(&[x(&[-1]), x(&[-1])]),
            "a body of raw data alone needs a model with a single input"
        );
        assert_eq!(
            alone(&[x(&[-1, -1])]),
            "a body of raw data alone needs an input of which at most one extent varies"
        );
        for shape in [[-1, 3], [-1, 0], [-1, i64::MAX]] {
            assert_eq!(
                alone(&[x(&shape)]),
                "a body of raw data alone needs a whole number of rows"
            );
        }
        assert_eq!(
            alone(&[x(&[1, 6])]),
            "`inputs[0]` must be 24 bytes of raw data, as `datatype` and `shape` say"
        );
        assert_eq!(
            alone(&[metadata(WireType::Bytes, &[2])]),
            "a body of raw data alone needs an input that can be a single element"
        );
    }

    #[test]
    fn parameters_of_the_protocol_stay_where_they_mean_something() {
        let body = |request: &str, input: &str, output: &str| {
            format!(
                r#"{{"parameters":{{{request}}},"inputs":[{{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{{{input}}}}}],
                    "outputs":[{{"name":"y","parameters":{{{output}}}}}]}}"#
            )
        };
        let misplaced =
            |at: &str| format!("{at} has a parameter of the protocol's own that has no meaning there");
        refused(
            &body(r#""binary_data":true"#, "", ""),
            &[],
            &misplaced("`parameters`"),
        );
        refused(
            &body("", r#""classification":1"#, ""),
            &[],
            &misplaced("`inputs[0]`"),
        );
        refused(
            &body("", "", r#""binary_data_output":true"#),
            &[],
            &misplaced("`outputs[0]`"),
        );
        for value in ["0", "-1", "4294967296", "1.0", "true", "\"1\""] {
            refused(
                &body("", "", &format!(r#""classification":{value}"#)),
                &[],
                "`outputs[0]`: `classification` must be an integer from 1 on",
            );
        }
        refused(
            &body("", "", r#""binary_data":1"#),
            &[],
            "`outputs[0]`: `binary_data` must be true or false",
        );
        let region = r#""shared_memory_region":"r""#;
        for (json, at) in [
            (body(region, "", ""), "`parameters`"),
            (body("", region, ""), "`inputs[0]`"),
            (body("", "", region), "`outputs[0]`"),
        ] {
            let error = parse_infer_request(json.as_bytes(), &BodyLimits::default()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Forbidden);
            assert_eq!(
                error.to_string(),
                format!("{at}: shared memory is not served; send `data`")
            );
        }
    }

    #[test]
    fn a_free_parameter_with_a_name_of_the_protocol_is_not_written() {
        let mut request = parse(
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1]}]}"#,
            &[],
        )
        .unwrap();
        let own = ["binary_data_size", "shared_memory_region", "classification"];
        request.inputs[0].parameters = own
            .map(|name| (name.to_owned(), stockade_protocol::Parameter::Bool(true)))
            .into();
        let body = write_binary_infer_request(&request, |_| false).unwrap();
        assert!(!String::from_utf8(body.bytes).unwrap().contains("true"));
    }

    #[test]
    fn what_is_not_finite_is_not_written() {
        for data in [WireData::F32(vec![f32::NAN]), WireData::F16(vec![0x7c00])] {
            let output = WireTensor {
                name: "y".into(),
                datatype: data.datatype(),
                shape: vec![1],
                parameters: Parameters::new(),
                data,
            };
            let response = InferResponse {
                outputs: vec![output],
                ..InferResponse::default()
            };
            let error = write_binary_infer_response(&response, |_| true).unwrap_err();
            assert_eq!(error.to_string(), "tensor 0 holds a value that is not finite");
        }
    }

    #[test]
    fn corpus() {
        let json = br#"{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":8}}]}"#;
        let mut seed = vec![u8::try_from(json.len()).unwrap(), 0];
        seed.extend_from_slice(json);
        seed.extend_from_slice(&[0; 8]);
        for data in [
            &[] as &[u8],
            &[0],
            &[0, 0],
            &[0, 0, 1, 2, 3, 4, 5, 6],
            &[2, 0, b'{', b'}'],
            &seed,
        ] {
            fuzz_oip_binary(data);
        }
        // Each byte of the seed in turn, each value that means something to JSON or to a length.
        for at in 0..seed.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'}', b'0', b'9'] {
                let mut data = seed.clone();
                data[at] = byte;
                fuzz_oip_binary(&data);
                fuzz_oip_binary(&data[..at]);
            }
        }
    }
}
