//! The open way to Kafka: which topic, partition and schema a message goes to.
//!
//! In: messages with their tags. Out: the same in the producer's bounded queue.

use headwater_kafka::{Partition, PublishError, Publisher, Tag, partition_of};
use headwater_schemas::topics::{PARTITIONS_HEADER, WATERMARK_HEADER};
use headwater_schemas::wire::set_schema_id;

use super::opening::SchemaIds;
use crate::ledger::Stream;

/// Everything that it takes to send.
pub struct Route {
    pub publisher: Publisher,
    /// Partitions of the streams' topics.
    pub partitions: [i32; 3],
    pub schema_ids: SchemaIds,
}

impl Route {
    /// Hands a record of a stream to the producer.
    pub fn record(&self, stream: Stream, key: &[u8], value: &mut [u8], tag: Tag) -> Result<(), PublishError> {
        let topic = stream as usize;
        set_schema_id(value, self.schema_ids.by_topic[topic]);
        let partition = partition_of(key, self.partitions[topic]);
        self.publisher.publish_tagged(topic, partition, key, Some(value), &[], tag)
    }

    /// Hands a watermark to the producer for the partitions from `next` on, which it counts up as far as there is room. Says whether that
    /// is all of them.
    pub fn watermark(&self, stream: Stream, node: &[u8], value: &mut [u8], tag: Tag, next: &mut i32) -> bool {
        set_schema_id(value, self.schema_ids.watermark);
        let partitions = self.partitions[stream as usize];
        let among = partitions.to_string();
        let headers = [(WATERMARK_HEADER, &*value), (PARTITIONS_HEADER, among.as_bytes())];
        while *next < partitions {
            let publisher = &self.publisher;
            if publisher.publish_tagged(stream as usize, Partition(*next), node, None, &headers, tag).is_err() {
                return false;
            }
            *next += 1;
        }
        true
    }

    /// Hands over a record of a topic that has one partition.
    pub fn other(&self, topic: usize, key: &[u8], value: &mut [u8]) {
        set_schema_id(value, self.schema_ids.by_topic[topic]);
        let _ = self.publisher.publish(topic, Partition(0), key, Some(value), &[]);
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use headwater_kafka::KafkaSettings;

    use super::super::opening::TOPICS;
    use super::*;

    /// A way that leads nowhere: what is published stays in the queue, which has 1 MiB.
    pub fn route([requests, flows]: [i32; 2]) -> Route {
        let mut settings = KafkaSettings::local("127.0.0.1:1", "http://127.0.0.1:1");
        settings.queue_bytes = 1 << 20;
        let publisher = Publisher::start(&settings, TOPICS.map(|topic| topic.name("")).to_vec()).unwrap();
        let schema_ids = SchemaIds { by_topic: [1, 2, 3, 4, 6], watermark: 5 };
        Route { publisher, partitions: [requests, flows, 1], schema_ids }
    }

    /// How many messages wait in the queue, once these are as many as expected, or a few seconds have passed.
    pub fn waiting(route: &Route, expected: usize) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // librdkafka counts its complaints among them.
            route.publisher.take_reports();
            let waiting = route.publisher.waiting();
            if waiting == expected || Instant::now() > deadline {
                return waiting;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_watermark_goes_to_every_partition_that_lacks_it() {
        let route = route([250, 1]);
        let tag = Tag { number: 7, is_reported: true, is_counted: false };
        let mut value = vec![0, 0, 0, 0, 0, 9];
        for (mut next, expected) in [(0, 250), (248, 252)] {
            assert!(route.watermark(Stream::Requests, b"n", &mut value, tag, &mut next));
            assert_eq!((next, waiting(&route, expected)), (250, expected));
        }
        assert_eq!(value, [0, 0, 0, 0, 5, 9]);
    }
}
