//! Where partitions begin and end and where they stood at a time; where a group stands, and where it is to start.
//!
//! In: topics or a group. Out: offsets. Nothing is read, and no group is joined.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::Plain;
use crate::group::committed_of;
use crate::{Assignment, KafkaError, KafkaSettings};

const TIMEOUT: Duration = Duration::from_secs(30);

/// One partition, looked at with a time in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    /// The oldest offset that is kept, and the next one to be written.
    pub first: i64,
    pub end: i64,
    /// The first record that is not older than the time; the end if there is none.
    pub at: i64,
}

/// All partitions of the topics, with the offsets at which the time is reached.
pub fn places_at(settings: &KafkaSettings, topics: &[String], time_ms: i64) -> Result<Vec<Place>, KafkaError> {
    let consumer = consumer(settings, "headwater-reader")?;
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let doing = format!("ask for the partitions of {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing.clone()))?;
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            list.add_partition_offset(topic, partition.id(), Offset::Offset(time_ms.max(0)))
                .map_err(KafkaError::client(doing.clone()))?;
        }
    }
    let found = consumer
        .offsets_for_times(list, TIMEOUT)
        .map_err(KafkaError::client(format!("look for the records from {time_ms} on")))?;
    let mut places = Vec::new();
    for element in found.elements() {
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let doing = format!("look for the records of {topic} {partition} from {time_ms} on");
        element.error().map_err(KafkaError::client(doing.clone()))?;
        let (first, end) = consumer.fetch_watermarks(&topic, partition, TIMEOUT).map_err(KafkaError::client(doing))?;
        let at = match element.offset() {
            Offset::Offset(offset) => offset.max(first),
            _ => end,
        };
        places.push(Place { topic, partition, first, end, at });
    }
    Ok(places)
}

/// Where a group stands.
pub fn committed(
    settings: &KafkaSettings,
    group: &str,
    partitions: &[(String, i32)],
) -> Result<Vec<Assignment>, KafkaError> {
    committed_of(&consumer(settings, group)?, partitions)
}

/// Makes a group start at these offsets (topic, partition, offset, note).
///
/// # Errors
/// Also if the group has members: only they may say where it stands.
pub fn commit(settings: &KafkaSettings, group: &str, offsets: &[(String, i32, i64, String)]) -> Result<(), KafkaError> {
    let doing = || format!("note where the group {group} starts");
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset, note) in offsets {
        let mut element = list.add_partition(topic, *partition);
        element.set_metadata(note);
        element.set_offset(Offset::Offset(*offset)).map_err(KafkaError::client(doing()))?;
    }
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
