//! Roll-ups on a real Kafka: whatever is stopped and started meanwhile, each minute and hour is there once under each number, and is what its windows add up to.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_histogram::Histogram;
use headwater_kafka::{
    KafkaSettings, NewRecord, Next, Partition, Publisher, Registry, SchemaCache, Start, TopicReader, Transactions,
    admin,
};
use headwater_processors::rollups;
use headwater_processors::settings::{ALL_KEYS, Settings};
use headwater_schemas::records::{Edge, Missing, Touch, WindowClosed, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use headwater_telemetry::Health;

const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW_US: i64 = 10_000_000;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// An hour, what may still change of it, and a minute.
const WINDOWS: i64 = 360 + 90 + 6;
/// The window of which a node lacks something, which the edge of `cut` touches.
const CUT: i64 = 40;

/// What one record says, by the start of its window, client and revision.
type Said = BTreeMap<(i64, String, i32), (i64, u64, f64)>;

fn end(name: &str) -> Workload {
    Workload::local("unit", name)
}

fn edge(from_us: i64, window: i64, name: &str, revision: i32) -> Edge {
    let requests = 1 + window % 7 + 100 * i64::from(revision);
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(1_000_000 + window as u64, requests as u32);
    Edge {
        window_start_us: from_us + window * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        revision,
        client: end(name),
        server: end("server"),
        requests,
        duration_ns,
        completeness: 1.0,
        ..samples::edge()
    }
}

/// `steady` is in each window, `seldom` in one of four, `cut` in all but the one that lacks something.
fn edges(from_us: i64, window: i64) -> Vec<Edge> {
    let is_there = [("steady", true), ("seldom", window % 4 == 0), ("cut", window != CUT)];
    is_there.iter().filter(|(_, is)| *is).map(|(name, _)| edge(from_us, window, name, 0)).collect()
}

fn closed(from_us: i64, window: i64, revision: i32) -> WindowClosed {
    let is_cut = window == CUT;
    let missing = Missing { node: "n1".into(), reason: "no-data".into(), count: 0, from_us: 0, to_us: 1 };
    WindowClosed {
        window_start_us: from_us + window * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        source_partition: 0,
        source_partitions: 1,
        completeness: if is_cut { 0.5 } else { 1.0 },
        missing: if is_cut { vec![missing] } else { Vec::new() },
        touches: vec![Touch { node: "n1".into(), last_us: 0, workloads: vec![end("cut").key()] }],
        late_windows_us: Vec::new(),
        records: -1,
        revision,
        ..samples::window_closed()
    }
}

/// Writes both topics, each record where the next one belongs.
struct Writer {
    publisher: Publisher,
    edges: Encoder,
    closed: Encoder,
    offset: i64,
}

impl Writer {
    fn start(kafka: &KafkaSettings) -> Writer {
        admin::ensure_topics(kafka, &[rollups::READS, rollups::WRITES].concat()).unwrap();
        let names = [Topic::Edges, Topic::EdgeWindows].map(|topic| topic.name(&kafka.prefix));
        let registry = Registry::new(kafka);
        let id = |topic| registry.register_topic(topic).unwrap();
        Writer {
            publisher: Publisher::start(kafka, names.to_vec()).unwrap(),
            edges: Encoder::of::<Edge>(id(Topic::Edges)).unwrap(),
            closed: Encoder::of::<WindowClosed>(id(Topic::EdgeWindows)).unwrap(),
            offset: -1,
        }
    }

    fn write(&mut self, edges: &[Edge], closed: WindowClosed) {
        for edge in edges {
            let value = self.edges.encode(edge).unwrap();
            self.publisher.publish(0, Partition(0), edge.key().as_bytes(), Some(&value), &[]).unwrap();
            self.offset += 1;
        }
        let records = if closed.revision == 0 { edges.len() as i64 } else { -1 };
        let value = self.closed.encode(&WindowClosed { records, through_offset: self.offset, ..closed }).unwrap();
        self.publisher.publish(1, Partition(0), b"0", Some(&value), &[]).unwrap();
    }
}

#[test]
fn minutes_and_hours_are_what_their_windows_add_up_to() {
    let (kafka, from_us) = (kafka(), two_hours_ago());
    let mut writer = Writer::start(&kafka);
    let mut expected = Expected::default();
    let minutes = || said(&kafka, Topic::EdgeMinutes).len();

    // The first half, and a window of it that changes; stopped in the middle of it.
    for window in 0..200 {
        let edges = edges(from_us, window);
        writer.write(&edges, closed(from_us, window, 0));
        expected.take(edges);
    }
    expected.minutes(from_us, 0..33);
    writer.write(&[edge(from_us, 13, "steady", 1)], closed(from_us, 13, 1));
    expected.take(vec![edge(from_us, 13, "steady", 1)]);
    expected.closed_again(13);
    writer.publisher.flush(PATIENCE).unwrap();
    expected.minutes(from_us, [2]);
    // It ends when some are there, wherever it is then.
    working(&kafka, || minutes() >= 15);
    working(&kafka, || minutes() >= 40);
    working(&kafka, || minutes() >= expected.minutes.len());
    assert_eq!(said(&kafka, Topic::EdgeMinutes), expected.minutes);

    // The hour is over, then nothing of it can change any more, and then it changes after all.
    for window in 200..WINDOWS {
        let edges = edges(from_us, window);
        writer.write(&edges, closed(from_us, window, 0));
        expected.take(edges);
    }
    expected.minutes(from_us, 33..WINDOWS / 6);
    expected.hour(from_us);
    writer.publisher.flush(PATIENCE).unwrap();
    let hours = || said(&kafka, Topic::EdgeHours).len();
    working(&kafka, || hours() >= expected.hours.len() && minutes() >= expected.minutes.len());
    for (window, revision) in [(13, 2), (40, 1), (44, 1)] {
        let edges = vec![edge(from_us, window, "steady", revision), edge(from_us, window, "new", 1)];
        writer.write(&edges, closed(from_us, window, revision));
        expected.take(edges);
        expected.closed_again(window);
    }
    expected.minutes(from_us, [2, 6, 7]);
    expected.hour(from_us);
    writer.publisher.flush(PATIENCE).unwrap();
    working(&kafka, || hours() >= expected.hours.len());
    assert_eq!(said(&kafka, Topic::EdgeMinutes), expected.minutes);
    assert_eq!(said(&kafka, Topic::EdgeHours), expected.hours);
}

/// A transaction that is open hides what others commit behind it, in the partitions that it has written to. What closes windows is in another one.
#[test]
fn what_a_transaction_hides_that_is_open_is_waited_for() {
    let (kafka, from_us) = (kafka(), two_hours_ago());
    let mut writer = Writer::start(&kafka);
    let mut expected = Expected::default();
    let mut fill = |writer: &mut Writer, windows: std::ops::Range<i64>| {
        for window in windows.clone() {
            let edges = edges(from_us, window);
            writer.write(&edges, closed(from_us, window, 0));
            expected.take(edges);
        }
        expected.minutes(from_us, windows.start / 6..windows.end / 6);
        writer.publisher.flush(PATIENCE).unwrap();
    };
    fill(&mut writer, 0..12);
    let mut other = Transactions::start(&kafka, &kafka.prefix).unwrap();
    let topic = Topic::Edges.name(&kafka.prefix);
    other.send(&NewRecord::new(&topic, Partition(0), b"nobody", b"never committed")).unwrap();
    other.settle().unwrap();
    // Its record stands there.
    writer.offset += 1;
    fill(&mut writer, 12..24);
    let minutes = || said(&kafka, Topic::EdgeMinutes);
    working(&kafka, || minutes().len() >= 6);
    // Time to take what is hidden for nothing.
    let since = Instant::now();
    working(&kafka, || since.elapsed() > Duration::from_secs(3));
    assert_eq!(minutes().len(), 6);
    other.renew().unwrap();
    working(&kafka, || minutes().len() >= expected.minutes.len());
    assert_eq!(minutes(), expected.minutes);
}

/// What is to be there: added up the plain way.
#[derive(Default)]
struct Expected {
    newest: BTreeMap<(i64, String), Edge>,
    closed_again: BTreeMap<i64, i32>,
    minutes: Said,
    hours: Said,
}

impl Expected {
    fn take(&mut self, edges: Vec<Edge>) {
        self.newest.extend(edges.into_iter().map(|edge| ((edge.window_start_us, edge.client.name.clone()), edge)));
    }

    fn closed_again(&mut self, window: i64) {
        *self.closed_again.entry(window).or_default() += 1;
    }

    fn span(&self, from_us: i64, windows: std::ops::Range<i64>) -> Said {
        let (start_us, count) = (from_us + windows.start * WINDOW_US, (windows.end - windows.start) as f64);
        let again: i32 = self.closed_again.range(windows.clone()).map(|(_, times)| times).sum();
        let mut sums: BTreeMap<String, (i64, Histogram, i32, f64)> = BTreeMap::new();
        for edge in windows.clone().flat_map(|window| {
            let at_us = from_us + window * WINDOW_US;
            self.newest.range((at_us, String::new())..(at_us + 1, String::new())).map(|(_, edge)| edge)
        }) {
            let (requests, durations, revision, _) =
                sums.entry(edge.client.name.clone()).or_insert((0, Histogram::default(), again, count));
            (*requests, *revision) = (*requests + edge.requests, *revision + edge.revision);
            durations.merge(&edge.duration_ns).unwrap();
        }
        if let Some((.., complete)) = sums.get_mut("cut").filter(|_| windows.contains(&CUT)) {
            *complete -= 0.5;
        }
        let said = sums.into_iter().map(|(name, (requests, durations, revision, complete))| {
            ((start_us, name, revision), (requests, durations.sum() as u64, complete / count))
        });
        said.collect()
    }

    fn minutes(&mut self, from_us: i64, minutes: impl IntoIterator<Item = i64>) {
        for minute in minutes {
            let span = self.span(from_us, 6 * minute..6 * minute + 6);
            self.minutes.extend(span);
        }
    }

    fn hour(&mut self, from_us: i64) {
        // Of its minutes, one is 0.5 / 6 short.
        let span = self.span(from_us, 0..360);
        self.hours.extend(span);
    }
}

/// What a topic says; twice under one number is one too many.
fn said(kafka: &KafkaSettings, topic: Topic) -> Said {
    let mut reader = TopicReader::start(kafka, &[topic.name(&kafka.prefix)], &Start::Earliest).unwrap();
    let (mut cache, mut said) = (SchemaCache::new(kafka), Said::new());
    loop {
        let message = match reader.next(PATIENCE).unwrap() {
            Next::Record(message) => message,
            Next::End(_) => return said,
            Next::Idle => panic!("nothing came of {topic:?}"),
        };
        let (schema, datum) = cache.open(message.value().unwrap()).unwrap();
        let edge: Edge = schema.decode(datum).unwrap();
        let length_us = if topic == Topic::EdgeMinutes { MINUTE_US } else { HOUR_US };
        assert_eq!((edge.window_ms * 1000, edge.window_start_us % length_us), (length_us, 0));
        let place = (edge.window_start_us, edge.client.name.clone(), edge.revision);
        let before = said.insert(place.clone(), (edge.requests, edge.duration_ns.sum() as u64, edge.completeness));
        assert_eq!(before, None, "{place:?} is there twice");
    }
}

/// The beginning of an hour that is over.
fn two_hours_ago() -> i64 {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    now_us.div_euclid(HOUR_US) * HOUR_US - 2 * HOUR_US
}

/// Another instance works until this holds.
fn working(kafka: &KafkaSettings, holds: impl Fn() -> bool) {
    let settings = settings(kafka);
    let (stop, health) = (AtomicBool::new(false), Health::default());
    std::thread::scope(|scope| {
        scope.spawn(|| rollups::run(&settings, &stop, &health));
        let deadline = Instant::now() + PATIENCE;
        while !holds() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn kafka() -> KafkaSettings {
    let shared = Shared::get().unwrap();
    let mut kafka = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    kafka.prefix = Shared::prefix("rollups");
    kafka
}

fn settings(kafka: &KafkaSettings) -> Settings {
    let arguments = ["processor"].map(Into::into);
    let loaded = headwater_settings::load(clap::Command::new("processor"), ALL_KEYS, arguments, Vec::new());
    let (_, mut values) = loaded.unwrap();
    Settings { raw_prefix: kafka.prefix.clone(), kafka: kafka.clone(), ..Settings::read(&mut values) }
}
