//! Kafka goes away while exchanges go on, and the agent is killed meanwhile: what it captured waits on its disk, and comes to the topics once
//! Kafka is back, each record before the watermark that vouches for it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::client::{Outcome, time_of_day_us};
use headwater_system_tests::lab::{Client, Lab, Load, NODE, stop, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics::{self, InOrder};

const FEW: u64 = 500;

/// Both sides of them take several times the smallest queue.
const MANY: u64 = 6_000;

/// How long a record may be on its way. What Kafka took without saying so when it was stopped comes twice if the agent is killed then.
const UNSAID_US: i64 = 2_000_000;

#[test]
fn what_is_captured_while_kafka_is_away_outlives_the_agent_and_arrives_in_its_order() {
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let metrics = port.address();
    let spool = lab.folder.path().join("spool");
    let begin = |label, seed, requests| {
        let load =
            Load { address, server: "hyper", label, seed, requests, early: 0, threads: 2, pause_us: 0, netns: None };
        let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
        client.go().unwrap();
        client
    };
    let mut agent = spawn(&lab, "agent", &spool, metrics);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let mut outcomes = begin("before", 1, FEW).finish().unwrap();
    let seen = || topics::requests(&lab.settings).map_or(0, |requests| requests.len() as u64);
    wait_for("the first requests", || Ok(seen() >= 2 * FEW && files(&spool).is_empty())).unwrap();
    // On a machine that is busy with other things, Kafka may have taken nothing for so long already.
    let log = agent.log_text();
    let was_away = log.contains("records go to the disk");
    assert!(was_away || !spool.exists(), "while Kafka takes everything, nothing goes to the disk: {log}");

    let during = begin("during", 2, MANY);
    wait_for("some more requests", || Ok(seen() > 2 * FEW)).unwrap();
    let stopped_us = stop_kafka(&lab);
    let during = during.finish().unwrap();
    let after_stop = during.iter().filter(|outcome| outcome.sent_at_us > *stopped_us.end()).count();
    println!("{after_stop} of {} exchanges came after Kafka had stopped", during.len());
    outcomes.extend(during);
    let captured = 2 * outcomes.len() as u64;
    wait_until_spooled(metrics, &spool, captured);
    assert!(agent.is_running());
    agent.kill();

    let mut agent = spawn(&lab, "agent-again", &spool, metrics);
    wait_for("the agent to capture", || Ok(agent.log_text().contains("capturing"))).unwrap();
    assert!(agent.log_text().contains("records of an earlier run wait in the spool"), "{}", agent.log_text());
    let away = begin("away", 3, FEW).finish().unwrap();
    wait_until_spooled(metrics, &spool, 2 * away.len() as u64);
    outcomes.extend(away);

    lab.own_stack().kafka().restart().unwrap();
    wait_for("an empty spool", || Ok(value(metrics, "headwater_agent_spool_bytes") == Some(0))).unwrap();
    outcomes.extend(begin("back", 4, FEW).finish().unwrap());
    stop(&mut agent).unwrap();
    let left: Vec<_> = files(&spool);
    assert!(left.is_empty(), "{left:?} are left in an empty spool");

    check_each(&outcomes, &lab, &stopped_us);
    check_order(&lab);
    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.observed_at_us).unwrap();
    println!("{last:?}");
    assert!(last.is_final && last.counters["spool_requests_of_earlier_runs"] > 0);
    assert!(!last.dropped.keys().any(|reason| reason.contains("spool") || reason.contains("queue")), "{last:?}");
    // What an earlier run has captured is not among this one's; a run that the kernel left out is counted as one record.
    let missed = last.dropped.get("requests/probe_run_missed").copied().unwrap_or(0);
    let captured = last.captured["requests"];
    assert!((captured - missed..=captured).contains(&(4 * FEW as i64)), "{last:?}");
    assert_eq!(last.published["requests"] + last.in_flight["requests"] + missed, captured, "{last:?}");
}

/// An agent that is told to stop while Kafka is away leaves everything to the next one, also what is on its way to Kafka.
#[test]
fn an_agent_that_stops_while_kafka_is_away_leaves_its_last_watermark_in_the_spool() {
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let spool = lab.folder.path().join("spool");
    let load = |label, seed| {
        let load = Load {
            address,
            server: "hyper",
            label,
            seed,
            requests: FEW,
            early: 0,
            threads: 2,
            pause_us: 0,
            netns: None,
        };
        let mut client: Client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
        client.go().unwrap();
        client.finish().unwrap()
    };
    let mut agent = spawn(&lab, "agent", &spool, port.address());
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let stopped_us = stop_kafka(&lab);
    let mut outcomes = load("first", 1);
    stop(&mut agent).unwrap();
    assert!(agent.log_text().contains("wait in the spool for the next start"), "{}", agent.log_text());
    assert!(!files(&spool).is_empty());

    lab.own_stack().kafka().restart().unwrap();
    let mut agent = spawn(&lab, "agent-again", &spool, port.address());
    wait_for("an empty spool", || Ok(agent.log_text().contains("Kafka is reached") && files(&spool).is_empty()))
        .unwrap();
    outcomes.extend(load("second", 2));
    stop(&mut agent).unwrap();
    check_each(&outcomes, &lab, &stopped_us);
    check_order(&lab);
}

