//! Windows of another time than the present count as any other: those that were written days ago, for processors that were down or for a
//! replay, and those that are ahead of the clock of the machine on which the processors run.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_kafka::KafkaSettings;
use headwater_process::Launch;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{kafka_arguments, shared, wait_for};
use headwater_system_tests::program::{ours, run};
use headwater_system_tests::raw::Raw;
use headwater_system_tests::topics;

const WINDOW_US: i64 = 10_000_000;
const SECONDS: i64 = 20;
/// Watermarks alone, so that the last window closes.
const SECONDS_AFTER: i64 = 30;
const EACH_SECOND: i64 = 20;
const MINUTE_US: i64 = 60_000_000;
const REPLAYED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn windows_of_the_day_before_yesterday_count_and_can_be_computed_again() {
    let settings = shared("days-ago").unwrap();
    let start_us = count(&settings, -48 * 60 * MINUTE_US);

    let into = format!("{}again.", settings.prefix);
    let mut command = ours("headwater-processor").unwrap();
    command.args(["replay", "--into", &into]).args(kafka_arguments(&settings));
    let range = [start_us, start_us + SECONDS * 1_000_000].map(|us| us.to_string());
    let ended = run(command.args(["--from-us", &range[0], "--to-us", &range[1]]), REPLAYED_WITHIN).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let replayed = KafkaSettings { prefix: into, ..settings };
    assert_eq!(requests(&replayed), SECONDS * EACH_SECOND);
}

#[test]
fn a_clock_of_the_processors_that_is_slow_refuses_nothing() {
    let settings = shared("slow-clock").unwrap();
    count(&settings, 20 * MINUTE_US);
}

/// Writes windows that are so far ahead of the present and has them counted. Gives where the first one starts.
fn count(settings: &KafkaSettings, ahead_us: i64) -> i64 {
    let logs = tempfile::tempdir().unwrap();
    let (raw, keepers) = Raw::start_dated(settings).unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let start_us = (now_us + ahead_us) / WINDOW_US * WINDOW_US;
    for second in 0..SECONDS + SECONDS_AFTER {
        raw.second(start_us, second, if second < SECONDS { EACH_SECOND } else { 0 }).unwrap();
    }
    raw.flush().unwrap();

    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(kafka_arguments(settings));
    let running = Launch::new("processors", command, logs.path().join("processors.log")).spawn().unwrap();
    let came = wait_for("all requests in the edges", || Ok(requests(settings) >= SECONDS * EACH_SECOND));
    came.unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    assert_eq!(requests(settings), SECONDS * EACH_SECOND);
    let mut letters = 0;
    topics::each(settings, Topic::DeadLetters, |_, _| {
        letters += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(letters, keepers, "{}", running.log_text());
    start_us
}

fn requests(settings: &KafkaSettings) -> i64 {
    topics::edges(settings).map_or(0, |all| all.iter().map(|edge| edge.requests).sum())
}
