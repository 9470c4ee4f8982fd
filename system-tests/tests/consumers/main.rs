//! The readers that docs/topics shows, which are made of clients and decoders that others wrote, read every record of every topic but the internal ones: each once,
//! and numbers above 2^53 as they are.
#![allow(clippy::unwrap_used)]

mod connect;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use headwater_kafka::KafkaSettings;
use headwater_process::Launch;
use headwater_schemas::records::Request;
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{kafka_arguments, shared, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;
use serde_json::Value;

const SECONDS: i64 = 20;
/// Progress alone, so that the last window closes.
const SECONDS_AFTER: i64 = 30;
const EACH_SECOND: i64 = 20;
/// Of an exchange in which the server asks, at a place that a double cannot hold.
const POSITION: i64 = (1 << 62) + 1;

#[test]
fn a_reader_in_python_reads_every_topic() {
    let mut python = Command::new("/usr/bin/python3");
    python.arg(readers().join("read.py"));
    reads_every_topic("python", python);
}

#[test]
fn a_reader_in_javascript_reads_every_topic() {
    let mut node = Command::new("node");
    node.arg(readers().join("read.mjs"));
    reads_every_topic("javascript", node);
}

#[test]
fn a_reader_in_java_reads_every_topic() {
    let jars = headwater_testing::jars("reader", &readers()).unwrap();
    let mut java = Command::new("java");
    java.args(["-Xmx128m", "-cp", &jars.join("*").to_string_lossy()]).arg(readers().join("Read.java"));
    reads_every_topic("java", java);
}

fn readers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/topics/readers")
}

fn public_topics() -> impl Iterator<Item = Topic> {
    Topic::ALL.into_iter().filter(|topic| !topic.suffix().starts_with("internal."))
}

fn reads_every_topic(name: &str, mut reader: Command) {
    let settings = shared(name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill(&settings, folder.path());
    let wanted: BTreeMap<String, usize> =
        public_topics().map(|topic| (topic.name(&settings.prefix), count(&settings, topic))).collect();
    assert!(wanted.values().all(|records| *records > 0), "a topic without records: {wanted:?}");
    // Many sinks and clients stop at a record without a value. The processors' own topic has some.
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Partials) {
        let mut without_value = 0;
        topics::each_message(&settings, topic, |message| without_value += usize::from(message.len() < 2)).unwrap();
        assert_eq!(without_value, 0, "{topic:?}");
    }

    reader.args([&settings.brokers, &settings.registry_url, &settings.prefix]);
    let log = folder.path().join("reader.log");
    let running = Launch::new(name, reader, log.clone()).spawn().unwrap();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let in_all: usize = wanted.values().sum();
    let came = wait_for("all records", || Ok(lines().len() >= in_all));
    came.unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    let read = lines();
    drop(running);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    read.iter().for_each(|line| *found.entry(line["topic"].as_str().unwrap().to_owned()).or_default() += 1);
    assert_eq!(found, wanted);

    let requests: Vec<&Value> = read
        .iter()
        .filter(|line| line["topic"] == Topic::Requests.name(&settings.prefix))
        .map(|line| &line["record"])
        .collect();
    // JSON has no long: JavaScript's reader prints them as text.
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap();
    let mut names: Vec<(&str, &str, i64)> = requests
        .iter()
        .map(|request| {
            let text = |field: &str| request[field].as_str().unwrap();
            (text("connection_id"), text("side"), number(&request["request_position"]))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), requests.len(), "each once");
    assert!(names.iter().any(|(_, _, position)| *position == POSITION), "the long is not what was written");
}

/// Both sides' requests and how far their node is, what processors make of them, and a sample of whatever else there is.
fn fill(settings: &KafkaSettings, folder: &Path) {
    let raw = Raw::start(settings).unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let start_us = now_us / 10_000_000 * 10_000_000 - (SECONDS + SECONDS_AFTER) * 1_000_000;
    for second in 0..SECONDS + SECONDS_AFTER {
        raw.second(start_us, second, if second < SECONDS { EACH_SECOND } else { 0 }).unwrap();
    }
    let request = Request { request_position: POSITION, completed_at_us: now_us, ..samples::request() };
    raw.record(Topic::Requests, "large", &request).unwrap();
    raw.record(Topic::Flows, "flow", &samples::flow()).unwrap();
    raw.record(Topic::Identities, "identity", &samples::identity()).unwrap();
    raw.record(Topic::Processes, "process", &samples::process()).unwrap();
    raw.record(Topic::Agents, "agent", &samples::agent()).unwrap();
    raw.record(Topic::Alerts, "alert", &samples::alert()).unwrap();
    raw.flush().unwrap();

    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(settings));
    let mut running = Launch::new("processors", command, folder.join("processors.log")).spawn().unwrap();
    let requests = || topics::edges(settings).map_or(0, |all| all.iter().map(|edge| edge.requests).sum::<i64>());
    // Each topic has a task of its own, which may be behind the others.
    let has_latencies = || count(settings, Topic::Latencies) > 0;
    let came = wait_for("all requests in the edges, and latencies", || {
        Ok(requests() >= SECONDS * EACH_SECOND && has_latencies())
    });
    came.unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    // Nothing is written any more while it is read.
    headwater_system_tests::lab::stop(&mut running).unwrap();
    // Nobody waits for an hour here.
    for topic in [Topic::EdgeMinutes, Topic::EdgeHours] {
        raw.record(topic, "span", &samples::edge()).unwrap();
    }
    for topic in [Topic::LatencyMinutes, Topic::LatencyHours] {
        raw.record(topic, "span", &samples::latency()).unwrap();
    }
    raw.flush().unwrap();
    if count(settings, Topic::DeadLetters) == 0 {
        raw.record(Topic::DeadLetters, "dead", &samples::dead_letter()).unwrap();
        raw.flush().unwrap();
    }
}

fn count(settings: &KafkaSettings, topic: Topic) -> usize {
    let mut records = 0;
    topics::each(settings, topic, |_, _| {
        records += 1;
        Ok(())
    })
    .unwrap();
    records
}
