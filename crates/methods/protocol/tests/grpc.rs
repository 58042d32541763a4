//! gRPC: the bytes of the reference client, both ways, and what is refused and how.
//!
//! The vectors were made with PyPI tritonclient 2.73.0 (`tritonclient.grpc.service_pb2`, protobuf 6.33.6,
//! `SerializeToString(deterministic=True)`); `REQUEST_RAW` by its own `InferInput` and `InferRequestedOutput`.

#[cfg(test)]
mod vectors {
    use bytes::Bytes;
    use prost::Message;
    use stockade_protocol::grpc::{self, decode};

    const HEX: u32 = 16;

    pub(super) fn hex(text: &str) -> Bytes {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), HEX).unwrap();
        text.as_bytes().chunks(2).map(byte).collect()
    }

    pub(super) const REQUEST_RAW: &str = concat!(
        "0a016d1201321a02343222080a016b12031a01762a0d0a01781204465033321a0202022a0d0a0174120542595445531a0102",
        "32190a017912140a0e636c617373696669636174696f6e120210033a100000c03f000000c0000000000000803e3a0a020000",
        "0061ff00000000",
    );
    pub(super) const REQUEST_TYPED: &str = concat!(
        "0a016d22070a01611202080122100a0162120b10fbffffffffffffffff0122080a016312031a0174220e0a01641209210000",
        "00000000e03f22100a0165120b28ffffffffffffffffff012a120a01621204424f4f4c1a01022a040a0201002a1c0a026938",
        "1204494e54381a01022a0d120bffffffffffffffffff017f2a1e0a036931361205494e5431361a01022a0d120bd4fdffffff",
        "ffffffff01022a1e0a036933321205494e5433321a01022a0d120b90ddfbffffffffffff01032a1e0a036936341205494e54",
        "36341a01022a0d1a0b8080808080e0ffffff01042a150a027538120555494e54381a01022a052203ff01002a180a03753136",
        "120655494e5431361a01022a062204ffff03012a1a0a03753332120655494e5433321a01022a082206ffffffff0f022a1f0a",
        "03753634120655494e5436341a01022a0d2a0bffffffffffffffffff01032a1a0a036633321204465033321a01022a0a3208",
        "0000c03f000000802a220a036636341204465036341a01022a123a109a9999999999b93f00000000000000c02a150a017312",
        "0542595445531a01022a064202007a4200",
    );
    pub(super) const RESPONSE_RAW: &str =
        "0a016d1201321a02343222070a0170120208002a0d0a01791204465031361a0201023204003c00c0";

    #[track_caller]
    fn check<M: Message + Default + PartialEq + std::fmt::Debug>(vector: &str) {
        let bytes = hex(vector);
        let message: M = decode(bytes.clone(), bytes.len()).unwrap();
        assert_ne!(message, M::default());
        assert_eq!(message.encode_to_vec(), bytes);
    }

    #[test]
    fn each_message_is_that_of_the_reference() {
        check::<grpc::ModelInferRequest>(REQUEST_RAW);
        check::<grpc::ModelInferRequest>(REQUEST_TYPED);
        check::<grpc::ModelInferResponse>(RESPONSE_RAW);
        check::<grpc::ServerLiveResponse>("0801");
        check::<grpc::ServerReadyResponse>("0801");
        check::<grpc::ModelReadyRequest>("0a016d120131");
        check::<grpc::ModelReadyResponse>("0801");
        check::<grpc::ServerMetadataResponse>("0a01731201311a01611a0162");
        check::<grpc::ModelMetadataRequest>("0a016d120131");
        check::<grpc::ModelMetadataResponse>(concat!(
            "0a016d1201311201321a046f6e6e7822160a01781204465033321a0bffffffffffffffffff01402a160a01791205494e5436",
            "341a0affffffffffffffffff01",
        ));
        check::<grpc::ModelConfigRequest>("0a016d120131");
        check::<grpc::ModelConfigResponse>("0a050a016d2008");
        check::<grpc::ModelStatisticsRequest>("0a016d120131");
        check::<grpc::ModelStatisticsResponse>(concat!(
            "0aa4010a016d12013118012002280332380a05080110e8071205080210d00f1a05080310b8172205080410a01f2a05080510",
            "88273205080610f02e3a05080710d8364205080810c03e3a1708041205080110e8071a05080210d00f2205080310b8174212",
            "0a0347505510ffffffffffffffffff0118054a2f0a0130122a0a05080110e8071205080210d00f1a05080310b81722050804",
            "10a01f2a0508051088273205080610f02e",
        ));
        check::<grpc::RepositoryIndexRequest>("0a01721001");
        check::<grpc::RepositoryIndexResponse>("0a100a016d1201311a055245414459220178");
        check::<grpc::RepositoryModelLoadRequest>(concat!(
            "0a017212016d1a070a0161120208011a100a0162120b10ffffffffffffffffff011a080a016312031a01731a080a01641203",
            "2201ff",
        ));
        check::<grpc::RepositoryModelUnloadRequest>(concat!(
            "0a017212016d1a070a0161120208011a100a0162120b10ffffffffffffffffff011a080a016312031a01731a080a01641203",
            "2201ff",
        ));
        check::<grpc::SystemSharedMemoryStatusRequest>("0a0172");
        check::<grpc::SystemSharedMemoryStatusResponse>("0a100a0172120b0a017212022f6b18012002");
        check::<grpc::SystemSharedMemoryRegisterRequest>("0a017212022f6b18012002");
        check::<grpc::SystemSharedMemoryUnregisterRequest>("0a0172");
        check::<grpc::CudaSharedMemoryStatusRequest>("0a0172");
        check::<grpc::CudaSharedMemoryStatusResponse>("0a0c0a017212070a017210011802");
        check::<grpc::CudaSharedMemoryRegisterRequest>("0a01721202ff0018ffffffffffffffffff012002");
        check::<grpc::CudaSharedMemoryUnregisterRequest>("0a0172");
        check::<grpc::TraceSettingRequest>("0a150a0b74726163655f6c6576656c12060a01410a014212016d");
        check::<grpc::TraceSettingResponse>("0a150a0b74726163655f6c6576656c12060a01410a0142");
        check::<grpc::LogSettingsRequest>("0a070a0161120208010a070a0162120210070a080a016312031a0173");
        check::<grpc::LogSettingsResponse>("0a070a0161120208010a070a0162120210070a080a016312031a0173");
        check::<grpc::ModelStreamInferResponse>("0a016512030a016d");
    }

    #[test]
    fn messages_without_fields_are_empty() {
        assert!(grpc::ServerLiveRequest {}.encode_to_vec().is_empty());
        assert_eq!(decode(Bytes::new(), 0), Ok(grpc::ServerMetadataRequest {}));
        let error = decode::<grpc::ModelReadyRequest>(Bytes::from_static(&[0; 5]), 4).unwrap_err();
        assert_eq!(error.to_string(), "the body is larger than 4 bytes");
        let error = decode::<grpc::ModelReadyRequest>(Bytes::from_static(&[0xff; 4]), 4).unwrap_err();
        assert_eq!(error.to_string(), "the body is not a valid message");
    }
}

