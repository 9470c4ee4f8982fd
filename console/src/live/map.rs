//! The service map of a range: who calls whom, how often, how fast, how often it fails.
//!
//! Every edge of the kept minutes is in it, also one without traffic in the range: a map whose parts come and go with
//! each window cannot be read. Such an edge has `requests` 0 and an older `last_window_us`.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_schemas::asked::Asked;
use headwater_schemas::encryption::Encryptions;
use headwater_schemas::records::{Edge, Workload};
use serde::Serialize;

use super::gaps::{self, Gap};
use super::summary::{Summary, Sums};
use super::windows::{Range, Span, Window};
use super::workload::WorkloadView;
use super::{CutOffs, Live};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MapView {
    /// None before the first window.
    pub span: Option<Span>,
    pub nodes: Vec<NodeView>,
    pub edges: Vec<EdgeView>,
    /// The lowest of the windows in the range.
    pub completeness: f64,
    pub missing: Vec<Gap>,
    /// Windows after the range that are published in part.
    pub pending_windows: usize,
    pub cut_offs: CutOffs,
}

/// A service: something that calls or is called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    #[serde(flatten)]
    pub workload: WorkloadView,
    /// Requests that it answered.
    pub incoming: Summary,
    /// Requests that it made.
    pub outgoing: Summary,
    /// Bytes both ways on its connections, per second.
    pub bytes_per_s: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EdgeView {
    pub id: String,
    pub client: WorkloadView,
    pub server: WorkloadView,
    pub protocol: String,
    pub requests: Summary,
    /// Of the requests, those seen from both sides, from 0 to 1.
    pub both_sides_share: f64,
    /// On the connections, client to server and back.
    pub to_server_bytes_per_s: f64,
    pub to_client_bytes_per_s: f64,
    pub connections_opened: i64,
    pub connections_closed: i64,
    pub connections_failed: i64,
    pub retransmits: i64,
    /// Mean of the windows; none if there was no measurement.
    pub rtt_us: Option<f64>,
    /// What clients asked for, which may not be who answered: addresses with ports; at most eight, then `{more}`.
    pub asked: Vec<String>,
    /// How its connections are encrypted: words as in the edge's record, the weakest first, and in how many connections of a window at most.
    pub encryption: Vec<(&'static str, i64)>,
    pub completeness: f64,
    /// Start of the newest window with this edge.
    pub last_window_us: i64,
}

impl Live {
    pub fn map(&self, range: Range) -> MapView {
        let found = self.edges.of(range);
        let (span, windows) = match &found {
            Some((span, windows)) => (Some(*span), windows.as_slice()),
            None => (None, &[][..]),
        };
        let mut totals: BTreeMap<&str, EdgeTotal> = BTreeMap::new();
        for (start_us, window) in self.edges.all() {
            for (id, edge) in window.records.iter().filter(|(_, edge)| carries_traffic(edge)) {
                totals.entry(id).or_insert_with(|| EdgeTotal::of(edge)).last_window_us = start_us;
            }
        }
        for (_, window) in windows {
            for (id, edge) in &window.records {
                if let Some(total) = totals.get_mut(id.as_str()) {
                    total.add(edge);
                }
            }
        }
        let covered_s = span.map_or(0.0, |span| span.covered_s);
        MapView {
            span,
            nodes: nodes(totals.values(), covered_s),
            edges: totals.into_iter().map(|(id, total)| total.view(id, covered_s)).collect(),
            completeness: windows.iter().map(|(_, window)| completeness(window)).fold(1.0, f64::min),
            missing: gaps::join(windows.iter().map(|(_, window)| window.missing.iter().collect())),
            pending_windows: self.edges.pending(),
            cut_offs: self.cut_offs(),
        }
    }
}

impl Live {
    /// The edges of a range as they were published, window by window.
    pub fn edges_of(&self, range: Range) -> Vec<&Edge> {
        let windows = self.edges.of(range).map(|(_, windows)| windows).unwrap_or_default();
        windows.into_iter().flat_map(|(_, window)| window.records.values()).map(Arc::as_ref).collect()
    }
}

/// Whether there is something to draw: where a window was published again, an edge that is none any more is told of, without any traffic.
pub(super) fn carries_traffic(edge: &Edge) -> bool {
    edge.requests > 0
        || edge.client_to_server_bytes > 0
        || edge.server_to_client_bytes > 0
        || edge.connections_opened > 0
        || edge.connections_closed > 0
        || edge.connections_failed > 0
        || edge.retransmits > 0
        || (edge.client != edge.server && edge.revision == 0)
}

pub(super) fn completeness(window: &Window<Edge>) -> f64 {
    window.records.values().map(|edge| edge.completeness).fold(window.completeness, f64::min)
}

struct EdgeTotal<'a> {
    edge: &'a Edge,
    sums: Sums,
    both_sides: i64,
    to_server_bytes: i64,
    to_client_bytes: i64,
    opened: i64,
    closed: i64,
    failed: i64,
    retransmits: i64,
    rtt_us_sum: f64,
    rtt_windows: u32,
    asked: Asked,
    encryption: Encryptions,
    completeness: f64,
    last_window_us: i64,
}

