//! Keeps snapshots of units in a topic of their own, so that a restart need not read again all that they remember.
//!
//! In: units that read much since their last snapshot. Out: its parts, in the transaction whose commit names their place. A commit that names one was
//! never there without it, and one that is missing, torn, too old or of another program is read again from the log as if there were none.
//! Bounded: bytes of one snapshot and of those in one transaction; what they cost follows from what was read. Where the topic cannot be made or
//! written there are none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_kafka::{
    KafkaSettings, NewRecord, Partition, Ticket, TopicPartition, Transactions, TxnError, Wanted, admin, read_parts,
};
use tracing::warn;

use super::unit::Unit;
use crate::metrics;
use crate::processor::SnapshotPlace;

/// What is kept of whom.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// What the topic's name ends with, behind the prefix.
    pub topic: &'static str,
    pub kept_ms: u64,
}

/// Whoever is away for longer reads the log, which is hardly more then.
pub const OF_JOINS: Kept = Kept { topic: "internal.join-snapshots", kept_ms: 2 * 3_600_000 };
/// What was counted for objectives in three days is not read again.
pub const OF_OBJECTIVES: Kept = Kept { topic: "internal.objectives", kept_ms: 3 * 24 * 3_600_000 };

/// One that is larger is not written.
const BYTES_MAX: usize = 32 << 20;
/// In one transaction, which must be quick. One snapshot may exceed it.
const TRANSACTION_BYTES: usize = 8 << 20;
/// Far below what a message may have.
const PART_BYTES: usize = 512 << 10;

const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// So long it waits for a transaction that publishes nothing, so that no window comes later for it.
const OUTPUTS_FIRST: Duration = Duration::from_secs(3);

const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The newest are kept as long as they are few bytes.
const KEPT_BYTES: usize = 8 * BYTES_MAX;

/// After a transaction with snapshots that broke off, there are none for so long, and then twice as long each time.
const REST_MIN: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(3600);

/// The topic, and when to write to it.
pub struct Snapshots {
    topic: String,
    partitions: i32,
    looked_at: Instant,
    /// Since when any was due.
    due_since: Option<Instant>,
    rests_until: Option<Instant>,
    rest: Duration,
    /// The open transaction has some.
    is_written: bool,
}

impl Snapshots {
    /// None where there is no such topic and none can be made.
    pub fn open(kafka: &KafkaSettings, kept: Kept, partitions: i32) -> Option<Snapshots> {
        let topic = format!("{}{}", kafka.prefix, kept.topic);
        match admin::ensure_internal(kafka, &topic, partitions, &config(kept)) {
            Ok(partitions) => Some(Snapshots {
                topic,
                partitions,
                looked_at: Instant::now(),
                due_since: None,
                rests_until: None,
                rest: REST_MIN,
                is_written: false,
            }),
            Err(error) => {
                warn!(%error, topic, "there are no snapshots: after a restart a join reads eight windows of the log again, and objectives count anew");
                None
            }
        }
    }

    /// Whether to publish now for their sake alone.
    pub fn are_due(&mut self, units: &mut BTreeMap<Partition, Unit>) -> bool {
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        if now - self.looked_at >= LOOK_INTERVAL {
            self.looked_at = now;
            units.values_mut().for_each(|unit| unit.look_for_snapshot(now, BYTES_MAX));
            let any = units.values().any(Unit::is_snapshot_due);
            self.due_since = any.then(|| self.due_since.unwrap_or(now));
        }
        self.due_since.is_some()
    }

    /// Adds those that are due to the transaction. The outputs of the units were taken.
    pub fn add(
        &mut self,
        transactions: &mut Transactions,
        units: &mut BTreeMap<Partition, Unit>,
        publishes: bool,
    ) -> Result<(), TxnError> {
        let Some(since) = self.due_since else { return Ok(()) };
        if publishes && since.elapsed() < OUTPUTS_FIRST {
            return Ok(());
        }
        let mut due: Vec<(&Partition, &mut Unit)> =
            units.iter_mut().filter(|(_, unit)| unit.is_snapshot_due()).collect();
        due.sort_by_key(|(_, unit)| unit.snapshot_at());
        let (mut written, mut bytes_sum, mut is_left) = (Vec::new(), 0, false);
        for (partition, unit) in due {
            if bytes_sum >= TRANSACTION_BYTES {
                is_left = true;
                break;
            }
            let Some(bytes) = unit.take_snapshot(BYTES_MAX) else { continue };
            bytes_sum += bytes.len();
            self.is_written = true;
            let (first, place) = self.send(transactions, *partition, &bytes)?;
            written.push((*partition, first, place));
        }
        if !is_left {
            self.due_since = None;
        }
        if written.is_empty() {
            return Ok(());
        }
        transactions.settle()?;
        for (partition, first, place) in written {
            let place = transactions.place(first).map(|offset| SnapshotPlace { offset, ..place });
            if let Some((unit, place)) = units.get_mut(&partition).zip(place) {
                metrics::SNAPSHOTS.add(&["written"], 1);
                metrics::SNAPSHOT_BYTES.add(&[], place.bytes);
                unit.has_snapshot(place);
            }
        }
        Ok(())
    }

