//! What a head says about the length of its body (RFC 9112, 6.3).
//!
//! In: the header fields of a head, and for a response its status and the method that it answers. Out: the framing, or that peers
//! may understand it differently, or that the message is malformed.

use super::method::Method;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
    /// The head says it in a way that peers understand differently.
    Unknown,
}

/// The framing of a request; None if it is malformed, so that a server has to refuse it.
pub(super) fn of_request(minor: u8, headers: &[httparse::Header<'_>]) -> Option<Framing> {
    let fields = Fields::of(headers);
    match fields.transfer_coding {
        // An HTTP/1.0 message with a transfer coding counts as faulty (RFC 9112, 6.1).
        Some(_) if minor == 0 => Some(Framing::Unknown),
        // The transfer coding overrides the length (RFC 9112, 6.3, rule 3).
        Some(Coding::Chunked) => Some(Framing::Chunked),
        Some(_) => None,
        None => match fields.content_length {
            Length::Absent | Length::Bytes(0) => Some(Framing::None),
            Length::Bytes(bytes) => Some(Framing::Length(bytes)),
            Length::Invalid => None,
        },
    }
}

/// The framing of a response; None if it is malformed.
pub(super) fn of_response(
    minor: u8,
    status: u16,
    method: Option<&Method>,
    headers: &[httparse::Header<'_>],
) -> Option<Framing> {
    if status < 200 || status == 204 || status == 304 {
        return Some(Framing::None);
    }
    match method {
        Some(Method::Head) => return Some(Framing::None),
        Some(Method::Connect) if status < 300 => return Some(Framing::None),
        // It might be a HEAD.
        None => return Some(Framing::Unknown),
        Some(_) => {}
    }
    let fields = Fields::of(headers);
    match fields.transfer_coding {
        Some(_) if minor == 0 => Some(Framing::Unknown),
        Some(Coding::Chunked) => Some(Framing::Chunked),
        // Gone since RFC 7230: some ignore it, some read until the connection closes.
        Some(Coding::Identity) => Some(Framing::Unknown),
        Some(Coding::Other) => Some(Framing::UntilClose),
        None => match fields.content_length {
            Length::Absent => Some(Framing::UntilClose),
            Length::Bytes(0) => Some(Framing::None),
            Length::Bytes(bytes) => Some(Framing::Length(bytes)),
            Length::Invalid => None,
        },
    }
}

/// The header fields that say how long the body is.
struct Fields {
    content_length: Length,
    /// The last transfer coding, which decides.
    transfer_coding: Option<Coding>,
}

enum Length {
    Absent,
    Bytes(u64),
    Invalid,
}

#[derive(PartialEq)]
enum Coding {
    Chunked,
    Identity,
    Other,
}

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        let mut fields = Self { content_length: Length::Absent, transfer_coding: None };
        for header in headers {
            match header.name.len() {
                14 if header.name.eq_ignore_ascii_case("content-length") => fields.add_length(header.value),
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    fields.transfer_coding = Some(last_coding(header.value));
                }
                _ => {}
            }
        }
        fields
    }

    /// Several identical values count as one (RFC 9112, 6.3, rule 5).
    fn add_length(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',') {
            self.content_length = match (parse_length(member.trim_ascii()), &self.content_length) {
                (Some(bytes), Length::Absent) => Length::Bytes(bytes),
                (Some(bytes), Length::Bytes(known)) if *known == bytes => Length::Bytes(bytes),
                _ => Length::Invalid,
            };
        }
    }
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn last_coding(value: &[u8]) -> Coding {
    let last = value.rsplit(|byte| *byte == b',').next().unwrap_or(value).trim_ascii();
    if last.eq_ignore_ascii_case(b"chunked") {
        Coding::Chunked
    } else if last.eq_ignore_ascii_case(b"identity") {
        Coding::Identity
    } else {
        Coding::Other
    }
}