#[cfg(test)]
mod infer {
    use bytes::Bytes;
    use prost::Message;
    use stockade_protocol::grpc::{
        Contents, GrpcStatus, InferParameter, InferParameterValue, InferRequestedOutputTensor, InferTensor,
        InferTensorContents, ModelInferRequest, ModelInferResponse, frame, parse_grpc_infer_request,
        parse_grpc_infer_response, unframe, write_grpc_infer_request, write_grpc_infer_response,
    };
    use stockade_protocol::oip::BodyLimits;
    use stockade_protocol::{
        BodyError, ErrorCode, Parameter, WireData, fuzz_grpc_frame, fuzz_grpc_infer, fuzz_grpc_method,
    };

    use super::vectors::{REQUEST_RAW, REQUEST_TYPED, RESPONSE_RAW, hex};

    fn tensor(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferTensor {
        InferTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
            ..InferTensor::default()
        }
    }

    fn f32s(values: &[f32]) -> Option<InferTensorContents> {
        Some(InferTensorContents {
            fp32_contents: values.to_vec(),
            ..InferTensorContents::default()
        })
    }

    fn request(inputs: Vec<InferTensor>) -> ModelInferRequest {
        ModelInferRequest {
            model_name: "m".into(),
            inputs,
            ..ModelInferRequest::default()
        }
    }

    fn error(request: &ModelInferRequest, limits: &BodyLimits) -> BodyError {
        parse_grpc_infer_request(request.encode_to_vec().into(), limits).unwrap_err()
    }

    #[track_caller]
    fn refused(request: ModelInferRequest, message: &str) {
        assert_eq!(error(&request, &BodyLimits::default()).to_string(), message);
    }

