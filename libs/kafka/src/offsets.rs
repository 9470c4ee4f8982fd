//! Where partitions begin and end and where they stood at a time; where a group stands, and where it is to start.
//!
//! In: topics or a group. Out: offsets. Nothing is read, and no group is joined.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset as Position, TopicPartitionList};

use crate::client::Plain;
use crate::group::committed_of;
use crate::place::{add, list_of_commits};
use crate::{Assignment, Commit, KafkaError, KafkaSettings, Kept, Offset, Partition, TopicPartition};

const TIMEOUT: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(50);

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
        partitions.extend(partitions_of(&consumer, topic)?);
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

/// Asks what partitions hold, whether it is committed or not. Whoever reads what is committed is told of an end before that: behind it, one record of a transaction that is open hides all
/// that others have committed since.
pub struct Held(BaseConsumer<Plain>);

impl Held {
    /// Connects when it is asked.
    ///
    /// # Errors
    /// If the settings make no client.
    pub fn new(settings: &KafkaSettings) -> Result<Held, KafkaError> {
        let mut config = settings.client();
        config.set("group.id", "headwater-reader").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_uncommitted");
        let consumer = config.create_with_context(Plain::default());
        Ok(Held(consumer.map_err(KafkaError::client("make a Kafka consumer"))?))
    }

    /// What one partition holds.
    ///
    /// # Errors
    /// If the brokers do not tell.
    pub fn of(&self, at: &TopicPartition) -> Result<Kept, KafkaError> {
        let kept = kept_of(&self.0, std::slice::from_ref(at))?;
        kept.into_iter().next().ok_or_else(|| KafkaError::Other {
            doing: format!("ask what {at} holds"),
            reason: "nobody answered".into(),
        })
    }

    /// What each partition of a topic holds.
    ///
    /// # Errors
    /// If the brokers do not tell.
    pub fn of_topic(&self, topic: &str) -> Result<Vec<(TopicPartition, Kept)>, KafkaError> {
        let partitions = partitions_of(&self.0, topic)?;
        let kept = kept_of(&self.0, &partitions)?;
        Ok(partitions.into_iter().zip(kept).collect())
    }
}

/// Waits until all that a topic holds is committed or given up, as long as `goes_on` says so. Whether it is. Also a commit that is known to its writer is told to one
/// partition later than to another.
///
/// # Errors
/// If a transaction is open for so long, or the brokers do not answer.
pub fn settle(
    settings: &KafkaSettings,
    topic: &str,
    patience: Duration,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<bool, KafkaError> {
    let consumer = consumer(settings, "headwater-reader")?;
    let deadline = Instant::now() + patience;
    for (at, Kept { end, .. }) in Held::new(settings)?.of_topic(topic)? {
        while kept_of(&consumer, std::slice::from_ref(&at))?.iter().any(|committed| committed.end < end) {
            if !goes_on() {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                let doing = format!("wait for the end of the transactions that {at} holds up to {end}");
                return Err(KafkaError::Other { doing, reason: format!("one is still open after {patience:?}") });
            }
            thread::sleep(ASK_AGAIN);
        }
    }
    Ok(true)
}

fn partitions_of(consumer: &BaseConsumer<Plain>, topic: &str) -> Result<Vec<TopicPartition>, KafkaError> {
    let doing = format!("ask for the partitions of {topic}");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(KafkaError::client(doing))?;
    let all = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
    Ok(all.map(|at| TopicPartition::new(topic, Partition(at.id()))).collect())
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
