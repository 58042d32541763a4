//! Class numbers and the labels they stand for: ZipMap, LabelEncoder, ArrayFeatureExtractor, and the shape operators between.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::{Lowering, class_labels, required},
    tensor::Labels,
    wire::at_most,
};

/// A list of maps from label to score becomes the scores; the labels become the graph's.
pub(super) fn zip_map(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let labels = class_labels(node)?.ok_or_else(|| node.unsupported("it names no classes"))?;
    let scores = low.floats(node, 0)?;
    low.give_scores(node, 0, &scores, labels.len());
    low.labels.get_or_insert(labels);
    Ok(())
}

/// Picks columns by number. Picking labels by number gives a class number.
pub(super) fn extractor(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let data = required(node, 0)?.to_owned();
    let numbers = required(node, 1)?.to_owned();
    if low.codebooks.contains_key(&data) || low.codebooks.contains_key(&numbers) {
        return Err(node.unsupported("its input holds labels"));
    }
    let flat = low.out.i64("flat", &[1], &[-1]);
    let weight = low.weights.get(&data).cloned();
    let labels = weight
        .as_ref()
        .filter(|weight| weight.shape.iter().rev().skip(1).all(|dim| *dim == 1))
        .and_then(|weight| match (weight.as_text(), weight.as_i64()) {
            (Some(text), _) => Some(Labels::Strings(
                text.iter()
                    .map(|text| String::from_utf8_lossy(text).into_owned())
                    .collect(),
            )),
            (None, Some(ints)) => Some(Labels::Ints(ints)),
            (None, None) => None,
        });
    match labels {
        Some(labels) => {
            let row = low.out.i64("row", &[2], &[1, -1]);
            let picked = low.out.op("Reshape", &[&numbers, &row], []);
            low.give_labels(node, 0, &picked, labels);
        }
        None => {
            let numbers = low.out.op("Reshape", &[&numbers, &flat], []);
            let picked = low
                .out
                .op("Gather", &[&data, &numbers], [("axis", Attribute::Int(-1))]);
            low.give(node, 0, &picked);
        }
    }
    Ok(())
}

