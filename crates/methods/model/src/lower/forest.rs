//! TreeEnsembleClassifier and TreeEnsembleRegressor.
//!
//! Shallow trees are evaluated whole: all comparisons at once, then one matrix product tells which leaf agrees with every comparison on its path (Hummingbird section 4.1; features are gathered,
//! not multiplied, so that a NaN stays in its own column). Deep trees are walked: one step for all rows and all trees at a time (section 4.2). Both choose exactly the leaf that the comparison of
//! 32-bit floats chooses.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::{
        Lowering, class_labels,
        linear::{give_class_above, give_largest},
        post::{Complement, Post},
        tree::{Tree, TreeNode, trees},
        walked::walked,
        whole::{WHOLE_DEPTH, whole},
    },
};

/// What happens to the weights of the leaves reached in all trees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

pub(super) fn regressor(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let post = Post::of(node)?;
    let aggregate = match node.text("aggregate_function", "SUM")?.as_str() {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(node.unsupported(format!("its aggregate function `{other}` is unknown"))),
    };
    let targets =
        usize::try_from(node.int("n_targets", 1)?).map_err(|_| node.unsupported("it has no targets"))?;
    let trees = trees(node, "target", low.limits)?;
    let mut scores = scores(low, node, &trees, targets, aggregate)?;
    scores = add_base(low, node, scores, targets)?;
    scores = post.apply(low, node, &scores, targets)?;
    low.give_scores(node, 0, &scores, targets);
    Ok(())
}

pub(super) fn classifier(low: &mut Lowering<'_>, node: &Node) -> Result<(), ImportError> {
    let post = Post::of(node)?;
    let labels = class_labels(node)?.ok_or_else(|| node.unsupported("it names no classes"))?;
    let trees = trees(node, "class", low.limits)?;
    let weights: Vec<(usize, f32)> = trees
        .iter()
        .flat_map(|tree| &tree.nodes)
        .filter_map(|tree_node| match tree_node {
            TreeNode::Leaf(weights) => Some(weights),
            TreeNode::Branch { .. } => None,
        })
        .flatten()
        .copied()
        .collect();
    let positive = weights.iter().all(|(_, weight)| *weight >= 0.0);
    if labels.len() == 2 {
        let (one, _) = weights.first().copied().unwrap_or_default();
        if weights.iter().any(|(class, _)| *class != one) {
            return Err(node.unsupported("two classes that both have weights; give weights to one of them"));
        }
        let trees = with_target_zero(trees);
        let score = scores(low, node, &trees, 1, Aggregate::Sum)?;
        let score = add_base(low, node, score, 1)?;
        let threshold = low.out.f32("threshold", &[], &[if positive { 0.5 } else { 0.0 }]);
        give_class_above(low, node, &score, &threshold, labels);
        let complement = if positive {
            Complement::Probability
        } else {
            Complement::Margin
        };
        let both = complement.apply(low, post, &score);
        low.give_scores(node, 1, &both, 2);
        return Ok(());
    }
    let classes = labels.len();
    if !positive && !every_class_scores(&trees, classes) {
        return Err(node.unsupported("negative weights, and a class that some rows give no weight"));
    }
    let scores = scores(low, node, &trees, classes, Aggregate::Sum)?;
    let scores = add_base(low, node, scores, classes)?;
    give_largest(low, node, &scores, labels);
    let scores = post.apply(low, node, &scores, classes)?;
    low.give_scores(node, 1, &scores, classes);
    Ok(())
}

/// A binary model gives weights to one class only, under either number.
fn with_target_zero(mut trees: Vec<Tree>) -> Vec<Tree> {
    for tree_node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        match tree_node {
            TreeNode::Leaf(weights) => weights.iter_mut().for_each(|(target, _)| *target = 0),
            TreeNode::Branch { .. } => {}
        }
    }
    trees
}

/// Whether each class gets a weight from every row: some tree gives it one in each of its leaves.
fn every_class_scores(trees: &[Tree], classes: usize) -> bool {
    (0..classes).all(|class| {
        trees.iter().any(|tree| {
            tree.nodes.iter().all(|tree_node| match tree_node {
                TreeNode::Leaf(weights) => weights.iter().any(|(target, _)| *target == class),
                TreeNode::Branch { .. } => true,
            })
        })
    })
}

fn add_base(
    low: &mut Lowering<'_>,
    node: &Node,
    scores: String,
    targets: usize,
) -> Result<String, ImportError> {
    let base = node.floats("base_values")?;
    if base.is_empty() {
        return Ok(scores);
    }
    if base.len() != targets {
        return Err(node.unsupported("its base values do not fit its targets"));
    }
    let base = low.out.f32("base", &[targets], base);
    Ok(low.out.op("Add", &[&scores, &base], []))
}

/// The scores [N, targets] before base values.
fn scores(
    low: &mut Lowering<'_>,
    node: &Node,
    trees: &[Tree],
    targets: usize,
    aggregate: Aggregate,
) -> Result<String, ImportError> {
    let input = low.floats(node, 0)?;
    let depth = trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
    // Leaves without a weight count as infinite under MIN and MAX, which a matrix product cannot hold.
    let sums = matches!(aggregate, Aggregate::Sum | Aggregate::Average);
    let absent = match aggregate {
        Aggregate::Sum | Aggregate::Average => 0.0,
        Aggregate::Min => f32::INFINITY,
        Aggregate::Max => f32::NEG_INFINITY,
    };
    let (weights, trees_axis) = if sums && depth <= WHOLE_DEPTH {
        (whole(low, node, &input, trees, targets)?, 0)
    } else {
        (walked(low, node, &input, trees, depth, targets, absent)?, 1)
    };
    Ok(match aggregate {
        Aggregate::Sum => summed(low, &weights, trees_axis),
        Aggregate::Average => {
            let sum = summed(low, &weights, trees_axis);
            let count =
                u16::try_from(trees.len()).map_err(|_| node.unsupported("it averages too many trees"))?;
            let count = low.out.f32("count", &[], &[f32::from(count)]);
            low.out.op("Div", &[&sum, &count], [])
        }
        Aggregate::Min | Aggregate::Max => {
            let op = if aggregate == Aggregate::Min {
                "ReduceMin"
            } else {
                "ReduceMax"
            };
            let axis = low.out.i64("axis", &[1], &[trees_axis]);
            let best = low
                .out
                .op(op, &[&weights, &axis], [("keepdims", Attribute::Int(0))]);
            let zero = low.out.f32("zero", &[], &[0.0]);
            let none = low.out.op("IsInf", &[&best], []);
            low.out.op("Where", &[&none, &zero, &best], [])
        }
    })
}

/// The sum over trees, added one by one in their order.
///
/// Votes of a forest tie often, and then the order of rounding decides; a reduction may add in any order, a cumulative sum adds in this one, as other implementations of forests do.
fn summed(low: &mut Lowering<'_>, weights: &str, axis: i64) -> String {
    let along = low.out.i64("axis", &[], &[axis]);
    let sums = low.out.op("CumSum", &[weights, &along], []);
    let last = low.out.i64("last", &[], &[-1]);
    low.out
        .op("Gather", &[&sums, &last], [("axis", Attribute::Int(axis))])
}
