//! Verification of inclusion and consistency proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use super::{Hash, empty_root, node_hash};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// The index is not below the size, or the old size is above the new one.
    #[error("the proof is about an entry or size outside the tree")]
    OutOfRange,
    /// No proof for this place has this many hashes.
    #[error("the proof has a wrong number of hashes")]
    WrongLength,
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root")]
    WrongRoot,
}

/// Verifies that `leaf` is entry `index` of the tree with `size` entries and this `root`.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    // RFC 9162 section 2.1.3.2: `node` and `last` are the RFC's fn and sn.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_missing_siblings(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::WrongRoot)
    }
}

/// Verifies that the tree (`old_size`, `old_root`) is a prefix of the tree (`new_size`, `new_root`).
///
/// The empty tree is a prefix of every tree and equal trees are prefixes of each other, both with an empty proof.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange);
    }
    if old_size == 0 || old_size == new_size {
        let expected = if old_size == 0 { &empty_root() } else { new_root };
        return match proof {
            [] if old_root == expected => Ok(()),
            [] => Err(ProofError::WrongRoot),
            [_, ..] => Err(ProofError::WrongLength),
        };
    }
    // RFC 9162 section 2.1.4.2: a power of two is a subtree of the new tree, its root is not sent.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::WrongLength)?
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut node, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_missing_siblings(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if old_hash == *old_root && new_hash == *new_root {
        Ok(())
    } else {
        Err(ProofError::WrongRoot)
    }
}

/// On the right edge of an incomplete tree, nodes without a sibling move up unhashed.
fn skip_missing_siblings(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::reference::Tree;

    #[test]
    fn accepts_every_inclusion_and_no_other_place() {
        let tree = Tree::new(130);
        let leaves = &tree.leaves;
        for n in 1..=leaves.len() {
            let root = tree.root(n);
            for (i, leaf) in leaves.iter().enumerate().take(n) {
                let proof = tree.path(i, n);
                let verify = |leaf: &Hash, index: usize, size: usize, proof: &[Hash], root: &Hash| {
                    verify_inclusion(leaf, index as u64, size as u64, proof, root)
                };
                assert_eq!(verify(leaf, i, n, &proof, &root), Ok(()));
                assert_eq!(verify(leaf, n, n, &proof, &root), Err(ProofError::OutOfRange));
                assert_eq!(verify(&[1; 32], i, n, &proof, &root), Err(ProofError::WrongRoot));
                assert_eq!(verify(leaf, i, n, &proof, &[1; 32]), Err(ProofError::WrongRoot));
                let longer: Vec<Hash> = proof.iter().copied().chain([[0; 32]]).collect();
                assert!(verify(leaf, i, n, &longer, &root).is_err());
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(verify(leaf, i, n, shorter, &root).is_err());
                    assert!(verify(leaf, i ^ 1, n, &proof, &root).is_err());
                }
            }
        }
    }

    #[test]
    fn accepts_every_consistency_up_to_300_and_no_changed_one() {
        let tree = Tree::new(300);
        let roots: Vec<Hash> = (0..=300).map(|n| tree.root(n)).collect();
        for new in 0..=300 {
            for old in 0..=new {
                let proof = tree.consistency(old, new);
                let verify = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency(old as u64, old_root, new as u64, new_root, proof)
                };
                assert_eq!(verify(&roots[old], &roots[new], &proof), Ok(()), "{old} to {new}");
                assert!(verify(&[1; 32], &roots[new], &proof).is_err());
                if old > 0 {
                    assert!(verify(&roots[old], &[1; 32], &proof).is_err());
                }
                let longer: Vec<Hash> = proof.iter().copied().chain([[0; 32]]).collect();
                assert!(verify(&roots[old], &roots[new], &longer).is_err());
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(verify(&roots[old], &roots[new], shorter).is_err());
                }
            }
        }
        assert_eq!(
            verify_consistency(2, &roots[2], 1, &roots[1], &[]),
            Err(ProofError::OutOfRange)
        );
    }
}
