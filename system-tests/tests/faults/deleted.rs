//! Records that retention deletes before the join has read them are missed: the log says so, and so do the windows that they may be of.
#![allow(clippy::unwrap_used)]

use std::time::{SystemTime, UNIX_EPOCH};

use headwater_kafka::{KafkaSettings, Offset, TopicPartition, admin, offsets};
use headwater_process::Launch;
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::lab::{kafka_arguments, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;

const WINDOW_S: i64 = 10;
const EACH_SECOND: i64 = 20;
/// The second whose records are deleted, and how many it has.
const DELETED: (i64, i64) = (31, 400);
const WINDOWS: i64 = 6;

#[test]
fn what_is_deleted_before_it_is_read_is_missing() {
    let stack = Stack::start(StackOptions::default()).unwrap();
    let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    let raw = Raw::start(&settings).unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let start_us = (now_s / WINDOW_S - 12) * WINDOW_S * 1_000_000;
    let logs = tempfile::tempdir().unwrap();
    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(&settings));
    let running = Launch::new("processors", command, logs.path().join("processors.log")).spawn().unwrap();
    let told = |error| format!("{error}\n{}", running.log_text());

    // The join has read all that there is, watermarks included, and stands still.
    (0..DELETED.0).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();
    let group = format!("{}join", settings.prefix);
    let read = || {
        let ends = ends(&settings);
        let places: Vec<TopicPartition> = ends.iter().map(|(at, _)| at.clone()).collect();
        let committed = offsets::committed(&settings, &group, &places)?;
        let read_to = |note: &str| serde_json::from_str::<serde_json::Value>(note).ok()?["read_to"].as_i64();
        Ok(committed.iter().all(|one| ends.iter().any(|(at, end)| *at == one.at && read_to(&one.note) == Some(end.0))))
    };
    wait_for("the join's commit of all", read).map_err(told).unwrap();
    signal(running.pid(), libc::SIGSTOP);

    // Of the next second only the watermark is left, and perhaps what was asked for before the stop.
    let (second, count) = DELETED;
    raw.second(start_us, second, count).unwrap();
    raw.flush().unwrap();
    let of_requests = |(at, end): (TopicPartition, Offset)| {
        (at.topic == Topic::Requests.name(&settings.prefix)).then_some((at, Offset(end.0 - 1)))
    };
    let before: Vec<(TopicPartition, Offset)> = ends(&settings).into_iter().filter_map(of_requests).collect();
    admin::delete_records(&settings, &before).unwrap();
    signal(running.pid(), libc::SIGCONT);
    (second + 1..WINDOWS * WINDOW_S + 8).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();

    let last_us = start_us + (WINDOWS - 1) * WINDOW_S * 1_000_000;
    let closed = || topics::closed(&settings, Topic::Edges);
    wait_for("the last window", || Ok(closed()?.iter().any(|marker| marker.window_start_us >= last_us)))
        .map_err(told)
        .unwrap();
    let edges = topics::edges(&settings).unwrap();
    for window in 0..WINDOWS {
        let from_us = start_us + window * WINDOW_S * 1_000_000;
        let of_window = edges.iter().filter(|edge| edge.window_start_us == from_us);
        let requests: i64 = of_window.map(|edge| edge.requests).sum();
        let reasons: Vec<String> = closed()
            .unwrap()
            .into_iter()
            .filter(|marker| marker.window_start_us == from_us)
            .flat_map(|marker| marker.missing)
            .map(|missing| missing.reason)
            .collect();
        let has = second / WINDOW_S == window;
        let whole = if has { (WINDOW_S - 1) * EACH_SECOND + count } else { WINDOW_S * EACH_SECOND };
        println!("window {window}: {requests} of {whole} requests, missing {reasons:?}");
        assert_eq!(requests == whole, !has, "{}", running.log_text());
        let told = reasons.iter().any(|reason| reason == "deleted");
        // They might have been of any window that was open, until the time at which the next record was written.
        let might = window >= second / WINDOW_S - 1;
        assert!(if has { told } else { might || !told }, "{}", running.log_text());
    }
    let log = running.log_text();
    assert!(log.contains("were deleted before they were read"), "{log}");
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill only takes numbers; the process is the test's own and was not waited for.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

/// The ends of the partitions that the join reads.
fn ends(settings: &KafkaSettings) -> Vec<(TopicPartition, Offset)> {
    let names = [Topic::Requests, Topic::Flows].map(|topic| topic.name(&settings.prefix));
    let states = admin::topics(settings).unwrap().into_iter().filter(|state| names.contains(&state.name));
    let ends = states.flat_map(|state| {
        let partitions = state.kept.into_iter().enumerate();
        partitions
            .map(move |(number, kept)| {
                (TopicPartition::new(&state.name, headwater_kafka::Partition(number as i32)), kept.end)
            })
            .collect::<Vec<_>>()
    });
    ends.collect()
}
