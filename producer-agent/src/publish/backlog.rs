//! Records that wait since the way to Kafka is not open yet, in their order.
//!
//! In: encoded records. Out: the same, the oldest first. Bounded in bytes: what finds no room is refused, so that its caller counts it.
//! Pure.

use std::collections::VecDeque;

use crate::ledger::Stream;

/// What a record takes beside its bytes.
const RECORD_BYTES: usize = size_of::<Waiting>() + 16;

/// A record that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    pub stream: Stream,
    key_bytes: u32,
    /// The key, and the value behind it.
    bytes: Box<[u8]>,
}

impl Waiting {
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key_bytes as usize..]
    }
}

/// All that wait.
#[derive(Debug)]
pub struct Backlog {
    records: VecDeque<Waiting>,
    bytes: usize,
    bytes_max: usize,
}

impl Backlog {
    pub fn new(bytes_max: usize) -> Backlog {
        Backlog { records: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps a record. Says whether there was room.
    pub fn push(&mut self, stream: Stream, key: &[u8], value: &[u8]) -> bool {
        let bytes = key.len() + value.len() + RECORD_BYTES;
        if self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.bytes += bytes;
        self.records.push_back(Waiting { stream, key_bytes: key.len() as u32, bytes: [key, value].concat().into() });
        true
    }

    /// Hands over the oldest records as long as `send` takes them.
    pub fn hand_over(&mut self, mut send: impl FnMut(&Waiting) -> bool) {
        while self.records.front().is_some_and(&mut send) {
            if let Some(sent) = self.records.pop_front() {
                self.bytes -= sent.bytes.len() + RECORD_BYTES;
            }
        }
        if self.records.is_empty() {
            // It is not needed again before the next start.
            self.records = VecDeque::new();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_order_and_their_bound() {
        let mut backlog = Backlog::new(3 * (RECORD_BYTES + 4));
        let push = |backlog: &mut Backlog, value: u8| backlog.push(Stream::Flows, b"key", &[value]);
        assert!(push(&mut backlog, 1) && push(&mut backlog, 2) && push(&mut backlog, 3));
        assert!(!push(&mut backlog, 4), "there is room for three");
        let mut sent = Vec::new();
        let mut take = |backlog: &mut Backlog, most: usize| {
            let mut room = most;
            backlog.hand_over(|record| {
                let is_taken = room > 0;
                if is_taken {
                    room -= 1;
                    sent.push((record.key().to_vec(), record.value()[0]));
                }
                is_taken
            });
        };
        take(&mut backlog, 2);
        assert!(push(&mut backlog, 5) && push(&mut backlog, 6) && !push(&mut backlog, 7), "two have gone");
        take(&mut backlog, 9);
        assert_eq!(sent, [1, 2, 3, 5, 6].map(|value| (b"key".to_vec(), value)));
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }
}
