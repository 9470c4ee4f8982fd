use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

/// What one raw partition adds to one window of one edge and operation. See `avro/partial.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    pub window_start_us: i64,
    pub window_ms: i64,
    pub raw_partition: i32,
    pub client: String,
    pub server: String,
    pub protocol: String,
    pub operation: String,
    pub status_class: String,
    pub requests: i64,
    pub errors: i64,
    pub both_sides: i64,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub duration_ns: Histogram,
    pub server_duration_ns: Histogram,
    pub client_to_server_bytes: i64,
    pub server_to_client_bytes: i64,
    pub connections_opened: i64,
    pub connections_closed: i64,
    pub connections_failed: i64,
    pub retransmits: i64,
    pub rtt_us_sum: i64,
    pub rtt_count: i64,
}

record!(Partial, "Partial", "partial");

/// An input partition has published all that it gives to a window. See `avro/partition_closed.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionClosed {
    pub window_start_us: i64,
    pub window_ms: i64,
    pub source_partition: i32,
    pub source_partitions: i32,
    pub nodes: i32,
    pub completeness: f64,
    pub missing: Vec<Missing>,
}

record!(PartitionClosed, "PartitionClosed", "partition_closed");

/// Which node's data is missing from a window, from when to when, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    pub node: String,
    pub reason: String,
    pub count: i64,
    pub from_us: i64,
    pub to_us: i64,
}
