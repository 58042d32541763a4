//! An index of recent queries of everybody, in which a perturbed copy is found in constant time.
//!
//! Each query's point falls into one bucket of each of several tables; the buckets are cells of a grid with secret axes and offsets, a
//! few of the point's coordinates each. The few last points of those buckets are compared. A copy is *near* when it is within a
//! part of the query's distance to real rows ([`Likeness`]): common honest rows lie close together and close to the
//! sample, so that their being alike says nothing.
//!
//! The exact re-submission of an earlier input is told apart by a keyed fingerprint of its bytes and is no hit: batch clients repeat themselves.
//!
//! # Citation
//! Datar et al., *Locality-sensitive hashing scheme based on p-stable distributions*, SoCG 2004; stateful detection: Chen, Carlini
//! and Wagner, 2019; fingerprints under a secret: Li et al., *Blacklight*, USENIX Security 2022.
//!
//! # Cost
//! Eight buckets of four points, whatever the number of queries; memory is [`IndexSize`].
//!
//! # Limits
//! The oldest queries are forgotten, so a walk slower than the index's capacity is not seen. Feng et al. (*Stateful defenses
//! for machine learning models are not yet secure*, CCS 2023) adapt step sizes to rejections: do not reveal them at once.

use super::{DIMENSIONS, LEVELS};
use crate::numbers::{Keyed, mix, squared_distance};

/// Tables of buckets.
const TABLES: usize = 8;
/// Coordinates that decide a bucket.
const COORDINATES: usize = 6;
/// Points remembered in a bucket.
const SLOTS: usize = 4;
/// Width of a cell, in radii of a near copy along one coordinate.
const CELL: f32 = 4.0;

/// When a query counts as a copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// A copy is within this part of the distance to real rows.
    pub ratio: f32,
    /// What that is for a typical row; sets the size of cells.
    pub radius: f32,
}

impl Likeness {
    /// The ratio of each level: a copy, and one that is at half the distance.
    pub(super) fn ratios(self) -> [f32; LEVELS] {
        [self.ratio, self.ratio / 2.0]
    }
}

/// Bounds of the index, each a power of two from 2^4 to 2^24.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexSize {
    /// log2 of the queries that are remembered; 128 bytes each.
    pub log2_queries: u32,
    /// log2 of the exact inputs that are remembered; 8 bytes each.
    pub log2_exact: u32,
}

impl Default for IndexSize {
    fn default() -> Self {
        Self {
            log2_queries: 15,
            log2_exact: 19,
        }
    }
}

impl IndexSize {
    pub(super) fn bounded(self) -> Self {
        Self {
            log2_queries: self.log2_queries.clamp(4, 24),
            log2_exact: self.log2_exact.clamp(4, 24),
        }
    }
}

/// The recent queries of everybody.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    grid: Grid,
    pub(super) size: IndexSize,
    /// Keyed fingerprints of inputs, by their low bits.
    pub(super) exact: Vec<u64>,
    /// A ring of points.
    pub(super) points: Vec<f32>,
    pub(super) next: u32,
    /// Places in the ring, one more than their index; 0 is empty.
    pub(super) buckets: Vec<u32>,
}

impl Index {
    pub(super) fn new(secret: &[u8; 32], likeness: Likeness, size: IndexSize) -> Self {
        let size = size.bounded();
        Self {
            grid: Grid::new(secret, likeness),
            size,
            exact: vec![0; 1 << size.log2_exact],
            points: vec![f32::NAN; DIMENSIONS << size.log2_queries],
            next: 0,
            buckets: vec![0; (TABLES * SLOTS) << size.log2_queries],
        }
    }

    /// Whether this fingerprint was seen; it is from now on.
    pub(super) fn seen(&mut self, fingerprint: u64) -> bool {
        let place = fingerprint & (self.exact.len() as u64 - 1);
        let slot = usize::try_from(place)
            .ok()
            .and_then(|place| self.exact.get_mut(place));
        slot.is_some_and(|slot| std::mem::replace(slot, fingerprint) == fingerprint)
    }

    /// Distance to the nearest remembered point among those in the same buckets that is not this very point; infinite when
    /// there is none. (A fingerprint may have been forgotten while the point is not.)
    pub(super) fn nearest(&self, point: &[f32; DIMENSIONS]) -> f32 {
        let mut nearest = f32::INFINITY;
        for table in 0..TABLES {
            let bucket = self.bucket(table, point);
            for place in self.buckets.get(bucket..bucket + SLOTS).into_iter().flatten() {
                if let Some(other) = self.point(*place) {
                    let squared = squared_distance(other, point);
                    if squared > 0.0 {
                        nearest = nearest.min(squared);
                    }
                }
            }
        }
        nearest.sqrt()
    }

    /// Remembers a point, in place of the oldest.
    pub(super) fn insert(&mut self, point: &[f32; DIMENSIONS]) {
        let start = self.next as usize * DIMENSIONS;
        if let Some(place) = self.points.get_mut(start..start + DIMENSIONS) {
            place.copy_from_slice(point);
        }
        let place = self.next + 1;
        self.skip();
        for table in 0..TABLES {
            let bucket = self.bucket(table, point);
            if let Some(slots) = self.buckets.get_mut(bucket..bucket + SLOTS) {
                slots.rotate_right(1);
                slots.iter_mut().take(1).for_each(|slot| *slot = place);
            }
        }
    }

