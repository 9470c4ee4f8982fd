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
            Message::Record(Stream::Requests) => 0,
            Message::Record(Stream::Flows) => 1,
            Message::Watermark(Stream::Requests) => 2,
            Message::Watermark(Stream::Flows) => 3,
            Message::Record(Stream::Processes) => 4,
            // None is written.
            Message::Watermark(Stream::Processes) => 5,
        }
    }

    pub fn of(kind: u8) -> Option<Message> {
        Some(match kind {
            0 => Message::Record(Stream::Requests),
            1 => Message::Record(Stream::Flows),
            2 => Message::Watermark(Stream::Requests),
            3 => Message::Watermark(Stream::Flows),
            4 => Message::Record(Stream::Processes),
            5 => Message::Watermark(Stream::Processes),
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
        assert_eq!(Message::of(6), None);
    }
}
