//! Randomness of the operating system, through AWS-LC's generator (seeded from `getrandom(2)`).

use aws_lc_rs::rand;

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct RandomnessUnavailable;

/// Random bytes for ids and nonces. For secrets use [`crate::SecretBytes::random`], which is wiped on drop.
pub fn random_array<const N: usize>() -> Result<[u8; N], RandomnessUnavailable> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
    rand::fill(bytes).map_err(|_| RandomnessUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random_array::<32>().unwrap(), random_array::<32>().unwrap());
    }
}
