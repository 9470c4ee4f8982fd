//! Where partitions begin and end and where they stood at a time; where a group stands, and where it is to start.
//!
//! In: topics or a group. Out: offsets. Nothing is read, and no group is joined.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset as Position, TopicPartitionList};

use crate::client::Plain;
use crate::group::committed_of;
use crate::place::list_of_commits;
use crate::{Assignment, Commit, KafkaError, KafkaSettings, Kept, Offset, Partition, TopicPartition};

const TIMEOUT: Duration = Duration::from_secs(30);

/// One partition, looked at with a time in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub at: TopicPartition,
    /// What it holds.
    pub kept: Kept,
    /// The first record that is not older than the time; the end if there is none.
    pub reached: Offset,
}

/// All partitions of the topics, with the offsets at which the time is reached.
pub fn places_at(settings: &KafkaSettings, topics: &[String], time_ms: i64) -> Result<Vec<Place>, KafkaError> {
    let consumer = consumer(settings, "headwater-reader")?;
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let doing = format!("ask for the partitions of {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing.clone()))?;
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            list.add_partition_offset(topic, partition.id(), Position::Offset(time_ms.max(0)))
                .map_err(KafkaError::client(doing.clone()))?;
        }
    }
    let found = consumer
        .offsets_for_times(list, TIMEOUT)
        .map_err(KafkaError::client(format!("look for the records from {time_ms} on")))?;
    let mut places = Vec::new();
    for element in found.elements() {
        let at = TopicPartition::new(element.topic(), Partition(element.partition()));
        let doing = format!("look for the records of {at} from {time_ms} on");
        element.error().map_err(KafkaError::client(doing.clone()))?;
        let (first, end) =
            consumer.fetch_watermarks(&at.topic, at.partition.0, TIMEOUT).map_err(KafkaError::client(doing))?;
        let reached = match element.offset() {
            Position::Offset(offset) => offset.max(first),
            _ => end,
        };
        let kept = Kept { first: Offset(first), end: Offset(end) };
        places.push(Place { at, kept, reached: Offset(reached) });
    }
    Ok(places)
}

/// Where a group stands.
pub fn committed(
    settings: &KafkaSettings,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Assignment>, KafkaError> {
    committed_of(&consumer(settings, group)?, partitions)
}

/// Makes a group start at these places.
///
/// # Errors
/// Also if the group has members: only they may say where it stands.
pub fn commit(settings: &KafkaSettings, group: &str, starts: &[Commit]) -> Result<(), KafkaError> {
    let doing = || format!("note where the group {group} starts");
    let list = list_of_commits(starts).map_err(KafkaError::client(doing()))?;
    consumer(settings, group)?.commit(&list, CommitMode::Sync).map_err(KafkaError::client(doing()))
}

fn consumer(settings: &KafkaSettings, group: &str) -> Result<BaseConsumer<Plain>, KafkaError> {
    settings
        .client()
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka consumer"))
}
