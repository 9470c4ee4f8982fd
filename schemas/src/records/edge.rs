use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Workload;
use super::workload::push_escaped;

/// One edge of the service map in one window. See `avro/edge.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Start of the window, in microseconds since the epoch.
    pub window_start_us: i64,
    /// Length of the window, in milliseconds.
    pub window_ms: i64,
    /// 0 the first time. A window of which something came late is published again as a whole, under the next number; the highest holds.
    pub revision: i32,
    /// Workload that opened the connections; unknown if no agent named it.
    pub client: Workload,
    /// Workload that accepted the connections; its address and port if no agent named it, unknown if neither is known.
    pub server: Workload,
    /// Protocol that was recognised, such as `http`; else `tcp`.
    pub protocol: String,
    /// Requests that were completed in the window.
    pub requests: i64,
    /// Of the requests, those that the server failed.
    pub errors: i64,
    /// Of the requests, those seen from both sides. Where a record stood for several, which it does not name, as many as both
    /// sides can have seen.
    pub both_sides: i64,
    /// Heads and bodies of the requests on the wire, in bytes.
    pub request_bytes: i64,
    /// Heads and bodies of the responses on the wire, in bytes.
    pub response_bytes: i64,
    /// Median duration, in microseconds; 0 without requests.
    pub p50_us: f64,
    /// Duration that 95 of 100 requests do not exceed, in microseconds; 0 without requests.
    pub p95_us: f64,
    /// Duration that 99 of 100 requests do not exceed, in microseconds; 0 without requests.
    pub p99_us: f64,
    /// Durations in nanoseconds, as the client saw them, or the server where the client is not captured.
    pub duration_ns: Histogram,
    /// Durations in nanoseconds, as the server saw them.
    pub server_duration_ns: Histogram,
    /// Payload bytes from client to server.
    pub client_to_server_bytes: i64,
    /// Payload bytes from server to client.
    pub server_to_client_bytes: i64,
    /// Connections that were established in the window.
    pub connections_opened: i64,
    /// Connections that ended in the window.
    pub connections_closed: i64,
    /// Connections that were never established, or ended by a reset or a timeout.
    pub connections_failed: i64,
    /// Segments that either side sent again.
    pub retransmits: i64,
    /// Mean of the kernel's smoothed round-trip times, in microseconds; -1 if there was none.
    pub rtt_us: f64,
    /// What clients asked for, with ports, before any translation; at most eight, then `{more}`.
    pub asked: Vec<String>,
    /// Connections that moved bytes in the window, by how they are encrypted: see [`encryption`](crate::encryption).
    #[serde(default)]
    pub encryption: BTreeMap<String, i64>,
    /// 1 if no node that saw one of both ends lately lacks anything of the window; else that of the window, below 1, at least 0.
    pub completeness: f64,
}

record!(Edge, "Edge", "edge", straight);

impl Edge {
    /// The Kafka key.
    pub fn key(&self) -> String {
        edge_id(&self.client, &self.server, &self.protocol)
    }
}

/// The Kafka key of edges and partials: `client>server/protocol`, where client and server are keys of workloads.
pub fn edge_id(client: &Workload, server: &Workload, protocol: &str) -> String {
    let mut id = format!("{}>{}/", client.key(), server.key());
    push_escaped(&mut id, protocol);
    id
}
