//! What was handed over is acknowledged, and removed once nothing before it is left.

use std::collections::VecDeque;

use super::Spool;
use crate::folder::Acknowledged;
use crate::reader::Reader;

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) left: u32,
    pub(super) is_complete: bool,
}

impl Pending {
    fn is_done(self) -> bool {
        self.is_complete && self.left == 0
    }
}

impl Spool {
    /// One message of an entry was acknowledged, or given up for good.
    pub fn acknowledge(&mut self, position: u64) {
        if let Some((_, pending)) = find(&self.pending, position).and_then(|index| self.pending.get_mut(index)) {
            pending.left = pending.left.saturating_sub(1);
        }
    }

    /// Removes what is acknowledged, and notes how far that is.
    pub fn settle(&mut self) {
        while let Some(front) = self.segments.front() {
            // A reader that is before the front one has read nothing of it.
            let reader = self.reader.as_ref().filter(|reader| reader.segment >= front.first);
            let read_to = match reader {
                Some(reader) if reader.segment == front.first => reader.next,
                Some(_) => u64::MAX,
                None => 0,
            };
            let run = front.writer.run;
            while let Some(&(position, pending)) = self.pending.front() {
                if position > front.last || position >= read_to || !pending.is_done() {
                    break;
                }
                self.pending.pop_front();
                self.acknowledged = Some(Acknowledged { run, first: front.first, position: position + 1 });
            }
            let is_at_end = |reader: &Reader| read_to == u64::MAX || reader.is_at_end(front);
            let waits = self.pending.front().is_some_and(|(position, _)| *position <= front.last);
            if waits || !reader.is_some_and(is_at_end) {
                break;
            }
            self.remove_front();
        }
        self.note();
    }

    /// Tells the disk what is acknowledged of the first file.
    pub(super) fn note(&mut self) {
        let Some(front) = self.segments.front().filter(|front| front.has_file()) else { return };
        let (Some(folder), Some(acknowledged)) = (&self.folder, self.acknowledged) else { return };
        if front.first == acknowledged.first && self.noted != self.acknowledged {
            // What is noted too late is handed over once more, after a kill.
            let _ = folder.note(acknowledged);
            self.noted = self.acknowledged;
        }
    }

    fn remove_front(&mut self) {
        let Some(front) = self.segments.pop_front() else { return };
        self.file_bytes -= front.file_bytes;
        self.memory_bytes -= front.memory.len();
        if let (true, Some(folder)) = (front.has_file(), &self.folder) {
            // One that stays is found at the next start; what is noted of it is that it was acknowledged.
            let _ = folder.remove(front.first);
        }
        if self.reader.as_ref().is_some_and(|reader| reader.segment == front.first) {
            self.reader = None;
        }
    }
}

/// Where the entry with this position stands.
fn find(pending: &VecDeque<(u64, Pending)>, position: u64) -> Option<usize> {
    let (first, _) = pending.front()?;
    // Those of one run stand without a gap, nearly always.
    let guess = position.checked_sub(*first).and_then(|index| usize::try_from(index).ok());
    let is_there = |index: &usize| pending.get(*index).is_some_and(|(at, _)| *at == position);
    guess.filter(is_there).or_else(|| pending.binary_search_by_key(&position, |(at, _)| *at).ok())
}

/// Whether an entry that was handed over is acknowledged. It is forgotten once all before it are.
pub(super) fn is_done(pending: &VecDeque<(u64, Pending)>, position: u64) -> bool {
    find(pending, position).is_none_or(|index| pending[index].1.is_done())
}
