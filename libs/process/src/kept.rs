//! A child that is started again when it dies.
//!
//! Bounds: [`RESTARTS_MAX`] restarts in [`RESTARTS_WITHIN`], each later than the one before; then the child is given up.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::child::Child;
use crate::error::ProcessError;
use crate::launch::Launch;

/// A child that dies once more is given up.
pub const RESTARTS_MAX: usize = 5;
/// Restarts longer ago do not count.
pub const RESTARTS_WITHIN: Duration = Duration::from_secs(600);

/// It ends when this is dropped, as its [`Launch`] says.
pub struct Kept {
    name: String,
    log: PathBuf,
    launch: Box<dyn Fn() -> Launch + Send>,
    child: Option<Child>,
    restarts: VecDeque<Instant>,
    restart_at: Option<Instant>,
}

/// What a look at a child found.
#[derive(Debug)]
pub enum Seen {
    /// Nothing new: it runs, or waits to be started again.
    Running,
    /// It died, and will be started again after this time.
    Died(ProcessError, Duration),
    /// It has just been started again.
    Restarted,
}

impl Kept {
    /// Starts what `launch` says, which is asked again for each start.
    pub fn start(launch: impl Fn() -> Launch + Send + 'static) -> Result<Kept, ProcessError> {
        let child = launch().spawn()?;
        Ok(Kept {
            name: child.name().to_owned(),
            log: child.log().to_owned(),
            launch: Box::new(launch),
            child: Some(child),
            restarts: VecDeque::new(),
            restart_at: None,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// None while it waits to be started again.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// The file that messages quote.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Looks after it once, and starts it again when its time has come.
    ///
    /// # Errors
    /// If it died too often, with the end of its log.
    pub fn look_after(&mut self) -> Result<Seen, ProcessError> {
        if self.restart_at.is_some_and(|at| at <= Instant::now()) {
            self.restart_at = None;
            self.child = Some((self.launch)().spawn()?);
            return Ok(Seen::Restarted);
        }
        let Some((child, status)) = self.take_ended()? else { return Ok(Seen::Running) };
        let now = Instant::now();
        self.restarts.retain(|at| now.duration_since(*at) < RESTARTS_WITHIN);
        let told = child.obituary(status);
        if self.restarts.len() >= RESTARTS_MAX {
            let minutes = RESTARTS_WITHIN.as_secs() / 60;
            return Err(ProcessError::GivenUp { last: Box::new(told), times: RESTARTS_MAX + 1, minutes });
        }
        let pause = Duration::from_secs(1 << self.restarts.len());
        self.restarts.push_back(now);
        self.restart_at = Some(now + pause);
        Ok(Seen::Died(told, pause))
    }

    /// Fails if it has ended, with the end of its log: for a child that must not.
    pub fn require(&mut self) -> Result<(), ProcessError> {
        match self.take_ended()? {
            Some((child, status)) => Err(child.obituary(status)),
            None => Ok(()),
        }
    }

    /// Asks it to stop, and starts it no more; [`Kept::wait`] sees it through.
    pub fn terminate(&mut self) {
        self.restart_at = None;
        if let Some(child) = &mut self.child {
            child.terminate();
        }
    }

    /// Waits for the end of a child that was asked to stop, and kills it after `patience`. Returns whether it had to.
    pub fn wait(&mut self, patience: Duration) -> bool {
        self.child.take().is_some_and(|mut child| child.wait(patience))
    }

    fn take_ended(&mut self) -> Result<Option<(Child, ExitStatus)>, ProcessError> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.ended()? else { return Ok(None) };
        Ok(self.child.take().map(|child| (child, status)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;
    use crate::wait::wait_for;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &'static str, folder: &Path) -> Kept {
        let log = folder.join("test.log");
        Kept::start(move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            Launch::new("test", command, &log)
        })
        .unwrap()
    }

    #[test]
    fn a_child_that_dies_is_started_again_and_its_log_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo the reason; exit 3", folder.path());
        let died = |child: &mut Kept| match child.look_after().unwrap() {
            Seen::Died(told, pause) => Some((told.to_string(), pause)),
            _ => None,
        };
        let (told, pause) = wait_for(PATIENCE, || died(&mut child)).unwrap();
        assert!(told.contains("exit status: 3") && told.contains("the reason"), "{told}");
        assert_eq!((pause, child.pid()), (Duration::from_secs(1), None));
        wait_for(PATIENCE, || matches!(child.look_after().unwrap(), Seen::Restarted).then_some(())).unwrap();
        // Later than the first time.
        let (_, pause) = wait_for(PATIENCE, || died(&mut child)).unwrap();
        assert_eq!(pause, Duration::from_secs(2));
    }

    #[test]
    fn a_child_that_dies_too_often_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("exit 3", folder.path());
        child.restarts = std::iter::repeat_n(Instant::now(), RESTARTS_MAX).collect();
        let told = wait_for(PATIENCE, || child.look_after().err()).unwrap().to_string();
        assert!(
            told.contains("exit status: 3") && told.contains("died 6 times in 10 minutes and is given up"),
            "{told}"
        );
        // Old restarts do not count.
        let mut child = shell("exit 3", folder.path());
        let Some(long_ago) = Instant::now().checked_sub(RESTARTS_WITHIN) else { return };
        child.restarts = std::iter::repeat_n(long_ago, RESTARTS_MAX).collect();
        wait_for(PATIENCE, || matches!(child.look_after().unwrap(), Seen::Died(..)).then_some(())).unwrap();
    }

    #[test]
    fn a_child_that_was_stopped_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("exec sleep 60", folder.path());
        child.terminate();
        assert!(!child.wait(PATIENCE));
        assert!(matches!(child.look_after().unwrap(), Seen::Running) && child.pid().is_none());
    }
}
