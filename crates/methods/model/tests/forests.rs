//! Random tree ensembles: what the lowered graph answers on rten is what walking the trees one comparison at a time answers.
//!
//! Thresholds and inputs come from one small set, so that many comparisons are of equal numbers; NaN is among the inputs.

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stockade_model::{EngineChoice, Graph, Limits, NoExternalData, Session, Tensor, TensorData};

    const FEATURES: usize = 3;
    const GRID: [f32; 7] = [-2.0, -0.1, 0.0, 0.1, 0.3, 16_777_216.0, f32::NAN];
    const MODES: [&str; 6] = [
        "BRANCH_LEQ",
        "BRANCH_LT",
        "BRANCH_GTE",
        "BRANCH_GT",
        "BRANCH_EQ",
        "BRANCH_NEQ",
    ];

    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(Vec<f32>),
        Branch {
            mode: usize,
            feature: usize,
            value: f32,
            missing: bool,
            yes: Box<Tree>,
            no: Box<Tree>,
        },
    }

    impl Tree {
        fn walk(&self, row: &[f32]) -> &[f32] {
            match self {
                Self::Leaf(weights) => weights,
                Self::Branch {
                    mode,
                    feature,
                    value,
                    missing,
                    yes,
                    no,
                } => {
                    let x = row[*feature];
                    let holds = match mode {
                        0 => x <= *value,
                        1 => x < *value,
                        2 => x >= *value,
                        3 => x > *value,
                        4 => x == *value,
                        _ => x != *value,
                    };
                    if holds || (*missing && x.is_nan()) {
                        yes.walk(row)
                    } else {
                        no.walk(row)
                    }
                }
            }
        }
    }

    fn tree(modes: usize, depth: u32) -> impl Strategy<Value = Tree> {
        // Quarters add exactly, in any order.
        let weights = prop::collection::vec((-40_i8..40).prop_map(|n| f32::from(n) / 4.0), 2);
        let leaf = weights.prop_map(Tree::Leaf);
        leaf.prop_recursive(depth, 64, 2, move |inner| {
            let value = prop::sample::select(&GRID[..6]);
            (0..modes, 0..FEATURES, value, any::<bool>(), inner.clone(), inner).prop_map(
                |(mode, feature, value, missing, yes, no)| Tree::Branch {
                    mode,
                    feature,
                    value,
                    missing,
                    yes: Box::new(yes),
                    no: Box::new(no),
                },
            )
        })
    }

    /// The columns of a TreeEnsembleRegressor.
    #[derive(Default)]
    struct Columns {
        trees: Vec<i64>,
        nodes: Vec<i64>,
        features: Vec<i64>,
        values: Vec<f32>,
        modes: Vec<&'static str>,
        yes: Vec<i64>,
        no: Vec<i64>,
        missing: Vec<i64>,
        leaf_trees: Vec<i64>,
        leaf_nodes: Vec<i64>,
        leaf_targets: Vec<i64>,
        leaf_weights: Vec<f32>,
    }

    impl Columns {
        /// Adds a tree depth first and returns the number of its root.
        fn add(&mut self, number: i64, tree: &Tree, next: &mut i64) -> i64 {
            let id = *next;
            *next += 1;
            let row = self.nodes.len();
            self.trees.push(number);
            self.nodes.push(id);
            let (feature, value, mode, missing) = match tree {
                Tree::Leaf(weights) => {
                    for (target, weight) in weights.iter().enumerate() {
                        self.leaf_trees.push(number);
                        self.leaf_nodes.push(id);
                        self.leaf_targets.push(i64::try_from(target).unwrap());
                        self.leaf_weights.push(*weight);
                    }
                    (0, 0.0, "LEAF", false)
                }
                Tree::Branch {
                    mode,
                    feature,
                    value,
                    missing,
                    ..
                } => (*feature, *value, MODES[*mode], *missing),
            };
            self.features.push(i64::try_from(feature).unwrap());
            self.values.push(value);
            self.modes.push(mode);
            self.missing.push(i64::from(missing));
            self.yes.push(0);
            self.no.push(0);
            if let Tree::Branch { yes, no, .. } = tree {
                self.yes[row] = self.add(number, yes, next);
                self.no[row] = self.add(number, no, next);
            }
            id
        }

        fn to_onnx(&self) -> Vec<u8> {
            let ints = |name: &str, values: &[i64]| {
                let values: Vec<u8> = values
                    .iter()
                    .flat_map(|value| number(8, u64::from_ne_bytes(value.to_ne_bytes())))
                    .collect();
                field(5, &[field(1, name.as_bytes()), values, number(20, 7)].concat())
            };
            let floats = |name: &str, values: &[f32]| {
                let values: Vec<u8> = values
                    .iter()
                    .flat_map(|value| [vec![7 << 3 | 5], value.to_le_bytes().to_vec()].concat())
                    .collect();
                field(5, &[field(1, name.as_bytes()), values, number(20, 6)].concat())
            };
            let texts = |name: &str, values: &[&str]| {
                let values: Vec<u8> = values
                    .iter()
                    .flat_map(|value| field(9, value.as_bytes()))
                    .collect();
                field(5, &[field(1, name.as_bytes()), values, number(20, 8)].concat())
            };
            let targets = [field(1, b"n_targets"), number(3, 2), number(20, 2)].concat();
            let node = [
                field(1, b"x"),
                field(2, b"y"),
                field(4, b"TreeEnsembleRegressor"),
                field(7, b"ai.onnx.ml"),
                field(5, &targets),
                ints("nodes_treeids", &self.trees),
                ints("nodes_nodeids", &self.nodes),
                ints("nodes_featureids", &self.features),
                floats("nodes_values", &self.values),
                texts("nodes_modes", &self.modes),
                ints("nodes_truenodeids", &self.yes),
                ints("nodes_falsenodeids", &self.no),
                ints("nodes_missing_value_tracks_true", &self.missing),
                ints("target_treeids", &self.leaf_trees),
                ints("target_nodeids", &self.leaf_nodes),
                ints("target_ids", &self.leaf_targets),
                floats("target_weights", &self.leaf_weights),
            ];
            let value = |name: &str, columns: u64| {
                let shape = [field(1, &field(2, b"n")), field(1, &number(1, columns))].concat();
                let tensor = [number(1, 1), field(2, &shape)].concat();
                [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
            };
            let graph = [
                field(1, &node.concat()),
                field(11, &value("x", 3)),
                field(12, &value("y", 2)),
            ];
            let sets = [
                field(8, &number(2, 18)),
                field(8, &[field(1, b"ai.onnx.ml"), number(2, 3)].concat()),
            ];
            [number(1, 8), sets.concat(), field(7, &graph.concat())].concat()
        }
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value > 127 {
            out.push(u8::try_from(value & 127).unwrap() | 128);
            value >>= 7;
        }
        out.push(u8::try_from(value).unwrap());
        out
    }

    fn number(tag: u64, value: u64) -> Vec<u8> {
        [varint(tag << 3), varint(value)].concat()
    }

    fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
        [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
    }

    fn check(trees: &[Tree], rows: &[[f32; FEATURES]]) -> Result<(), TestCaseError> {
        let mut columns = Columns::default();
        for (index, tree) in trees.iter().enumerate() {
            columns.add(i64::try_from(index).unwrap(), tree, &mut 0);
        }
        let graph = Graph::from_onnx(&columns.to_onnx(), &NoExternalData, &Limits::default()).unwrap();
        let session = Session::load(&graph, &EngineChoice::Rten, 1).unwrap();
        let data = rows.iter().flatten().copied().collect();
        let x = Tensor::new(vec![rows.len(), FEATURES], TensorData::F32(data)).unwrap();
        let outputs = session.run(vec![("x".to_owned(), x)]).unwrap();
        let expected: Vec<f32> = rows
            .iter()
            .flat_map(|row| (0..2).map(|target| trees.iter().map(|tree| tree.walk(row)[target]).sum::<f32>()))
            .collect();
        prop_assert_eq!(outputs[0].1.data(), &TensorData::F32(expected));
        Ok(())
    }

    fn rows() -> impl Strategy<Value = Vec<[f32; FEATURES]>> {
        prop::collection::vec(prop::array::uniform3(prop::sample::select(&GRID[..])), 1..20)
    }

    /// One branch over two leaves.
    fn stump() -> Columns {
        let leaf = |weight| Box::new(Tree::Leaf(vec![weight, 0.0]));
        let root = Tree::Branch {
            mode: 0,
            feature: 1,
            value: 0.5,
            missing: false,
            yes: leaf(1.0),
            no: leaf(2.0),
        };
        let mut columns = Columns::default();
        columns.add(0, &root, &mut 0);
        columns
    }

    /// What is done to a stump, and why it is refused then.
    type Case = (fn(&mut Columns), &'static str);

    #[test]
    fn what_is_no_tree_is_refused_by_name() {
        let read = |change: fn(&mut Columns)| {
            let mut columns = stump();
            change(&mut columns);
            Graph::from_onnx(&columns.to_onnx(), &NoExternalData, &Limits::default())
        };
        assert!(read(|_| {}).is_ok());
        let cases: [Case; 10] = [
            (
                |c| c.yes[0] = 0,
                "one of its trees has nodes that its root does not reach",
            ),
            (|c| c.yes[0] = 2, "one of its tree nodes has two parents"),
            (|c| c.yes[0] = 9, "one of its tree nodes has no such child"),
            (
                |c| c.modes[0] = "LEAF",
                "one of its trees does not have exactly one root",
            ),
            (|c| c.nodes[2] = 1, "two of its tree nodes have the same number"),
            (
                |c| c.modes[0] = "BRANCH_MEMBER",
                "its node mode `BRANCH_MEMBER` is unknown",
            ),
            (
                |c| c.features[0] = -1,
                "one of its tree nodes has a negative feature",
            ),
            (
                |c| c.leaf_targets[0] = 2,
                "a leaf gives a weight to an unknown class or target",
            ),
            (|c| c.leaf_targets[0] = -1, "one of its targets is negative"),
            (
                |c| c.values.truncate(2),
                "the columns of its tree nodes differ in length, or it has no trees",
            ),
        ];
        for (change, reason) in cases {
            let message = read(change).unwrap_err().to_string();
            let expected =
                format!("the node `y` (ai.onnx.ml.TreeEnsembleRegressor) cannot be read: {reason}");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_large_ensemble_is_refused_before_it_is_lowered() {
        let limits = Limits {
            max_lowered_elements: 5,
            ..Limits::default()
        };
        let message = Graph::from_onnx(&stump().to_onnx(), &NoExternalData, &limits)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "the model has more than 5 elements in a lowered tree ensemble"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// At most four levels: evaluated whole.
        #[test]
        fn shallow_trees_agree(trees in prop::collection::vec(tree(6, 4), 1..6), rows in rows()) {
            check(&trees, &rows)?;
        }

        /// Up to nine levels: walked.
        #[test]
        fn deep_trees_agree(trees in prop::collection::vec(tree(6, 9), 1..4), rows in rows()) {
            check(&trees, &rows)?;
        }

        /// One comparison for all, as every exporter writes them.
        #[test]
        fn uniform_trees_agree(trees in prop::collection::vec(tree(1, 7), 1..5), rows in rows()) {
            check(&trees, &rows)?;
        }
    }
}
