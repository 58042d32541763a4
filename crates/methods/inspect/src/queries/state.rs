//! A watch as bytes and back, so that a restart forgets nothing.
//!
//! All numbers are little-endian. The reader takes bytes of any origin: it checks every length before it takes memory,
//! refuses numbers that a watch could not have made, and a state that belongs to another reference or size.

use super::{
    DETECTORS, DIMENSIONS, LEVELS, Reference,
    near_duplicates::Index,
    sequential::{Evidence, FalseAlarms, Pooled, Record},
    timing::Trail,
    watch::{Limits, Principal, Watch},
};
use crate::codec::{Damage, Reader, Writer};

const MAGIC: &[u8; 8] = b"SKWATCH\x01";

/// Bytes are not the state of this watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Cut, too long, or with numbers that no watch writes.
    #[error(
        "the state of the query watch is damaged\nhint: start with an empty state; the clients' evidence begins anew"
    )]
    Damaged,
    /// Made with another reference sample or secret.
    #[error("the state of the query watch belongs to another reference sample")]
    OtherReference,
    /// Made with other bounds.
    #[error("the state of the query watch was made with other bounds")]
    OtherLimits,
}

impl From<Damage> for StateError {
    fn from(_: Damage) -> Self {
        Self::Damaged
    }
}

impl Watch {
    /// The state as bytes, 8 MB at the index's default size; it tells who asked how often, so keep it as private as the log.
    #[must_use]
    pub fn to_bytes(&self, reference: &Reference) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(MAGIC);
        out.bytes(&tag(&self.secret, reference));
        out.word(self.index.size.log2_queries);
        out.word(self.index.size.log2_exact);
        out.long(self.queries);
        let pooled = self.pooled.iter().flat_map(|pooled| pooled.stakes);
        pooled.for_each(|stake| out.double(stake));
        self.newcomers.iter().for_each(|record| out.record(record));
        self.index.exact.iter().for_each(|print| out.long(*print));
        out.word(self.index.next);
        out.floats(&self.index.points);
        out.long(self.principals.len() as u64);
        for (id, principal) in &self.principals {
            out.long(*id);
            out.principal(principal);
        }
        out.0
    }

    /// Reads what [`Watch::to_bytes`] wrote.
    pub fn from_bytes(
        bytes: &[u8],
        secret: &[u8; 32],
        reference: &Reference,
        limits: Limits,
    ) -> Result<Self, StateError> {
        let mut from = Reader(bytes);
        if from.take(MAGIC.len())? != MAGIC {
            return Err(StateError::Damaged);
        }
        if from.take(32)? != tag(secret, reference) {
            return Err(StateError::OtherReference);
        }
        let size = limits.index.bounded();
        if (from.word()?, from.word()?) != (size.log2_queries, size.log2_exact) {
            return Err(StateError::OtherLimits);
        }
        let mut watch = Self::new(secret, reference, limits);
        watch.queries = from.long()?;
        for pooled in &mut watch.pooled {
            *pooled = Pooled::from_stakes([from.double()?, from.double()?]).ok_or(StateError::Damaged)?;
        }
        for record in &mut watch.newcomers {
            *record = from.record()?;
        }
        for print in &mut watch.index.exact {
            *print = from.long()?;
        }
        let next = from.word()?;
        let mut points = Vec::with_capacity(watch.index.points.len());
        for _ in 0..watch.index.points.len() {
            points.push(from.float()?);
        }
        fill(&mut watch.index, &points, next)?;
        let count = from.long()?;
        if count > limits.principals.max(1) as u64 {
            return Err(StateError::OtherLimits);
        }
        for _ in 0..count {
            let id = from.long()?;
            let principal = from.principal()?;
            let seen = principal.last_seen <= watch.queries;
            let new = watch.principals.insert(id, principal).is_none();
            let alone = watch.silence.insert(principal.last_seen, id).is_none();
            if !(seen && new && alone) {
                return Err(StateError::Damaged);
            }
        }
        from.0.is_empty().then_some(watch).ok_or(StateError::Damaged)
    }
}

