//! What a processor's metrics say of its work: how much is unread, how old the newest closed window is, what was counted.
//!
//! In: the units of this process and the state of its group member. Out: metrics, and at the level debug a line for each input now and then,
//! for whoever looks for what holds it up: a worker that hangs writes none. Promise: what is said of a partition ends with a 0 when the
//! partition goes elsewhere, so that a sum over all processes counts it once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_kafka::{MemberState, Partition, TopicPartition};
use tracing::debug;

use super::troubles::Told;
use super::unit::Unit;
use crate::metrics;
use crate::modes::Mode;

/// Between two descriptions in the log.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(10);

pub struct Gauges {
    mode: &'static str,
    topics: Vec<(String, &'static str)>,
    told: Told,
    described_at: Instant,
}

impl Gauges {
    /// `topics` are the names of the mode's inputs, in their order.
    pub fn new(mode: Mode, topics: &[String]) -> Gauges {
        let suffixes = mode.inputs().iter().map(|topic| topic.suffix());
        Gauges {
            mode: mode.name(),
            topics: topics.iter().cloned().zip(suffixes).collect(),
            told: Told::default(),
            described_at: Instant::now(),
        }
    }

    /// Says how it is now.
    pub fn set(&mut self, units: &mut BTreeMap<Partition, Unit>, state: &MemberState) {
        metrics::UNITS.set(&[self.mode], units.len() as f64);
        if self.described_at.elapsed() >= DESCRIBE_INTERVAL {
            self.described_at = Instant::now();
            self.describe(units, state);
        }
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        for (partition, unit) in units {
            let number = partition.to_string();
            for (name, count) in unit.take_counters().iter() {
                metrics::EVENTS.add(&[self.mode, name], count);
            }
            unit.take_troubles().iter().for_each(|trouble| self.told.tell(self.mode, trouble));
            for (name, size) in unit.sizes() {
                metrics::TABLE_ENTRIES.set(&[self.mode, name, &number], size as f64);
            }
            metrics::RECORDS.add(&[self.mode], unit.take_records());
            if let Some(closed_to_us) = unit.closed_to_us() {
                let delay_s = (now_us - closed_to_us).max(0) as f64 / 1e6;
                metrics::WINDOW_DELAY.set(&[self.mode, &number], delay_s);
            }
            for (topic, suffix) in &self.topics {
                if let Some(lag) = state.lag_records.get(&TopicPartition::new(topic, *partition)) {
                    metrics::LAG.set(&[self.mode, suffix, &number], *lag as f64);
                }
            }
        }
    }

    fn describe(&self, units: &BTreeMap<Partition, Unit>, state: &MemberState) {
        debug!(mode = self.mode, is_member = state.is_member, units = units.len(), "works");
        for (partition, unit) in units {
            for (stream, (topic, _)) in self.topics.iter().enumerate() {
                let at = TopicPartition::new(topic, *partition);
                let (next, is_held) = unit.position(stream);
                let (closed_to_us, reading) = (unit.closed_to_us(), state.readings.get(&at));
                debug!(mode = self.mode, %at, %next, is_held, closed_to_us, ?reading, "reads");
            }
        }
    }

    /// A partition is another process's from now on.
    pub fn forget(&self, partition: Partition, unit: &Unit) {
        let number = partition.to_string();
        for (name, _) in unit.sizes() {
            metrics::TABLE_ENTRIES.set(&[self.mode, name, &number], 0.0);
        }
        metrics::WINDOW_DELAY.set(&[self.mode, &number], 0.0);
        for (_, suffix) in &self.topics {
            metrics::LAG.set(&[self.mode, suffix, &number], 0.0);
        }
    }
}
