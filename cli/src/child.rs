//! One of our own programs as a child: its output goes to a file, it is started again when it dies, and never outlives us.
//!
//! In: what to run. Out: a running process, or an error with the end of its log. Bounds: [`RESTARTS_MAX`] restarts in
//! [`RESTARTS_WITHIN`], each later than the one before; then the child is given up.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_settings::VARIABLE_PREFIX;

pub const RESTARTS_MAX: usize = 5;
pub const RESTARTS_WITHIN: Duration = Duration::from_secs(600);
const TAIL_LINES: usize = 12;
const TAIL_BYTES: usize = 8 * 1024;
const POLL: Duration = Duration::from_millis(20);
/// For a child that is dropped because something else failed.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// What to run.
pub struct Launch {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Settings; those of our own environment are not handed on, for each program refuses the keys of others.
    pub variables: Vec<(String, String)>,
    pub log: PathBuf,
}

pub struct Child {
    launch: Launch,
    process: Option<std::process::Child>,
    restarts: VecDeque<Instant>,
    restart_at: Option<Instant>,
}

/// What a look at a child found.
pub enum Seen {
    Running,
    /// It died and will be started again after this time.
    Died(String, Duration),
    Restarted,
}

impl Child {
    /// Starts it. Call it on a thread that lasts as long as the child may: the kernel stops a child when that thread ends.
    pub fn start(launch: Launch) -> Result<Child> {
        let mut child = Child { launch, process: None, restarts: VecDeque::new(), restart_at: None };
        child.spawn()?;
        Ok(child)
    }

    pub fn name(&self) -> &'static str {
        self.launch.name
    }

    /// None while it waits to be started again.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(std::process::Child::id)
    }

    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    /// Looks after it once, and starts it again when its time has come.
    ///
    /// # Errors
    /// If it died too often, with the end of its log.
    pub fn look_after(&mut self) -> Result<Seen> {
        if self.restart_at.is_some_and(|at| at <= Instant::now()) {
            self.restart_at = None;
            self.spawn()?;
            return Ok(Seen::Restarted);
        }
        let Some(status) = self.exited()? else { return Ok(Seen::Running) };
        let now = Instant::now();
        self.restarts.retain(|at| now.duration_since(*at) < RESTARTS_WITHIN);
        let told = self.obituary(status);
        if self.restarts.len() >= RESTARTS_MAX {
            bail!(
                "{told}\nIt died {} times in {} minutes and is given up.",
                RESTARTS_MAX + 1,
                RESTARTS_WITHIN.as_secs() / 60
            );
        }
        let pause = Duration::from_secs(1 << self.restarts.len());
        self.restarts.push_back(now);
        self.restart_at = Some(now + pause);
        Ok(Seen::Died(told, pause))
    }

    /// Fails if it has ended, with the end of its log: for a child that must not.
    pub fn require(&mut self) -> Result<()> {
        match self.exited()? {
            Some(status) => bail!("{}", self.obituary(status)),
            None => Ok(()),
        }
    }

    /// Asks it to stop; [`Child::wait`] sees it through.
    pub fn terminate(&mut self) {
        self.restart_at = None;
        if let Some(process) = &mut self.process
            && matches!(process.try_wait(), Ok(None))
        {
            // SAFETY: the process is not reaped yet, so the pid is still its own; kill has no other precondition.
            unsafe { libc::kill(process.id().cast_signed(), libc::SIGTERM) };
        }
    }

    /// Waits for the end of a child that was asked to stop, and kills it after `patience`. Returns whether it had to.
    pub fn wait(&mut self, patience: Duration) -> bool {
        let Some(mut process) = self.process.take() else { return false };
        let deadline = Instant::now() + patience;
        while matches!(process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Both fail only for a process that is gone already.
                let _ = process.kill();
                let _ = process.wait();
                return true;
            }
            thread::sleep(POLL);
        }
        false
    }

    fn spawn(&mut self) -> Result<()> {
        let Launch { name, program, args, variables, log } = &self.launch;
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("open the log {}", log.display()))?;
        let mut command = program_command(program, variables);
        command.args(args).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        self.process = Some(command.spawn().with_context(|| format!("start {name} ({})", program.display()))?);
        Ok(())
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.try_wait().with_context(|| format!("look after {}", self.launch.name))?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    fn obituary(&self, status: ExitStatus) -> String {
        let Launch { name, log, .. } = &self.launch;
        format!("{name} ended ({status}); the end of its log {}:\n{}", log.display(), tail(log))
    }
}

/// One of our programs, which is beside this one, as cargo and every package put them.
pub fn own_program(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("ask for the path of this program")?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not there: build it with `cargo build -p {package}`", path.display());
    }
    Ok(path)
}

/// Starts a program with these settings alone, in a group of its own; it ends with the thread that starts it.
pub fn program_command(program: &Path, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX)) {
        command.env_remove(variable);
    }
    // Its output is a file.
    command.env("NO_COLOR", "1");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // A group of its own: Ctrl-C reaches only us, and we stop the children in their order.
    command.process_group(0);
    let parent = std::process::id();
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(move || end_with_parent(parent)) };
    command
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
    if last.is_empty() { "    (empty)".to_owned() } else { format!("    {last}") }
}

fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: both take plain integers.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::getppid() != parent.cast_signed() {
            // The parent died before the line above took effect.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    Ok(())
}

impl Drop for Child {
    fn drop(&mut self) {
        self.terminate();
        self.wait(DROP_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str, folder: &Path) -> Child {
        Child::start(Launch {
            name: "test",
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            variables: vec![("HEADWATER_X".into(), "handed on".into())],
            log: folder.join("test.log"),
        })
        .unwrap()
    }

    fn until<T>(mut probe: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = probe() {
                return found;
            }
            assert!(Instant::now() < deadline, "it did not happen in time");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_child_that_dies_is_started_again_and_its_log_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo $HEADWATER_X; exit 3", folder.path());
        let (told, pause) = until(|| match child.look_after().unwrap() {
            Seen::Died(told, pause) => Some((told, pause)),
            _ => None,
        });
        assert!(told.contains("exit status: 3") && told.contains("handed on"), "{told}");
        assert_eq!(pause, Duration::from_secs(1));
        until(|| matches!(child.look_after().unwrap(), Seen::Restarted).then_some(()));
    }

    #[test]
    fn a_child_is_asked_first_and_killed_if_it_does_not_listen() {
        let folder = tempfile::tempdir().unwrap();
        let mut obeys = shell("exec sleep 60", folder.path());
        obeys.terminate();
        assert!(!obeys.wait(Duration::from_secs(10)));
        let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", folder.path());
        until(|| tail(deaf.log()).contains("ready").then_some(()));
        deaf.terminate();
        assert!(deaf.wait(Duration::from_millis(300)));
    }
}
