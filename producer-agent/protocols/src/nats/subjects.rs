//! Names of subjects.

use crate::operation;
use crate::resource::BYTES_MAX;

/// Where answers go.
pub(super) const INBOX: &[u8] = b"_INBOX.";
/// Where what becomes of messages of JetStream is said.
pub(super) const ACKNOWLEDGES: &[u8] = b"$JS.ACK.";
/// Where a consumer of JetStream is asked for messages.
pub(super) const ASKS_FOR_MESSAGES: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";

/// A subject without its identifiers.
pub(super) fn name(subject: &[u8]) -> Box<str> {
    if subject.is_empty() {
        return Box::default();
    }
    if subject.starts_with(INBOX) {
        return format!("_INBOX.{}", operation::IDENTIFIER).into();
    }
    let subject = String::from_utf8_lossy(subject);
    let mut name = match acknowledged(&subject) {
        Some((stream, consumer)) => operation::dotted(&format!("$JS.ACK.{stream}.{consumer}")),
        None => operation::dotted(&subject),
    };
    name.truncate(name.floor_char_boundary(BYTES_MAX));
    name.into()
}

/// The stream and the consumer of what is acknowledged: numbers follow, and a domain and an account may stand before.
fn acknowledged(subject: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').take(10).collect();
    let at = match words.len() {
        7 => 0,
        9.. => 2,
        _ => return None,
    };
    Some((words[at], words[at + 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_without_identifiers_and_with_a_bound() {
        for (subject, told) in [
            ("shop.orders.4711.paid", "shop.orders.{id}.paid"),
            ("_INBOX.short", "_INBOX.{id}"),
            ("$JS.ACK.orders.worker.1.2.3.1700000000000000000.0", "$JS.ACK.orders.worker"),
            ("$JS.ACK.hub.AbCdEf.orders.worker.1.2.3.1700000000000000000.0.x", "$JS.ACK.orders.worker"),
            ("$JS.API.STREAM.INFO.orders", "$JS.API.STREAM.INFO.orders"),
            ("shop.>", "shop.>"),
            ("", ""),
        ] {
            assert_eq!(&*name(subject.as_bytes()), told, "{subject}");
        }
        assert!(name("word.".repeat(100).as_bytes()).len() <= BYTES_MAX);
    }
}
