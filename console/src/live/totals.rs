//! What each edge did since this console began to count: sums that only grow.
//!
//! In: windows that are published in full, each once, in order. Out: an [`EdgeTotal`] for each edge. Promises: a sum is exactly
//! that of the counted windows, and never of a part of one; what a window gets after it was counted is not added, and counted
//! as late. Bound: so many edges. Those for which there is no room are added up as one, so that nothing is missing of the whole;
//! an edge that did nothing for [`IDLE_US`] makes room for another, and begins again with 0 if it comes back.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_schemas::records::{Edge, Latency, Workload};

use super::map::carries_traffic;
use super::windows::Window;

const IDLE_US: i64 = 3_600_000_000;

/// What a status class can be; another word counts as the last one.
pub const STATUS_CLASSES: [&str; 10] =
    ["1xx", "2xx", "3xx", "4xx", "5xx", "ok", "client_error", "server_error", "none", "other"];

/// The windows of one topic that were counted.
#[derive(Debug, Clone, Default)]
pub struct Counting {
    /// Where the first window begins that can count, in microseconds since the epoch; none until all was read that was there.
    pub since_us: Option<i64>,
    /// Start and end of the newest window that was counted, or that came too early to be.
    through_us: i64,
    end_us: i64,
    pub windows: u64,
    /// Of these, those of which something is missing.
    pub incomplete: u64,
    /// Windows between counted ones that were not there.
    pub skipped: u64,
    /// Records that changed a window after it was counted.
    pub late: u64,
}

/// Everything that was counted of edges.
#[derive(Debug, Clone)]
pub struct Totals {
    edges_max: usize,
    by_edge: BTreeMap<String, EdgeTotal>,
    /// Edges for which there was no room.
    pub others: EdgeTotal,
    /// How many of them there are in the newest window.
    pub left_out: usize,
}

/// What one edge did.
#[derive(Debug, Clone)]
pub struct EdgeTotal {
    pub client: Workload,
    pub server: Workload,
    pub protocol: String,
    /// Start of the first window that was counted.
    pub since_us: i64,
    /// Durations of requests in nanoseconds, as the client saw them where it is captured.
    pub duration_ns: Histogram,
    /// The same as the server saw them.
    pub server_duration_ns: Histogram,
    pub to_server_bytes: u64,
    pub to_client_bytes: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
    pub connections_failed: u64,
    pub retransmits: u64,
    /// By status class, in the order of [`STATUS_CLASSES`].
    pub by_status: [Requests; STATUS_CLASSES.len()],
    last_window_us: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    pub requests: u64,
    /// Of these, those that the server failed.
    pub errors: u64,
}

impl Counting {
    /// All was read that was there: what begins after `newest` (start and length) counts. Only the first call decides.
    pub fn begin(&mut self, newest: Option<(i64, i64)>, now_us: i64) {
        if self.since_us.is_some() {
            return;
        }
        (self.through_us, self.end_us) = match newest {
            Some((start_us, length_us)) => (start_us, start_us + length_us),
            None => (i64::MIN, i64::MIN),
        };
        self.since_us = Some(if newest.is_some() { self.end_us } else { now_us });
    }

    /// After which start windows are still to be counted; none before counting began.
    pub fn through_us(&self) -> Option<i64> {
        self.since_us.map(|_| self.through_us)
    }

    /// End of the newest window that was counted, in microseconds since the epoch; none before the first one.
    pub fn counted_to_us(&self) -> Option<i64> {
        (self.windows > 0).then_some(self.end_us)
    }

    /// Whether this window was counted.
    pub fn has(&self, start_us: i64) -> bool {
        self.since_us.is_some_and(|since_us| since_us <= start_us && start_us <= self.through_us)
    }

    /// Notes that a window counts.
    pub fn count<R>(&mut self, start_us: i64, window: &Window<R>, completeness: f64) {
        if self.end_us != i64::MIN && window.length_us > 0 {
            self.skipped += ((start_us - self.end_us) / window.length_us).max(0) as u64;
        }
        (self.through_us, self.end_us) = (start_us, start_us.saturating_add(window.length_us));
        self.windows += 1;
        self.incomplete += u64::from(completeness < 1.0);
    }
}

