//! Where rten 0.27 differs from ONNX, written in operators that agree.
//!
//! - ArgMax and ArgMin give the last of equal values, whatever `select_last_index` says. ONNX wants the first: of the reversed axis the last is the first, and its index is counted from the end.

use crate::{
    graph::{Attribute, Body, Node},
    rewrite::Rewriter,
};

/// Rewrites the graph for rten.
pub(super) fn close(body: &mut Body) {
    let mut rewriter = Rewriter::new(body);
    close_body(body, &mut rewriter);
}

fn close_body(body: &mut Body, rewriter: &mut Rewriter) {
    let kept = (
        std::mem::take(&mut rewriter.nodes),
        std::mem::take(&mut rewriter.weights),
    );
    for mut node in std::mem::take(&mut body.nodes) {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Body(inner) = attribute {
                close_body(inner, rewriter);
            }
        }
        if node.is("ArgMax") || node.is("ArgMin") {
            arg(node, rewriter);
        } else {
            rewriter.nodes.push(node);
        }
    }
    body.nodes = std::mem::replace(&mut rewriter.nodes, kept.0);
    body.weights
        .append(&mut std::mem::replace(&mut rewriter.weights, kept.1));
}

fn arg(mut node: Node, out: &mut Rewriter) {
    let axis = node.int("axis", 0).unwrap_or(0);
    let last = node.int("select_last_index", 0).unwrap_or(0) != 0;
    node.attributes
        .insert("select_last_index".to_owned(), Attribute::Int(0));
    let (Some(input), Some(output)) = (
        node.input(0).map(str::to_owned),
        node.output(0).map(str::to_owned),
    ) else {
        out.nodes.push(node);
        return;
    };
    if last {
        out.nodes.push(node);
        return;
    }
    let minus_one = out.i64("minus_one", &[1], &[-1]);
    let start = out.i64("start", &[1], &[i64::from(i32::MIN)]);
    let axes = out.i64("axes", &[1], &[axis]);
    let reversed = out.op("Slice", &[&input, &minus_one, &start, &axes, &minus_one], []);
    let from_end = out.name("from_end");
    node.inputs = vec![reversed];
    node.outputs = vec![from_end.clone()];
    out.nodes.push(node);
    let shape = out.op("Shape", &[&input], []);
    let size = out.op("Gather", &[&shape, &axes], [("axis", Attribute::Int(0))]);
    let last_index = out.op("Add", &[&size, &minus_one], []);
    out.op_to("Sub", &[&last_index, &from_end], [], &output);
}
