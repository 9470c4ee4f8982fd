//! Edges and latencies of a small system with realistic noise: Poisson counts, heavy-tailed latencies, and faults at known times.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_processors::processor::Kind;
use headwater_schemas::place::Offset;
use headwater_schemas::records::{Edge, Latency, Missing, Record, WindowClosed, Workload};
use headwater_schemas::wire::{Encoder, WriterSchema};

use crate::logs::{Entry, Log, datum};
use crate::world::{BEGIN_US, WINDOW_US};
use headwater_testing::Random;

/// One operation of an edge, as it usually is.
#[derive(Debug, Clone)]
pub struct Operation {
    pub client: &'static str,
    pub server: &'static str,
    pub name: &'static str,
    pub requests_a_window: f64,
    pub median_us: f64,
    /// Standard deviation of the logarithm; 1 in 50 is up to 30 times slower besides.
    pub spread: f64,
    pub error_share: f64,
}

/// From one window to another, an operation is slower by a factor and fails more often.
#[derive(Debug, Clone)]
pub struct Fault {
    pub server: &'static str,
    pub name: &'static str,
    pub from_window: i64,
    pub to_window: i64,
    pub latency_factor: f64,
    pub error_share: f64,
}

pub struct Traffic {
    pub operations: Vec<Operation>,
    pub faults: Vec<Fault>,
    pub windows: i64,
    /// Share of the requests of a window that are missing, with the window saying so: the fastest, which is the worst case.
    pub holes: BTreeMap<i64, f64>,
}

/// The usual small system: a chain and a side branch.
pub fn shop(random: &mut Random) -> Vec<Operation> {
    let edges = [
        ("load", "gateway", ["GET /", "GET /orders/{id}", "POST /orders"]),
        ("gateway", "orders", ["GET /orders/{id}", "POST /orders", "GET /stock"]),
        ("orders", "prices", ["GET /price/{id}", "GET /tax", "PUT /price/{id}"]),
        ("gateway", "users", ["GET /user/{id}", "POST /login", "GET /session"]),
    ];
    let mut operations = Vec::new();
    for (client, server, names) in edges {
        for name in names {
            operations.push(Operation {
                client,
                server,
                name,
                requests_a_window: random.between(20, 200) as f64,
                median_us: random.between(300, 30_000) as f64,
                spread: 0.3 + 0.7 * random.unit(),
                error_share: if random.chance(50) { 0.0 } else { 0.02 * random.unit() },
            });
        }
    }
    operations
}

pub fn window_us(window: i64) -> i64 {
    BEGIN_US + window * WINDOW_US
}

/// What is written as one log, as its two topics have it: records, and what closes their windows, which says up to where they stand.
pub fn in_two(log: &Log) -> [Log; 2] {
    let encoder = Encoder::of::<WindowClosed>(3).unwrap();
    let schema = WriterSchema::parse(WindowClosed::SCHEMA).unwrap();
    let (mut records, mut closed) = (Log::new(), Log::new());
    for entry in log {
        if entry.kind == Kind::Value {
            records.push(entry.clone());
            continue;
        }
        let marker: WindowClosed = schema.decode(&entry.datum).unwrap();
        let through_offset = records.last().map_or(-1, |last: &Entry| last.offset.0);
        let datum = datum(&encoder, &WindowClosed { through_offset, ..marker });
        closed.push(Entry { offset: Offset(closed.len() as i64), kind: Kind::Value, datum, ..entry.clone() });
    }
    [records, closed]
}

/// The same where it also says how many there are.
pub fn counted([records, closed]: [Log; 2]) -> [Log; 2] {
    let encoder = Encoder::of::<WindowClosed>(3).unwrap();
    let schema = WriterSchema::parse(WindowClosed::SCHEMA).unwrap();
    let mut told = 0;
    let closed = closed.into_iter().map(|entry| {
        let marker: WindowClosed = schema.decode(&entry.datum).unwrap();
        let all = records.partition_point(|record| record.offset.0 <= marker.through_offset);
        let count = (all - std::mem::replace(&mut told, all)) as i64;
        Entry { datum: datum(&encoder, &WindowClosed { records: count, ..marker }), ..entry }
    });
    let closed = closed.collect();
    [records, closed]
}

#[derive(Default, Clone)]
struct Seen {
    requests: i64,
    errors: i64,
    durations: Histogram,
}

