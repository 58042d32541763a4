//! The trees of a TreeEnsemble node, read from its flat columns and checked: each tree has one root, each node one parent, and no cycle.

use std::collections::BTreeMap;

use crate::{error::ImportError, graph::Node, limits::Limits, wire::at_most};

/// How an inner node compares its feature with its value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
}

/// One node of a tree. Children are positions in [`Tree::nodes`].
#[derive(Clone, Debug)]
pub(super) enum TreeNode {
    Branch {
        mode: Mode,
        feature: i64,
        value: f32,
        missing_is_true: bool,
        yes: usize,
        no: usize,
    },
    /// The weights that the leaf adds, by target.
    Leaf(Vec<(usize, f32)>),
}

/// One tree; its root is the first node.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<TreeNode>,
    pub(super) depth: usize,
}

/// The weights of each leaf, by tree and node.
type Leaves = BTreeMap<(i64, i64), Vec<(usize, f32)>>;

/// A chain longer than this would unroll into too large a graph.
const MAX_DEPTH: usize = 256;

/// Reads all trees. `weights` is `class` or `target`, the prefix of the columns with the leaves' weights.
pub(super) fn trees(node: &Node, weights: &str, limits: &Limits) -> Result<Vec<Tree>, ImportError> {
    for name in [
        "nodes_values_as_tensor",
        "nodes_hitrates_as_tensor",
        "base_values_as_tensor",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([format!("{weights}_weights_as_tensor")])
    {
        if node.attributes.contains_key(&name) {
            return Err(node.unsupported("its values are 64-bit floats"));
        }
    }
    let columns = Columns::read(node)?;
    at_most(columns.ids.len(), limits.max_lowered_elements, "tree nodes")?;
    let mut leaves = leaf_weights(node, weights)?;
    // For each tree: its nodes without a parent, and how many nodes it has.
    let mut roots: BTreeMap<i64, (Vec<usize>, usize)> = BTreeMap::new();
    let mut has_parent = vec![false; columns.ids.len()];
    for row in 0..columns.ids.len() {
        if columns.mode(node, row)?.is_some() {
            for child in columns.children(node, row)? {
                if let Some(seen) = has_parent.get_mut(child)
                    && std::mem::replace(seen, true)
                {
                    return Err(node.unsupported("one of its tree nodes has two parents"));
                }
            }
        }
    }
    for ((tree, _), row) in &columns.rows {
        let (list, count) = roots.entry(*tree).or_default();
        *count += 1;
        if !has_parent.get(*row).copied().unwrap_or_default() {
            list.push(*row);
        }
    }
    roots
        .values()
        .map(|(roots, count)| match roots[..] {
            [root] => {
                let tree = columns.tree(node, root, &mut leaves)?;
                if tree.nodes.len() == *count {
                    Ok(tree)
                } else {
                    Err(node.unsupported("one of its trees has nodes that its root does not reach"))
                }
            }
            _ => Err(node.unsupported("one of its trees does not have exactly one root")),
        })
        .collect()
}

/// The columns that describe nodes.
struct Columns<'a> {
    ids: Vec<(i64, i64)>,
    /// The row of each tree's node.
    rows: BTreeMap<(i64, i64), usize>,
    features: &'a [i64],
    values: &'a [f32],
    modes: Vec<String>,
    yes: &'a [i64],
    no: &'a [i64],
    missing: &'a [i64],
}

impl<'a> Columns<'a> {
    fn read(node: &'a Node) -> Result<Self, ImportError> {
        let trees = node.ints("nodes_treeids")?;
        let nodes = node.ints("nodes_nodeids")?;
        let columns = Self {
            ids: trees.iter().copied().zip(nodes.iter().copied()).collect(),
            rows: BTreeMap::new(),
            features: node.ints("nodes_featureids")?,
            values: node.floats("nodes_values")?,
            modes: node.texts("nodes_modes")?,
            yes: node.ints("nodes_truenodeids")?,
            no: node.ints("nodes_falsenodeids")?,
            missing: node.ints("nodes_missing_value_tracks_true")?,
        };
        let count = trees.len();
        let lengths = [
            nodes.len(),
            columns.features.len(),
            columns.values.len(),
            columns.modes.len(),
            columns.yes.len(),
            columns.no.len(),
        ];
        if count == 0
            || lengths.iter().any(|length| *length != count)
            || ![0, count].contains(&columns.missing.len())
        {
            return Err(
                node.unsupported("the columns of its tree nodes differ in length, or it has no trees")
            );
        }
        let rows: BTreeMap<_, _> = columns
            .ids
            .iter()
            .enumerate()
            .map(|(row, id)| (*id, row))
            .collect();
        if rows.len() != count {
            return Err(node.unsupported("two of its tree nodes have the same number"));
        }
        Ok(Self { rows, ..columns })
    }

