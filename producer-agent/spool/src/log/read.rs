//! What comes next is handed over, in the order of its positions.

use super::acknowledge::Pending;
use super::{Event, Handed, Spool};
use crate::folder::Acknowledged;
use crate::reader::{Next, Reader};

impl Spool {
    /// Hands over what comes next, until something is not taken or nothing is left.
    pub fn hand_over(&mut self, mut to: impl FnMut(Event<'_>) -> Handed) {
        while let Some(index) = self.reading() {
            if !self.hand_over_next(index, &mut to) {
                return;
            }
        }
    }

    /// The segment that has the next entry.
    fn reading(&mut self) -> Option<usize> {
        loop {
            let Some(reader) = &self.reader else {
                self.reader = Some(Reader::new(self.segments.front()?));
                continue;
            };
            let index = self.segments.partition_point(|segment| segment.first < reader.segment);
            let segment = self.segments.get(index)?;
            if segment.first != reader.segment {
                self.reader = Some(Reader::new(segment));
            } else if reader.is_at_end(segment) {
                self.reader = Some(Reader::new(self.segments.get(index + 1)?));
            } else {
                return Some(index);
            }
        }
    }

    /// Says whether it goes on.
    fn hand_over_next(&mut self, index: usize, to: &mut impl FnMut(Event<'_>) -> Handed) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let segment = &mut self.segments[index];
        let (position, kind, bytes, handed) = match reader.peek(self.folder.as_ref(), segment) {
            Next::Entry(entry, bytes) => {
                let (position, kind) = (entry.position, entry.kind);
                let is_noted = |noted: Acknowledged| noted.first == segment.first && position < noted.position;
                if self.acknowledged.is_some_and(is_noted) {
                    reader.advance(position, kind, bytes);
                    return true;
                }
                (position, kind, bytes, to(Event::Entry(entry, &segment.writer)))
            }
            Next::Damaged => {
                let (offset, written) = (reader.offset, segment.written_bytes());
                let counts = segment
                    .counts
                    .map(|written| std::array::from_fn(|kind| written[kind].saturating_sub(reader.counts[kind])));
                to(Event::Lost { writer: &segment.writer, bytes: written.saturating_sub(offset), counts });
                segment.readable_bytes = offset.min(written);
                if offset >= written {
                    // What is in memory was written here: this does not happen.
                    self.memory_bytes -= segment.memory.len();
                    segment.memory = Vec::new();
                } else if let Some(rest) = segment.split_off_memory() {
                    // What is in memory goes on behind it, in a segment that can be read.
                    self.segments.insert(index + 1, rest);
                }
                return true;
            }
        };
        if handed.messages > 0 || handed.is_complete {
            if self.pending.back().is_none_or(|(last, _)| *last != position) {
                self.pending.push_back((position, Pending { left: 0, is_complete: false }));
            }
            if let Some((_, pending)) = self.pending.back_mut() {
                // Without a folder there is nobody to keep it for.
                pending.left += if self.path.is_some() { handed.messages } else { 0 };
                pending.is_complete = handed.is_complete;
            }
        }
        if handed.is_complete {
            reader.advance(position, kind, bytes);
        }
        handed.is_complete
    }
}
