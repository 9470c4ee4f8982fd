//! What statuses and errors say of an exchange.

use super::hpack::GRPC_STATUS_NONE;
use crate::{Code, Outcome};

/// <https://grpc.io/docs/guides/status-codes>, in the order of their numbers.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those that OpenTelemetry's semantic conventions count as errors of the server.
const SERVER_ERRORS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
/// RFC 9113, 7, in the order of their numbers.
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The server has not processed a stream: it is safe to ask again.
pub const REFUSED_STREAM: u32 = 7;

/// Of a call that was answered to its end.
pub fn of_grpc(status: u16) -> (Code, Outcome) {
    let Some(name) = GRPC_STATUSES.get(usize::from(status)) else {
        // What is no number says nothing; a number that nobody knows counts as UNKNOWN.
        return match status {
            GRPC_STATUS_NONE => (Code::default(), Outcome::Unknown),
            _ => (Code::new(status.to_string().as_bytes()), Outcome::ServerError),
        };
    };
    let outcome = match *name {
        "OK" => Outcome::Ok,
        name if SERVER_ERRORS.contains(&name) => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    (Code::new(name.as_bytes()), outcome)
}

/// RFC 9110, 15.
pub fn of_http(status: u16) -> (Code, Outcome) {
    let outcome = match status {
        ..400 => Outcome::Ok,
        400..500 => Outcome::ClientError,
        500.. => Outcome::ServerError,
    };
    (Code::of_status(status), outcome)
}

/// The name of an error of HTTP/2; one that is not known has its number.
pub fn error(number: u32) -> Code {
    let name = usize::try_from(number).ok().and_then(|number| ERRORS.get(number));
    name.map_or_else(|| Code::new(number.to_string().as_bytes()), |name| Code::new(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_grpc() {
        for (status, code, outcome) in [
            (0, "OK", Outcome::Ok),
            (5, "NOT_FOUND", Outcome::ClientError),
            (13, "INTERNAL", Outcome::ServerError),
            (14, "UNAVAILABLE", Outcome::ServerError),
            (16, "UNAUTHENTICATED", Outcome::ClientError),
            (17, "17", Outcome::ServerError),
            (GRPC_STATUS_NONE, "", Outcome::Unknown),
        ] {
            let (seen, seen_outcome) = of_grpc(status);
            assert_eq!((seen.as_str(), seen_outcome), (code, outcome));
        }
        assert_eq!((error(7).as_str(), error(99).as_str()), ("REFUSED_STREAM", "99"));
    }
}
