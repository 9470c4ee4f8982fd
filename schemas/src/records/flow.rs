use serde::{Deserialize, Serialize};

use super::Side;

/// What a connection's [`Flow`] record says of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlowState {
    Open,
    Closed,
    Failed,
}

/// What one TCP connection did since its previous record. See `avro/flow.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow<'a> {
    pub connection_id: &'a str,
    pub side: Side,
    pub state: FlowState,
    #[serde(borrow)]
    pub failure: Option<&'a str>,
    pub opened_at_us: i64,
    pub opened_before_capture: bool,
    pub observed_at_us: i64,
    pub opened: i64,
    pub protocol: &'a str,
    pub sent_bytes: i64,
    pub received_bytes: i64,
    pub retransmits: i64,
    pub requests: i64,
    pub errors: i64,
    pub rtt_us: i64,
    pub rtt_min_us: i64,
    pub connect_us: i64,
    pub node: &'a str,
    pub workload: &'a str,
    pub workload_kind: &'a str,
    pub pid: i32,
    pub local_address: &'a str,
    pub local_port: i32,
    pub remote_address: &'a str,
    pub remote_port: i32,
}

record!(Flow<'_>, "Flow", "flow");
