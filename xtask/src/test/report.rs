//! What a run prints at its end: where the time went, the slowest tests, and everything that failed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::job::{Done, End, Turn};

const SLOWEST: usize = 10;
/// Of each failed job, in the list at the end; as it fails, more is shown.
const LINES_MAX: usize = 15;

/// A step that is no test, such as the build.
pub struct Stage {
    pub name: &'static str,
    pub time: Duration,
    pub is_good: bool,
}

pub struct Report {
    pub stages: Vec<Stage>,
    pub done: Vec<Done>,
    /// From the start of the run to its end.
    pub total: Duration,
    /// Tests that only `--all` runs.
    pub left_out: Vec<String>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.stages.iter().all(|stage| stage.is_good) && self.done.iter().all(|done| done.end == End::Passed)
    }

    pub fn text(&self) -> String {
        let mut text = self.table();
        let mut tests: Vec<&Done> = self.tests().collect();
        tests.sort_by_key(|done| std::cmp::Reverse(done.time));
        text.push_str("\nThe slowest tests:\n");
        for done in tests.iter().take(SLOWEST) {
            let _ = writeln!(text, "  {:>7.1} s  {}", done.time.as_secs_f64(), done.job.id);
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "\nLeft out, `cargo xtask test --all` runs them: {}", self.left_out.join(", "));
        }
        let failed: Vec<&Done> = self.done.iter().filter(|done| done.end != End::Passed).collect();
        if !failed.is_empty() || self.stages.iter().any(|stage| !stage.is_good) {
            text.push_str("\nFAILED:\n");
        }
        for stage in self.stages.iter().filter(|stage| !stage.is_good) {
            let _ = writeln!(text, "  {}", stage.name);
        }
        for done in failed {
            let why = if done.end == End::TookTooLong { ", ended after its limit" } else { "" };
            let _ = writeln!(text, "  {}{why}; its output is in {}", done.job.id, done.log.display());
            done.output(LINES_MAX).lines().for_each(|line| {
                let _ = writeln!(text, "    {line}");
            });
        }
        let (passed, failed): (Vec<&Done>, Vec<&Done>) = self.tests().partition(|done| done.end == End::Passed);
        let checks = self.stages.len() + self.done.len() - passed.len() - failed.len();
        let bad_checks = self.stages.iter().filter(|stage| !stage.is_good).count()
            + self.done.iter().filter(|done| done.job.turn == Turn::Background && done.end != End::Passed).count();
        let _ = write!(
            text,
            "\n{checks} checks, {bad_checks} of them failed; tests:\n{} passed, {} failed",
            passed.len(),
            failed.len()
        );
        text
    }

    fn tests(&self) -> impl Iterator<Item = &Done> {
        self.done.iter().filter(|done| done.job.turn != Turn::Background)
    }

    /// One line a step. Tests run side by side, so the sums of their times are more than the whole.
    fn table(&self) -> String {
        let mut sums: BTreeMap<&str, (usize, usize, Duration)> = BTreeMap::new();
        for done in &self.done {
            let (all, failed, time) = sums.entry(&done.job.step).or_default();
            *all += 1;
            *failed += usize::from(done.end != End::Passed);
            *time += done.time;
        }
        let names = self.stages.iter().map(|stage| stage.name).chain(sums.keys().copied());
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        let mut line = |name: &str, time: Duration, word: &str| {
            let _ = writeln!(text, "{name:width$}  {:>8.1} s  {word}", time.as_secs_f64());
        };
        for stage in &self.stages {
            line(stage.name, stage.time, if stage.is_good { "passed" } else { "FAILED" });
        }
        for (name, (all, failed, time)) in sums {
            let word = match (all, failed) {
                (1, 0) => "passed".to_owned(),
                (1, _) => "FAILED".to_owned(),
                (all, 0) => format!("{all} passed"),
                (all, failed) => format!("{} passed, {failed} FAILED", all - failed),
            };
            line(name, time, &word);
        }
        line("all", self.total, "by the clock; what ran side by side is counted apart above");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::classes::Class;
    use super::super::job::Job;
    use super::*;

    fn done(id: &str, turn: Turn, end: End, seconds: u64) -> Done {
        let job = Job { id: id.into(), turn, ..Job::background("tests of x", &["x"], Duration::ZERO) };
        Done { job, log: "/nowhere".into(), end, time: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_failed_is_named_at_the_end_beside_what_was_left_out() {
        let test = Turn::Test(Class::Pure);
        let mut report = Report {
            stages: vec![Stage { name: "build", time: Duration::from_secs(7), is_good: true }],
            done: vec![done("x::good", test, End::Passed, 1), done("x::bad", test, End::Failed, 61)],
            total: Duration::from_secs(60),
            left_out: vec!["x::long".into()],
        };
        assert!(!report.is_good());
        let text = report.text();
        for part in [
            "build            7.0 s  passed\n",
            "tests of x      62.0 s  1 passed, 1 FAILED\n",
            "FAILED:\n  x::bad;",
            "Left out, `cargo xtask test --all` runs them: x::long",
            "     61.0 s  x::bad\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(text.ends_with("\n1 passed, 1 failed"), "{text}");

        report.done.remove(1);
        assert!(report.is_good() && !report.text().contains("FAILED"));
        report.done.push(done("lints", Turn::Background, End::TookTooLong, 1));
        assert!(!report.is_good() && report.text().contains("  lints, ended after its limit"));
    }
}
