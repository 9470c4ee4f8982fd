//! Partitions by topic, and where a group stands in them.

use std::fmt;

use headwater_schemas::place::{Offset, Partition};
use rdkafka::{Offset as Position, TopicPartitionList};

use crate::KafkaError;

/// A partition and the topic that it is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// With its prefix.
    pub topic: String,
    /// The partition's number.
    pub partition: Partition,
}

/// Where a group is to go on in a partition, with a note for whoever does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub at: TopicPartition,
    /// The record that is read next.
    pub next: Offset,
    /// Stands beside the offset; Kafka keeps up to 4 KiB.
    pub note: String,
}

/// The offsets that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The oldest one.
    pub first: Offset,
    /// That of the next record to be written.
    pub end: Offset,
}

impl TopicPartition {
    /// This partition of this topic.
    pub fn new(topic: impl Into<String>, partition: Partition) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.topic, self.partition)
    }
}

/// librdkafka's list of these partitions.
pub(crate) fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition.0);
    }
    list
}

/// librdkafka's list of these commits.
pub(crate) fn list_of_commits(commits: &[Commit]) -> Result<TopicPartitionList, rdkafka::error::KafkaError> {
    let mut list = TopicPartitionList::new();
    for Commit { at, next, note } in commits {
        let mut element = list.add_partition(&at.topic, at.partition.0);
        element.set_metadata(note);
        element.set_offset(Position::Offset(next.0))?;
    }
    Ok(list)
}

/// The partitions of a list of librdkafka's.
pub(crate) fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|at| TopicPartition::new(at.topic(), Partition(at.partition()))).collect()
}

/// Adds a partition to librdkafka's list, with the place where to start.
pub(crate) fn add(list: &mut TopicPartitionList, at: &TopicPartition, start: Position) -> Result<(), KafkaError> {
    list.add_partition_offset(&at.topic, at.partition.0, start)
        .map_err(KafkaError::client(format!("start {at} at {start:?}")))
}
