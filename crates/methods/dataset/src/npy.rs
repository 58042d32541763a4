//! Arrays in NumPy's `.npy` format, as numbers in single precision.
//!
//! Read are the versions 1.0 to 3.0 of the format, rows one after the other (C order), of the types `f2`, `f4`, `f8`, `i1` to `i8`,
//! `u1` to `u8` and `b1`, in either byte order. Refused are objects (which are pickles: code), text, structures, columns
//! one after the other, and arrays that are not as long as they say.
//!
//! # Citation
//! NumPy Enhancement Proposal 1, *A Simple File Format for NumPy Arrays*; `numpy.lib.format` of NumPy 2.

/// The first bytes of every file.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The most bytes of a header: a few dozen are usual.
const HEADER_MAX: usize = 4096;

/// The most dimensions.
const DIMENSIONS_MAX: usize = 8;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// The numbers, the last dimension fastest.
    pub values: Vec<f32>,
}

/// The bytes are no array that is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NpyError {
    /// Not the format.
    #[error("this is not a NumPy array\nhint: write it with `numpy.save`")]
    NotNpy,
    /// The header is cut, too long or not a header.
    #[error("the header of the NumPy array is damaged")]
    Header,
    /// A type that is not read.
    #[error("the NumPy array holds no numbers of a type that is read\nhint: write `array.astype('float32')`")]
    Type,
    /// Columns one after the other.
    #[error("the NumPy array is in column order\nhint: write `numpy.ascontiguousarray(array)`")]
    Order,
    /// A dimension of size 0.
    #[error("the NumPy array holds nothing")]
    Empty,
    /// More or fewer bytes than the shape says.
    #[error("the NumPy array is not as long as its shape says")]
    Length,
}

/// How one number is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Kind {
    big_endian: bool,
    letter: u8,
    size: usize,
}

/// Reads an array.
pub fn read(bytes: &[u8]) -> Result<Array, NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::NotNpy)?;
    let (header_len, rest) = match rest {
        [1, 0, low, high, rest @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => {
            let len = u32::from_le_bytes([*a, *b, *c, *d]);
            (usize::try_from(len).map_err(|_| NpyError::Header)?, rest)
        }
        _ => return Err(NpyError::NotNpy),
    };
    if header_len > HEADER_MAX {
        return Err(NpyError::Header);
    }
    let (header, data) = rest.split_at_checked(header_len).ok_or(NpyError::Header)?;
    let header = std::str::from_utf8(header).map_err(|_| NpyError::Header)?;
    let (kind, shape) = parse_header(header)?;
    if shape.contains(&0) {
        return Err(NpyError::Empty);
    }
    let count = shape
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size));
    let expected = count.and_then(|count| count.checked_mul(kind.size));
    if expected != Some(data.len()) {
        return Err(NpyError::Length);
    }
    let values = data.chunks_exact(kind.size).map(|number| kind.read(number));
    let values = values.collect::<Option<_>>().ok_or(NpyError::Type)?;
    Ok(Array { shape, values })
}

/// The header is a Python dictionary of three entries, in any order.
fn parse_header(header: &str) -> Result<(Kind, Vec<usize>), NpyError> {
    let mut rest = Text(header.trim_end());
    let (mut kind, mut order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.quoted()?;
        rest.expect(':')?;
        match key {
            "descr" if kind.is_none() => kind = Some(Kind::parse(rest.quoted()?)?),
            "fortran_order" if order.is_none() => order = Some(rest.word()?),
            "shape" if shape.is_none() => shape = Some(rest.shape()?),
            _ => return Err(NpyError::Header),
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    match (order, rest.0) {
        (Some("False"), "") => {}
        (Some("True"), "") => return Err(NpyError::Order),
        _ => return Err(NpyError::Header),
    }
    kind.zip(shape).ok_or(NpyError::Header)
}

/// What is left of a header.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn take(&mut self, expected: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, expected: char) -> Result<(), NpyError> {
        self.take(expected).then_some(()).ok_or(NpyError::Header)
    }

    fn quoted(&mut self) -> Result<&'a str, NpyError> {
        let quote = if self.take('\'') { '\'' } else { '"' };
        if quote == '"' {
            // A structure's type is a list, which is not read.
            self.expect('"').map_err(|_| NpyError::Type)?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or(NpyError::Header)?;
        self.0 = rest;
        Ok(text)
    }

    fn word(&mut self) -> Result<&'a str, NpyError> {
        let text = self.0.trim_start();
        let end = text
            .find(|letter: char| !letter.is_ascii_alphanumeric())
            .unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end).ok_or(NpyError::Header)?;
        self.0 = rest;
        Ok(word)
    }

    fn shape(&mut self) -> Result<Vec<usize>, NpyError> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            if shape.len() == DIMENSIONS_MAX {
                return Err(NpyError::Header);
            }
            shape.push(self.word()?.parse().map_err(|_| NpyError::Header)?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

impl Kind {
    fn parse(descr: &str) -> Result<Self, NpyError> {
        let &[order, letter, size] = descr.as_bytes() else {
            return Err(NpyError::Type);
        };
        let is_read = matches!(
            (letter, size),
            (b'f', b'2' | b'4' | b'8') | (b'i' | b'u', b'1' | b'2' | b'4' | b'8') | (b'b', b'1')
        );
        let size = usize::from(size.wrapping_sub(b'0'));
        let big_endian = match order {
            b'<' => false,
            b'>' => true,
            b'|' if size == 1 => false,
            _ => return Err(NpyError::Type),
        };
        is_read
            .then_some(Self {
                big_endian,
                letter,
                size,
            })
            .ok_or(NpyError::Type)
    }

    /// One number out of `size` bytes.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "numbers come out in single precision"
    )]
    fn read(self, bytes: &[u8]) -> Option<f32> {
        let mut number = [0; 8];
        for (place, byte) in number.iter_mut().zip(bytes) {
            *place = *byte;
        }
        if self.big_endian {
            number.get_mut(..self.size)?.reverse();
        }
        let bits = u64::from_le_bytes(number);
        let unused = 64 - 8 * u32::try_from(self.size).ok()?;
        let signed = (bits << unused).cast_signed() >> unused;
        Some(match (self.letter, self.size) {
            (b'f', 2) => half(bits as u16),
            (b'f', 4) => f32::from_bits(bits as u32),
            (b'f', 8) => f64::from_bits(bits) as f32,
            (b'i', _) => signed as f32,
            (b'u', _) => bits as f32,
            (b'b', _) => f32::from(u8::from(bits != 0)),
            _ => return None,
        })
    }
}

