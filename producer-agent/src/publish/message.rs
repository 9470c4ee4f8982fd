//! What waits for Kafka, as the spool keeps it: a kind, a key and bytes.

use crate::ledger::Stream;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Record(Stream),
    /// It goes to every partition. Its key is the node.
    Watermark(Stream),
}

impl Message {
    /// Its number on disk, which keeps its meaning in every version.
    pub fn kind(self) -> u8 {
        match self {
            Message::Record(stream) => stream as u8,
            Message::Watermark(stream) => 2 + stream as u8,
        }
    }

    pub fn of(kind: u8) -> Option<Message> {
        Some(match kind {
            0 => Message::Record(Stream::Requests),
            1 => Message::Record(Stream::Flows),
            2 => Message::Watermark(Stream::Requests),
            3 => Message::Watermark(Stream::Flows),
            _ => return None,
        })
    }

    pub fn stream(self) -> Stream {
        match self {
            Message::Record(stream) | Message::Watermark(stream) => stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_what_it_was() {
        for message in Stream::ALL.into_iter().flat_map(|stream| [Message::Record(stream), Message::Watermark(stream)])
        {
            assert_eq!(Message::of(message.kind()), Some(message));
            assert!(usize::from(message.kind()) < headwater_spool::KINDS);
        }
        assert_eq!(Message::of(4), None);
    }
}
