//! Scaler and Normalizer.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::Lowering,
};

/// `(x - offset) * scale`.
pub(super) fn scaler(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let mut value = low.floats(node, 0)?;
    for (name, op) in [("offset", "Sub"), ("scale", "Mul")] {
        let numbers = node.floats(name)?;
        if !numbers.is_empty() {
            let weight = low.out.f32(name, &[numbers.len()], numbers);
            value = low.out.op(op, &[&value, &weight], []);
        }
    }
    low.give(node, 0, &value);
    Ok(())
}

/// Each row divided by its largest value, its sum of sizes or its length; a row of zeros stays.
pub(super) fn normalizer(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let input = low.floats(node, 0)?;
    let op = match node.text("norm", "MAX")?.as_str() {
        "MAX" => "ReduceMax",
        "L1" => "ReduceL1",
        "L2" => "ReduceL2",
        other => return Err(node.unsupported(format!("its norm `{other}` is unknown"))),
    };
    let axis = low.out.i64("axis", &[1], &[-1]);
    let zero = low.out.f32("zero", &[], &[0.0]);
    let one = low.out.f32("one", &[], &[1.0]);
    let norm = low
        .out
        .op(op, &[&input, &axis], [("keepdims", Attribute::Int(1))]);
    let empty = low.out.op("Equal", &[&norm, &zero], []);
    let norm = low.out.op("Where", &[&empty, &one, &norm], []);
    let value = low.out.op("Div", &[&input, &norm], []);
    let columns = node.input(0).and_then(|input| low.columns.get(input)).copied();
    match columns {
        Some(columns) => low.give_scores(node, 0, &value, columns),
        None => low.give(node, 0, &value),
    }
    Ok(())
}
