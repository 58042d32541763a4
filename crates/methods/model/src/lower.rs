//! Lowers classifiers, regressors and trees of ai.onnx.ml to tensor operators.
//!
//! A class label leaves the graph as a class number; the names are kept beside it (a codebook), follow the number through shape operators, and are put back by the session. So engines never see
//! text, and integer labels beyond an engine's integers stay exact.
//!
//! # Citation
//! Nakandala et al., "A Tensor Compiler for Unified Machine Learning Prediction Serving" (Hummingbird, arXiv 2010.04804), sections 4.1 (GEMM) and 4.2 (tree traversal).

mod compare;
mod forest;
mod labels;
mod linear;
mod post;
mod scale;
mod tree;
mod walked;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::ImportError,
    graph::{Attribute, Body, Domain, Graph, Node},
    import::Imported,
    limits::Limits,
    rewrite::Rewriter,
    tensor::{DataType, Dim, Labels, TensorSpec},
    weight::Weight,
    wire::at_most,
};

/// Lowers a model whose forms are new already, and states what it takes and gives.
pub(crate) fn lower(model: Imported, limits: &Limits) -> Result<Graph, ImportError> {
    let Imported {
        mut body,
        opset,
        contributed,
        labels,
        decoded,
    } = model;
    refuse_in_subgraphs(&body)?;
    let mut lowering = Lowering {
        out: Rewriter::new(&body),
        weights: std::mem::take(&mut body.weights),
        float_inputs: body
            .inputs
            .iter()
            .filter(|input| input.data_type == Some(DataType::F32))
            .map(|input| input.name.clone())
            .collect(),
        codebooks: decoded.into_iter().collect(),
        columns: BTreeMap::new(),
        labels,
        limits,
    };
    for node in std::mem::take(&mut body.nodes) {
        lowering.node(node)?;
        at_most(lowering.out.nodes.len(), limits.max_nodes, "nodes")?;
    }
    lowering.finish(body, opset, contributed)
}

struct Lowering<'a> {
    out: Rewriter,
    weights: BTreeMap<String, Weight>,
    /// Graph inputs that are FP32 already.
    float_inputs: BTreeSet<String>,
    /// Values that hold class numbers, and the labels they stand for.
    codebooks: BTreeMap<String, Labels>,
    /// Scores made by lowering, and how many columns they have.
    columns: BTreeMap<String, usize>,
    labels: Option<Labels>,
    limits: &'a Limits,
}

