//! Runs named steps one after the other, stops at the first that fails, and ends with a table of all.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

pub struct Step {
    pub name: String,
    pub line: Vec<String>,
    /// In CI a step that hangs is ended after this time.
    pub limit_minutes: u32,
}

impl Step {
    pub fn new(name: &str, limit_minutes: u32, line: &[&str]) -> Self {
        Self { name: name.to_owned(), line: line.iter().map(|&word| word.to_owned()).collect(), limit_minutes }
    }

    fn command(&self, is_ci: bool) -> Command {
        // At a terminal Ctrl-C must reach the step, which `timeout` moves out of the foreground.
        let limit = format!("{}m", self.limit_minutes);
        let mut words: Vec<&str> = if is_ci { vec!["timeout", "--kill-after=30s", &limit] } else { Vec::new() };
        words.extend(self.line.iter().map(String::as_str));
        let mut command = run::command(words[0]);
        command.args(&words[1..]);
        command
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed(Duration),
    Failed(Duration),
    NotRun,
}

pub fn run_all(steps: &[Step]) -> Result<()> {
    let mut outcomes = vec![Outcome::NotRun; steps.len()];
    for (number, step) in steps.iter().enumerate() {
        println!("\n=== {}/{} {}: {}", number + 1, steps.len(), step.name, step.line.join(" "));
        let start = Instant::now();
        let status = step.command(run::is_ci()).status().with_context(|| format!("run the step {:?}", step.name))?;
        let elapsed = start.elapsed();
        outcomes[number] = if status.success() { Outcome::Passed(elapsed) } else { Outcome::Failed(elapsed) };
        if !status.success() {
            println!("\n{}", table(steps, &outcomes));
            let after = if status.code() == Some(124) {
                format!(" after its {} minutes", step.limit_minutes)
            } else {
                String::new()
            };
            bail!("the step {:?} failed{after}: {status}; repeat it with `{}`", step.name, step.line.join(" "));
        }
    }
    println!("\n{}", table(steps, &outcomes));
    Ok(())
}

fn table(steps: &[Step], outcomes: &[Outcome]) -> String {
    let width = steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut total = Duration::ZERO;
    for (step, outcome) in steps.iter().zip(outcomes) {
        let (seconds, word) = match outcome {
            Outcome::Passed(time) => (Some(time), "passed"),
            Outcome::Failed(time) => (Some(time), "FAILED"),
            Outcome::NotRun => (None, "not run"),
        };
        total += seconds.copied().unwrap_or_default();
        let seconds = seconds.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        lines.push(format!("{:width$}  {seconds:>8} s  {word}", step.name));
    }
    lines.push(format!("{:width$}  {:>8.1} s", "all", total.as_secs_f64()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_passed_failed_and_never_ran() {
        let steps = [Step::new("format", 1, &["a"]), Step::new("lints", 1, &["b"]), Step::new("unit tests", 1, &["c"])];
        let seconds = Duration::from_secs;
        let text = table(&steps, &[Outcome::Passed(seconds(2)), Outcome::Failed(seconds(61)), Outcome::NotRun]);
        let expected = "format           2.0 s  passed\nlints           61.0 s  FAILED\nunit tests         - s  not run\nall             63.0 s";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_limit_holds_where_nobody_watches() {
        let step = Step::new("lints", 7, &["cargo", "clippy"]);
        assert_eq!(step.command(true).get_program(), "timeout");
        assert_eq!(step.command(false).get_program(), "cargo");
    }

    #[test]
    fn the_first_failure_stops_the_rest() {
        let marker = std::env::temp_dir().join(format!("headwater-xtask-{}", std::process::id()));
        let steps = [Step::new("fails", 1, &["false"]), Step::new("touches", 1, &["touch", &marker.to_string_lossy()])];
        assert!(run_all(&steps).is_err());
        assert!(!marker.exists());
    }
}
