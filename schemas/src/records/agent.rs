use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Heartbeat of one agent. See `avro/agent.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Host on which the agent runs.
    pub node: String,
    /// When this run of the agent started, in microseconds since the epoch; names the run.
    pub agent_started_at_us: i64,
    /// Number of the heartbeat in this run of the agent, from 0.
    pub sequence: i64,
    /// When the heartbeat was made, in microseconds since the epoch.
    pub observed_at_us: i64,
    /// Version of the agent.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Which probes serve: `tp_btf`.
    pub capture_path: String,
    /// The agent stopped in order.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Records captured since the start, by record type.
    pub captured: BTreeMap<String, i64>,
    /// Records that the broker acknowledged since the start, by record type.
    pub published: BTreeMap<String, i64>,
    /// Records handed to the producer and not yet acknowledged, by record type.
    pub in_flight: BTreeMap<String, i64>,
    /// Records dropped since the start, by reason.
    pub dropped: BTreeMap<String, i64>,
    /// Other counts, such as connections tracked or bytes copied by the probes.
    pub counters: BTreeMap<String, i64>,
    /// Processor time of the agent's process since its start, in milliseconds.
    pub cpu_ms: i64,
    /// Resident memory of the agent's process, in bytes; 0 if unknown.
    pub rss_bytes: i64,
    /// Whose records were dropped since the start, as far as that is known: those that lost the most first, at most 100. What `dropped` has
    /// beyond their sum is nobody's that is known.
    #[serde(default)]
    pub dropped_by_workload: Vec<WorkloadDropped>,
}

/// Records of one workload that are missing. Its names are those of its other records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadDropped {
    /// The Kubernetes cluster; empty outside of one.
    pub cluster: String,
    /// The namespace in it.
    pub namespace: String,
    /// What the workload is.
    pub workload_kind: String,
    /// Its name.
    pub workload: String,
    /// The pod; empty outside of Kubernetes.
    pub pod: String,
    /// The container; empty outside of one.
    pub container: String,
    /// Records dropped since the start, by reason.
    pub dropped: BTreeMap<String, i64>,
}

record!(Agent, "Agent", "agent");
