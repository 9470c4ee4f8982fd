//! Partitions that are added while everything runs: no request is lost or counts twice, and whoever reads is told.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_kafka::{KafkaSettings, admin};
use headwater_process::Launch;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{kafka_arguments, shared, wait_for, wait_up_to};
use headwater_system_tests::program::ours;
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;

const WINDOW_US: i64 = 10_000_000;
/// With the number of partitions of the beginning, and then with all of them.
const SECONDS: [i64; 2] = [25, 55];
/// Watermarks alone, so that the last window closes.
const SECONDS_AFTER: i64 = 20;
const EACH_SECOND: i64 = 40;
const PARTITIONS: [usize; 2] = [2, 5];
/// Processors come to know the partitions and begin again, and close two windows.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn no_request_is_lost_or_doubled_where_partitions_are_added() {
    let settings = KafkaSettings { partitions: PARTITIONS[0] as i32, ..shared("partitions-added").unwrap() };
    let logs = tempfile::tempdir().unwrap();
    let mut raw = Raw::start(&settings).unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let start_us = (now_us / WINDOW_US - 12) * WINDOW_US;
    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(&settings));
    let running = Launch::new("processors", command, logs.path().join("processors.log")).spawn().unwrap();
    let told = |error| panic!("{error}\n{}", running.log_text());

    (0..SECONDS[0]).for_each(|second| raw.second(start_us, second, EACH_SECOND).unwrap());
    raw.flush().unwrap();
    wait_for("the first window", || Ok(by_window(&settings).contains_key(&start_us))).unwrap_or_else(told);

    admin::add_partitions(&settings, &[Topic::Flows, Topic::Requests, Topic::Progress, Topic::Partials], PARTITIONS[1])
        .unwrap();
    let counts = || admin::partition_counts(&settings, &[Topic::Flows, Topic::Requests, Topic::Progress]);
    // Of several topics one may be known to have them first.
    let are_there = |counts: BTreeMap<Topic, i32>| counts.values().all(|count| *count as usize == PARTITIONS[1]);
    wait_for("the partitions", || Ok(counts().is_ok_and(are_there))).unwrap();
    raw.count_again(&settings).unwrap();
    for second in SECONDS[0]..SECONDS[1] + SECONDS_AFTER {
        raw.second(start_us, second, if second < SECONDS[1] { EACH_SECOND } else { 0 }).unwrap();
    }
    raw.flush().unwrap();
    // Time goes on: what was closed for fewer partitions is behind all once later windows are closed for all of them.
    let (began, mut second) = (Instant::now(), SECONDS[1] + SECONDS_AFTER);
    let sum = || by_window(&settings).values().map(|window| window.0).sum::<i64>();
    wait_up_to(PATIENCE, "all requests in the edges", || {
        while second < SECONDS[1] + SECONDS_AFTER + began.elapsed().as_secs() as i64 {
            raw.second(start_us, second, 0)?;
            second += 1;
        }
        Ok(sum() >= SECONDS[1] * EACH_SECOND)
    })
    .unwrap_or_else(told);
    assert!(running.log_text().contains("has 5 partitions now, and had 2"), "{}", running.log_text());

    let windows = by_window(&settings);
    let last_us = start_us + SECONDS[1] / 10 * WINDOW_US;
    for (window_us, (requests, complete)) in &windows {
        let seconds = if *window_us == last_us { SECONDS[1] % 10 } else { 10 };
        assert_eq!(*requests, seconds * EACH_SECOND, "{window_us}: {windows:?}");
        // The one in which they were added and the next one, while who reads and who writes comes to know them.
        let is_between = (2..=5).contains(&((window_us - start_us) / WINDOW_US));
        assert!(*complete || is_between, "{window_us}: {windows:?}");
    }
    let first_us = start_us + SECONDS[0] / 10 * WINDOW_US;
    assert!(!windows[&first_us].1, "the window in which partitions were added is called complete: {windows:?}");
}

/// Requests of each window, and whether it is called complete.
fn by_window(settings: &KafkaSettings) -> BTreeMap<i64, (i64, bool)> {
    let mut windows = BTreeMap::new();
    for edge in topics::edges(settings).unwrap_or_default().iter().filter(|edge| edge.requests > 0) {
        let (requests, complete) = windows.entry(edge.window_start_us).or_insert((0, true));
        *requests += edge.requests;
        *complete &= edge.completeness == 1.0;
    }
    windows
}
