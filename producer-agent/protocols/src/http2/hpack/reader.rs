//! The numbers and strings of a header block (RFC 7541, 5).

use std::sync::Arc;

use super::Stop;
use super::field::{Content, Field, GRPC_STATUS_NONE, Name, Text};
use super::huffman;
use crate::named;
use crate::path::push_path;
use crate::resource;

/// The last seven bits of a number of 32 that may follow the first ones.
const SHIFT_MAX: u32 = 28;
/// The longest method, content type or status of which anything is kept.
const SHORT_BYTES_MAX: usize = 32;
/// What is read of an authority, and of a trace.
const VALUE_BYTES_MAX: usize = 256;

pub struct Reader<'a>(&'a [u8]);

/// A string as it was sent.
pub struct Sent<'a> {
    bytes: &'a [u8],
    is_coded: bool,
}

impl<'a> Reader<'a> {
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }

    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Result<u8, Stop> {
        self.0.first().copied().ok_or(Stop::Cut)
    }

    /// A number that begins in the last bits of a byte.
    pub fn integer(&mut self, bits: u32) -> Result<u32, Stop> {
        let prefix_max = (1 << bits) - 1;
        let mut value = u64::from(self.byte()?) & prefix_max;
        if value < prefix_max {
            return Ok(value as u32);
        }
        for shift in (0..=SHIFT_MAX).step_by(7) {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Stop::Malformed);
            }
        }
        Err(Stop::Malformed)
    }

    pub fn string(&mut self) -> Result<Sent<'a>, Stop> {
        let is_coded = self.first()? & 0x80 != 0;
        let length = self.integer(7)? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Stop::Cut)?;
        self.0 = rest;
        Ok(Sent { bytes, is_coded })
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (first, rest) = self.0.split_first().ok_or(Stop::Cut)?;
        self.0 = rest;
        Ok(*first)
    }
}

impl Sent<'_> {
    /// The name that it is, and its length.
    pub fn name(&self) -> Result<(Name, usize), Stop> {
        let (short, bytes) = self.short()?;
        Ok((Name::of(short.as_slice()), bytes))
    }

    /// What this value says in a field of that name, and its length.
    pub fn field(&self, name: Name, path_bytes_max: usize) -> Result<(Field, usize), Stop> {
        if name == Name::Path {
            return self.path(path_bytes_max);
        }
        if let Name::Authority | Name::Trace(_) = name {
            let mut sent = Vec::new();
            let bytes = self.each(|byte| {
                if sent.len() < VALUE_BYTES_MAX {
                    sent.push(byte);
                }
            })?;
            let field = match name {
                Name::Trace(carrier) if carrier.may_be(&sent) => Field::Trace(carrier, Text::of(resource::name(&sent))),
                // What is none is kept as such, and not as what it is.
                Name::Trace(carrier) => Field::Trace(carrier, Text::Static("")),
                _ => Field::Authority(Text::of(resource::host(&sent))),
            };
            return Ok((field, bytes));
        }
        let (short, bytes) = self.short()?;
        let field = match name {
            Name::Method => Field::Method(method(short.as_slice()).ok_or(Stop::Malformed)?),
            Name::Status => Field::Status(status(short.as_slice()).ok_or(Stop::Malformed)?),
            Name::ContentType => Field::ContentType(content(short.as_slice(), bytes)),
            Name::GrpcStatus => Field::GrpcStatus(grpc_status(short.as_slice())),
            Name::OfRequest => Field::OfRequest,
            Name::Path | Name::Authority | Name::Trace(_) | Name::Other => Field::Other,
        };
        Ok((field, bytes))
    }

    fn path(&self, path_bytes_max: usize) -> Result<(Field, usize), Stop> {
        let mut sent = Vec::new();
        let mut is_query = false;
        let bytes = self.each(|byte| {
            is_query |= matches!(byte, b'?' | b'#');
            // So much more that a character that lies across the bound is whole.
            if !is_query && sent.len() <= path_bytes_max + 4 {
                sent.push(byte);
            }
        })?;
        let mut path = String::new();
        push_path(&mut path, &sent);
        let is_cut = path.len() > path_bytes_max;
        path.truncate(path.floor_char_boundary(path_bytes_max));
        Ok((Field::Path { path: Text::Shared(Arc::from(path)), is_cut }, bytes))
    }

    /// Its first bytes, and its length.
    fn short(&self) -> Result<(Short, usize), Stop> {
        let mut short = Short::default();
        let bytes = self.each(|byte| short.push(byte))?;
        Ok((short, bytes))
    }

    fn each(&self, mut push: impl FnMut(u8)) -> Result<usize, Stop> {
        if self.is_coded {
            return huffman::decode(self.bytes, push).ok_or(Stop::Malformed);
        }
        self.bytes.iter().for_each(|byte| push(*byte));
        Ok(self.bytes.len())
    }
}

#[derive(Default)]
struct Short {
    bytes: [u8; SHORT_BYTES_MAX],
    length: usize,
}

impl Short {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn method(name: &[u8]) -> Option<Text> {
    const COMMON: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if let Some(common) = COMMON.iter().find(|common| common.as_bytes() == name) {
        return Some(Text::Static(common));
    }
    let is_method = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_method.then(|| str::from_utf8(name).ok()).flatten().map(|name| Text::Shared(Arc::from(name)))
}

fn status(digits: &[u8]) -> Option<u16> {
    match digits {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => number(digits),
        _ => None,
    }
}

fn grpc_status(digits: &[u8]) -> u16 {
    let is_short = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_short.then(|| number(digits)).flatten().unwrap_or(GRPC_STATUS_NONE)
}

fn number(digits: &[u8]) -> Option<u16> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// What a content type of so many bytes says, of which the first are there. gRPC is `application/grpc`, alone or with the name of an encoding; gRPC-Web is
/// another protocol.
fn content(first: &[u8], bytes: usize) -> Content {
    let is_name_whole = bytes == first.len() || first.contains(&b';');
    match first.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => Content::Grpc,
        None if is_name_whole && named::is_json(first) => Content::Json,
        _ => Content::Other,
    }
}
