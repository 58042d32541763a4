//! Writes new nodes and weights into a body under names that nothing else uses.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::{Attribute, Body, Node},
    weight::Weight,
};

/// Collects the nodes that replace the old ones.
#[derive(Debug)]
pub(crate) struct Rewriter {
    used: BTreeSet<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) weights: BTreeMap<String, Weight>,
}

impl Rewriter {
    /// `body` is the whole graph, so that names in subgraphs are avoided too.
    pub(crate) fn new(body: &Body) -> Self {
        let mut used: BTreeSet<String> = body.inputs.iter().map(|input| input.name.clone()).collect();
        body.each_weight(&mut |name, _| {
            used.insert(name.to_owned());
        });
        body.each_node(&mut |node| {
            used.extend(node.outputs.iter().cloned());
            used.extend(
                node.bodies()
                    .flat_map(|body| &body.inputs)
                    .map(|input| input.name.clone()),
            );
        });
        Self {
            used,
            nodes: Vec::new(),
            weights: BTreeMap::new(),
        }
    }

    /// A name that nothing uses, reminding of `near`.
    pub(crate) fn name(&mut self, near: &str) -> String {
        let mut number = self.used.len();
        loop {
            let name = format!("{near}~{number}");
            if self.used.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }

    pub(crate) fn weight(&mut self, near: &str, weight: Weight) -> String {
        let name = self.name(near);
        self.weights.insert(name.clone(), weight);
        name
    }

    pub(crate) fn f32(&mut self, near: &str, shape: &[usize], values: &[f32]) -> String {
        self.weight(near, Weight::f32(shape, values))
    }

    pub(crate) fn i64(&mut self, near: &str, shape: &[usize], values: &[i64]) -> String {
        self.weight(near, Weight::i64(shape, values))
    }

    /// Adds an operator with one output under a new name, which is returned.
    pub(crate) fn op(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> String {
        let output = self.name(op);
        self.op_to(op, inputs, attributes, &output);
        output
    }

    /// Adds an operator that makes `output`.
    pub(crate) fn op_to(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
        output: &str,
    ) {
        self.nodes.push(Node {
            op: op.to_owned(),
            name: output.to_owned(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: vec![output.to_owned()],
            attributes: attributes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..Node::default()
        });
    }
}
