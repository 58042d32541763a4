//! How many bits an answer can carry at the precision that a policy grants.
//!
//! A budget of bits per principal, model and day bounds what any client can learn, also one who asks with real and fresh rows.
//!
//! # Guarantee
//! Each figure is the logarithm of a number of answers that is at least that of all possible ones, so the true entropy is not above it.
//!
//! # Limits
//! Bits are not fidelity: a few well-chosen labels teach a clone more than many scores of the same input. Timing and errors are not counted.

use crate::numbers::ln_choose;

/// What a policy lets out of one answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Precision {
    /// The most probable class alone.
    Label,
    /// The `classes` most probable classes with their scores, each rounded to `decimals`.
    Rounded {
        /// How many classes are named.
        classes: usize,
        /// Digits after the point.
        decimals: u32,
    },
    /// Every score as the model computed it, in single precision.
    Full,
}

/// The most bits that one answer of a model with `classes` classes can carry.
///
/// `Label` is log2 of the number of classes. `Rounded` names one of C(k, k') sets of classes and gives each a whole number of
/// steps of 10^-d; the true scores sum to at most 1 and rounding adds at most half a step each, so the steps sum to at most 10^d + k'/2,
/// of which there are C(10^d + ceil(k'/2) + k', k') ways. `Full` is 32 bits a score, and no rounding counts more.
#[must_use]
pub fn bits_per_query(precision: Precision, classes: usize) -> f64 {
    let all = classes as f64;
    let full = 32.0 * all;
    match precision {
        Precision::Label => all.max(1.0).log2(),
        Precision::Rounded {
            classes: named,
            decimals,
        } => {
            let named = named.min(classes) as f64;
            let steps =
                10_f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX).min(12)) + (named / 2.0).ceil();
            let nats = ln_choose(all, named) + ln_choose(steps + named, named);
            (nats / std::f64::consts::LN_2).min(full)
        }
        Precision::Full => full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_log2_of_the_classes() {
        assert_eq!(bits_per_query(Precision::Label, 1024), 10.0);
        assert_eq!(bits_per_query(Precision::Label, 1), 0.0);
        assert_eq!(bits_per_query(Precision::Label, 0), 0.0);
    }

    #[test]
    fn the_bound_is_at_least_the_number_of_rounded_answers() {
        // Every answer of 3 classes, all named, at one decimal, counted: scores on a fine grid, rounded.
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..=200_u32 {
            for b in 0..=200 - a {
                let rounded = [a, b, 200 - a - b].map(|part| (f64::from(part) / 20.0).round().to_bits());
                seen.insert(rounded);
            }
        }
        let bound = bits_per_query(
            Precision::Rounded {
                classes: 3,
                decimals: 1,
            },
            3,
        );
        let exact = (seen.len() as f64).log2();
        assert!(bound >= exact && bound < exact + 4.0, "{bound} {exact}");
    }

    #[test]
    fn more_precision_is_never_fewer_bits_and_nothing_is_beyond_full() {
        let bits = |classes, decimals| bits_per_query(Precision::Rounded { classes, decimals }, 10);
        for classes in 1..10 {
            for decimals in 0..20 {
                assert!(bits(classes, decimals) <= bits(classes, decimals + 1));
                assert!(bits(classes, decimals) <= bits_per_query(Precision::Full, 10));
                assert!(bits(classes, decimals) >= bits_per_query(Precision::Label, 10));
            }
        }
        assert!(bits(usize::MAX, u32::MAX).is_finite());
    }
}
