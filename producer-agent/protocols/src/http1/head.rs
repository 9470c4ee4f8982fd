//! Heads: request line, status line, and the two header fields that say how long the body is.
//!
//! In: bytes that begin with a head. Out: what the head says, borrowed from those bytes, or what is known of a head
//! that is not whole. httparse does the syntax (RFC 9112, 2 to 5), and so bounds what is accepted.

use std::mem::MaybeUninit;

use super::framing::{self, Framing};
use super::method::Method;

/// More header fields than any server accepts by default.
const HEADERS_MAX: usize = 128;
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
    /// Too many header fields; the first line is known, the end of the head is not.
    Oversized(L),
    /// Not a head. `line_seen`: its first line was one.
    Malformed {
        line_seen: bool,
    },
}

#[derive(Clone, Copy)]
pub(super) struct RequestLine<'b> {
    pub method: &'b str,
    pub target: &'b str,
}

/// Parses a request head (RFC 9112, 3).
pub(super) fn parse_request(bytes: &[u8]) -> Parsed<RequestLine<'_>> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(bytes, &mut headers);
    let line = match (request.method, request.path, request.version) {
        (Some(method), Some(target), Some(_)) => Some(RequestLine { method, target }),
        _ => None,
    };
    if request.method.is_some_and(|method| method.len() > METHOD_BYTES_MAX) {
        return Parsed::Malformed { line_seen: false };
    }
    match (outcome, line) {
        (Ok(httparse::Status::Complete(length)), Some(line)) => {
            match framing::of_request(request.version.unwrap_or(1), request.headers) {
                Some(framing) => Parsed::Complete { line, framing, length },
                None => Parsed::Malformed { line_seen: true },
            }
        }
        (Ok(_), line) => Parsed::Partial(line),
        (Err(httparse::Error::TooManyHeaders), Some(line)) => Parsed::Oversized(line),
        (Err(_), line) => Parsed::Malformed { line_seen: line.is_some() },
    }
}

/// Parses a response head (RFC 9112, 4). The body's length depends on the request's method too; None if unknown.
pub(super) fn parse_response(bytes: &[u8], method: Option<&Method>) -> Parsed<u16> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let outcome = lenient().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    match (outcome, response.code) {
        (Ok(httparse::Status::Complete(length)), Some(status)) => {
            match framing::of_response(response.version.unwrap_or(1), status, method, response.headers) {
                Some(framing) => Parsed::Complete { line: status, framing, length },
                None => Parsed::Malformed { line_seen: true },
            }
        }
        (Ok(_), status) => Parsed::Partial(status),
        (Err(httparse::Error::TooManyHeaders), Some(status)) => Parsed::Oversized(status),
        (Err(_), status) => Parsed::Malformed { line_seen: status.is_some() },
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

/// One of the common methods. None of them ends like another, and no word before one makes another, so what begins with
/// one is not the rest of something.
pub(super) fn has_common_method(line: &RequestLine<'_>) -> bool {
    !matches!(Method::new(line.method), Method::Other(_))
}

/// The path of a request target (RFC 9112, 3.2): without query and fragment, and of an absolute form without scheme
/// and authority. The asterisk and the authority of a CONNECT are kept.
pub(super) fn path_of<'b>(line: &RequestLine<'b>) -> &'b str {
    let target = line.target;
    let target = &target[..target.find(['?', '#']).unwrap_or(target.len())];
    if target.starts_with('/') || line.method == "CONNECT" {
        return target;
    }
    match target.split_once("://") {
        Some((_, after)) => after.find('/').map_or("/", |slash| &after[slash..]),
        None => target,
    }
}

/// Servers say things that clients accept, so an observer has to.
fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true);
    config
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line<'b>(method: &'b str, target: &'b str) -> RequestLine<'b> {
        RequestLine { method, target }
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
            assert_eq!(path_of(&line(method, target)), path, "{method} {target}");
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
    }

    #[test]
    fn what_is_no_request_head_is_malformed() {
        for bytes in [
            &b"{\"a\": 1}"[..],
            b"GET / HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI / HTTP/1.1\r\n\r\n",
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert!(matches!(parse_request(bytes), Parsed::Malformed { line_seen: false }), "{text}");
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
