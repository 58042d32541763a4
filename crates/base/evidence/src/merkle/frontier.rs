//! The right edge of a growing tree: the roots of its complete subtrees. All that is needed to append and to know
//! the root.

use super::{Hash, node_hash, root_of_peaks};

/// A tree reduced to the roots of its complete subtrees, the largest (leftmost) first.
// INVARIANT: `peaks.len() == size.count_ones()`; `from_parts` and `append` keep it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// A tree of this size has another number of complete subtrees.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a tree of {size} entries has {} complete subtrees, not {given}", .size.count_ones())]
pub struct InvalidFrontier {
    size: u64,
    given: usize,
}

impl Frontier {
    /// The tree without entries.
    pub const fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// A tree written down earlier by [`Frontier::size`] and [`Frontier::hashes`]. Compare its root with one you trust.
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Result<Self, InvalidFrontier> {
        if u32::try_from(hashes.len()) != Ok(size.count_ones()) {
            return Err(InvalidFrontier {
                size,
                given: hashes.len(),
            });
        }
        Ok(Self { size, peaks: hashes })
    }

    /// Adds one leaf hash on the right.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The number of entries.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    pub fn hashes(&self) -> &[Hash] {
        &self.peaks
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        root_of_peaks(&self.peaks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::reference;

    #[test]
    fn grows_like_the_reference() {
        let tree = reference::Tree::new(600);
        let mut frontier = Frontier::new();
        for n in 0..=600 {
            assert_eq!(frontier.root(), tree.root(n), "size {n}");
            let again = Frontier::from_parts(frontier.size(), frontier.hashes().to_vec());
            assert_eq!(again.as_ref(), Ok(&frontier));
            if let Some(leaf) = tree.leaves.get(n) {
                frontier.append(*leaf);
            }
        }
    }

    #[test]
    fn refuses_a_wrong_number_of_subtrees() {
        assert!(Frontier::from_parts(3, vec![[0; 32]]).is_err());
        assert!(Frontier::from_parts(0, vec![[0; 32]]).is_err());
    }
}
