//! What the spool did not take, or lost: by topic and reason.
//!
//! In: each loss. Out: totals for the metrics, and what the ledger has counted as published and must take back. Bounded: reasons are names
//! in this program.

use std::collections::BTreeMap;

use headwater_spool::{KINDS, Refused};

use super::message::Message;
use crate::ledger::{Ledger, Stream};

/// What is in a file cannot be read.
pub const DAMAGED: &str = "spool_damaged";
/// An entry of another version cannot be read by this one.
pub const UNREADABLE: &str = "spool_unreadable";

/// Losses since the start.
#[derive(Debug, Default)]
pub struct Evictions {
    totals: BTreeMap<(&'static str, &'static str), u64>,
    unbooked: Vec<(Stream, &'static str, u64)>,
}

impl Evictions {
    /// A message was refused. Returns the reason's name; its caller books it.
    pub fn refused(&mut self, message: Message, refused: Refused, has_folder: bool) -> &'static str {
        let reason = match refused {
            Refused::Full if has_folder => "spool_full",
            Refused::Full => "queue_full",
            Refused::Disk => "spool_disk",
            Refused::TooLarge => "too_large",
        };
        // Progress that is refused comes later.
        if let (true, Message::Record(stream)) = (has_folder, message) {
            self.count(stream.name(), reason, 1);
        }
        reason
    }

    /// A message that had been taken is lost. What another run took is in no count of this one.
    pub fn lost(&mut self, message: Message, reason: &'static str, count: u64, is_ours: bool) {
        let Message::Record(stream) = message else { return };
        self.count(stream.name(), reason, count);
        if is_ours && count > 0 {
            self.unbooked.push((stream, reason, count));
        }
    }

    /// A part of a file is lost; how many messages were in it is known for files of this run alone.
    pub fn damaged(&mut self, counts: Option<[u64; KINDS]>, is_ours: bool) {
        match counts {
            Some(counts) => {
                for (kind, count) in counts.into_iter().enumerate() {
                    if let Some(message) = Message::of(kind as u8) {
                        self.lost(message, DAMAGED, count, is_ours);
                    }
                }
            }
            None => self.count("unknown", DAMAGED, 1),
        }
    }

    /// Takes back what the ledger counts as published and is lost.
    pub fn book(&mut self, ledger: &mut Ledger) {
        for (stream, reason, count) in self.unbooked.drain(..) {
            ledger.not_delivered(stream, reason, count);
        }
    }

    /// Topic, reason and number.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.totals.iter().map(|(&(record, reason), &count)| (record, reason, count))
    }

    fn count(&mut self, record: &'static str, reason: &'static str, count: u64) {
        if count > 0 {
            *self.totals.entry((record, reason)).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_counted_once_and_booked_only_if_it_was_ours() {
        let mut evictions = Evictions::default();
        let mut ledger = Ledger::new("n".into(), 1, 1);
        let request = Message::Record(Stream::Requests);
        (0..5).for_each(|_| ledger.published(Stream::Requests));
        assert_eq!(evictions.refused(request, Refused::Full, false), "queue_full");
        assert_eq!(evictions.refused(request, Refused::Full, true), "spool_full");
        assert_eq!(evictions.refused(Message::Progress, Refused::Disk, true), "spool_disk");
        evictions.damaged(Some([2, 0, 7, 7, 0, 7, 7]), true);
        evictions.damaged(Some([3, 1, 0, 0, 4, 0, 0]), false);
        evictions.damaged(None, false);
        for _ in 0..2 {
            evictions.book(&mut ledger);
            let counts = ledger.counts(Stream::Requests);
            assert_eq!((counts.captured, counts.published, counts.dropped[DAMAGED]), (5, 3, 2));
        }
        assert!(ledger.counts(Stream::Flows).dropped.is_empty());
        let totals: Vec<_> = evictions.totals().collect();
        assert_eq!(
            totals,
            [
                ("flows", DAMAGED, 1),
                ("processes", DAMAGED, 4),
                ("requests", DAMAGED, 5),
                ("requests", "spool_full", 1),
                ("unknown", DAMAGED, 1)
            ]
        );
    }
}