    /// The transaction was committed.
    pub fn committed(&mut self) {
        if std::mem::take(&mut self.is_written) {
            self.rest = REST_MIN;
        }
    }

    /// The transaction broke off. If that was because of them, it must not do so for ever.
    pub fn broke_off(&mut self) {
        self.due_since = None;
        if std::mem::take(&mut self.is_written) {
            self.rests_until = Some(Instant::now() + self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
        }
    }

    /// Sends the parts of one. Gives the ticket of the first.
    fn send(
        &self,
        transactions: &mut Transactions,
        of: Partition,
        bytes: &[u8],
    ) -> Result<(Ticket, SnapshotPlace), TxnError> {
        let place = SnapshotPlace {
            partition: Partition(of.0 % self.partitions.max(1)),
            offset: headwater_kafka::Offset::FIRST,
            parts: bytes.len().div_ceil(PART_BYTES) as u32,
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        };
        let key = key(of, &place);
        let mut tickets = Vec::new();
        for part in bytes.chunks(PART_BYTES) {
            tickets.push(transactions.send_noted(&NewRecord::new(&self.topic, place.partition, &key, part))?);
        }
        let none = || TxnError { doing: "writing a snapshot".into(), reason: "it is empty".into() };
        Ok((tickets.first().copied().ok_or_else(none)?, place))
    }

    /// Reads those that units left at these places: the bytes, or why there are none.
    pub fn read(
        &self,
        kafka: &KafkaSettings,
        places: &[(Partition, SnapshotPlace)],
    ) -> BTreeMap<Partition, Result<Vec<u8>, String>> {
        let (fits, too_large): (Vec<_>, Vec<_>) =
            places.iter().copied().partition(|(_, place)| place.bytes <= BYTES_MAX as u64);
        let wanted: Vec<Wanted> = fits.iter().map(|(of, place)| self.wanted(*of, place)).collect();
        let found = if wanted.is_empty() { Ok(Vec::new()) } else { read_parts(kafka, &wanted, READ_TIMEOUT) };
        let refused = too_large.into_iter().map(|(of, _)| (of, Err("it is too large".to_owned())));
        let read = match found {
            Err(error) => fits.iter().map(|(of, _)| (*of, Err(error.to_string()))).collect(),
            Ok(found) => {
                let checked = |((of, place), bytes): (&(Partition, SnapshotPlace), Option<Vec<u8>>)| {
                    let bytes = bytes.ok_or_else(|| "it is not there, or not whole".to_owned());
                    let is_it = |bytes: &Vec<u8>| crc32fast::hash(bytes) == place.crc32;
                    let bytes = bytes.and_then(|bytes| {
                        if is_it(&bytes) { Ok(bytes) } else { Err("its checksum is another".to_owned()) }
                    });
                    (*of, bytes)
                };
                fits.iter().zip(found).map(checked).collect::<Vec<_>>()
            }
        };
        read.into_iter().chain(refused).collect()
    }

    fn wanted(&self, of: Partition, place: &SnapshotPlace) -> Wanted {
        Wanted {
            at: TopicPartition::new(&self.topic, place.partition),
            offset: place.offset,
            key: key(of, place),
            parts: place.parts,
            bytes: place.bytes as usize,
        }
    }
}

/// What Kafka is told of the topic.
pub fn config(kept: Kept) -> Vec<(&'static str, String)> {
    vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", kept.kept_ms.to_string()),
        ("retention.bytes", KEPT_BYTES.to_string()),
        ("segment.bytes", BYTES_MAX.to_string()),
        ("segment.ms", (kept.kept_ms / 4).to_string()),
    ]
}

/// What names the parts of one among those of others, also among what is left of broken transactions.
fn key(of: Partition, place: &SnapshotPlace) -> Vec<u8> {
    format!("{of} {} {:08x}", place.bytes, place.crc32).into_bytes()
}
