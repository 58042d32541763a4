//! Which number is not finite: no protocol writes it and no model gets it.

use crate::WireData;

/// Elements of a floating-point type, half precision as its bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floats<'a> {
    /// IEEE 754 binary16.
    F16(&'a [u16]),
    /// bfloat16.
    BF16(&'a [u16]),
    /// IEEE 754 binary32.
    F32(&'a [f32]),
    /// IEEE 754 binary64.
    F64(&'a [f64]),
}

impl Floats<'_> {
    /// The first element that is not finite. Half precision: an exponent of all ones is an infinity or not a number.
    #[must_use]
    pub fn first_not_finite(self) -> Option<usize> {
        match self {
            Self::F16(values) => first(values, |bits| bits & 0x7c00 == 0x7c00),
            Self::BF16(values) => first(values, |bits| bits & 0x7f80 == 0x7f80),
            Self::F32(values) => first(values, |value| !value.is_finite()),
            Self::F64(values) => first(values, |value| !value.is_finite()),
        }
    }
}

/// The first element that is not finite.
pub(crate) fn not_finite(data: &WireData) -> Option<usize> {
    let floats = match data {
        WireData::F16(values) => Floats::F16(values),
        WireData::BF16(values) => Floats::BF16(values),
        WireData::F32(values) => Floats::F32(values),
        WireData::F64(values) => Floats::F64(values),
        WireData::Bool(_)
        | WireData::U8(_)
        | WireData::I8(_)
        | WireData::U16(_)
        | WireData::I16(_)
        | WireData::U32(_)
        | WireData::I32(_)
        | WireData::U64(_)
        | WireData::I64(_)
        | WireData::Bytes(_) => return None,
    };
    floats.first_not_finite()
}

/// The first value that is `wrong`. The pass over all of them has no branch, as almost always none is.
pub(crate) fn first<T: Copy>(values: &[T], wrong: impl Fn(T) -> bool) -> Option<usize> {
    let any = values.iter().fold(false, |any, &value| any | wrong(value));
    if any {
        values.iter().position(|&value| wrong(value))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(floats: Floats<'_>, first: Option<usize>) {
        assert_eq!(floats.first_not_finite(), first);
    }

    #[test]
    fn finite_means_finite_in_every_precision() {
        check(Floats::F32(&[f32::MAX, -0.0]), None);
        check(Floats::F32(&[0.0, f32::NAN, f32::INFINITY]), Some(1));
        check(Floats::F64(&[f64::NEG_INFINITY]), Some(0));
        check(Floats::F16(&[0x7bff, 0x8001]), None);
        check(Floats::F16(&[0xfc00]), Some(0));
        check(Floats::BF16(&[0x7f7f]), None);
        check(Floats::BF16(&[0, 0x7f81]), Some(1));
    }
}
