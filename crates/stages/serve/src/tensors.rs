//! Between the wire's tensors and the model's. The elements move; they are copied only where their type changes.

use stockade_model::{DataType, ShapeMismatch, Tensor, TensorData};
use stockade_protocol::{Floats, Parameters, WireData, WireTensor, WireType};

/// The wire's tensor as the model takes it.
pub(crate) fn from_wire(shape: &[u64], data: WireData) -> Result<Tensor, ShapeMismatch> {
    let shape = shape
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(usize::MAX))
        .collect();
    Tensor::new(
        shape,
        match data {
            WireData::Bool(values) => TensorData::Bool(values),
            WireData::U8(values) => TensorData::U8(values),
            WireData::I8(values) => TensorData::I8(values),
            WireData::U16(values) => TensorData::U16(values),
            WireData::I16(values) => TensorData::I16(values),
            WireData::U32(values) => TensorData::U32(values),
            WireData::I32(values) => TensorData::I32(values),
            WireData::U64(values) => TensorData::U64(values),
            WireData::I64(values) => TensorData::I64(values),
            WireData::F16(values) => TensorData::F16(values),
            WireData::BF16(values) => TensorData::BF16(values),
            WireData::F32(values) => TensorData::F32(values),
            WireData::F64(values) => TensorData::F64(values),
            WireData::Bytes(values) => TensorData::Bytes(values),
        },
    )
}

/// The model's tensor as it goes on the wire, with every bit of it.
pub(crate) fn to_wire(name: String, tensor: Tensor) -> WireTensor {
    let shape = tensor.shape().iter().map(|size| *size as u64).collect();
    let data = match tensor.into_data() {
        TensorData::Bool(values) => WireData::Bool(values),
        TensorData::U8(values) => WireData::U8(values),
        TensorData::I8(values) => WireData::I8(values),
        TensorData::U16(values) => WireData::U16(values),
        TensorData::I16(values) => WireData::I16(values),
        TensorData::U32(values) => WireData::U32(values),
        TensorData::I32(values) => WireData::I32(values),
        TensorData::U64(values) => WireData::U64(values),
        TensorData::I64(values) => WireData::I64(values),
        TensorData::F16(values) => WireData::F16(values),
        TensorData::BF16(values) => WireData::BF16(values),
        TensorData::F32(values) => WireData::F32(values),
        TensorData::F64(values) => WireData::F64(values),
        TensorData::Bytes(values) => WireData::Bytes(values),
    };
    WireTensor {
        name,
        datatype: data.datatype(),
        shape,
        parameters: Parameters::new(),
        data,
    }
}

/// Half precision as FP32, which loses nothing; any other tensor as it is.
pub(crate) fn widened(mut tensor: WireTensor) -> WireTensor {
    tensor.data = match tensor.data {
        WireData::F16(values) => WireData::F32(values.into_iter().map(widen_f16).collect()),
        WireData::BF16(values) => WireData::F32(values.into_iter().map(widen_bf16).collect()),
        other => other,
    };
    tensor.datatype = tensor.data.datatype();
    tensor
}

/// FP32 as half precision, each value as the nearest one; the other tensors as they are.
pub(crate) fn narrowed(mut tensor: WireTensor, datatype: WireType) -> WireTensor {
    tensor.data = match (tensor.data, datatype) {
        (WireData::F32(values), WireType::F16) => WireData::F16(values.into_iter().map(narrow_f16).collect()),
        (WireData::F32(values), WireType::BF16) => {
            WireData::BF16(values.into_iter().map(narrow_bf16).collect())
        }
        (other, _) => other,
    };
    tensor.datatype = tensor.data.datatype();
    tensor
}

/// The type that [`to_wire`] gives a tensor of this type.
pub(crate) const fn wire_type(data_type: DataType) -> WireType {
    match data_type {
        DataType::Bool => WireType::Bool,
        DataType::U8 => WireType::U8,
        DataType::I8 => WireType::I8,
        DataType::U16 => WireType::U16,
        DataType::I16 => WireType::I16,
        DataType::U32 => WireType::U32,
        DataType::I32 => WireType::I32,
        DataType::U64 => WireType::U64,
        DataType::I64 => WireType::I64,
        DataType::F16 => WireType::F16,
        DataType::BF16 => WireType::BF16,
        DataType::F32 => WireType::F32,
        DataType::F64 => WireType::F64,
        DataType::Bytes => WireType::Bytes,
    }
}

/// The model's type that a wire type carries.
pub(crate) const fn model_type(datatype: WireType) -> DataType {
    match datatype {
        WireType::Bool => DataType::Bool,
        WireType::U8 => DataType::U8,
        WireType::I8 => DataType::I8,
        WireType::U16 => DataType::U16,
        WireType::I16 => DataType::I16,
        WireType::U32 => DataType::U32,
        WireType::I32 => DataType::I32,
        WireType::U64 => DataType::U64,
        WireType::I64 => DataType::I64,
        WireType::F16 => DataType::F16,
        WireType::BF16 => DataType::BF16,
        WireType::F32 => DataType::F32,
        WireType::F64 => DataType::F64,
        WireType::Bytes => DataType::Bytes,
    }
}

/// Whether every number is finite.
pub(crate) fn all_finite(data: &TensorData) -> bool {
    let floats = match data {
        TensorData::F16(values) => Floats::F16(values),
        TensorData::BF16(values) => Floats::BF16(values),
        TensorData::F32(values) => Floats::F32(values),
        TensorData::F64(values) => Floats::F64(values),
        TensorData::Bool(_)
        | TensorData::U8(_)
        | TensorData::I8(_)
        | TensorData::U16(_)
        | TensorData::I16(_)
        | TensorData::U32(_)
        | TensorData::I32(_)
        | TensorData::U64(_)
        | TensorData::I64(_)
        | TensorData::Bytes(_) => return true,
    };
    floats.first_not_finite().is_none()
}

