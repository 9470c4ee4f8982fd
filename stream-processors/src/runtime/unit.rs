//! One unit of work: a processor, the partitions that feed it, and what of theirs could not be read.
//!
//! In: records of its partitions, which may be anything. Out: what the processor makes of them, and a [`Dead`] for each that is
//! none, once, also over restarts. Bounds: the size of a record that is read at all ([`bytes_max`]), and of what is kept of a
//! dead one: everything that is published must fit into one message of Kafka, or the unit could never get past it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_kafka::{Assignment, Commit, Kept, Message, Offset, Partition, RecordError, SchemaCache, TopicPartition};
use headwater_schemas::records::DeadLetter;
use headwater_schemas::topics::{PARTITIONS_HEADER, TIMESTAMP_TYPE, Topic};
use tracing::{info, warn};

use crate::metrics;
use crate::modes::Mode;
use crate::objectives::rules::Rules;
use crate::plausible::SOURCE_PARTITIONS_MAX;
use crate::processor::{Checkpoint, Counters, Input, Kind, Memo, NodeTrouble, Output, Processor, SnapshotPlace};
use crate::settings::Settings;

/// Longer keys of dead records are cut here.
const DEAD_KEY_BYTES_MAX: usize = 16 * 1024;
/// Longer descriptions of what is wrong, which may quote the record, are cut here.
const DEAD_ERROR_CHARS_MAX: usize = 1000;

/// Records that agents saw acknowledged come sooner than this, where they are still there and not far away.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Between two snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of snapshots for each record that was read, at most. A record of a request takes some 200 before compression.
const SNAPSHOT_BYTES_A_RECORD: f64 = 64.0;

pub struct Unit {
    processor: Box<dyn Processor>,
    inputs: Vec<Position>,
    dead_letters: Vec<Dead>,
    /// It is far ahead of others that catch up.
    pub waits: bool,
    /// Since the last commit.
    has_read: bool,
    /// When it read last, or began.
    pub read_at: Instant,
    /// Since that was noted.
    reads: bool,
    /// Whether it was told that agents' clocks cannot be judged.
    is_told: bool,
    snapshots: SnapshotState,
}

/// The newest snapshot of a unit, and whether another one is due.
struct SnapshotState {
    place: Option<SnapshotPlace>,
    at: Instant,
    records_since: u64,
    is_due: bool,
    /// How large the last one was beside what was expected.
    ratio: f64,
}

struct Position {
    /// It was told to read from elsewhere than where its group stands, and nothing came of that yet. What comes from before was on its way already.
    is_sought: bool,
    /// Bad records before this offset are dead letters already.
    reported_to: Offset,
    next_offset: Offset,
    /// Reading began there, or goes on there, so nothing should stand between.
    has_begun: bool,
    records: u64,
    paused: bool,
    /// The record that nothing goes on without, and since when.
    stuck: Option<(Offset, Instant)>,
}

/// A record that cannot be read.
pub struct Dead {
    pub at: TopicPartition,
    pub offset: Offset,
    pub error: String,
    /// Cut, as is the error.
    pub key: Vec<u8>,
    /// Cut at the length that a dead letter may have.
    pub value: Vec<u8>,
    pub value_bytes: usize,
}

