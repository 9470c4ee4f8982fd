//! Where a group stands, while a process that is gone has left its transaction open. Against a real Kafka.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use headwater_kafka::{KafkaSettings, Partition, TopicPartition, admin, offsets};
use headwater_schemas::topics::Topic;
use headwater_stack::shared::Shared;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than any call waits that does not know of it. The brokers look for what is over every 20 s.
const OPEN_MS: &str = "31000";

/// A replay that is killed while it commits leaves such a transaction, and is started again at once.
#[test]
fn a_group_whose_offsets_an_open_transaction_holds_back_is_waited_for() {
    let shared = Shared::get().unwrap();
    let prefix = Shared::prefix("open-offsets");
    let settings = KafkaSettings { prefix, ..KafkaSettings::local(&shared.brokers, &shared.registry_url) };
    admin::ensure_topics(&settings, &[Topic::Partials]).unwrap();
    let (topic, group) = (Topic::Partials.name(&settings.prefix), format!("{}killed", settings.prefix));

    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &settings.brokers).set("group.id", &group);
    let consumer: BaseConsumer = client.create().unwrap();
    client.remove("group.id");
    let producer: BaseProducer =
        client.set("transactional.id", &group).set("transaction.timeout.ms", OPEN_MS).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(&topic, 0, Offset::Offset(7)).unwrap();
    producer.send_offsets_to_transaction(&places, &consumer.group_metadata().unwrap(), PATIENCE).unwrap();
    // Neither ended nor given up.
    drop((producer, consumer));

    let committed = offsets::committed(&settings, &group, &[TopicPartition::new(&topic, Partition(0))]).unwrap();
    assert_eq!(committed.len(), 1);
    assert_eq!(committed[0].committed, None, "what was not committed does not count");
}