impl Lowering<'_> {
    fn node(&mut self, node: Node) -> Result<(), ImportError> {
        match (node.domain, node.op.as_str()) {
            (Domain::Ml, "LinearClassifier") => linear::classifier(self, &node),
            (Domain::Ml, "LinearRegressor") => linear::regressor(self, &node),
            (Domain::Ml, "TreeEnsembleClassifier") => forest::classifier(self, &node),
            (Domain::Ml, "TreeEnsembleRegressor") => forest::regressor(self, &node),
            (Domain::Ml, "Scaler") => scale::scaler(self, &node),
            (Domain::Ml, "Normalizer") => scale::normalizer(self, &node),
            (Domain::Ml, "LabelEncoder") => labels::encoder(self, &node),
            (Domain::Ml, "ArrayFeatureExtractor") => labels::extractor(self, &node),
            (Domain::Ml, "ZipMap") => labels::zip_map(self, &node),
            (Domain::Ml, _) => {
                Err(node.unsupported("only linear models, trees and their labels are lowered"))
            }
            (Domain::Onnx | Domain::Microsoft, _) => {
                let Some(node) = labels::follow(self, node)? else {
                    return Ok(());
                };
                self.follow_columns(&node);
                self.out.nodes.push(node);
                Ok(())
            }
        }
    }

    /// Input `index` as FP32.
    fn floats(&mut self, node: &Node, index: usize) -> Result<String, ImportError> {
        let input = required(node, index)?;
        if self.codebooks.contains_key(input) {
            return Err(node.unsupported("its input holds labels"));
        }
        if self.float_inputs.contains(input) || self.columns.contains_key(input) {
            return Ok(input.to_owned());
        }
        Ok(self.out.op("Cast", &[input], [("to", Attribute::Int(1))]))
    }

    /// Names `value` as output `index` of the lowered node, if that is used.
    fn give(&mut self, node: &Node, index: usize, value: &str) {
        if let Some(output) = node.output(index) {
            self.out.op_to("Identity", &[value], [], output);
        }
    }

    fn give_scores(&mut self, node: &Node, index: usize, value: &str, columns: usize) {
        self.give(node, index, value);
        if let Some(output) = node.output(index) {
            self.columns.insert(output.to_owned(), columns);
        }
    }

    fn give_labels(&mut self, node: &Node, index: usize, value: &str, labels: Labels) {
        self.give(node, index, value);
        if let Some(output) = node.output(index) {
            self.codebooks.insert(output.to_owned(), labels);
        }
    }

    fn follow_columns(&mut self, node: &Node) {
        let columns = node.input(0).and_then(|input| self.columns.get(input)).copied();
        if let (Some(columns), Some(output), true) = (columns, node.output(0), node.is("Identity")) {
            self.columns.insert(output.to_owned(), columns);
        }
    }

    fn finish(mut self, mut body: Body, opset: u32, contributed: bool) -> Result<Graph, ImportError> {
        body.nodes = std::mem::take(&mut self.out.nodes);
        self.weights.append(&mut self.out.weights);
        keep_used(&mut body, self.weights);
        if let Some((name, _)) = body.weights.iter().find(|(_, weight)| weight.as_text().is_some()) {
            return Err(ImportError::Invalid {
                name: name.clone(),
                reason: "text is supported for labels only".to_owned(),
            });
        }
        for output in &mut body.outputs {
            if let Some(columns) = self.columns.get(&output.name) {
                let first = output.shape.iter().flatten().next().cloned();
                output.data_type = Some(DataType::F32);
                output.shape = Some(vec![
                    first.unwrap_or(Dim::Symbol(String::new())),
                    Dim::Fixed(*columns),
                ]);
            } else if self.codebooks.contains_key(&output.name) {
                output.data_type = Some(DataType::I64);
            }
        }
        let decoded: BTreeMap<String, Labels> = body
            .outputs
            .iter()
            .filter_map(|output| Some((output.name.clone(), self.codebooks.get(&output.name)?.clone())))
            .collect();
        let inputs = body.inputs.iter().map(spec).collect::<Result<Vec<_>, _>>()?;
        if let Some(input) = inputs.iter().find(|input| input.data_type == DataType::Bytes) {
            return Err(ImportError::Invalid {
                name: input.name.clone(),
                reason: "text inputs are not supported".to_owned(),
            });
        }
        let mut outputs = body.outputs.iter().map(spec).collect::<Result<Vec<_>, _>>()?;
        for output in &mut outputs {
            match decoded.get(&output.name) {
                Some(Labels::Ints(_)) => output.data_type = DataType::I64,
                Some(Labels::Strings(_)) => output.data_type = DataType::Bytes,
                None => {}
            }
        }
        let labels = self.labels.or_else(|| decoded.values().next().cloned());
        Ok(Graph {
            body,
            inputs,
            outputs,
            decoded,
            labels,
            opset,
            contributed,
        })
    }
}

fn spec(value: &crate::graph::Value) -> Result<TensorSpec, ImportError> {
    let invalid = |reason: &str| ImportError::Invalid {
        name: value.name.clone(),
        reason: reason.to_owned(),
    };
    Ok(TensorSpec {
        name: value.name.clone(),
        data_type: value
            .data_type
            .ok_or_else(|| invalid("it is not a tensor of a known element type"))?,
        shape: value.shape.clone().ok_or_else(|| {
            invalid("its number of dimensions is not stated; `onnx.shape_inference` adds it")
        })?,
    })
}

fn required(node: &Node, index: usize) -> Result<&str, ImportError> {
    node.input(index)
        .ok_or_else(|| node.unsupported(format!("its input {index} is missing")))
}

/// Keeps the weights that something uses.
fn keep_used(body: &mut Body, weights: BTreeMap<String, Weight>) {
    let mut used: BTreeSet<String> = body.outputs.iter().map(|output| output.name.clone()).collect();
    body.each_node(&mut |node| {
        used.extend(node.inputs.iter().cloned());
        used.extend(
            node.bodies()
                .flat_map(|body| &body.outputs)
                .map(|output| output.name.clone()),
        );
    });
    body.weights = weights;
    body.weights.retain(|name, _| used.contains(name));
}

fn refuse_in_subgraphs(body: &Body) -> Result<(), ImportError> {
    let mut refused = None;
    for inner in body.nodes.iter().flat_map(Node::bodies) {
        inner.each_node(&mut |node| {
            if node.domain == Domain::Ml && refused.is_none() {
                refused = Some(node.unsupported("it lies in a subgraph"));
            }
        });
    }
    refused.map_or(Ok(()), Err)
}

/// The names of the classes, as classifiers state them.
fn class_labels(node: &Node) -> Result<Option<Labels>, ImportError> {
    let strings = node.texts("classlabels_strings")?;
    let ints = match node.ints("classlabels_int64s")? {
        [] => node.ints("classlabels_ints")?,
        ints => ints,
    };
    match (ints.is_empty(), strings.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Ok(Some(Labels::Ints(ints.to_vec()))),
        (true, false) => Ok(Some(Labels::Strings(strings))),
        (false, false) => Err(node.unsupported("it names its classes both as text and as numbers")),
    }
}
