//! Brings the forms of opset 9 to 17 to those of opset 18, and writes defaults out.
//!
//! ONNX, "Operator Changelog": axes, bounds, pads and sizes became inputs (Slice 10; Clip and Pad 11; Squeeze, Unsqueeze, Split and ReduceSum 13; the other reductions 18), Softmax lost its
//! flattening (13), Upsample became Resize (10), Dropout's mode became an input (12). Opsets 19 to 22 only add to what is used here, so such a model keeps its number.

mod defaults;
mod forms;

use std::collections::BTreeMap;

use crate::{
    error::ImportError,
    graph::{Attribute, Body, Domain, Node},
    import::Imported,
    rewrite::Rewriter,
    tensor::Dim,
    weight::Weight,
};

/// The oldest opset whose forms need no change.
const NORMAL: u32 = 18;

/// Rewrites every node of the model, those of subgraphs included.
pub(crate) fn upgrade(model: &mut Imported) -> Result<(), ImportError> {
    let mut rewriter = Rewriter::new(&model.body);
    upgrade_body(&mut model.body, model.opset, &mut rewriter, &BTreeMap::new())?;
    model.opset = model.opset.max(NORMAL);
    Ok(())
}

fn upgrade_body(
    body: &mut Body,
    opset: u32,
    rewriter: &mut Rewriter,
    outer: &BTreeMap<String, Weight>,
) -> Result<(), ImportError> {
    let mut known = outer.clone();
    known.extend(
        body.weights
            .iter()
            .map(|(name, weight)| (name.clone(), weight.clone())),
    );
    let ranks = ranks(body);
    let facts = Facts {
        opset,
        weights: &known,
        ranks: &ranks,
    };
    let kept = (
        std::mem::take(&mut rewriter.nodes),
        std::mem::take(&mut rewriter.weights),
    );
    for mut node in std::mem::take(&mut body.nodes) {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Body(inner) = attribute {
                upgrade_body(inner, opset, rewriter, &known)?;
            }
        }
        if node.domain == Domain::Onnx {
            forms::upgrade(node, &facts, rewriter)?;
        } else {
            rewriter.nodes.push(node);
        }
    }
    body.nodes = std::mem::replace(&mut rewriter.nodes, kept.0);
    body.weights
        .append(&mut std::mem::replace(&mut rewriter.weights, kept.1));
    Ok(())
}

/// Writes the defaults of every node out, those of subgraphs included.
pub(crate) fn write_defaults(body: &mut Body) -> Result<(), ImportError> {
    defaults_of(body, &BTreeMap::new())
}

fn defaults_of(body: &mut Body, outer: &BTreeMap<String, Weight>) -> Result<(), ImportError> {
    let mut known = outer.clone();
    known.extend(
        body.weights
            .iter()
            .map(|(name, weight)| (name.clone(), weight.clone())),
    );
    for node in &mut body.nodes {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Body(inner) = attribute {
                defaults_of(inner, &known)?;
            }
        }
        defaults::write_out(node, &known)?;
    }
    Ok(())
}

/// What is known about values while nodes are rewritten.
struct Facts<'a> {
    opset: u32,
    weights: &'a BTreeMap<String, Weight>,
    ranks: &'a BTreeMap<String, usize>,
}

/// The number of dimensions of the inputs and of what keeps it.
fn ranks(body: &Body) -> BTreeMap<String, usize> {
    let mut ranks: BTreeMap<String, usize> = body
        .inputs
        .iter()
        .filter_map(|input| Some((input.name.clone(), input.shape.as_ref().map(Vec::<Dim>::len)?)))
        .collect();
    for node in &body.nodes {
        let rank = match node.op.as_str() {
            "Gemm" | "Flatten" => Some(2),
            "Relu" | "Tanh" | "Sigmoid" | "Identity" | "Dropout" | "Conv" | "MaxPool" | "AveragePool"
            | "BatchNormalization" | "Softmax" | "LogSoftmax" | "Cast" => {
                node.input(0).and_then(|input| ranks.get(input).copied())
            }
            _ => None,
        };
        if let (Some(rank), Some(output)) = (rank, node.output(0)) {
            ranks.insert(output.to_owned(), rank);
        }
    }
    ranks
}

/// The only input that a node of this form needs.
fn first_input(node: &Node) -> Result<String, ImportError> {
    node.input(0)
        .map(str::to_owned)
        .ok_or_else(|| node.unsupported("its first input is missing"))
}