    /// Leaves the next place in the ring empty.
    pub(super) fn skip(&mut self) {
        self.next = (self.next + 1) & ((1 << self.size.log2_queries) - 1);
    }

    fn point(&self, place: u32) -> Option<&[f32]> {
        let start = (place as usize).checked_sub(1)? * DIMENSIONS;
        self.points.get(start..start + DIMENSIONS)
    }

    /// Where the bucket's slots start.
    fn bucket(&self, table: usize, point: &[f32; DIMENSIONS]) -> usize {
        let cell = self.grid.cell(table, point) & ((1 << self.size.log2_queries) - 1);
        let table = table << self.size.log2_queries;
        (table + usize::try_from(cell).unwrap_or_default()) * SLOTS
    }
}

/// Secret axes and offsets.
#[derive(Clone, Debug, PartialEq)]
struct Grid {
    inverse_width: f32,
    axes: [[(u8, f32); COORDINATES]; TABLES],
    salt: u64,
}

impl Grid {
    fn new(secret: &[u8; 32], likeness: Likeness) -> Self {
        let mut keyed = Keyed::new(secret, "inspect/queries/grid");
        let width = likeness.radius * CELL / (DIMENSIONS as f32).sqrt();
        let axes = std::array::from_fn(|_| {
            let order = keyed.order(DIMENSIONS);
            let mut axes = order.into_iter();
            std::array::from_fn(|_| {
                let axis = axes.next().and_then(|axis| u8::try_from(axis).ok());
                #[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
                let offset = keyed.unit() as f32;
                (axis.unwrap_or_default(), offset)
            })
        });
        Self {
            inverse_width: if width > 0.0 { width.recip() } else { 1.0 },
            axes,
            salt: keyed.bits(),
        }
    }

    fn cell(&self, table: usize, point: &[f32; DIMENSIONS]) -> u64 {
        let axes = self.axes.get(table).into_iter().flatten();
        axes.fold(mix(self.salt, table as u64), |cell, (axis, offset)| {
            let place = point.get(usize::from(*axis)).copied().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and NaN is 0")]
            let step = (place * self.inverse_width + offset).floor() as i32;
            mix(cell, u64::from(step.cast_unsigned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKENESS: Likeness = Likeness {
        ratio: 0.3,
        radius: 1.0,
    };

    fn random(keyed: &mut Keyed, length: f32) -> [f32; DIMENSIONS] {
        std::array::from_fn(|_| keyed.normal() * length / (DIMENSIONS as f32).sqrt())
    }

    #[test]
    fn copies_within_the_radius_are_found_among_many() {
        let mut keyed = Keyed::new(&[1; 32], "test");
        let mut index = Index::new(
            &[2; 32],
            LIKENESS,
            IndexSize {
                log2_queries: 12,
                log2_exact: 8,
            },
        );
        let points: Vec<_> = (0..3_000).map(|_| random(&mut keyed, 10.0)).collect();
        points.iter().for_each(|point| index.insert(point));
        let found = |index: &Index, keyed: &mut Keyed, length: f32| {
            let near = points.iter().skip(2_000).filter(|point| {
                let step = random(keyed, length);
                let copy = std::array::from_fn(|axis| point[axis] + step[axis]);
                index.nearest(&copy) < 1.3
            });
            near.count()
        };
        let (half, full) = (found(&index, &mut keyed, 0.5), found(&index, &mut keyed, 1.0));
        assert!(half > 950 && full > 800, "{half} and {full} of 1000 copies");
        let strangers = (0..1_000).filter(|_| index.nearest(&random(&mut keyed, 10.0)) < 1.3);
        assert_eq!(strangers.count(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_forgotten() {
        let mut keyed = Keyed::new(&[1; 32], "test");
        let mut index = Index::new(
            &[2; 32],
            LIKENESS,
            IndexSize {
                log2_queries: 4,
                log2_exact: 4,
            },
        );
        let lengths = |index: &Index| (index.points.len(), index.buckets.len(), index.exact.len());
        let (first, before) = (random(&mut keyed, 10.0), lengths(&index));
        index.insert(&first);
        assert_eq!(index.nearest(&first), f32::INFINITY);
        let copy = std::array::from_fn(|axis| first[axis] + 0.01);
        assert!(index.nearest(&copy) < 0.1);
        for word in 0..500 {
            index.insert(&random(&mut keyed, 10.0));
            index.seen(mix(1, word));
        }
        assert_eq!(lengths(&index), before);
        assert!(index.nearest(&copy) > 1.0);
    }

    #[test]
    fn exact_inputs_are_remembered_and_absurd_points_do_not_panic() {
        let mut index = Index::new(
            &[2; 32],
            Likeness {
                ratio: 0.0,
                radius: 0.0,
            },
            IndexSize::default(),
        );
        assert!(!index.seen(7));
        assert!(index.seen(7));
        for value in [f32::NAN, f32::INFINITY, f32::MIN] {
            index.insert(&[value; DIMENSIONS]);
            assert!(!index.nearest(&[value; DIMENSIONS]).is_sign_negative());
        }
    }
}
