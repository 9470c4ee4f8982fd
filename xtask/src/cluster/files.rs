//! Writes files and runs small commands, with errors that name them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// For what may hold a key or a token: readable by root alone. Makes the folders above it.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make the folder {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), make_folder)
}

/// What a command prints; when it fails, the error has what it complained about.
pub fn output_of(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {line}"))?;
    if !output.status.success() {
        bail!("{line} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same with an input, which the command may leave unread.
pub fn output_with_input(command: &mut Command, input: Stdio) -> Result<String> {
    let line = format!("{command:?}");
    let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = child.and_then(|child| child.wait_with_output()).with_context(|| format!("run {line}"))?;
    if !output.status.success() {
        bail!("{line} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs one line of words; words are separated by single spaces and hold none.
pub fn words(line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    output_of(Command::new(program).args(words))
}

/// The SHA-256 sum of a file in hexadecimal digits, by coreutils: this crate is compiled before all others.
pub fn sha256(path: &Path) -> Result<String> {
    let text = output_of(Command::new("sha256sum").arg(path))?;
    text.split_whitespace()
        .next()
        .map(|sum| sum.trim_start_matches('\\').to_owned())
        .context("sha256sum printed nothing")
}
