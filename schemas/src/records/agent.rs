use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Heartbeat of one agent. See `avro/agent.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub node: String,
    pub agent_started_at_us: i64,
    pub sequence: i64,
    pub observed_at_us: i64,
    pub version: String,
    pub kernel: String,
    pub capture_path: String,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub captured: BTreeMap<String, i64>,
    pub published: BTreeMap<String, i64>,
    pub in_flight: BTreeMap<String, i64>,
    pub dropped: BTreeMap<String, i64>,
    pub counters: BTreeMap<String, i64>,
    pub cpu_ms: i64,
    pub rss_bytes: i64,
}

record!(Agent, "Agent", "agent");