/// Whether the type holds scores that a policy may cut or round.
pub(crate) const fn is_float(data_type: DataType) -> bool {
    match data_type {
        DataType::F16 | DataType::BF16 | DataType::F32 | DataType::F64 => true,
        DataType::Bool
        | DataType::U8
        | DataType::I8
        | DataType::U16
        | DataType::I16
        | DataType::U32
        | DataType::I32
        | DataType::U64
        | DataType::I64
        | DataType::Bytes => false,
    }
}

/// IEEE 754 binary16 to binary32: exact.
pub(crate) fn widen_f16(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Subnormal: fraction times 2^-24.
        0 => f32::from_bits(sign | (f32::from(bits & 0x3ff) * 2_f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

pub(crate) fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest binary16 to a finite number, ties to even.
pub(crate) fn narrow_f16(value: f32) -> u16 {
    let magnitude = value.abs();
    let bits = if magnitude < 2_f32.powi(-14) {
        // A subnormal result counts 2^-24, which is the distance of numbers from 0.5 on: the sum is rounded to it.
        (magnitude + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        nearest(magnitude.to_bits() - (112 << 23), 13).min(0x7c00)
    };
    signed(bits, value)
}

/// The nearest bfloat16 to a finite number, ties to even.
pub(crate) fn narrow_bf16(value: f32) -> u16 {
    signed(nearest(value.abs().to_bits(), 16), value)
}

/// `bits` without the last `drop` of them, rounded to the nearest, ties to even.
const fn nearest(bits: u32, drop: u32) -> u32 {
    (bits + (1 << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop
}

/// A magnitude under the sign of `value`.
fn signed(bits: u32, value: f32) -> u16 {
    u16::try_from(bits).unwrap_or(u16::MAX) | u16::from(value.is_sign_negative()) << 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_widens_exactly() {
        // IEEE 754-2019 table 3.5: greatest finite, least normal, least subnormal, and the special values.
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2_f32.powi(-14)),
            (0x0001, 2_f32.powi(-24)),
            (0x03ff, 1023.0 * 2_f32.powi(-24)),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(widen_f16(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(widen_f16(0x7e00).is_nan());
        assert_eq!(widen_f16(0x8000).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(widen_bf16(0x3f80).to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn half_precision_is_the_same_after_widening_and_narrowing() {
        for bits in 0..=u16::MAX {
            for (data, finite) in [
                (WireData::F16(vec![bits]), bits & 0x7c00 != 0x7c00),
                (WireData::BF16(vec![bits]), bits & 0x7f80 != 0x7f80),
            ] {
                if finite {
                    let tensor = WireTensor {
                        name: "x".into(),
                        datatype: data.datatype(),
                        shape: vec![1],
                        parameters: Parameters::new(),
                        data,
                    };
                    let datatype = tensor.datatype;
                    assert_eq!(narrowed(widened(tensor.clone()), datatype), tensor);
                }
            }
        }
    }

    #[test]
    fn narrowing_goes_to_the_nearest_and_to_the_even_one() {
        let ulp = 2_f32.powi(-10);
        assert_eq!(narrow_f16(1.0 + ulp * 0.5), 0x3c00);
        assert_eq!(narrow_f16(1.0 + ulp * 1.5), 0x3c02);
        assert_eq!(narrow_f16(0.1), 0x2e66);
        assert_eq!(narrow_f16(2_f32.powi(-25)), 0);
        assert_eq!(narrow_f16(-1.5 * 2_f32.powi(-25)), 0x8001);
        assert_eq!(narrow_f16(1e6), 0x7c00);
        assert_eq!(narrow_bf16(0.1), 0x3dcd);
        assert_eq!(narrow_bf16(-0.0), 0x8000);
    }

    #[test]
    fn every_type_survives_the_way_in_and_out() {
        for (data, datatype) in [
            (WireData::Bool(vec![true, false]), WireType::Bool),
            (WireData::U8(vec![0, 255]), WireType::U8),
            (WireData::I64(vec![i64::MIN, i64::MAX]), WireType::I64),
            (WireData::F64(vec![0.1, -0.0]), WireType::F64),
            (WireData::Bytes(vec![b"a".to_vec(), vec![]]), WireType::Bytes),
        ] {
            let tensor = from_wire(&[1, 2], data.clone()).unwrap();
            assert_eq!(tensor.data_type(), model_type(datatype));
            assert_eq!(wire_type(tensor.data_type()), datatype);
            let wire = to_wire("x".into(), tensor);
            assert_eq!(
                (wire.data, wire.shape, wire.datatype),
                (data, vec![1, 2], datatype)
            );
        }
        assert!(from_wire(&[u64::MAX, 2], WireData::U8(vec![])).is_err());
    }

    #[test]
    fn finite_means_finite_in_every_precision() {
        assert!(all_finite(&TensorData::F32(vec![f32::MAX, -0.0])));
        assert!(!all_finite(&TensorData::F32(vec![0.0, f32::NAN])));
        assert!(!all_finite(&TensorData::F64(vec![f64::NEG_INFINITY])));
        assert!(all_finite(&TensorData::F16(vec![0x7bff])) && !all_finite(&TensorData::F16(vec![0xfc00])));
        assert!(all_finite(&TensorData::BF16(vec![0x7f7f])) && !all_finite(&TensorData::BF16(vec![0x7f81])));
    }
}
