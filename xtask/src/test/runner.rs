//! Runs jobs side by side as [`schedule`] allows, goes on after failures, and says what happens as it happens.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::job::{Done, End, Job, Running, Turn};
use super::kafka::SharedKafka;
use super::schedule::{self, Load};

const POLL: Duration = Duration::from_millis(10);
/// Of the output of a job that failed.
const LINES_MAX: usize = 200;

/// Runs all; returns when the last one is over. Tests that need Kafka find it in their variables.
pub fn run_all(jobs: Vec<Job>, logs: &Path, mut kafka: Option<SharedKafka>) -> Result<Vec<Done>> {
    let count = jobs.len();
    let mut waiting = jobs;
    let mut running: Vec<Running> = Vec::new();
    let mut done: VecDeque<Done> = VecDeque::new();
    while !waiting.is_empty() || !running.is_empty() {
        let addresses = match &mut kafka {
            Some(kafka) => kafka.addresses()?,
            None => Some(Vec::new()),
        };
        while let Some(index) =
            schedule::next(&waiting, Load::of(running.iter().map(|running| running.job.turn)), addresses.is_some())
        {
            let mut job = waiting.remove(index);
            if job.turn != Turn::Background {
                job.variables.extend(addresses.iter().flatten().cloned());
            }
            running.push(Running::start(job, logs)?);
        }
        let mut still = Vec::new();
        for mut job in running.drain(..) {
            match job.poll()? {
                None => still.push(job),
                Some(end) => {
                    let over = job.done(end);
                    say(&over, done.len() + 1, count);
                    done.push_back(over);
                }
            }
        }
        running = still;
        thread::sleep(POLL);
    }
    Ok(done.into())
}

fn say(done: &Done, number: usize, count: usize) {
    let word = match done.end {
        End::Passed => "ok",
        End::Failed => "FAILED",
        End::TookTooLong => "ENDED AFTER ITS LIMIT",
    };
    println!("{number:>4}/{count} {:>7.2} s  {word}  {}", done.time.as_secs_f64(), done.job.id);
    if done.end != End::Passed {
        println!("--- output of {}\n{}\n---", done.job.id, done.output(LINES_MAX));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::classes::Class;
    use super::*;

    #[test]
    fn what_comes_after_a_failure_runs_and_what_hangs_is_ended() {
        let logs = tempfile::tempdir().unwrap();
        let marker = logs.path().join("marker");
        let marker = marker.to_string_lossy();
        let job = |id: &str, turn, line: &[&str], limit_s| Job {
            id: id.to_owned(),
            turn,
            ..Job::background("x", line, Duration::from_secs(limit_s))
        };
        let alone = Turn::Test(Class::Alone);
        let jobs = vec![
            job("fails", Turn::Test(Class::Pure), &["sh", "-c", "echo the reason; exit 3"], 60),
            job("hangs", Turn::Test(Class::Waits), &["sh", "-c", "sleep 600 & wait"], 1),
            job("touches", alone, &["touch", &marker], 60),
        ];
        let done = run_all(jobs, logs.path(), None).unwrap();
        let ends: Vec<(&str, End)> = done.iter().map(|done| (done.job.id.as_str(), done.end)).collect();
        assert_eq!(ends, [("fails", End::Failed), ("hangs", End::TookTooLong), ("touches", End::Passed)]);
        assert!(done[0].output(9).contains("the reason") && std::path::Path::new(marker.as_ref()).exists());
    }
}
