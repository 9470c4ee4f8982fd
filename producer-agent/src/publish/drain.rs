//! Hands over what is in the spool to the producer, the oldest first.
//!
//! In: the spool's entries, an open way. Out: messages in the producer's queue, until that is full or a turn's time is over. Promise: after
//! a loss the next progress of the same run is left out. Whoever reads it sees the hole in the numbers, and does not take the time around it
//! for covered.

use std::time::{Duration, Instant};

use headwater_kafka::{PublishError, Tag};
use headwater_spool::{Entry, Event, Handed, Spool, Writer};

use super::encode::{Encoders, Older};
use super::evictions::{Evictions, UNREADABLE};
use super::message::Message;
use super::route::Route;

/// Other work of a turn waits no longer.
const HAND_OVER_MAX: Duration = Duration::from_millis(50);

/// Where the hand-over is.
pub struct Drain {
    /// What this version notes of itself.
    note: Vec<u8>,
    value: Vec<u8>,
    /// The run whose next progress is left out.
    left_out: Option<u64>,
    /// The version that was read last, by what it noted of itself.
    older: Option<(Vec<u8>, Option<Older>)>,
    /// Records of earlier runs that were handed over, by stream.
    pub recovered: [u64; 3],
}

impl Drain {
    pub fn new() -> Drain {
        Drain { note: Encoders::note(), value: Vec::new(), left_out: None, older: None, recovered: [0; 3] }
    }

    /// Goes on as long as there is room and time.
    pub fn run(&mut self, spool: &mut Spool, route: &mut Route, encoders: &Encoders, evictions: &mut Evictions) {
        let until = Instant::now() + HAND_OVER_MAX;
        spool.hand_over(|event| match event {
            Event::Entry(entry, writer) if Instant::now() < until => {
                self.entry(&entry, writer, route, encoders, evictions)
            }
            Event::Entry(..) => Handed::NOT,
            Event::Lost { writer, bytes, counts } => {
                tracing::error!(
                    bytes,
                    of_this_run = writer.is_ours,
                    ?counts,
                    "a part of the spool cannot be read; what was in it is lost, and the windows that it belongs to are called incomplete"
                );
                evictions.damaged(counts, writer.is_ours);
                self.left_out = Some(writer.run);
                Handed::DROPPED
            }
        });
    }

    fn entry(
        &mut self,
        entry: &Entry<'_>,
        writer: &Writer,
        route: &mut Route,
        encoders: &Encoders,
        evictions: &mut Evictions,
    ) -> Handed {
        let Some(message) = Message::of(entry.kind) else { return Handed::DROPPED };
        if message == Message::Progress && self.left_out == Some(writer.run) {
            self.left_out = None;
            return Handed::DROPPED;
        }
        if !self.read(entry, message, writer, encoders) {
            evictions.lost(message, UNREADABLE, 1, writer.is_ours);
            self.left_out = Some(writer.run);
            return Handed::DROPPED;
        }
        match message {
            Message::Record(stream) => {
                let tag = Tag { number: entry.position, is_reported: true, is_counted: writer.is_ours };
                match route.record(stream, entry.key, &mut self.value, tag) {
                    Ok(()) => {
                        self.recovered[stream as usize] += u64::from(!writer.is_ours);
                        Handed { messages: 1, is_complete: true }
                    }
                    Err(PublishError::TooLarge) => {
                        evictions.lost(message, "too_large", 1, writer.is_ours);
                        self.left_out = Some(writer.run);
                        Handed::DROPPED
                    }
                    Err(PublishError::QueueFull | PublishError::Stopped) => Handed::NOT,
                }
            }
            Message::Progress => {
                let tag = Tag { number: entry.position, is_reported: true, is_counted: false };
                match route.progress(&self.value, tag, encoders) {
                    Some(messages) => Handed { messages, is_complete: true },
                    None => Handed::NOT,
                }
            }
        }
    }

