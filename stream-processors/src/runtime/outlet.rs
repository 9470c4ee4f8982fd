//! Encodes what processors give, and adds it to a transaction.

use std::collections::BTreeMap;

use anyhow::Result;
use headwater_kafka::{KafkaSettings, NewRecord, Partition, SchemaCache, Transactions, TxnError, partition_of};
use headwater_schemas::records::{Alert, DeadLetter, Edge, Latency, Partial, PartitionClosed, Record};
use headwater_schemas::topics::{PARTITION_CLOSED_HEADER, PARTITIONS_HEADER, Topic};
use headwater_schemas::wire::Encoder;
use serde::Serialize;

use super::unit::Dead;
use crate::processor::Output;

pub struct Outlet {
    /// The name of what writes.
    mode: &'static str,
    lanes: BTreeMap<Topic, Lane>,
    marker: Encoder,
}

struct Lane {
    name: String,
    partitions: i32,
    encoder: Encoder,
    /// What each partition got since the last marker.
    since_marker: BTreeMap<Partition, i64>,
}

impl Outlet {
    /// Registers the schemas of all that this mode writes, unless it has done so before.
    pub fn open(
        mode: &'static str,
        outputs: &[Topic],
        kafka: &KafkaSettings,
        partitions: &BTreeMap<Topic, i32>,
        schemas: &mut SchemaCache,
    ) -> Result<Outlet> {
        let mut lanes = BTreeMap::new();
        for &topic in outputs.iter().chain(&[Topic::DeadLetters]) {
            let id = schemas.topic_id(topic)?;
            let encoder = match topic {
                Topic::Partials => Encoder::of::<Partial>(id),
                Topic::Edges => Encoder::of::<Edge>(id),
                Topic::Latencies => Encoder::of::<Latency>(id),
                Topic::Alerts => Encoder::of::<Alert>(id),
                _ => Encoder::of::<DeadLetter<'_>>(id),
            }?;
            let partitions = partitions.get(&topic).copied().unwrap_or(1);
            let name = topic.name(&kafka.prefix);
            lanes.insert(topic, Lane { name, partitions, encoder, since_marker: BTreeMap::new() });
        }
        let marker = Encoder::of::<PartitionClosed>(schemas.header_id(PARTITION_CLOSED_HEADER)?)?;
        Ok(Outlet { mode, lanes, marker })
    }

    /// What was sent of a window whose marker was not has no effect: its transaction broke off.
    pub fn begin(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.since_marker.clear());
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

    /// A marker goes to every partition, behind what was sent before it, and says how much that is.
    fn close(
        &mut self,
        transactions: &mut Transactions,
        topic: Topic,
        marker: &PartitionClosed,
    ) -> Result<(), TxnError> {
        let Some(lane) = self.lanes.get_mut(&topic) else { return Ok(()) };
        let mut sent = std::mem::take(&mut lane.since_marker);
        let mut marker = marker.clone();
        let key = marker.source_partition.to_string();
        let among = lane.partitions.to_string();
        for partition in (0..lane.partitions).map(Partition) {
            // Behind what is published again stand others that are not.
            marker.records = if marker.revision == 0 { sent.remove(&partition).unwrap_or(0) } else { -1 };
            let value = encode(&self.marker, &marker)?;
            transactions.send(&NewRecord {
                topic: &lane.name,
                partition,
                key: key.as_bytes(),
                value: None,
                headers: &[(PARTITION_CLOSED_HEADER, &value), (PARTITIONS_HEADER, among.as_bytes())],
                not_before_us: end_us(marker.window_start_us, marker.window_ms),
            })?;
        }
        Ok(())
    }

    fn send<R: Record + Serialize>(
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
        transactions.send(&NewRecord { not_before_us, ..NewRecord::new(&lane.name, partition, key, &value) })?;
        *lane.since_marker.entry(partition).or_default() += 1;
        Ok(())
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
