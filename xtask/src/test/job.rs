//! Something to run: a test or a check, with its class, its limit and its log.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::classes::Class;
use crate::run;

/// Of what a test said when it gave up.
const WHY_LINES_MAX: usize = 6;
const WHY_CHARS_MAX: usize = 1000;

/// When a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Test(Class),
    /// A check of the sources that takes what tests leave of the machine.
    Background,
}

#[derive(Debug, Clone)]
pub struct Job {
    /// What the table calls it; tests of one package share one.
    pub step: String,
    pub id: String,
    pub turn: Turn,
    pub line: Vec<String>,
    pub folder: PathBuf,
    pub variables: Vec<(String, String)>,
    pub typical_s: u64,
    pub limit: Duration,
}

impl Job {
    /// A check of the sources beside the tests.
    pub fn background(step: &str, line: &[&str], limit: Duration) -> Self {
        Self {
            step: step.to_owned(),
            id: step.to_owned(),
            turn: Turn::Background,
            line: line.iter().map(|&word| word.to_owned()).collect(),
            folder: run::root(),
            variables: Vec::new(),
            typical_s: 0,
            limit,
        }
    }
}

/// A job under way.
pub struct Running {
    pub job: Job,
    pub log: PathBuf,
    child: Child,
    started: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Passed,
    Failed,
    /// It was ended after its limit.
    TookTooLong,
}

/// A job that is over.
pub struct Done {
    pub job: Job,
    pub log: PathBuf,
    pub end: End,
    pub time: Duration,
}

/// The niceness of what runs in the background: everything else goes first.
const BACKGROUND_NICE: libc::c_int = 19;

impl Running {
    pub fn start(job: Job, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{}.log", job.id.replace([':', '/', ' '], "_")));
        let file = File::create(&log).with_context(|| format!("write the log {}", log.display()))?;
        let mut command = Command::new(&job.line[0]);
        command.args(&job.line[1..]).current_dir(&job.folder).envs(job.variables.iter().cloned());
        command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file).process_group(0);
        let is_background = job.turn == Turn::Background;
        // SAFETY: prctl and nice are system calls that are safe between fork and exec, and take plain integers.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if is_background {
                    libc::nice(BACKGROUND_NICE);
                }
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("start {}", job.line.join(" ")))?;
        Ok(Self { job, log, child, started: Instant::now() })
    }

    /// None while it runs.
    pub fn poll(&mut self) -> Result<Option<End>> {
        if let Some(status) = self.child.try_wait().with_context(|| format!("wait for {}", self.job.id))? {
            return Ok(Some(if status.success() { End::Passed } else { End::Failed }));
        }
        if self.started.elapsed() < self.job.limit {
            return Ok(None);
        }
        self.kill();
        Ok(Some(End::TookTooLong))
    }

    /// Ends it with all that it started in its process group; what left the group dies with its parent.
    fn kill(&mut self) {
        // SAFETY: the child leads a process group of its own and was not waited for, so the number is still its own.
        unsafe { libc::kill(-self.child.id().cast_signed(), libc::SIGKILL) };
        let _ = self.child.wait();
    }

    pub fn done(self, end: End) -> Done {
        Done { time: self.started.elapsed(), job: self.job, log: self.log, end }
    }
}

impl Done {
    /// What it printed, as far as a person would read it.
    pub fn output(&self, lines_max: usize) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let cut = lines.len().saturating_sub(lines_max);
        let head = match cut {
            0 => String::new(),
            _ => format!("({cut} lines before are in {})\n{}", self.log.display(), why(&lines[..cut])),
        };
        format!("{head}{}", lines[cut..].join("\n"))
    }
}

/// What a test said when it gave up, of lines that are left out: the logs of its programs may be all that comes after it.
fn why(lines: &[&str]) -> String {
    let Some(at) = lines.iter().position(|line| line.contains("panicked at")) else { return String::new() };
    let said = lines[at..].iter().take_while(|line| !line.starts_with("stack backtrace")).take(WHY_LINES_MAX);
    said.map(|line| line.chars().take(WHY_CHARS_MAX).chain(['\n']).collect::<String>()).collect::<String>() + "...\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_said_when_it_gave_up_is_shown_before_the_last_lines() {
        let lines =
            ["running 1 test", "thread 'a' panicked at a.rs:1:", "left: 21", "right: 20", "stack backtrace:", "0: a"];
        assert_eq!(why(&lines), "thread 'a' panicked at a.rs:1:\nleft: 21\nright: 20\n...\n");
        assert_eq!(why(&lines[..1]), "");
    }
}
