//! Our own programs as a user runs them: until they end, with what they said.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_process::{program, wait_for};

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// One of our programs, without the settings of whoever runs the test.
pub fn ours(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    std::env::vars().filter(|(name, _)| name.starts_with("HEADWATER_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    Ok(command)
}

/// Runs a command to its end.
///
/// # Errors
/// If it does not end in time; it is killed then, and what it said is told.
pub fn run(command: &mut Command, patience: Duration) -> Result<Ended> {
    // Files take any amount, where a full pipe would stop the program.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let Some(status) = wait_for(patience, || child.try_wait().transpose()).transpose()? else {
        child.kill()?;
        child.wait()?;
        bail!("{command:?} did not end in {patience:?}; it said:\n{}", text(&mut stderr)?);
    };
    Ok(Ended { code: status.code(), stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
