//! One unit of work: a processor, the partitions that feed it, and what of theirs could not be read.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use headwater_kafka::{Assignment, Message, RecordError, SchemaCache};
use headwater_schemas::records::DeadLetter;
use headwater_schemas::topics::Topic;
use metrics::{counter, gauge};
use tracing::warn;

use crate::modes::Mode;
use crate::processor::{Checkpoint, Input, Kind, Memo, Output, Processor};
use crate::settings::Settings;

/// How often a registry that does not answer is asked again before the worker starts anew.
const REGISTRY_TRIES: u32 = 60;
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

pub struct Unit {
    processor: Box<dyn Processor>,
    inputs: Vec<Position>,
    dead_letters: Vec<Dead>,
}

struct Position {
    /// Bad records before this offset are dead letters already.
    reported_to: i64,
    next_offset: i64,
    records: u64,
    paused: bool,
}

/// A record that cannot be read.
pub struct Dead {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub error: String,
    pub key: Vec<u8>,
    /// Cut at the length that a dead letter may have.
    pub value: Vec<u8>,
    pub value_bytes: usize,
}

impl Unit {
    pub fn new(
        mode: Mode,
        settings: &Settings,
        partitions: &BTreeMap<Topic, i32>,
        partition: i32,
        inputs: &[Assignment],
    ) -> Unit {
        let checkpoints: Vec<Option<Checkpoint>> = inputs.iter().map(checkpoint).collect();
        let positions = checkpoints.iter().map(|checkpoint| Position {
            reported_to: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.memo.read_to),
            next_offset: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.needed_from),
            records: 0,
            paused: false,
        });
        Unit {
            inputs: positions.collect(),
            processor: mode.processor(settings, partitions, partition, &checkpoints),
            dead_letters: Vec::new(),
        }
    }

    /// Takes a record. One that cannot be read becomes a dead letter.
    ///
    /// # Errors
    /// If the registry does not answer for long: the record may be fine.
    pub fn record(
        &mut self,
        mode: Mode,
        stream: usize,
        message: &Message<'_>,
        schemas: &mut SchemaCache,
    ) -> Result<()> {
        let offset = message.offset();
        self.inputs[stream].next_offset = offset + 1;
        self.inputs[stream].records += 1;
        let (kind, bytes) = match (message.value(), message.header(mode.control_header())) {
            (Some(value), _) => (Kind::Value, value),
            (None, Some(header)) => (Kind::Control, header),
            (None, None) => {
                return self.refuse(stream, message, "a record without value and without a known header".into());
            }
        };
        let mut tries = 0;
        let (schema, datum) = loop {
            match schemas.open(bytes) {
                Ok(opened) => break opened,
                Err(RecordError::Bad(error)) => return self.refuse(stream, message, error),
                Err(RecordError::Registry(error)) if tries < REGISTRY_TRIES => {
                    tries += 1;
                    warn!(%error, "waiting for the schema registry");
                    std::thread::sleep(REGISTRY_PAUSE);
                }
                Err(RecordError::Registry(error)) => return Err(error.into()),
            }
        };
        let timestamp_us = Some(message.timestamp_ms()).filter(|ms| *ms >= 0).map(|ms| ms.saturating_mul(1000));
        match self.processor.record(Input { stream, offset, timestamp_us, kind, schema: &schema, datum }) {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(stream, message, error.0),
        }
    }

    pub fn has_outputs(&self) -> bool {
        self.processor.has_outputs() || !self.dead_letters.is_empty()
    }

    /// Whether nothing more comes of it: it is done, or it waits for more of an input than there is.
    pub fn is_at_end(&self, ends: &[i64]) -> bool {
        let is_read = |stream: usize| self.inputs[stream].next_offset >= ends[stream] || !self.processor.wants(stream);
        self.processor.is_done() || (0..self.inputs.len()).all(is_read)
    }

    pub fn closed_through_us(&self) -> Option<i64> {
        self.processor.closed_through_us()
    }

    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.processor.take_outputs()
    }

    pub fn take_dead_letters(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead_letters)
    }

    /// Whether an input must be held back from now on, or let go; none if nothing changes.
    pub fn pause_change(&mut self, stream: usize) -> Option<bool> {
        let pause = !self.processor.wants(stream);
        let was = std::mem::replace(&mut self.inputs[stream].paused, pause);
        (pause != was).then_some(pause)
    }

    /// What to commit for each input. Valid once the outputs were taken.
    pub fn offsets(&self, topics: &[String], partition: i32) -> Vec<(String, i32, i64, String)> {
        let checkpoints = self.processor.checkpoints();
        topics
            .iter()
            .zip(checkpoints)
            .zip(&self.inputs)
            .map(|((topic, Checkpoint { needed_from, mut memo }), position)| {
                memo.read_to = memo.read_to.max(position.next_offset).max(position.reported_to);
                (topic.clone(), partition, needed_from, serde_json::to_string(&memo).unwrap_or_default())
            })
            .collect()
    }

    /// Sets the metrics of this unit.
    pub fn export(&mut self, mode: Mode, partition: i32) {
        let mode = mode.name();
        for (name, count) in self.processor.take_counters().iter() {
            counter!("headwater_processor_events_total", "mode" => mode, "event" => name).increment(count);
        }
        for (name, size) in self.processor.sizes() {
            let partition = partition.to_string();
            gauge!("headwater_processor_table_size", "mode" => mode, "table" => name, "partition" => partition)
                .set(size as f64);
        }
        for position in &mut self.inputs {
            counter!("headwater_processor_records_total", "mode" => mode)
                .increment(std::mem::take(&mut position.records));
        }
    }

    fn refuse(&mut self, stream: usize, message: &Message<'_>, error: String) -> Result<()> {
        if message.offset() < self.inputs[stream].reported_to {
            return Ok(());
        }
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        warn!(topic, partition, offset, error, "a record cannot be read, it goes to the dead letters");
        counter!("headwater_processor_dead_letters_total", "topic" => topic.to_owned()).increment(1);
        let value = message.value().unwrap_or_default();
        self.dead_letters.push(Dead {
            topic: topic.to_owned(),
            partition,
            offset,
            error,
            key: message.key().unwrap_or_default().to_vec(),
            value: value[..value.len().min(DeadLetter::VALUE_BYTES_MAX)].to_vec(),
            value_bytes: value.len(),
        });
        Ok(())
    }
}

/// What an earlier life of this unit left with its committed offset.
fn checkpoint(assignment: &Assignment) -> Option<Checkpoint> {
    let needed_from = assignment.committed?;
    let memo: Memo = serde_json::from_str(&assignment.metadata).unwrap_or_default();
    Some(Checkpoint { needed_from, memo })
}
