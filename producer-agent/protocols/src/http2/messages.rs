//! The messages of a gRPC call in one direction: each has five bytes before it, with its length.
//!
//! In: the content of DATA frames, as far as it was captured. Out: how many messages there were, if the beginning of each was seen. Their
//! lengths are claims: nothing is allocated for them, and no number of them is told if they do not end where the stream does.

const PREFIX_BYTES: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Bytes of content so far.
    bytes: u64,
    /// Where the next message begins.
    next: u64,
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: u8,
    messages: u32,
    /// The beginning of a message was not seen, or is none.
    is_unknown: bool,
    /// Time of the first byte of the first message.
    pub first_ns: Option<u64>,
}

impl Counter {
    /// Takes so many bytes, of which the first ones were captured.
    pub fn take(&mut self, captured: &[u8], moved: u64, at_ns: u64) {
        let start = self.bytes;
        let end = start.saturating_add(moved);
        if moved > 0 {
            self.first_ns.get_or_insert(at_ns);
        }
        self.bytes = end;
        while !self.is_unknown && self.next.saturating_add(u64::from(self.prefix_bytes)) < end {
            let wanted = self.next + u64::from(self.prefix_bytes);
            let offset = usize::try_from(wanted.saturating_sub(start)).unwrap_or(usize::MAX);
            let Some(byte) = captured.get(offset) else {
                self.is_unknown = true;
                return;
            };
            self.prefix[usize::from(self.prefix_bytes)] = *byte;
            self.prefix_bytes += 1;
            if usize::from(self.prefix_bytes) == PREFIX_BYTES {
                self.begin_message();
            }
        }
    }

    /// More than one message, even if it is not known how many.
    pub fn is_many(&self) -> bool {
        self.messages > 1 || (self.messages == 1 && self.bytes > self.next)
    }

    /// How many messages there were when the stream has ended.
    pub fn total(&self) -> Option<u32> {
        (!self.is_unknown && self.prefix_bytes == 0 && self.bytes == self.next).then_some(self.messages)
    }

    fn begin_message(&mut self) {
        let [compressed, length @ ..] = self.prefix;
        self.prefix_bytes = 0;
        self.messages = self.messages.saturating_add(1);
        let message = PREFIX_BYTES as u64 + u64::from(u32::from_be_bytes(length));
        self.next = self.next.saturating_add(message);
        self.is_unknown |= compressed > 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_any_pieces() {
        let content = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\0\x02xy";
        for piece in 1..=content.len() {
            let mut counter = Counter::default();
            content.chunks(piece).for_each(|piece| counter.take(piece, piece.len() as u64, 7));
            assert_eq!((counter.total(), counter.is_many(), counter.first_ns), (Some(3), true, Some(7)));
        }
    }

    #[test]
    fn what_was_not_captured_is_not_guessed() {
        let mut counter = Counter::default();
        // The rest of a message need not be seen.
        counter.take(b"\0\0\0\x01\0abc", 261, 1);
        assert_eq!((counter.total(), counter.is_many()), (Some(1), false));
        let first = counter;
        // A second one begins unseen.
        counter.take(b"", 10, 2);
        assert_eq!((counter.total(), counter.is_many()), (None, true));
        // What follows it may look like the beginning of one.
        counter.take(b"\0\0\0\0\0", 5, 3);
        assert_eq!(counter.total(), None);
        let mut counter = Counter::default();
        counter.take(b"", 5, 1);
        counter.take(b"\0\0\0\0\0", 5, 2);
        assert_eq!((counter.total(), counter.is_many()), (None, false));
        // One that does not end where the stream does.
        let mut counter = first;
        counter.take(b"\0\xff\xff\xff\xff", 5, 2);
        assert_eq!(counter.total(), None);
        // What is none.
        let mut counter = Counter::default();
        counter.take(b"\x07\0\0\0\0", 5, 2);
        assert_eq!(counter.total(), None);
    }
}
