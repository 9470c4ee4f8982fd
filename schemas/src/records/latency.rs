use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::workload::push_escaped;
use super::{Workload, edge_id};

/// Latency of one operation and status class of an edge in one window. See `avro/latency.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Start of the window, in microseconds since the epoch.
    pub window_start_us: i64,
    /// Length of the window, in milliseconds.
    pub window_ms: i64,
    /// 0 the first time. A window of which something came late is published again as a whole, under the next number; the highest holds.
    pub revision: i32,
    /// Workload that opened the connections; `unknown` if no agent named it.
    pub client: Workload,
    /// Workload that accepted the connections; its address and port if no agent named it, `unknown` if neither is known.
    pub server: Workload,
    /// Protocol that was recognised, such as `http`; else `tcp`.
    pub protocol: String,
    /// Method and templated path, of bounded number; `{other}` past the bound.
    pub operation: String,
    /// `2xx` and the like; `ok` and the like where the protocol has no status, `none` without response: see
    /// [`Request::status_class`](super::Request::status_class).
    pub status_class: String,
    /// Requests that were completed in the window.
    pub requests: i64,
    /// Of the requests, those that the server failed.
    pub errors: i64,
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
    /// 1 if no node that saw one of both ends lately lacks anything of the window; else that of the window, below 1, at least 0.
    pub completeness: f64,
}

record!(Latency, "Latency", "latency", straight);

impl Latency {
    /// The Kafka key.
    pub fn key(&self) -> String {
        let Latency { client, server, protocol, operation, status_class, .. } = self;
        latency_key(client, server, protocol, operation, status_class)
    }
}

/// The Kafka key of latencies: the edge's id, the status class and the operation, with slashes between them.
pub fn latency_key(
    client: &Workload,
    server: &Workload,
    protocol: &str,
    operation: &str,
    status_class: &str,
) -> String {
    let mut key = edge_id(client, server, protocol);
    key.push('/');
    push_escaped(&mut key, status_class);
    // Last, so that it can stand as it is.
    key.push('/');
    key.push_str(operation);
    key
}
