//! What the topics said in the last minutes, ready to be asked.
//!
//! In: edges, latencies, alerts and heartbeats as they are read, in any order. Out: the service map, the slowest
//! operations, the alerts and the agents' health of a range of time. Pure and synchronous: no clock, no Kafka, no HTTP.
//! Bounds: [`Limits`]; what they keep out is counted and shown.

mod agents;
mod alerts;
mod gaps;
mod history;
mod map;
mod operations;
mod summary;
#[cfg(test)]
mod tests;
mod totals;
mod windows;
mod workload;

use std::sync::Arc;

use headwater_schemas::records::{Agent, Alert, Edge, Latency, WindowClosed};
use serde::Serialize;

pub use agents::{AgentView, AgentsView, Health};
pub use alerts::{AlertView, AlertsView};
pub use gaps::Gap;
pub use history::{HistoryView, Of, Point};
pub use map::{EdgeView, MapView, NodeView};
pub use operations::{OperationView, OperationsView};
pub use summary::Summary;
pub use totals::{Counting, EdgeTotal, STATUS_CLASSES, Totals};
pub use windows::{CutOff, Range, Span};
pub use workload::WorkloadView;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub minutes: u32,
    /// Records of edges, and as many latencies again.
    pub records_max: usize,
    /// Windows with edges, and as many with latencies again.
    pub windows_max: usize,
    pub alerts_max: usize,
    pub agents_max: usize,
    /// Edges that are counted one by one.
    pub counted_edges_max: usize,
    /// A window that starts later than this after the present is not believed.
    pub ahead_us_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            minutes: 15,
            records_max: 60_000,
            windows_max: 2_000,
            alerts_max: 500,
            agents_max: 2_000,
            counted_edges_max: 2_000,
            ahead_us_max: 5 * 60_000_000,
        }
    }
}

/// The model. Each method that takes something in returns whether the answer to a question may have changed.
///
/// A clone is cheap, since it shares the records: whoever asks takes one, and keeps nobody from writing meanwhile.
#[derive(Clone)]
pub struct Live {
    minutes: u32,
    edges: windows::Windows<Edge>,
    latencies: windows::Windows<Latency>,
    alerts: alerts::Alerts,
    agents: agents::Agents,
    counted_edges: Counting,
    counted_latencies: Counting,
    totals: Arc<Totals>,
}

/// Everything that was left out, by topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CutOffs {
    pub edges: CutOff,
    pub latencies: CutOff,
    pub alerts: u64,
    pub agents: u64,
}

impl Live {
    pub fn new(limits: Limits) -> Self {
        Live {
            minutes: limits.minutes,
            edges: windows::Windows::new(limits),
            latencies: windows::Windows::new(limits),
            alerts: alerts::Alerts::new(limits.alerts_max),
            agents: agents::Agents::new(limits.agents_max, limits.minutes),
            counted_edges: Counting::default(),
            counted_latencies: Counting::default(),
            totals: Arc::new(Totals::new(limits.counted_edges_max)),
        }
    }

    pub fn edge(&mut self, edge: Edge, now_us: i64) -> bool {
        let start_us = edge.window_start_us;
        let late = self.counted_edges.has(start_us) && self.edges.get(start_us, &edge.key()) != Some(&edge);
        self.counted_edges.late += u64::from(late);
        self.edges.insert(edge, now_us)
    }

    pub fn latency(&mut self, latency: Latency, now_us: i64) -> bool {
        let start_us = latency.window_start_us;
        let late =
            self.counted_latencies.has(start_us) && self.latencies.get(start_us, &latency.key()) != Some(&latency);
        self.counted_latencies.late += u64::from(late);
        self.latencies.insert(latency, now_us)
    }

    pub fn alert(&mut self, alert: Alert) -> bool {
        self.alerts.insert(alert)
    }

    /// A heartbeat that was read at `now_us`.
    pub fn agent(&mut self, agent: Agent, now_us: i64) -> bool {
        self.agents.insert(agent, now_us)
    }

    /// A marker of the edges topic.
    pub fn edges_closed(&mut self, marker: &WindowClosed, now_us: i64) -> bool {
        let changed = self.edges.close(marker, now_us);
        let Some(through_us) = self.counted_edges.through_us() else { return changed };
        for (start_us, window) in self.edges.full_after(through_us) {
            Arc::make_mut(&mut self.totals).add_edges(start_us, window);
            self.counted_edges.count(start_us, window, map::completeness(window));
        }
        changed
    }

    /// A marker of the latencies topic.
    pub fn latencies_closed(&mut self, marker: &WindowClosed, now_us: i64) -> bool {
        let changed = self.latencies.close(marker, now_us);
        let Some(through_us) = self.counted_latencies.through_us() else { return changed };
        for (start_us, window) in self.latencies.full_after(through_us) {
            Arc::make_mut(&mut self.totals).add_latencies(start_us, window);
            self.counted_latencies.count(start_us, window, window.completeness);
        }
        changed
    }

    /// All edges were read that were there at the start: windows that begin from now on are counted. Said again, it does nothing.
    pub fn count_edges(&mut self, now_us: i64) {
        self.counted_edges.begin(self.edges.newest(), now_us);
    }

    /// The same for the latencies.
    pub fn count_latencies(&mut self, now_us: i64) {
        self.counted_latencies.begin(self.latencies.newest(), now_us);
    }

    /// What was counted, and of which windows: first of edges, then of latencies.
    pub fn totals(&self) -> (&Totals, [&Counting; 2]) {
        (&self.totals, [&self.counted_edges, &self.counted_latencies])
    }

    /// How many minutes are kept.
    pub fn minutes(&self) -> u32 {
        self.minutes
    }

    /// Where the newest window ends whose edges are published in full.
    pub fn newest_window_end_us(&self) -> Option<i64> {
        self.edges.complete_to_us()
    }

    pub fn cut_offs(&self) -> CutOffs {
        CutOffs {
            edges: self.edges.cut_off,
            latencies: self.latencies.cut_off,
            alerts: self.alerts.cut_off,
            agents: self.agents.cut_off,
        }
    }
}

/// A share of a count; 0 of nothing.
fn share(part: i64, whole: i64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { 0.0 }
}
