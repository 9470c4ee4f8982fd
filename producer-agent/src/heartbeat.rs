//! What the agent says of itself: the `agents` record and the Prometheus metrics, from the same numbers.

use std::collections::BTreeMap;

use headwater_probe_loader::{Hook, MissedRuns, types::count};
use headwater_schemas::records::Agent;

use crate::ledger::{Ledger, Stream};
use crate::metrics;

/// What stays the same during one run.
pub struct About {
    pub node: String,
    pub agent_started_at_us: i64,
    pub kernel: String,
    pub hook: Hook,
}

/// What is known at one moment beside the ledger.
pub struct Moment {
    pub observed_at_us: i64,
    pub probe_counts: [u64; count::LEN as usize],
    pub missed_runs: MissedRuns,
    pub connections: usize,
    /// Name and value of further counters.
    pub others: Vec<(&'static str, i64)>,
    /// Records that brokers acknowledged, by stream.
    pub delivered: [u64; 3],
    pub is_final: bool,
}

/// Makes heartbeats.
pub struct Heartbeats {
    about: About,
    sequence: i64,
}

impl Heartbeats {
    pub fn new(about: About) -> Heartbeats {
        Heartbeats { about, sequence: 0 }
    }

    /// The record of this moment. It is counted by [`Heartbeats::published`].
    pub fn record(&self, ledger: &Ledger, moment: &Moment) -> Agent {
        let by_stream = |value: &dyn Fn(Stream) -> i64| -> BTreeMap<String, i64> {
            Stream::ALL.iter().map(|&stream| (stream.name().to_owned(), value(stream))).collect()
        };
        Agent {
            node: self.about.node.clone(),
            agent_started_at_us: self.about.agent_started_at_us,
            sequence: self.sequence,
            observed_at_us: moment.observed_at_us,
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: self.about.kernel.clone(),
            capture_path: self.about.hook.name().into(),
            is_final: moment.is_final,
            captured: by_stream(&|stream| ledger.counts(stream).captured),
            published: by_stream(&|stream| ledger.counts(stream).published - in_flight(ledger, moment, stream)),
            in_flight: by_stream(&|stream| in_flight(ledger, moment, stream)),
            dropped: dropped(ledger),
            counters: counters(moment),
            cpu_ms: headwater_telemetry::cpu_ms(),
            rss_bytes: headwater_telemetry::rss_bytes(),
            dropped_by_workload: ledger.by_workload().told(),
        }
    }

    /// The last record goes out: the next one has the next number.
    pub fn published(&mut self) {
        self.sequence += 1;
    }
}

/// Sets the metrics to what a heartbeat says.
pub fn export(agent: &Agent) {
    for (stream, count) in &agent.captured {
        metrics::CAPTURED.set_total(&[stream], *count as u64);
    }
    for (stream, count) in &agent.published {
        metrics::PUBLISHED.set_total(&[stream], *count as u64);
    }
    for (stream, count) in &agent.in_flight {
        metrics::IN_FLIGHT.set(&[stream], *count as f64);
    }
    for (reason, count) in &agent.dropped {
        metrics::DROPPED.set_total(&[reason], *count as u64);
    }
    for (name, count) in &agent.counters {
        metrics::COUNTERS.set(&[name], *count as f64);
    }
}

/// Records handed over and not yet acknowledged. What was given up is not among those published any more.
fn in_flight(ledger: &Ledger, moment: &Moment, stream: Stream) -> i64 {
    (ledger.counts(stream).published - moment.delivered[stream as usize] as i64).max(0)
}

fn dropped(ledger: &Ledger) -> BTreeMap<String, i64> {
    let of_stream = |stream: Stream| {
        let dropped = &ledger.counts(stream).dropped;
        dropped.iter().map(move |(reason, count)| (stream.name_of(reason), *count))
    };
    Stream::ALL.into_iter().flat_map(of_stream).collect()
}

fn counters(moment: &Moment) -> BTreeMap<String, i64> {
    let mut counters: BTreeMap<String, i64> = count::NAMES
        .iter()
        .zip(moment.probe_counts)
        .map(|(name, count)| (format!("probe_{name}"), count as i64))
        .collect();
    counters.insert("probe_missed_runs".into(), moment.missed_runs.sum() as i64);
    counters.insert("connections".into(), moment.connections as i64);
    counters.extend(moment.others.iter().map(|(name, count)| ((*name).to_owned(), *count)));
    counters
}
