//! Backtest: when objectives would have fired in a past range, had the processors been given their file then.
//!
//! In: records of `edges` and `latencies`, and what closes their windows, from [`Backtest::reads_from_us`] on. Out: alerts of objectives, firing and resolved, in the range. Promises: they come from the very
//! same value as those of the running processor, which judges these records. What long windows hold of the time before is counted first and not told,
//! but for what fires when the range begins. Bounded: as the processor is, and by what may fire at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_schemas::place::Partition;
use headwater_schemas::records::{Alert, AlertState};

use crate::bottlenecks::Bottlenecks;
use crate::objectives::KIND;
use crate::objectives::rules::Rules;
use crate::processor::{BadInput, Counters, Input, Output, Processor};

/// Counts are kept by whole ten minutes at most, the newest of which is not over; and the first window that is read may be cut.
const MARGIN_US: i64 = 20 * 60 * 1_000_000;

/// What would have been told, and when.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It fired before the range and goes on.
    FiresAlready(Alert),
    /// It fires or resolves in the range.
    Told(Alert),
}

/// The judge of one partition of the two topics.
pub struct Backtest {
    judge: Bottlenecks,
    rules: Arc<Rules>,
    from_us: i64,
    to_us: i64,
    /// What fires when the range begins; none once that was told.
    before: Option<BTreeMap<String, Alert>>,
    events: Vec<Event>,
    /// Objectives that some request fits.
    counted: BTreeSet<String>,
    closed_to_us: Option<i64>,
}

impl Backtest {
    /// Judges windows that end after `from_us` and not after `to_us`, by these rules alone.
    pub fn new(rules: Arc<Rules>, topics: [String; 2], partition: Partition, from_us: i64, to_us: i64) -> Backtest {
        let mut judge = Bottlenecks::new(topics, partition, &[]);
        judge.follow(&rules);
        Backtest {
            judge,
            rules,
            from_us,
            to_us,
            before: Some(BTreeMap::new()),
            events: Vec::new(),
            counted: BTreeSet::new(),
            closed_to_us: None,
        }
    }

    /// Where to start reading, so that long windows are whole when the range begins.
    pub fn reads_from_us(rules: &Rules, from_us: i64) -> i64 {
        let burn_rates = rules.objectives.iter().flat_map(|objective| &objective.burn_rates);
        let longest_us = burn_rates.map(|burn_rate| burn_rate.long.0).max().unwrap_or(0);
        (from_us - longest_us - MARGIN_US).max(0)
    }

    /// Whether more of edges (0) or what closes their windows (1), of latencies (2) or what closes theirs (3) may come now.
    pub fn wants(&self, stream: usize) -> bool {
        self.judge.wants(stream)
    }

    /// Takes the next record of one of these.
    ///
    /// # Errors
    /// If it says what cannot be; it counts for nothing then.
    pub fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        let (stream, offset) = (input.stream, input.offset);
        let taken = self.judge.record(input);
        if taken.is_err() {
            self.judge.unreadable(stream, offset);
        }
        for output in self.judge.take_outputs() {
            if let Output::Alert(alert) = output {
                self.alert(alert);
            }
        }
        if self.closed_to_us != self.judge.closed_to_us() {
            self.closed_to_us = self.judge.closed_to_us();
            let names = self.judge.objectives().counted().filter(|name| !self.counted.contains(*name));
            let new: Vec<String> = names.map(str::to_owned).collect();
            self.counted.extend(new);
        }
        taken
    }

    /// Whether all windows of the range are judged.
    pub fn is_over(&self) -> bool {
        self.closed_to_us.is_some_and(|closed_to_us| closed_to_us >= self.to_us)
    }

    /// What is told, the oldest first; nothing more comes behind it.
    pub fn finish(mut self) -> Outcome {
        self.tell_what_fires_already();
        let names = self.rules.objectives.iter().map(|objective| objective.name.clone());
        let without_requests = names.filter(|name| !self.counted.contains(name)).collect();
        Outcome { events: self.events, without_requests, counters: self.judge.take_counters() }
    }

    fn alert(&mut self, alert: Alert) {
        if alert.kind != KIND || alert.observed_at_us > self.to_us {
            return;
        }
        if alert.observed_at_us > self.from_us {
            self.tell_what_fires_already();
            self.events.push(Event::Told(alert));
        } else if let Some(before) = &mut self.before {
            match alert.state {
                AlertState::Firing => before.insert(alert.alert_id.clone(), alert),
                AlertState::Resolved => before.remove(&alert.alert_id),
            };
        }
    }

    fn tell_what_fires_already(&mut self) {
        let before = self.before.take().into_iter().flat_map(BTreeMap::into_values);
        self.events.extend(before.map(Event::FiresAlready));
    }
}

/// All that a backtest says.
#[derive(Debug)]
pub struct Outcome {
    pub events: Vec<Event>,
    /// Objectives that no request fits.
    pub without_requests: Vec<String>,
    /// Rare events of the judge, such as what was cut off at a bound.
    pub counters: Counters,
}
