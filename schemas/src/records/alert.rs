use serde::{Deserialize, Serialize};

use super::Workload;

/// Whether what an [`Alert`] names still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertState {
    /// It holds since the last window that was judged.
    Firing,
    /// It holds no longer.
    Resolved,
}

/// An edge or operation left its own past, or came back; or a service uses up an objective's budget too fast. See `avro/alert.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same from firing to resolved.
    pub alert_id: String,
    /// Whether it begins or ends.
    pub state: AlertState,
    /// `error_rate`, `latency_p50`, `latency_p95`, `latency_p99`, `failed_connects`, `retransmits`, `unanswered` or
    /// `traffic_stopped`; `latency_drift` or `error_drift`; or `burn_rate`.
    pub kind: String,
    /// The service to look at: the server of the edge.
    pub service: Workload,
    /// Client of the edge.
    pub client: Workload,
    /// Server of the edge.
    pub server: Workload,
    /// Protocol of the edge.
    pub protocol: String,
    /// Method and templated path; empty if the whole edge is meant.
    pub operation: String,
    /// Start of the first window that deviated, in microseconds since the epoch.
    pub started_at_us: i64,
    /// End of the window that fired or resolved it, in microseconds since the epoch.
    pub observed_at_us: i64,
    /// Microseconds for latencies, requests in the window for `traffic_stopped`; else a share from 0 to 1.
    pub value: f64,
    /// The edge's own past, in the same unit.
    pub baseline: f64,
    /// What `value` had to exceed, in the same unit.
    pub threshold: f64,
    /// The same in a sentence for people.
    pub message: String,
    /// Records that show it.
    pub evidence: Vec<Evidence>,
    /// The same for all alerts that blame one service at one time; empty if the processor did not say.
    #[serde(default)]
    pub incident_id: String,
    /// How improbable what fires is by chance, as a natural logarithm; 0 when it resolves.
    #[serde(default)]
    pub score: f64,
    /// Who else may be the cause, the likeliest first; at most two, of other servers.
    #[serde(default)]
    pub runners_up: Vec<Candidate>,
    /// Name of the objective; empty for all but `burn_rate`.
    #[serde(default)]
    pub objective: String,
    /// As the objective's burn rate has it.
    #[serde(default)]
    pub severity: String,
    /// Who is to be told, as the objective or the file's owner of the service has it.
    #[serde(default)]
    pub owner: String,
}

record!(Alert, "Alert", "alert");

/// An edge that may be the cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Client of the edge.
    pub client: Workload,
    /// Server of the edge: the service to look at.
    pub server: Workload,
    /// As that of the alert.
    pub score: f64,
}

/// A record that shows what an alert says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Full name of the topic, prefix included.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Start of the window, in microseconds since the epoch.
    pub window_start_us: i64,
}
