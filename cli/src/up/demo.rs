//! The sample system, as a program of its own beside this one: `demo-shop up`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_process::{Child, tail};

use super::say::Say;
use crate::child::Program;

/// PostgreSQL makes a database cluster first.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// What the shop says of itself: where its processes are, and that all of them answer.
const CGROUP_LINE: &str = "cgroup:";
const LAST_LINE: &str = "Ctrl-C stops it.";

pub struct Demo {
    pub child: Child,
    program: PathBuf,
    dir: PathBuf,
}

impl Demo {
    /// Starts it in `dir`; [`Demo::wait_ready`] waits for it, so that other things can start meanwhile.
    pub fn start(program: &Path, dir: &Path, log: &Path) -> Result<Demo> {
        let shop = Program {
            name: "demo-shop",
            path: program.to_owned(),
            args: vec!["up".into(), "--dir".into(), dir.as_os_str().to_owned()],
            variables: Vec::new(),
            log: log.to_owned(),
        };
        let child = shop.launch().spawn()?;
        Ok(Demo { child, program: program.to_owned(), dir: dir.to_owned() })
    }

    /// Returns the cgroup of all its processes, or none if the user stops the start.
    pub fn wait_ready(&mut self, say: &Say, stop: &AtomicBool) -> Result<Option<PathBuf>> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut told = 0;
        while !stop.load(Ordering::Relaxed) {
            self.child.require()?;
            let log = fs::read_to_string(self.child.log()).unwrap_or_default();
            let steps: Vec<&str> = log.lines().filter(|line| line.starts_with("demo shop: ")).collect();
            steps[told..].iter().for_each(|step| say.step(step));
            told = steps.len();
            if log.lines().any(|line| line == LAST_LINE) {
                let cgroup = log.lines().find_map(|line| line.trim().strip_prefix(CGROUP_LINE)).map(str::trim);
                return match cgroup {
                    Some(cgroup) => Ok(Some(cgroup.into())),
                    None => bail!(
                        "the demo shop did not say which cgroup it is in; its log: {}",
                        self.child.log().display()
                    ),
                };
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
        Ok(None)
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
