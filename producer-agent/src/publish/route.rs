//! The open way to Kafka: which topic, partition and schema a message goes to.
//!
//! In: messages with their tags. Out: the same in the producer's bounded queue.

use headwater_kafka::{Partition, PublishError, Publisher, Tag, partition_of};
use headwater_schemas::wire::set_schema_id;

use super::encode::Encoders;
use super::opening::{PROGRESS, SchemaIds};
use super::vouch::Vouching;
use crate::ledger::Stream;

/// Everything that it takes to send.
pub struct Route {
    pub publisher: Publisher,
    /// Partitions of the streams' topics.
    pub partitions: [i32; 3],
    pub schema_ids: SchemaIds,
    pub vouching: Vouching,
}

impl Route {
    /// Hands a record of a stream to the producer.
    pub fn record(&mut self, stream: Stream, key: &[u8], value: &mut [u8], tag: Tag) -> Result<(), PublishError> {
        let topic = stream as usize;
        set_schema_id(value, self.schema_ids[topic]);
        let partition = partition_of(key, self.partitions[topic]);
        self.publisher.publish_tagged(topic, partition, key, Some(value), &[], tag)?;
        self.vouching.handed(stream, partition);
        Ok(())
    }

    /// Takes what is to be said in every partition once all that was handed over has arrived. Says how many messages that will be; none if
    /// too much waits.
    pub fn progress(&mut self, value: &[u8], tag: Tag, encoders: &Encoders) -> Option<u32> {
        match encoders.progress_of(value) {
            Some(progress) => self.vouching.take(progress, tag),
            // It was read when it was taken: a fault of the program.
            None => Some(0),
        }
    }

    /// Says what can be said by now.
    pub fn vouch(&mut self, encoders: &Encoders) {
        self.vouching.advance(&self.publisher, encoders, self.schema_ids[PROGRESS]);
    }

    /// Hands over a record of a topic that has one partition.
    pub fn other(&self, topic: usize, key: &[u8], value: &mut [u8]) {
        set_schema_id(value, self.schema_ids[topic]);
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
        let ends = || vec![headwater_kafka::Offset::FIRST; requests as usize];
        let vouching = Vouching::new([ends(), ends()]);
        Route { publisher, partitions: [requests, flows, 1], schema_ids: [1, 2, 3, 4, 6, 5], vouching }
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
    fn progress_goes_to_every_partition_once_what_came_before_it_has_arrived() {
        let (mut route, encoders) = (route([250, 250]), Encoders::new().unwrap());
        let tag = Tag { number: 7, is_reported: true, is_counted: false };
        let progress = encoders.progress.encode(&headwater_schemas::samples::progress()).unwrap();
        assert_eq!(route.progress(&progress, tag, &encoders), Some(250));
        route.vouch(&encoders);
        assert_eq!((waiting(&route, 250), route.vouching.is_empty()), (250, true));
        route.record(Stream::Requests, b"key", &mut [0; 7], tag).unwrap();
        assert_eq!(route.progress(&progress, tag, &encoders), Some(250));
        route.vouch(&encoders);
        assert_eq!((waiting(&route, 251), route.vouching.is_empty()), (251, false), "it leads nowhere");
        while route.progress(&progress, tag, &encoders).is_some() {}
        assert!(!route.vouching.is_empty());
    }
}
