//! Makes topics and tells of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_schemas::topics::{TIMESTAMP_TYPE, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use crate::client::Plain;
use crate::place::add;
use crate::reader::is_passing;
use crate::{KafkaError, KafkaSettings, Kept, Offset, Partition, TopicPartition};

/// Partitions of the same number of these belong together.
const JOINED: [Topic; 3] = [Topic::Flows, Topic::Requests, Topic::Progress];

const TIMEOUT: Duration = Duration::from_secs(30);
/// What asks the brokers for their `default.replication.factor` (KIP-464).
const BROKERS_DEFAULT: i32 = -1;
const PAUSE: Duration = Duration::from_millis(100);

/// One topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub name: String,
    /// By the number of the partition.
    pub kept: Vec<Kept>,
}

/// Makes the topics that are missing. Returns how many partitions each has.
///
/// # Errors
/// Also if flows, requests and progress do not have the same number of partitions.
pub fn ensure_topics(settings: &KafkaSettings, topics: &[Topic]) -> Result<BTreeMap<Topic, i32>, KafkaError> {
    ensure(settings, topics, &Topic::config)
}

/// As [`ensure_topics`], but topics that are made keep the timestamps that producers give: for records of a past that tests make, as
/// with [`crate::Publisher::publish_at`].
///
/// # Errors
/// As there.
pub fn ensure_topics_dated_by_producers(
    settings: &KafkaSettings,
    topics: &[Topic],
) -> Result<BTreeMap<Topic, i32>, KafkaError> {
    let config = |topic: Topic| {
        let mut config = topic.config();
        config.retain(|(key, _)| *key != TIMESTAMP_TYPE);
        config.push((TIMESTAMP_TYPE, "CreateTime".to_owned()));
        config
    };
    ensure(settings, topics, &config)
}

