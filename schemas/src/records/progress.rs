use serde::{Deserialize, Serialize};

/// What an agent says of its own completeness, in every partition. See `avro/progress.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Host on which the agent runs.
    pub node: String,
    /// When this run of the agent started, in microseconds since the epoch; names the run.
    pub agent_started_at_us: i64,
    /// Counts up by one within a run of the agent, from 0, the same in all partitions.
    pub sequence: i64,
    /// Where the time ended that the one before it of this run covers, in microseconds since the epoch; the start of capture in the first one.
    pub covers_from_us: i64,
    /// All records with event times before this stand in front of the named offsets; in microseconds since the epoch.
    pub up_to_us: i64,
    /// The agent stopped in order: nothing is expected of it after `up_to_us`.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Among how many partitions the agent spreads its records.
    pub partitions: i32,
    /// What it says of `flows`.
    pub flows: Share,
    /// What it says of `requests`.
    pub requests: Share,
}

/// What an agent says of its records of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Records of the covered time that it handed over, over all partitions.
    pub published: i64,
    /// What is missing, over all partitions.
    pub dropped: Vec<Dropped>,
    /// In this partition: its records since the one before stand behind this offset; -1 if they may stand anywhere.
    pub after_offset: i64,
    /// In this partition: and up to this offset; -1 if nothing stands there yet.
    pub through_offset: i64,
    /// So many records of this node stand between the two.
    pub records: i64,
}

impl Share {
    /// What holds of all partitions; where the records stand is to be filled in.
    pub fn anywhere(published: i64, dropped: Vec<Dropped>) -> Share {
        Share { published, dropped, after_offset: -1, through_offset: -1, records: 0 }
    }
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

record!(Progress, "Progress", "progress", straight);
