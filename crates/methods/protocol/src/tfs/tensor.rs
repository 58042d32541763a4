//! A tensor from nested lists, whose type and rank the model says and whose extents the lists say.

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use crate::body_error::{Place, Reason};
use crate::element::Element;
use crate::limits::BodyLimits;
use crate::oip::TensorMetadata;
use crate::{Parameters, WireData, WireTensor, WireType};

use super::cursor::{Cursor, WORDS};

/// The key of an object that stands for bytes.
pub(super) const B64: &str = "b64";

/// RFC 4648 section 4; writers differ on the padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is done with `NaN`, `Infinity` and `-Infinity`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// They are no element.
    Refused,
    /// They are the numbers that they name.
    Read,
}

/// A tensor while its elements are read.
pub(super) struct Tensor<'m> {
    pub(super) metadata: &'m TensorMetadata,
    element: Element,
    words: Words,
    /// One per dimension; none where no list has said it.
    extents: Vec<Option<u64>>,
    data: WireData,
}

impl<'m> Tensor<'m> {
    pub(super) fn new(
        metadata: &'m TensorMetadata,
        at: Place,
        words: Words,
        limits: &BodyLimits,
    ) -> Result<Self, Reason> {
        let element = Element {
            at,
            datatype: metadata.datatype,
            max_element_bytes: limits.max_element_bytes,
        };
        Ok(Self {
            metadata,
            element,
            words,
            extents: vec![None; metadata.shape.len()],
            data: no_elements(&element)?,
        })
    }

