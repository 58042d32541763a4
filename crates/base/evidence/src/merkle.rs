//! The Merkle tree of RFC 6962 (RFC 9162 section 2.1) over SHA-256: hashes, the right edge of a growing tree, and
//! the verification of inclusion and consistency proofs.
//!
//! A leaf and an inner node hash under different prefixes, so that neither can be passed off as the other.

mod frontier;
mod verify;

use stockade_crypto::{Sha256, sha256};

pub use self::{
    frontier::{Frontier, InvalidFrontier},
    verify::{ProofError, verify_consistency, verify_inclusion},
};

/// A SHA-256 hash of the tree: of a leaf, an inner node or the root.
pub type Hash = [u8; 32];

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

/// The hash of one entry (RFC 9162 section 2.1.1: `HASH(0x00 || d)`).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(&[LEAF_PREFIX]);
    hasher.update(entry);
    hasher.finish()
}

/// The hash of an inner node (RFC 9162 section 2.1.1: `HASH(0x01 || left || right)`).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [NODE_PREFIX; 65];
    let (_, children) = input.split_at_mut(1);
    let (to_left, to_right) = children.split_at_mut(32);
    to_left.copy_from_slice(left);
    to_right.copy_from_slice(right);
    sha256(&input)
}

/// The root of the tree without entries (RFC 9162 section 2.1.1: `HASH()`).
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The root over subtree roots that stand side by side, the largest first. Empty input gives the empty tree's root.
pub(crate) fn root_of_peaks(peaks: &[Hash]) -> Hash {
    peaks
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| node_hash(&left, &right))
        .unwrap_or_else(empty_root)
}

/// The root over `row`, whose length is a power of two.
pub(crate) fn complete_root(row: &[Hash]) -> Hash {
    debug_assert!(row.len().is_power_of_two());
    let mut row = row.to_vec();
    while row.len() > 1 {
        row = row
            .chunks_exact(2)
            .filter_map(|pair| <&[Hash; 2]>::try_from(pair).ok())
            .map(|[left, right]| node_hash(left, right))
            .collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// The roots of the complete subtrees, the largest first, that `row` splits into.
pub(crate) fn peaks_of_row(mut row: &[Hash]) -> Vec<Hash> {
    let mut peaks = Vec::new();
    while let Some(highest) = row.len().checked_ilog2() {
        let (complete, rest) = row.split_at(1 << highest);
        peaks.push(complete_root(complete));
        row = rest;
    }
    peaks
}

/// The tree as RFC 9162 section 2.1 writes it, recursively: what the fast code is tested against.
#[cfg(test)]
pub(crate) mod reference {
    use std::{cell::RefCell, collections::HashMap};

    use super::*;

    pub(crate) struct Tree {
        pub(crate) leaves: Vec<Hash>,
        known: RefCell<HashMap<(usize, usize), Hash>>,
    }

    fn split(n: usize) -> usize {
        n.next_power_of_two() / 2
    }

    impl Tree {
        pub(crate) fn new(n: usize) -> Self {
            let leaves = (0..n)
                .map(|i| leaf_hash(format!("entry {i}").as_bytes()))
                .collect();
            Self {
                leaves,
                known: RefCell::default(),
            }
        }

        /// The root of the first `n` entries.
        pub(crate) fn root(&self, n: usize) -> Hash {
            self.mth(0, n)
        }

        pub(crate) fn mth(&self, start: usize, n: usize) -> Hash {
            match n {
                0 => return empty_root(),
                1 => return self.leaves[start],
                _ => {}
            }
            if let Some(hash) = self.known.borrow().get(&(start, n)) {
                return *hash;
            }
            let k = split(n);
            let hash = node_hash(&self.mth(start, k), &self.mth(start + k, n - k));
            self.known.borrow_mut().insert((start, n), hash);
            hash
        }

        /// PATH(m, D_n).
        pub(crate) fn path(&self, m: usize, n: usize) -> Vec<Hash> {
            self.subpath(m, 0, n)
        }

        fn subpath(&self, m: usize, start: usize, n: usize) -> Vec<Hash> {
            if n <= 1 {
                return Vec::new();
            }
            let k = split(n);
            let (mut proof, sibling) = if m < k {
                (self.subpath(m, start, k), self.mth(start + k, n - k))
            } else {
                (self.subpath(m - k, start + k, n - k), self.mth(start, k))
            };
            proof.push(sibling);
            proof
        }

        /// PROOF(m, D_n), and nothing for the empty tree.
        pub(crate) fn consistency(&self, m: usize, n: usize) -> Vec<Hash> {
            if m == 0 {
                Vec::new()
            } else {
                self.subproof(m, 0, n, true)
            }
        }

        fn subproof(&self, m: usize, start: usize, n: usize, known: bool) -> Vec<Hash> {
            if m == n {
                return if known {
                    Vec::new()
                } else {
                    vec![self.mth(start, n)]
                };
            }
            let k = split(n);
            let (mut proof, sibling) = if m <= k {
                (self.subproof(m, start, k, known), self.mth(start + k, n - k))
            } else {
                (self.subproof(m - k, start + k, n - k, false), self.mth(start, k))
            };
            proof.push(sibling);
            proof
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hash: Hash, expected: &str) {
        assert_eq!(hex::encode(hash), expected);
    }

    /// Inputs and roots of Certificate Transparency's reference tests (google/certificate-transparency,
    /// `merkle_tree_test.cc`).
    #[test]
    fn agrees_with_certificate_transparency() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e,
                0x6f,
            ],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        check(
            frontier.root(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        );
        for (input, root) in inputs.into_iter().zip(roots) {
            frontier.append(leaf_hash(input));
            check(frontier.root(), root);
        }
    }

    #[test]
    fn rows_split_into_peaks() {
        let tree = reference::Tree::new(255);
        for n in 0..=255 {
            let peaks = peaks_of_row(&tree.leaves[..n]);
            assert_eq!(peaks.len(), n.count_ones() as usize);
            assert_eq!(root_of_peaks(&peaks), tree.root(n));
        }
    }
}
