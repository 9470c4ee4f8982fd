use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latency of one operation and status class of an edge in one window. See `avro/latency.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub window_start_us: i64,
    pub window_ms: i64,
    pub revision: i32,
    pub client: String,
    pub server: String,
    pub protocol: String,
    pub operation: String,
    pub status_class: String,
    pub requests: i64,
    pub errors: i64,
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub duration_ns: Histogram,
    pub server_duration_ns: Histogram,
    pub completeness: f64,
}

record!(Latency, "Latency", "latency");

/// The Kafka key of latencies.
pub fn latency_key(client: &str, server: &str, protocol: &str, operation: &str) -> String {
    format!("{client}>{server}/{protocol} {operation}")
}
