//! Makes latencies: one record for each operation and status class of an edge.

use std::mem::take;

use headwater_schemas::records::{Latency, Partial, Workload};
use headwater_schemas::topics::Topic;

use super::{ClosedWindow, View, quantile_us};
use crate::processor::Output;
use crate::sums::Sum;

/// Latency by operation.
pub struct LatencyView;

impl View for LatencyView {
    /// Client, server, protocol, operation, status class.
    type Key = (Workload, Workload, [String; 3]);

    const TOPIC: Topic = Topic::Latencies;

    /// A partial without operation tells of connections, not of requests.
    fn key(partial: &mut Partial) -> Option<Self::Key> {
        if partial.operation.is_empty() {
            return None;
        }
        let Partial { client, server, protocol, operation, status_class, .. } = partial;
        Some((take(client), take(server), [protocol, operation, status_class].map(take)))
    }

    fn record(key: Self::Key, sum: Sum, window: &ClosedWindow) -> Output {
        let (client, server, [protocol, operation, status_class]) = key;
        let completeness = window.completeness_of(&client, &server);
        Output::Latency(Latency {
            window_start_us: window.start_us,
            window_ms: window.length_ms,
            revision: 0,
            client,
            server,
            protocol,
            operation,
            status_class,
            requests: sum.requests,
            errors: sum.errors,
            p50_us: quantile_us(&sum.duration_ns, 0.50),
            p95_us: quantile_us(&sum.duration_ns, 0.95),
            p99_us: quantile_us(&sum.duration_ns, 0.99),
            duration_ns: sum.duration_ns,
            server_duration_ns: sum.server_duration_ns,
            completeness,
        })
    }
}
