//! Waits for Kafka and the registry, tells the person who waits, and explains why they do not come.

use std::path::Path;
use std::time::{Duration, Instant};

use headwater_process::{Child, Launch, ProcessError, User, end_of};

use crate::error::StackError;
use crate::progress::Progress;

/// A JVM in good order stops within two seconds; on a busy machine ten times that.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const SAY_EVERY: Duration = Duration::from_secs(5);
/// So much of a log's end tells why a JVM ended.
const LAST_WORDS_BYTES: u64 = 2500;

/// In its cgroup and as its user, whose folder its log is in.
pub fn placed(mut launch: Launch, cgroup: Option<&Path>, user: Option<User>) -> Launch {
    if let Some(cgroup) = cgroup {
        launch = launch.in_cgroup(cgroup);
    }
    match user {
        Some(user) => launch.as_user(user).logging_as(user),
        None => launch,
    }
}

/// Returns as soon as `is_ready` says so; fails when the process ends or the time is over.
pub fn await_ready(
    child: &mut Child,
    patience: Duration,
    progress: &Progress,
    is_ready: impl Fn() -> bool,
) -> Result<(), StackError> {
    let (name, began, mut say_at) = (child.name().to_owned(), Instant::now(), SAY_EVERY);
    let ready = child.await_ready(patience, || {
        if began.elapsed() > say_at {
            progress.say(format!("Still waiting for {name} ({} s)", say_at.as_secs()));
            say_at += SAY_EVERY;
        }
        is_ready().then_some(())
    });
    ready.map_err(explain)
}

/// For a tool that does one thing: returns when it has ended well.
pub fn await_success(child: &mut Child, patience: Duration) -> Result<(), StackError> {
    child.await_success(patience).map_err(explain)
}

/// Sees the end of a child that was asked to stop.
pub fn wait(child: &mut Child) {
    if child.wait(STOP_PATIENCE) {
        tracing::warn!("{} did not stop within {} s and was killed", child.name(), STOP_PATIENCE.as_secs());
    }
}

/// What a child's end means for the person who started the stack.
pub fn explain(error: ProcessError) -> StackError {
    match error {
        ProcessError::Ended { name, log, .. } if is_out_of_space(&log) => {
            let path = log.parent().unwrap_or(&log).to_path_buf();
            StackError::DiskFull { path, detail: format!("{name} could not write"), setting: "--data-dir" }
        }
        ProcessError::Ended { name, status, log, tail } => {
            StackError::Exited { name, status: status.to_string(), log, tail }
        }
        ProcessError::Late { name, waited, log, tail, .. } => {
            StackError::NotReady { name, waited_s: waited.as_secs(), log, tail }
        }
        ProcessError::Log { path, source } => StackError::io("opening the log", &path)(source),
        other => StackError::Process(other),
    }
}

fn is_out_of_space(log: &Path) -> bool {
    end_of(log, LAST_WORDS_BYTES).is_ok_and(|text| text.contains("No space left on device"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    /// Why a shell with this script is not ready.
    fn failure(name: &str, script: &str) -> StackError {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut child = Launch::new(name, command, folder.path().join("out")).spawn().unwrap();
        await_ready(&mut child, Duration::from_secs(10), &Progress::default(), || false).unwrap_err()
    }

    #[test]
    fn an_early_end_is_explained_with_the_log() {
        let error = failure("the broker", "echo the reason; exit 3").to_string();
        assert!(
            error.contains("the broker stopped") && error.contains("exit status: 3") && error.contains("the reason"),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_in_the_log_is_said_plainly() {
        let error = failure("Kafka", "echo java.io.IOException: No space left on device; exit 1");
        assert!(matches!(error, StackError::DiskFull { .. }), "{error}");
    }
}
