//! Checks that a graph is one: each value is made once, before it is used, and each output is made.

use std::collections::BTreeSet;

use crate::{
    error::ImportError,
    graph::{Body, Node},
};

/// Refuses a graph whose values are unknown, made twice or used too early.
pub(crate) fn check(body: &Body) -> Result<(), ImportError> {
    check_body(body, &BTreeSet::new())
}

fn check_body<'a>(body: &'a Body, outer: &BTreeSet<&'a str>) -> Result<(), ImportError> {
    let mut known = outer.clone();
    let mut made = BTreeSet::new();
    let inputs = body.inputs.iter().map(|input| input.name.as_str());
    for name in inputs.chain(body.weights.keys().map(String::as_str)) {
        if name.is_empty() || !made.insert(name) {
            return Err(invalid(name, "it is defined twice or has no name"));
        }
        known.insert(name);
    }
    for node in &body.nodes {
        check_uses(node, &known)?;
        for inner in node.bodies() {
            check_body(inner, &known)?;
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if !made.insert(name) {
                return Err(invalid(name, "it is defined twice"));
            }
            known.insert(name);
        }
    }
    match body
        .outputs
        .iter()
        .find(|output| !known.contains(output.name.as_str()))
    {
        Some(output) => Err(invalid(&output.name, "it is an output, and no node makes it")),
        None => Ok(()),
    }
}

fn check_uses(node: &Node, known: &BTreeSet<&str>) -> Result<(), ImportError> {
    match node
        .inputs
        .iter()
        .find(|name| !name.is_empty() && !known.contains(name.as_str()))
    {
        Some(name) => Err(invalid(
            &node.title(),
            &format!("it uses `{name}`, which no earlier node, weight or input makes"),
        )),
        None => Ok(()),
    }
}

fn invalid(name: &str, reason: &str) -> ImportError {
    ImportError::Invalid {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}
