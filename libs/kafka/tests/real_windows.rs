//! Windows and what closes them, from a real Kafka and a real registry.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use headwater_kafka::offsets::{self, Held};
use headwater_kafka::{
    KafkaSettings, Kept, NewRecord, NextOfWindows, Offset, Partition, Publisher, Registry, Start, TopicPartition,
    Transactions, WindowReader, admin,
};
use headwater_schemas::records::WindowClosed;
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;

const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(500);
/// After five seconds the brokers are asked whether it is gone.
const STUCK_FOR: Duration = Duration::from_secs(7);

struct Writer {
    publisher: Publisher,
    encoder: Encoder,
}

impl Writer {
    fn start(name: &str) -> (KafkaSettings, Writer) {
        let shared = Shared::get().unwrap();
        let mut settings = KafkaSettings::local(&shared.brokers, &shared.registry_url);
        settings.prefix = Shared::prefix(name);
        let topics = [Topic::Edges, Topic::EdgeWindows];
        admin::ensure_topics(&settings, &topics).unwrap();
        let id = Registry::new(&settings).register_topic(Topic::EdgeWindows).unwrap();
        let names = topics.map(|topic| topic.name(&settings.prefix)).to_vec();
        let publisher = Publisher::start(&settings, names).unwrap();
        (settings, Writer { publisher, encoder: Encoder::of::<WindowClosed>(id).unwrap() })
    }

    fn record(&self, name: &str) {
        self.publisher.publish(0, Partition(0), name.as_bytes(), Some(b"a record"), &[]).unwrap();
        self.publisher.flush(PATIENCE).unwrap();
    }

    fn closed(&self, window_start_us: i64, through_offset: i64) {
        let closed = WindowClosed { window_start_us, through_offset, ..samples::window_closed() };
        self.write(Some(&self.encoder.encode(&closed).unwrap()));
    }

    fn write(&self, value: Option<&[u8]>) {
        self.publisher.publish(1, Partition(0), b"0", value, &[]).unwrap();
        self.publisher.flush(PATIENCE).unwrap();
    }
}

/// What comes next, in a word.
fn next(reader: &mut WindowReader, timeout: Duration) -> String {
    match reader.next(timeout).unwrap() {
        NextOfWindows::Record(message) => String::from_utf8_lossy(message.key().unwrap()).into_owned(),
        NextOfWindows::Closed(_, closed) => format!("closed {}", closed.window_start_us),
        NextOfWindows::Unreadable(message, _) => format!("unreadable {}", message.offset()),
        NextOfWindows::End => "end".to_owned(),
        NextOfWindows::Idle => "idle".to_owned(),
    }
}

fn following(reader: &mut WindowReader, count: usize) -> Vec<String> {
    (0..count).map(|_| next(reader, PATIENCE)).collect()
}

#[test]
fn what_closes_a_window_comes_behind_all_that_it_speaks_of() {
    let (settings, writer) = Writer::start("windows-order");
    writer.closed(10, 1);
    writer.closed(20, -1);
    writer.write(Some(b"nothing"));
    writer.write(None);
    let mut reader = WindowReader::start(&settings, Topic::Edges, &Start::Earliest).unwrap();
    // The topic of the records ends at once, and yet not all was read.
    assert_eq!(next(&mut reader, MOMENT), "idle");
    writer.record("first");
    assert_eq!(following(&mut reader, 1), ["first"]);
    assert_eq!(next(&mut reader, MOMENT), "idle");
    writer.record("second");
    assert_eq!(following(&mut reader, 4), ["second", "closed 10", "closed 20", "unreadable 2"]);
    assert_eq!(following(&mut reader, 1), ["end"]);
    writer.record("third");
    writer.closed(30, 2);
    assert_eq!(following(&mut reader, 2), ["third", "closed 30"]);
    assert_eq!(next(&mut reader, MOMENT), "idle", "the end is said once");
}

#[test]
fn what_never_comes_holds_nothing_up_for_ever() {
    let (settings, writer) = Writer::start("windows-lost");
    writer.record("first");
    writer.closed(10, 7);
    writer.closed(20, 0);
    let began = Instant::now();
    let mut reader = WindowReader::start(&settings, Topic::Edges, &Start::Earliest).unwrap();
    assert_eq!(following(&mut reader, 4), ["first", "closed 10", "closed 20", "end"]);
    assert!(began.elapsed() > Duration::from_secs(4), "it was waited for");
}

/// Another writer's transaction hides what was committed behind its first record. That is not gone, however long it lasts.
#[test]
fn what_an_open_transaction_hides_is_waited_for() {
    let (settings, writer) = Writer::start("windows-hidden");
    writer.record("first");
    let mut other = Transactions::start(&settings, &settings.prefix).unwrap();
    let topic = Topic::Edges.name(&settings.prefix);
    let (partition, value, headers) = (Partition(0), Some(b"never committed".as_slice()), [].as_slice());
    other.send(&NewRecord { topic: &topic, partition, key: b"other", value, headers, not_before_us: 0 }).unwrap();
    other.settle().unwrap();
    writer.record("second");
    writer.closed(10, 2);
    let mut reader = WindowReader::start(&settings, Topic::Edges, &Start::Earliest).unwrap();
    assert_eq!(following(&mut reader, 1), ["first"]);
    assert_eq!(next(&mut reader, STUCK_FOR), "idle");
    let at = TopicPartition::new(&topic, Partition(0));
    let held = Held::new(&settings).unwrap();
    assert_eq!(held.of(&at).unwrap(), Kept { first: Offset(0), end: Offset(3) });
    let settled = |goes_on: bool| offsets::settle(&settings, &topic, PATIENCE, &mut || goes_on).unwrap();
    assert!(!settled(false));
    // It is given up.
    other.renew().unwrap();
    assert!(settled(true));
    assert_eq!(following(&mut reader, 3), ["second", "closed 10", "end"]);
}

#[test]
fn a_topic_without_windows_is_read_as_it_is() {
    let (settings, _) = Writer::start("windows-none");
    admin::ensure_topics(&settings, &[Topic::Alerts]).unwrap();
    let publisher = Publisher::start(&settings, vec![Topic::Alerts.name(&settings.prefix)]).unwrap();
    publisher.publish(0, Partition(0), b"alert", Some(b"a record"), &[]).unwrap();
    publisher.flush(PATIENCE).unwrap();
    let mut reader = WindowReader::start(&settings, Topic::Alerts, &Start::Earliest).unwrap();
    assert_eq!(following(&mut reader, 2), ["alert", "end"]);
}
