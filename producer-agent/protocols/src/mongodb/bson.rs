//! The elements of a document (bsonspec.org, version 1.1), as far as it was captured.
//!
//! In: bytes that begin with a document. Out: its elements in their order, the last one possibly cut. No length is believed beyond the bytes that are there.

/// One element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    kind: u8,
    pub name: &'a [u8],
    value: &'a [u8],
    is_whole: bool,
}

/// The elements of a document that are still to come.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

/// The length that a document begins with, which counts itself.
const LENGTH_BYTES: usize = 4;
/// An empty document: its length, and the zero that ends it.
pub const DOCUMENT_BYTES_MIN: usize = LENGTH_BYTES + 1;

/// The elements of the document that the bytes begin with; none if they do not begin with one.
pub fn elements(bytes: &[u8]) -> Elements<'_> {
    let length = number(bytes).filter(|length| *length >= DOCUMENT_BYTES_MIN).unwrap_or_default();
    Elements { rest: bytes.get(LENGTH_BYTES..length.min(bytes.len())).unwrap_or_default() }
}

/// A length, or a count: four bytes, the lowest first, that are not negative.
pub fn number(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().and_then(|bytes| usize::try_from(i32::from_le_bytes(*bytes)).ok())
}

/// The text before the first zero, and what is behind that.
pub fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = &[];
        if *kind == 0 {
            return None;
        }
        let (name, rest) = split_text(rest)?;
        let length = value_bytes(*kind, rest)?;
        let is_whole = length.is_some_and(|length| length <= rest.len());
        let (value, behind) = rest.split_at(length.unwrap_or(rest.len()).min(rest.len()));
        self.rest = behind;
        Some(Element { kind: *kind, name, value, is_whole })
    }
}

/// How long a value of this kind is. None: there is no such kind or length. `Some(None)`: it ends behind the bytes.
fn value_bytes(kind: u8, rest: &[u8]) -> Option<Option<usize>> {
    let counted = |beside: usize, least: usize| match number(rest) {
        Some(length) if length >= least => length.checked_add(beside).map(Some),
        None if rest.len() < LENGTH_BYTES => Some(None),
        _ => None,
    };
    match kind {
        0x06 | 0x0a | 0x7f | 0xff => Some(Some(0)),
        0x08 => Some(Some(1)),
        0x10 => Some(Some(4)),
        0x01 | 0x09 | 0x11 | 0x12 => Some(Some(8)),
        0x07 => Some(Some(12)),
        0x13 => Some(Some(16)),
        0x02 | 0x0d | 0x0e => counted(LENGTH_BYTES, 1),
        0x03 | 0x04 => counted(0, DOCUMENT_BYTES_MIN),
        0x05 => counted(LENGTH_BYTES + 1, 0),
        0x0c => counted(LENGTH_BYTES + 12, 1),
        0x0f => counted(0, LENGTH_BYTES),
        0x0b => Some(split_text(rest).and_then(|(_, behind)| {
            let (_, behind) = split_text(behind)?;
            Some(rest.len() - behind.len())
        })),
        _ => None,
    }
}

impl<'a> Element<'a> {
    /// All of its value is there.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A text that is there to its end.
    pub fn text(&self) -> Option<&'a [u8]> {
        let is_text = self.kind == 0x02 && self.is_whole;
        self.value.get(LENGTH_BYTES..)?.strip_suffix(&[0]).filter(|_| is_text)
    }

    /// The elements of a document or an array, as far as they are there.
    pub fn elements(&self) -> Option<Elements<'a>> {
        matches!(self.kind, 0x03 | 0x04).then(|| elements(self.value))
    }

    /// An integer, or what a number of any kind says as one.
    pub fn integer(&self) -> Option<i64> {
        match self.kind {
            0x10 => self.value.first_chunk().map(|bytes| i32::from_le_bytes(*bytes).into()),
            0x12 => self.value.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)),
            0x01 => self.value.first_chunk().map(|bytes| f64::from_le_bytes(*bytes) as i64),
            _ => None,
        }
    }

    /// What a truth or a number says, as servers take it.
    pub fn is_true(&self) -> Option<bool> {
        match self.kind {
            0x08 => self.value.first().map(|byte| *byte != 0),
            0x01 => self.value.first_chunk().map(|bytes| f64::from_le_bytes(*bytes) != 0.0),
            _ => self.integer().map(|number| number != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_kind_are_passed_over_and_lengths_are_not_believed() {
        let values: [(u8, &[u8]); 20] = [
            (0x01, &[0; 8]),
            (0x02, b"\x03\0\0\0hi\0"),
            (0x03, b"\x05\0\0\0\0"),
            (0x04, b"\x05\0\0\0\0"),
            (0x05, b"\x02\0\0\0\0hi"),
            (0x06, b""),
            (0x07, &[0; 12]),
            (0x08, b"\x01"),
            (0x09, &[0; 8]),
            (0x0a, b""),
            (0x0b, b"a\0i\0"),
            (0x0c, b"\x02\0\0\0a\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (0x0d, b"\x02\0\0\0a\0"),
            (0x0f, b"\x0f\0\0\0\x02\0\0\0a\0\x05\0\0\0\0"),
            (0x10, &[7, 0, 0, 0]),
            (0x11, &[0; 8]),
            (0x12, &[0; 8]),
            (0x13, &[0; 16]),
            (0x7f, b""),
            (0xff, b""),
        ];
        let mut document = vec![0; 4];
        for (kind, value) in values {
            document.extend([&[kind, b'k', 0][..], value].concat());
        }
        document.push(0);
        let length = document.len() as u32;
        document[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(elements(&document).filter(Element::is_whole).count(), values.len());
        for end in 0..document.len() {
            assert!(elements(&document[..end]).count() <= values.len());
            assert!(elements(&document[..end]).filter(|element| !element.is_whole()).count() <= 1);
        }
        for length in [i32::MAX, -1, i32::MIN, 0, 40] {
            let text = [b"\x20\0\0\0\x02k\0", &length.to_le_bytes()[..], b"hi\0"].concat();
            assert!(elements(&text).all(|element| element.text().is_none()), "{length}");
            let whole = [&length.to_le_bytes()[..], b"\x08k\0\x01\0"].concat();
            assert!(elements(&whole).count() <= 1);
        }
    }
}
