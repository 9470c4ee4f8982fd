//! Makes edges: one record for each client, server and protocol, over all operations.

use std::mem::take;

use headwater_schemas::records::{Edge, Partial, Workload};
use headwater_schemas::topics::Topic;

use super::{ClosedWindow, View, quantile_us};
use crate::processor::Output;
use crate::sums::Sum;

/// The service map.
pub struct ServiceMapView;

impl View for ServiceMapView {
    /// Client, server, protocol.
    type Key = (Workload, Workload, String);

    const TOPIC: Topic = Topic::Edges;

    fn key(partial: &mut Partial) -> Option<Self::Key> {
        Some((take(&mut partial.client), take(&mut partial.server), take(&mut partial.protocol)))
    }

    fn record((client, server, protocol): Self::Key, sum: Sum, window: &ClosedWindow) -> Output {
        let completeness = window.completeness_of(&client, &server);
        let rtt_us = if sum.rtt_count > 0 { sum.rtt_us_sum as f64 / sum.rtt_count as f64 } else { -1.0 };
        Output::Edge(Edge {
            window_start_us: window.start_us,
            window_ms: window.length_ms,
            revision: 0,
            client,
            server,
            protocol,
            requests: sum.requests,
            errors: sum.errors,
            both_sides: sum.both_sides,
            request_bytes: sum.request_bytes,
            response_bytes: sum.response_bytes,
            p50_us: quantile_us(&sum.duration_ns, 0.50),
            p95_us: quantile_us(&sum.duration_ns, 0.95),
            p99_us: quantile_us(&sum.duration_ns, 0.99),
            duration_ns: sum.duration_ns,
            server_duration_ns: sum.server_duration_ns,
            client_to_server_bytes: sum.client_to_server_bytes,
            server_to_client_bytes: sum.server_to_client_bytes,
            connections_opened: sum.connections_opened,
            connections_closed: sum.connections_closed,
            connections_failed: sum.connections_failed,
            retransmits: sum.retransmits,
            rtt_us,
            asked: sum.asked.into_addresses(),
            encryption: sum.encryption.into_map(),
            completeness,
        })
    }
}
