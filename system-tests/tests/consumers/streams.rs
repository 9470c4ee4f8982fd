//! A program of Kafka Streams, with Apicurio's decoder of Avro, adds the windows of edges up to minutes: what somebody builds on a topic.

use std::collections::BTreeMap;
use std::process::Command;

use headwater_process::Launch;
use headwater_system_tests::lab::{shared, wait_for};
use headwater_system_tests::topics;
use serde_json::Value;

use super::{fill, readers};

/// An edge's id and the minute, in milliseconds since 1970.
type Minutes = BTreeMap<(String, i64), i64>;

#[test]
fn kafka_streams_adds_edges_up_to_minutes() {
    let settings = shared("streams").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill(&settings, folder.path());
    let mut wanted = Minutes::new();
    for edge in topics::edges(&settings).unwrap() {
        let minute_ms = edge.window_start_us / 60_000_000 * 60_000;
        *wanted.entry((edge.key(), minute_ms)).or_default() += edge.requests;
    }
    wanted.retain(|_, requests| *requests > 0);
    assert!(wanted.values().sum::<i64>() > 0, "no edge has requests");

    let files = readers().join("streams");
    let jars = headwater_testing::jars("streams", &files).unwrap();
    let mut java = Command::new("java");
    // Its state, and a library that it unpacks.
    java.arg(format!("-Djava.io.tmpdir={}", folder.path().display()));
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &jars.join("*").to_string_lossy()]);
    java.arg(files.join("Minutes.java"));
    let registry = settings.registry_url.replace("/apis/ccompat/v7", "/apis/registry/v2");
    java.args([&settings.brokers, &registry, &settings.prefix]);
    let log = folder.path().join("streams.log");
    let running = Launch::new("streams", java, log.clone()).spawn().unwrap();
    let found = || -> Minutes {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // The last line of each tells all of it.
        let minutes = lines.filter_map(|line| {
            let edge = line["edge"].as_str()?.to_owned();
            Some(((edge, line["minute"].as_i64()?), line["requests"].as_i64()?))
        });
        minutes.filter(|(_, requests)| *requests > 0).collect()
    };
    let sum = |minutes: &Minutes| minutes.values().sum::<i64>();
    let came = wait_for("all requests", || Ok(sum(&found()) >= sum(&wanted)));
    came.unwrap_or_else(|error| panic!("{error}\n{:?} of {wanted:?}\n{}", found(), running.log_text()));
    assert_eq!(found(), wanted);
}
