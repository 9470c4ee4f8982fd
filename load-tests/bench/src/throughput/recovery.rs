//! How soon windows close on time again after the processors were killed under load.
//!
//! In: a fleet that goes on telling as time goes on. Out: how long it took from the kill to the end of the last window that came late; if
//! none did, to the first one behind the kill. Windows end every ten seconds, so it is exact to some seconds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headwater_kafka::{KafkaSettings, admin};
use headwater_process::tail;
use headwater_schemas::topics::Topic;
use headwater_system_tests::fleet::Shape;

use super::live::{Load, Watch, now_us};
use super::{WINDOW_US, backlog};

/// The join remembers eight windows, which a kill makes it read again.
const WINDOWS_BEFORE: usize = 10;

/// Processors whose windows close later do not keep up, before anything is killed: the machine got slower, or has other work.
const USUAL_US_MAX: i64 = 10_000_000;

/// A window is late if it closes so much later than those before the kill.
const LATE_US: i64 = 1_000_000;

/// The kill is so long before a window's end.
const BEFORE_END_US: i64 = 5_000_000;

/// Windows on time in a row that show that it is over.
const ON_TIME: usize = 2;

pub fn after_a_kill(settings: &KafkaSettings, shape: Shape) -> Result<Duration> {
    println!("a kill at {} requests a second, after {WINDOWS_BEFORE} windows", shape.requests_per_second);
    admin::ensure_topics(settings, &[Topic::EdgeWindows])?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("processor.log");
    let load = Load::start(settings, shape)?;
    let result = kill_and_watch(settings, &log);
    let slowest = load.stop()?;
    let recovery = result.with_context(|| format!("the processor's log ends so:\n{}", tail(&log)))?;
    ensure!(slowest < Duration::from_secs(1), "the load was {slowest:?} behind its time: the machine cannot carry it");
    Ok(recovery)
}

fn kill_and_watch(settings: &KafkaSettings, log: &Path) -> Result<Duration> {
    let mut watch = Watch::start(settings)?;
    let mut processor = backlog::start(settings, "bench", log)?;
    let usual_us = watch.until(|ends| {
        let delays = ends.iter().rev().take(3).map(|(end_us, seen_us)| seen_us - end_us);
        (ends.len() >= WINDOWS_BEFORE).then(|| delays.max()).flatten()
    })?;
    println!("  windows close {:.1} s after their end", usual_us as f64 / 1e6);
    ensure!(usual_us < USUAL_US_MAX, "windows close {} us after their end: the processors cannot keep up", usual_us);
    let kill_at_us = (now_us()? / WINDOW_US + 1) * WINDOW_US + usual_us - BEFORE_END_US;
    std::thread::sleep(Duration::from_micros((kill_at_us - now_us()?).max(0) as u64));
    let killed_at_us = now_us()?;
    processor.kill();
    processor = backlog::start(settings, "bench", log)?;
    let recovered_at_us = watch.until(|ends| recovered_at(ends, killed_at_us, usual_us + LATE_US))?;
    processor.kill();
    Ok(Duration::from_micros((recovered_at_us - killed_at_us) as u64))
}

/// When the last late window was seen, or else the first one, once [`ON_TIME`] windows behind it were seen in time.
fn recovered_at(ends: &BTreeMap<i64, i64>, killed_at_us: i64, in_time_us: i64) -> Option<i64> {
    let behind: Vec<(i64, i64)> = ends
        .iter()
        .map(|(end_us, seen_us)| (*end_us, *seen_us))
        .filter(|(_, seen_us)| *seen_us > killed_at_us)
        .collect();
    let is_late = |(end_us, seen_us): &&(i64, i64)| seen_us - end_us > in_time_us;
    let in_time = behind.iter().rev().take_while(|end| !is_late(end)).count();
    let last_late = behind.iter().rev().find(is_late);
    (in_time >= ON_TIME).then(|| last_late.or(behind.first())).flatten().map(|(_, seen_us)| *seen_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    /// Windows of ten seconds that were seen to be closed so many seconds after their end, after a kill at 95 s. The usual is 2 s.
    fn recovered_s(delays_s: &[i64]) -> Option<i64> {
        let ends = (10..)
            .zip(delays_s)
            .map(|(window, delay_s)| (window * 10 * SECOND_US, (window * 10 + delay_s) * SECOND_US));
        Some(recovered_at(&ends.collect(), 95 * SECOND_US, 3 * SECOND_US)? / SECOND_US - 95)
    }

    #[test]
    fn it_lasts_until_the_last_late_window_or_else_the_first_one() {
        assert_eq!(recovered_s(&[2, 2]), Some(7));
        assert_eq!(recovered_s(&[30, 20, 10, 3, 2]), Some(35));
        assert_eq!(recovered_s(&[2, 5, 2, 3]), Some(20));
    }

    #[test]
    fn one_window_in_time_is_not_enough() {
        assert_eq!(recovered_s(&[2]), None);
        assert_eq!(recovered_s(&[30, 20, 2]), None);
    }
}
