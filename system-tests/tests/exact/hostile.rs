//! Programs that make the agent keep, copy and tell as much as they can, each in a cgroup of its own: the agent's memory has its bound, the
//! program loses what has no room, which is counted as its own, and nothing of its neighbour is missing or wrong.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::process::Command;

use headwater_process::Launch;
use headwater_schemas::records::{Agent, Side};
use headwater_system_tests::lab::{Lab, Load, cgroup, stop, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics;

/// Connections of the program that is never answered; each keeps some 70 KiB, on both of its sides.
const UNANSWERED: usize = 600;
const MEMORY_BYTES: i64 = 16 << 20;

/// What the agent may grow by: its memory's bound, what the allocator does not give back, and the producer's queue.
const GROWTH_BYTES_MAX: i64 = 64 << 20;

/// Of the neighbour.
const REQUESTS: u64 = 2_000;

/// Between two requests on a connection, so that all take a second. The probes tell 11 MB of them, and 22 MB a second of the connections of a
/// hostile program: without a pause it would be the loud one, whose own part of the ring buffer is what it loses in.
const NEIGHBOUR_PAUSE_US: u64 = 2_000;

/// Bytes of each turn, or of each direction of a connection that nobody understands, that the probes copy at most.
const COPIED_BYTES_MAX: i64 = 64 * 1024;

/// Reasons for which it is not known whose the record was.
const NOBODYS: [&str; 2] = ["requests/probe_run_missed", "flows/probe_run_missed"];

#[test]
fn a_program_that_is_never_answered_costs_itself_and_not_its_neighbours() {
    let last = attack("unanswered", UNANSWERED, &|agent| agent.counters["memory_evicted"] > 0);
    assert!(last.dropped["requests/memory_full"] > 1_000);
}

#[test]
fn a_flood_of_large_requests_fills_its_own_share_of_the_ring_buffer() {
    let last = attack("large", 4, &|agent| agent.counters["probe_ring_full_data"] > 1_000);
    assert!(last.dropped["requests/ring_full"] > 1_000);
}

#[test]
fn heads_that_never_end_are_copied_once() {
    const CONNECTIONS: usize = 4;
    let last = attack("header", CONNECTIONS, &|agent| agent.counters["probe_data_events"] > 50_000);
    // Each turn of the neighbour is far shorter.
    let of_neighbour = REQUESTS as i64 * 2 * 8 * 1024;
    let copied = last.counters["probe_copied_bytes"];
    assert!(copied < CONNECTIONS as i64 * 2 * COPIED_BYTES_MAX + of_neighbour, "{copied} bytes were copied");
}

#[test]
fn bytes_that_mean_nothing_cost_their_program_alone() {
    let last = attack("random", 4, &|agent| agent.counters["probe_copied_bytes"] > 64 << 20);
    assert!(last.counters["memory_parsers_bytes"] < 1 << 20);
}

#[test]
fn protocols_that_change_cost_their_program_alone() {
    attack("changing", 4, &|agent| agent.counters["probe_data_events"] > 50_000);
}

#[test]
fn a_loop_of_connects_costs_its_program_alone() {
    let last = attack("connects", 4, &|agent| agent.captured["flows"] > 20_000);
    // What is over is forgotten: both ends of what the clients have open, with some that the kernel has not closed yet.
    assert!(last.counters["connections"] < 1_000);
}

#[test]
fn operations_without_end_have_no_more_than_their_place() {
    let last = attack("operations", 1_000_000, &|agent| agent.captured["requests"] > 1_000_000);
    // The program is both of its sides; the neighbour has a client and a server.
    assert!(last.counters["operations_known"] <= 3 * 1_000, "{}", last.counters["operations_known"]);
    assert!(last.counters["operations_other"] > 0);
}

#[test]
fn a_program_that_takes_more_than_the_budget_is_not_followed_for_a_while_and_its_neighbours_are() {
    let last = attack_with("requests", "large", 4, &|agent| agent.counters["resting_workloads"] == 1);
    assert!(last.dropped["requests/over_budget"] > 0);
}

/// The same while nothing but detail may be given up.
fn attack(kind: &str, number: usize, has_effect: &dyn Fn(&Agent) -> bool) -> Agent {
    attack_with("detail", kind, number, has_effect)
}

/// Runs a neighbour beside a hostile program that has had its effect. Nothing of the neighbour's may be missing.
fn attack_with(shed: &str, kind: &str, number: usize, has_effect: &dyn Fn(&Agent) -> bool) -> Agent {
    // Hundreds of thousands of records come of it, beside which a Kafka that all tests have used takes the processor from the agent.
    let lab = Lab::start_own().unwrap();
    let hostile_cgroup = cgroup().unwrap();
    let cgroups = [lab.cgroup.path(), hostile_cgroup.path()].map(|path| path.to_string_lossy().into_owned()).join(",");
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--kafka-prefix", &lab.settings.prefix, "--node-name", "attacked", "--http-paths", "full"])
        .args(["--spool-path", &lab.folder.path().join("spool").to_string_lossy()])
        .args(["--capture-cgroup", &cgroups, "--memory-bytes", &MEMORY_BYTES.to_string()])
        .args(["--capture-shed", shed, "--log-level", "info,headwater_agent::observe=debug"]);
    let mut agent = Launch::new("agent", command, lab.folder.path().join("agent.log")).spawn().unwrap();
    let heartbeats = || topics::agents(&lab.settings).unwrap_or_default();
    wait_for("the agent's heartbeat", || Ok(!heartbeats().is_empty())).unwrap();
    let before = heartbeats().pop().unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-hostile"));
    command.args([kind, &number.to_string()]);
    let launch = Launch::new("hostile", command, lab.folder.path().join("hostile.log"));
    let mut hostile = launch.in_cgroup(hostile_cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(hostile.first_line().unwrap(), "ready");
    wait_for("what the hostile program is for", || Ok(has_effect(&heartbeats().pop().unwrap()))).unwrap();

    let load = Load {
        address,
        server: "hyper",
        label: "neighbour",
        seed: 1,
        requests: REQUESTS,
        early: 4,
        threads: 4,
        pause_us: NEIGHBOUR_PAUSE_US,
        netns: None,
    };
    let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
    client.go().unwrap();
    let outcomes = client.finish().unwrap();
    drop(hostile.take_stdin());
    stop(&mut agent).unwrap();

    let last = heartbeats().pop().unwrap();
    let seen = topics::requests(&lab.settings).unwrap();
    let mut by_name: HashMap<(&str, Side), Vec<_>> = HashMap::new();
    seen.iter().for_each(|request| by_name.entry((&request.path, request.side)).or_default().push(request));
    let sides = outcomes.iter().flat_map(|outcome| [Side::Client, Side::Server].map(|side| (outcome, side)));
    let (mut missing, mut wrong) = (0, 0);
    for (outcome, side) in sides {
        match by_name.get(&(&*outcome.path, side)).map(Vec::as_slice) {
            None => missing += 1,
            Some([one]) if one.status == i32::from(outcome.status) && one.method == outcome.method => {}
            Some(_) => wrong += 1,
        }
    }
    let undrained = heartbeats().iter().map(|agent| agent.counters["undrained_max_us"]).max();
    println!(
        "{kind}: {missing} missing, {wrong} wrong, undrained {undrained:?} us; before: {before:?}; last: {last:?}"
    );
    assert_eq!((outcomes.len() as u64, missing, wrong), (REQUESTS, 0, 0), "of the neighbour's, missing and wrong");
    check_whose(&last);
    let kept = last.counters["memory_parsers_bytes"] + last.counters["memory_held_bytes"];
    assert!(kept <= MEMORY_BYTES, "{kept} bytes are kept");
    let largest = heartbeats().iter().map(|agent| agent.rss_bytes).max().unwrap();
    assert!(largest - before.rss_bytes < GROWTH_BYTES_MAX, "it grew from {} to {largest} bytes", before.rss_bytes);
    last
}

/// All that was lost is booked to the hostile program.
fn check_whose(last: &Agent) {
    let mut of_hostile: HashMap<&str, i64> = HashMap::new();
    for lost in &last.dropped_by_workload {
        assert_eq!(lost.workload, "oracle-hostile", "{:?}", last.dropped_by_workload);
        lost.dropped.iter().for_each(|(reason, count)| *of_hostile.entry(reason).or_default() += count);
    }
    for (reason, count) in last.dropped.iter().filter(|(reason, _)| !NOBODYS.contains(&reason.as_str())) {
        assert_eq!(of_hostile.get(&**reason), Some(count), "{reason}: {of_hostile:?} of {:?}", last.dropped);
    }
}
