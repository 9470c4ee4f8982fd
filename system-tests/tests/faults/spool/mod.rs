//! Kafka goes away while exchanges go on: what the agent captures meanwhile waits on its disk, and comes to the topics once
//! Kafka is back, each record before what vouches for it.
#![allow(clippy::unwrap_used)]

mod full_disk;
mod killed;
mod ten_minutes;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_process::{Child, Launch};
use headwater_schemas::records::Side;
use headwater_system_tests::client::{Outcome, time_of_day_us};
use headwater_system_tests::lab::{Client, Lab, Load, NODE, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics::{self, InOrder};

/// How long a record may be on its way. What Kafka took without saying so when it was stopped comes twice if the agent is killed then.
const UNSAID_US: i64 = 2_000_000;

/// Stops Kafka. What completes in the returned time it may have taken without saying so.
fn stop_kafka(lab: &Lab) -> RangeInclusive<i64> {
    let before_us = time_of_day_us().unwrap();
    lab.own_stack().kafka().stop();
    before_us - UNSAID_US..=time_of_day_us().unwrap()
}

/// A client that has begun.
fn begin(lab: &Lab, address: SocketAddr, label: &'static str, seed: u64, requests: u64, pause_us: u64) -> Client {
    let load = Load { address, server: "hyper", label, seed, requests, early: 0, threads: 2, pause_us, netns: None };
    let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
    client.go().unwrap();
    client
}

/// The smallest queue.
const SMALL: &[&str] = &["--kafka-queue-bytes", "1048576"];

/// An agent that keeps its spool there.
fn spawn(lab: &Lab, name: &str, spool: &Path, metrics: SocketAddr, more: &[&str]) -> Child {
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--capture-cgroup", &lab.cgroup.path().to_string_lossy(), "--node-name", NODE])
        .args(["--http-paths", "full", "--stop-flush-ms", "10000", "--capture-shed", "detail"])
        .args(["--spool-path", &spool.to_string_lossy(), "--metrics-listen", &metrics.to_string()])
        .args(more);
    Launch::new(name, command, lab.folder.path().join(format!("{name}.log"))).spawn().unwrap()
}

/// Waits until the agent has seen the end of so many requests. Where one has chunks, its connection's end is its own, which may come after the
/// client's program has ended; an agent that is stopped before counts it as unfinished.
fn wait_until_captured(metrics: SocketAddr, captured: u64) {
    let all = || value(metrics, "headwater_agent_captured_total{record=\"requests\"}");
    wait_for("all requests", || Ok(all() >= Some(captured))).unwrap();
}

/// Waits until so many requests are captured, and all of them are on the disk.
fn wait_until_spooled(metrics: SocketAddr, spool: &Path, captured: u64) {
    wait_until_captured(metrics, captured);
    let on_disk = || value(metrics, "headwater_agent_spool_bytes");
    wait_for("a disk in use", || Ok(on_disk() > Some(100_000))).unwrap();
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
    let (mut right, mut missing, mut doubled) = (0, Vec::new(), Vec::new());
    for outcome in outcomes {
        for side in [Side::Client, Side::Server] {
            match by_name.remove(&(outcome.path.as_str(), side)) {
                None => missing.push((side, outcome)),
                Some(1) => right += 1,
                Some(_) => doubled.push(outcome),
            }
        }
    }
    println!("{right} right, {} missing, {} doubled", missing.len(), doubled.len());
    if !missing.is_empty() {
        missing.iter().take(5).for_each(|missing| println!("  missing {missing:?}"));
        topics::agents(&lab.settings).unwrap().iter().for_each(|agent| println!("  {agent:?}"));
    }
    assert_eq!((missing.len(), by_name.len()), (0, 0), "{by_name:?} were never sent");
    assert!(doubled.iter().all(|outcome| stopped_us.contains(&outcome.received_at_us)), "{stopped_us:?}: {doubled:?}");
}

/// What an agent vouches for is there, and what each run says is there in its order without a hole.
fn check_order(lab: &Lab, runs: usize) {
    for (partition, all) in topics::requests_in_order(&lab.settings).unwrap() {
        let (mut reached_us, mut sequences): (i64, BTreeMap<i64, i64>) = (0, BTreeMap::new());
        let mut seen = std::collections::HashSet::new();
        for one in all {
            match one {
                InOrder::Progress { run, sequence, up_to_us } => {
                    let next = sequences.entry(run).or_default();
                    // One that Kafka took without saying so comes once more.
                    assert!(sequence <= *next, "{partition}: {next} of {run} is missing before {sequence}");
                    *next = (*next).max(sequence + 1);
                    reached_us = reached_us.max(up_to_us);
                }
                InOrder::Request { completed_at_us, path, side } => {
                    let is_first = seen.insert((path.clone(), side));
                    assert!(
                        completed_at_us >= reached_us || !is_first,
                        "{partition}: {path} of {completed_at_us} was not vouched for by {reached_us}"
                    );
                }
            }
        }
        println!("{partition}: {sequences:?}");
        assert_eq!(sequences.len(), runs, "{partition}: runs of the agent");
    }
}