impl Unit {
    /// A unit that goes on from where its group stands: with a snapshot, if there is one of use.
    pub fn new(
        mode: Mode,
        settings: &Settings,
        partitions: &BTreeMap<Topic, i32>,
        partition: Partition,
        checkpoints: &[Option<Checkpoint>],
        snapshot: Option<Result<Vec<u8>, String>>,
    ) -> Unit {
        let restored = snapshot.and_then(|read| {
            let restore = |bytes: Vec<u8>| {
                let restored = mode.restore(settings, partitions, partition, checkpoints, &bytes);
                restored.map_err(|error| error.to_string())
            };
            match read.and_then(restore) {
                Ok(processor) => {
                    info!(mode = mode.name(), %partition, "goes on from a snapshot");
                    metrics::SNAPSHOTS.add(&["used"], 1);
                    Some(processor)
                }
                Err(error) => {
                    warn!(mode = mode.name(), %partition, error, "a snapshot is of no use, what it stands for is read again");
                    metrics::SNAPSHOTS.add(&["refused"], 1);
                    None
                }
            }
        });
        let read_from = restored.as_ref().and_then(|processor| processor.read_from());
        let place = restored.as_ref().and_then(|_| snapshot_place(checkpoints));
        let positions = checkpoints.iter().enumerate().map(|(stream, checkpoint)| Position {
            reported_to: checkpoint.as_ref().map_or(Offset::FIRST, |checkpoint| checkpoint.memo.read_to),
            next_offset: match read_from.as_ref().and_then(|offsets| offsets.get(stream)) {
                Some(offset) => *offset,
                None => checkpoint.as_ref().map_or(Offset::FIRST, |checkpoint| checkpoint.needed_from),
            },
            is_sought: read_from.is_some(),
            has_begun: checkpoint.is_some(),
            records: 0,
            paused: false,
            stuck: None,
        });
        Unit {
            inputs: positions.collect(),
            processor: restored.unwrap_or_else(|| mode.processor(settings, partitions, partition, checkpoints)),
            dead_letters: Vec::new(),
            waits: false,
            has_read: false,
            read_at: Instant::now(),
            reads: false,
            is_told: false,
            snapshots: SnapshotState { place, at: Instant::now(), records_since: 0, is_due: false, ratio: 1.0 },
        }
    }

    /// Where reading is to go on, if that is not where the group stands.
    pub fn goes_on_at(&self) -> Option<Vec<Offset>> {
        let is_sought = self.inputs.iter().any(|position| position.is_sought);
        is_sought.then(|| self.inputs.iter().map(|position| position.next_offset).collect())
    }

    /// Looks whether a snapshot is due: what would have to be read again is worth its bytes.
    pub fn look_for_snapshot(&mut self, now: Instant, bytes_max: usize) {
        let state = &mut self.snapshots;
        if state.is_due || now.saturating_duration_since(state.at) < SNAPSHOT_INTERVAL {
            return;
        }
        let Some(bytes) = self.processor.snapshot_bytes() else { return };
        let bytes = bytes as f64 * state.ratio;
        let is_worth_it = state.records_since as f64 * SNAPSHOT_BYTES_A_RECORD >= bytes;
        if is_worth_it && bytes > bytes_max as f64 {
            metrics::SNAPSHOTS.add(&["too_large"], 1);
            state.at = now;
        }
        state.is_due = is_worth_it && bytes <= bytes_max as f64;
    }

    /// What services promise, from the next window on.
    pub fn follow(&mut self, rules: &Arc<Rules>) {
        self.processor.follow(rules);
    }

    pub fn is_snapshot_due(&self) -> bool {
        self.snapshots.is_due
    }

    /// When the last one was taken, or the unit began.
    pub fn snapshot_at(&self) -> Instant {
        self.snapshots.at
    }

    /// Makes one. Valid once the outputs were taken.
    pub fn take_snapshot(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let expected = self.processor.snapshot_bytes();
        let state = &mut self.snapshots;
        (state.is_due, state.at, state.records_since) = (false, Instant::now(), 0);
        let bytes = self.processor.snapshot()?;
        state.ratio = bytes.len() as f64 / expected.unwrap_or_default().max(1) as f64;
        if bytes.len() > bytes_max {
            metrics::SNAPSHOTS.add(&["too_large"], 1);
            return None;
        }
        Some(bytes)
    }

    /// The last one stands here, if the transaction is committed.
    pub fn has_snapshot(&mut self, place: SnapshotPlace) {
        self.snapshots.place = Some(place);
    }

    /// Where the input was to go on, if this offset is beyond that: either what is between was deleted, or it was never a record, as the end of a
    /// writer's transaction is none.
    pub fn skipped(&self, stream: usize, offset: Offset) -> Option<Offset> {
        let Position { next_offset, has_begun, .. } = self.inputs[stream];
        (has_begun && offset > next_offset).then_some(next_offset)
    }

