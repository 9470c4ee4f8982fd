//! Kafka and the registry come half a minute after the agent: it captures from its start, keeps what its queue has room for, counts the
//! rest, says what it waits for, and delivers once they are there. Where they never come, it says so and ends when it is told to.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use headwater_kafka::KafkaSettings;
use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, cgroup, stop, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics;

const LATE_BY: Duration = Duration::from_secs(30);

/// Both sides of some 1,500 requests fit into the smallest queue.
const FIRST: u64 = 500;
const MORE: u64 = 4_000;

#[test]
fn an_agent_that_starts_before_kafka_loses_only_what_it_counts() {
    let (kafka_port, registry_port) = (Port::free().unwrap(), Port::free().unwrap());
    let (lab, mut agent) = agent_without_kafka(&kafka_port, &registry_port);
    let started = Instant::now();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let load = |label, seed, requests| {
        let load =
            Load { address, server: "hyper", label, seed, requests, early: 0, threads: 2, pause_us: 0, netns: None };
        let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
        client.go().unwrap();
        client.finish().unwrap()
    };
    let first = load("first", 1, FIRST);
    let more = load("more", 2, MORE);
    wait_for("half a minute", || Ok(started.elapsed() >= LATE_BY)).unwrap();
    assert!(agent.log_text().contains("no broker of"), "{}", agent.log_text());
    let options = StackOptions {
        kafka_port: Some(kafka_port.number()),
        registry_port: Some(registry_port.number()),
        ..StackOptions::default()
    };
    let _stack = Stack::start(options).unwrap();
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let after = load("after", 3, FIRST);
    stop(&mut agent).unwrap();

    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.sequence).unwrap();
    assert!(last.is_final, "{}", agent.log_text());
    let seen = topics::requests(&lab.settings).unwrap();
    let mut by_name: HashMap<(&str, Side), usize> = HashMap::new();
    seen.iter().for_each(|request| *by_name.entry((&request.path, request.side)).or_default() += 1);
    assert!(by_name.values().all(|&count| count == 1), "some are doubled");
    let missing = |outcomes: &[Outcome]| {
        let sides = outcomes.iter().flat_map(|outcome| [Side::Client, Side::Server].map(|side| (&*outcome.path, side)));
        sides.filter(|name| !by_name.contains_key(name)).count() as i64
    };
    let dropped = |reason: &str| last.dropped.get(reason).copied().unwrap_or(0);
    println!("{} seen, missing {} + {} + {}: {last:?}", seen.len(), missing(&first), missing(&more), missing(&after));
    assert_eq!(
        (missing(&first), missing(&after)),
        (0, 0),
        "the first fit into the queue, and the last came when it was empty"
    );
    let queue_full = dropped("requests/queue_full");
    assert!(queue_full > 0, "all fit into the queue: the test proves less than it says");
    let missed_runs = dropped("requests/probe_run_missed");
    assert!(
        (queue_full..=queue_full + missed_runs).contains(&missing(&more)),
        "what is missing is not what was counted"
    );
}

#[test]
fn an_agent_that_never_reaches_kafka_or_the_registry_says_so_and_ends_when_told() {
    let (kafka_port, registry_port) = (Port::free().unwrap(), Port::free().unwrap());
    let (_lab, mut agent) = agent_without_kafka(&kafka_port, &registry_port);
    let told = format!("no broker of {} answers", kafka_port.address());
    wait_for("the agent's word", || Ok(agent.log_text().contains(&told))).unwrap();
    assert!(agent.log_text().contains("check kafka.brokers and that Kafka runs"), "{}", agent.log_text());
    stop(&mut agent).unwrap();

    // The brokers are there, the registry is not.
    let lab = Lab::start().unwrap();
    let settings =
        KafkaSettings { registry_url: format!("http://{}", registry_port.address()), ..lab.settings.clone() };
    let mut agent = spawn(&lab, &settings);
    let told = format!("the schema registry http://{} does not answer", registry_port.address());
    wait_for("the agent's word", || Ok(agent.log_text().contains(&told))).unwrap();
    assert!(agent.is_running());
    stop(&mut agent).unwrap();
}

fn agent_without_kafka(kafka_port: &Port, registry_port: &Port) -> (Lab, Child) {
    let registry_url = format!("http://{}/apis/ccompat/v7", registry_port.address());
    let settings = KafkaSettings::local(&kafka_port.address().to_string(), &registry_url);
    let lab = Lab { stack: None, settings, cgroup: cgroup().unwrap(), folder: tempfile::tempdir().unwrap() };
    let agent = spawn(&lab, &lab.settings);
    wait_for("the agent to capture", || Ok(agent.log_text().contains("capturing"))).unwrap();
    (lab, agent)
}

/// With the smallest queue, and nothing else to keep records in.
fn spawn(lab: &Lab, settings: &KafkaSettings) -> Child {
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url])
        .args(["--kafka-prefix", &settings.prefix, "--kafka-queue-bytes", "1048576", "--stop-flush-ms", "10000"])
        .args(["--spool-bytes", "0", "--capture-shed", "detail"])
        .args([
            "--capture-cgroup",
            &lab.cgroup.path().to_string_lossy(),
            "--node-name",
            "early",
            "--http-paths",
            "full",
        ]);
    Launch::new("agent", command, lab.folder.path().join("agent.log")).spawn().unwrap()
}
