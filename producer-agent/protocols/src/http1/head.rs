//! Heads: request line, status line, and the few header fields that an observer needs.
//!
//! In: bytes that begin with a head. Out: what the head says, borrowed from those bytes, or what is known of a head that is not
//! whole.
//!
//! What servers and clients accept differs and is more than RFC 9112 allows, and their word counts, not ours. So a first line is taken
//! for what it says as long as it says it, and a header line that says nothing about the body's length is not looked at: bytes
//! beyond ASCII, doubled spaces, a line without a colon change nothing. Only where it is not certain that a message begins, a
//! first line has to be unmistakable.

use memchr::{memchr, memrchr};

use super::framing::{Fields, Framing};
use super::method::{self, Method};
use crate::cursor::Cursor;
use crate::{Direction, Kind, Propagated, resource};

/// RFC 9110, 9.1 leaves methods open; the longest registered one has 17 letters.
const METHOD_BYTES_MAX: usize = 32;

pub(super) enum Parsed<L> {
    Complete {
        line: L,
        framing: Framing,
        length: usize,
    },
    /// More bytes are needed. The first line may be known already.
    Partial(Option<L>),
    /// The first line is one, but peers have to refuse what follows it.
    Malformed,
    /// A word and a space, so it may be a request that the server understands; but not a line of HTTP/1.
    OddLine,
    /// Another protocol, or the middle of something.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'b> {
    pub method: &'b str,
    pub target: &'b [u8],
    /// What a field of the head says, or an absolute target; empty if nothing does.
    pub host: &'b str,
    pub propagated: Propagated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub status: u16,
    /// As far as the header fields tell it that were seen.
    pub kind: Kind,
    /// They name HTTP/2 in clear text as what the connection goes on with,
    pub names_h2c: bool,
    /// or WebSocket.
    pub names_websocket: bool,
}

/// A first line: what it says, the minor version, and its length with the line end.
type FirstLine<L> = Result<(L, u8, usize), Parsed<L>>;

/// Parses a request head (RFC 9112, 3).
pub(super) fn parse_request(bytes: &[u8]) -> Parsed<RequestLine<'_>> {
    let (mut line, minor, length) = match request_line(bytes) {
        Ok(first) => first,
        Err(parsed) => return parsed,
    };
    let mut fields = Fields::default();
    let end = header_end(bytes, length, &mut fields);
    line.host = resource::host(authority_of(&line).or(fields.host).unwrap_or_default());
    line.propagated = fields.trace.propagated();
    match end {
        Some(length) => Parsed::Complete { line, framing: fields.of_request(minor), length },
        None => Parsed::Partial(Some(line)),
    }
}

/// Parses a response head (RFC 9112, 4). The body's length depends on the request's method too; None if unknown.
pub(super) fn parse_response(bytes: &[u8], method: Option<&Method>) -> Parsed<StatusLine> {
    let (mut line, minor, length) = match status_line(bytes) {
        Ok(first) => first,
        Err(parsed) => return parsed,
    };
    let mut fields = Fields::default();
    let end = header_end(bytes, length, &mut fields);
    line = StatusLine {
        kind: fields.kind(),
        names_h2c: fields.names_h2c,
        names_websocket: fields.names_websocket,
        ..line
    };
    match end {
        Some(length) => match fields.of_response(minor, line.status, method) {
            Some(framing) => Parsed::Complete { line, framing, length },
            None => Parsed::Malformed,
        },
        None => Parsed::Partial(Some(line)),
    }
}

/// Whether bytes begin with a first line that nothing else begins with.
pub(super) fn is_unmistakable(direction: Direction, bytes: &[u8]) -> bool {
    match direction {
        Direction::Request => request_line(bytes).is_ok_and(|(line, ..)| line.is_unmistakable()),
        Direction::Response => status_line(bytes).is_ok(),
    }
}

/// Whether bytes in a buffer may hold the end of a head that was not in the first `known` of them. Spares parsing a
/// head again for each of the small pieces in which it comes.
pub(super) fn may_end_after(bytes: &[u8], known: usize) -> bool {
    let new = known.min(bytes.len());
    bytes[new..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').any(|(at, _)| {
        let before = &bytes[..new + at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    })
}