impl<'a> EdgeTotal<'a> {
    fn of(edge: &'a Edge) -> Self {
        EdgeTotal {
            edge,
            sums: Sums::default(),
            both_sides: 0,
            to_server_bytes: 0,
            to_client_bytes: 0,
            opened: 0,
            closed: 0,
            failed: 0,
            retransmits: 0,
            rtt_us_sum: 0.0,
            rtt_windows: 0,
            asked: Asked::default(),
            encryption: Encryptions::default(),
            completeness: 1.0,
            last_window_us: edge.window_start_us,
        }
    }

    fn add(&mut self, edge: &Edge) {
        self.sums.add(edge.requests, edge.errors, &edge.duration_ns, &edge.server_duration_ns);
        self.both_sides = self.both_sides.saturating_add(edge.both_sides);
        self.to_server_bytes = self.to_server_bytes.saturating_add(edge.client_to_server_bytes);
        self.to_client_bytes = self.to_client_bytes.saturating_add(edge.server_to_client_bytes);
        self.opened = self.opened.saturating_add(edge.connections_opened);
        self.closed = self.closed.saturating_add(edge.connections_closed);
        self.failed = self.failed.saturating_add(edge.connections_failed);
        self.retransmits = self.retransmits.saturating_add(edge.retransmits);
        if edge.rtt_us >= 0.0 {
            self.rtt_us_sum += edge.rtt_us;
            self.rtt_windows += 1;
        }
        if let Some(asked) = Asked::of(&edge.asked) {
            self.asked.merge(&asked);
        }
        if let Some(encryption) = Encryptions::of(&edge.encryption) {
            self.encryption.at_least(&encryption);
        }
        self.completeness = self.completeness.min(edge.completeness);
    }

    fn view(self, id: &str, covered_s: f64) -> EdgeView {
        EdgeView {
            id: id.to_owned(),
            client: (&self.edge.client).into(),
            server: (&self.edge.server).into(),
            protocol: self.edge.protocol.clone(),
            requests: self.sums.summary(covered_s),
            both_sides_share: super::share(self.both_sides, self.sums.requests),
            to_server_bytes_per_s: per_s(self.to_server_bytes, covered_s),
            to_client_bytes_per_s: per_s(self.to_client_bytes, covered_s),
            connections_opened: self.opened,
            connections_closed: self.closed,
            connections_failed: self.failed,
            retransmits: self.retransmits,
            rtt_us: (self.rtt_windows > 0).then(|| self.rtt_us_sum / f64::from(self.rtt_windows)),
            asked: self.asked.into_addresses(),
            encryption: self.encryption.counts().collect(),
            completeness: self.completeness,
            last_window_us: self.last_window_us,
        }
    }
}

fn nodes<'a>(edges: impl Iterator<Item = &'a EdgeTotal<'a>>, covered_s: f64) -> Vec<NodeView> {
    let mut sums: BTreeMap<&Workload, (Sums, Sums, i64)> = BTreeMap::new();
    for total in edges {
        let bytes = total.to_server_bytes.saturating_add(total.to_client_bytes);
        let (_, outgoing, node_bytes) = sums.entry(&total.edge.client).or_default();
        outgoing.add(total.sums.requests, total.sums.errors, &total.sums.duration_ns, &total.sums.server_duration_ns);
        *node_bytes = node_bytes.saturating_add(bytes);
        let (incoming, _, node_bytes) = sums.entry(&total.edge.server).or_default();
        incoming.add(total.sums.requests, total.sums.errors, &total.sums.duration_ns, &total.sums.server_duration_ns);
        *node_bytes = node_bytes.saturating_add(bytes);
    }
    let view = |(workload, (incoming, outgoing, bytes)): (&Workload, (Sums, Sums, i64))| NodeView {
        workload: workload.into(),
        incoming: incoming.summary(covered_s),
        outgoing: outgoing.summary(covered_s),
        bytes_per_s: per_s(bytes, covered_s),
    };
    sums.into_iter().map(view).collect()
}

fn per_s(count: i64, covered_s: f64) -> f64 {
    if covered_s > 0.0 { count as f64 / covered_s } else { 0.0 }
}
