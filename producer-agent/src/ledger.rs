//! Counts every record: captured, handed to the producer, or dropped for a reason; in total and since it was last said how far the agent is.
//!
//! In: what happened to each record. Out: [`Progress`], and totals for heartbeats and metrics. Promise: a record that was
//! captured is in exactly one of the counts. What was dropped is also its workload's, if that is known. Bounded: reasons are names in this
//! program; for workloads see `by_workload.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use headwater_schemas::records::{Dropped, Progress, Share};

use crate::by_workload::ByWorkload;
use crate::naming::Owner;

/// Topics of which each record is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Requests,
    Flows,
    Processes,
}

impl Stream {
    pub const ALL: [Stream; 3] = [Stream::Requests, Stream::Flows, Stream::Processes];

    /// Those that progress speaks of, which are what windows are computed from.
    pub const VOUCHED_FOR: [Stream; 2] = [Stream::Requests, Stream::Flows];

    pub fn name(self) -> &'static str {
        match self {
            Stream::Requests => "requests",
            Stream::Flows => "flows",
            Stream::Processes => "processes",
        }
    }

    /// `stream/reason`, so that the same reason in several streams stays apart.
    pub fn name_of(self, reason: &str) -> String {
        format!("{}/{reason}", self.name())
    }
}

/// The counts of one run of the agent.
pub struct Ledger {
    node: String,
    agent_started_at_us: i64,
    sequence: i64,
    covered_to_us: i64,
    counts: [Counts; 3],
    by_workload: ByWorkload,
}

/// The counts of one stream.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub captured: i64,
    pub published: i64,
    pub dropped: BTreeMap<&'static str, i64>,
    published_since: i64,
    dropped_since: BTreeMap<&'static str, i64>,
}

impl Ledger {
    /// `capture_began_us` is when the probes were in place: coverage begins there.
    pub fn new(node: String, agent_started_at_us: i64, capture_began_us: i64) -> Ledger {
        Ledger {
            node,
            agent_started_at_us,
            sequence: 0,
            covered_to_us: capture_began_us,
            counts: Default::default(),
            by_workload: ByWorkload::default(),
        }
    }

    /// A record was captured and handed to the producer.
    pub fn published(&mut self, stream: Stream) {
        let counts = self.of(stream);
        counts.captured += 1;
        counts.published += 1;
        counts.published_since += 1;
    }

    /// A record was captured, and dropped.
    pub fn dropped(&mut self, stream: Stream, reason: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let counts = self.of(stream);
        counts.captured = counts.captured.saturating_add(count);
        *counts.dropped.entry(reason).or_default() += count;
        *counts.dropped_since.entry(reason).or_default() += count;
    }

    /// The same of records whose owner may be known.
    pub fn dropped_of(&mut self, owner: Option<&Rc<Owner>>, stream: Stream, reason: &'static str, count: u64) {
        self.dropped(stream, reason, count);
        if let Some(owner) = owner {
            self.was_of(owner, stream, reason, count);
        }
    }

    /// So many records that are, or will be, counted as dropped were this owner's.
    pub fn was_of(&mut self, owner: &Rc<Owner>, stream: Stream, reason: &'static str, count: u64) {
        self.by_workload.add(owner, stream, reason, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What each workload has lost.
    pub fn by_workload(&self) -> &ByWorkload {
        &self.by_workload
    }

    /// Records that had been taken were not delivered after all, for this reason.
    pub fn not_delivered(&mut self, stream: Stream, reason: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.of(stream).captured -= count;
        self.of(stream).published -= count;
        self.dropped(stream, reason, count as u64);
    }

    /// Closes the time up to `up_to_us`: what the agent had of it is published or named as dropped. It speaks of requests and flows, which are what
    /// windows are computed from. What was dropped happened before `now_us`, which comes after the last drop was booked. Where the records stand
    /// is known later.
    ///
    /// Time never runs backwards here, also if the clock does: the covered time may then be empty.
    pub fn progress(&mut self, up_to_us: i64, now_us: i64, is_final: bool) -> Progress {
        let covers_from_us = self.covered_to_us;
        self.covered_to_us = up_to_us.max(covers_from_us);
        let (sequence, up_to_us) = (self.sequence, self.covered_to_us);
        self.sequence += 1;
        let mut share = |stream: Stream| {
            let counts = &mut self.counts[stream as usize];
            let dropped = std::mem::take(&mut counts.dropped_since).into_iter().map(|(reason, count)| Dropped {
                reason: reason.to_owned(),
                count,
                from_us: covers_from_us,
                to_us: now_us.max(up_to_us),
            });
            let dropped = dropped.collect();
            Share::anywhere(std::mem::take(&mut counts.published_since), dropped)
        };
        let [flows, requests] = [share(Stream::Flows), share(Stream::Requests)];
        Progress {
            node: self.node.clone(),
            agent_started_at_us: self.agent_started_at_us,
            sequence,
            covers_from_us,
            up_to_us,
            is_final,
            partitions: 0,
            flows,
            requests,
        }
    }

    /// The totals of a stream.
    pub fn counts(&self, stream: Stream) -> &Counts {
        &self.counts[stream as usize]
    }

    fn of(&mut self, stream: Stream) -> &mut Counts {
        &mut self.counts[stream as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_covers_time_without_holes_and_names_what_is_missing() {
        let mut ledger = Ledger::new("n".into(), 1, 100);
        ledger.published(Stream::Requests);
        ledger.dropped(Stream::Requests, "queue_full", 2);
        let told = ledger.progress(200, 250, false);
        assert_eq!((told.covers_from_us, told.up_to_us, told.sequence, told.requests.published), (100, 200, 0, 1));
        assert_eq!(told.requests.dropped.len(), 1);
        let dropped = &told.requests.dropped[0];
        assert_eq!((dropped.count, dropped.from_us, dropped.to_us), (2, 100, 250));
        assert!(told.flows.dropped.is_empty());

        let told = ledger.progress(150, 260, true);
        assert_eq!((told.covers_from_us, told.up_to_us, told.sequence, told.requests.published), (200, 200, 1, 0));
        assert!(told.requests.dropped.is_empty() && told.is_final);
    }

    #[test]
    fn every_captured_record_is_in_one_count() {
        let mut ledger = Ledger::new("n".into(), 1, 100);
        for _ in 0..5 {
            ledger.published(Stream::Flows);
        }
        ledger.dropped(Stream::Flows, "queue_full", 3);
        ledger.not_delivered(Stream::Flows, "not_delivered", 2);
        let counts = ledger.counts(Stream::Flows);
        assert_eq!((counts.captured, counts.published), (8, 3));
        assert_eq!(counts.dropped.values().sum::<i64>(), 5);
    }
}
