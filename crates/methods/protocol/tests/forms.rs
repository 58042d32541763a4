//! What one form of the protocol says, every other form says as well: JSON, binary, gRPC typed and raw, rows, columns.

#[cfg(test)]
mod forms {
    use std::num::NonZeroU32;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use stockade_protocol::grpc::{
        Contents, parse_grpc_infer_request, parse_grpc_infer_response, write_grpc_infer_request,
        write_grpc_infer_response,
    };
    use stockade_protocol::oip::{
        BodyLimits, TensorMetadata, parse_binary_infer_request, parse_binary_infer_response,
        parse_infer_request, parse_infer_response, write_binary_infer_request, write_binary_infer_response,
        write_infer_request, write_infer_response,
    };
    use stockade_protocol::tfs::{
        Form, parse_predict_request, parse_predict_response, write_predict_request, write_predict_response,
    };
    use stockade_protocol::{
        InferRequest, InferResponse, Parameter, Parameters, RequestedOutput, WireData, WireTensor, WireType,
        fuzz_grpc_frame, fuzz_grpc_infer, fuzz_grpc_method, fuzz_oip_binary, fuzz_tfs_metadata,
        fuzz_tfs_predict, fuzz_tfs_route,
    };

    /// A way in which a request can travel.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Json,
        Binary,
        /// Each second tensor is raw.
        Mixed,
        Grpc(Contents),
        Tfs(Form),
    }

    const WAYS: [Way; 7] = [
        Way::Json,
        Way::Binary,
        Way::Mixed,
        Way::Grpc(Contents::Typed),
        Way::Grpc(Contents::Raw),
        Way::Tfs(Form::Row),
        Way::Tfs(Form::Column),
    ];

    impl Way {
        /// Whether the way has words for the tensors.
        fn carries(self, tensors: &[WireTensor]) -> bool {
            let half = |tensor: &WireTensor| matches!(tensor.datatype, WireType::F16 | WireType::BF16);
            let text = |tensor: &WireTensor| match &tensor.data {
                WireData::Bytes(elements) => elements.iter().all(|each| std::str::from_utf8(each).is_ok()),
                _ => true,
            };
            let rows = |tensor: &WireTensor| tensor.shape.first().copied().filter(|&rows| rows > 0);
            let first = tensors.first().and_then(rows);
            match self {
                Self::Json => tensors.iter().all(|tensor| !half(tensor) && text(tensor)),
                Self::Mixed => tensors
                    .iter()
                    .step_by(2)
                    .all(|tensor| !half(tensor) && text(tensor)),
                Self::Binary | Self::Grpc(Contents::Raw) => true,
                Self::Grpc(Contents::Typed) | Self::Tfs(Form::Column) => !tensors.iter().any(half),
                Self::Tfs(Form::Row) => {
                    first.is_some()
                        && tensors
                            .iter()
                            .all(|tensor| !half(tensor) && rows(tensor) == first)
                }
            }
        }

        /// What of a request the way has words for.
        fn worded(self, request: &InferRequest) -> InferRequest {
            let mut request = request.clone();
            match self {
                Self::Json | Self::Binary | Self::Mixed => {}
                Self::Grpc(_) => {
                    request.binary_outputs = None;
                    for output in request.outputs.iter_mut().flatten() {
                        output.binary = None;
                    }
                }
                Self::Tfs(_) => {
                    let mut inputs = request.inputs;
                    inputs.iter_mut().for_each(|input| input.parameters.clear());
                    request = InferRequest {
                        inputs,
                        ..InferRequest::default()
                    };
                }
            }
            request
        }

        fn travel(self, request: &InferRequest) -> InferRequest {
            let limits = BodyLimits::default();
            match self {
                Self::Json => parse_infer_request(&write_infer_request(request).unwrap(), &limits).unwrap(),
                Self::Binary | Self::Mixed => {
                    let raw = |tensor: &WireTensor| self.is_raw(&request.inputs, tensor);
                    let body = write_binary_infer_request(request, raw).unwrap();
                    parse_binary_infer_request(&body.bytes, body.json_length, &[], &limits).unwrap()
                }
                Self::Grpc(contents) => {
                    let body = write_grpc_infer_request(request, "m", Some("1"), contents).unwrap();
                    let call = parse_grpc_infer_request(body.into(), &limits).unwrap();
                    assert_eq!((&*call.model, call.version.as_deref()), ("m", Some("1")));
                    assert_eq!(call.contents, contents);
                    call.request
                }
                Self::Tfs(form) => {
                    let body = write_predict_request(request, form, None).unwrap();
                    let predict = parse_predict_request(&body, &model(&request.inputs), &limits).unwrap();
                    assert_eq!(predict.form, form);
                    predict.request
                }
            }
        }

        fn answer(self, response: &InferResponse) -> InferResponse {
            let limits = BodyLimits::default();
            match self {
                Self::Json => {
                    parse_infer_response(&write_infer_response(response).unwrap(), &limits).unwrap()
                }
                Self::Binary | Self::Mixed => {
                    let raw = |tensor: &WireTensor| self.is_raw(&response.outputs, tensor);
                    let body = write_binary_infer_response(response, raw).unwrap();
                    parse_binary_infer_response(&body.bytes, body.json_length, &limits).unwrap()
                }
                Self::Grpc(contents) => {
                    let body = write_grpc_infer_response(response, contents).unwrap();
                    parse_grpc_infer_response(body.into(), &limits).unwrap()
                }
                Self::Tfs(form) => {
                    let body = write_predict_response(&response.outputs, form).unwrap();
                    let mut outputs =
                        parse_predict_response(&body, &model(&response.outputs), &limits).unwrap();
                    // What has no words for parameters lost them on the way.
                    for (output, written) in outputs.iter_mut().zip(&response.outputs) {
                        output.parameters = written.parameters.clone();
                    }
                    InferResponse {
                        outputs,
                        ..response.clone()
                    }
                }
            }
        }

        fn is_raw(self, tensors: &[WireTensor], tensor: &WireTensor) -> bool {
            let position = tensors.iter().position(|each| each.name == tensor.name).unwrap();
            self == Self::Binary || position % 2 == 1
        }
    }

    /// A model that takes exactly these tensors.
    fn model(tensors: &[WireTensor]) -> Vec<TensorMetadata> {
        let metadata = |tensor: &WireTensor| TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.datatype,
            shape: tensor
                .shape
                .iter()
                .map(|&extent| i64::try_from(extent).unwrap())
                .collect(),
            labels: vec![],
        };
        tensors.iter().map(metadata).collect()
    }

    fn data(datatype: WireType, count: usize) -> BoxedStrategy<WireData> {
        use prop::collection::vec;
        let text = prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            vec(any::<u8>(), 0..6),
        ];
        match datatype {
            WireType::Bool => vec(any::<bool>(), count).prop_map(WireData::Bool).boxed(),
            WireType::U8 => vec(any::<u8>(), count).prop_map(WireData::U8).boxed(),
            WireType::I8 => vec(any::<i8>(), count).prop_map(WireData::I8).boxed(),
            WireType::U16 => vec(any::<u16>(), count).prop_map(WireData::U16).boxed(),
            WireType::I16 => vec(any::<i16>(), count).prop_map(WireData::I16).boxed(),
            WireType::U32 => vec(any::<u32>(), count).prop_map(WireData::U32).boxed(),
            WireType::I32 => vec(any::<i32>(), count).prop_map(WireData::I32).boxed(),
            WireType::U64 => vec(any::<u64>(), count).prop_map(WireData::U64).boxed(),
            WireType::I64 => vec(any::<i64>(), count).prop_map(WireData::I64).boxed(),
            WireType::F16 => vec(
                any::<u16>().prop_filter("finite", |bits| bits & 0x7c00 != 0x7c00),
                count,
            )
            .prop_map(WireData::F16)
            .boxed(),
            WireType::BF16 => vec(
                any::<u16>().prop_filter("finite", |bits| bits & 0x7f80 != 0x7f80),
                count,
            )
            .prop_map(WireData::BF16)
            .boxed(),
            WireType::F32 => {
                let finite = any::<u32>()
                    .prop_map(f32::from_bits)
                    .prop_filter("finite", |value| value.is_finite());
                vec(finite, count).prop_map(WireData::F32).boxed()
            }
            WireType::F64 => {
                let finite = any::<u64>()
                    .prop_map(f64::from_bits)
                    .prop_filter("finite", |value| value.is_finite());
                vec(finite, count).prop_map(WireData::F64).boxed()
            }
            WireType::Bytes => vec(text, count).prop_map(WireData::Bytes).boxed(),
        }
    }

    fn parameters() -> impl Strategy<Value = Parameters> {
        let value = prop_oneof![
            any::<bool>().prop_map(Parameter::Bool),
            any::<i64>().prop_map(|number| Parameter::Number(number.into())),
            any::<u64>().prop_map(|number| Parameter::Number(number.into())),
            any::<f64>()
                .prop_filter_map("finite", serde_json::Number::from_f64)
                .prop_map(Parameter::Number),
            "\\PC{0,8}".prop_map(Parameter::String),
        ];
        prop::collection::btree_map("\\PC{0,6}", value, 0..3)
    }

    fn tensor(datatype: WireType) -> impl Strategy<Value = WireTensor> {
        prop::collection::vec(0_u64..4, 0..4).prop_flat_map(move |shape| {
            let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
            (data(datatype, count), parameters()).prop_map(move |(data, parameters)| WireTensor {
                name: String::new(),
                datatype,
                shape: shape.clone(),
                parameters,
                data,
            })
        })
    }

    /// A tensor of each type, or a few of any type.
    fn tensors() -> impl Strategy<Value = Vec<WireTensor>> {
        let any = prop::sample::select(WireType::ALL).prop_flat_map(tensor);
        let few = prop::collection::vec(any, 1..4);
        let all: Vec<_> = WireType::ALL.iter().map(|&datatype| tensor(datatype)).collect();
        prop_oneof![few, all].prop_flat_map(|tensors| {
            let count = tensors.len();
            let names = prop::collection::btree_set("\\PC{0,9}", count).prop_shuffle_names();
            (Just(tensors), names).prop_map(|(mut tensors, names)| {
                for (tensor, name) in tensors.iter_mut().zip(names) {
                    tensor.name = name;
                }
                tensors
            })
        })
    }

    trait ShuffleNames: Strategy<Value = std::collections::BTreeSet<String>> + Sized {
        fn prop_shuffle_names(self) -> impl Strategy<Value = Vec<String>> {
            self.prop_map(|names| names.into_iter().collect::<Vec<_>>())
                .prop_shuffle()
        }
    }

    impl<S: Strategy<Value = std::collections::BTreeSet<String>>> ShuffleNames for S {}

    fn outputs() -> impl Strategy<Value = Option<Vec<RequestedOutput>>> {
        let own = (proptest::option::of(any::<bool>()), proptest::option::of(1_u32..));
        let output = (parameters(), own);
        prop::collection::btree_map("\\PC{0,5}", output, 0..3).prop_map(|outputs| {
            let output = |(name, (parameters, (binary, classification)))| RequestedOutput {
                name,
                parameters,
                binary,
                classification: Option::<u32>::and_then(classification, NonZeroU32::new),
            };
            let outputs: Vec<_> = outputs.into_iter().map(output).collect();
            (!outputs.is_empty()).then_some(outputs)
        })
    }

    /// -0.0 is equal to 0.0, so floats are compared by their bits.
    fn bits(tensors: &[WireTensor]) -> Vec<Vec<u64>> {
        let bits = |tensor: &WireTensor| match &tensor.data {
            WireData::F32(values) => values.iter().map(|value| u64::from(value.to_bits())).collect(),
            WireData::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
            _ => vec![],
        };
        tensors.iter().map(bits).collect()
    }

    proptest! {
        #[test]
        fn a_request_is_the_same_by_every_way(
            inputs in tensors(),
            parameters in parameters(),
            id in proptest::option::of("\\PC{1,20}"),
            outputs in outputs(),
            binary_outputs in proptest::option::of(any::<bool>()),
        ) {
            let request = InferRequest { id, parameters, inputs, outputs, binary_outputs };
            for way in WAYS.into_iter().filter(|way| way.carries(&request.inputs)) {
                let worded = way.worded(&request);
                let arrived = way.travel(&request);
                prop_assert_eq!(&arrived, &worded, "{:?}", way);
                prop_assert_eq!(bits(&arrived.inputs), bits(&worded.inputs), "{:?}", way);
                // From there it goes on by every other way.
                for next in WAYS.into_iter().filter(|next| next.carries(&arrived.inputs)) {
                    prop_assert_eq!(next.travel(&arrived), next.worded(&worded), "{:?} {:?}", way, next);
                }
            }
        }

        #[test]
        fn an_answer_is_the_same_by_every_way(
            outputs in tensors(),
            parameters in parameters(),
            model_name in "\\PC{0,20}",
            model_version in proptest::option::of("\\PC{1,20}"),
            id in proptest::option::of("\\PC{1,20}"),
        ) {
            let response = InferResponse { model_name, model_version, id, parameters, outputs };
            for way in WAYS.into_iter().filter(|way| way.carries(&response.outputs)) {
                let arrived = way.answer(&response);
                prop_assert_eq!(&arrived, &response, "{:?}", way);
                prop_assert_eq!(bits(&arrived.outputs), bits(&response.outputs), "{:?}", way);
            }
        }

        #[test]
        fn raw_data_alone_is_what_binary_says(
            (rows, datatype, data) in (0_u64..5, prop::sample::select(WireType::ALL)).prop_filter("not bytes", |(_, datatype)| {
                *datatype != WireType::Bytes
            }).prop_flat_map(|(rows, datatype)| {
                (Just(rows), Just(datatype), data(datatype, usize::try_from(rows * 3).unwrap()))
            }),
        ) {
            let input = WireTensor { name: "x".into(), datatype, shape: vec![rows, 3], parameters: Parameters::new(), data };
            let request = InferRequest { inputs: vec![input], binary_outputs: Some(true), ..InferRequest::default() };
            let body = write_binary_infer_request(&request, |_| true).unwrap();
            let model = [TensorMetadata { name: "x".into(), datatype, shape: vec![-1, 3], labels: vec![] }];
            let raw = &body.bytes[body.json_length..];
            prop_assert_eq!(parse_binary_infer_request(raw, 0, &model, &BodyLimits::default()), Ok(request));
        }

        #[test]
        fn any_bytes_end_in_a_value(
            inputs in tensors(),
            edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..4), 0..12),
            choice in any::<u8>(),
        ) {
            let request = InferRequest { inputs, ..InferRequest::default() };
            let edited = |mut body: Vec<u8>| {
                for &(at, byte, kind) in &edits {
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
                body
            };
            let binary = write_binary_infer_request(&request, |_| true).unwrap();
            let length = u16::try_from(binary.json_length).unwrap_or_default().to_le_bytes();
            fuzz_oip_binary(&edited([&length, binary.bytes.as_slice()].concat()));
            let raw = edited(write_grpc_infer_request(&request, "m", None, Contents::Raw).unwrap());
            fuzz_grpc_infer(&raw);
            fuzz_grpc_frame(&raw);
            if let Ok(body) = write_grpc_infer_request(&request, "m", None, Contents::Typed) {
                fuzz_grpc_infer(&edited(body));
            }
            for form in [Form::Row, Form::Column] {
                let keys = WireTensor { name: "x".into(), ..request.inputs[0].clone() };
                let request = InferRequest { inputs: vec![keys], ..InferRequest::default() };
                if let Ok(body) = write_predict_request(&request, form, Some("s")) {
                    fuzz_tfs_predict(&[&[choice], edited(body).as_slice()].concat());
                }
            }
            fuzz_tfs_route(&edited(b"POST\n/v1/models/m/versions/3:predict".to_vec()));
            fuzz_grpc_method(&edited(b"/inference.GRPCInferenceService/ModelInfer".to_vec()));
            let metadata = br#"{"metadata":{"signature_def":{"signature_def":{"serving_default":{"inputs":{"x":{"dtype":"DT_INT8","tensor_shape":{"dim":[{"size":"-1"}]}}}}}}}}"#;
            fuzz_tfs_metadata(&edited(metadata.to_vec()));
        }
    }
}
