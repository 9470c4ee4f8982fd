//! The judges of windows and of hours as one processor: both write `alerts`, and follow one file of owners.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_schemas::place::{Offset, Partition};

use crate::bottlenecks::{Bottlenecks, STREAMS as HOURS};
use crate::drift::Drift;
use crate::objectives::rules::Rules;
use crate::processor::{BadInput, BadSnapshot, Checkpoint, Counters, Input, Output, Processor};

/// Names of the topics that they read.
pub struct Topics {
    pub windows: [String; 2],
    pub hours: String,
}

/// Both; the hours are the stream behind those of the windows.
pub struct Judges {
    windows: Bottlenecks,
    hours: Drift,
}

impl Judges {
    pub fn new(topics: Topics, partition: Partition, checkpoints: &[Option<Checkpoint>]) -> Judges {
        let hours = checkpoints.get(HOURS).and_then(Option::as_ref);
        Judges {
            windows: Bottlenecks::new(topics.windows, partition, checkpoints),
            hours: Drift::new(topics.hours, partition, hours),
        }
    }

    /// As [`Bottlenecks::restore`]; hours are read again.
    ///
    /// # Errors
    /// As there.
    pub fn restore(
        topics: Topics,
        partition: Partition,
        checkpoints: &[Option<Checkpoint>],
        snapshot: &[u8],
    ) -> Result<Judges, BadSnapshot> {
        let hours = checkpoints.get(HOURS).and_then(Option::as_ref);
        Ok(Judges {
            windows: Bottlenecks::restore(topics.windows, partition, checkpoints, snapshot)?,
            hours: Drift::new(topics.hours, partition, hours),
        })
    }
}

impl Processor for Judges {
    fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        if input.stream == HOURS { self.hours.record(input) } else { self.windows.record(input) }
    }

    fn unreadable(&mut self, stream: usize, offset: Offset) {
        if stream == HOURS {
            self.hours.unreadable(offset);
        } else {
            self.windows.unreadable(stream, offset);
        }
    }

    /// Hours that are gone are no past any more.
    fn deleted(&mut self, stream: usize, last: Offset) {
        if stream == HOURS {
            self.hours.unreadable(last);
        } else {
            self.windows.deleted(stream, last);
        }
    }

    fn waits_for(&self, stream: usize) -> Option<Offset> {
        if stream == HOURS { None } else { self.windows.waits_for(stream) }
    }

    fn ends(&mut self, stream: usize, end: Offset) {
        if stream != HOURS {
            self.windows.ends(stream, end);
        }
    }

    fn end(&mut self) {
        self.windows.end();
    }

    fn wants(&self, stream: usize) -> bool {
        stream == HOURS || self.windows.wants(stream)
    }

    fn has_outputs(&self) -> bool {
        self.windows.has_outputs() || self.hours.has_outputs()
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        let mut outputs = self.windows.take_outputs();
        outputs.extend(self.hours.take_outputs());
        outputs
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let mut checkpoints = self.windows.checkpoints();
        checkpoints.push(self.hours.checkpoint());
        checkpoints
    }

    fn snapshot_bytes(&self) -> Option<usize> {
        self.windows.snapshot_bytes()
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        self.windows.snapshot()
    }

    fn read_from(&self) -> Option<Vec<Offset>> {
        let mut from = self.windows.read_from()?;
        from.push(self.hours.checkpoint().needed_from);
        Some(from)
    }

    fn follow(&mut self, rules: &Arc<Rules>) {
        self.windows.follow(rules);
        self.hours.follow(rules);
    }

    fn closed_through_us(&self) -> Option<i64> {
        self.windows.closed_through_us()
    }

    fn closed_to_us(&self) -> Option<i64> {
        self.windows.closed_to_us()
    }

    fn is_done(&self) -> bool {
        self.windows.is_done()
    }

    fn take_counters(&mut self) -> Counters {
        let mut counters = self.windows.take_counters();
        for (name, count) in self.hours.take_counters().iter() {
            counters.add(name, count);
        }
        counters
    }

    fn sizes(&self) -> Vec<(&'static str, usize)> {
        let drift: BTreeMap<&str, usize> =
            BTreeMap::from([("edges_by_the_hour", self.hours.edges()), ("drifting", self.hours.firing())]);
        let mut sizes = self.windows.sizes();
        sizes.extend(drift);
        sizes
    }
}
