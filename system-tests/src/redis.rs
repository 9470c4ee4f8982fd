//! What `oracle-redis` asked, and what came back.

use serde::{Deserialize, Serialize};

use headwater_schemas::records::{Kind, Outcome};

/// One command with its reply, as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Command {
    /// The client's port, which names its connection.
    pub port: u16,
    /// How many bytes the client sent before it.
    pub position: i64,
    pub operation: String,
    pub kind: Kind,
    pub outcome: Outcome,
    pub code: String,
    pub request_bytes: i64,
    pub response_bytes: i64,
}
