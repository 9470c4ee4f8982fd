//! Disks that are full, real ones: small file systems in memory, mounted by the test. At the start `up` says which disk, how much
//! is needed and which setting chooses another, and takes nothing half-written for whole; in mid-run the agent counts what it
//! cannot deliver, and goes on when there is room again.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use headwater_process::{Child, Launch};
use headwater_schemas::records::{Agent, Side};
use headwater_stack::shared::Shared;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, cgroup, stop, wait_for};
use headwater_system_tests::program::{Ended, ours, run};
use headwater_system_tests::topics;

use crate::disk::Disk;

const PATIENCE: Duration = Duration::from_secs(120);

fn up(args: &[&str], cache: Option<&Path>) -> Ended {
    let mut command = ours("headwater").unwrap();
    let own = std::process::id().to_string();
    command.args(["up", "--yes", "--console-port", "0", "--pid", &own]).args(args);
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", cache);
    }
    run(&mut command, PATIENCE).unwrap()
}

fn says(ended: &Ended, told: &[&str]) {
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    for text in told {
        assert!(ended.stderr.contains(text), "`{text}` is not said:\n{}", ended.stderr);
    }
}

#[test]
fn a_data_folder_without_room_is_named() {
    let disk = Disk::mount(64);
    let folder = disk.path().to_str().unwrap();
    says(&up(&["--data-dir", folder], None), &[folder, "is full", "256 MiB are needed", "--data-dir"]);
    disk.fill();
    says(&up(&["--data-dir", &format!("{folder}/new")], None), &[folder, "is full", "--data-dir"]);
}

#[test]
fn a_cache_without_room_is_named_and_nothing_half_copied_is_taken_for_whole() {
    let disk = Disk::mount(100);
    let path = disk.path().to_str().unwrap();
    says(&up(&[], Some(disk.path())), &[path, "is full", "600 MiB are needed", "XDG_CACHE_HOME"]);
    let cache = disk.path().join("headwater");
    let left = |cache: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    assert_eq!(left(&cache), Vec::<PathBuf>::new(), "something half-fetched stays");

    // The whole cache, copied until the disk was full.
    let whole = left(&cache_of_this_user()).into_iter().find(|path| path.join("registry").exists()).unwrap();
    let status = Command::new("cp").arg("-r").arg(&whole).arg(&cache).output().unwrap().status;
    assert!(!status.success() && cache.join(whole.file_name().unwrap()).exists(), "the copy fits");
    let ended = up(&[], Some(disk.path()));
    says(&ended, &[path, "is full", "XDG_CACHE_HOME"]);
    assert!(ended.stdout.contains("is damaged"), "{}", ended.stdout);
    assert_eq!(left(&cache), Vec::<PathBuf>::new(), "the half copy stays");
}

fn cache_of_this_user() -> PathBuf {
    // The lab of another test may be the first to fetch it; this one needs it.
    Shared::get().unwrap();
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    xdg.unwrap_or_else(home).join("headwater")
}

#[test]
fn what_kafka_s_full_disk_takes_away_is_counted_and_the_agent_goes_on() {
    let disk = Disk::mount(320);
    let data_dir = Some(disk.path().join("data"));
    let logs = tempfile::tempdir().unwrap();
    let log_dir = Some(logs.path().to_owned());
    let stack = Stack::start(StackOptions { data_dir, log_dir, ..StackOptions::default() }).unwrap();
    let lab = Lab::around(stack, cgroup().unwrap()).unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let mut agent = spawn_agent(&lab);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let load = |label, seed, requests| {
        let load =
            Load { address, server: "hyper", label, seed, requests, early: 0, threads: 2, pause_us: 0, netns: None };
        let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
        client.go().unwrap();
        client.finish().unwrap()
    };
    let mut outcomes: Vec<Outcome> = load("before", 1, 1_000);
    let seen = || topics::requests(&lab.settings).map_or(0, |requests| requests.len());
    wait_for("the first requests", || Ok(seen() >= 2_000)).unwrap();

    let filler = disk.fill();
    outcomes.extend(load("during", 2, 8_000));
    wait_for("the agent's word", || Ok(agent.log_text().contains("Kafka has taken nothing for"))).unwrap();
    assert!(agent.is_running(), "the agent ended: {}", agent.log_text());
    println!("Kafka runs on its full disk: {}", lab.own_stack().kafka().is_running());

    fs::remove_file(filler).unwrap();
    lab.own_stack().kafka().restart().unwrap();
    wait_for("deliveries", || Ok(agent.log_text().contains("Kafka takes records again"))).unwrap();
    outcomes.extend(load("after", 3, 1_000));
    stop(&mut agent).unwrap();

    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.sequence).unwrap();
    assert!(last.is_final, "the last heartbeat was not delivered: {}", agent.log_text());
    check(&outcomes, &topics::requests(&lab.settings).unwrap(), &last);
}

/// With the smallest queue and no spool, so that an outage of seconds fills it.
fn spawn_agent(lab: &Lab) -> Child {
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--capture-cgroup", &lab.cgroup.path().to_string_lossy(), "--node-name", "oracle-node"])
        .args([
            "--capture-shed",
            "detail",
            "--http-paths",
            "full",
            "--kafka-queue-bytes",
            "1048576",
            "--stop-flush-ms",
            "30000",
            "--spool-bytes",
            "0",
        ]);
    Launch::new("agent", command, lab.folder.path().join("agent.log")).spawn().unwrap()
}

/// Every record of the plan was published once or is in the count of those that were dropped.
fn check(outcomes: &[Outcome], seen: &[topics::SeenRequest], last: &Agent) {
    let mut by_name: HashMap<(&str, Side), usize> = HashMap::new();
    seen.iter().for_each(|request| *by_name.entry((&request.path, request.side)).or_default() += 1);
    let counts = outcomes.iter().flat_map(|outcome| {
        [Side::Client, Side::Server].map(|side| by_name.get(&(outcome.path.as_str(), side)).copied().unwrap_or(0))
    });
    let (mut right, mut missing, mut doubled) = (0, 0, 0);
    counts.for_each(|count| *[&mut missing, &mut right, &mut doubled][count.min(2)] += 1);
    let dropped = |reason: &str| last.dropped.get(reason).copied().unwrap_or(0);
    println!("{right} right, {missing} missing, {doubled} doubled; the agent: {last:?}");
    assert_eq!(doubled, 0);
    assert!(dropped("requests/queue_full") > 0, "the queue was not full: the test proves nothing");
    // A run that the kernel left out is counted as one record, whether or not it would have given one: a bound from above.
    let (queue_full, missed_runs) = (dropped("requests/queue_full"), dropped("requests/probe_run_missed"));
    let captured = last.captured["requests"];
    assert!((queue_full..=queue_full + missed_runs).contains(&missing), "what is missing is not what was counted");
    assert!((captured - missed_runs..=captured).contains(&(2 * outcomes.len() as i64)));
    assert_eq!(
        captured,
        last.published["requests"] + last.in_flight["requests"] + queue_full + missed_runs,
        "dropped for another reason"
    );
    assert_eq!(right, last.published["requests"] + last.in_flight["requests"]);
}
