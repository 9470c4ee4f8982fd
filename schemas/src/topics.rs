//! Which topics there are, what they hold, and how they are kept.

use crate::records::{
    Agent, Alert, DeadLetter, Edge, Flow, Identity, Latency, Partial, Process, Progress, Record, Request, WindowClosed,
};

/// A topic of Headwater. Its name in Kafka is the prefix and [`Topic::suffix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What connections did since their previous record, as each side's agent saw it.
    Flows,
    /// Each request with its response, as each side's agent saw it.
    Requests,
    /// Who owned which address from when to when.
    Identities,
    /// What happened to processes: programs that began, ends, sockets that are listened on.
    Processes,
    /// Heartbeats of the agents.
    Agents,
    /// How far each agent has come in `flows` and `requests`.
    Progress,
    /// What one partition of `flows` and `requests` adds to a window.
    Partials,
    /// The edges of the service map, by window.
    Edges,
    /// When a window is whole in `edges`, and what is missing of it.
    EdgeWindows,
    /// Durations of operations, by window.
    Latencies,
    /// When a window is whole in `latencies`, and what is missing of it.
    LatencyWindows,
    /// What edges add up to, minute by minute.
    EdgeMinutes,
    /// Hour by hour.
    EdgeHours,
    /// What latencies add up to, minute by minute.
    LatencyMinutes,
    /// Hour by hour.
    LatencyHours,
    /// What left its own past, and what came back.
    Alerts,
    /// Records that could not be read, with their place and the error.
    DeadLetters,
}

impl Topic {
    /// All topics, in the order in which records flow.
    pub const ALL: [Topic; 17] = [
        Topic::Flows,
        Topic::Requests,
        Topic::Identities,
        Topic::Processes,
        Topic::Agents,
        Topic::Progress,
        Topic::Partials,
        Topic::Edges,
        Topic::EdgeWindows,
        Topic::Latencies,
        Topic::LatencyWindows,
        Topic::EdgeMinutes,
        Topic::EdgeHours,
        Topic::LatencyMinutes,
        Topic::LatencyHours,
        Topic::Alerts,
        Topic::DeadLetters,
    ];

