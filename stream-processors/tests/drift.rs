//! Drift on a real Kafka: what the hours of some weeks show is told once, also where the processor is stopped and started.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_histogram::Histogram;
use headwater_kafka::{KafkaSettings, Next, Partition, Publisher, Registry, SchemaCache, Start, TopicReader, admin};
use headwater_processors::modes::Mode;
use headwater_processors::runtime;
use headwater_processors::settings::{ALL_KEYS, Settings};
use headwater_schemas::records::{Alert, AlertState, Edge, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use headwater_telemetry::Health;

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_US: i64 = 3_600_000_000;
const HOURS: i64 = 4 * 7 * 24;
/// In these hours it is three times as slow.
const SLOW: std::ops::Range<i64> = HOURS - 12..HOURS - 6;

#[test]
fn what_is_slower_than_in_the_weeks_before_is_told_once() {
    let kafka = kafka();
    admin::ensure_topics(&kafka, Mode::Bottlenecks.inputs()).unwrap();
    admin::ensure_topics(&kafka, Mode::Bottlenecks.outputs()).unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let from_us = (now_us / HOUR_US - HOURS) * HOUR_US;
    let encoder = Encoder::of::<Edge>(Registry::new(&kafka).register_topic(Topic::EdgeHours).unwrap()).unwrap();
    let publisher = Publisher::start(&kafka, vec![Topic::EdgeHours.name(&kafka.prefix)]).unwrap();
    let publish = |hours: std::ops::Range<i64>| {
        for hour in hours {
            let edge = edge(from_us, hour);
            let value = encoder.encode(&edge).unwrap();
            publisher.publish(0, Partition(0), edge.key().as_bytes(), Some(&value), &[]).unwrap();
        }
        publisher.flush(PATIENCE).unwrap();
    };
    // The second slow hour is judged when the third one stands behind it.
    publish(0..SLOW.start + 3);
    working(&kafka, || !alerts(&kafka).is_empty());
    publish(SLOW.start + 3..HOURS);
    working(&kafka, || alerts(&kafka).len() > 1);
    let told: Vec<_> = alerts(&kafka)
        .into_iter()
        .map(|alert| (alert.state, alert.kind, (alert.observed_at_us - from_us) / HOUR_US, alert.evidence.len()))
        .collect();
    let kind = || "latency_drift".to_owned();
    let expected = [(AlertState::Firing, kind(), SLOW.start + 2, 2), (AlertState::Resolved, kind(), SLOW.end + 2, 1)];
    assert_eq!(told, expected);
}

fn edge(from_us: i64, hour: i64) -> Edge {
    let us = if SLOW.contains(&hour) { 30_000 } else { 10_000 };
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(1000 * us, 2000);
    Edge {
        window_start_us: from_us + hour * HOUR_US,
        window_ms: HOUR_US / 1000,
        revision: 0,
        client: Workload::local("unit", "web"),
        server: Workload::local("unit", "orders"),
        requests: 2000,
        errors: 0,
        duration_ns,
        completeness: 1.0,
        ..samples::edge()
    }
}

fn alerts(kafka: &KafkaSettings) -> Vec<Alert> {
    let mut reader = TopicReader::start(kafka, &[Topic::Alerts.name(&kafka.prefix)], &Start::Earliest).unwrap();
    let (mut cache, mut alerts) = (SchemaCache::new(kafka), Vec::new());
    loop {
        let message = match reader.next(PATIENCE).unwrap() {
            Next::Record(message) => message,
            Next::End(_) => return alerts,
            Next::Idle => panic!("nothing came of the alerts"),
        };
        let (schema, datum) = cache.open(message.value().unwrap()).unwrap();
        alerts.push(schema.decode(datum).unwrap());
    }
}

/// Another instance works until this holds.
fn working(kafka: &KafkaSettings, holds: impl Fn() -> bool) {
    let settings = settings(kafka);
    let (stop, health) = (AtomicBool::new(false), Health::default());
    std::thread::scope(|scope| {
        scope.spawn(|| runtime::run(Mode::Bottlenecks, &settings, &stop, &health, None));
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
    kafka.prefix = Shared::prefix("drift");
    kafka
}

fn settings(kafka: &KafkaSettings) -> Settings {
    let arguments = ["processor"].map(Into::into);
    let loaded = headwater_settings::load(clap::Command::new("processor"), ALL_KEYS, arguments, Vec::new());
    let (_, mut values) = loaded.unwrap();
    Settings { raw_prefix: kafka.prefix.clone(), kafka: kafka.clone(), ..Settings::read(&mut values) }
}
