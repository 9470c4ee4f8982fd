//! How many instances of the processors there are, how they share their partitions, how fast the records come, and who comes and goes meanwhile, changes no
//! bit of what they publish.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_kafka::{KafkaSettings, Start, TopicReader, admin};
use headwater_process::{Child, Launch};
use headwater_schemas::records::{Record, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::{WriterSchema, split};
use headwater_system_tests::fill::{Fill, fill};
use headwater_system_tests::lab::{kafka_arguments, shared, stop, wait_up_to};
use headwater_system_tests::program::ours;

const SECOND_US: i64 = 1_000_000;
const SECONDS: u64 = 1_000;
const RECORDS: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(240);

/// Topic, key and datum of each record, or of what closes a window, and how often it is there.
type Published = BTreeMap<(Topic, Vec<u8>, Vec<u8>), usize>;

/// One way of running the processors.
struct Way {
    protocol: &'static str,
    instances: usize,
    /// The records are there before the first instance; else they come meanwhile, and instances go and come.
    is_calm: bool,
}

#[test]
fn a_million_records_give_the_same_bytes_however_many_instances_there_are() {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    // At the beginning of a window, and within what topics keep.
    let start_us = (now_us / SECOND_US - 20 * 3600) / 10 * 10 * SECOND_US;
    let calm = publish(&Way { protocol: "classic", instances: 1, is_calm: true }, start_us);
    assert!(calm.len() > 5_000, "{}", calm.len());
    let mut problems = Vec::new();
    for protocol in ["classic", "consumer"] {
        for instances in 1..=3 {
            let published = publish(&Way { protocol, instances, is_calm: false }, start_us);
            let right = calm.keys().filter(|record| published.contains_key(*record)).count();
            let wrong = published.keys().filter(|record| !calm.contains_key(*record)).count();
            let doubled = published.iter().filter(|(record, times)| calm.get(*record) < Some(*times)).count() - wrong;
            let missing = calm.len() - right;
            println!("{protocol}, {instances}: {right} right, {missing} missing, {wrong} wrong, {doubled} doubled");
            if (missing, wrong, doubled) != (0, 0, 0) {
                problems.push((protocol, instances));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:?}");
}

/// What the processors make of the records.
fn publish(way: &Way, start_us: i64) -> Published {
    let settings = shared(&format!("{}-{}", way.protocol, way.instances)).unwrap();
    let records =
        Fill { records: RECORDS, seconds: SECONDS, start_us, in_the_past: true, lossy_second: Some(SECONDS / 2) };
    // Before the processors would make them with the broker's own time.
    admin::ensure_topics_dated_by_producers(&settings, &[Topic::Requests, Topic::Flows]).unwrap();
    let logs = tempfile::tempdir().unwrap();
    let start = |number: usize| {
        let mut command = ours("headwater-processor").unwrap();
        command.arg("all").args(kafka_arguments(&settings)).args(["--kafka-group-protocol", way.protocol]);
        Launch::new("processors", command, logs.path().join(format!("{number}.log"))).spawn().unwrap()
    };
    let mut running: Vec<Child>;
    if way.is_calm {
        fill(&settings, &records).unwrap();
        running = (0..way.instances).map(start).collect();
    } else {
        running = (0..way.instances).map(start).collect();
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| fill(&settings, &records));
            // One that stops, and one that is killed, each in the midst of what comes.
            for (number, share) in [(way.instances, 4), (way.instances + 1, 2)] {
                await_windows(&settings, SECONDS as usize / 10 / share, &running);
                if number % 2 == 0 {
                    stop(&mut running[0]).unwrap()
                } else {
                    running[0].kill()
                }
                running.remove(0);
                running.push(start(number));
            }
            filling.join().unwrap().unwrap();
        });
    }
    await_windows(&settings, SECONDS as usize / 10, &running);
    published(&settings)
}

fn await_windows(settings: &KafkaSettings, windows: usize, running: &[Child]) {
    let came = wait_up_to(PATIENCE, &format!("{windows} windows"), || Ok(closed_windows(settings) >= windows));
    let logs = || running.iter().map(Child::log_text).collect::<Vec<_>>().join("\n---\n");
    came.unwrap_or_else(|error| panic!("{error}: {}\n{}", closed_windows(settings), logs()));
}

/// Windows that are whole in both topics.
fn closed_windows(settings: &KafkaSettings) -> usize {
    let there = admin::topics(settings).unwrap_or_default();
    let of = |topic: Topic| {
        let mut markers = 0;
        let is_there = |topic: Topic| there.iter().any(|state| state.name == topic.name(&settings.prefix));
        if is_there(topic) && topic.windows().is_some_and(is_there) {
            each(settings, topic, |is_marker, _, _| markers += usize::from(is_marker));
        }
        markers / settings.partitions as usize
    };
    of(Topic::Edges).min(of(Topic::Latencies))
}

fn published(settings: &KafkaSettings) -> Published {
    let mut published = Published::new();
    for topic in [Topic::Edges, Topic::Latencies, Topic::Alerts] {
        each(settings, topic, |_, key, datum| {
            *published.entry((topic, key.to_vec(), datum.to_vec())).or_default() += 1;
        });
    }
    published
}

/// Gives every committed record, and what closes the windows: whether it is that, its key and its datum, which names no places.
fn each(settings: &KafkaSettings, topic: Topic, mut take: impl FnMut(bool, &[u8], &[u8])) {
    let names: Vec<String> =
        [Some(topic), topic.windows()].into_iter().flatten().map(|topic| topic.name(&settings.prefix)).collect();
    let mut reader = TopicReader::start(settings, &names, &Start::Earliest).unwrap();
    let schema = WriterSchema::parse(WindowClosed::SCHEMA).unwrap();
    reader
        .read_to_end(PATIENCE, |message| {
            let datum = split(message.value().unwrap()).unwrap().1;
            let key = message.key().unwrap_or_default();
            if message.topic() == names[0] {
                return take(false, key, datum);
            }
            let closed: WindowClosed = schema.decode(datum).unwrap();
            take(true, key, format!("{:?}", WindowClosed { through_offset: -1, ..closed }).as_bytes());
        })
        .unwrap();
}
