//! Starts and ends the programs that a cluster consists of.
//!
//! Each part is a small script in the folder `parts` of the cluster's state, so that a person can read how it was
//! started and the same can be started again. Its process joins the cluster's cgroup before it becomes the program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cgroups;
use super::files;
use super::plan::Plan;

const STOP_WAIT: Duration = Duration::from_secs(30);
const LOG_LINES_SHOWN: usize = 15;

pub struct Part {
    pub name: String,
    /// In the version 2 hierarchy.
    pub cgroup: PathBuf,
    /// The process whose namespaces it enters, and nsenter's words for which ones.
    pub within: Option<(u32, &'static [&'static str])>,
    pub line: Vec<String>,
}

pub fn start(plan: &Plan, part: &Part) -> Result<u32> {
    let mut line = Vec::new();
    if let Some((pid, namespaces)) = part.within {
        line.extend(["nsenter".to_owned(), "--target".to_owned(), pid.to_string()]);
        line.extend(namespaces.iter().map(|&word| word.to_owned()));
        line.push("--".to_owned());
    }
    line.extend(part.line.iter().cloned());
    let quoted: Vec<String> = line.iter().map(|word| quote(word)).collect();
    let script = format!(
        "# Starts {} again, as `cargo xtask cluster up` did.\necho $$ > {}/cgroup.procs\nexec {}\n",
        part.name,
        part.cgroup.display(),
        quoted.join(" \\\n  ")
    );
    files::write(&script_of(plan, &part.name), &script)?;
    run_script(plan, &part.name)
}

pub fn start_again(plan: &Plan, name: &str) -> Result<()> {
    known(plan, name)?;
    if is_running(plan, name) {
        bail!("{name} is running");
    }
    run_script(plan, name).map(drop)
}

/// Asks it to end, and ends it when it does not.
pub fn stop(plan: &Plan, name: &str) -> Result<()> {
    known(plan, name)?;
    let pid = pid_of(plan, name).with_context(|| format!("the process id of {name} is not recorded"))?;
    let deadline = Instant::now() + STOP_WAIT;
    // What is asked here is whether the process is in the cluster's own cgroup, so no other process can be hit.
    while is_running(plan, name) {
        let signal = if Instant::now() > deadline { "-KILL" } else { "-TERM" };
        let _ = Command::new("kill").arg(signal).arg(pid.to_string()).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits for a condition; fails early when one of the parts that it depends on has ended.
pub fn wait_for(plan: &Plan, what: &str, parts: &[&str], limit: Duration, is_met: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !is_met() {
        if let Some(ended) = parts.iter().find(|part| !is_running(plan, part)) {
            bail!("{ended} ended while {what} was awaited; the end of its log {}", log_end(plan, ended));
        }
        if Instant::now() > deadline {
            let logs: Vec<String> = parts.iter().map(|part| log_end(plan, part)).collect();
            bail!("{what}: not within {} s; the end of the log {}", limit.as_secs(), logs.join("\nand of "));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

pub fn is_running(plan: &Plan, name: &str) -> bool {
    let (Some(pid), Ok(script)) = (pid_of(plan, name), fs::read_to_string(script_of(plan, name))) else { return false };
    let cgroup = script.lines().find_map(|line| line.strip_prefix("echo $$ > "));
    cgroup.and_then(|file| Path::new(file).parent()).is_some_and(|folder| cgroups::holds(folder, pid))
}

pub fn pid_of(plan: &Plan, name: &str) -> Option<u32> {
    fs::read_to_string(plan.state().join("parts").join(format!("{name}.pid"))).ok()?.trim().parse().ok()
}

fn run_script(plan: &Plan, name: &str) -> Result<u32> {
    let log_path = plan.state().join("log").join(name);
    files::make_folder(&plan.state().join("log"))?;
    let log = File::options().create(true).append(true).open(&log_path);
    let log = log.with_context(|| format!("open {}", log_path.display()))?;
    let mut command = Command::new("setsid");
    command.arg("sh").arg(script_of(plan, name)).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("start {name}"))?;
    // setsid, sh and nsenter all become the next program in place, so this stays the id of the part.
    let pid = child.id();
    files::write(&plan.state().join("parts").join(format!("{name}.pid")), &pid.to_string())?;
    let script = script_of(plan, name);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_running(plan, name) {
        if Instant::now() > deadline {
            bail!("{name} did not start by {}; its log: {}", script.display(), log_end(plan, name));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(pid)
}

fn known(plan: &Plan, name: &str) -> Result<()> {
    if script_of(plan, name).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(plan.state().join("parts")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".sh")?.to_owned())).collect();
    names.sort();
    bail!("there is no part {name:?}; the parts are: {}", names.join(", "))
}

fn script_of(plan: &Plan, name: &str) -> PathBuf {
    plan.state().join("parts").join(format!("{name}.sh"))
}

fn log_end(plan: &Plan, name: &str) -> String {
    let path = plan.state().join("log").join(name);
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("{}:\n{}", path.display(), lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"))
}

/// For the shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_sees_every_word_as_it_is() {
        let word = "a'b $HOME \\ \"c\"";
        let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output();
        assert_eq!(output.map(|output| output.stdout).ok(), Some(word.as_bytes().to_vec()));
    }
}
