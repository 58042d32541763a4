//! Shallow trees, evaluated whole: every comparison, then one matrix product that finds the leaf agreeing with all on its path.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::{
        Lowering,
        compare::{Comparisons, add_weights},
        tree::{Tree, TreeNode},
    },
    tensor::DataType,
    weight::Weight,
    wire::at_most,
};

/// The deepest trees that are evaluated whole.
pub(super) const WHOLE_DEPTH: usize = 4;

/// Weights [trees, N, targets] from all comparisons at once.
pub(super) fn whole(
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
