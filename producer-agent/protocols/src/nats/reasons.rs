//! What an answer says of what was asked: errors of the protocol, statuses in headers, and what JetStream says.

use crate::{Code, Outcome};

/// What became of it, and the reason's name, which is empty where all went as it mostly does.
pub(super) type Reason = (Outcome, Code);

pub(super) fn done() -> Reason {
    (Outcome::Ok, Code::default())
}

/// An error that a server says of its own accord, or in place of `+OK`.
pub(super) struct Error {
    pub reason: Reason,
    /// It stands in place of an answer to what was asked. Others may come beside it.
    pub is_answer: bool,
}

/// The errors that servers have, by how they begin, and whether the server is to blame.
const ERRORS: [(&str, &str, bool); 22] = [
    ("permissions violation", "PERMISSIONS_VIOLATION", false),
    ("authorization violation", "AUTHORIZATION_VIOLATION", false),
    ("authorization timeout", "AUTHORIZATION_TIMEOUT", false),
    ("authentication timeout", "AUTHORIZATION_TIMEOUT", false),
    ("authentication expired", "AUTHENTICATION_EXPIRED", false),
    ("user authentication expired", "AUTHENTICATION_EXPIRED", false),
    ("user authentication revoked", "AUTHENTICATION_REVOKED", false),
    ("account authentication expired", "AUTHENTICATION_EXPIRED", false),
    ("unknown protocol operation", "UNKNOWN_OPERATION", false),
    ("attempted to connect to", "WRONG_PORT", false),
    ("invalid client protocol", "INVALID_PROTOCOL", false),
    ("maximum control line", "LINE_TOO_LONG", false),
    ("parser error", "PARSER_ERROR", false),
    ("secure connection", "TLS_REQUIRED", false),
    ("stale connection", "STALE_CONNECTION", false),
    ("slow consumer", "SLOW_CONSUMER", false),
    ("maximum payload", "MAXIMUM_PAYLOAD", false),
    ("invalid subject", "INVALID_SUBJECT", false),
    ("invalid publish subject", "INVALID_SUBJECT", false),
    ("maximum subscriptions", "MAXIMUM_SUBSCRIPTIONS", false),
    ("maximum", "MAXIMUM_CONNECTIONS", true),
    ("server shutdown", "SERVER_SHUTDOWN", true),
];

/// The words of an error may hold what a client said, so that only those of the table are told.
pub(super) fn of_error(text: &[u8]) -> Error {
    let text = text.strip_prefix(b"'").unwrap_or(text);
    let begins = |words: &str| text.get(..words.len()).is_some_and(|text| text.eq_ignore_ascii_case(words.as_bytes()));
    let known = ERRORS.iter().find(|(words, ..)| begins(words));
    let (outcome, code) = known.map_or((Outcome::Unknown, "OTHER"), |(_, code, is_server)| {
        (if *is_server { Outcome::ServerError } else { Outcome::ClientError }, *code)
    });
    // A subject may be found wrong and taken all the same.
    Error { reason: (outcome, Code::new(code.as_bytes())), is_answer: code != "INVALID_SUBJECT" && code != "OTHER" }
}