    #[test]
    fn what_a_default_client_sends() {
        let body = hex(REQUEST_RAW);
        let call = parse_grpc_infer_request(body.clone(), &BodyLimits::default()).unwrap();
        assert_eq!((&*call.model, call.version.as_deref()), ("m", Some("2")));
        assert_eq!(call.contents, Contents::Raw);
        let request = &call.request;
        assert_eq!(request.id.as_deref(), Some("42"));
        assert_eq!(request.parameters["k"], Parameter::String("v".into()));
        assert_eq!(request.inputs[0].data, WireData::F32(vec![1.5, -2.0, 0.0, 0.25]));
        assert_eq!(request.inputs[0].shape, [2, 2]);
        assert_eq!(
            request.inputs[1].data,
            WireData::Bytes(vec![b"a\xff".to_vec(), vec![]])
        );
        let output = &request.outputs.as_ref().unwrap()[0];
        assert_eq!(output.classification.map(u32::from), Some(3));
        assert!(output.parameters.is_empty());
        assert_eq!(
            write_grpc_infer_request(request, "m", Some("2"), Contents::Raw),
            Ok(body.to_vec())
        );
    }

    #[test]
    fn typed_contents_of_each_type() {
        let body = hex(REQUEST_TYPED);
        let call = parse_grpc_infer_request(body.clone(), &BodyLimits::default()).unwrap();
        assert_eq!((call.contents, call.version), (Contents::Typed, None));
        let data: Vec<_> = call
            .request
            .inputs
            .iter()
            .map(|input| input.data.clone())
            .collect();
        let expected = [
            WireData::Bool(vec![true, false]),
            WireData::I8(vec![-1, 127]),
            WireData::I16(vec![-300, 2]),
            WireData::I32(vec![-70000, 3]),
            WireData::I64(vec![-(1 << 40), 4]),
            WireData::U8(vec![255, 0]),
            WireData::U16(vec![65535, 1]),
            WireData::U32(vec![u32::MAX, 2]),
            WireData::U64(vec![u64::MAX, 3]),
            WireData::F32(vec![1.5, -0.0]),
            WireData::F64(vec![0.1, -2.0]),
            WireData::Bytes(vec![b"\0z".to_vec(), vec![]]),
        ];
        assert_eq!(data, expected);
        assert_eq!(call.request.parameters.len(), 5);
        let written = write_grpc_infer_request(&call.request, "m", None, Contents::Typed);
        assert_eq!(written, Ok(body.to_vec()));
    }

    #[test]
    fn an_answer_both_ways() {
        let body = hex(RESPONSE_RAW);
        let response = parse_grpc_infer_response(body.clone(), &BodyLimits::default()).unwrap();
        assert_eq!(response.outputs[0].data, WireData::F16(vec![0x3c00, 0xc000]));
        assert_eq!(
            write_grpc_infer_response(&response, Contents::Raw),
            Ok(body.to_vec())
        );
        let typed = write_grpc_infer_response(&response, Contents::Typed).unwrap_err();
        assert!(typed.to_string().contains("`FP16`"));
    }

    #[test]
    fn elements_stand_in_one_place() {
        let raw = |count| vec![Bytes::from_static(&[0; 4]); count];
        let with = |inputs, count| ModelInferRequest {
            raw_input_contents: raw(count),
            ..request(inputs)
        };
        refused(
            with(vec![tensor("FP32", &[1], f32s(&[1.0]))], 1),
            "`inputs[0]` has its data in two forms",
        );
        refused(
            with(vec![tensor("FP32", &[1], None)], 2),
            "`inputs` must be as many as the raw contents",
        );
        refused(
            with(vec![tensor("FP32", &[2], None)], 1),
            "`inputs[0]` must be 8 bytes of raw data, as `datatype` and `shape` say",
        );
        refused(
            request(vec![tensor("FP32", &[1], None)]),
            "`inputs[0]` must have 1 elements, as `shape` says",
        );
        refused(
            request(vec![tensor("FP64", &[0], f32s(&[1.0]))]),
            "`inputs[0]`: `contents` has elements in a field that is not that of `FP64`",
        );
        let mut both = f32s(&[1.0]).unwrap();
        both.fp64_contents.push(1.0);
        refused(
            request(vec![tensor("FP32", &[1], Some(both))]),
            "`inputs[0]`: `contents` has elements in a field that is not that of `FP32`",
        );
    }

