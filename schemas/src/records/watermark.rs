use serde::{Deserialize, Serialize};

/// What an agent says of its own completeness, in every partition. See `avro/watermark.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Host on which the agent runs.
    pub node: String,
    /// When this run of the agent started, in microseconds since the epoch; names the run.
    pub agent_started_at_us: i64,
    /// Counts up by one within a run of the agent, from 0, the same in all partitions.
    pub sequence: i64,
    /// Where the previous watermark of this run ended, in microseconds since the epoch; the start of capture in the first one.
    pub covers_from_us: i64,
    /// All records with event times before this are in front of it in the partition; in microseconds since the epoch.
    pub up_to_us: i64,
    /// The agent stopped in order: nothing is expected of it after `up_to_us`.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Records that this agent published with event times in the covered time, over all partitions of this topic.
    pub published: i64,
    /// What is missing, over all partitions.
    pub dropped: Vec<Dropped>,
}

/// Records that are missing from the covered time, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why: one of the ledger's reasons.
    pub reason: String,
    /// How many records.
    pub count: i64,
    /// Where the time begins in which they were dropped, in microseconds since the epoch.
    pub from_us: i64,
    /// Where it ends, in microseconds since the epoch.
    pub to_us: i64,
}

record!(Watermark, "Watermark", "watermark");
