//! How far an input is from rows of the reference sample: from all of them, or from those that got one answer.
//!
//! Given the answer, a client who asks about two classes only is as near to the rows of those as anybody; a foreign pool is not.
//!
//! # Citation
//! The distance to the k-th nearest neighbour as a conformity score: Bates et al., *Testing for outliers with conformal p-values*, Annals
//! of Statistics 51 (2023); as a detector of out-of-distribution inputs: Sun et al., *Out-of-distribution detection with deep nearest
//! neighbors*, ICML 2022. Margins (`Normal::margin`) are judged in the same way.
//!
//! # Limits
//! Blind to real, fresh rows of the domain, whoever sends them.

use crate::{features::DIMENSIONS, numbers::squared_distance};

/// The distance is to this nearest row, so that one odd row in the bank hides little.
pub(crate) const NEIGHBOURS: usize = 3;

/// Points of real rows that got one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bank {
    /// `DIMENSIONS` numbers each.
    pub(crate) points: Vec<f32>,
}

impl Bank {
    pub(crate) fn new(points: impl Iterator<Item = [f32; DIMENSIONS]>) -> Self {
        Self {
            points: points.flatten().collect(),
        }
    }

    /// Distance to the third nearest row; infinite when there are fewer.
    pub(crate) fn distance(&self, point: &[f32; DIMENSIONS]) -> f32 {
        let mut nearest = [f32::INFINITY; NEIGHBOURS];
        for row in self.points.chunks_exact(DIMENSIONS) {
            let mut squared = squared_distance(row, point);
            if nearest.last().is_some_and(|farthest| squared < *farthest) {
                for place in &mut nearest {
                    if squared < *place {
                        std::mem::swap(place, &mut squared);
                    }
                }
            }
        }
        nearest.last().copied().unwrap_or(f32::INFINITY).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_nearest_counts() {
        let at = |place: f32| {
            let mut point = [0.0; DIMENSIONS];
            point[0] = place;
            point
        };
        let bank = Bank::new([5.0, 1.0, 2.0, 9.0].map(at).into_iter());
        assert_eq!(bank.distance(&at(0.0)), 5.0);
        assert_eq!(bank.distance(&at(9.0)), 7.0);
        assert_eq!(Bank::default().distance(&at(0.0)), f32::INFINITY);
    }
}
