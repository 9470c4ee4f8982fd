use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Missing;

/// One edge of the service map in one window. See `avro/edge.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    pub window_start_us: i64,
    pub window_ms: i64,
    pub revision: i32,
    pub client: String,
    pub server: String,
    pub protocol: String,
    pub requests: i64,
    pub errors: i64,
    pub both_sides: i64,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub duration_ns: Histogram,
    pub server_duration_ns: Histogram,
    pub client_to_server_bytes: i64,
    pub server_to_client_bytes: i64,
    pub connections_opened: i64,
    pub connections_closed: i64,
    pub connections_failed: i64,
    pub retransmits: i64,
    pub rtt_us: f64,
    pub completeness: f64,
    pub missing: Vec<Missing>,
}

record!(Edge, "Edge", "edge");

/// The Kafka key of edges and partials.
pub fn edge_id(client: &str, server: &str, protocol: &str) -> String {
    format!("{client}>{server}/{protocol}")
}
