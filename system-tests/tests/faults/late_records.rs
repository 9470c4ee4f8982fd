//! A node that was cut off tells at last what it saw: the windows that were closed without it are published again, with all of it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_kafka::{Commit, KafkaSettings, Offset, Partition, TopicPartition, offsets};
use headwater_process::{Child, Launch};
use headwater_schemas::records::{Edge, NO_DATA};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{kafka_arguments, shared, stop, wait_up_to};
use headwater_system_tests::program::ours;
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;
use headwater_system_tests::windows::said;

const SECOND_US: i64 = 1_000_000;
const WINDOW_US: i64 = 10 * SECOND_US;
const SECONDS: i64 = 260;
/// The last window that closes, which needs what comes behind it.
const CLOSED_S: i64 = 240;
/// While the other node is cut off.
const CUT_OFF_S: std::ops::Range<i64> = 60..150;
const EACH_SECOND: i64 = 5;
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn windows_are_published_again_with_what_came_late() {
    let settings = shared("late-records").unwrap();
    let logs = tempfile::tempdir().unwrap();
    let start_us = write(&settings);
    let mut processors = start(&settings, &logs.path().join("first.log"));
    await_windows(&settings, start_us, &processors);
    let edges = topics::edges(&settings).unwrap();

    // Each window has all, once, in its newest records; what was said before stands under other numbers.
    let mut problems = Vec::new();
    let told = said(&edges, &topics::closed(&settings, Topic::Edges).unwrap(), &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    for (window_us, total) in totals(&settings, start_us) {
        let said = &told[&window_us];
        let expected = 2 * EACH_SECOND * WINDOW_US / SECOND_US;
        assert_eq!((said.requests, total.latencies), (expected, expected), "{}", (window_us - start_us) / SECOND_US);
    }
    let revised = |edges: &[Edge]| -> BTreeSet<i64> {
        let revised = edges.iter().filter(|edge| edge.revision > 0);
        revised.map(|edge| (edge.window_start_us - start_us) / SECOND_US).collect()
    };
    // A node that lags by more than a minute is not waited for.
    let late: BTreeSet<i64> = CUT_OFF_S.step_by(10).filter(|start_s| start_s + 12 < CUT_OFF_S.end).collect();
    assert_eq!(revised(&edges), late, "{}", processors.log_text());
    // Behind them stand markers that say what is missing since.
    let mut lacks = BTreeMap::new();
    for marker in topics::closed(&settings, Topic::Edges).unwrap() {
        let has_no_data = marker.missing.iter().any(|missing| missing.reason == NO_DATA);
        let newest = lacks.entry((marker.window_start_us, marker.source_partition)).or_insert((0, has_no_data));
        *newest = (marker.revision, has_no_data).max(*newest);
    }
    lacks.retain(|(window_us, _), _| (start_us..start_us + CLOSED_S * SECOND_US).contains(window_us));
    let right = |((window_us, _), newest): (&(i64, i32), &(i32, bool))| {
        *newest == (i32::from(late.contains(&((window_us - start_us) / SECOND_US))), false)
    };
    assert!(lacks.iter().all(right), "{lacks:?}");
    let before: i64 = edges.iter().filter(|edge| edge.revision == 0).map(|edge| edge.requests).sum();
    let of_late = late.len() as i64 * EACH_SECOND * WINDOW_US / SECOND_US;
    assert_eq!(
        before,
        CLOSED_S * 2 * EACH_SECOND - of_late,
        "the first time, what came late counts in none of these windows"
    );

    // Whoever reads the markers again finds nothing to add.
    stop(&mut processors).unwrap();
    let at = TopicPartition::new(Topic::EdgeWindows.name(&settings.prefix), Partition(0));
    let again = Commit { at, next: Offset::FIRST, note: String::new() };
    offsets::commit(&settings, &format!("{}revisions", settings.prefix), &[again]).unwrap();
    let processors = start(&settings, &logs.path().join("second.log"));
    let came = wait_up_to(PATIENCE, "the next turn", || Ok(processors.log_text().contains("revised windows")));
    came.unwrap_or_else(|error| panic!("{error}\n{}", processors.log_text()));
    assert_eq!(topics::edges(&settings).unwrap().len(), edges.len(), "{}", processors.log_text());
}

/// What two nodes saw, one of which was cut off for a while. Gives where it begins.
fn write(settings: &KafkaSettings) -> i64 {
    let (raw, _) = Raw::start_dated(settings).unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let start_us = (now_us / WINDOW_US - 60) * WINDOW_US;
    let count = |second: i64| if second < CLOSED_S { EACH_SECOND } else { 0 };
    for second in 0..SECONDS {
        raw.second_of("steady", start_us, second, count(second), second).unwrap();
        if second + 1 == CUT_OFF_S.end {
            for held in CUT_OFF_S {
                raw.second_of("cut-off", start_us, held, count(held), second).unwrap();
            }
        } else if !CUT_OFF_S.contains(&second) {
            raw.second_of("cut-off", start_us, second, count(second), second).unwrap();
        }
    }
    raw.flush().unwrap();
    start_us
}

fn start(settings: &KafkaSettings, log: &Path) -> Child {
    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(settings));
    Launch::new("processors", command, log.to_owned()).spawn().unwrap()
}

/// What the newest records of a window say.
#[derive(Debug, Default)]
struct Total {
    is_whole: bool,
    latencies: i64,
}

fn totals(settings: &KafkaSettings, start_us: i64) -> BTreeMap<i64, Total> {
    let mut totals: BTreeMap<i64, Total> = BTreeMap::new();
    let expected = 2 * EACH_SECOND * WINDOW_US / SECOND_US;
    let closed = topics::closed(settings, Topic::Edges).unwrap_or_default();
    for (window_us, said) in said(&topics::edges(settings).unwrap_or_default(), &closed, &mut Vec::new()) {
        // A record that is none stands in each partition, which every window says, too.
        let lacks_a_node = said.missing.iter().any(|missing| missing.reason == NO_DATA);
        totals.entry(window_us).or_default().is_whole = !lacks_a_node && said.requests == expected;
    }
    let mut newest = BTreeMap::new();
    for latency in topics::latencies(settings).unwrap_or_default() {
        let key = (latency.window_start_us, latency.client, latency.server, latency.operation, latency.status_class);
        let known = newest.entry(key).or_insert((latency.revision, latency.requests));
        *known = (latency.revision, latency.requests).max(*known);
    }
    for ((window_us, ..), (_, requests)) in newest {
        totals.entry(window_us).or_default().latencies += requests;
    }
    totals.retain(|window_us, _| (start_us..start_us + CLOSED_S * SECOND_US).contains(window_us));
    totals
}

fn await_windows(settings: &KafkaSettings, start_us: i64, running: &Child) {
    let came = wait_up_to(PATIENCE, "all windows", || {
        let totals = totals(settings, start_us);
        Ok(totals.len() as i64 == CLOSED_S / 10 && totals.values().all(|total| total.is_whole))
    });
    came.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", totals(settings, start_us), running.log_text()));
}