enum Keys {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

enum Values {
    Labels(Labels),
    Floats(Vec<f32>),
}

/// Looks values up in a table of keys; what is not found takes the default, put last.
pub(super) fn encoder(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let input = required(node, 0)?.to_owned();
    let (keys, values) = (keys(node)?, values(node)?);
    let (found, count) = match (low.codebooks.get(&input), &keys) {
        (Some(labels), keys) => {
            let positions = positions(node, labels, keys)?;
            let table = low.out.i64("positions", &[positions.len()], &positions);
            (
                low.out
                    .op("Gather", &[&table, &input], [("axis", Attribute::Int(0))]),
                key_count(keys),
            )
        }
        (None, Keys::Ints(keys)) => {
            let keys_name = low.out.i64("keys", &[keys.len()], keys);
            (search(low, &input, &keys_name, keys.len())?, keys.len())
        }
        (None, Keys::Floats(keys)) => {
            if keys.iter().any(|key| key.is_nan()) {
                return Err(node.unsupported("one of its keys is NaN"));
            }
            let keys_name = low.out.f32("keys", &[keys.len()], keys);
            (search(low, &input, &keys_name, keys.len())?, keys.len())
        }
        (None, Keys::Strings(_)) => return Err(node.unsupported("its input is text")),
    };
    let wrong = || node.unsupported("its keys and values differ in number");
    match values {
        Values::Labels(labels) if labels.len() == count + 1 => low.give_labels(node, 0, &found, labels),
        Values::Floats(values) if values.len() == count + 1 => {
            let table = low.out.f32("values", &[values.len()], &values);
            let output = low
                .out
                .op("Gather", &[&table, &found], [("axis", Attribute::Int(0))]);
            low.give(node, 0, &output);
        }
        Values::Labels(_) | Values::Floats(_) => return Err(wrong()),
    }
    Ok(())
}

/// The position of each element among the keys, or the number of keys.
fn search(low: &mut Lowering<'_>, input: &str, keys: &str, count: usize) -> Result<String, ImportError> {
    at_most(count, 65_536, "keys of one LabelEncoder")?;
    let last = low.out.i64("last", &[1], &[-1]);
    let missing = low
        .out
        .i64("missing", &[1], &[i64::try_from(count).unwrap_or(i64::MAX)]);
    let wide = low.out.op("Unsqueeze", &[input, &last], []);
    let equal = low.out.op("Equal", &[&wide, keys], []);
    let equal = low.out.op("Cast", &[&equal], [("to", Attribute::Int(1))]);
    let attributes = || [("axis", Attribute::Int(-1)), ("keepdims", Attribute::Int(0))];
    let best = low.out.op("ArgMax", &[&equal], attributes());
    let any = low
        .out
        .op("ReduceMax", &[&equal, &last], [("keepdims", Attribute::Int(0))]);
    let any = low.out.op("Cast", &[&any], [("to", Attribute::Int(9))]);
    Ok(low.out.op("Where", &[&any, &best, &missing], []))
}

/// Where each label of a codebook is found among the keys.
fn positions(node: &Node, labels: &Labels, keys: &Keys) -> Result<Vec<i64>, ImportError> {
    let position = |found: Option<usize>| {
        i64::try_from(found.unwrap_or(key_count(keys))).map_err(|_| node.unsupported("it has too many keys"))
    };
    match (labels, keys) {
        (Labels::Ints(labels), Keys::Ints(keys)) => labels
            .iter()
            .map(|label| position(keys.iter().position(|key| key == label)))
            .collect(),
        (Labels::Strings(labels), Keys::Strings(keys)) => labels
            .iter()
            .map(|label| position(keys.iter().position(|key| key == label)))
            .collect(),
        (Labels::Ints(_) | Labels::Strings(_), Keys::Ints(_) | Keys::Floats(_) | Keys::Strings(_)) => {
            Err(node.unsupported("its keys are of another type than its input"))
        }
    }
}

fn key_count(keys: &Keys) -> usize {
    match keys {
        Keys::Ints(keys) => keys.len(),
        Keys::Floats(keys) => keys.len(),
        Keys::Strings(keys) => keys.len(),
    }
}

fn keys(node: &Node) -> Result<Keys, ImportError> {
    let ints = node.ints("keys_int64s")?.to_vec();
    let floats = node.floats("keys_floats")?.to_vec();
    let strings = node.texts("keys_strings")?;
    match (ints.is_empty(), floats.is_empty(), strings.is_empty()) {
        (false, true, true) => Ok(Keys::Ints(ints)),
        (true, false, true) => Ok(Keys::Floats(floats)),
        (true, true, false) => Ok(Keys::Strings(strings)),
        _ => Err(node.unsupported("its keys are not one list of numbers or texts")),
    }
}

/// The values, and the default behind them.
fn values(node: &Node) -> Result<Values, ImportError> {
    let mut ints = node.ints("values_int64s")?.to_vec();
    let mut floats = node.floats("values_floats")?.to_vec();
    let mut strings = node.texts("values_strings")?;
    match (ints.is_empty(), floats.is_empty(), strings.is_empty()) {
        (false, true, true) => {
            ints.push(node.int("default_int64", -1)?);
            Ok(Values::Labels(Labels::Ints(ints)))
        }
        (true, false, true) => {
            floats.push(node.float("default_float", -0.0)?);
            Ok(Values::Floats(floats))
        }
        (true, true, false) => {
            strings.push(node.text("default_string", "_Unused")?);
            Ok(Values::Labels(Labels::Strings(strings)))
        }
        _ => Err(node.unsupported("its values are not one list of numbers or texts")),
    }
}

/// Lets class numbers pass through operators that only move them, and puts integer labels in before any other operator.
///
/// Returns the node to keep, if any.
pub(super) fn follow(low: &mut Lowering<'_>, mut node: Node) -> Result<Option<Node>, ImportError> {
    let first = node.input(0).and_then(|input| low.codebooks.get(input)).cloned();
    if let (Some(labels), Some(output)) = (first, node.output(0).map(str::to_owned)) {
        let moves = [
            "Identity",
            "Reshape",
            "Squeeze",
            "Unsqueeze",
            "Flatten",
            "Transpose",
        ]
        .iter();
        let others_plain = node
            .inputs
            .get(1..)
            .unwrap_or_default()
            .iter()
            .all(|input| !low.codebooks.contains_key(input));
        if moves.into_iter().any(|op| node.is(op)) && others_plain {
            low.codebooks.insert(output, labels);
            return Ok(Some(node));
        }
        let labels = match (node.is("Cast"), node.int("to", 0)?, labels) {
            (true, 7, labels @ Labels::Ints(_)) | (true, 8, labels @ Labels::Strings(_)) => Some(labels),
            (true, 8, Labels::Ints(ints)) => {
                Some(Labels::Strings(ints.iter().map(ToString::to_string).collect()))
            }
            (_, _, Labels::Ints(_) | Labels::Strings(_)) => None,
        };
        if let Some(labels) = labels {
            let input = required(&node, 0)?;
            low.out.op_to("Identity", &[input], [], &output);
            low.codebooks.insert(output, labels);
            return Ok(None);
        }
    }
    for index in 0..node.inputs.len() {
        let Some(name) = node.input(index).map(str::to_owned) else {
            continue;
        };
        let plain = match low.codebooks.get(&name) {
            None => continue,
            Some(Labels::Strings(_)) => return Err(node.unsupported("its input holds labels that are text")),
            Some(Labels::Ints(ints)) => {
                let table = low.out.i64("labels", &[ints.len()], &ints.clone());
                low.out
                    .op("Gather", &[&table, &name], [("axis", Attribute::Int(0))])
            }
        };
        if let Some(input) = node.inputs.get_mut(index) {
            *input = plain;
        }
    }
    Ok(Some(node))
}
