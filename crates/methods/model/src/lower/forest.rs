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
        tree::{Mode, Tree, TreeNode, trees},
    },
    tensor::DataType,
    weight::Weight,
    wire::at_most,
};

/// The deepest trees that are evaluated whole.
const WHOLE_DEPTH: usize = 4;

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
    let (weights, trees_axis) = if sums && depth <= WHOLE_DEPTH {
        (whole(low, node, &input, trees, targets)?, 0)
    } else {
        (walked(low, node, &input, trees, depth, targets, aggregate)?, 1)
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

/// Where comparisons of one ensemble lie: one entry for each position of a tensor.
#[derive(Default)]
struct Comparisons {
    features: Vec<i64>,
    values: Vec<f32>,
    modes: Vec<Option<Mode>>,
    missing: Vec<u8>,
}

impl Comparisons {
    fn push(&mut self, tree_node: Option<&TreeNode>) {
        let (mode, feature, value, missing) = match tree_node {
            Some(TreeNode::Branch {
                mode,
                feature,
                value,
                missing_is_true,
                ..
            }) => (Some(*mode), *feature, *value, *missing_is_true),
            Some(TreeNode::Leaf(_)) | None => (None, 0, 0.0, false),
        };
        self.features.push(feature);
        self.values.push(value);
        self.modes.push(mode);
        self.missing.push(u8::from(missing));
    }

    /// The modes in use; a table of leaves alone compares as LEQ.
    fn modes(&self) -> Vec<Mode> {
        let mut modes: Vec<Mode> = self.modes.iter().flatten().copied().collect();
        modes.sort_unstable();
        modes.dedup();
        if modes.is_empty() { vec![Mode::Leq] } else { modes }
    }

    /// Which positions compare by `mode`; leaves count with any.
    fn mask(&self, mode: Mode) -> Vec<u8> {
        self.modes
            .iter()
            .map(|own| u8::from(own.is_none_or(|own| own == mode)))
            .collect()
    }

    /// Whether `feature` passes, as booleans. `pick` gives each table in the shape of `feature`.
    fn compare(
        &self,
        low: &mut Lowering<'_>,
        feature: &str,
        value: &str,
        pick: &mut dyn FnMut(&mut Lowering<'_>, &[u8]) -> String,
    ) -> String {
        let modes = self.modes();
        let mut result: Option<String> = None;
        for mode in &modes {
            let mut passes = mode.compare(low, feature, value);
            if modes.len() > 1 {
                let mask = pick(low, &self.mask(*mode));
                passes = low.out.op("And", &[&passes, &mask], []);
            }
            result = Some(match result {
                None => passes,
                Some(others) => low.out.op("Or", &[&others, &passes], []),
            });
        }
        let mut result = result.unwrap_or_default();
        if self.missing.contains(&1) {
            let tracks = pick(low, &self.missing);
            let missing = low.out.op("IsNaN", &[feature], []);
            let missing = low.out.op("And", &[&missing, &tracks], []);
            result = low.out.op("Or", &[&result, &missing], []);
        }
        result
    }
}

impl Mode {
    fn compare(self, low: &mut Lowering<'_>, feature: &str, value: &str) -> String {
        match self {
            Self::Leq => low.out.op("LessOrEqual", &[feature, value], []),
            Self::Lt => low.out.op("Less", &[feature, value], []),
            Self::Gte => low.out.op("GreaterOrEqual", &[feature, value], []),
            Self::Gt => low.out.op("Greater", &[feature, value], []),
            Self::Eq => low.out.op("Equal", &[feature, value], []),
            Self::Neq => {
                let equal = low.out.op("Equal", &[feature, value], []);
                low.out.op("Not", &[&equal], [])
            }
        }
    }
}

/// Weights [trees, N, targets] from all comparisons at once.
fn whole(
    low: &mut Lowering<'_>,
    node: &Node,
    input: &str,
    trees: &[Tree],
    targets: usize,
) -> Result<String, ImportError> {
    let is_leaf = |tree_node: &&TreeNode| matches!(tree_node, TreeNode::Leaf(_));
    let leaves = trees
        .iter()
        .map(|tree| tree.nodes.iter().filter(is_leaf).count())
        .max()
        .unwrap_or(1);
    let branches = leaves.saturating_sub(1).max(1);
    let size = trees
        .len()
        .saturating_mul(leaves)
        .saturating_mul(branches.saturating_add(targets));
    at_most(
        size,
        low.limits.max_lowered_elements,
        "elements in a lowered tree ensemble",
    )?;
    let mut comparisons = Comparisons::default();
    // For each tree: +1 where a leaf needs the comparison to hold, -1 where it must not.
    let mut paths = vec![0.0_f32; trees.len() * branches * leaves];
    // How many comparisons hold on the path to each leaf; padding is never reached.
    let mut needed = vec![-1.0_f32; trees.len() * leaves];
    let mut weights = vec![0.0_f32; trees.len() * leaves * targets];
    for (number, tree) in trees.iter().enumerate() {
        let mut table = WholeTree::default();
        table.visit(tree, 0, &[]);
        for branch in 0..branches {
            comparisons.push(
                table
                    .branches
                    .get(branch)
                    .and_then(|position| tree.nodes.get(*position)),
            );
        }
        for (leaf, (path, position)) in table.leaves.iter().enumerate() {
            let mut holding = 0.0;
            for (branch, holds) in path {
                let row = (number * branches + branch) * leaves + leaf;
                if let Some(entry) = paths.get_mut(row) {
                    *entry = if *holds { 1.0 } else { -1.0 };
                }
                holding += f32::from(u8::from(*holds));
            }
            if let Some(entry) = needed.get_mut(number * leaves + leaf) {
                *entry = holding;
            }
            if let Some(TreeNode::Leaf(own)) = tree.nodes.get(*position) {
                add_weights(node, own, targets, &mut weights, number * leaves + leaf)?;
            }
        }
    }
    let total = trees.len() * branches;
    let features = low.out.i64("features", &[total], &comparisons.features);
    let values = low.out.f32("values", &[total], &comparisons.values);
    let gathered = low
        .out
        .op("Gather", &[input, &features], [("axis", Attribute::Int(1))]);
    let holds = comparisons.compare(low, &gathered, &values, &mut |low, table| {
        low.out.weight(
            "table",
            Weight::raw(DataType::Bool, &[table.len()], table.to_vec()),
        )
    });
    let holds = low.out.op("Cast", &[&holds], [("to", Attribute::Int(1))]);
    let dims = |dims: [usize; 2]| dims.map(|dim| i64::try_from(dim).unwrap_or(i64::MAX));
    let [tree_dim, branch_dim] = dims([trees.len(), branches]);
    let by_tree = low.out.i64("by_tree", &[3], &[-1, tree_dim, branch_dim]);
    let holds = low.out.op("Reshape", &[&holds, &by_tree], []);
    let holds = low
        .out
        .op("Transpose", &[&holds], [("perm", Attribute::Ints(vec![1, 0, 2]))]);
    let paths = low.out.f32("paths", &[trees.len(), branches, leaves], &paths);
    let reached = low.out.op("MatMul", &[&holds, &paths], []);
    let needed = low.out.f32("needed", &[trees.len(), 1, leaves], &needed);
    let reached = low.out.op("Equal", &[&reached, &needed], []);
    let reached = low.out.op("Cast", &[&reached], [("to", Attribute::Int(1))]);
    let weights = low.out.f32("weights", &[trees.len(), leaves, targets], &weights);
    Ok(low.out.op("MatMul", &[&reached, &weights], []))
}

/// The branches of a tree, and its leaves with the comparisons on the way to them.
#[derive(Default)]
struct WholeTree {
    branches: Vec<usize>,
    leaves: Vec<(Vec<(usize, bool)>, usize)>,
}

impl WholeTree {
    /// At most [`WHOLE_DEPTH`] levels deep.
    fn visit(&mut self, tree: &Tree, position: usize, path: &[(usize, bool)]) {
        match tree.nodes.get(position) {
            Some(TreeNode::Branch { yes, no, .. }) => {
                let branch = self.branches.len();
                self.branches.push(position);
                for (child, holds) in [(*yes, true), (*no, false)] {
                    let path: Vec<_> = path.iter().copied().chain([(branch, holds)]).collect();
                    self.visit(tree, child, &path);
                }
            }
            Some(TreeNode::Leaf(_)) => self.leaves.push((path.to_vec(), position)),
            None => {}
        }
    }
}

fn add_weights(
    node: &Node,
    own: &[(usize, f32)],
    targets: usize,
    weights: &mut [f32],
    row: usize,
) -> Result<(), ImportError> {
    for (target, weight) in own {
        let entry = weights
            .get_mut(row * targets + target)
            .filter(|_| *target < targets);
        let entry =
            entry.ok_or_else(|| node.unsupported("a leaf gives a weight to an unknown class or target"))?;
        *entry = if entry.is_finite() {
            *entry + weight
        } else {
            *weight
        };
    }
    Ok(())
}

/// Weights [N, trees, targets] by walking all trees step by step.
fn walked(
    low: &mut Lowering<'_>,
    node: &Node,
    input: &str,
    trees: &[Tree],
    depth: usize,
    targets: usize,
    aggregate: Aggregate,
) -> Result<String, ImportError> {
    let count: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
    let size = count.saturating_mul(targets.saturating_add(4));
    at_most(
        size,
        low.limits.max_lowered_elements,
        "elements in a lowered tree ensemble",
    )?;
    let absent = match aggregate {
        Aggregate::Sum | Aggregate::Average => 0.0,
        Aggregate::Min => f32::INFINITY,
        Aggregate::Max => f32::NEG_INFINITY,
    };
    let int = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let mut comparisons = Comparisons::default();
    let mut weights = vec![absent; count * targets];
    let (mut roots, mut yes, mut no) = (Vec::new(), Vec::new(), Vec::new());
    for tree in trees {
        let first = yes.len();
        roots.push(int(first));
        for (position, tree_node) in tree.nodes.iter().enumerate() {
            comparisons.push(Some(tree_node));
            // A leaf leads to itself.
            let (if_yes, if_no) = match tree_node {
                TreeNode::Branch { yes, no, .. } => (*yes, *no),
                TreeNode::Leaf(own) => {
                    add_weights(node, own, targets, &mut weights, first + position)?;
                    (position, position)
                }
            };
            yes.push(int(first + if_yes));
            no.push(int(first + if_no));
        }
    }
    let rows = vec![("axis", Attribute::Int(0))];
    let features = low.out.i64("features", &[count], &comparisons.features);
    let values = low.out.f32("values", &[count], &comparisons.values);
    let yes = low.out.i64("yes", &[count], &yes);
    let no = low.out.i64("no", &[count], &no);
    let tables = Tables::default();
    // One root for each row and tree.
    let zero = low.out.i64("zero", &[1], &[0]);
    let one = low.out.i64("one", &[1], &[1]);
    let batch = low.out.op("Shape", &[input], []);
    let batch = low.out.op("Slice", &[&batch, &zero, &one], []);
    let trees_dim = low.out.i64("trees", &[1], &[int(trees.len())]);
    let shape = low.out.op("Concat", &[&batch, &trees_dim], rows.clone());
    let roots = low.out.i64("roots", &[1, trees.len()], &roots);
    let mut at = low.out.op("Expand", &[&roots, &shape], []);
    let mut tables = tables;
    for _ in 0..depth {
        let feature = low.out.op("Gather", &[&features, &at], rows.clone());
        let feature = low.out.op(
            "GatherElements",
            &[input, &feature],
            [("axis", Attribute::Int(1))],
        );
        let value = low.out.op("Gather", &[&values, &at], rows.clone());
        let holds = comparisons.compare(low, &feature, &value, &mut |low, table| {
            let table = tables.name(low, table);
            low.out
                .op("Gather", &[&table, &at], [("axis", Attribute::Int(0))])
        });
        let if_yes = low.out.op("Gather", &[&yes, &at], rows.clone());
        let if_no = low.out.op("Gather", &[&no, &at], rows.clone());
        at = low.out.op("Where", &[&holds, &if_yes, &if_no], []);
    }
    let weights = low.out.f32("weights", &[count, targets], &weights);
    Ok(low.out.op("Gather", &[&weights, &at], rows))
}

/// Boolean tables that several steps share.
#[derive(Default)]
struct Tables(Vec<(Vec<u8>, String)>);

impl Tables {
    fn name(&mut self, low: &mut Lowering<'_>, table: &[u8]) -> String {
        if let Some((_, name)) = self.0.iter().find(|(own, _)| own == table) {
            return name.clone();
        }
        let name = low.out.weight(
            "table",
            Weight::raw(DataType::Bool, &[table.len()], table.to_vec()),
        );
        self.0.push((table.to_vec(), name.clone()));
        name
    }
}