    /// Records from here up to a message were deleted before they were read.
    pub fn deleted(&mut self, mode: Mode, stream: usize, from: Offset, message: &Message<'_>) {
        let (at, offset) = (TopicPartition::new(message.topic(), message.partition()), message.offset());
        self.processor.deleted(stream, offset.before());
        let unread_from = from.max(self.inputs[stream].reported_to);
        let count = offset.0 - unread_from.0;
        if count > 0 {
            metrics::EVENTS.add(&[mode.name(), "deleted"], count.unsigned_abs());
            warn!(
                %at, from = %unread_from, to = %offset.before(),
                "{count} records were deleted before they were read: windows that they may be of say `deleted`. What is kept must last longer \
                 than processors may be away (retention.ms, retention.bytes of the topic)"
            );
        }
    }

    /// The record that an input waits for since some time, if nothing goes on without it.
    pub fn stuck(&mut self, stream: usize, now: Instant) -> Option<Offset> {
        let waits_for = self.processor.waits_for(stream);
        let stuck = &mut self.inputs[stream].stuck;
        *stuck = match (waits_for, *stuck) {
            (Some(at), Some((before, since))) if at == before => Some((at, since)),
            (Some(at), _) => Some((at, now)),
            (None, _) => None,
        };
        stuck.filter(|(_, since)| now.duration_since(*since) >= STUCK_AFTER).map(|(at, _)| at)
    }

    /// What an input waits for is not there any more: the partition keeps records from `first` to before `end`.
    pub fn is_gone(
        &mut self,
        mode: Mode,
        at: &TopicPartition,
        stream: usize,
        waits_for: Offset,
        Kept { first, end }: Kept,
    ) {
        // Behind the last record of what processors write stand the ends of transactions, which nobody reads.
        let has_read_all = mode != Mode::Join || self.inputs[stream].next_offset >= end;
        if first > waits_for {
            warn!(%at, %first, %waits_for, "records were deleted before they were read: windows that they may be of say `deleted`");
            self.processor.deleted(stream, first.before());
        } else if end <= waits_for && has_read_all {
            warn!(%at, %end, %waits_for, "the partition ends before a record that its writer saw acknowledged: windows that it may be of say `lost`");
            self.processor.ends(stream, end);
        }
    }

    /// Takes a record. One that cannot be read becomes a dead letter.
    ///
    /// # Errors
    /// If the registry does not answer: the record may be fine, and is read again once the worker has started anew.
    pub fn record(
        &mut self,
        mode: Mode,
        stream: usize,
        message: &Message<'_>,
        schemas: &mut SchemaCache,
    ) -> Result<()> {
        let position = &mut self.inputs[stream];
        if position.is_sought && message.offset() < position.next_offset {
            return Ok(());
        }
        (position.is_sought, position.has_begun) = (false, true);
        position.next_offset = message.offset().next();
        position.records += 1;
        self.snapshots.records_since += 1;
        (self.has_read, self.reads) = (true, true);
        let header = mode.control_header();
        let (kind, bytes) = match (message.value(), header.and_then(|header| message.header(header))) {
            (Some(value), _) => (Kind::Value, value),
            (None, Some(bytes)) => (Kind::Control, bytes),
            (None, None) => {
                let without = header.map(|header| format!(" and without the header {header}")).unwrap_or_default();
                self.refuse(stream, message, format!("a record without value{without}"));
                return Ok(());
            }
        };
        match self.read(mode, stream, message, (kind, bytes), schemas) {
            Err(RecordError::Bad(error)) => {
                let header = header.filter(|_| kind == Kind::Control);
                let place = header.map(|header| format!("the header {header}: ")).unwrap_or_default();
                self.refuse(stream, message, format!("{place}{error}"));
                Ok(())
            }
            Err(RecordError::Registry(error)) => Err(error.into()),
            Ok(()) => Ok(()),
        }
    }

