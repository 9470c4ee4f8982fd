use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Workload, edge_id};

/// What one raw partition adds to one window of one edge and operation. See `avro/partial.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// Start of the window, in microseconds since the epoch.
    pub window_start_us: i64,
    /// Length of the window, in milliseconds.
    pub window_ms: i64,
    /// Partition of `flows` and `requests` that it was made of.
    pub raw_partition: i32,
    /// Workload that opened the connections; `unknown` if no agent named it.
    pub client: Workload,
    /// Workload that accepted the connections; its address and port if no agent named it, `unknown` if neither is known.
    pub server: Workload,
    /// Protocol that was recognised, such as `http`; else `tcp`.
    pub protocol: String,
    /// Method and templated path; empty in a partial that carries what connections did rather than requests.
    pub operation: String,
    /// `2xx` and the like, `none` without response; empty with an empty operation.
    pub status_class: String,
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
    /// Sum of the kernel's smoothed round-trip times, in microseconds.
    pub rtt_us_sum: i64,
    /// How many round-trip times were added.
    pub rtt_count: i64,
    /// What clients asked for, with ports, before any translation; at most eight, then `{more}`.
    pub asked: Vec<String>,
    /// Connections that moved bytes in the window, by how they are encrypted: see [`encryption`](crate::encryption).
    #[serde(default)]
    pub encryption: BTreeMap<String, i64>,
}

record!(Partial, "Partial", "partial", straight);

impl Partial {
    /// The Kafka key.
    pub fn key(&self) -> String {
        edge_id(&self.client, &self.server, &self.protocol)
    }
}

/// A source partition has published all that it gives to a window. See `avro/window_closed.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowClosed {
    /// Start of the window, in microseconds since the epoch.
    pub window_start_us: i64,
    /// Length of the window, in milliseconds.
    pub window_ms: i64,
    /// Of `flows` and `requests` for partials; of partials for edges and latencies.
    pub source_partition: i32,
    /// How many must be heard before the window is complete.
    pub source_partitions: i32,
    /// Agents that were expected in the window.
    pub nodes: i32,
    /// 1 if every expected agent covered the whole window and dropped nothing; else below 1, at least 0.
    pub completeness: f64,
    /// What is missing of the window, and of whom.
    pub missing: Vec<Missing>,
    /// Records of this window that this source partition gives to the partition that is spoken of; -1 if it does not say.
    #[serde(default = "unsaid")]
    pub records: i64,
    /// They stand there up to this offset; -1 if there are none, or it does not say.
    #[serde(default = "unsaid")]
    pub through_offset: i64,
    /// Starts of windows that were closed before, of which something came since the marker before this one, in order. In microseconds since the epoch; at most
    /// [`WindowClosed::LATE_WINDOWS_MAX`].
    #[serde(default)]
    pub late_windows_us: Vec<i64>,
    /// 0 the first time. Of several markers of a window and input partition the one with the highest number holds: it says what is missing since records that came late
    /// were published.
    #[serde(default)]
    pub revision: i32,
    /// Which workloads nodes had lately of which something is missing. A node that is not named here may have had any.
    #[serde(default)]
    pub touches: Vec<Touch>,
}

/// What was seen lately by a node of which something is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Touch {
    /// The node.
    pub node: String,
    /// When its agent last saw one of them.
    pub last_us: i64,
    /// Keys of workloads that its agent saw as an end of a connection, in order; `{more}` for any.
    pub workloads: Vec<String>,
}

impl WindowClosed {
    /// As many late windows as a marker names: more than a horizon of a quarter of an hour has of one second.
    pub const LATE_WINDOWS_MAX: usize = 1000;
}

fn unsaid() -> i64 {
    -1
}

record!(WindowClosed, "WindowClosed", "window_closed", straight);

/// The reason of a time that no agent of the node covered.
pub const NO_DATA: &str = "no-data";

/// Which node's data is missing from a window, from when to when, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// The node whose data is missing.
    pub node: String,
    /// [`NO_DATA`] if the agent did not cover the time; else the reason of the drop.
    pub reason: String,
    /// Records known to be missing; 0 if unknown.
    pub count: i64,
    /// Where the time begins that is not whole, in microseconds since the epoch.
    pub from_us: i64,
    /// Where it ends, in microseconds since the epoch.
    pub to_us: i64,
}
