//! Where partitions begin and end and where they stood at a time; where a group stands, and where it is to start.
//!
//! In: topics or a group. Out: offsets. Nothing is read, and no group is joined.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset as Position, TopicPartitionList};

use crate::client::Plain;
use crate::group::committed_of;
use crate::place::{add, list_of_commits};
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
    let mut partitions = Vec::new();
    for topic in topics {
        let doing = format!("ask for the partitions of {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing))?;
        let all = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        partitions.extend(all.map(|at| TopicPartition::new(topic, Partition(at.id()))));
    }
    // What is written between the two is behind the end, and not passed over.
    let kept = kept_of(&consumer, &partitions)?;
    let found = at_time(&consumer, &partitions, time_ms)?;
    let places = partitions.into_iter().zip(kept).zip(found).map(|((at, kept), found)| {
        let reached = found.unwrap_or(kept.end).max(kept.first);
        Place { at, kept, reached }
    });
    Ok(places.collect())
}

/// What partitions hold, in their order; of what is not committed, nothing.
pub(crate) fn kept_of(consumer: &BaseConsumer<Plain>, partitions: &[TopicPartition]) -> Result<Vec<Kept>, KafkaError> {
    let of = |at: &TopicPartition| {
        let (first, end) = consumer
            .fetch_watermarks(&at.topic, at.partition.0, TIMEOUT)
            .map_err(KafkaError::client(format!("ask where {at} ends")))?;
        Ok(Kept { first: Offset(first), end: Offset(end) })
    };
    partitions.iter().map(of).collect()
}

/// The first records of partitions, in their order, that are not older than a time; none where all are older.
pub(crate) fn at_time(
    consumer: &BaseConsumer<Plain>,
    partitions: &[TopicPartition],
    time_ms: i64,
) -> Result<Vec<Option<Offset>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        add(&mut list, at, Position::Offset(time_ms.max(0)))?;
    }
    let found = consumer
        .offsets_for_times(list, TIMEOUT)
        .map_err(KafkaError::client(format!("look for the records from {time_ms} on")))?;
    let of = |at: &TopicPartition| {
        let doing = format!("look for the records of {at} from {time_ms} on");
        let Some(element) = found.find_partition(&at.topic, at.partition.0) else {
            return Err(KafkaError::Other { doing, reason: "the broker did not answer for it".into() });
        };
        element.error().map_err(KafkaError::client(doing))?;
        Ok(match element.offset() {
            Position::Offset(offset) => Some(Offset(offset)),
            _ => None,
        })
    };
    partitions.iter().map(of).collect()
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
