//! Who judges the records: Headwater's own processor, and three simple rivals.
//!
//! In: the records of each window. Out: whom they blame, in the order in which they would be looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, anyhow};
use headwater_processors::bottlenecks::Bottlenecks;
use headwater_processors::processor::{BadInput, Output, Processor};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{AlertState, Edge, Latency, WindowClosed, Workload};

use super::run::WINDOW_US;

/// An edge that somebody is told to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blamed {
    pub client: Workload,
    pub server: Workload,
}

/// An alarm: the end of the window at which it came, and the candidates, the likeliest first.
#[derive(Debug, Clone)]
pub struct Alarm {
    pub at_us: i64,
    pub candidates: Vec<Blamed>,
    /// The same for all that one person has to look at.
    pub incident: String,
    /// For people.
    pub message: String,
}

/// The processor `bottlenecks`, as it is.
pub struct Processors {
    judge: Bottlenecks,
    next: Offset,
    /// Alerts that fired already: one that goes on says so once more.
    told: BTreeSet<String>,
}

impl Processors {
    pub fn new() -> Processors {
        let topics = ["headwater.edges".to_owned(), "headwater.latencies".to_owned()];
        Processors { judge: Bottlenecks::new(topics, Partition(0), &[]), next: Offset::FIRST, told: BTreeSet::new() }
    }

    pub fn judge(&mut self, start_us: i64, edges: Vec<Edge>, latencies: Vec<Latency>) -> Result<Vec<Alarm>> {
        let bad = |error: BadInput| anyhow!("a record of a generated system is refused: {error}");
        for edge in edges {
            self.judge.edge(self.next, edge).map_err(bad)?;
            self.next = self.next.next();
        }
        for latency in latencies {
            self.judge.latency(self.next, latency).map_err(bad)?;
            self.next = self.next.next();
        }
        let marker = WindowClosed {
            window_start_us: start_us,
            window_ms: WINDOW_US / 1000,
            source_partition: 0,
            source_partitions: 1,
            nodes: 1,
            completeness: 1.0,
            missing: Vec::new(),
            records: -1,
            through_offset: -1,
            late_windows_us: Vec::new(),
            revision: 0,
            touches: Vec::new(),
        };
        for stream in [0, 1] {
            self.judge.closed(stream, self.next, &marker);
            self.next = self.next.next();
        }
        let fired = self.judge.take_outputs().into_iter().filter_map(|output| match output {
            Output::Alert(alert) if alert.state == AlertState::Firing => Some(alert),
            _ => None,
        });
        let alarms: Vec<Alarm> = fired
            .filter(|alert| self.told.insert(alert.alert_id.clone()))
            .map(|alert| {
                let mut candidates = vec![Blamed { client: alert.client, server: alert.server }];
                let runners_up = alert.runners_up.into_iter();
                candidates.extend(runners_up.map(|other| Blamed { client: other.client, server: other.server }));
                let message = format!("{} ({:.1}): {}", alert.kind, alert.score, alert.message);
                Alarm { at_us: alert.observed_at_us, candidates, incident: alert.incident_id, message }
            })
            .collect();
        Ok(alarms)
    }
}

/// An edge is suspicious if its p95 or its share of errors is this many standard deviations above its mean, twice in a row.
const SIGMAS: f64 = 3.0;
const PAST_WINDOWS: usize = 60;
const PAST_WINDOWS_MIN: usize = 10;
/// Less is no deviation at all, whatever the standard deviation.
const LN_P95_DEVIATION_MIN: f64 = 0.05;
const ERRORS_DEVIATION_MIN: f64 = 0.005;

/// N-sigma on each edge; and which of the suspicious edges is blamed.
pub struct Sigmas {
    deepest: bool,
    edges: BTreeMap<Blamed, Past>,
}

#[derive(Default)]
struct Past {
    windows: VecDeque<[f64; 2]>,
    bad_windows: u32,
}

impl Sigmas {
    /// `deepest` blames whoever calls nobody suspicious, else it is the edge with the largest deviation.
    pub fn new(deepest: bool) -> Sigmas {
        Sigmas { deepest, edges: BTreeMap::new() }
    }

    pub fn judge(&mut self, start_us: i64, edges: &[Edge]) -> Vec<Alarm> {
        let mut suspicious: Vec<(f64, Blamed)> = Vec::new();
        for edge in edges {
            let tried = edge.requests + edge.connections_failed;
            let failed = edge.errors + edge.connections_failed;
            let values = [edge.p95_us.max(1.0).ln(), failed as f64 / tried.max(1) as f64];
            let blamed = Blamed { client: edge.client.clone(), server: edge.server.clone() };
            let past = self.edges.entry(blamed.clone()).or_default();
            let sigmas = past.sigmas(values);
            if past.windows.len() >= PAST_WINDOWS_MIN && sigmas > SIGMAS {
                past.bad_windows += 1;
                if past.bad_windows == 2 {
                    suspicious.push((sigmas, blamed));
                }
                continue;
            }
            past.bad_windows = 0;
            past.windows.push_back(values);
            if past.windows.len() > PAST_WINDOWS {
                past.windows.pop_front();
            }
        }
        if suspicious.is_empty() {
            return Vec::new();
        }
        suspicious.sort_by(|a, b| b.0.total_cmp(&a.0));
        if self.deepest {
            let calls: BTreeSet<Workload> = suspicious.iter().map(|(_, blamed)| blamed.client.clone()).collect();
            suspicious.sort_by_key(|(_, blamed)| calls.contains(&blamed.server));
        }
        let mut candidates: Vec<Blamed> = Vec::new();
        for (_, blamed) in suspicious {
            if !candidates.iter().any(|known| known.server == blamed.server) {
                candidates.push(blamed);
            }
        }
        vec![Alarm { at_us: start_us + WINDOW_US, candidates, incident: String::new(), message: String::new() }]
    }
}

impl Past {
    fn sigmas(&self, values: [f64; 2]) -> f64 {
        let count = self.windows.len().max(1) as f64;
        let of = |at: usize, least: f64| {
            let mean = self.windows.iter().map(|window| window[at]).sum::<f64>() / count;
            let square = self.windows.iter().map(|window| (window[at] - mean).powi(2)).sum::<f64>() / count;
            (values[at] - mean) / square.sqrt().max(least)
        };
        of(0, LN_P95_DEVIATION_MIN).max(of(1, ERRORS_DEVIATION_MIN))
    }
}
