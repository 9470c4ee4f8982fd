use serde::{Deserialize, Serialize};

/// What an agent says of its own completeness, in every partition. See `avro/watermark.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    pub node: String,
    pub agent_started_at_us: i64,
    pub sequence: i64,
    pub covers_from_us: i64,
    pub up_to_us: i64,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub published: i64,
    pub dropped: Vec<Dropped>,
}

/// Records that are missing from the covered time, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub reason: String,
    pub count: i64,
    pub from_us: i64,
    pub to_us: i64,
}

record!(Watermark, "Watermark", "watermark");
