//! The comparisons of a tree ensemble as tensor operators, any mix of modes, missing values included.

use crate::{
    error::ImportError,
    graph::Node,
    lower::{
        Lowering,
        tree::{Mode, TreeNode},
    },
    tensor::DataType,
    weight::Weight,
};

/// Where comparisons of one ensemble lie: one entry for each position of a tensor.
#[derive(Default)]
pub(super) struct Comparisons {
    pub(super) features: Vec<i64>,
    pub(super) values: Vec<f32>,
    modes: Vec<Option<Mode>>,
    missing: Vec<u8>,
}

impl Comparisons {
    pub(super) fn push(&mut self, tree_node: Option<&TreeNode>) {
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
    pub(super) fn compare(
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

/// Boolean tables that several steps share.
#[derive(Default)]
pub(super) struct Tables(Vec<(Vec<u8>, String)>);

impl Tables {
    pub(super) fn name(&mut self, low: &mut Lowering<'_>, table: &[u8]) -> String {
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

/// Adds the weights of one leaf to its row of a table.
pub(super) fn add_weights(
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
