//! Starts other programs, always in the root of the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

pub fn root() -> PathBuf {
    // The folder of this package is one below the root, and cargo fixes it when it compiles.
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this task, so that both use the same toolchain.
pub fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// This program's file. A build that the task itself starts may have put a newer one into its place meanwhile, so that the kernel calls the old one
/// deleted.
pub fn this_program() -> Result<PathBuf> {
    let path = env::current_exe().context("find the program of this task")?;
    Ok(without_deleted(path))
}

fn without_deleted(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => path,
    }
}

/// Runs to the end with its output shown; fails when it fails.
pub fn checked(line: &[&str]) -> Result<()> {
    let (program, arguments) = line.split_first().context("there is no command to run")?;
    let status = command(program).args(arguments).status().with_context(|| format!("run `{}`", line.join(" ")))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line.join(" "));
    }
    Ok(())
}

/// What it prints, when it ends well.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    output(program, arguments).is_some()
}

/// Looks through the PATH and the folders of Debian's system programs, which a user's PATH may lack.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_built_again_is_where_it_was() {
        let path = PathBuf::from("/home/target/debug/xtask");
        assert_eq!(without_deleted(PathBuf::from("/home/target/debug/xtask (deleted)")), path);
        assert_eq!(without_deleted(path.clone()), path);
    }
}