    /// Gives a record to the processor.
    fn read(
        &mut self,
        mode: Mode,
        stream: usize,
        message: &Message<'_>,
        (kind, bytes): (Kind, &[u8]),
        schemas: &mut SchemaCache,
    ) -> Result<(), RecordError> {
        let most = bytes_max(mode);
        if bytes.len() > most {
            let error = format!("{} bytes, where no honest record has more than {most}", bytes.len());
            return Err(RecordError::Bad(error));
        }
        let (schema, datum) = schemas.open(bytes)?;
        let timestamp_us = timestamp_us(message);
        let offset = message.offset();
        let appended_us = timestamp_us.filter(|_| message.is_stamped_by_broker());
        if mode == Mode::Join && appended_us.is_none() && !std::mem::replace(&mut self.is_told, true) {
            warn!(
                topic = message.topic(),
                "nobody can tell which agent's clock is wrong, for this topic has the agents' timestamps: give it \
                 {TIMESTAMP_TYPE}=LogAppendTime (kafka-configs.sh --alter --add-config)"
            );
        }
        let partitions = partitions(message);
        let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions, schema: &schema, datum };
        let taken = self.processor.record(input);
        taken.map_err(|error| RecordError::Bad(error.0))
    }

    /// Says nothing of clocks: somebody else reads the same records, and does.
    pub fn quietly(self) -> Unit {
        Unit { is_told: true, ..self }
    }

    /// The logs end here, for a range that closes there.
    pub fn end(&mut self) {
        self.processor.end();
    }

    /// Notes when it read what it has read since the last call.
    pub fn read_until(&mut self, now: Instant) {
        if std::mem::take(&mut self.reads) {
            self.read_at = now;
        }
    }

    pub fn has_outputs(&self) -> bool {
        self.processor.has_outputs() || !self.dead_letters.is_empty()
    }

    /// Whether it has read anything since [`Unit::commits`] was asked for.
    pub fn has_read(&self) -> bool {
        self.has_read
    }

    /// Whether nothing more comes of it: it is done, or it waits for more of an input than there is.
    pub fn is_at_end(&self, ends: &[Offset]) -> bool {
        let is_read = |stream: usize| self.inputs[stream].next_offset >= ends[stream] || !self.processor.wants(stream);
        self.processor.is_done() || (0..self.inputs.len()).all(is_read)
    }

    pub fn closed_through_us(&self) -> Option<i64> {
        self.processor.closed_through_us()
    }

    pub fn closed_to_us(&self) -> Option<i64> {
        self.processor.closed_to_us()
    }

    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.processor.take_outputs()
    }

    pub fn take_dead_letters(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead_letters)
    }

    /// Whether an input must be held back from now on, or let go; none if nothing changes.
    pub fn pause_change(&mut self, stream: usize) -> Option<bool> {
        let pause = self.waits || !self.processor.wants(stream);
        let was = std::mem::replace(&mut self.inputs[stream].paused, pause);
        (pause != was).then_some(pause)
    }

    /// The offset of the record that an input reads next, and whether it is held back.
    pub fn position(&self, stream: usize) -> (Offset, bool) {
        (self.inputs[stream].next_offset, self.inputs[stream].paused)
    }

    /// What to commit for each input. Valid once the outputs were taken.
    pub fn commits(&mut self, topics: &[String], partition: Partition) -> Vec<Commit> {
        self.has_read = false;
        let checkpoints = self.processor.checkpoints();
        topics
            .iter()
            .zip(checkpoints)
            .zip(&self.inputs)
            .map(|((topic, Checkpoint { needed_from, mut memo }), position)| {
                memo.read_to = memo.read_to.max(position.next_offset).max(position.reported_to);
                memo.snapshot = self.snapshots.place;
                Commit {
                    at: TopicPartition::new(topic, partition),
                    next: needed_from,
                    note: serde_json::to_string(&memo).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Moves out what was counted since the last call.
    pub fn take_counters(&mut self) -> Counters {
        self.processor.take_counters()
    }

    /// Moves out what was wrong with nodes since the last call.
    pub fn take_troubles(&mut self) -> Vec<NodeTrouble> {
        self.processor.take_troubles()
    }

    /// Moves out how many records were read since the last call.
    pub fn take_records(&mut self) -> u64 {
        self.inputs.iter_mut().map(|position| std::mem::take(&mut position.records)).sum()
    }

    /// Sizes of its tables.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        self.processor.sizes()
    }

    fn refuse(&mut self, stream: usize, message: &Message<'_>, mut error: String) {
        self.processor.unreadable(stream, message.offset());
        if message.offset() < self.inputs[stream].reported_to {
            return;
        }
        if let Some((cut, _)) = error.char_indices().nth(DEAD_ERROR_CHARS_MAX) {
            error.truncate(cut);
            error.push_str(" ...");
        }
        let (at, offset) = (TopicPartition::new(message.topic(), message.partition()), message.offset());
        warn!(%at, %offset, error, "a record cannot be read, it goes to the dead letters");
        metrics::DEAD_LETTERS.add(&[&at.topic], 1);
        let (key, value) = (message.key().unwrap_or_default(), message.value().unwrap_or_default());
        self.dead_letters.push(Dead {
            at,
            offset,
            error,
            key: key[..key.len().min(DEAD_KEY_BYTES_MAX)].to_vec(),
            value: value[..value.len().min(DeadLetter::VALUE_BYTES_MAX)].to_vec(),
            value_bytes: value.len(),
        });
    }
}

/// What a control record says, if it can be meant.
fn partitions(message: &Message<'_>) -> Option<i32> {
    let text = std::str::from_utf8(message.header(PARTITIONS_HEADER)?).ok()?;
    text.parse().ok().filter(|count| (1..=SOURCE_PARTITIONS_MAX).contains(&i64::from(*count)))
}

fn timestamp_us(message: &Message<'_>) -> Option<i64> {
    Some(message.timestamp_ms()).filter(|ms| *ms >= 0).map(|ms| ms.saturating_mul(1000))
}

/// More than any honest record has, and so little that what is made of it fits into a message of a million bytes. Names stand
/// in the key and in the value of what is published; an edge takes them from two records, the join's inputs.
fn bytes_max(mode: Mode) -> usize {
    match mode {
        Mode::Join => 64 * 1024,
        _ => 400 * 1024,
    }
}

/// What an earlier life of a unit left with the committed offsets of its inputs.
///
/// # Errors
/// If what stands beside a committed offset is not what a unit left there: it alone says what is published already.
pub fn checkpoints(inputs: &[Assignment], group: &str) -> Result<Vec<Option<Checkpoint>>> {
    inputs.iter().map(|input| checkpoint(input, group)).collect()
}

/// Where it left a snapshot. All inputs name the same one, since they are committed together.
pub fn snapshot_place(checkpoints: &[Option<Checkpoint>]) -> Option<SnapshotPlace> {
    let place = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref()?.memo.snapshot;
    let first = place(checkpoints.first()?)?;
    checkpoints.iter().all(|checkpoint| place(checkpoint) == Some(first)).then_some(first)
}

/// What an earlier life of this unit left with its committed offset; none if nothing is committed.
fn checkpoint(Assignment { at, committed, note }: &Assignment, group: &str) -> Result<Option<Checkpoint>> {
    let Some(needed_from) = *committed else { return Ok(None) };
    let memo: Memo = serde_json::from_str(note).with_context(|| {
        format!(
            "read the note beside the committed offset {needed_from} of {at}, which says what is published already: {:?} is none. \
             Another program has moved the group {group}. To begin anew, which publishes again what its topics still hold, delete \
             its offsets: kafka-consumer-groups.sh --delete-offsets --group {group} --topic {}",
            note.chars().take(DEAD_ERROR_CHARS_MAX).collect::<String>(),
            at.topic
        )
    })?;
    Ok(Some(Checkpoint { needed_from, memo }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(committed: Option<i64>, note: &str) -> Result<Option<Checkpoint>> {
        let at = TopicPartition::new("t", Partition(3));
        checkpoint(&Assignment { at, committed: committed.map(Offset), note: note.to_owned() }, "g")
    }

    #[test]
    fn a_note_that_is_none_of_ours_is_refused_and_never_taken_for_a_beginning() {
        let memo = Memo { window_ms: 10_000, read_to: Offset(7), ..Memo::default() };
        let text = serde_json::to_string(&memo).unwrap();
        assert_eq!(read(Some(5), &text).unwrap(), Some(Checkpoint { needed_from: Offset(5), memo }));
        assert_eq!(read(None, "").unwrap(), None);
        let without = |key: &str| text.replacen(&format!("\"{key}\""), "\"other\"", 1);
        for note in [
            "",
            "{}",
            "null",
            "7",
            &text[1..],
            &without("closed_through_us"),
            &without("window_ms"),
            &without("read_to"),
        ] {
            let told = format!("{:#}", read(Some(5), note).unwrap_err());
            assert!(told.contains("t 3") && told.contains("--delete-offsets --group g --topic t"), "{told}");
        }
    }
}