/// The number of the status that headers begin with (`NATS/1.0 503`).
pub(super) fn status(headers: &[u8]) -> Option<u16> {
    let digits = headers.strip_prefix(b"NATS/1.0 ")?.get(..3)?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

/// What the answer to a request says: a status, an error of a service of NATS's own framework, or one of JetStream.
pub(super) fn of_answer(headers: &[u8], body: &[u8]) -> Reason {
    if let Some(status) = status(headers) {
        return (of_number(status), Code::of_status(status));
    }
    if let Some(error) = field(headers, b"Nats-Service-Error-Code:") {
        let code = Code::new(error);
        return (of_number(code.as_str().parse().unwrap_or(500)), code);
    }
    of_jetstream(body).unwrap_or_else(done)
}

/// As the numbers of HTTP, which these are taken from.
fn of_number(number: u16) -> Outcome {
    match number {
        ..400 => Outcome::Ok,
        400..500 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

/// The value of a header, if all of it is there.
fn field<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = headers.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\r\n"));
    lines.find_map(|line| {
        let is_it = line.get(..name.len()).is_some_and(|line| line.eq_ignore_ascii_case(name));
        is_it.then(|| line[name.len()..].trim_ascii())
    })
}

/// An error of JetStream: its number, judged by the one beside it, which is as in HTTP.
///
/// Services answer with JSON of their own: only what has both numbers where JetStream's server writes them is taken for one.
fn of_jetstream(body: &[u8]) -> Option<Reason> {
    let behind_type = match body.strip_prefix(b"{\"type\":\"io.nats.jetstream.api.") {
        Some(rest) => rest.get(memchr::memchr(b',', rest)? + 1..)?,
        None => body.strip_prefix(b"{")?,
    };
    let rest = behind_type.strip_prefix(b"\"error\":{\"code\":")?;
    let (status, rest) = digits(rest)?;
    let (error, _) = digits(rest.strip_prefix(b",\"err_code\":")?)?;
    let status = str::from_utf8(status).ok()?.parse().ok()?;
    Some((of_number(status), Code::new(error)))
}

fn digits(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0 && count < bytes.len()).then(|| bytes.split_at(count))
}

/// What a subscriber says of a message of JetStream.
pub(super) fn of_acknowledgement(payload: &[u8]) -> Reason {
    let begins = |word: &[u8]| payload.starts_with(word);
    let (outcome, code): (_, &[u8]) = match () {
        () if begins(b"-NAK") => (Outcome::ClientError, b"NAK"),
        () if begins(b"+TERM") => (Outcome::ClientError, b"TERM"),
        () if begins(b"+WPI") => (Outcome::Ok, b"WPI"),
        () if begins(b"+NXT") => (Outcome::Ok, b"NXT"),
        () => (Outcome::Ok, b""),
    };
    (outcome, Code::new(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_what_they_quote() {
        for (text, outcome, code) in [
            ("'Permissions Violation for Publish to \"secret\"'", Outcome::ClientError, "PERMISSIONS_VIOLATION"),
            ("'maximum connections exceeded'", Outcome::ServerError, "MAXIMUM_CONNECTIONS"),
            ("'Maximum Payload Violation'", Outcome::ClientError, "MAXIMUM_PAYLOAD"),
            ("'secret'", Outcome::Unknown, "OTHER"),
        ] {
            let (found, name) = of_error(text.as_bytes()).reason;
            assert_eq!((found, name.as_str()), (outcome, code), "{text}");
        }
    }

    #[test]
    fn answers_say_what_became_of_it() {
        for (headers, body, outcome, code) in [
            ("NATS/1.0 503\r\n\r\n", "", Outcome::ServerError, "503"),
            ("NATS/1.0\r\nNats-Service-Error-Code: 404\r\n\r\n", "", Outcome::ClientError, "404"),
            ("NATS/1.0\r\nNats-Service-Error-Code: secre", "", Outcome::Ok, ""),
            ("", "{\"stream\":\"orders\",\"seq\":1}", Outcome::Ok, ""),
            ("", "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"x\"}", Outcome::ServerError, "10077"),
            (
                "",
                "{\"type\":\"io.nats.jetstream.api.v1.stream_info_response\",\"error\":{\"code\":404,\"err_code\":10059,",
                Outcome::ClientError,
                "10059",
            ),
            ("", "{\"error\":{\"code\":500,\"message\":\"of a service\"}}", Outcome::Ok, ""),
        ] {
            let (found, name) = of_answer(headers.as_bytes(), body.as_bytes());
            assert_eq!((found, name.as_str()), (outcome, code), "{headers} {body}");
        }
    }
}
