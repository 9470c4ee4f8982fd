//! What names a connection and a place in what it carries, as both ends compute them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A TCP connection, the same number at both of its ends and for as long as it lives. In records it is 16 hex digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct ConnectionId(pub u64);

/// How many bytes of its direction a connection had carried before this one. With the connection it names an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct StreamPosition(pub i64);

impl ConnectionId {
    /// Reads what [`ConnectionId`] is written as; nothing else is taken.
    pub fn parse(text: &str) -> Option<ConnectionId> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(ConnectionId)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        for id in [0, 1, 0x00ff_0000_0000_0001, u64::MAX].map(ConnectionId) {
            assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "1", "00000000000000001", "+000000000000001", "000000000000000g"] {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
    }
}
