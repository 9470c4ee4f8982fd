//! What an answer says of what was asked: reason codes (MQTT 5.0, 2.4; 3.1.1, 3.2.2.3 and 3.9.3).

use super::packet::{Kind, Packet, Version, number_of_variable_length};
use crate::{Code, Outcome};

/// The first that is an error.
const ERRORS: u8 = 0x80;

/// What became of it, and the reason's name, which is empty where all went as it mostly does.
pub(super) type Reason = (Outcome, Code);

/// What an answer says.
pub(super) fn of(packet: &Packet, kind: Kind, version: Option<Version>) -> Reason {
    let head = packet.head();
    let at = |at: usize| head.get(at).map_or((Outcome::Unknown, Code::default()), |reason| named(*reason));
    match kind {
        Kind::Connack if version == Some(Version::Three) => {
            head.get(1).map_or((Outcome::Unknown, Code::default()), |code| of_version_three(*code))
        }
        Kind::Connack => at(1),
        Kind::Suback | Kind::Unsuback => of_several(packet, kind, version),
        Kind::Pingresp => named(0),
        // No reason is success.
        _ if packet.remaining == 2 => named(0),
        _ => at(2),
    }
}

/// One for each filter: the first error tells of all.
fn of_several(packet: &Packet, kind: Kind, version: Option<Version>) -> Reason {
    let head = packet.head();
    let unknown = (Outcome::Unknown, Code::default());
    if kind == Kind::Unsuback && packet.remaining == 2 {
        return named(0);
    }
    let reasons = match version {
        Some(Version::Three) => head.get(2..),
        Some(Version::Five) => head.get(2..).and_then(|rest| {
            number_of_variable_length(rest).and_then(|(bytes, behind)| rest.get(behind + bytes as usize..))
        }),
        // The last of them, if there are no properties.
        None if packet.remaining <= 4 => head.get(packet.remaining as usize - 1..),
        None => None,
    };
    match reasons.and_then(|reasons| reasons.iter().find(|reason| **reason >= ERRORS)) {
        // Version 3.1.1 has this one alone: the filter is refused.
        Some(&ERRORS) if version == Some(Version::Three) => (Outcome::ClientError, Code::new(b"FAILURE")),
        Some(reason) => named(*reason),
        // What was granted is no outcome; that there was nothing to give up is worth a word.
        None if packet.is_whole() => {
            reasons.and_then(|reasons| reasons.iter().max()).map_or(unknown, |reason| named(*reason))
        }
        None => unknown,
    }
}

/// Return codes of CONNACK.
fn of_version_three(code: u8) -> Reason {
    let (outcome, name): (_, &[u8]) = match code {
        0 => (Outcome::Ok, b""),
        1 => (Outcome::ClientError, b"UNSUPPORTED_PROTOCOL"),
        2 => (Outcome::ClientError, b"INVALID_CLIENT_ID"),
        3 => (Outcome::ServerError, b"SERVER_UNAVAILABLE"),
        4 => (Outcome::ClientError, b"BAD_USER_OR_PASSWORD"),
        5 => (Outcome::ClientError, b"NOT_AUTHORIZED"),
        _ => (Outcome::Unknown, b"OTHER"),
    };
    (outcome, Code::new(name))
}

/// A reason code.
pub(super) fn named(reason: u8) -> Reason {
    use Outcome::{ClientError, Ok, ServerError};
    let (outcome, name): (_, &[u8]) = match reason {
        0 => (Ok, b""),
        0x10 => (Ok, b"NO_SUBSCRIBERS"),
        0x11 => (Ok, b"NO_SUBSCRIPTION"),
        0x01..ERRORS => (Ok, b""),
        0x80 => (ServerError, b"UNSPECIFIED"),
        0x81 => (ClientError, b"MALFORMED_PACKET"),
        0x82 => (ClientError, b"PROTOCOL_ERROR"),
        0x83 => (ServerError, b"IMPLEMENTATION_SPECIFIC"),
        0x84 => (ClientError, b"UNSUPPORTED_PROTOCOL"),
        0x85 => (ClientError, b"INVALID_CLIENT_ID"),
        0x86 => (ClientError, b"BAD_USER_OR_PASSWORD"),
        0x87 => (ClientError, b"NOT_AUTHORIZED"),
        0x88 => (ServerError, b"SERVER_UNAVAILABLE"),
        0x89 => (ServerError, b"SERVER_BUSY"),
        0x8a => (ClientError, b"BANNED"),
        0x8b => (ServerError, b"SERVER_SHUTTING_DOWN"),
        0x8c => (ClientError, b"BAD_AUTHENTICATION"),
        0x8d => (ClientError, b"KEEP_ALIVE_TIMEOUT"),
        0x8e => (ClientError, b"SESSION_TAKEN_OVER"),
        0x8f => (ClientError, b"INVALID_FILTER"),
        0x90 => (ClientError, b"INVALID_TOPIC"),
        0x91 => (ClientError, b"PACKET_ID_IN_USE"),
        0x92 => (ClientError, b"PACKET_ID_NOT_FOUND"),
        0x93 => (ClientError, b"RECEIVE_MAX_EXCEEDED"),
        0x94 => (ClientError, b"INVALID_TOPIC_ALIAS"),
        0x95 => (ClientError, b"PACKET_TOO_LARGE"),
        0x96 => (ClientError, b"MESSAGE_RATE_TOO_HIGH"),
        0x97 => (ServerError, b"QUOTA_EXCEEDED"),
        0x98 => (ServerError, b"ADMINISTRATIVE_ACTION"),
        0x99 => (ClientError, b"INVALID_PAYLOAD"),
        0x9a => (ClientError, b"RETAIN_NOT_SUPPORTED"),
        0x9b => (ClientError, b"QOS_NOT_SUPPORTED"),
        0x9c => (ClientError, b"USE_ANOTHER_SERVER"),
        0x9d => (ClientError, b"SERVER_MOVED"),
        0x9e => (ClientError, b"NO_SHARED_SUBSCRIPTIONS"),
        0x9f => (ClientError, b"CONNECTION_RATE"),
        0xa0 => (ServerError, b"MAXIMUM_CONNECT_TIME"),
        0xa1 => (ClientError, b"NO_SUBSCRIPTION_IDS"),
        0xa2 => (ClientError, b"NO_WILDCARDS"),
        _ => (Outcome::Unknown, b"OTHER"),
    };
    (outcome, Code::new(name))
}
