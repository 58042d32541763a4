//! Values that do not go together: how unlikely an input is under a tree of pairwise dependences of real rows.
//!
//! Rows made of parts of real rows (each column from another person, one image laid over another) have ordinary values and ordinary lengths;
//! what they break is which values occur together. Each number is put into one of a few bins; a tree joins the numbers
//! that tell most about each other, and an input's score is its negative log-likelihood.
//!
//! # Citation
//! Chow and Liu, *Approximating discrete probability distributions with dependence trees*, IEEE Transactions on Information Theory 14 (1968):
//! the tree of largest mutual information is the most likely one.
//!
//! # Cost
//! At most 256 numbers of the input are looked at, those whose bins vary most.

use crate::numbers::quantile;

/// Most numbers in the tree.
const MOST: usize = 256;
/// Bins within the range of real rows, and one for what is outside.
const WITHIN: u8 = 4;
const BINS: usize = WITHIN as usize + 1;
/// Added to each count, so that what was never seen is unlikely and not impossible.
const SMOOTHING: f32 = 0.5;

/// What values go together among real rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    /// From the root outwards: each node's parent comes before it.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    column: usize,
    cut: Cut,
    /// Index in `nodes`; the root is its own.
    parent: usize,
    /// Negative logarithm of the probability of this bin (inner) given the parent's (outer).
    surprise: [[f32; BINS]; BINS],
}

/// Equal bins over the range of real values.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    low: f32,
    inverse_width: f32,
}

impl Cut {
    fn of(values: &mut [f32]) -> Self {
        values.sort_by(f32::total_cmp);
        let ends = |share| (quantile(values, share), quantile(values, 1.0 - share));
        let (mut low, mut high) = ends(0.01);
        if high <= low {
            (low, high) = ends(0.0);
        }
        let range = high - low;
        // Half a bin of room on each side, so that the ends themselves are within.
        Self {
            low: low - range / 8.0,
            inverse_width: if range > 0.0 {
                f32::from(WITHIN) / (1.25 * range)
            } else {
                0.0
            },
        }
    }

    fn bin(self, value: f32) -> usize {
        let place = (value - self.low) * self.inverse_width;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and WITHIN"
        )]
        if (0.0..f32::from(WITHIN)).contains(&place) {
            place as usize
        } else {
            usize::from(WITHIN)
        }
    }
}

impl Tree {
    /// Learns from real rows of `inputs` finite numbers each.
    pub(super) fn fit(rows: &[f32], inputs: usize) -> Self {
        let mut columns: Vec<Column> = (0..inputs).map(|index| Column::of(rows, inputs, index)).collect();
        columns.sort_by(|a, b| b.entropy.total_cmp(&a.entropy).then(a.index.cmp(&b.index)));
        columns.truncate(MOST);
        columns.retain(|column| column.entropy > 0.0);
        Self {
            nodes: span(&columns),
        }
    }

    /// Negative log-likelihood of a row.
    pub(super) fn surprise(&self, row: &[f32]) -> f32 {
        let mut bins = [0_usize; MOST];
        let mut sum = 0.0;
        for (index, node) in self.nodes.iter().enumerate() {
            let bin = row
                .get(node.column)
                .map_or(BINS - 1, |value| node.cut.bin(*value));
            let parent = if node.parent == index {
                bin
            } else {
                bins.get(node.parent).copied().unwrap_or_default()
            };
            sum += node
                .surprise
                .get(parent)
                .and_then(|given| given.get(bin))
                .copied()
                .unwrap_or_default();
            bins.iter_mut().skip(index).take(1).for_each(|slot| *slot = bin);
        }
        sum
    }
}

/// One number of every row, in bins.
struct Column {
    index: usize,
    cut: Cut,
    bins: Vec<usize>,
    entropy: f32,
}

impl Column {
    fn of(rows: &[f32], inputs: usize, index: usize) -> Self {
        let values = || rows.iter().skip(index).step_by(inputs).copied();
        let cut = Cut::of(&mut values().collect::<Vec<_>>());
        let bins: Vec<usize> = values().map(|value| cut.bin(value)).collect();
        let mut counts = [0.0_f32; BINS];
        for bin in &bins {
            counts
                .iter_mut()
                .skip(*bin)
                .take(1)
                .for_each(|count| *count += 1.0);
        }
        let total = bins.len() as f32;
        let present = counts.iter().filter(|count| **count > 0.0);
        let entropy = present.map(|count| -count / total * (count / total).ln()).sum();
        Self {
            index,
            cut,
            bins,
            entropy,
        }
    }
}

