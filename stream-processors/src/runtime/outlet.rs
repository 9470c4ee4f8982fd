//! Encodes what processors give, and adds it to a transaction.
//!
//! Where a window is whole is said last, in a topic of its own if the records' is public: once the brokers have told where the records stand.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use headwater_kafka::{
    KafkaSettings, NewRecord, Offset, Partition, SchemaCache, Ticket, Transactions, TxnError, partition_of,
};
use headwater_schemas::records::{Alert, DeadLetter, Edge, Latency, Partial, Record, WindowClosed};
use headwater_schemas::topics::{PARTITIONS_HEADER, Topic, WINDOW_CLOSED_HEADER};
use headwater_schemas::wire::Encoder;
use serde::Serialize;

use super::unit::Dead;
use crate::processor::Output;

pub struct Outlet {
    /// The name of what writes.
    mode: &'static str,
    lanes: BTreeMap<Topic, Lane>,
    marker: Encoder,
    /// To be said behind what this transaction has sent.
    closed: Vec<Closed>,
}

struct Lane {
    name: String,
    partitions: i32,
    encoder: Encoder,
    /// By partition, in this transaction.
    sent: BTreeMap<Partition, Sent>,
    /// The last record of each partition that it was told of.
    last: BTreeMap<Partition, Offset>,
}

#[derive(Default)]
struct Sent {
    records_since_marker: i64,
    /// Of topics of which a topic of its own says where windows are whole.
    ticket: Option<Ticket>,
}

/// What a topic of its own is to say of one partition.
struct Closed {
    topic: Topic,
    partition: Partition,
    marker: WindowClosed,
}

impl Outlet {
    /// Registers the schemas of all that this mode writes, unless it has done so before.
    ///
    /// # Errors
    /// Also if a topic has another number of partitions than the one that closes its windows.
    pub fn open(
        mode: &'static str,
        outputs: &[Topic],
        kafka: &KafkaSettings,
        partitions: &BTreeMap<Topic, i32>,
        schemas: &mut SchemaCache,
    ) -> Result<Outlet> {
        let count = |topic: Topic| partitions.get(&topic).copied().unwrap_or(1);
        let mut lanes = BTreeMap::new();
        for &topic in outputs.iter().chain(&[Topic::DeadLetters]) {
            let id = schemas.topic_id(topic)?;
            let encoder = match topic {
                Topic::Partials => Encoder::of::<Partial>(id),
                Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => Encoder::of::<Edge>(id),
                Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => Encoder::of::<Latency>(id),
                Topic::EdgeWindows | Topic::LatencyWindows => Encoder::of::<WindowClosed>(id),
                Topic::Alerts => Encoder::of::<Alert>(id),
                _ => Encoder::of::<DeadLetter<'_>>(id),
            }?;
            let name = topic.name(&kafka.prefix);
            if let Some(windows) = topic.windows().filter(|windows| count(*windows) != count(topic)) {
                bail!(
                    "{name} has {} partitions and {} has {}: each partition of the one says where windows are whole in that of the same number of the other; \
                     add partitions to the one that has fewer",
                    count(topic),
                    windows.name(&kafka.prefix),
                    count(windows)
                );
            }
            let (sent, last) = (BTreeMap::new(), BTreeMap::new());
            lanes.insert(topic, Lane { name, partitions: count(topic), encoder, sent, last });
        }
        let marker = Encoder::of::<WindowClosed>(schemas.header_id(WINDOW_CLOSED_HEADER)?)?;
        Ok(Outlet { mode, lanes, marker, closed: Vec::new() })
    }