    /// Puts the value into the buffer, as this version writes it.
    fn read(&mut self, entry: &Entry<'_>, message: Message, writer: &Writer, encoders: &Encoders) -> bool {
        self.value.clear();
        if writer.is_ours || writer.note == self.note {
            self.value.extend_from_slice(entry.value);
            return true;
        }
        if self.older.as_ref().is_none_or(|(note, _)| *note != writer.note) {
            let older = Older::read(&writer.note);
            self.older = Some((writer.note.clone(), older));
        }
        match &self.older {
            Some((_, Some(older))) => encoders.convert(older, message, entry.value, &mut self.value),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use headwater_schemas::records::Progress;
    use headwater_schemas::samples;
    use headwater_spool::Options;

    use super::super::evictions::DAMAGED;
    use super::super::route::tests::{route, waiting};
    use super::*;
    use crate::ledger::{Ledger, Stream};

    fn options() -> Options {
        Options { bytes_max: 1 << 20, memory_bytes_max: 1 << 20, note: Encoders::note() }
    }

    fn push(spool: &mut Spool, encoders: &Encoders, message: Message, number: i64) {
        let value = match message {
            Message::Record(_) => vec![0, 0, 0, 0, 0, number as u8],
            Message::Progress => {
                encoders.progress.encode(&Progress { sequence: number, ..samples::progress() }).unwrap()
            }
        };
        spool.push(message.kind(), b"key", &value).unwrap();
    }

    /// Hands over what is there, to two partitions, and expects so many messages in the queue, and so much progress that waits for them.
    fn drain(
        spool: &mut Spool,
        encoders: &Encoders,
        evictions: &mut Evictions,
        (expected, progress): (usize, usize),
    ) -> Drain {
        let mut route = route([2, 2]);
        let mut drain = Drain::new();
        while !spool.is_read() {
            drain.run(spool, &mut route, encoders, evictions);
        }
        assert_eq!((waiting(&route, expected), route.vouching.len()), (expected, progress));
        drain
    }

    #[test]
    fn behind_a_damaged_part_no_progress_vouches_for_what_was_in_it() {
        use Message::{Progress, Record};
        use Stream::{Flows, Requests};
        let folder = tempfile::tempdir().unwrap();
        let encoders = Encoders::new().unwrap();
        let mut spool = Spool::open(folder.path(), &options()).unwrap();
        let mut ledger = Ledger::new("n".into(), 1, 1);
        for number in 1..=3 {
            push(&mut spool, &encoders, Record(Requests), number);
            ledger.published(Requests);
        }
        // It fills the file, and the next ones stand in one of their own.
        spool.push(Record(Flows).kind(), b"key", &[0; 140_000]).unwrap();
        ledger.published(Flows);
        for number in 1..=2 {
            push(&mut spool, &encoders, Progress, number);
        }
        spool.write_out();
        let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "log"));
        files.sort();
        let mut bytes = fs::read(&files[0]).unwrap();
        // In the flow.
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&files[0], bytes).unwrap();

        let mut evictions = Evictions::default();
        // Three requests, and what was said the second time.
        drain(&mut spool, &encoders, &mut evictions, (3, 1));
        evictions.book(&mut ledger);
        assert_eq!((ledger.counts(Flows).published, ledger.counts(Flows).dropped[DAMAGED]), (0, 1));
        assert_eq!((ledger.counts(Requests).published, ledger.counts(Requests).dropped.len()), (3, 0));
    }

    #[test]
    fn what_an_earlier_run_left_is_handed_over_and_counted_apart() {
        let folder = tempfile::tempdir().unwrap();
        let encoders = Encoders::new().unwrap();
        let request = Message::Record(Stream::Requests);
        for number in [7, 8] {
            let mut spool = Spool::open(folder.path(), &options()).unwrap();
            push(&mut spool, &encoders, request, number);
            spool.write_out();
        }
        // One of a version that nobody knows.
        let unknown = Options { note: b"?".to_vec(), ..options() };
        let mut spool = Spool::open(folder.path(), &unknown).unwrap();
        push(&mut spool, &encoders, request, 9);
        spool.write_out();
        drop(spool);

        let mut spool = Spool::open(folder.path(), &options()).unwrap();
        push(&mut spool, &encoders, request, 10);
        let mut evictions = Evictions::default();
        let drain = drain(&mut spool, &encoders, &mut evictions, (3, 0));
        assert_eq!(drain.recovered, [2, 0, 0]);
        assert_eq!(evictions.totals().collect::<Vec<_>>(), [("requests", UNREADABLE, 1)]);
    }
}
