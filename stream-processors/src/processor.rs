//! What every processor is: a value that takes records of a few input partitions in and gives records out, without I/O.
//!
//! Its answer depends on the content and order of each input partition alone: not on how their reading interleaves, not on
//! clocks, batches or restarts. [`crate::runtime`] owns Kafka and drives it.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Alert, Edge, Latency, Partial, Record, UNKNOWN, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::WriterSchema;
use serde::{Deserialize, Serialize};

use crate::objectives::rules::Rules;
use crate::windows::Window;

/// One record of an input partition, with the schema that it was written with.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Which of the processor's input topics, by its place in [`crate::modes::Mode::inputs`].
    pub stream: usize,
    pub offset: Offset,
    /// Kafka's timestamp of the record, if it has one.
    pub timestamp_us: Option<i64>,
    /// When the broker appended it, by its clock, if its topic has `message.timestamp.type=LogAppendTime`: the same in another role.
    pub appended_us: Option<i64>,
    pub kind: Kind,
    /// Among how many partitions of the topic its writer spreads what it writes, if a control record says so.
    pub partitions: Option<i32>,
    pub schema: &'a WriterSchema,
    pub datum: &'a [u8],
}

/// Where the datum of an input stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The value of the record.
    Value,
    /// The header of a record without value: a marker.
    Control,
}

/// Something to publish, in the order in which it must be published.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Partial(Partial),
    Edge(Edge),
    Latency(Latency),
    Alert(Alert),
    /// Goes to every partition of the topic, after what was put out before it.
    Closed(Topic, WindowClosed),
}

/// Why a record is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// Why nobody can go on from a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSnapshot(pub String);

/// State of one unit of work: the partitions of the same number of each input topic.
pub trait Processor {
    /// Takes the next record of an input. One that is refused leaves no trace: [`Processor::unreadable`] is told of it next.
    fn record(&mut self, input: Input<'_>) -> Result<(), BadInput>;

    /// The next record of an input could not be read, by whomever. Whatever it may tell of is not complete.
    fn unreadable(&mut self, stream: usize, offset: Offset);

    /// Records of an input, up to this offset, were deleted before they were read. What they may tell of is not complete. It is told again where the
    /// input is read again from before them.
    fn deleted(&mut self, _stream: usize, _last: Offset) {}

    /// The record of an input without which nothing goes on, if there is one.
    fn waits_for(&self, _stream: usize) -> Option<Offset> {
        None
    }

    /// An input ends there, though a record behind that is waited for: it was there and is not any more.
    fn ends(&mut self, _stream: usize, _end: Offset) {}

    /// The logs end here, for a range that closes there ([`Replay::at_end`]).
    fn end(&mut self) {}

    /// Whether more of an input may come now. While it says no, that input waits, the others go on.
    fn wants(&self, stream: usize) -> bool;

    /// Whether there is anything to publish.
    fn has_outputs(&self) -> bool;

    /// Moves out what there is to publish.
    fn take_outputs(&mut self) -> Vec<Output>;

    /// Where to start reading again, for each input, and what to know then. Valid once the outputs were taken.
    fn checkpoints(&self) -> Vec<Checkpoint>;

    /// About how many bytes a snapshot would have; none if it has none to give now.
    fn snapshot_bytes(&self) -> Option<usize> {
        None
    }

    /// The whole state, for whoever goes on with it where the same commit says. Valid once the outputs were taken.
    fn snapshot(&self) -> Option<Vec<u8>> {
        None
    }

    /// Where each input is read next, if it is from a snapshot.
    fn read_from(&self) -> Option<Vec<Offset>> {
        None
    }

    /// What services promise, from the next window on.
    fn follow(&mut self, _rules: &Arc<Rules>) {}

    /// Start of the last window that was closed.
    fn closed_through_us(&self) -> Option<i64>;

    /// End of the last window that was closed.
    fn closed_to_us(&self) -> Option<i64>;

    /// Whether it has given all that it ever will: a replay has an end.
    fn is_done(&self) -> bool {
        false
    }

    /// Moves out what was counted since the last call.
    fn take_counters(&mut self) -> Counters;

    /// Moves out what was wrong with nodes since the last call.
    fn take_troubles(&mut self) -> Vec<NodeTrouble> {
        Vec::new()
    }

    /// Sizes of tables, for metrics.
    fn sizes(&self) -> Vec<(&'static str, usize)>;
}

/// What is committed for one input partition: an offset, and text beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The oldest record that is still needed to build the state again.
    pub needed_from: Offset,
    pub memo: Memo,
}

/// The text beside a committed offset (JSON, far below Kafka's limit of 4 KiB). What says how far the output is has no default: a text
/// without it is none of ours, and what was published would be published again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// Start of the last window whose output is published. It is there also if it is null.
    #[serde(deserialize_with = "Option::deserialize")]
    pub closed_through_us: Option<i64>,
    pub window_ms: i64,
    /// Everything before this offset had its effect on what is published, dead letters included.
    pub read_to: Offset,
    /// Join: the last windows and the places in the log of progress where they were sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<(Window, Offset)>,
    /// Join: the past range that is computed again, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Where a snapshot of this state stands, or one of a little earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotPlace>,
    /// Bottlenecks: windows before this one are learned from, not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_from_us: Option<i64>,
}

/// Where a snapshot stands, and what tells that it is this one. It belongs to the commit that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlace {
    pub partition: Partition,
    /// Of its first part.
    pub offset: Offset,
    pub parts: u32,
    pub bytes: u64,
    pub crc32: u32,
}

/// A past range that is computed again: windows from `from_us` to `to_us` (exclusive) are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub from_us: i64,
    pub to_us: i64,
    /// Windows from here on are closed before that, for the memory that they leave; none if all of the log is read.
    pub memory_from_us: Option<i64>,
    /// Its windows close where the logs end, with all that came of them until then, instead of where they were closed the first time.
    #[serde(default)]
    pub at_end: bool,
}

/// What is wrong with a node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTrouble {
    pub node: String,
    pub trouble: Trouble,
    /// Watermarks or records that showed it.
    pub count: u64,
    /// The most that any of them was off.
    pub most_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Its clock is ahead of the brokers'.
    ClockAhead,
    /// Its records came when their window was closed, so they count in a revision of it, if at all.
    Late,
}

impl Trouble {
    /// A word for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::ClockAhead => "clock_ahead",
            Trouble::Late => "late",
        }
    }
}

/// Troubles of nodes since they were told last. Bounded: of more nodes than `NODES_MAX` it is told under the name `unknown`.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<(Trouble, String), (u64, i64)>);

impl Troubles {
    const NODES_MAX: usize = 1000;

    pub fn add(&mut self, trouble: Trouble, node: &str, off_us: i64) {
        let mut key = (trouble, node.to_owned());
        if self.0.len() >= Self::NODES_MAX && !self.0.contains_key(&key) {
            key.1 = UNKNOWN.to_owned();
        }
        let (count, most_us) = self.0.entry(key).or_default();
        (*count, *most_us) = (*count + 1, off_us.max(*most_us));
    }

    pub fn take(&mut self) -> Vec<NodeTrouble> {
        let told = std::mem::take(&mut self.0).into_iter();
        told.map(|((trouble, node), (count, most_us))| NodeTrouble { node, trouble, count, most_us }).collect()
    }
}

/// Counts of rare events by name, for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}

/// Reads a datum as a record of this type.
pub fn read<'a, R: Record + Deserialize<'a>>(schema: &WriterSchema, datum: &'a [u8]) -> Result<R, BadInput> {
    schema.decode(datum).map_err(|error| BadInput(error.to_string()))
}