    /// What was sent of a window whose marker was not has no effect: its transaction broke off.
    pub fn begin(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.sent.clear());
        self.closed.clear();
    }

    /// What comes of one unit comes in one piece, so that a marker can say how much that was.
    pub fn output(&mut self, transactions: &mut Transactions, output: &Output) -> Result<(), TxnError> {
        match output {
            Output::Partial(partial) => {
                let end_us = end_us(partial.window_start_us, partial.window_ms);
                self.send(transactions, Topic::Partials, &partial.key(), partial, end_us)
            }
            Output::Edge(edge) => {
                let end_us = end_us(edge.window_start_us, edge.window_ms);
                self.send(transactions, Topic::Edges, &edge.key(), edge, end_us)
            }
            Output::Latency(latency) => {
                let end_us = end_us(latency.window_start_us, latency.window_ms);
                self.send(transactions, Topic::Latencies, &latency.key(), latency, end_us)
            }
            Output::Alert(alert) => {
                self.send(transactions, Topic::Alerts, &alert.alert_id, alert, alert.observed_at_us)
            }
            Output::Closed(topic, marker) => self.close(transactions, *topic, marker),
        }
    }

    pub fn dead_letter(&mut self, transactions: &mut Transactions, dead: &Dead) -> Result<(), TxnError> {
        let letter = DeadLetter {
            topic: &dead.at.topic,
            partition: dead.at.partition.0,
            offset: dead.offset.0,
            error: &dead.error,
            read_by: self.mode,
            value: &dead.value,
            value_bytes: dead.value_bytes as i64,
        };
        self.send_bytes(transactions, Topic::DeadLetters, &dead.key, &letter, 0)
    }

    /// Says of windows that are whole where their records stand. Nothing is sent behind it in this transaction.
    pub fn finish(&mut self, transactions: &mut Transactions) -> Result<(), TxnError> {
        let is_noted = self.lanes.values().flat_map(|lane| lane.sent.values()).any(|sent| sent.ticket.is_some());
        if self.closed.is_empty() && !is_noted {
            return Ok(());
        }
        transactions.settle()?;
        for lane in self.lanes.values_mut() {
            for (partition, ticket) in lane.sent.iter().filter_map(|(at, sent)| Some((*at, sent.ticket?))) {
                let place = transactions.place(ticket).ok_or_else(|| TxnError {
                    doing: format!("asking where the records of {} {partition} stand", lane.name),
                    reason: "the brokers do not say".into(),
                })?;
                lane.last.insert(partition, place);
            }
        }
        for Closed { topic, partition, mut marker } in std::mem::take(&mut self.closed) {
            let last = self.lanes.get(&topic).and_then(|lane| lane.last.get(&partition)).copied();
            marker.through_offset = last.filter(|_| marker.records != 0).unwrap_or(Offset::BEFORE_ALL).0;
            let Some(lane) = topic.windows().and_then(|windows| self.lanes.get(&windows)) else { continue };
            let value = encode(&lane.encoder, &marker)?;
            transactions.send(&NewRecord {
                not_before_us: end_us(marker.window_start_us, marker.window_ms),
                ..NewRecord::new(&lane.name, partition, marker.source_partition.to_string().as_bytes(), &value)
            })?;
        }
        Ok(())
    }

    /// A marker is of every partition, behind what was sent before it, and says how much that is.
    fn close(&mut self, transactions: &mut Transactions, topic: Topic, marker: &WindowClosed) -> Result<(), TxnError> {
        let Some(lane) = self.lanes.get_mut(&topic) else { return Ok(()) };
        let key = marker.source_partition.to_string();
        let among = lane.partitions.to_string();
        for partition in (0..lane.partitions).map(Partition) {
            let sent = lane.sent.get_mut(&partition).map(|sent| std::mem::take(&mut sent.records_since_marker));
            // Behind what is published again stand others that are not.
            let records = if marker.revision == 0 { sent.unwrap_or(0) } else { -1 };
            let marker = WindowClosed { records, ..marker.clone() };
            if topic.windows().is_some() {
                self.closed.push(Closed { topic, partition, marker });
                continue;
            }
            let value = encode(&self.marker, &marker)?;
            transactions.send(&NewRecord {
                topic: &lane.name,
                partition,
                key: key.as_bytes(),
                value: None,
                headers: &[(WINDOW_CLOSED_HEADER, &value), (PARTITIONS_HEADER, among.as_bytes())],
                not_before_us: end_us(marker.window_start_us, marker.window_ms),
            })?;
        }
        Ok(())
    }

    /// Adds one record, which is no older by Kafka's timestamp than that.
    pub fn send<R: Record + Serialize>(
        &mut self,
        transactions: &mut Transactions,
        topic: Topic,
        key: &str,
        record: &R,
        end_us: i64,
    ) -> Result<(), TxnError> {
        self.send_bytes(transactions, topic, key.as_bytes(), record, end_us)
    }

    fn send_bytes<R: Record + Serialize>(
        &mut self,
        transactions: &mut Transactions,
        topic: Topic,
        key: &[u8],
        record: &R,
        not_before_us: i64,
    ) -> Result<(), TxnError> {
        let Some(lane) = self.lanes.get_mut(&topic) else { return Ok(()) };
        let value = encode(&lane.encoder, record)?;
        let partition = partition_of(key, lane.partitions);
        let sent = lane.sent.entry(partition).or_default();
        sent.records_since_marker += 1;
        let record = NewRecord { not_before_us, ..NewRecord::new(&lane.name, partition, key, &value) };
        if topic.windows().is_none() {
            return transactions.send(&record);
        }
        let ticket = *sent.ticket.get_or_insert_with(|| transactions.ticket());
        transactions.send_as(&record, ticket)
    }
}

/// The end of a window. No record that tells of one is older by Kafka's timestamp, though this machine's clock be slow: whoever reads it
/// takes for impossible what is ahead of that ([`crate::plausible`]).
fn end_us(start_us: i64, length_ms: i64) -> i64 {
    start_us.saturating_add(length_ms.saturating_mul(1000))
}

/// A record of ours that its own schema refuses is a fault of the program: nothing may be published then.
fn encode<R: Record + Serialize>(encoder: &Encoder, record: &R) -> Result<Vec<u8>, TxnError> {
    encoder
        .encode(record)
        .map_err(|error| TxnError { doing: format!("encoding a {}", R::NAME), reason: error.to_string() })
}
