//! One rule for each operator whose form changed.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    normal::{Facts, first_input},
    rewrite::Rewriter,
};

const REDUCTIONS: [&str; 9] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
];

/// Pushes what replaces `node`, most often the node itself.
pub(super) fn upgrade(mut node: Node, facts: &Facts<'_>, out: &mut Rewriter) -> Result<(), ImportError> {
    let opset = facts.opset;
    match node.op.as_str() {
        "Softmax" | "LogSoftmax" | "Hardmax" if opset < 13 => return flattened(node, facts, out),
        "Squeeze" | "Unsqueeze" | "ReduceSum" if opset < 13 => ints_to_input(&mut node, "axes", 1, out)?,
        op if REDUCTIONS.contains(&op) && opset < 18 => ints_to_input(&mut node, "axes", 1, out)?,
        "Split" if opset < 13 => ints_to_input(&mut node, "split", 1, out)?,
        "Clip" if opset < 11 => {
            float_to_input(&mut node, "min", 1, out)?;
            float_to_input(&mut node, "max", 2, out)?;
        }
        "Pad" if opset < 11 => {
            ints_to_input(&mut node, "pads", 1, out)?;
            float_to_input(&mut node, "value", 2, out)?;
        }
        "Slice" if opset < 10 => {
            ints_to_input(&mut node, "starts", 1, out)?;
            ints_to_input(&mut node, "ends", 2, out)?;
            ints_to_input(&mut node, "axes", 3, out)?;
        }
        "TopK" if opset < 10 => {
            let k = node.int("k", -1)?;
            node.attributes.remove("k");
            let name = out.i64("k", &[1], &[k]);
            set_input(&mut node, 1, name);
        }
        "Dropout" => return dropout(node, facts, out),
        "Upsample" => return upsample(node, out),
        "Resize" if opset < 11 => return old_resize(node, facts, out),
        "BatchNormalization" => batch_normalization(&mut node)?,
        "Scatter" => "ScatterElements".clone_into(&mut node.op),
        "GroupNormalization" if opset < 21 => {
            return Err(node.unsupported("before opset 21 its scale is given per group"));
        }
        _ => {}
    }
    if node.op == "Split" && node.input(1).is_none() && !node.attributes.contains_key("num_outputs") {
        let count = i64::try_from(node.outputs.len()).unwrap_or(i64::MAX);
        node.attributes
            .insert("num_outputs".to_owned(), Attribute::Int(count));
    }
    out.nodes.push(node);
    Ok(())
}

fn set_input(node: &mut Node, index: usize, name: String) {
    if node.inputs.len() <= index {
        node.inputs.resize(index + 1, String::new());
    }
    if let Some(input) = node.inputs.get_mut(index) {
        *input = name;
    }
}

fn ints_to_input(
    node: &mut Node,
    attribute: &str,
    index: usize,
    out: &mut Rewriter,
) -> Result<(), ImportError> {
    let values = node.ints(attribute)?.to_vec();
    if node.attributes.remove(attribute).is_some() {
        let name = out.i64(attribute, &[values.len()], &values);
        set_input(node, index, name);
    }
    Ok(())
}

fn float_to_input(
    node: &mut Node,
    attribute: &str,
    index: usize,
    out: &mut Rewriter,
) -> Result<(), ImportError> {
    let value = node.float(attribute, 0.0)?;
    if node.attributes.remove(attribute).is_some() {
        let name = out.f32(attribute, &[], &[value]);
        set_input(node, index, name);
    }
    Ok(())
}

/// Before opset 13, Softmax saw all dimensions from `axis` on as one.
fn flattened(mut node: Node, facts: &Facts<'_>, out: &mut Rewriter) -> Result<(), ImportError> {
    let axis = node.int("axis", 1)?;
    let input = first_input(&node)?;
    let last = facts
        .ranks
        .get(&input)
        .and_then(|rank| i64::try_from(*rank).ok())
        .map(|rank| rank - 1);
    if axis == -1 || last == Some(axis) {
        node.attributes.insert("axis".to_owned(), Attribute::Int(-1));
        out.nodes.push(node);
        return Ok(());
    }
    let output = node
        .output(0)
        .ok_or_else(|| node.unsupported("it has no output"))?
        .to_owned();
    let flat = out.op("Flatten", &[&input], [("axis", Attribute::Int(axis))]);
    let result = out.op(&node.op, &[&flat], [("axis", Attribute::Int(-1))]);
    let shape = out.op("Shape", &[&input], []);
    out.op_to("Reshape", &[&result, &shape], [], &output);
    Ok(())
}

/// Inference drops nothing out, so the node is an Identity.
fn dropout(node: Node, facts: &Facts<'_>, out: &mut Rewriter) -> Result<(), ImportError> {
    let input = first_input(&node)?;
    if node.output(1).is_some() {
        return Err(node.unsupported("its mask is used"));
    }
    let off = |name: &str| {
        facts
            .weights
            .get(name)
            .and_then(|weight| weight.bytes())
            .is_some_and(|bytes| **bytes == [0])
    };
    if node.input(2).is_some_and(|mode| !off(mode)) {
        return Err(node.unsupported("it is in training mode"));
    }
    let output = node
        .output(0)
        .ok_or_else(|| node.unsupported("it has no output"))?;
    out.op_to("Identity", &[&input], [], output);
    Ok(())
}

/// Upsample 9 is Resize 11 with asymmetric coordinates, rounded down.
fn upsample(node: Node, out: &mut Rewriter) -> Result<(), ImportError> {
    let input = first_input(&node)?;
    let scales = node
        .input(1)
        .ok_or_else(|| node.unsupported("its scales are an attribute, as before opset 9"))?;
    let mode = node.text("mode", "nearest")?;
    let output = node
        .output(0)
        .ok_or_else(|| node.unsupported("it has no output"))?;
    out.op_to("Resize", &[&input, "", scales], asymmetric(mode), output);
    Ok(())
}

fn old_resize(node: Node, facts: &Facts<'_>, out: &mut Rewriter) -> Result<(), ImportError> {
    let grows = |name: &str| {
        facts
            .weights
            .get(name)
            .and_then(|weight| weight.as_f32())
            .is_some_and(|scales| scales.iter().all(|scale| *scale >= 1.0))
    };
    if node.input(1).is_some_and(grows) {
        upsample(node, out)
    } else {
        Err(node.unsupported("before opset 11 only constant scales of at least 1 are defined well enough"))
    }
}

fn asymmetric(mode: String) -> [(&'static str, Attribute); 3] {
    [
        ("coordinate_transformation_mode", Attribute::text("asymmetric")),
        ("mode", Attribute::Text(mode.into())),
        ("nearest_mode", Attribute::text("floor")),
    ]
}

fn batch_normalization(node: &mut Node) -> Result<(), ImportError> {
    if node.int("training_mode", 0)? != 0 || (1..node.outputs.len()).any(|index| node.output(index).is_some())
    {
        return Err(node.unsupported("it is in training mode"));
    }
    if node.int("spatial", 1)? != 1 {
        return Err(node.unsupported("it normalises each position by itself"));
    }
    node.attributes.remove("spatial");
    node.outputs.truncate(1);
    Ok(())
}
