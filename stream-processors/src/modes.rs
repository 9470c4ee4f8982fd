//! The processors by name: what each reads, and how one is made.

use std::collections::BTreeMap;

use headwater_schemas::place::Partition;
use headwater_schemas::topics::{Topic, WINDOW_CLOSED_HEADER};

use crate::join::Join;
use crate::judges::{self, Judges};
use crate::merge::Merge;
use crate::merge::latency::LatencyView;
use crate::merge::service_map::ServiceMapView;
use crate::processor::{BadSnapshot, Checkpoint, Processor};
use crate::settings::Settings;

fn judged_topics(settings: &Settings) -> judges::Topics {
    let name = |topic: Topic| topic.name(&settings.kafka.prefix);
    judges::Topics { windows: [Topic::Edges, Topic::Latencies].map(name), hours: name(Topic::EdgeHours) }
}

/// One processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Join,
    ServiceMap,
    Latency,
    Bottlenecks,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Join, Mode::ServiceMap, Mode::Latency, Mode::Bottlenecks];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Join => "join",
            Mode::ServiceMap => "service-map",
            Mode::Latency => "latency",
            Mode::Bottlenecks => "bottlenecks",
        }
    }

    /// The group that works on the topics of a prefix.
    pub fn group(self, prefix: &str) -> String {
        format!("{prefix}{}", self.name())
    }

    /// The topics that it reads; partitions of the same number belong together.
    pub fn inputs(self) -> &'static [Topic] {
        match self {
            Mode::Join => &[Topic::Flows, Topic::Requests, Topic::Progress],
            Mode::ServiceMap | Mode::Latency => &[Topic::Partials],
            Mode::Bottlenecks => {
                &[Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows, Topic::EdgeHours]
            }
        }
    }

    /// The topics that it writes, beside the dead letters.
    pub fn outputs(self) -> &'static [Topic] {
        match self {
            Mode::Join => &[Topic::Partials],
            Mode::ServiceMap => &[Topic::Edges, Topic::EdgeWindows],
            Mode::Latency => &[Topic::Latencies, Topic::LatencyWindows],
            Mode::Bottlenecks => &[Topic::Alerts],
        }
    }

    /// The header that carries its inputs' markers, if they have any.
    pub fn control_header(self) -> Option<&'static str> {
        matches!(self, Mode::ServiceMap | Mode::Latency).then_some(WINDOW_CLOSED_HEADER)
    }

    /// The state of one unit of work as a snapshot of it says, for these checkpoints.
    ///
    /// # Errors
    /// If nobody can go on from it.
    pub fn restore(
        self,
        settings: &Settings,
        partitions: &BTreeMap<Topic, i32>,
        partition: Partition,
        checkpoints: &[Option<Checkpoint>],
        snapshot: &[u8],
    ) -> Result<Box<dyn Processor>, BadSnapshot> {
        let count = partitions.get(&self.inputs()[0]).copied().unwrap_or(1);
        match self {
            Mode::Join => {
                let join = Join::restore(partition, count, settings.join.clone(), checkpoints, snapshot)?;
                Ok(Box::new(join))
            }
            Mode::Bottlenecks => {
                let topics = judged_topics(settings);
                Ok(Box::new(Judges::restore(topics, partition, checkpoints, snapshot)?))
            }
            Mode::ServiceMap | Mode::Latency => Err(BadSnapshot("this processor has none".to_owned())),
        }
    }

    /// The state of one unit of work, as its checkpoints left it (one for each input).
    pub fn processor(
        self,
        settings: &Settings,
        partitions: &BTreeMap<Topic, i32>,
        partition: Partition,
        checkpoints: &[Option<Checkpoint>],
    ) -> Box<dyn Processor> {
        let count = partitions.get(&self.inputs()[0]).copied().unwrap_or(1);
        let first = checkpoints.first().and_then(Option::as_ref);
        match self {
            Mode::Join => Box::new(Join::new(partition, count, settings.join.clone(), checkpoints)),
            Mode::ServiceMap => Box::new(Merge::<ServiceMapView>::new(partition, count, first)),
            Mode::Latency => Box::new(Merge::<LatencyView>::new(partition, count, first)),
            Mode::Bottlenecks => Box::new(Judges::new(judged_topics(settings), partition, checkpoints)),
        }
    }
}
