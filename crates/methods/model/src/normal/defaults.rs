//! The defaults of ONNX written out, so that a transform reads each attribute and guesses none.

use std::collections::BTreeMap;

use crate::{
    error::ImportError,
    graph::{Attribute, Domain, Node},
    weight::Weight,
};

enum Default {
    Int(i64),
    Float(f32),
    Text(&'static str),
}

use Default::{Float, Int, Text};

/// ONNX, "Operator Schemas", opset 18.
#[rustfmt::skip]
const DEFAULTS: &[(&str, &[(&str, Default)])] = &[
    ("ArgMax", &[("axis", Int(0)), ("keepdims", Int(1)), ("select_last_index", Int(0))]),
    ("ArgMin", &[("axis", Int(0)), ("keepdims", Int(1)), ("select_last_index", Int(0))]),
    ("AveragePool", &[("auto_pad", Text("NOTSET")), ("ceil_mode", Int(0)), ("count_include_pad", Int(0))]),
    ("BatchNormalization", &[("epsilon", Float(1e-5)), ("momentum", Float(0.9)), ("training_mode", Int(0))]),
    ("Conv", &[("auto_pad", Text("NOTSET")), ("group", Int(1))]),
    ("ConvTranspose", &[("auto_pad", Text("NOTSET")), ("group", Int(1))]),
    ("CumSum", &[("exclusive", Int(0)), ("reverse", Int(0))]),
    ("Elu", &[("alpha", Float(1.0))]),
    ("Flatten", &[("axis", Int(1))]),
    ("Gather", &[("axis", Int(0))]),
    ("GatherElements", &[("axis", Int(0))]),
    ("GatherND", &[("batch_dims", Int(0))]),
    ("Gelu", &[("approximate", Text("none"))]),
    ("Gemm", &[("alpha", Float(1.0)), ("beta", Float(1.0)), ("transA", Int(0)), ("transB", Int(0))]),
    ("GRU", &[("direction", Text("forward")), ("layout", Int(0)), ("linear_before_reset", Int(0))]),
    ("HardSigmoid", &[("alpha", Float(0.2)), ("beta", Float(0.5))]),
    ("InstanceNormalization", &[("epsilon", Float(1e-5))]),
    ("LayerNormalization", &[("axis", Int(-1)), ("epsilon", Float(1e-5)), ("stash_type", Int(1))]),
    ("LeakyRelu", &[("alpha", Float(0.01))]),
    ("LogSoftmax", &[("axis", Int(-1))]),
    ("LSTM", &[("direction", Text("forward")), ("input_forget", Int(0)), ("layout", Int(0))]),
    ("MaxPool", &[("auto_pad", Text("NOTSET")), ("ceil_mode", Int(0)), ("storage_order", Int(0))]),
    ("OneHot", &[("axis", Int(-1))]),
    ("Pad", &[("mode", Text("constant"))]),
    ("ReduceL1", REDUCE), ("ReduceL2", REDUCE), ("ReduceLogSum", REDUCE), ("ReduceLogSumExp", REDUCE),
    ("ReduceMax", REDUCE), ("ReduceMean", REDUCE), ("ReduceMin", REDUCE), ("ReduceProd", REDUCE),
    ("ReduceSum", REDUCE), ("ReduceSumSquare", REDUCE),
    ("Reshape", &[("allowzero", Int(0))]),
    ("RNN", &[("direction", Text("forward")), ("layout", Int(0))]),
    ("ScatterElements", &[("axis", Int(0)), ("reduction", Text("none"))]),
    ("Selu", &[("alpha", Float(1.673_263_2)), ("gamma", Float(1.050_701))]),
    ("Shape", &[("start", Int(0))]),
    ("Softmax", &[("axis", Int(-1))]),
    ("Split", &[("axis", Int(0))]),
    ("ThresholdedRelu", &[("alpha", Float(1.0))]),
    ("TopK", &[("axis", Int(-1)), ("largest", Int(1)), ("sorted", Int(1))]),
    ("Trilu", &[("upper", Int(1))]),
];

const REDUCE: &[(&str, Default)] = &[("keepdims", Int(1)), ("noop_with_empty_axes", Int(0))];

pub(super) fn write_out(node: &mut Node, weights: &BTreeMap<String, Weight>) -> Result<(), ImportError> {
    if node.domain != Domain::Onnx {
        return Ok(());
    }
    let defaults = DEFAULTS.iter().find(|(op, _)| *op == node.op);
    for (name, default) in defaults.map_or(&[][..], |(_, defaults)| defaults) {
        node.attributes
            .entry((*name).to_owned())
            .or_insert_with(|| match default {
                Int(value) => Attribute::Int(*value),
                Float(value) => Attribute::Float(*value),
                Text(value) => Attribute::text(value),
            });
    }
    match node.op.as_str() {
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" => window(node, weights),
        _ => Ok(()),
    }
}

/// Strides, dilations and pads, one for each dimension of the window.
fn window(node: &mut Node, weights: &BTreeMap<String, Weight>) -> Result<(), ImportError> {
    if node.ints("kernel_shape")?.is_empty() {
        let kernel = node
            .input(1)
            .and_then(|name| weights.get(name))
            .and_then(|weight| weight.shape.get(2..));
        let Some(kernel) = kernel.filter(|kernel| !kernel.is_empty()) else {
            return Err(node.unsupported("the shape of its kernel is not known"));
        };
        let kernel = kernel
            .iter()
            .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
            .collect();
        node.attributes
            .insert("kernel_shape".to_owned(), Attribute::Ints(kernel));
    }
    let rank = node.ints("kernel_shape")?.len();
    fill(node, "strides", 1, rank)?;
    // AveragePool has them from opset 19 on only.
    if node.op != "AveragePool" {
        fill(node, "dilations", 1, rank)?;
    }
    // An output shape of a ConvTranspose, or an automatic padding, replaces the pads.
    if node.text("auto_pad", "NOTSET")? == "NOTSET" && node.ints("output_shape")?.is_empty() {
        fill(node, "pads", 0, rank.saturating_mul(2))?;
    }
    Ok(())
}

fn fill(node: &mut Node, name: &str, value: i64, count: usize) -> Result<(), ImportError> {
    match node.ints(name)?.len() {
        0 => {
            node.attributes
                .insert(name.to_owned(), Attribute::Ints(vec![value; count]));
            Ok(())
        }
        given if given == count => Ok(()),
        _ => Err(ImportError::Invalid {
            name: node.title(),
            reason: format!("its attribute `{name}` does not fit its kernel"),
        }),
    }
}
