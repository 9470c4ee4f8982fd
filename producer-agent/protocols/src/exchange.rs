//! What a parser gives: exchanges, losses by reason, and what is known of the encryption.

use std::fmt;
use std::net::IpAddr;

use crate::{Encryption, Position, Propagated};

/// Receives what a parser has found, in the order in which it became known.
pub type Sink<'s> = dyn FnMut(Event<'_>) + 's;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is passed on at once, and nearly all are exchanges")]
pub enum Event<'a> {
    Exchange(Exchange<'a>),
    Loss(Loss),
    /// All that can be known of how the connection is encrypted. Told once.
    Encryption(&'a Encryption),
}

/// One request and what came back.
///
/// All byte counts are those on the wire: heads, bodies, and the framing of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// Position of the request's first byte in the client's stream. Both sides see the same one: it is the name of
    /// the exchange on its connection. Under TLS, the place on the wire where the record begins that holds this byte, and as many bytes on as lie before it within
    /// the record. Of an exchange that the server began, [`Position::of_server`] of its first byte in the server's stream.
    pub request_position: Position,
    /// Position of the first byte of the response, interim responses included. None if no byte came.
    pub response_position: Option<Position>,
    /// What is asked for: a method, a command. Empty where that is always the same and the path alone says it.
    pub method: &'a str,
    /// The target's path without query and fragment; `*` and the authority of a CONNECT stand as they are.
    pub path: &'a str,
    /// The path was longer than the bound and is cut.
    pub path_truncated: bool,
    /// What a body of which the path says nothing names: the operation of GraphQL, the method of JSON-RPC. Of bounded length; mostly empty.
    pub named: &'a str,
    /// What is asked there: the host that the client named, the database. Of bounded length; empty where that is not known or there is none.
    pub resource: &'a str,
    /// The addresses that the answer gives for the resource, where that is a name that was asked for them (DNS); else none.
    pub addresses: &'a [IpAddr],
    /// What the client says it belongs to.
    pub propagated: Propagated,
    /// Status of the final response, if its head was seen.
    pub status: Option<u16>,
    pub request_bytes: u64,
    /// Everything from `response_position` on, so interim responses (RFC 9110, 15.2) count too.
    pub response_bytes: u64,
    /// Time of the call that moved the request's first byte.
    pub request_started_ns: u64,
    /// Time of the call that moved the request's last byte. Later than the response's times if the server answered
    /// before it had the whole request.
    pub request_ended_ns: u64,
    /// Time of the call that moved the first byte of the final response: interim ones say nothing about latency.
    pub response_started_ns: Option<u64>,
    /// Time of the call that moved the last byte seen of the response.
    pub response_ended_ns: Option<u64>,
    /// When it was known that the exchange was complete. It is the time of the newest event that was fed, so it never
    /// decreases from one exchange of a connection to the next. For messages with a length this is the time of their
    /// last byte; without one, of the event that proved the end: the next exchange, or the close.
    pub completed_ns: u64,
    /// The protocol's name, as it stands in records.
    pub protocol: &'static str,
    pub kind: Kind,
    /// What became of it, by the rules of its protocol.
    pub outcome: Outcome,
    /// What the protocol says of the outcome: `503`. Empty if it said nothing.
    pub code: Code,
    /// Why there is no complete response, if there is none.
    pub failure: Option<Failure>,
    /// What was said within it, where its protocol carries messages of its own.
    pub messages: Messages,
}

/// The messages within one exchange, such as those of a gRPC call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// How many the client sent; None if that is not known or the protocol has none.
    pub request: Option<u32>,
    /// How many the server sent, likewise.
    pub response: Option<u32>,
    /// Time of the call that moved the first byte of the server's first one.
    pub first_response_ns: Option<u64>,
}

/// What became of an exchange. Each protocol says what counts as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    /// It was asked for what cannot be had.
    ClientError,
    /// Whoever was asked has failed.
    ServerError,
    /// Nothing came back.
    Unanswered,
    /// The client left before it could be told.
    Unknown,
}

impl Outcome {
    /// Whoever was asked is to blame.
    pub fn is_error(self) -> bool {
        matches!(self, Self::ServerError | Self::Unanswered)
    }
}