/// How often each pair of bins occurs.
fn together(parent: &Column, child: &Column) -> [[f32; BINS]; BINS] {
    let mut counts = [[0.0; BINS]; BINS];
    for (outer, inner) in parent.bins.iter().zip(&child.bins) {
        if let Some(count) = counts.get_mut(*outer).and_then(|row| row.get_mut(*inner)) {
            *count += 1.0;
        }
    }
    counts
}

/// Mutual information in nats.
fn information(a: &Column, b: &Column) -> f32 {
    let counts = together(a, b);
    let total = a.bins.len() as f32;
    let joint = counts.iter().flatten().filter(|count| **count > 0.0);
    let negative: f32 = joint.map(|count| count / total * (count / total).ln()).sum();
    a.entropy + b.entropy + negative
}

/// The spanning tree of largest information (Prim), from the column of largest entropy.
fn span(columns: &[Column]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    // For each column outside the tree: its index, the best node of the tree, and their information.
    let mut outside: Vec<(usize, usize, f32)> = (0..columns.len()).map(|index| (index, 0, -1.0)).collect();
    let mut inside: Vec<usize> = Vec::new();
    while !outside.is_empty() {
        let best = (0..outside.len()).max_by(|a, b| {
            let worth = |at: &usize| outside.get(*at).map_or(-1.0, |(_, _, worth)| *worth);
            // Among equals the first column: the root is the one of largest entropy.
            worth(a).total_cmp(&worth(b)).then(b.cmp(a))
        });
        let (chosen, parent, _) = outside.remove(best.unwrap_or_default());
        let Some(child) = columns.get(chosen) else { break };
        let at = nodes.len();
        let above = inside.get(parent).and_then(|above| columns.get(*above));
        let counts = above.map_or_else(|| together(child, child), |above| together(above, child));
        nodes.push(Node {
            column: child.index,
            cut: child.cut,
            parent: if above.is_some() { parent } else { at },
            surprise: if above.is_some() {
                conditional(&counts)
            } else {
                marginal(&counts)
            },
        });
        inside.push(chosen);
        for (index, parent, worth) in &mut outside {
            let told = columns.get(*index).map_or(0.0, |other| information(child, other));
            if told > *worth {
                (*parent, *worth) = (at, told);
            }
        }
    }
    nodes
}

fn conditional(counts: &[[f32; BINS]; BINS]) -> [[f32; BINS]; BINS] {
    counts.map(|given| {
        let total: f32 = given.iter().sum::<f32>() + SMOOTHING * BINS as f32;
        given.map(|count| -((count + SMOOTHING) / total).ln())
    })
}

/// The root's own bins stand on the diagonal of its counts with itself.
fn marginal(counts: &[[f32; BINS]; BINS]) -> [[f32; BINS]; BINS] {
    let total: f32 = counts.iter().flatten().sum::<f32>() + SMOOTHING * BINS as f32;
    counts.map(|given| given.map(|count| -((count + SMOOTHING) / total).ln()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Keyed;

    #[test]
    fn values_that_never_meet_are_surprising() {
        // Column 1 repeats column 0, column 2 is its opposite, column 3 is independent.
        let mut keyed = Keyed::new(&[1; 32], "test");
        let rows: Vec<f32> = (0..500)
            .flat_map(|_| {
                let (a, b) = (keyed.unit() < 0.5, keyed.unit() < 0.5);
                [a, a, !a, b].map(|value| f32::from(u8::from(value)))
            })
            .collect();
        let tree = Tree::fit(&rows, 4);
        let real = tree.surprise(&[1.0, 1.0, 0.0, 1.0]);
        let broken = tree.surprise(&[1.0, 0.0, 0.0, 1.0]);
        let outside = tree.surprise(&[1.0, 1.0, 0.0, 7.0]);
        assert!(
            real < 2.0 && broken > real + 4.0 && outside > real + 4.0,
            "{real} {broken} {outside}"
        );
        // The independent column costs about ln 2 whatever it is.
        assert!((tree.surprise(&[1.0, 1.0, 0.0, 0.0]) - real).abs() < 0.5);
    }

    #[test]
    fn absurd_rows_do_not_panic() {
        let tree = Tree::fit(&[3.0; 20], 2);
        assert_eq!(tree.surprise(&[f32::NAN, 1.0]), 0.0);
        let tree = Tree::fit(&[0.0, 1.0, 2.0, 3.0], 1);
        for row in [&[f32::NAN][..], &[f32::INFINITY], &[f32::MIN], &[]] {
            assert!(tree.surprise(row).is_finite());
        }
    }
}
