//! Bottlenecks in a quiet time, on a real Kafka: what gave no alert is committed all the same.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_kafka::{KafkaSettings, Offset, Partition, Publisher, Registry, TopicPartition, admin, offsets};
use headwater_processors::modes::Mode;
use headwater_processors::runtime;
use headwater_processors::settings::{ALL_KEYS, Settings};
use headwater_schemas::records::WindowClosed;
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use headwater_telemetry::Health;

const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW_US: i64 = 10_000_000;
/// More than an incident and the past before it, which are read again at a start.
const WINDOWS: i64 = 2000;

#[test]
fn a_quiet_time_is_not_read_again_after_a_restart() {
    let kafka = kafka();
    let settings = settings(&kafka);
    let topics = Mode::Bottlenecks.inputs();
    admin::ensure_topics(&kafka, topics).unwrap();
    let windows = Registry::new(&kafka).register_topic(Topic::EdgeWindows).unwrap();
    let encoder = Encoder::of::<WindowClosed>(windows).unwrap();
    let names: Vec<String> = topics.iter().map(|topic: &Topic| topic.name(&kafka.prefix)).collect();
    let publisher = Publisher::start(&kafka, names.clone()).unwrap();
    for i in 0..WINDOWS {
        let closed = encoder.encode(&closed(i)).unwrap();
        for topic in [Topic::EdgeWindows, Topic::LatencyWindows] {
            let index = topics.iter().position(|other| *other == topic).unwrap();
            publisher.publish(index, Partition(0), b"0", Some(&closed), &[]).unwrap();
        }
    }
    publisher.flush(PATIENCE).unwrap();

    let places: Vec<_> = names.iter().map(|name| TopicPartition::new(name, Partition(0))).collect();
    let group = Mode::Bottlenecks.group(&kafka.prefix);
    let committed = || -> BTreeMap<String, Option<Offset>> {
        let all = offsets::committed(&kafka, &group, &places).unwrap();
        all.into_iter().map(|assignment| (assignment.at.topic, assignment.committed)).collect()
    };
    let (stop, health) = (AtomicBool::new(false), Health::default());
    std::thread::scope(|scope| {
        scope.spawn(|| runtime::run(Mode::Bottlenecks, &settings, &stop, &health, None));
        let deadline = Instant::now() + PATIENCE;
        let mut last = committed();
        let half = Offset(WINDOWS / 2);
        let is_closed = |topic: &str| topic.ends_with("-windows");
        while last.iter().any(|(topic, at)| is_closed(topic) && at.is_none_or(|at| at <= half))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(100));
            last = committed();
        }
        stop.store(true, Ordering::Relaxed);
        for (topic, offset) in last.into_iter().filter(|(topic, _)| is_closed(topic)) {
            let offset = offset.unwrap_or_else(|| panic!("nothing of {topic} is committed"));
            assert!(offset > half, "{topic} is committed to {offset} only");
        }
    });
}

fn closed(i: i64) -> WindowClosed {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    WindowClosed {
        window_start_us: (now_us / WINDOW_US - WINDOWS + i) * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        source_partition: 0,
        source_partitions: 1,
        nodes: 1,
        completeness: 1.0,
        missing: Vec::new(),
        records: 0,
        through_offset: -1,
        late_windows_us: Vec::new(),
        revision: 0,
        touches: Vec::new(),
    }
}

fn kafka() -> KafkaSettings {
    let shared = Shared::get().unwrap();
    let mut kafka = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    kafka.prefix = Shared::prefix("quiet");
    kafka
}

fn settings(kafka: &KafkaSettings) -> Settings {
    let arguments = ["processor"].map(Into::into);
    let loaded = headwater_settings::load(clap::Command::new("processor"), ALL_KEYS, arguments, Vec::new());
    let (_, mut values) = loaded.unwrap();
    Settings { raw_prefix: kafka.prefix.clone(), kafka: kafka.clone(), ..Settings::read(&mut values) }
}
