//! The few numbers that the detectors need: dot products, keyed random numbers, binomial bounds.

/// The value below which this share of the sorted values lies.
pub(crate) fn quantile(sorted: &[f32], share: f64) -> f32 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a length"
    )]
    let rank = (last as f64 * share).round() as usize;
    sorted.get(rank.min(last)).copied().unwrap_or_default()
}

/// A stream of numbers drawn from a secret and a label: the same secret and label give the same numbers.
pub(crate) struct Keyed(blake3::OutputReader);

impl Keyed {
    pub(crate) fn new(secret: &[u8; 32], label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher.update(label.as_bytes());
        Self(hasher.finalize_xof())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    #[expect(clippy::cast_possible_truncation, reason = "single precision is meant")]
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    /// A random order of `0..count` (Fisher and Yates).
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "less than `last`, which is a usize"
            )]
            let other = (self.bits() % (last as u64 + 1)) as usize;
            order.swap(last, other);
        }
        order
    }
}

/// A keyed 64-bit fingerprint of a row's exact bytes.
pub(crate) fn fingerprint(secret: &[u8; 32], row: &[f32]) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    let mut bytes = [0_u8; 1024];
    for part in row.chunks(bytes.len() / 4) {
        for (slot, value) in bytes.chunks_exact_mut(4).zip(part) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(bytes.get(..part.len() * 4).unwrap_or_default());
    }
    first_eight(&hasher.finalize())
}

/// A keyed 64-bit name of a principal.
pub(crate) fn name(secret: &[u8; 32], principal: &str) -> u64 {
    first_eight(&blake3::keyed_hash(secret, principal.as_bytes()))
}

fn first_eight(hash: &blake3::Hash) -> u64 {
    let mut eight = [0; 8];
    eight
        .iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(eight)
}

/// Mixes two words into one (the finaliser of SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut word = a ^ b.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Sum of products, in eight lanes so that it vectorises and always adds in the same order.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left.zip(right) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Squared Euclidean distance, in lanes as [`dot`].
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| (x - y) * (x - y))
        .sum();
    for (x, y) in left.zip(right) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += (x - y) * (x - y);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The largest probability under which `hits` or fewer of `trials` happen with at least `doubt` probability.
///
/// The one-sided bound of Clopper and Pearson (1934); with `hits` rows beyond an order statistic it is the tolerance
/// limit of Wilks (1941): what a new row exceeds with at most this probability, whatever the distribution.
pub(crate) fn upper_bound(hits: u64, trials: u64, doubt: f64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_most(hits, trials, middle) > doubt {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(Binomial(trials, share) <= hits). Sums down from the largest term until nothing is added.
fn at_most(hits: u64, trials: u64, share: f64) -> f64 {
    let (n, k) = (trials as f64, hits as f64);
    if k > n * share + 10.0 * (n * share * (1.0 - share)).sqrt() + 10.0 {
        return 1.0;
    }
    let log_term = ln_choose(n, k) + k * share.ln() + (n - k) * (-share).ln_1p();
    let odds = (1.0 - share) / share;
    let (mut term, mut sum, mut count) = (1.0, 0.0, k);
    // The terms below `hits` fall or rise by a smooth ratio; those that matter are within a few thousand.
    for _ in 0..=hits.min(20_000) {
        sum += term;
        term *= count / (n - count + 1.0) * odds;
        count -= 1.0;
        if term < sum * 1e-15 || count < 0.0 {
            break;
        }
    }
    (log_term + sum.ln()).exp().min(1.0)
}

/// ln of `n` over `k`, for real numbers.
pub(crate) fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// ln of the gamma function for x >= 1 (Stirling's series after shifting x above 8).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 8.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_and_choose_match_tables() {
        assert!((ln_gamma(5.0) - 24.0_f64.ln()).abs() < 1e-9);
        assert!((ln_gamma(1.0)).abs() < 1e-9);
        assert!((ln_choose(52.0, 5.0) - 2_598_960.0_f64.ln()).abs() < 1e-7);
    }

    #[test]
    fn bounds_match_published_tables() {
        // The rule of three's exact form: 1 - doubt^(1/n) for no hit.
        assert!((upper_bound(0, 100, 0.05) - (1.0 - 0.05_f64.powf(0.01))).abs() < 1e-9);
        // Clopper and Pearson, 97.5% one-sided: 10 of 100 gives 0.1762.
        assert!((upper_bound(10, 100, 0.025) - 0.1762).abs() < 1e-4);
        assert_eq!(upper_bound(3, 3, 0.01), 1.0);
        assert!((upper_bound(50_000, 1_000_000, 0.01) - 0.0505).abs() < 1e-4);
    }

    #[test]
    fn keyed_numbers_are_reproducible_and_keyed() {
        let draw = |secret: u8, label| Keyed::new(&[secret; 32], label).bits();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        let mut keyed = Keyed::new(&[3; 32], "normal");
        let values: Vec<f32> = (0..20_000).map(|_| keyed.normal()).collect();
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04,
            "{mean} {variance}"
        );
    }
}
