//! A running program that this process started.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use crate::error::ProcessError;
use crate::log::tail;
use crate::wait::wait_for;

/// For a child that is dropped and asked to stop.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// How a child is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// Asks it to stop.
    pub signal: libc::c_int,
    /// Whether it is asked, too, when nobody stops it.
    pub is_soft: bool,
}

/// It ends when this is dropped, and when this process dies, by SIGKILL or as [`Launch::ending_softly`](crate::Launch::ending_softly)
/// says.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
    ending: Ending,
}

impl Child {
    pub(crate) fn new(name: String, process: std::process::Child, log: PathBuf, ending: Ending) -> Child {
        Child { name, process, log, ending }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its own until this is dropped.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The file that messages quote.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that stands in the log; empty if it cannot be read.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Once, if it is piped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// Once, if it is piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// The first line of its piped output, without the end of the line; blocks until it comes.
    ///
    /// # Errors
    /// If it closes its output before.
    pub fn first_line(&mut self) -> Result<String, ProcessError> {
        let mut line = String::new();
        if let Some(output) = self.process.stdout.as_mut() {
            let reading = ProcessError::io(format!("read what {} says", self.name));
            // It says one line and then waits, so nothing behind it is lost with the buffer.
            BufReader::new(output).read_line(&mut line).map_err(reading)?;
        }
        match line.trim_end() {
            "" => {
                self.require()?;
                Err(self.late("has said nothing, and has closed its output", Duration::ZERO))
            }
            line => Ok(line.to_owned()),
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.process.try_wait().map_err(ProcessError::io(format!("ask whether {} has ended", self.name)))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.ended(), Ok(None))
    }

    /// Fails if it has ended, with the end of its log: for a child that must not.
    pub fn require(&mut self) -> Result<(), ProcessError> {
        match self.ended()? {
            Some(status) => Err(self.obituary(status)),
            None => Ok(()),
        }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// If it ends before, or has not answered after `patience`; with the end of its log.
    pub fn await_ready<T>(
        &mut self,
        patience: Duration,
        mut probe: impl FnMut() -> Option<T>,
    ) -> Result<T, ProcessError> {
        let answer = wait_for(patience, || match self.require() {
            Err(error) => Some(Err(error)),
            Ok(()) => probe().map(Ok),
        });
        answer.unwrap_or_else(|| Err(self.late("is not ready", patience)))
    }

    /// For a program that does one thing: returns when it has ended well.
    pub fn await_success(&mut self, patience: Duration) -> Result<(), ProcessError> {
        match self.await_end(patience)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.obituary(status)),
            None => Err(self.late("has not ended", patience)),
        }
    }

    /// How it ended; none if it still runs after `patience`.
    pub fn await_end(&mut self, patience: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        wait_for(patience, || self.ended().transpose()).transpose()
    }

    /// Waits for its end, however long that takes.
    pub fn join(&mut self) -> Result<ExitStatus, ProcessError> {
        self.process.wait().map_err(ProcessError::io(format!("wait for the end of {}", self.name)))
    }

    /// Asks it to stop; [`Child::wait`] sees it through. Apart, so that several can stop at the same time.
    pub fn terminate(&mut self) {
        if self.is_running() {
            // SAFETY: the process is not reaped yet, so the pid is still its own; kill has no other precondition.
            unsafe { libc::kill(self.process.id().cast_signed(), self.ending.signal) };
        }
    }

    /// Waits for the end of a child that was asked to stop, and kills it after `patience`. Returns whether it had to.
    pub fn wait(&mut self, patience: Duration) -> bool {
        if wait_for(patience, || (!self.is_running()).then_some(())).is_some() {
            return false;
        }
        self.kill();
        true
    }

    /// Asks it to stop, and kills it after `patience`. Returns whether it had to.
    pub fn stop(&mut self, patience: Duration) -> bool {
        self.terminate();
        self.wait(patience)
    }

    /// Ends it by SIGKILL; when this returns, it is gone.
    pub fn kill(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn obituary(&self, status: ExitStatus) -> ProcessError {
        ProcessError::Ended { name: self.name.clone(), status, log: self.log.clone(), tail: tail(&self.log) }
    }

    fn late(&self, has_not: &'static str, waited: Duration) -> ProcessError {
        let (name, log) = (self.name.clone(), self.log.clone());
        ProcessError::Late { name, has_not, waited, tail: tail(&log), log }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ending.is_soft {
            self.stop(DROP_PATIENCE);
        } else {
            self.kill();
        }
    }
}