impl Totals {
    pub fn new(edges_max: usize) -> Totals {
        let other = Workload::local("other", "other");
        let others = EdgeTotal::new(&other, &other, "other", 0);
        Totals { edges_max, by_edge: BTreeMap::new(), others, left_out: 0 }
    }

    /// The edges that are counted one by one, in the order of their ids.
    pub fn edges(&self) -> impl Iterator<Item = &EdgeTotal> {
        self.by_edge.values()
    }

    pub fn add_edges(&mut self, start_us: i64, window: &Window<Edge>) {
        self.make_room(start_us);
        self.left_out = 0;
        for (id, edge) in window.records.iter().filter(|(_, edge)| carries_traffic(edge)) {
            let (total, has_room) = self.total(id, (&edge.client, &edge.server, &edge.protocol), start_us);
            // A histogram of another scale cannot be added; all else still counts.
            let _ = total.duration_ns.merge(&edge.duration_ns);
            let _ = total.server_duration_ns.merge(&edge.server_duration_ns);
            for (sum, count) in [
                (&mut total.to_server_bytes, edge.client_to_server_bytes),
                (&mut total.to_client_bytes, edge.server_to_client_bytes),
                (&mut total.connections_opened, edge.connections_opened),
                (&mut total.connections_closed, edge.connections_closed),
                (&mut total.connections_failed, edge.connections_failed),
                (&mut total.retransmits, edge.retransmits),
            ] {
                add(sum, count);
            }
            self.left_out += usize::from(!has_room);
        }
    }

    pub fn add_latencies(&mut self, start_us: i64, window: &Window<Latency>) {
        self.make_room(start_us);
        for latency in window.records.values() {
            let (client, server, protocol) = (&latency.client, &latency.server, &latency.protocol);
            let id = headwater_schemas::records::edge_id(client, server, protocol);
            let (total, _) = self.total(&id, (client, server, protocol), start_us);
            let class = STATUS_CLASSES.iter().position(|class| *class == latency.status_class);
            let requests = &mut total.by_status[class.unwrap_or(STATUS_CLASSES.len() - 1)];
            add(&mut requests.requests, latency.requests);
            add(&mut requests.errors, latency.errors);
        }
    }

    /// Where an edge is counted, and whether that is its own place.
    fn total(
        &mut self,
        id: &str,
        (client, server, protocol): (&Workload, &Workload, &str),
        start_us: i64,
    ) -> (&mut EdgeTotal, bool) {
        if self.by_edge.len() >= self.edges_max && !self.by_edge.contains_key(id) {
            if self.others.since_us == 0 {
                self.others.since_us = start_us;
            }
            return (&mut self.others, false);
        }
        let new = || EdgeTotal::new(client, server, protocol, start_us);
        let total = self.by_edge.entry(id.to_owned()).or_insert_with(new);
        total.last_window_us = total.last_window_us.max(start_us);
        (total, true)
    }

    fn make_room(&mut self, now_us: i64) {
        if self.by_edge.len() >= self.edges_max {
            self.by_edge.retain(|_, total| now_us - total.last_window_us <= IDLE_US);
        }
    }
}

impl EdgeTotal {
    fn new(client: &Workload, server: &Workload, protocol: &str, since_us: i64) -> EdgeTotal {
        EdgeTotal {
            client: client.clone(),
            server: server.clone(),
            protocol: protocol.to_owned(),
            since_us,
            duration_ns: Histogram::default(),
            server_duration_ns: Histogram::default(),
            to_server_bytes: 0,
            to_client_bytes: 0,
            connections_opened: 0,
            connections_closed: 0,
            connections_failed: 0,
            retransmits: 0,
            by_status: Default::default(),
            last_window_us: since_us,
        }
    }
}

/// A record that counts below nothing takes nothing away.
fn add(sum: &mut u64, count: i64) {
    *sum = sum.saturating_add(count.max(0) as u64);
}
