//! Little-endian numbers to bytes and back, for values that outlive the process.
//!
//! The reader takes bytes of any origin: each length is checked against what is left before memory is taken.

/// There are fewer bytes than a value needs, or they hold a number that the value cannot have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Damage;

#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn word(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn long(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn floats(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.bytes(&value.to_le_bytes()));
    }

    /// A length, then as many numbers.
    pub(crate) fn list(&mut self, values: &[f32]) {
        self.long(values.len() as u64);
        self.floats(values);
    }
}

#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damage)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.try_into().map_err(|_| Damage)
    }

    pub(crate) fn word(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn long(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn double(&mut self) -> Result<f64, Damage> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn float(&mut self) -> Result<f32, Damage> {
        self.array().map(f32::from_le_bytes)
    }

    /// A length of at most `most`.
    pub(crate) fn length(&mut self, most: usize) -> Result<usize, Damage> {
        let length = usize::try_from(self.long()?).map_err(|_| Damage)?;
        if length > most {
            return Err(Damage);
        }
        Ok(length)
    }

    /// What [`Writer::list`] wrote: at most `most` numbers, all finite.
    pub(crate) fn list(&mut self, most: usize) -> Result<Vec<f32>, Damage> {
        let length = self.length(most)?;
        let (words, _) = self.take(length.checked_mul(4).ok_or(Damage)?)?.as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        values
            .iter()
            .all(|value| value.is_finite())
            .then_some(values)
            .ok_or(Damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_by_what_is_there_and_by_the_caller() {
        let mut out = Writer::default();
        out.list(&[1.5, -2.0]);
        assert_eq!(Reader(&out.0).list(2), Ok(vec![1.5, -2.0]));
        assert_eq!(Reader(&out.0).list(1), Err(Damage));
        assert_eq!(Reader(&out.0[..15]).list(2), Err(Damage));
        assert_eq!(Reader(&u64::MAX.to_le_bytes()).list(usize::MAX), Err(Damage));
        let mut odd = Writer::default();
        odd.list(&[f32::NAN]);
        assert_eq!(Reader(&odd.0).list(2), Err(Damage));
    }
}