/// A short word or number of a protocol. What is longer than any code is cut.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Code {
    text: [u8; Self::BYTES_MAX],
    length: u8,
}

impl Code {
    pub const BYTES_MAX: usize = 23;

    /// Takes letters, digits and signs of ASCII, up to the first byte that is none.
    pub fn new(text: &[u8]) -> Self {
        let mut code = Self::default();
        for (place, byte) in code.text.iter_mut().zip(text.iter().take_while(|byte| byte.is_ascii_graphic())) {
            *place = *byte;
            code.length += 1;
        }
        code
    }

    /// A status of three digits.
    pub fn of_status(status: u16) -> Self {
        let digit = |value: u16| b'0' + (value % 10) as u8;
        Self::new(&[digit(status / 100), digit(status / 10), digit(status)])
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What an exchange is to those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody asks and waits for the answer.
    #[default]
    Call,
    /// Nobody answers.
    OneWay,
    /// The answer goes on as long as there is something to tell: its end is nothing that anybody waits for, its first byte is.
    Stream,
    /// The answer comes when there is something to tell, or when the time is up that was asked for; or it is the client that answers.
    Wait,
}

/// Why a request has no complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection was closed in the middle of the request, and nothing came back.
    RequestIncomplete,
    /// The connection was closed before the first byte of a response.
    NoResponse,
    /// The server closed the connection in the middle of the response.
    ResponseIncomplete,
    /// The client closed the connection in the middle of the response: it wanted no more of it.
    ClientLeft,
    /// The server reset the connection before the response was known to be complete, or either side before it began.
    Reset,
    /// The peer stopped answering before the response was known to be complete.
    TimedOut,
}

impl Failure {
    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestIncomplete => "request_incomplete",
            Self::NoResponse => "no_response",
            Self::ResponseIncomplete => "response_incomplete",
            Self::ClientLeft => "client_left",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
        }
    }
}

/// So many exchanges were not emitted, or not in full, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub reason: LossReason,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// A response, or the rest of an exchange, whose request was sent before the capture began.
    StartedBeforeCapture,
    /// A response that no request asked for, such as a 408 on an idle connection.
    UnsolicitedResponse,
    /// Events are missing: a position jumped.
    Gap,
    /// The head of the request or of the response lies in bytes that were not copied.
    HeadNotCaptured,
    /// The head does not fit its buffer, and what fits does not say enough.
    HeadTooLarge,
    MalformedRequest,
    MalformedResponse,
    /// More requests were waiting for their responses than the bound allows.
    TooManyPipelined,
    /// The end of a message was not seen, and pipelining left more than one place where it may have been.
    Ambiguous,
    /// Sent behind a request that turned the connection into something else.
    Upgraded,
    /// Still open when the connection was no longer watched, or cut off in the middle of its head.
    Unfinished,
    /// Emitted all the same, without a value that stands in a table whose beginning was not seen.
    ValueUnknown,
    /// Of an exchange under TLS, the place on the wire is not known.
    Unplaced,
}

impl LossReason {
    pub const ALL: [Self; 13] = [
        Self::StartedBeforeCapture,
        Self::UnsolicitedResponse,
        Self::Gap,
        Self::HeadNotCaptured,
        Self::HeadTooLarge,
        Self::MalformedRequest,
        Self::MalformedResponse,
        Self::TooManyPipelined,
        Self::Ambiguous,
        Self::Upgraded,
        Self::Unfinished,
        Self::ValueUnknown,
        Self::Unplaced,
    ];

    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartedBeforeCapture => "started_before_capture",
            Self::UnsolicitedResponse => "unsolicited_response",
            Self::Gap => "gap",
            Self::HeadNotCaptured => "head_not_captured",
            Self::HeadTooLarge => "head_too_large",
            Self::MalformedRequest => "malformed_request",
            Self::MalformedResponse => "malformed_response",
            Self::TooManyPipelined => "too_many_pipelined",
            Self::Ambiguous => "ambiguous",
            Self::Upgraded => "upgraded",
            Self::Unfinished => "unfinished",
            Self::ValueUnknown => "value_unknown",
            Self::Unplaced => "unplaced",
        }
    }
}
