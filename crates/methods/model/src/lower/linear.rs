//! LinearClassifier and LinearRegressor: one matrix product.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::{
        Lowering, class_labels,
        post::{Complement, Post},
    },
    tensor::Labels,
};

/// Scores, and the class with the largest; one row of coefficients for two classes is a margin around 0.
pub(super) fn classifier(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let post = Post::of(node)?;
    let labels = class_labels(node)?.ok_or_else(|| node.unsupported("it names no classes"))?;
    let rows = match node.floats("intercepts")?.len() {
        0 => labels.len(),
        rows => rows,
    };
    let scores = product(low, node, rows)?;
    if rows == 1 && labels.len() == 2 {
        let zero = low.out.f32("zero", &[], &[0.0]);
        give_class_above(low, node, &scores, &zero, labels);
        let both = match post {
            Post::Logistic => Complement::Margin.apply(low, post, &scores),
            Post::None | Post::Softmax | Post::SoftmaxZero => {
                Complement::Probability.apply(low, post, &scores)
            }
        };
        low.give_scores(node, 1, &both, 2);
        return Ok(());
    }
    if rows != labels.len() {
        return Err(node.unsupported("its classes and its intercepts differ in number"));
    }
    give_largest(low, node, &scores, labels);
    let scores = post.apply(low, node, &scores, rows)?;
    low.give_scores(node, 1, &scores, rows);
    Ok(())
}

pub(super) fn regressor(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let post = Post::of(node)?;
    let rows = usize::try_from(node.int("targets", 1)?).map_err(|_| node.unsupported("it has no targets"))?;
    let scores = product(low, node, rows)?;
    let scores = post.apply(low, node, &scores, rows)?;
    low.give_scores(node, 0, &scores, rows);
    Ok(())
}

/// `X coefficientsᵀ + intercepts`, [N, rows].
fn product(low: &mut Lowering<'_>, node: &Node, rows: usize) -> Result<String, ImportError> {
    let coefficients = node.floats("coefficients")?;
    let intercepts = node.floats("intercepts")?;
    let features = coefficients.len().checked_div(rows).unwrap_or(0);
    if features == 0 || features.checked_mul(rows) != Some(coefficients.len()) {
        return Err(node.unsupported("its coefficients do not fill its rows"));
    }
    if !intercepts.is_empty() && intercepts.len() != rows {
        return Err(node.unsupported("its intercepts do not fit its rows"));
    }
    let input = low.floats(node, 0)?;
    let matrix = low.out.f32("coefficients", &[rows, features], coefficients);
    let transposed = [("transB", Attribute::Int(1))];
    if intercepts.is_empty() {
        return Ok(low.out.op("Gemm", &[&input, &matrix], transposed));
    }
    let bias = low.out.f32("intercepts", &[rows], intercepts);
    Ok(low.out.op("Gemm", &[&input, &matrix, &bias], transposed))
}

/// Class 1 where the score [N, 1] is above the threshold, else class 0.
pub(super) fn give_class_above(
    low: &mut Lowering<'_>,
    node: &Node,
    score: &str,
    threshold: &str,
    labels: Labels,
) {
    let above = low.out.op("Greater", &[score, threshold], []);
    let class = low.out.op("Cast", &[&above], [("to", Attribute::Int(7))]);
    let flat = low.out.i64("flat", &[1], &[-1]);
    let class = low.out.op("Reshape", &[&class, &flat], []);
    low.give_labels(node, 0, &class, labels);
}

/// The class with the largest score; of equal ones the first.
pub(super) fn give_largest(low: &mut Lowering<'_>, node: &Node, scores: &str, labels: Labels) {
    let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
    let class = low.out.op("ArgMax", &[scores], attributes);
    low.give_labels(node, 0, &class, labels);
}
