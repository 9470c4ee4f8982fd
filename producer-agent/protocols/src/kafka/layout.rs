//! Reads a message by its layout, as far as it was captured.
//!
//! In: the first bytes of a message behind its header, and the [`Field`]s of its kind. Out: what is of use in it ([`Said`]), and whether all
//! of that was there: in each array that counts, every element owes one thing that is told of, or a further such array.
//!
//! No length is believed: what lies behind the bytes ends the reading, and whatever is not laid out as it should be does, too.

use crate::Direction;

/// A field of a message, in the versions that have it.
#[derive(Debug)]
pub struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    /// So many bytes of no interest.
    Skip(usize),
    Text,
    Bytes,
    /// An array of numbers of so many bytes.
    Numbers(usize),
    /// An array of structures of no interest.
    Many(&'static [Field]),
    /// An array of which every element counts.
    Each(&'static [Field]),
    /// An array of names of topics.
    Names,
    Struct(&'static [Field]),
    /// An array of topics that are no longer asked for.
    Forgotten(&'static [Field]),
    Name,
    Id,
    Error,
    /// An error beside those that the elements owe.
    ErrorOfAll,
    Acks,
    MaxWait,
    MinBytes,
    SessionEpoch,
}

/// What is of use in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    Name(&'a str),
    Id(Id),
    Error(i16),
    Acks(i16),
    MaxWaitMs(i32),
    MinBytes(i32),
    SessionEpoch(i32),
    TopicsForgotten,
}

/// The id of a topic.
pub type Id = [u8; 16];

/// In all versions.
pub const fn all(kind: Kind) -> Field {
    Field { from: 0, to: i16::MAX, kind }
}

pub const fn from(from: i16, kind: Kind) -> Field {
    Field { from, to: i16::MAX, kind }
}

/// Up to this version.
pub const fn until(to: i16, kind: Kind) -> Field {
    Field { from: 0, to, kind }
}

pub const fn between(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

/// The reading has come to what was not captured, or to what is not laid out as expected.
#[derive(Debug)]
struct End;

struct Walk<'a, 's> {
    rest: &'a [u8],
    version: i16,
    is_flexible: bool,
    direction: Direction,
    /// What is still to be told of.
    owed: u64,
    say: &'s mut dyn FnMut(Said<'a>),
}

/// What came of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Everything that counts was told of: topics of a request, errors of an answer.
    pub told_all: bool,
    /// All fields were read.
    pub to_the_end: bool,
}

/// Reads a message of this version.
pub fn read<'a>(
    direction: Direction,
    (version, is_flexible): (i16, bool),
    bytes: &'a [u8],
    fields: &'static [Field],
    say: &mut dyn FnMut(Said<'a>),
) -> Read {
    let mut walk = Walk { rest: bytes, version, is_flexible, direction, owed: 1, say };
    let to_the_end = walk.fields(fields).is_ok();
    Read { told_all: walk.owed == 0, to_the_end }
}

/// What stands behind tagged fields, as the header of a flexible message has them.
pub fn behind_tags(bytes: &[u8]) -> Option<&[u8]> {
    let mut walk =
        Walk { rest: bytes, version: 0, is_flexible: true, direction: Direction::Request, owed: 0, say: &mut |_| {} };
    walk.tags().ok()?;
    Some(walk.rest)
}

impl<'a> Walk<'a, '_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), End> {
        let version = self.version;
        fields
            .iter()
            .filter(|field| (field.from..=field.to).contains(&version))
            .try_for_each(|field| self.field(&field.kind))
    }

    fn field(&mut self, kind: &'static Kind) -> Result<(), End> {
        match kind {
            Kind::Skip(bytes) => self.take(*bytes).map(|_| ()),
            Kind::Text => self.text().map(|_| ()),
            Kind::Bytes => {
                let length = self.count()?;
                self.take(length).map(|_| ())
            }
            Kind::Numbers(size) => {
                let count = self.count()?;
                self.take(count.checked_mul(*size).ok_or(End)?).map(|_| ())
            }
            Kind::Many(fields) => {
                let count = self.count()?;
                self.elements(count, fields)
            }
            Kind::Each(fields) => {
                let count = self.counted()?;
                self.elements(count, fields)
            }
            Kind::Names => {
                let count = self.counted()?;
                (0..count).try_for_each(|_| self.name())
            }
            Kind::Struct(fields) => self.structure(fields),
            Kind::Forgotten(fields) => {
                let count = self.count()?;
                if count > 0 {
                    (self.say)(Said::TopicsForgotten);
                }
                self.elements(count, fields)
            }
            Kind::Name => self.name(),
            Kind::Id => self.id(),
            Kind::Error | Kind::ErrorOfAll => {
                let code = i16::from_be_bytes(self.array()?);
                if matches!(kind, Kind::Error) {
                    self.pay(Direction::Response);
                }
                (self.say)(Said::Error(code));
                Ok(())
            }
            Kind::Acks => {
                let acks = i16::from_be_bytes(self.array()?);
                (self.say)(Said::Acks(acks));
                Ok(())
            }
            Kind::MaxWait => self.number(Said::MaxWaitMs),
            Kind::MinBytes => self.number(Said::MinBytes),
            Kind::SessionEpoch => self.number(Said::SessionEpoch),
        }
    }

    fn number(&mut self, said: fn(i32) -> Said<'a>) -> Result<(), End> {
        let number = i32::from_be_bytes(self.array()?);
        (self.say)(said(number));
        Ok(())
    }

    fn counted(&mut self) -> Result<usize, End> {
        let count = self.count()?;
        self.owed = self.owed.saturating_sub(1).saturating_add(count as u64);
        Ok(count)
    }

    fn elements(&mut self, count: usize, fields: &'static [Field]) -> Result<(), End> {
        for _ in 0..count {
            let before = self.rest.len();
            self.structure(fields)?;
            // Nothing would end an array of elements without bytes.
            if self.rest.len() == before {
                return Err(End);
            }
        }
        Ok(())
    }

    fn structure(&mut self, fields: &'static [Field]) -> Result<(), End> {
        self.fields(fields)?;
        if self.is_flexible { self.tags() } else { Ok(()) }
    }

    fn tags(&mut self) -> Result<(), End> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length as usize)?;
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), End> {
        let Some(bytes) = self.text()? else { return Ok(()) };
        let name = topic(bytes).ok_or(End)?;
        self.pay(Direction::Request);
        (self.say)(Said::Name(name));
        Ok(())
    }

    fn id(&mut self) -> Result<(), End> {
        let id: Id = self.array()?;
        if id != [0; 16] {
            self.pay(Direction::Request);
            (self.say)(Said::Id(id));
        }
        Ok(())
    }

    /// One of the things that elements owe in this direction was told of.
    fn pay(&mut self, direction: Direction) {
        if self.direction == direction {
            self.owed = self.owed.saturating_sub(1);
        }
    }

    fn text(&mut self) -> Result<Option<&'a [u8]>, End> {
        let length = if self.is_flexible {
            match self.varint()?.checked_sub(1) {
                Some(length) => length as usize,
                None => return Ok(None),
            }
        } else {
            match usize::try_from(i16::from_be_bytes(self.array()?)) {
                Ok(length) => length,
                Err(_) => return Ok(None),
            }
        };
        self.take(length).map(Some)
    }

    /// Of the elements of an array, or of bytes; what is null has none.
    fn count(&mut self) -> Result<usize, End> {
        if self.is_flexible {
            Ok(self.varint()?.saturating_sub(1) as usize)
        } else {
            Ok(usize::try_from(i32::from_be_bytes(self.array()?)).unwrap_or(0))
        }
    }

    fn varint(&mut self) -> Result<u32, End> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(End)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], End> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(End)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], End> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(End)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// A name that Kafka allows for a topic.
fn topic(bytes: &[u8]) -> Option<&str> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = (1..=249).contains(&bytes.len()) && bytes.iter().all(is_allowed);
    str::from_utf8(bytes).ok().filter(|_| is_name)
}
