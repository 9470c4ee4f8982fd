//! A program that makes the agent keep as much as it can, in a cgroup of its own: the agent's memory has its bound, the program loses what
//! has no room, which is counted, and nothing of its neighbour is missing.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::process::Command;

use headwater_process::Launch;
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, Load, cgroup, stop, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics;

/// Each keeps some 70 KiB, on both of its sides.
const CONNECTIONS: usize = 600;
const MEMORY_BYTES: i64 = 16 << 20;

/// What the agent may grow by: its memory's bound, what the allocator does not give back, and the producer's queue.
const GROWTH_BYTES_MAX: i64 = 64 << 20;

#[test]
fn a_program_that_is_never_answered_costs_itself_and_not_its_neighbours() {
    let lab = Lab::start().unwrap();
    let hostile_cgroup = cgroup().unwrap();
    let cgroups = [lab.cgroup.path(), hostile_cgroup.path()].map(|path| path.to_string_lossy().into_owned()).join(",");
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--kafka-prefix", &lab.settings.prefix, "--node-name", "attacked", "--http-paths", "full"])
        .args(["--capture-cgroup", &cgroups, "--memory-bytes", &MEMORY_BYTES.to_string()]);
    let mut agent = Launch::new("agent", command, lab.folder.path().join("agent.log")).spawn().unwrap();
    let heartbeats = || topics::agents(&lab.settings).unwrap_or_default();
    wait_for("the agent's heartbeat", || Ok(!heartbeats().is_empty())).unwrap();
    let before = heartbeats().pop().unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-hostile"));
    command.arg(CONNECTIONS.to_string());
    let launch = Launch::new("hostile", command, lab.folder.path().join("hostile.log"));
    let mut hostile = launch.in_cgroup(hostile_cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(hostile.first_line().unwrap(), "ready");
    wait_for("what has no room", || Ok(heartbeats().pop().unwrap().counters["memory_evicted"] > 0)).unwrap();

    let load = Load {
        address,
        server: "hyper",
        label: "neighbour",
        seed: 1,
        requests: 2_000,
        early: 4,
        threads: 4,
        pause_us: 0,
        netns: None,
    };
    let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
    client.go().unwrap();
    let outcomes = client.finish().unwrap();
    drop(hostile.take_stdin());
    stop(&mut agent).unwrap();

    let last = heartbeats().pop().unwrap();
    let seen = topics::requests(&lab.settings).unwrap();
    let mut by_name: HashMap<(&str, Side), usize> = HashMap::new();
    seen.iter().for_each(|request| *by_name.entry((&request.path, request.side)).or_default() += 1);
    let sides = outcomes.iter().flat_map(|outcome| [Side::Client, Side::Server].map(|side| (&*outcome.path, side)));
    let missing = sides.filter(|name| by_name.get(name) != Some(&1)).count();
    println!("{missing} missing; before: {before:?}; last: {last:?}");
    assert_eq!(missing, 0, "the neighbour's are missing");
    assert!(last.dropped["requests/memory_full"] > 1_000);
    let kept = last.counters["memory_parsers_bytes"] + last.counters["memory_held_bytes"];
    assert!(kept <= MEMORY_BYTES, "{kept} bytes are kept");
    let largest = heartbeats().iter().map(|agent| agent.rss_bytes).max().unwrap();
    assert!(largest - before.rss_bytes < GROWTH_BYTES_MAX, "it grew from {} to {largest} bytes", before.rss_bytes);
}
