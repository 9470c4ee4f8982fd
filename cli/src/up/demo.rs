//! The sample system, as a program of its own beside this one: `demo-shop up`.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_process::{Cgroup, Child, tail};
use headwater_stack::{Credentials, Services};
use serde_json::json;

use super::place::Place;
use super::say::Say;
use crate::child::Program;

/// PostgreSQL makes a database cluster first.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// What the shop says of itself, and that all of it answers.
const LINE: &str = "demo shop: ";
/// Of the cgroup's name, as the shop calls its own.
const CGROUP_PREFIX: &str = "headwater-demo-";
const LAST_LINE: &str = "Ctrl-C stops it.";

/// The order of the fields is that in which they are given back: the cgroup is empty then.
pub struct Demo {
    pub child: Child,
    /// Until it may begin.
    hold: Option<ChildStdin>,
    cgroup: Cgroup,
    program: PathBuf,
    dir: PathBuf,
    /// Lines of its log that were told.
    told: usize,
    log_bytes: u64,
}

/// As the shop reads it. Only what was started here is given to it: nobody else's Kafka gets topics of a sample.
fn broker(services: &Services) -> Option<String> {
    let Credentials { user, password } = services.kafka_closed_to()?;
    Some(json!({ "address": services.bootstrap(), "user": user, "password": password }).to_string())
}

impl Demo {
    /// Starts its databases in a cgroup of its own, which takes root, unlike all that it does; other things can start meanwhile. What uses
    /// them starts with [`Demo::begin`], so that the agent sees each connection from its first byte on. `programs` is the folder that a
    /// person knows.
    pub fn start(programs: &Path, place: &Place) -> Result<Demo> {
        let (cgroup, dir) = (Cgroup::create(CGROUP_PREFIX)?, place.shop_folder()?);
        let shop = Program {
            name: "demo-shop",
            path: place.program("demo-shop"),
            args: vec![
                "up".into(),
                "--stay-in-cgroup".into(),
                "--hold".into(),
                "--dir".into(),
                dir.as_os_str().to_owned(),
            ],
            variables: Vec::new(),
            log: place.log_dir.join("demo-shop.log"),
        };
        let mut child = place.shop()(shop.launch()).in_cgroup(cgroup.path()).piping_stdin().spawn()?;
        let hold = child.take_stdin();
        Ok(Demo { child, hold, cgroup, program: programs.join("demo-shop"), dir, told: 0, log_bytes: 0 })
    }

    /// Holds all its processes.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Lets all of it begin, with a broker if one was started here. Returns when it is ready; false if the user stops the start.
    pub fn begin(&mut self, services: &Services, say: &Say, stop: &AtomicBool) -> Result<bool> {
        if let Some(mut hold) = self.hold.take() {
            let line = broker(services).unwrap_or_default();
            writeln!(hold, "{line}").context("telling the demo shop that it may begin")?;
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while !stop.load(Ordering::Relaxed) {
            self.child.require()?;
            self.news().iter().for_each(|line| say.step(line));
            let log = fs::read_to_string(self.child.log()).unwrap_or_default();
            if log.lines().any(|line| line == LAST_LINE) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                let log = self.child.log();
                bail!(
                    "the demo shop was not ready after {START_TIMEOUT:?}; the end of its log {}:\n{}",
                    log.display(),
                    tail(log)
                );
            }
            thread::sleep(POLL);
        }
        Ok(false)
    }

    /// Asks it to stop, also if it has not begun.
    pub fn terminate(&mut self) {
        self.child.terminate();
        self.hold = None;
    }

    /// What it said since the last call: what starts, and which of its parts ended and was started again.
    pub fn news(&mut self) -> Vec<String> {
        let bytes = fs::metadata(self.child.log()).map_or(0, |log| log.len());
        if bytes == self.log_bytes {
            return Vec::new();
        }
        self.log_bytes = bytes;
        let log = fs::read_to_string(self.child.log()).unwrap_or_default();
        let lines = log.split_inclusive('\n').filter(|line| line.starts_with(LINE) && line.ends_with('\n'));
        let news: Vec<String> = lines.skip(self.told).map(|line| line.trim_end().to_owned()).collect();
        self.told += news.len();
        news
    }

    /// The command that makes payments slow and wrong.
    pub fn fault_command(&self) -> Vec<OsString> {
        self.command(&["shop-payments", "--latency-ms", "300", "--error-rate", "0.5"])
    }

    /// The command that ends that.
    pub fn clear_command(&self) -> Vec<OsString> {
        self.command(&["shop-payments", "--clear"])
    }

    fn command(&self, words: &[&str]) -> Vec<OsString> {
        let mut command = vec![self.program.clone().into_os_string(), "fault".into()];
        command.extend(words.iter().map(OsString::from));
        command.extend(["--dir".into(), self.dir.clone().into_os_string()]);
        command
    }
}