    /// The comparison of a row, or `None` for a leaf.
    fn mode(&self, node: &Node, row: usize) -> Result<Option<Mode>, ImportError> {
        match self.modes.get(row).map(String::as_str) {
            Some("LEAF") => Ok(None),
            Some("BRANCH_LEQ") => Ok(Some(Mode::Leq)),
            Some("BRANCH_LT") => Ok(Some(Mode::Lt)),
            Some("BRANCH_GTE") => Ok(Some(Mode::Gte)),
            Some("BRANCH_GT") => Ok(Some(Mode::Gt)),
            Some("BRANCH_EQ") => Ok(Some(Mode::Eq)),
            Some("BRANCH_NEQ") => Ok(Some(Mode::Neq)),
            other => Err(node.unsupported(format!(
                "its node mode `{}` is unknown",
                other.unwrap_or_default()
            ))),
        }
    }

    /// The rows taken when the comparison holds and when it does not.
    fn children(&self, node: &Node, row: usize) -> Result<[usize; 2], ImportError> {
        let child = |column: &[i64]| {
            let id = (self.ids.get(row)?.0, *column.get(row)?);
            self.rows.get(&id).copied()
        };
        match (child(self.yes), child(self.no)) {
            (Some(yes), Some(no)) => Ok([yes, no]),
            (Some(_) | None, Some(_) | None) => {
                Err(node.unsupported("one of its tree nodes has no such child"))
            }
        }
    }

    /// Breadth first, so that children come after their parent.
    fn tree(&self, node: &Node, root: usize, leaves: &mut Leaves) -> Result<Tree, ImportError> {
        let mut nodes = Vec::new();
        let mut level = vec![root];
        let mut depth = 0;
        while !level.is_empty() {
            if depth > MAX_DEPTH {
                return Err(node.unsupported(format!("one of its trees is deeper than {MAX_DEPTH}")));
            }
            let first_child = nodes.len() + level.len();
            let mut next = Vec::new();
            for row in level {
                let Some(mode) = self.mode(node, row)? else {
                    let id = self.ids.get(row).copied().unwrap_or_default();
                    nodes.push(TreeNode::Leaf(leaves.remove(&id).unwrap_or_default()));
                    continue;
                };
                let yes = first_child + next.len();
                next.extend(self.children(node, row)?);
                let feature = self.features.get(row).copied().unwrap_or(-1);
                if feature < 0 {
                    return Err(node.unsupported("one of its tree nodes has a negative feature"));
                }
                nodes.push(TreeNode::Branch {
                    mode,
                    feature,
                    value: self.values.get(row).copied().unwrap_or(f32::NAN),
                    missing_is_true: self.missing.get(row).is_some_and(|flag| *flag != 0),
                    yes,
                    no: yes + 1,
                });
            }
            depth += usize::from(!next.is_empty());
            level = next;
        }
        Ok(Tree { nodes, depth })
    }
}

/// The weights of each leaf, by tree and node.
fn leaf_weights(node: &Node, prefix: &str) -> Result<Leaves, ImportError> {
    let trees = node.ints(&format!("{prefix}_treeids"))?;
    let nodes = node.ints(&format!("{prefix}_nodeids"))?;
    let targets = node.ints(&format!("{prefix}_ids"))?;
    let weights = node.floats(&format!("{prefix}_weights"))?;
    if [nodes.len(), targets.len(), weights.len()]
        .iter()
        .any(|length| *length != trees.len())
    {
        return Err(node.unsupported("the columns of its weights differ in length"));
    }
    let mut leaves = Leaves::new();
    for (((tree, leaf), target), weight) in trees.iter().zip(nodes).zip(targets).zip(weights) {
        let target =
            usize::try_from(*target).map_err(|_| node.unsupported("one of its targets is negative"))?;
        leaves.entry((*tree, *leaf)).or_default().push((target, *weight));
    }
    Ok(leaves)
}
