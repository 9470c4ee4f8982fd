//! What a head says about the length of its body (RFC 9112, 6.3).
//!
//! In: the header lines of a head, and for a response its status and the method that it answers. Out: the framing, or that peers
//! may understand it differently, or that the message is malformed.

use super::method::Method;
use crate::Kind;
use crate::named::{is_json, without_parameters};
use crate::trace::{Carrier, Evidence};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    /// A length, of a request's body that is JSON.
    Json(u64),
    Chunked,
    UntilClose,
    /// The head says it in a way that peers understand differently.
    Unknown,
}

/// The header fields that say how long the body is, whether anybody waits for its end, who is asked, for which trace, and what the connection goes on with.
#[derive(Debug, Default)]
pub(super) struct Fields<'b> {
    pub host: Option<&'b [u8]>,
    pub trace: Evidence,
    content_length: Length,
    /// The last transfer coding, which decides.
    transfer_coding: Option<Coding>,
    newest: Newest,
    is_stream: bool,
    is_json: bool,
    /// The connection goes on with HTTP/2 in clear text, if the status says that it goes on with another protocol.
    pub names_h2c: bool,
    /// Or with WebSocket.
    pub names_websocket: bool,
}

#[derive(Debug, Default)]
enum Length {
    #[default]
    Absent,
    Bytes(u64),
    Invalid,
}

#[derive(Debug, PartialEq)]
enum Coding {
    Chunked,
    Identity,
    Other,
}

/// Which field the line before was, since a line that begins with a space continues it.
#[derive(Debug, Default)]
enum Newest {
    #[default]
    Other,
    Length,
    Coding,
    Type,
    Host,
    Trace(Carrier),
    Upgrade,
}

impl<'b> Fields<'b> {
    /// Takes one line of the head, without its end. All but the fields that matter here are left alone, whatever they are.
    pub fn take(&mut self, line: &'b [u8]) {
        let Some((name, value)) = framing_field(line) else {
            let continues = matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty();
            match std::mem::take(&mut self.newest) {
                // Peers that join the two lines and peers that do not understand it differently.
                Newest::Length if continues => self.content_length = Length::Invalid,
                Newest::Coding if continues => self.transfer_coding = Some(Coding::Other),
                _ => {}
            }
            return;
        };
        match name {
            Newest::Length => self.add_length(value),
            Newest::Coding => self.transfer_coding = Some(last_coding(value)),
            Newest::Type => (self.is_stream, self.is_json) = (is_endless(value), is_json(value)),
            Newest::Host => _ = self.host.get_or_insert(value),
            Newest::Trace(carrier) => self.trace.add(carrier, value),
            Newest::Upgrade => {
                self.names_h2c |= names(value, b"h2c");
                self.names_websocket |= names(value, b"websocket");
            }
            Newest::Other => {}
        }
        self.newest = name;
    }

    /// What the body of a response is to its client.
    pub fn kind(&self) -> Kind {
        if self.is_stream { Kind::Stream } else { Kind::Call }
    }

    /// The framing of a request.
    pub fn of_request(&self, minor: u8) -> Framing {
        match self.transfer_coding {
            // An HTTP/1.0 message with a transfer coding counts as faulty (RFC 9112, 6.1).
            Some(_) if minor == 0 => Framing::Unknown,
            // The transfer coding overrides the length (RFC 9112, 6.3, rule 3).
            Some(Coding::Chunked) => Framing::Chunked,
            // A server should refuse what follows. Whether it does, its answer tells.
            Some(_) => Framing::Unknown,
            None => match self.content_length {
                Length::Absent | Length::Bytes(0) => Framing::None,
                Length::Bytes(bytes) if self.is_json => Framing::Json(bytes),
                Length::Bytes(bytes) => Framing::Length(bytes),
                Length::Invalid => Framing::Unknown,
            },
        }
    }

    /// The framing of a response; None if it is malformed.
    pub fn of_response(&self, minor: u8, status: u16, method: Option<&Method>) -> Option<Framing> {
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
        match self.transfer_coding {
            Some(_) if minor == 0 => Some(Framing::Unknown),
            Some(Coding::Chunked) => Some(Framing::Chunked),
            // Gone since RFC 7230: some ignore it, some read until the connection closes.
            Some(Coding::Identity) => Some(Framing::Unknown),
            Some(Coding::Other) => Some(Framing::UntilClose),
            None => match self.content_length {
                Length::Absent => Some(Framing::UntilClose),
                Length::Bytes(0) => Some(Framing::None),
                Length::Bytes(bytes) => Some(Framing::Length(bytes)),
                Length::Invalid => None,
            },
        }
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

/// Server-sent events, and the pictures of a camera: types of bodies that are made to have no end.
fn is_endless(media_type: &[u8]) -> bool {
    let name = without_parameters(media_type);
    name.eq_ignore_ascii_case(b"text/event-stream") || name.eq_ignore_ascii_case(b"multipart/x-mixed-replace")
}

/// Whether a list of protocols has one of this name (RFC 9110, 7.8; `h2c`: RFC 7540, 3.2; `websocket`: RFC 6455, 4.2.2).
fn names(value: &[u8], protocol: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(protocol))
}

/// The field of a line and its value, if it is one that matters here. Spaces before the colon are let pass, as peers
/// do.
fn framing_field(line: &[u8]) -> Option<(Newest, &[u8])> {
    let (name, after) = match line.first()? {
        b'c' | b'C' => match strip_name(line, b"content-length") {
            Some(after) => (Newest::Length, after),
            None => (Newest::Type, strip_name(line, b"content-type")?),
        },
        b't' | b'T' => match strip_name(line, b"transfer-encoding") {
            Some(after) => (Newest::Coding, after),
            None => (Newest::Trace(Carrier::Traceparent), strip_name(line, b"traceparent")?),
        },
        b'b' | b'B' => (Newest::Trace(Carrier::B3), strip_name(line, b"b3")?),
        b'x' | b'X' => {
            const NAMES: [(&[u8], Carrier); 3] = [
                (b"x-b3-traceid", Carrier::B3TraceId),
                (b"x-b3-spanid", Carrier::B3SpanId),
                (b"x-request-id", Carrier::RequestId),
            ];
            NAMES.iter().find_map(|(name, carrier)| Some((Newest::Trace(*carrier), strip_name(line, name)?)))?
        }
        b'h' | b'H' => (Newest::Host, strip_name(line, b"host")?),
        b'u' | b'U' => (Newest::Upgrade, strip_name(line, b"upgrade")?),
        _ => return None,
    };
    after.trim_ascii_start().strip_prefix(b":").map(|value| (name, value))
}

fn strip_name<'b>(line: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    let (start, after) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(after)
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
