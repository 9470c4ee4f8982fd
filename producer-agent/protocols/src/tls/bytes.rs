//! Reading vectors whose length stands before them (RFC 8446 section 3.4).

/// Bytes that are still to be read. What is not there is None, and reads nothing.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// With a length of one byte.
    pub fn short_vector(&mut self) -> Option<Bytes<'a>> {
        let mut rest = *self;
        let length = rest.byte()?;
        let vector = rest.take(length.into())?;
        *self = rest;
        Some(Bytes(vector))
    }

    /// With a length of two bytes.
    pub fn vector(&mut self) -> Option<Bytes<'a>> {
        let mut rest = *self;
        let length = rest.number()?;
        let vector = rest.take(length.into())?;
        *self = rest;
        Some(Bytes(vector))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