/// Skips empty lines before a message (RFC 9112, 2.2).
pub(super) fn skip_line_ends(cursor: &mut Cursor<'_>) {
    let bytes = cursor.captured.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    cursor.skip(bytes);
}

/// The path of a request target (RFC 9112, 3.2): without query and fragment, and of an absolute form without scheme
/// and authority. The asterisk and the authority of a CONNECT are kept.
pub(super) fn path_of<'b>(line: &RequestLine<'b>) -> &'b [u8] {
    let target = line.target;
    let target = &target[..target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len())];
    if target.starts_with(b"/") || line.method == "CONNECT" {
        return target;
    }
    match target.windows(3).position(|window| window == b"://") {
        Some(scheme_end) => {
            let after = &target[scheme_end + 3..];
            memchr(b'/', after).map_or(b"/", |slash| &after[slash..])
        }
        None => target,
    }
}

/// The authority of an absolute target, and of a CONNECT.
fn authority_of<'b>(line: &RequestLine<'b>) -> Option<&'b [u8]> {
    if line.method == "CONNECT" {
        return Some(line.target);
    }
    if line.target.starts_with(b"/") {
        return None;
    }
    let scheme_end = line.target.windows(3).position(|window| window == b"://")?;
    let after = &line.target[scheme_end + 3..];
    let end = after.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(after.len());
    Some(&after[..end])
}

impl RequestLine<'_> {
    /// Nothing else begins like this: neither the rest of a longer word nor a sentence.
    pub fn is_unmistakable(&self) -> bool {
        let target = self.target;
        let is_target = match self.method {
            "CONNECT" => true,
            _ => target.starts_with(b"/") || target == b"*" || target.starts_with(b"http"),
        };
        is_target && !target.contains(&b' ') && method::is_common(self.method)
    }
}

