//! What waits for Kafka, as the spool keeps it: a kind, a key and bytes.

use crate::ledger::Stream;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Record(Stream),
    /// It goes to every partition. Its key is the node.
    Progress,
}

impl Message {
    #[cfg(test)]
    pub const ALL: [Message; 4] = [
        Message::Record(Stream::Requests),
        Message::Record(Stream::Flows),
        Message::Record(Stream::Processes),
        Message::Progress,
    ];

    /// Its number on disk, which keeps its meaning in every version. 2, 3 and 5 once were what agents said in the topics of the records
    /// themselves.
    pub fn kind(self) -> u8 {
        match self {
            Message::Record(Stream::Requests) => 0,
            Message::Record(Stream::Flows) => 1,
            Message::Record(Stream::Processes) => 4,
            Message::Progress => 6,
        }
    }

    pub fn of(kind: u8) -> Option<Message> {
        Some(match kind {
            0 => Message::Record(Stream::Requests),
            1 => Message::Record(Stream::Flows),
            4 => Message::Record(Stream::Processes),
            6 => Message::Progress,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_what_it_was() {
        for message in Message::ALL {
            assert_eq!(Message::of(message.kind()), Some(message));
            assert!(usize::from(message.kind()) < headwater_spool::KINDS);
        }
        assert_eq!([2, 3, 5, 7].map(Message::of), [None; 4]);
    }
}
