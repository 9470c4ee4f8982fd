//! The slowest operations of a range, over all status classes of each.
//!
//! Its windows are those of the map: latencies of a window whose edges are not published yet are left for the next answer.

use std::collections::BTreeMap;

use headwater_schemas::records::{Workload, edge_id};
use serde::Serialize;

use super::Live;
use super::summary::{Summary, Sums};
use super::windows::{Range, Span};
use super::workload::WorkloadView;

/// More operations than anyone reads; the answer says how many there were.
pub const OPERATIONS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationsView {
    pub span: Option<Span>,
    /// Slowest p95 first.
    pub operations: Vec<OperationView>,
    /// How many there are in all.
    pub total: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationView {
    /// The edge that it belongs to, as the map names it.
    pub edge: String,
    pub client: WorkloadView,
    pub server: WorkloadView,
    pub protocol: String,
    pub operation: String,
    pub requests: Summary,
    /// Requests by status class, such as `2xx`.
    pub statuses: BTreeMap<String, i64>,
    pub completeness: f64,
}

impl Live {
    pub fn operations(&self, range: Range) -> OperationsView {
        let found = self.edges.complete_to_us().and_then(|to_us| self.latencies.until(range, to_us));
        let Some((span, windows)) = found else {
            return OperationsView { span: None, operations: Vec::new(), total: 0 };
        };
        type Total = (Sums, BTreeMap<String, i64>, f64);
        let mut totals: BTreeMap<(&Workload, &Workload, [&str; 2]), Total> = BTreeMap::new();
        for latency in windows.iter().flat_map(|(_, window)| window.records.values()) {
            let key = (&latency.client, &latency.server, [&*latency.protocol, &*latency.operation]);
            let (sums, statuses, completeness) =
                totals.entry(key).or_insert_with(|| (Sums::default(), BTreeMap::new(), 1.0));
            sums.add(latency.requests, latency.errors, &latency.duration_ns, &latency.server_duration_ns);
            *statuses.entry(latency.status_class.clone()).or_default() += latency.requests;
            *completeness = completeness.min(latency.completeness);
        }
        let total = totals.len();
        let mut operations: Vec<OperationView> = totals
            .into_iter()
            .map(|((client, server, [protocol, operation]), (sums, statuses, completeness))| OperationView {
                edge: edge_id(client, server, protocol),
                client: client.into(),
                server: server.into(),
                protocol: protocol.to_owned(),
                operation: operation.to_owned(),
                requests: sums.summary(span.covered_s),
                statuses,
                completeness,
            })
            .collect();
        operations.sort_by(|a, b| b.requests.p95_us.total_cmp(&a.requests.p95_us));
        operations.truncate(OPERATIONS_MAX);
        OperationsView { span: Some(span), operations, total }
    }
}