/// IEEE 754 binary16 as binary32.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// Reads any bytes; for fuzzing. What is read is as long as it says.
pub fn fuzz_npy(data: &[u8]) {
    if let Ok(array) = read(data) {
        let count: usize = array.shape.iter().product();
        assert_eq!(count, array.values.len(), "an array is not as long as its shape");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        let len = u32::try_from(header.len()).unwrap();
        let len_bytes = if version == 1 { 2 } else { 4 };
        bytes.extend(&len.to_le_bytes()[..len_bytes]);
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[track_caller]
    fn check(descr: &str, shape: &str, data: &[u8], expected: Result<&[f32], NpyError>) {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}   \n");
        for version in 1..=3 {
            let read = read(&file(version, &header, data)).map(|array| array.values);
            assert_eq!(read, expected.map(<[f32]>::to_vec), "{descr} {shape}");
        }
    }

    #[test]
    fn every_type_that_numpy_writes_numbers_in() {
        check("<f4", "(2,)", &[0, 0, 128, 63, 0, 0, 0, 192], Ok(&[1.0, -2.0]));
        check(">f4", "(1, 1)", &[63, 128, 0, 0], Ok(&[1.0]));
        check("<f8", "(1,)", &1.5_f64.to_le_bytes(), Ok(&[1.5]));
        check(
            "<f2",
            "(4,)",
            &[0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c],
            Ok(&[1.0, -2.0, 2_f32.powi(-24), f32::INFINITY]),
        );
        check("|i1", "(2,)", &[255, 127], Ok(&[-1.0, 127.0]));
        check("|u1", "(2,)", &[255, 127], Ok(&[255.0, 127.0]));
        check(">i2", "(1,)", &[255, 254], Ok(&[-2.0]));
        check("<i8", "(1,)", &(-3_i64).to_le_bytes(), Ok(&[-3.0]));
        check("|b1", "(2,)", &[0, 1], Ok(&[0.0, 1.0]));
        check("<f4", "()", &[0, 0, 128, 63], Ok(&[1.0]));
    }

    #[test]
    fn what_is_not_read_says_why() {
        check("|O", "(1,)", &[0], Err(NpyError::Type));
        check("<U3", "(1,)", &[0; 12], Err(NpyError::Type));
        check("<f3", "(1,)", &[0; 3], Err(NpyError::Type));
        check("<f4", "(3,)", &[0; 8], Err(NpyError::Length));
        check("<f4", "(1,)", &[0; 8], Err(NpyError::Length));
        check("<f4", "(99999999999, 99999999999)", &[], Err(NpyError::Length));
        check("<f4", "(0, 99999999999, 99999999999)", &[], Err(NpyError::Empty));
        check("<f4", "(1", &[0; 4], Err(NpyError::Header));
        check("<f4", "(-1,)", &[], Err(NpyError::Header));
        let columns = "{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}";
        assert_eq!(read(&file(1, columns, &[0; 4])), Err(NpyError::Order));
        let structure = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}";
        assert_eq!(read(&file(1, structure, &[0; 4])), Err(NpyError::Type));
        assert_eq!(read(b"PK\x03\x04"), Err(NpyError::NotNpy));
        assert_eq!(read(&file(9, "", &[])), Err(NpyError::NotNpy));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut data in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, byte: u8) {
            fuzz_npy(&data);
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
            let mut whole = file(1, header, &[0; 8]);
            let place = at % whole.len();
            whole[place] = byte;
            fuzz_npy(&whole);
            data.splice(0..0, file(1, header, &[]));
            fuzz_npy(&data);
        }
    }
}