#[expect(clippy::result_large_err, reason = "it is taken apart at once")]
fn request_line(bytes: &[u8]) -> FirstLine<RequestLine<'_>> {
    let word = bytes.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_token(**byte)).count();
    if word > METHOD_BYTES_MAX || (word == 0 && !bytes.is_empty()) {
        return Err(Parsed::Foreign);
    }
    match bytes.get(word) {
        Some(b' ') => {}
        Some(_) => return Err(Parsed::Foreign),
        None => return Err(Parsed::Partial(None)),
    }
    // Only bytes of ASCII are in a token.
    let Ok(method) = str::from_utf8(&bytes[..word]) else { return Err(Parsed::Foreign) };
    let end = memchr(b'\n', &bytes[word..]).map(|at| word + at);
    let text = bytes[word..end.unwrap_or(bytes.len())].trim_ascii();
    let version = memrchr(b' ', text).map(|space| (text[..space].trim_ascii_end(), &text[space + 1..]));
    match (version, end) {
        (Some((target, &[b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'])), _) if !target.is_empty() => {
            let line = RequestLine { method, target, host: "", propagated: Propagated::default() };
            end.map(|end| (line, minor - b'0', end + 1)).ok_or(Parsed::Partial(Some(line)))
        }
        (_, None) => Err(Parsed::Partial(None)),
        // The preface of HTTP/2 (RFC 9113, 3.4).
        (Some((b"*", b"HTTP/2.0")), _) if method == "PRI" => Err(Parsed::Foreign),
        _ => Err(Parsed::OddLine),
    }
}

fn status_line(bytes: &[u8]) -> FirstLine<StatusLine> {
    const NAME: &[u8] = b"HTTP/1.";
    let named = bytes.len().min(NAME.len());
    if bytes[..named] != NAME[..named] {
        return Err(Parsed::Foreign);
    }
    let minor = match bytes.get(NAME.len()) {
        Some(minor @ b'0'..=b'9') => minor - b'0',
        Some(_) => return Err(Parsed::Foreign),
        None => return Err(Parsed::Partial(None)),
    };
    let after = &bytes[NAME.len() + 1..];
    let spaces = after.iter().take_while(|byte| **byte == b' ').count();
    let digits = &after[spaces..];
    match digits.iter().take(3).position(|byte| !byte.is_ascii_digit()) {
        _ if spaces == 0 && !digits.is_empty() => return Err(Parsed::Foreign),
        Some(_) => return Err(Parsed::Foreign),
        None if digits.len() < 3 => return Err(Parsed::Partial(None)),
        None => {}
    }
    let status = digits[..3].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let line = StatusLine { status, kind: Kind::Call, names_h2c: false, names_websocket: false };
    match (digits.get(3), memchr(b'\n', digits)) {
        (Some(b' ' | b'\r' | b'\n' | b'\t'), Some(end)) => Ok((line, minor, bytes.len() - digits.len() + end + 1)),
        (None | Some(b' ' | b'\r' | b'\t'), None) => Err(Parsed::Partial(Some(line))),
        _ => Err(Parsed::Foreign),
    }
}

/// Reads the header lines from `start` on; where the head ends, if it does.
fn header_end<'b>(bytes: &'b [u8], start: usize, fields: &mut Fields<'b>) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = &bytes[at..];
        let end = memchr(b'\n', rest)?;
        at += end + 1;
        match rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]) {
            b"" => return Some(at),
            line => fields.take(line),
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line<'b>(method: &'b str, target: &'b str) -> RequestLine<'b> {
        RequestLine { method, target: target.as_bytes(), host: "", propagated: Propagated::default() }
    }

    #[test]
    fn the_path_of_every_form_of_target() {
        for (method, target, path) in [
            ("GET", "/a/b?c=d", "/a/b"),
            ("GET", "/a#f", "/a"),
            ("GET", "/a?u=http://x/y", "/a"),
            ("GET", "http://user:secret@host:80/a/b?c", "/a/b"),
            ("GET", "http://host", "/"),
            ("GET", "http://host?x=/y", "/"),
            ("OPTIONS", "*", "*"),
            ("CONNECT", "host:443", "host:443"),
        ] {
            assert_eq!(path_of(&line(method, target)), path.as_bytes(), "{method} {target}");
        }
    }

    #[test]
    fn a_partial_head_tells_its_first_line_as_soon_as_it_is_there() {
        let head = b"GET /x HTTP/1.1\r\nHost: y\r\n\r\n";
        for end in 0..head.len() {
            match parse_request(&head[..end]) {
                Parsed::Partial(line) => assert_eq!(line.is_some(), end >= 15, "{end}"),
                _ => panic!("cut at {end}"),
            }
        }
        let head = b"HTTP/1.1  404 Not Found\r\nServer: y\r\n\r\n";
        for end in 0..head.len() {
            match parse_response(&head[..end], None) {
                Parsed::Partial(line) => assert_eq!(line.map(|line| line.status), (end >= 13).then_some(404), "{end}"),
                _ => panic!("cut at {end}"),
            }
        }
    }

    #[test]
    fn another_protocol_is_known_by_its_first_bytes() {
        for bytes in [
            &b"{\"a\": 1}"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"CONNECT\naccept-version:1.2\n",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI / HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(parse_request(bytes), Parsed::Foreign), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in
            ["HTTP/2.0 200 OK\r\n", "HTTP/1.1200 OK\r\n", "HTTP/1.1 20", "HTTP/1.1 2000 OK\r\n", "220 mail\r\n"]
        {
            let whole = format!("{bytes}x\n");
            assert!(matches!(parse_response(whole.as_bytes(), None), Parsed::Foreign), "{bytes}");
        }
    }

    #[test]
    fn a_line_that_a_server_may_understand_is_odd() {
        for bytes in [
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n",
            "GET HTTP/1.1\r\n",
            "OPTIONS rtsp://h/ RTSP/1.0\r\n",
            "CONNECT {}\r\n",
        ] {
            assert!(matches!(parse_request(bytes.as_bytes()), Parsed::OddLine), "{bytes}");
        }
    }

    #[test]
    fn only_what_nothing_else_begins_with_is_unmistakable() {
        for (method, target, expected) in [
            ("GET", "/a", true),
            ("PROPFIND", "/a", true),
            ("OPTIONS", "*", true),
            ("GET", "http://h/", true),
            ("CONNECT", "h:1", true),
            ("RGE", "/a", false),
            ("GET", "/a b", false),
            ("GET", "the", false),
        ] {
            assert_eq!(line(method, target).is_unmistakable(), expected, "{method} {target}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_noticed_wherever_the_pieces_meet() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        for known in 0..head.len() {
            assert!(may_end_after(head, known), "{known}");
            assert!(!may_end_after(&head[..head.len() - 1], known), "{known}");
        }
        assert!(may_end_after(b"GET / HTTP/1.1\n\n", 15));
    }
}