/// Stops Kafka. What completes in the returned time it may have taken without saying so.
fn stop_kafka(lab: &Lab) -> RangeInclusive<i64> {
    let before_us = time_of_day_us().unwrap();
    lab.own_stack().kafka().stop();
    before_us - UNSAID_US..=time_of_day_us().unwrap()
}

/// With the smallest queue.
fn spawn(lab: &Lab, name: &str, spool: &Path, metrics: SocketAddr) -> Child {
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--capture-cgroup", &lab.cgroup.path().to_string_lossy(), "--node-name", NODE])
        .args(["--http-paths", "full", "--kafka-queue-bytes", "1048576", "--stop-flush-ms", "10000"])
        .args(["--spool-path", &spool.to_string_lossy(), "--metrics-listen", &metrics.to_string()]);
    Launch::new(name, command, lab.folder.path().join(format!("{name}.log"))).spawn().unwrap()
}

/// Waits until so many requests are captured, and all of them are on the disk.
fn wait_until_spooled(metrics: SocketAddr, spool: &Path, captured: u64) {
    wait_for("all requests and a disk in use", || {
        let all = value(metrics, "headwater_agent_captured_total{record=\"requests\"}");
        Ok(all >= Some(captured) && value(metrics, "headwater_agent_spool_bytes") > Some(100_000))
    })
    .unwrap();
    // The next watermark is written behind all that was captured before.
    let before = bytes(spool);
    wait_for("another watermark on the disk", || Ok(bytes(spool) > before)).unwrap();
    assert!(value(metrics, "headwater_agent_spool_oldest_seconds").is_some());
}

/// A metric of the agent, in whole numbers.
fn value(metrics: SocketAddr, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(metrics).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let number: f64 = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())?;
    Some(number as u64)
}

/// Files of the spool.
fn files(spool: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(spool).into_iter().flatten().flatten();
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

fn bytes(spool: &Path) -> u64 {
    files(spool).iter().map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len())).sum()
}

/// Each exchange is there from both sides, and twice only if Kafka stopped while it took it.
fn check_each(outcomes: &[Outcome], lab: &Lab, stopped_us: &RangeInclusive<i64>) {
    let seen = topics::requests(&lab.settings).unwrap();
    let mut by_name: HashMap<(&str, Side), usize> = HashMap::new();
    seen.iter().for_each(|request| *by_name.entry((&request.path, request.side)).or_default() += 1);
    let (mut right, mut missing, mut doubled) = (0, 0, Vec::new());
    for outcome in outcomes {
        for side in [Side::Client, Side::Server] {
            match by_name.remove(&(outcome.path.as_str(), side)) {
                None => missing += 1,
                Some(1) => right += 1,
                Some(_) => doubled.push(outcome),
            }
        }
    }
    println!("{right} right, {missing} missing, {} doubled", doubled.len());
    assert_eq!((missing, by_name.len()), (0, 0), "{by_name:?} were never sent");
    assert!(doubled.iter().all(|outcome| stopped_us.contains(&outcome.received_at_us)), "{stopped_us:?}: {doubled:?}");
}

/// What a watermark vouches for stands before it, and the watermarks of each run are there in their order without a hole.
fn check_order(lab: &Lab) {
    for (partition, all) in topics::requests_in_order(&lab.settings).unwrap() {
        let (mut reached_us, mut sequences): (i64, BTreeMap<i64, i64>) = (0, BTreeMap::new());
        let mut seen = std::collections::HashSet::new();
        for one in all {
            match one {
                InOrder::Watermark { run, sequence, up_to_us } => {
                    let next = sequences.entry(run).or_default();
                    // One that Kafka took without saying so comes once more.
                    assert!(sequence <= *next, "{partition}: watermark {next} of {run} is missing before {sequence}");
                    *next = (*next).max(sequence + 1);
                    reached_us = reached_us.max(up_to_us);
                }
                InOrder::Request { completed_at_us, path, side } => {
                    let is_first = seen.insert((path.clone(), side));
                    assert!(
                        completed_at_us >= reached_us || !is_first,
                        "{partition}: {path} of {completed_at_us} stands behind the watermark of {reached_us}"
                    );
                }
            }
        }
        println!("{partition}: {sequences:?}");
        assert_eq!(sequences.len(), 2, "{partition}: two runs of the agent");
    }
}