impl Traffic {
    /// The logs of edges and of latencies.
    pub fn logs(&self, random: &mut Random) -> [Log; 2] {
        let encoders = (
            Encoder::of::<Edge>(1).unwrap(),
            Encoder::of::<Latency>(2).unwrap(),
            Encoder::of::<WindowClosed>(3).unwrap(),
        );
        let mut logs = [Log::new(), Log::new()];
        let mut put = |stream: usize, timestamp_us: i64, kind: Kind, datum: Vec<u8>| {
            let offset =
                logs[stream].last().map_or(0, |last: &Entry| last.offset.0 + 1 + i64::from(kind == Kind::Control));
            logs[stream].push(Entry::made(Offset(offset), timestamp_us, kind, datum));
        };
        for window in 0..self.windows {
            let start_us = window_us(window);
            let missing = self.missing(window);
            let completeness = 1.0 - self.holes.get(&window).copied().unwrap_or(0.0);
            let mut edges: BTreeMap<(&str, &str), Seen> = BTreeMap::new();
            for operation in &self.operations {
                let [good, bad] = self.observe(operation, window, completeness, random);
                for (class, seen) in [("2xx", good), ("5xx", bad)] {
                    if seen.requests == 0 {
                        continue;
                    }
                    let edge = edges.entry((operation.client, operation.server)).or_default();
                    edge.requests += seen.requests;
                    edge.errors += seen.errors;
                    edge.durations.merge(&seen.durations).unwrap();
                    let latency = Latency {
                        window_start_us: start_us,
                        client: named(operation.client),
                        server: named(operation.server),
                        operation: operation.name.into(),
                        status_class: class.into(),
                        requests: seen.requests,
                        errors: seen.errors,
                        duration_ns: seen.durations,
                        completeness,
                        ..headwater_schemas::samples::latency()
                    };
                    put(1, start_us, Kind::Value, datum(&encoders.1, &latency));
                }
            }
            for ((client, server), seen) in edges {
                let edge = Edge {
                    window_start_us: start_us,
                    client: named(client),
                    server: named(server),
                    requests: seen.requests,
                    errors: seen.errors,
                    duration_ns: seen.durations,
                    client_to_server_bytes: 100 * seen.requests,
                    server_to_client_bytes: 1000 * seen.requests,
                    retransmits: 0,
                    completeness,
                    ..headwater_schemas::samples::edge()
                };
                put(0, start_us, Kind::Value, datum(&encoders.0, &edge));
            }
            let marker = WindowClosed {
                window_start_us: start_us,
                window_ms: WINDOW_US / 1000,
                source_partition: 0,
                source_partitions: 1,
                nodes: 1,
                completeness,
                missing,
                records: -1,
                through_offset: -1,
                late_windows_us: Vec::new(),
                revision: 0,
                touches: Vec::new(),
            };
            let marker = datum(&encoders.2, &marker);
            put(0, start_us, Kind::Control, marker.clone());
            put(1, start_us, Kind::Control, marker);
        }
        logs
    }

    fn missing(&self, window: i64) -> Vec<Missing> {
        let hole = self.holes.get(&window).map(|_| Missing {
            node: "node-1".into(),
            reason: "no-data".into(),
            count: 0,
            from_us: window_us(window),
            to_us: window_us(window + 1),
        });
        hole.into_iter().collect()
    }

    /// What succeeds and what fails.
    fn observe(&self, operation: &Operation, window: i64, share: f64, random: &mut Random) -> [Seen; 2] {
        let applies = |fault: &&Fault| {
            fault.server == operation.server
                && fault.name == operation.name
                && (fault.from_window..fault.to_window).contains(&window)
        };
        let fault = self.faults.iter().find(applies);
        let factor = fault.map_or(1.0, |fault| fault.latency_factor);
        let error_share = fault.map_or(0.0, |fault| fault.error_share).max(operation.error_share);
        let mut seen = [Seen::default(), Seen::default()];
        // Latencies go up and down with the hours, and from window to window.
        let usual_us = operation.median_us * (1.0 + 0.3 * (window as f64 / 60.0).sin()) * (0.1 * random.normal()).exp();
        let mut requests: Vec<(f64, bool)> = Vec::new();
        for _ in 0..random.poisson(operation.requests_a_window) {
            let tail = if random.chance(2) { 1.0 + 29.0 * random.unit() } else { 1.0 };
            let duration_us = usual_us * (operation.spread * random.normal()).exp() * tail * factor;
            requests.push((duration_us, random.unit() < error_share));
        }
        requests.sort_by(|a, b| a.0.total_cmp(&b.0));
        let missing = (requests.len() as f64 * (1.0 - share)) as usize;
        for &(duration_us, failed) in &requests[missing..] {
            let seen = &mut seen[usize::from(failed)];
            seen.requests += 1;
            seen.errors += i64::from(failed);
            seen.durations.record((duration_us * 1000.0) as u64);
        }
        seen
    }
}

/// A workload by its name alone.
pub fn named(name: &str) -> Workload {
    Workload::local("program", name)
}