    /// The name after the prefix.
    pub fn suffix(self) -> &'static str {
        match self {
            Topic::Flows => "flows",
            Topic::Requests => "requests",
            Topic::Identities => "identities",
            Topic::Processes => "processes",
            Topic::Agents => "agents",
            Topic::Progress => "internal.progress",
            Topic::Partials => "internal.partials",
            Topic::Edges => "edges",
            Topic::EdgeWindows => "edge-windows",
            Topic::Latencies => "latencies",
            Topic::LatencyWindows => "latency-windows",
            Topic::EdgeMinutes => "edge-minutes",
            Topic::EdgeHours => "edge-hours",
            Topic::LatencyMinutes => "latency-minutes",
            Topic::LatencyHours => "latency-hours",
            Topic::Alerts => "alerts",
            Topic::DeadLetters => "dead-letters",
        }
    }

    /// The name in Kafka, for a prefix such as `headwater.`.
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}{}", self.suffix())
    }

    /// The topic with this name, if it is one of ours under this prefix.
    pub fn from_name(prefix: &str, name: &str) -> Option<Topic> {
        let suffix = name.strip_prefix(prefix)?;
        Topic::ALL.into_iter().find(|topic| topic.suffix() == suffix)
    }

    /// Text of the Avro schema of its values.
    pub fn schema(self) -> &'static str {
        match self {
            Topic::Flows => Flow::SCHEMA,
            Topic::Requests => Request::SCHEMA,
            Topic::Identities => Identity::SCHEMA,
            Topic::Processes => Process::SCHEMA,
            Topic::Agents => Agent::SCHEMA,
            Topic::Progress => Progress::SCHEMA,
            Topic::Partials => Partial::SCHEMA,
            Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => Edge::SCHEMA,
            Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => Latency::SCHEMA,
            Topic::EdgeWindows | Topic::LatencyWindows => WindowClosed::SCHEMA,
            Topic::Alerts => Alert::SCHEMA,
            Topic::DeadLetters => DeadLetter::SCHEMA,
        }
    }

    /// What the Kafka key of its records is, for people.
    pub fn key(self) -> &'static str {
        match self {
            Topic::Flows | Topic::Requests => "connection id",
            Topic::Identities => "network and address",
            Topic::Processes => "node, pid and process_start_ns",
            Topic::Agents | Topic::Progress => "node",
            Topic::Partials | Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => "edge id",
            Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => "edge id, status class and operation",
            Topic::EdgeWindows | Topic::LatencyWindows => "source partition",
            Topic::Alerts => "alert id",
            Topic::DeadLetters => "as the original",
        }
    }

    /// Which program writes it.
    pub fn written_by(self) -> &'static str {
        match self {
            Topic::Flows | Topic::Requests | Topic::Identities | Topic::Processes | Topic::Agents | Topic::Progress => {
                "headwater-agent"
            }
            Topic::Partials => "headwater-processor join",
            Topic::Edges | Topic::EdgeWindows => "headwater-processor service-map and revisions",
            Topic::Latencies | Topic::LatencyWindows => "headwater-processor latency and revisions",
            Topic::EdgeMinutes | Topic::EdgeHours | Topic::LatencyMinutes | Topic::LatencyHours => {
                "headwater-processor rollups"
            }
            Topic::Alerts => "headwater-processor bottlenecks",
            Topic::DeadLetters => "any processor",
        }
    }

    /// The topic whose records say when its windows are whole, if one does.
    pub fn windows(self) -> Option<Topic> {
        match self {
            Topic::Edges => Some(Topic::EdgeWindows),
            Topic::Latencies => Some(Topic::LatencyWindows),
            _ => None,
        }
    }

    /// How many partitions it gets when it is created, given the setting for the large topics.
    ///
    /// Flows, requests and progress must have the same number, for flows and requests meet by connection id, and progress speaks of both. Edges and latencies are small, one
    /// record an edge and window, and whoever judges a window needs the whole of it: they have one partition, and so has what closes their windows.
    pub fn partitions(self, setting: i32) -> i32 {
        match self {
            Topic::Identities | Topic::Agents => 1,
            Topic::Edges | Topic::EdgeWindows | Topic::Latencies | Topic::LatencyWindows => 1,
            Topic::EdgeMinutes | Topic::EdgeHours | Topic::LatencyMinutes | Topic::LatencyHours => 1,
            Topic::Alerts | Topic::DeadLetters => 1,
            Topic::Flows | Topic::Requests | Topic::Processes | Topic::Progress | Topic::Partials => setting,
        }
    }

    /// What Kafka is told of it: how long its records are kept, and whose clock their timestamps are of.
    pub fn config(self) -> Vec<(&'static str, String)> {
        const HOUR_MS: u64 = 3_600_000;
        let kept =
            |hours: u64| vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", (hours * HOUR_MS).to_string())];
        // All records for so many hours, the newest one of each key for so many days. What is still there is told of again and again; what
        // is gone, as pods and nodes are that no one will ever name again, must not be kept for ever.
        let compacted = |hours: u64, days: u64| {
            let mut config = kept(24 * days);
            config[0].1 = "compact,delete".to_owned();
            config.push(("min.compaction.lag.ms", (hours * HOUR_MS).to_string()));
            config
        };
        match self {
            // Only the brokers' clock can say which agent's is wrong. What processors write has the timestamps that they give it.
            Topic::Flows | Topic::Requests | Topic::Progress => {
                [kept(24), vec![(TIMESTAMP_TYPE, "LogAppendTime".to_owned())]].concat()
            }
            Topic::Partials => kept(6),
            Topic::Edges | Topic::EdgeWindows | Topic::Latencies | Topic::LatencyWindows => kept(7 * 24),
            Topic::EdgeMinutes | Topic::LatencyMinutes => kept(14 * 24),
            Topic::EdgeHours | Topic::LatencyHours => kept(90 * 24),
            Topic::Processes | Topic::DeadLetters => kept(7 * 24),
            Topic::Identities | Topic::Agents => compacted(24, 7),
            Topic::Alerts => compacted(30 * 24, 90),
        }
    }
}

/// The setting of a topic that says whose clock its timestamps are of.
pub const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Header of a record without value in partials that carries a [`crate::records::WindowClosed`].
pub const WINDOW_CLOSED_HEADER: &str = "headwater.window-closed";

/// Header of markers: among how many partitions of the topic their writer spreads what it writes, as a decimal number. Partitions
/// may be added while some writers do not know of it yet.
pub const PARTITIONS_HEADER: &str = "headwater.partitions";

/// Schemas that travel in headers: header name, registry subject after the prefix, schema text.
pub const HEADER_SCHEMAS: [(&str, &str, &str); 1] =
    [(WINDOW_CLOSED_HEADER, "window-closed", crate::records::WindowClosed::SCHEMA)];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_topic_grows_for_ever() {
        for topic in Topic::ALL {
            let config = topic.config();
            let value = |key: &str| config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
            assert!(value("cleanup.policy").unwrap().split(',').any(|policy| policy == "delete"), "{topic:?}");
            let kept_ms: u64 = value("retention.ms").unwrap().parse().unwrap();
            let whole_ms: u64 = value("min.compaction.lag.ms").map_or(0, |value| value.parse().unwrap());
            assert!(kept_ms > whole_ms, "{topic:?}");
        }
    }
}
