//! Canonical JSON (RFC 8785): one value, one byte string, so that bytes can be hashed and compared.
//!
//! Numbers are IEEE 754 doubles there. What a double cannot hold is refused, never rounded.

use std::io;

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Map, Number, Value, ser::Formatter};

/// The deepest nesting of arrays and objects within one value.
pub const MAX_DEPTH: usize = 32;

/// The largest integer of I-JSON (RFC 7493 section 2.2), and with a minus sign the smallest: 2^53 - 1.
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It is no JSON value at all.
    #[error("the value cannot be written as JSON")]
    NotJson(#[from] serde_json::Error),
    /// An integer is outside ±(2^53 - 1): other readers would round it.
    #[error("the integer {number} is outside ±(2^53 - 1); write it as a string")]
    IntegerTooLarge {
        /// The integer.
        number: Number,
    },
    /// Arrays and objects nest too deeply.
    #[error("the value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Writes `value` as canonical JSON. A floating-point NaN or infinity is written as `null`, as serde does.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    check_value(&value)?;
    Ok(serde_json_canonicalizer::to_vec(&value)?)
}

/// Whether `value` has a canonical form.
pub(crate) fn check_value(value: &Value) -> Result<(), CanonicalError> {
    check_within(value, MAX_DEPTH)
}

fn check_within(value: &Value, depth: usize) -> Result<(), CanonicalError> {
    let deeper = || depth.checked_sub(1).ok_or(CanonicalError::TooDeep);
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => check_number(number),
        Value::Array(values) => {
            let depth = deeper()?;
            values.iter().try_for_each(|value| check_within(value, depth))
        }
        Value::Object(map) => {
            let depth = deeper()?;
            map.values().try_for_each(|value| check_within(value, depth))
        }
    }
}

fn check_number(number: &Number) -> Result<(), CanonicalError> {
    let exact = if let Some(integer) = number.as_i64() {
        integer.unsigned_abs() <= MAX_INTEGER
    } else if number.is_u64() {
        false
    } else {
        // Doubles from 2^53 to 10^21 print as integers, which readers would take for exact ones.
        number
            .as_f64()
            .is_some_and(|double| !(9_007_199_254_740_992.0..1e21).contains(&double.abs()))
    };
    if exact {
        Ok(())
    } else {
        Err(CanonicalError::IntegerTooLarge {
            number: number.clone(),
        })
    }
}

/// Writes a value whose structures already have their fields in order and whose [`Value`]s are behind [`Sorted`] or
/// [`sorted_entries`]. Much faster than sorting what is sorted.
pub(crate) fn write_sorted<T: Serialize>(value: &T, capacity: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(capacity);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes,
        EcmaScriptNumbers,
    ))?;
    Ok(bytes)
}

/// A value that serialises with its keys in order.
pub(crate) struct Sorted<'a>(pub(crate) &'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(values) => {
                let mut sequence = serializer.serialize_seq(Some(values.len()))?;
                values
                    .iter()
                    .try_for_each(|value| sequence.serialize_element(&Sorted(value)))?;
                sequence.end()
            }
            Value::Object(map) => sorted_map(map, serializer),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.serialize(serializer)
            }
        }
    }
}

fn sorted_map<S: Serializer>(map: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    sorted_entries(map.iter(), serializer)
}

/// Serialises entries as one object, in the order of RFC 8785 section 3.2.3: by UTF-16 code units.
pub(crate) fn sorted_entries<'a, S: Serializer>(
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut entries: Vec<_> = entries.collect();
    if !entries.is_sorted_by(|(a, _), (b, _)| a.is_ascii() && b.is_ascii() && a <= b) {
        entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    let mut object = serializer.serialize_map(Some(entries.len()))?;
    entries
        .into_iter()
        .try_for_each(|(key, value)| object.serialize_entry(key, &Sorted(value)))?;
    object.end()
}

/// RFC 8785 section 3.2.2.3: doubles as ECMAScript prints them. Strings and integers already agree.
struct EcmaScriptNumbers;

impl Formatter for EcmaScriptNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(&serde_json_canonicalizer::to_vec(&value)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            String::from_utf8(canonical_json(&value).unwrap()).unwrap(),
            expected
        );
        assert_eq!(
            String::from_utf8(write_sorted(&Sorted(&value), 0).unwrap()).unwrap(),
            expected
        );
    }

    #[test]
    fn follows_rfc_8785_section_3_2() {
        // Sections 3.2.2 (the sample) and 3.2.4 (its canonical bytes).
        check(
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]}"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        );
        // Section 3.2.3: sorted by UTF-16 code units, so the emoji comes before the Hebrew ligature.
        check(
            r#"{"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7}"#,
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
        );
    }

    #[test]
    fn follows_rfc_8785_appendix_b() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let value = Value::from(f64::from_bits(bits));
            let written = write_sorted(&Sorted(&value), 0).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expected, "{bits:x}");
        }
    }

    #[test]
    fn refuses_what_a_double_cannot_hold() {
        let check = |value: Value, fits: bool| assert_eq!(canonical_json(&value).is_ok(), fits, "{value}");
        check(9_007_199_254_740_991_u64.into(), true);
        check(9_007_199_254_740_992_u64.into(), false);
        check((-9_007_199_254_740_991_i64).into(), true);
        check((-9_007_199_254_740_992_i64).into(), false);
        check(u64::MAX.into(), false);
        check(9_007_199_254_740_992.0.into(), false);
        check(1e20.into(), false);
        check(1e21.into(), true);
    }

    #[test]
    fn refuses_deep_values() {
        let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(canonical_json(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(
            canonical_json(&nested(MAX_DEPTH + 1)),
            Err(CanonicalError::TooDeep)
        ));
    }

    /// Any value that canonical JSON can hold.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
            any::<f64>()
                .prop_map(Value::from)
                .prop_filter("has a form", |value| check_value(value).is_ok()),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_library_and_survives_parsing(value in any_value()) {
            let written = write_sorted(&Sorted(&value), 0).unwrap();
            prop_assert_eq!(&written, &canonical_json(&value).unwrap());
            let again: Value = serde_json::from_slice(&written).unwrap();
            prop_assert!(check_value(&again).is_ok());
            prop_assert_eq!(write_sorted(&Sorted(&again), 0).unwrap(), written);
        }
    }
}