fn ensure(
    settings: &KafkaSettings,
    topics: &[Topic],
    config: &dyn Fn(Topic) -> Vec<(&'static str, String)>,
) -> Result<BTreeMap<Topic, i32>, KafkaError> {
    // Only what is missing: a user who may not create topics can work with those that somebody made.
    let there = known(&consumer(settings)?, settings)?;
    let missing: Vec<Topic> = topics.iter().filter(|topic| !there.contains_key(topic)).copied().collect();
    if missing.is_empty() {
        return partition_counts(settings, topics);
    }
    let made = |topic: &Topic| Made {
        name: topic.name(&settings.prefix),
        partitions: topic.partitions(settings.partitions),
        config: config(*topic),
    };
    create(settings, &missing.iter().map(made).collect::<Vec<_>>())?;
    partition_counts(settings, topics)
}

/// A topic to be made.
struct Made {
    name: String,
    partitions: i32,
    /// What the brokers are told of it.
    config: Vec<(&'static str, String)>,
}

/// Makes topics. One that is there already is left as it is.
fn create(settings: &KafkaSettings, topics: &[Made]) -> Result<(), KafkaError> {
    let admin: AdminClient<Plain> = settings
        .client()
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka admin client"))?;
    let names: Vec<&str> = topics.iter().map(|made| made.name.as_str()).collect();
    let new_topics: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|Made { name, partitions, config }| {
            let replication = TopicReplication::Fixed(settings.replication.unwrap_or(BROKERS_DEFAULT));
            let new = NewTopic::new(name, *partitions, replication);
            config.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let results = futures_executor::block_on(admin.create_topics(&new_topics, &options))
        .map_err(KafkaError::client(format!("create the topics {}", names.join(", "))))?;
    for result in results {
        if let Err((name, code)) = result
            && code != RDKafkaErrorCode::TopicAlreadyExists
        {
            return Err(KafkaError::Other {
                doing: format!("create the topic {name}"),
                reason: format!("{code}; check that the user may create topics, or create it yourself"),
            });
        }
    }
    Ok(())
}

/// Makes a topic for our own use, unless it is there. Returns how many partitions it has.
///
/// # Errors
/// Also if it is not there and may not be made.
pub fn ensure_internal(
    settings: &KafkaSettings,
    name: &str,
    partitions: i32,
    config: &[(&'static str, String)],
) -> Result<i32, KafkaError> {
    let doing = || format!("look for the topic {name}");
    let consumer = consumer(settings)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut is_made = false;
    loop {
        // All topics: to ask for one that is not there may make it, with the brokers' settings.
        let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(KafkaError::client(doing()))?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name).map(|topic| topic.partitions().len());
        if let Some(count) = found.filter(|count| *count > 0) {
            return Ok(count as i32);
        }
        if Instant::now() > deadline {
            return Err(KafkaError::Other { doing: doing(), reason: "the brokers do not know it".into() });
        }
        if !std::mem::replace(&mut is_made, true) {
            create(settings, &[Made { name: name.to_owned(), partitions, config: config.to_vec() }])?;
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Adds partitions to topics, so that each has so many. Those that have them are left alone, so it may be asked again after an answer that
/// was lost.
///
/// # Errors
/// If the brokers do not take it.
pub fn add_partitions(settings: &KafkaSettings, topics: &[Topic], count: usize) -> Result<(), KafkaError> {
    const DOING: &str = "add partitions";
    let admin: AdminClient<Plain> = settings
        .client()
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka admin client"))?;
    let counts = known(&consumer(settings)?, settings)?;
    let lacks = |topic: &&Topic| counts.get(topic).is_none_or(|has| (*has as usize) < count);
    let names: Vec<String> = topics.iter().filter(lacks).map(|topic| topic.name(&settings.prefix)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let wanted: Vec<NewPartitions<'_>> = names.iter().map(|name| NewPartitions::new(name, count)).collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let results =
        futures_executor::block_on(admin.create_partitions(&wanted, &options)).map_err(KafkaError::client(DOING))?;
    for result in results {
        if let Err((name, code)) = result {
            return Err(KafkaError::Other { doing: format!("{DOING} to {name}"), reason: code.to_string() });
        }
    }
    Ok(())
}

/// Deletes what stands in partitions before these offsets, as retention does.
///
/// # Errors
/// If the brokers do not do it.
pub fn delete_records(settings: &KafkaSettings, before: &[(TopicPartition, Offset)]) -> Result<(), KafkaError> {
    const DOING: &str = "delete records";
    let admin: AdminClient<Plain> = settings
        .client()
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka admin client"))?;
    let mut list = TopicPartitionList::new();
    for (at, offset) in before {
        add(&mut list, at, rdkafka::Offset::Offset(offset.0))?;
    }
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let deleted =
        futures_executor::block_on(admin.delete_records(&list, &options)).map_err(KafkaError::client(DOING))?;
    for partition in deleted.elements() {
        partition.error().map_err(KafkaError::client(format!("{DOING} of {}", partition.topic())))?;
    }
    Ok(())
}

/// How many partitions each topic has; waits until the brokers know them all.
pub fn partition_counts(settings: &KafkaSettings, topics: &[Topic]) -> Result<BTreeMap<Topic, i32>, KafkaError> {
    let consumer = consumer(settings)?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let mut counts = known(&consumer, settings)?;
        counts.retain(|topic, _| topics.contains(topic));
        let joined: Vec<(&Topic, &i32)> = counts.iter().filter(|(topic, _)| JOINED.contains(topic)).collect();
        if joined.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            let counts = joined.iter().map(|(topic, count)| format!("{} {count}", topic.name(&settings.prefix)));
            return Err(KafkaError::PartitionsDiffer { counts: counts.collect::<Vec<_>>().join(", ") });
        }
        if counts.len() == topics.len() {
            return Ok(counts);
        }
        if Instant::now() > deadline {
            let missing: Vec<String> = topics
                .iter()
                .filter(|topic| !counts.contains_key(topic))
                .map(|topic| topic.name(&settings.prefix))
                .collect();
            return Err(KafkaError::Other {
                doing: "wait for the topics".into(),
                reason: format!("the brokers do not know {}", missing.join(", ")),
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// The topics under the prefix, with the offsets of their partitions.
pub fn topics(settings: &KafkaSettings) -> Result<Vec<TopicState>, KafkaError> {
    let consumer = consumer(settings)?;
    let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(KafkaError::client("ask for the topics"))?;
    let mut states = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(&settings.prefix)) {
        let mut kept = Vec::new();
        for partition in topic.partitions() {
            kept.push(kept_of(&consumer, &TopicPartition::new(topic.name(), Partition(partition.id())))?);
        }
        states.push(TopicState { name: topic.name().to_owned(), kept });
    }
    Ok(states)
}

/// What a partition holds. One that was made a moment ago has no leader yet.
fn kept_of(consumer: &BaseConsumer<Plain>, at: &TopicPartition) -> Result<Kept, KafkaError> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match consumer.fetch_watermarks(&at.topic, at.partition.0, TIMEOUT) {
            Ok((first, end)) => return Ok(Kept { first: Offset(first), end: Offset(end) }),
            Err(error) if is_passing(&error) && Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(error) => return Err(KafkaError::client(format!("ask for the offsets of {at}"))(error)),
        }
    }
}

/// Partitions of the topics of ours that the brokers know.
fn known(consumer: &BaseConsumer<Plain>, settings: &KafkaSettings) -> Result<BTreeMap<Topic, i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(KafkaError::client("ask for the topics"))?;
    let there = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty());
    Ok(there
        .filter_map(|topic| Some((Topic::from_name(&settings.prefix, topic.name())?, topic.partitions().len() as i32)))
        .collect())
}

fn consumer(settings: &KafkaSettings) -> Result<BaseConsumer<Plain>, KafkaError> {
    settings.client().create_with_context(Plain::default()).map_err(KafkaError::client("make a Kafka client"))
}
