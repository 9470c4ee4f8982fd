//! Reply codes (AMQP 0-9-1, 1.6 of the reference): their names, and whose fault it is.

use crate::{Code, Outcome};

/// What became of it, and the code's name, which is empty where all went as it should.
pub(super) type Reason = (Outcome, Code);

pub(super) fn done() -> Reason {
    (Outcome::Ok, Code::default())
}

pub(super) fn of(code: u16) -> Reason {
    use Outcome::{ClientError, ServerError};
    let (outcome, name): (_, &[u8]) = match code {
        200 => (Outcome::Ok, b""),
        311 => (ClientError, b"CONTENT_TOO_LARGE"),
        312 => (ClientError, b"NO_ROUTE"),
        313 => (ClientError, b"NO_CONSUMERS"),
        320 => (ServerError, b"CONNECTION_FORCED"),
        402 => (ClientError, b"INVALID_PATH"),
        403 => (ClientError, b"ACCESS_REFUSED"),
        404 => (ClientError, b"NOT_FOUND"),
        405 => (ClientError, b"RESOURCE_LOCKED"),
        406 => (ClientError, b"PRECONDITION_FAILED"),
        501 => (ClientError, b"FRAME_ERROR"),
        502 => (ClientError, b"SYNTAX_ERROR"),
        503 => (ClientError, b"COMMAND_INVALID"),
        504 => (ClientError, b"CHANNEL_ERROR"),
        505 => (ClientError, b"UNEXPECTED_FRAME"),
        506 => (ServerError, b"RESOURCE_ERROR"),
        530 => (ClientError, b"NOT_ALLOWED"),
        540 => (ServerError, b"NOT_IMPLEMENTED"),
        541 => (ServerError, b"INTERNAL_ERROR"),
        _ => (Outcome::Unknown, b"OTHER"),
    };
    (outcome, Code::new(name))
}
