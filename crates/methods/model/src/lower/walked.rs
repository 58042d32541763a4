//! Deep trees, walked: one step for all rows and all trees at a time.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::{
        Lowering,
        compare::{Comparisons, Tables, add_weights},
        tree::{Tree, TreeNode},
    },
    wire::at_most,
};

/// Weights [N, trees, targets]; `absent` stands where a leaf gives no weight.
pub(super) fn walked(
    low: &mut Lowering<'_>,
    node: &Node,
    input: &str,
    trees: &[Tree],
    depth: usize,
    targets: usize,
    absent: f32,
) -> Result<String, ImportError> {
    let count: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
    let size = count.saturating_mul(targets.saturating_add(4));
    at_most(
        size,
        low.limits.max_lowered_elements,
        "elements in a lowered tree ensemble",
    )?;
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
    let mut tables = Tables::default();
    // One root for each row and tree.
    let zero = low.out.i64("zero", &[1], &[0]);
    let one = low.out.i64("one", &[1], &[1]);
    let batch = low.out.op("Shape", &[input], []);
    let batch = low.out.op("Slice", &[&batch, &zero, &one], []);
    let trees_dim = low.out.i64("trees", &[1], &[int(trees.len())]);
    let shape = low.out.op("Concat", &[&batch, &trees_dim], rows.clone());
    let roots = low.out.i64("roots", &[1, trees.len()], &roots);
    let mut at = low.out.op("Expand", &[&roots, &shape], []);
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
