//! A processor that has to start again while the registry is away goes on: it knows the schemas that it was told before. One whose process
//! starts then waits for it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_kafka::{GroupMember, KafkaSettings, Start, TopicReader};
use headwater_process::Launch;
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::lab::{kafka_arguments, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;

const PATIENCE: Duration = Duration::from_secs(30);
const WINDOW_S: i64 = 10;
/// Windows that close before the registry goes, and after it.
const WINDOWS: [i64; 2] = [2, 3];
/// A window closes when the next one has begun for a while.
const CLOSES_AFTER_S: i64 = 8;
const EACH_SECOND: i64 = 20;
/// Each mode of the processors and what it reads.
const MODES: [(&str, &[Topic]); 4] = [
    ("join", &[Topic::Flows, Topic::Requests]),
    ("service-map", &[Topic::Partials]),
    ("latency", &[Topic::Partials]),
    ("bottlenecks", &[Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows, Topic::EdgeHours]),
];

#[test]
fn a_processor_that_starts_again_needs_no_registry() {
    let (stack, settings, raw, start_us) = begin();
    let logs = tempfile::tempdir().unwrap();
    let mut command = ours("headwater-processor").unwrap();
    command.args(["all", "--processor-instance", "a"]).args(kafka_arguments(&settings));
    let running = Launch::new("processors", command, logs.path().join("processors.log")).spawn().unwrap();
    let told = |error| format!("{error}\n{}", running.log_text());

    let before_s = WINDOWS[0] * WINDOW_S + CLOSES_AFTER_S;
    (0..before_s).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();
    wait_for("the first windows", || Ok(edges(&settings) == WINDOWS[0])).map_err(told).unwrap();

    stack.registry().kill();
    for (mode, inputs) in MODES {
        // Who takes its name puts it out of its group.
        let topics: Vec<String> = inputs.iter().map(|topic| topic.name(&settings.prefix)).collect();
        let group = format!("{}{mode}", settings.prefix);
        let mut other = GroupMember::join(&settings, &group, &topics, Some("a")).unwrap();
        let starts_again = format!("starting again from the committed offsets mode=\"{mode}\"");
        wait_for("a start", || {
            let _ = other.poll(Duration::from_millis(50));
            Ok(running.log_text().contains(&starts_again))
        })
        .map_err(told)
        .unwrap();
    }
    let all_s = before_s + WINDOWS[1] * WINDOW_S;
    (before_s..all_s).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();
    let windows = WINDOWS.iter().sum::<i64>();
    wait_for("windows without a registry", || Ok(edges(&settings) >= windows)).map_err(told).unwrap();

    stack.registry().restart().unwrap();
    let requests: i64 = topics::edges(&settings).unwrap().iter().map(|edge| edge.requests).sum();
    assert_eq!((edges(&settings), requests), (windows, windows * WINDOW_S * EACH_SECOND));
    topics::each(&settings, Topic::DeadLetters, |_, _| anyhow::bail!("a dead letter")).unwrap();
}

/// Whatever starts the processors again, such as a node that comes back, may do so while the registry is away.
#[test]
fn a_processor_that_starts_without_a_registry_says_so_and_waits_for_it() {
    let (stack, settings, raw, start_us) = begin();
    let logs = tempfile::tempdir().unwrap();
    (0..WINDOWS[0] * WINDOW_S + CLOSES_AFTER_S).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();

    stack.registry().kill();
    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(&settings));
    let mut running = Launch::new("processors", command, logs.path().join("processors.log")).spawn().unwrap();
    let says_so = |mode: &str| {
        let mode = format!("mode=\"{mode}\"");
        let is_told =
            |line: &str| line.contains(&mode) && line.contains("check registry.url and that the registry runs");
        running.log_text().lines().any(is_told)
    };
    wait_for("each mode's word", || Ok(MODES.iter().all(|(mode, _)| says_so(mode))))
        .unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    assert!(running.is_running(), "it ended: {}", running.log_text());

    stack.registry().restart().unwrap();
    wait_for("windows", || Ok(edges(&settings) == WINDOWS[0]))
        .unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    let requests: i64 = topics::edges(&settings).unwrap().iter().map(|edge| edge.requests).sum();
    assert_eq!(requests, WINDOWS[0] * WINDOW_S * EACH_SECOND);
}

/// Kafka and a registry of the test's own, who writes, and the first window's start.
fn begin() -> (Stack, KafkaSettings, Raw, i64) {
    let stack = Stack::start(StackOptions::default()).unwrap();
    let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    let raw = Raw::start(&settings).unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let start_us = (now_s / WINDOW_S - 12) * WINDOW_S * 1_000_000;
    (stack, settings, raw, start_us)
}

/// Counts the records of the edge that is written, which takes no schema.
fn edges(settings: &KafkaSettings) -> i64 {
    let mut count = 0;
    let mut reader = TopicReader::start(settings, &[Topic::Edges.name(&settings.prefix)], &Start::Earliest).unwrap();
    let is_ours = |key: &[u8]| String::from_utf8_lossy(key).contains("raw-server");
    reader.read_to_end(PATIENCE, |message| count += i64::from(message.key().is_some_and(is_ours))).unwrap();
    count
}
