//! The child that computes, from its start to its end, and how far it is for the person who waits.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::{Child, tail};
use serde::Deserialize;

use super::Task;
use crate::child::Program;
use crate::up::stop_on_signals;

const PROCESSOR: &str = "headwater-processor";
const POLL: Duration = Duration::from_millis(100);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// A line of the child's standard output.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub from_us: i64,
    pub to_us: i64,
    pub window_ms: i64,
    /// An earlier run had left off in the middle.
    pub goes_on: bool,
    /// Raw records that were read.
    pub records: u64,
    closed_through_us: Option<i64>,
}

impl Status {
    pub fn windows(&self) -> i64 {
        (self.to_us - self.from_us) / (self.window_ms * 1000)
    }

    fn windows_done(&self) -> i64 {
        let through_us = self.closed_through_us.unwrap_or(i64::MIN);
        if through_us < self.from_us { 0 } else { (through_us - self.from_us) / (self.window_ms * 1000) + 1 }
    }
}

/// Returns what the child said last, once it has done all.
pub fn run(task: &Task<'_>) -> Result<Status> {
    let stop = stop_on_signals()?;
    let log = tempfile::NamedTempFile::new().context("make a file for the log of the processors")?;
    let mut args: Vec<OsString> = vec!["replay".into(), "--into".into(), (&task.args.into).into()];
    args.push(format!("--from-us={}", task.from_us).into());
    args.push(format!("--to-us={}", task.to_us).into());
    if let Some(config) = &task.args.processor_config {
        args.extend(["--config".into(), config.into()]);
    }
    let variables = task.variables.clone();
    let path = headwater_process::program(PROCESSOR)?;
    let program = Program { name: PROCESSOR, path, args, variables, log: log.path().to_owned() };
    let mut child = program.launch().piping_stdout().spawn()?;
    let lines = lines(child.take_stdout().context("the processors have no standard output")?)?;
    let last = follow(&lines, &stop);
    let status = end(&mut child, last.is_none() && stop.load(Ordering::Relaxed))?;
    if status.success()
        && let Some(last) = last
    {
        return Ok(last);
    }
    if stop.load(Ordering::Relaxed) {
        bail!("stopped before the end; the same command goes on from here");
    }
    let told = tail(log.path());
    // What it says at its end is for people; above it may be its log.
    match told.lines().rev().find_map(|line| line.trim().strip_prefix(&format!("{PROCESSOR}: "))) {
        Some(error) => bail!("{error}"),
        None => bail!("{PROCESSOR} ended ({status}); the end of its log:\n{told}"),
    }
}

/// Tells of progress until the child closes its output. None if the user stops.
fn follow(lines: &Receiver<String>, stop: &AtomicBool) -> Option<Status> {
    let (began, mut said_at) = (Instant::now(), Instant::now());
    let mut last: Option<Status> = None;
    while !stop.load(Ordering::Relaxed) {
        match lines.recv_timeout(POLL) {
            Ok(line) => last = serde_json::from_str(&line).ok().or(last),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return last,
        }
        if let Some(status) = &last
            && said_at.elapsed() >= PROGRESS_INTERVAL
        {
            said_at = Instant::now();
            let seconds = began.elapsed().as_secs_f64();
            let rate = status.records as f64 / seconds;
            let note = if status.goes_on { ", going on where an earlier run left off" } else { "" };
            let (done, all) = (status.windows_done(), status.windows());
            eprintln!("[{seconds:6.1} s] {done} of {all} windows, {} records read ({rate:.0}/s){note}", status.records);
        }
    }
    None
}

/// The child's lines, each as it comes. The thread ends with the child's output.
fn lines(output: ChildStdout) -> Result<Receiver<String>> {
    let (sender, receiver) = mpsc::sync_channel(100);
    std::thread::Builder::new()
        .name("progress".to_owned())
        .spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)))
        .context("start a thread for the progress")?;
    Ok(receiver)
}

fn end(child: &mut Child, ask: bool) -> Result<ExitStatus> {
    if ask {
        child.terminate();
    }
    Ok(child.join()?)
}
