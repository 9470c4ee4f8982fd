use serde::{Deserialize, Serialize};

/// Whether what an [`Alert`] names still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertState {
    Firing,
    Resolved,
}

/// An edge or operation left its own past, or came back. See `avro/alert.avsc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub alert_id: String,
    pub state: AlertState,
    pub kind: String,
    pub service: String,
    pub client: String,
    pub server: String,
    pub protocol: String,
    pub operation: String,
    pub started_at_us: i64,
    pub observed_at_us: i64,
    pub value: f64,
    pub baseline: f64,
    pub threshold: f64,
    pub message: String,
    pub evidence: Vec<Evidence>,
}

record!(Alert, "Alert", "alert");

/// A record that shows what an alert says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub window_start_us: i64,
}