    #[test]
    fn elements_fit_their_type() {
        refused(
            request(vec![tensor("FP32", &[2], f32s(&[0.0, f32::INFINITY]))]),
            "`inputs[0]`: element 1 must be a finite number",
        );
        let ints = |int_contents| {
            Some(InferTensorContents {
                int_contents,
                ..InferTensorContents::default()
            })
        };
        refused(
            request(vec![tensor("INT8", &[2], ints(vec![0, 128]))]),
            "`inputs[0]`: element 1 does not fit `INT8`",
        );
        refused(
            request(vec![tensor("INT32", &[3], ints(vec![0, 128]))]),
            "`inputs[0]` must have 3 elements, as `shape` says",
        );
        for datatype in ["FP16", "BF16"] {
            let error = error(
                &request(vec![tensor(datatype, &[0], None)]),
                &BodyLimits::default(),
            );
            assert!(error.to_string().contains("only"), "{error}");
        }
    }

    #[test]
    fn names_shapes_and_parameters() {
        refused(request(vec![]), "`inputs` must be a list of at least one tensor");
        let x = || tensor("FP32", &[1], f32s(&[1.0]));
        refused(
            request(vec![x(), x()]),
            "`inputs[1]` has the name of an earlier tensor",
        );
        refused(
            request(vec![tensor("FP32", &[-1], None)]),
            "`inputs[0].shape` must be a list of integers from 0 on",
        );
        refused(
            request(vec![tensor("fp32", &[1], None)]),
            "`inputs[0].datatype` is not a data type of the protocol (such as `FP32`)",
        );
        refused(
            request(vec![tensor("FP32", &[i64::MAX, i64::MAX], None)]),
            "`inputs[0].shape` has more elements than can be counted",
        );
        let with = |name: &str, value| ModelInferRequest {
            parameters: [(name.to_owned(), InferParameter { value })].into(),
            ..request(vec![x()])
        };
        let expected = "`parameters` must be a map to strings, finite numbers and booleans";
        refused(with("a", None), expected);
        refused(with("a", Some(InferParameterValue::Double(f64::NAN))), expected);
        let region = Some(InferParameterValue::String("r".into()));
        let shared = error(
            &with("shared_memory_region", region.clone()),
            &BodyLimits::default(),
        );
        assert_eq!(shared.code(), ErrorCode::Forbidden);
        let mut input = x();
        input
            .parameters
            .insert("shared_memory_region".into(), InferParameter { value: region });
        let shared = error(&request(vec![input]), &BodyLimits::default());
        assert_eq!(shared.code(), ErrorCode::Forbidden);
        for name in ["", "..", "a/b"] {
            let model = ModelInferRequest {
                model_name: name.into(),
                ..request(vec![x()])
            };
            let error = error(&model, &BodyLimits::default());
            assert_eq!(GrpcStatus::from(error.code()), GrpcStatus::NotFound, "{name}");
        }
    }

    #[test]
    fn what_a_message_becomes_is_counted_first() {
        let limits = BodyLimits {
            max_bytes: 4096,
            max_tensors: 2,
            max_elements: 5,
            max_dimensions: 3,
            max_keys: 1,
            max_name_bytes: 12,
            max_id_bytes: 4,
            max_element_bytes: 3,
            ..BodyLimits::default()
        };
        let check = |request: ModelInferRequest, message: &str| {
            assert_eq!(error(&request, &limits).to_string(), message);
        };
        let x = |n: usize| tensor("FP32", &[i64::try_from(n).unwrap()], f32s(&vec![1.0; n]));
        let named = |n: usize, name: &str| InferTensor {
            name: name.into(),
            ..x(n)
        };
        assert!(
            parse_grpc_infer_request(request(vec![x(2), named(3, "y")]).encode_to_vec().into(), &limits)
                .is_ok()
        );
        check(
            request(vec![x(3), named(3, "y")]),
            "the body has more than 5 tensor elements",
        );
        check(request(vec![x(0); 3]), "`inputs` has more than 2 tensors");
        check(
            request(vec![named(1, "1234567890123")]),
            "`inputs[0].name` has a text of more than 12 bytes",
        );
        check(
            request(vec![tensor("FP32", &[1; 4], None)]),
            "`shape` has more than 3 dimensions",
        );
        check(
            request(vec![tensor("FP32", &[9_999_999_999], None)]),
            "the body has more than 5 tensor elements",
        );
        check(
            ModelInferRequest {
                id: "12345".into(),
                ..request(vec![x(1)])
            },
            "`id` has a text of more than 4 bytes",
        );
        let outputs = vec![InferRequestedOutputTensor::default(); 3];
        check(
            ModelInferRequest {
                outputs,
                ..request(vec![x(1)])
            },
            "`outputs` has more than 2 tensors",
        );
        let raw_input_contents = vec![Bytes::new(); 3];
        check(
            ModelInferRequest {
                raw_input_contents,
                ..request(vec![x(0)])
            },
            "`raw_input_contents` has more than 2 tensors",
        );
        let bytes = InferTensorContents {
            bytes_contents: vec![b"1234".to_vec()],
            ..InferTensorContents::default()
        };
        check(
            request(vec![tensor("BYTES", &[1], Some(bytes))]),
            "`inputs[0]` has an element of more than 3 bytes",
        );
        let value = || InferParameter {
            value: Some(InferParameterValue::Bool(true)),
        };
        let parameters = [("a".to_owned(), value()), ("b".to_owned(), value())].into();
        check(
            ModelInferRequest {
                parameters,
                ..request(vec![x(1)])
            },
            "`parameters` has more than 1 keys",
        );
        // One byte each on the wire, eight in memory; unpacked two bytes each.
        let packed = InferTensorContents {
            int64_contents: vec![0; 6],
            ..InferTensorContents::default()
        };
        check(
            request(vec![tensor("INT64", &[6], Some(packed))]),
            "the body has more than 5 tensor elements",
        );
        let unpacked = [&[0x2a_u8, 14, 0x2a, 12] as &[u8], &[0x18, 0].repeat(6)].concat();
        let error = parse_grpc_infer_request(unpacked.into(), &limits).unwrap_err();
        assert_eq!(error.to_string(), "the body has more than 5 tensor elements");
        let long = parse_grpc_infer_request(vec![0; 4097].into(), &limits).unwrap_err();
        assert_eq!(long.code(), ErrorCode::BodyTooLarge);
    }

