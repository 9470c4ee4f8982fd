//! Child processes that never outlive this one.
//!
//! In: a command. Out: a [`ChildProcess`] that can be ended softly or at once. Promises: it is in a process group of
//! its own, so that Ctrl-C in a terminal reaches only us and we stop things in order; the kernel kills it when this
//! process dies, even by SIGKILL; dropping it kills it; a signal never goes to a process that took over its pid.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::StackError;
use crate::progress::Progress;

const POLL: Duration = Duration::from_millis(25);
/// A JVM in good order stops within two seconds; on a busy machine ten times that.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const TAIL_BYTES: u64 = 2500;

#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts `command` with its output appended to `output`; `log` is the file to quote when it fails.
    pub fn spawn(name: &str, mut command: Command, output: &Path, log: &Path) -> Result<Self, StackError> {
        let opening = || StackError::io("opening the log", output);
        let file = File::options().create(true).append(true).open(output).map_err(opening())?;
        let errors = file.try_clone().map_err(opening())?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        die_with_parent(&mut command);
        let doing = format!("starting {name}");
        let child = spawn_on_lasting_thread(command).map_err(|source| StackError::Io { doing, source })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the process to stop; [`ChildProcess::wait`] sees it through. Apart, so that several can stop together.
    pub fn terminate(&mut self) {
        if self.is_running() {
            // SAFETY: the process is not reaped yet, so the pid is still its own; kill has no other precondition.
            unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        }
    }

    /// Waits for the end of a process that was asked to stop, and kills it when it takes too long.
    pub fn wait(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running() {
            if Instant::now() > deadline {
                tracing::warn!("{} did not stop within {} s and is killed", self.name, STOP_TIMEOUT.as_secs());
                return self.kill();
            }
            thread::sleep(POLL);
        }
    }

    /// Ends the process by SIGKILL; when this returns, it is gone.
    pub fn kill(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns as soon as `is_ready` says so; fails when the process ends or the time is over.
    pub fn await_ready(
        &mut self,
        timeout: Duration,
        progress: &Progress,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<(), StackError> {
        let start = Instant::now();
        let mut next_line = Duration::from_secs(5);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.explain_exit(status));
            }
            if is_ready() {
                return Ok(());
            }
            if start.elapsed() > timeout {
                return Err(self.explain_delay(timeout));
            }
            if start.elapsed() > next_line {
                progress.say(format!("Still waiting for {} ({} s)", self.name, next_line.as_secs()));
                next_line += Duration::from_secs(5);
            }
            thread::sleep(POLL);
        }
    }

    /// For a tool that does one thing: returns when it has ended well.
    pub fn await_success(&mut self, timeout: Duration) -> Result<(), StackError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.explain_exit(status)),
                _ if Instant::now() > deadline => return Err(self.explain_delay(timeout)),
                _ => thread::sleep(POLL),
            }
        }
    }

    fn explain_delay(&self, timeout: Duration) -> StackError {
        let (name, log) = (self.name.clone(), self.log.clone());
        StackError::NotReady { name, waited_s: timeout.as_secs(), tail: tail_of(&log), log }
    }

    fn explain_exit(&self, status: ExitStatus) -> StackError {
        let tail = tail_of(&self.log);
        if tail.contains("No space left on device") {
            let path = self.log.parent().unwrap_or(&self.log).to_path_buf();
            return StackError::DiskFull {
                path,
                detail: format!("{} could not write", self.name),
                setting: "--data-dir",
            };
        }
        let status = match status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => status.to_string(),
        };
        StackError::Exited { name: self.name.clone(), status, log: self.log.clone(), tail }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The kernel sends the death signal when the *thread* that forked ends, so that must not be a test's or a task's
/// thread, which may end long before the process: one thread, kept for ever, forks all children.
fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // The caller waits for the answer, so it can only be gone together with the process.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn die_with_parent(command: &mut Command) {
    let parent = std::process::id().cast_signed();
    let arrange = move || {
        // SAFETY: prctl, getppid and _exit are safe between fork and exec, and PR_SET_PDEATHSIG takes a signal number.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // A parent that died before the line above sends no signal any more.
            if libc::getppid() != parent {
                libc::_exit(1);
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

/// The last lines of a log, for an error message.
fn tail_of(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sleeper(folder: &Path) -> ChildProcess {
        let mut command = Command::new("sleep");
        command.arg("60");
        ChildProcess::spawn("sleep", command, &folder.join("out"), &folder.join("out")).unwrap()
    }

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it_and_ends_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        let mut child = thread::spawn(move || sleeper(&path)).join().unwrap();
        // The thread is joined, so a death signal tied to it would be on its way; give it the time to arrive.
        thread::sleep(Duration::from_millis(100));
        assert!(child.is_running());
        let pid = child.pid();
        drop(child);
        assert!(!exists(pid));
    }

    #[test]
    fn a_soft_stop_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = sleeper(folder.path());
        child.terminate();
        child.wait();
        assert!(!child.is_running() && !exists(child.pid()));
    }

    #[test]
    fn an_early_end_is_explained_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("out");
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut child = ChildProcess::spawn("the broker", command, &log, &log).unwrap();
        let error = child.await_ready(Duration::from_secs(10), &Progress::default(), || false).unwrap_err().to_string();
        assert!(
            error.contains("the broker stopped") && error.contains("exit status: 3") && error.contains("the reason"),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_in_the_log_is_said_plainly() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("out");
        let mut command = Command::new("sh");
        command.args(["-c", "echo java.io.IOException: No space left on device; exit 1"]);
        let mut child = ChildProcess::spawn("Kafka", command, &log, &log).unwrap();
        let error = child.await_ready(Duration::from_secs(10), &Progress::default(), || false).unwrap_err();
        assert!(matches!(error, StackError::DiskFull { .. }), "{error}");
    }

    /// Not a test of its own: what the next test runs in another process, and kills.
    #[test]
    fn an_owner_that_waits_to_be_killed() {
        let Some(folder) = std::env::var_os("HEADWATER_TEST_OWNER_FOLDER").map(PathBuf::from) else { return };
        let child = sleeper(&folder);
        std::fs::write(folder.join("pid.partial"), child.pid().to_string()).unwrap();
        std::fs::rename(folder.join("pid.partial"), folder.join("pid")).unwrap();
        thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_child_dies_with_an_owner_that_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::tests::an_owner_that_waits_to_be_killed"])
            .env("HEADWATER_TEST_OWNER_FOLDER", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let file = folder.path().join("pid");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !file.exists() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let pid: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
        };
        assert!(is_alive());
        owner.kill().unwrap();
        owner.wait().unwrap();
        while is_alive() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        assert!(!is_alive());
    }
}