    /// Whether the object that comes next is one element, that is bytes, and no object of names.
    pub(super) fn is_b64(&self, mut cursor: Cursor<'_>, depth: usize, limit: usize) -> bool {
        let element = self.metadata.datatype == WireType::Bytes && depth == self.extents.len();
        let key = |cursor: &mut Cursor<'_>| {
            cursor.take(b'{') && cursor.key(self.element.at, limit).is_ok_and(|key| key == B64)
        };
        element && self.metadata.name != B64 && key(&mut cursor)
    }

    /// Reads a value that is `depth` lists deep in the tensor, and no more than `left` elements of it.
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        left: &mut Left,
    ) -> Result<(), Reason> {
        let (element, words) = (self.element, self.words);
        let extents = self.extents.get_mut(depth..).unwrap_or_default();
        let mut lists = Lists {
            at: element.at,
            cursor,
            left,
        };
        match &mut self.data {
            WireData::Bool(out) => {
                lists.read(extents, out, &|cursor, n| element.boolean(cursor.scalar()?, n))
            }
            WireData::U8(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::I8(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::U16(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::I16(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::U32(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::I32(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::U64(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::I64(out) => lists.read(extents, out, &|cursor, n| element.integer(cursor.scalar()?, n)),
            WireData::F32(out) => lists.read(extents, out, &|cursor, n| {
                float(&element, words, cursor.scalar()?, n)
            }),
            WireData::F64(out) => lists.read(extents, out, &|cursor, n| {
                float(&element, words, cursor.scalar()?, n)
            }),
            WireData::Bytes(out) => lists.read(extents, out, &|cursor, n| bytes(&element, cursor, n)),
            WireData::F16(_) | WireData::BF16(_) => Err(element.half_precision()),
        }
    }

    /// The tensor of that many rows, where the rows were read one by one.
    pub(super) fn finish(mut self, rows: Option<u64>) -> WireTensor {
        if let (Some(rows), Some(first)) = (rows, self.extents.first_mut()) {
            *first = Some(rows);
        }
        // Where lists are empty, those in them have said nothing: then the model says, or nothing is there either.
        let fixed = self
            .metadata
            .shape
            .iter()
            .map(|&extent| u64::try_from(extent).unwrap_or(0));
        let shape = self
            .extents
            .iter()
            .zip(fixed)
            .map(|(extent, fixed)| extent.unwrap_or(fixed));
        WireTensor {
            name: self.metadata.name.clone(),
            datatype: self.metadata.datatype,
            shape: shape.collect(),
            parameters: Parameters::new(),
            data: self.data,
        }
    }
}

/// How many elements the body may still have.
pub(super) struct Left {
    left: usize,
    limit: usize,
}

impl Left {
    pub(super) const fn new(limits: &BodyLimits) -> Self {
        let limit = limits.max_elements;
        Self { left: limit, limit }
    }

    fn one(&mut self) -> Result<(), Reason> {
        self.left = self.left.checked_sub(1).ok_or(Reason::TooMany {
            at: Place::BODY,
            what: "tensor elements",
            limit: self.limit,
        })?;
        Ok(())
    }
}

struct Lists<'r, 'a> {
    at: Place,
    cursor: &'r mut Cursor<'a>,
    left: &'r mut Left,
}

impl<'a> Lists<'_, 'a> {
    /// Lists in lists, exactly as deep as there are extents.
    fn read<T>(
        &mut self,
        extents: &mut [Option<u64>],
        out: &mut Vec<T>,
        element: &impl Fn(&mut Cursor<'a>, usize) -> Result<T, Reason>,
    ) -> Result<(), Reason> {
        let Some((extent, inner)) = extents.split_first_mut() else {
            if self.cursor.peek() == Some(b'[') {
                return Err(Reason::WrongRank { at: self.at });
            }
            self.left.one()?;
            out.push(element(self.cursor, out.len())?);
            return Ok(());
        };
        if !self.cursor.take(b'[') {
            return Err(match self.cursor.peek() {
                None | Some(b',' | b':' | b']' | b'}') => self.cursor.malformed(),
                Some(_) => Reason::WrongRank { at: self.at },
            });
        }
        let mut found = 0;
        if !self.cursor.take(b']') {
            loop {
                self.read(inner, out, element)?;
                found += 1;
                if !self.cursor.take(b',') {
                    break;
                }
            }
            self.cursor.expect(b']')?;
        }
        if extent.is_some_and(|extent| extent != found) {
            return Err(Reason::Ragged { at: self.at });
        }
        *extent = Some(found);
        Ok(())
    }
}

fn no_elements(element: &Element) -> Result<WireData, Reason> {
    Ok(match element.datatype {
        WireType::Bool => WireData::Bool(Vec::new()),
        WireType::U8 => WireData::U8(Vec::new()),
        WireType::I8 => WireData::I8(Vec::new()),
        WireType::U16 => WireData::U16(Vec::new()),
        WireType::I16 => WireData::I16(Vec::new()),
        WireType::U32 => WireData::U32(Vec::new()),
        WireType::I32 => WireData::I32(Vec::new()),
        WireType::U64 => WireData::U64(Vec::new()),
        WireType::I64 => WireData::I64(Vec::new()),
        WireType::F32 => WireData::F32(Vec::new()),
        WireType::F64 => WireData::F64(Vec::new()),
        WireType::Bytes => WireData::Bytes(Vec::new()),
        WireType::F16 | WireType::BF16 => return Err(element.half_precision()),
    })
}

fn float<T: std::str::FromStr + Into<f64> + Copy>(
    element: &Element,
    words: Words,
    token: &str,
    n: usize,
) -> Result<T, Reason> {
    if !WORDS.contains(&token) {
        return element.float(token, n);
    }
    let refused = Reason::WrongRawElement {
        at: element.at,
        element: n,
        expected: "a finite number",
    };
    match words {
        Words::Refused => Err(refused),
        Words::Read => token.parse().map_err(|_| refused),
    }
}

/// A string, or `{"b64": "..."}`.
fn bytes(element: &Element, cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<u8>, Reason> {
    if !cursor.take(b'{') {
        return element.bytes(cursor.scalar()?, n);
    }
    let wrong = || element.wrong(n, "a string, or an object of `b64` alone");
    if cursor.key(element.at, B64.len()).map_err(|_| wrong())? != B64 {
        return Err(wrong());
    }
    let token = cursor.string(element.at)?;
    cursor.expect(b'}').map_err(|_| wrong())?;
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    let decoded = BASE64
        .decode(inner)
        .map_err(|_| element.wrong(n, "valid base64"))?;
    element.bounded(decoded)
}