    #[test]
    fn what_is_no_message() {
        for body in [
            &[0xff_u8] as &[u8],
            &[0x0a, 5, b'm'],
            &[0x0a, 1, 0xff],
            &[0x08, 1],
            &[0x0b, 0x0c],
            &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            let body = Bytes::copy_from_slice(body);
            let error = parse_grpc_infer_request(body, &BodyLimits::default()).unwrap_err();
            assert_eq!(error.to_string(), "the body is not a valid message");
        }
    }

    #[test]
    fn errors_repeat_nothing_that_was_sent() {
        let secret = "c4nary";
        let mut x = tensor(secret, &[1], None);
        x.name = secret.into();
        for request in [
            ModelInferRequest {
                model_name: format!("{secret}/"),
                ..request(vec![])
            },
            ModelInferRequest {
                id: secret.repeat(100),
                ..request(vec![x.clone()])
            },
            request(vec![x]),
        ] {
            let error = error(&request, &BodyLimits::default());
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }

    #[test]
    fn one_message_in_a_frame() {
        assert_eq!(
            unframe(Bytes::from_static(&[0, 0, 0, 0, 2, 7, 8])),
            Ok(Bytes::from_static(&[7, 8]))
        );
        assert_eq!(frame(258), Some([0, 0, 0, 1, 2]));
        let code = |body: &'static [u8]| unframe(Bytes::from_static(body)).unwrap_err().code();
        assert_eq!(code(&[1, 0, 0, 0, 1, 7]), ErrorCode::UnsupportedMedia);
        for body in [
            &[] as &[u8],
            &[0; 4],
            &[2, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 2, 7],
        ] {
            assert_eq!(code(body), ErrorCode::InvalidRequest, "{body:?}");
        }
    }

    #[test]
    fn corpus() {
        let response = ModelInferResponse {
            outputs: vec![tensor("FP32", &[1], f32s(&[1.0]))],
            ..ModelInferResponse::default()
        };
        let response = Bytes::from(response.encode_to_vec());
        for seed in [hex(REQUEST_RAW), hex(REQUEST_TYPED), hex(RESPONSE_RAW), response] {
            fuzz_grpc_infer(&seed);
            // Each byte of the seed in turn, each value that means something to a key, a length or a number.
            for at in 0..seed.len() {
                fuzz_grpc_infer(&seed[..at]);
                for byte in [0, 1, 2, 8, 0x2a, 0x3a, 0x7f, 0x80, 0xff] {
                    let mut data = seed.to_vec();
                    data[at] = byte;
                    fuzz_grpc_infer(&data);
                }
            }
        }
        for data in [
            &[] as &[u8],
            &[0; 5],
            &[0, 0, 0, 0, 1, 2],
            &[1, 0, 0, 0, 0],
            &[0; 6],
        ] {
            fuzz_grpc_frame(data);
        }
        for path in [
            "",
            "/",
            "/inference.GRPCInferenceService/ModelInfer",
            "/inference.GRPCInferenceService/X",
        ] {
            fuzz_grpc_method(path.as_bytes());
        }
    }
}
