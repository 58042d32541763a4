//! The upper tail of the beta-binomial distribution (Skellam 1948), exact but for rounding.

/// `P[K >= at_least]`, where K of `trials` succeed with a rate that is Beta(`a`, `b`).
pub(super) fn upper(trials: usize, at_least: usize, a: f64, b: f64) -> f64 {
    if at_least == 0 {
        return 1.0;
    }
    let n = trials as f64;
    // P[K = 0], then each from the one before: P[K = k + 1] / P[K = k] = (n - k)(a + k) / ((k + 1)(b + n - k - 1)).
    let mut log: f64 = (0..trials)
        .map(|index| index as f64)
        .map(|i| ((b + i) / (a + b + i)).ln())
        .sum();
    let mut sum = 0.0;
    for count in 0..=trials {
        if count >= at_least {
            sum += log.exp();
        }
        let k = count as f64;
        log += (n - k).ln() + (a + k).ln() - (k + 1.0).ln() - (b + n - k - 1.0).ln();
    }
    f64::min(sum, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-10 * b.abs(), "{a} {b}");
    }

    /// The same sum in Python's `fractions.Fraction`.
    #[test]
    fn agrees_with_exact_fractions() {
        for (trials, at_least, a, b, expected) in EXACT {
            close(upper(trials, at_least, a, b), expected);
        }
    }

    #[test]
    fn a_uniform_rate_makes_every_count_as_likely() {
        for at_least in 0..=20 {
            close(upper(20, at_least, 1.0, 1.0), (21 - at_least) as f64 / 21.0);
        }
        close(upper(0, 0, 0.5, 8.5), 1.0);
    }

    const EXACT: [(usize, usize, f64, f64, f64); 7] = [
        (1, 1, 0.5, 8.5, 0.05555555555555555),
        (5, 5, 0.5, 8.5, 0.00019121503496503497),
        (50, 30, 0.5, 8.5, 0.00029198764505617195),
        (50, 50, 0.5, 8.5, 4.152198927368944e-11),
        (200, 40, 1.75, 20.25, 0.04792230915079037),
        (1000, 900, 0.625, 30.375, 4.088450412379766e-30),
        (25, 13, 4.5, 4.5, 0.5),
    ];
}