/// Puts the points of a ring back in the order in which they came, which fills the buckets too.
fn fill(index: &mut Index, points: &[f32], next: u32) -> Result<(), StateError> {
    let start = next as usize * DIMENSIONS;
    if start >= points.len() {
        return Err(StateError::Damaged);
    }
    let (newer, older) = points.split_at(start);
    index.next = next;
    for point in older
        .chunks_exact(DIMENSIONS)
        .chain(newer.chunks_exact(DIMENSIONS))
    {
        let mut row = [0.0; DIMENSIONS];
        row.copy_from_slice(point);
        if point.iter().all(|place| place.is_finite()) {
            index.insert(&row);
        } else {
            index.skip();
        }
    }
    Ok(())
}

/// What ties a state to its reference and secret.
fn tag(secret: &[u8; 32], reference: &Reference) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(b"inspect/queries/state");
    let mut add = |values: &[f32]| {
        for value in values {
            hasher.update(&value.to_le_bytes());
        }
    };
    add(&reference.projection.directions);
    add(&[reference.likeness.ratio, reference.likeness.radius]);
    for normal in &reference.normals {
        add(normal.thresholds.as_flattened());
    }
    *hasher.finalize().as_bytes()
}

impl Writer {
    fn record(&mut self, record: &Record) {
        self.floats(&record.hits);
        self.floats(&[record.looks]);
    }

    fn principal(&mut self, principal: &Principal) {
        self.long(principal.last_seen);
        self.long(principal.queries);
        for evidence in principal.evidence {
            evidence.stakes().for_each(|stake| self.double(stake));
        }
        principal.records.iter().for_each(|record| self.record(record));
        principal.contributions.iter().for_each(|each| self.double(*each));
        self.double(principal.trail.at);
        self.double(principal.trail.interval);
        self.floats(&principal.trail.point);
        self.floats(&principal.trail.step);
    }
}

impl Reader<'_> {
    fn point(&mut self) -> Result<[f32; DIMENSIONS], Damage> {
        let mut point = [0.0; DIMENSIONS];
        for place in &mut point {
            *place = self.float()?;
        }
        Ok(point)
    }

    fn record(&mut self) -> Result<Record, Damage> {
        Record::read([self.float()?, self.float()?], self.float()?).ok_or(Damage)
    }

    fn principal(&mut self) -> Result<Principal, Damage> {
        let (last_seen, queries) = (self.long()?, self.long()?);
        let mut evidence = [Evidence::default(); DETECTORS];
        for evidence in &mut evidence {
            let mut stakes = [[0.0; _]; LEVELS];
            for stake in stakes.as_flattened_mut() {
                *stake = self.double()?;
            }
            *evidence = Evidence::from_stakes(stakes).ok_or(Damage)?;
        }
        let mut records = [Record::default(); DETECTORS];
        for record in &mut records {
            *record = self.record()?;
        }
        let mut contributions = [0.0; DETECTORS];
        for contribution in &mut contributions {
            *contribution = self.double()?;
            if !(0.0..f64::INFINITY).contains(contribution) {
                return Err(Damage);
            }
        }
        let trail = Trail {
            at: self.double()?,
            interval: self.double()?,
            point: self.point()?,
            step: self.point()?,
        };
        Ok(Principal {
            last_seen,
            queries,
            evidence,
            records,
            contributions,
            trail,
        })
    }
}

/// Fuzz entry: must not panic. What is read is written as the same bytes.
pub fn fuzz_query_watch(data: &[u8]) {
    let (secret, limits) = (
        [0; 32],
        Limits {
            index: super::IndexSize {
                log2_queries: 4,
                log2_exact: 4,
            },
            principals: 8,
            model_false_alarms: match FalseAlarms::new(30.0, 1000.0) {
                Ok(budget) => budget,
                Err(_) => return,
            },
        },
    );
    let Ok(reference) = Reference::fit(&[0.0; 400], &[0.0; 400], 2, 2, &secret) else {
        return;
    };
    // A fuzzer cannot guess the tag, so it is put in front of what it wrote.
    let mut bytes = MAGIC.to_vec();
    bytes.extend(tag(&secret, &reference));
    bytes.extend_from_slice(data);
    for bytes in [data, &bytes] {
        if let Ok(watch) = Watch::from_bytes(bytes, &secret, &reference, limits) {
            let again = Watch::from_bytes(&watch.to_bytes(&reference), &secret, &reference, limits);
            assert!(again.is_ok(), "written and not read");
        }
    }
}
