//! `oracle-chaos MINUTES SEED [FILE]`: the long chaos, what came out, and its figures in a file, one JSON object a line.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use headwater_system_tests::chaos::fleet::{Plan, run};
use headwater_system_tests::rolled::Rolled;

const USAGE: &str = "usage: oracle-chaos MINUTES SEED [FILE]";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || -> Result<u64> { arguments.next().context(USAGE)?.parse().context(USAGE) };
    let plan = Plan { minutes: number()?, seed: number()? };
    let report = run(plan)?;
    let verdict = &report.verdict;
    let minutes = |of: fn(&Rolled) -> usize| report.rolled.iter().map(of).sum::<usize>();
    let minutes_different = minutes(|rolled| rolled.missing + rolled.wrong + rolled.doubled);
    println!("faults: {:?}", report.by_victim);
    let quoted = report.rolled.iter().flat_map(|rolled| &rolled.quoted);
    verdict.quoted.iter().chain(quoted).for_each(|text| println!("{text}"));
    let mut lines = String::new();
    for (figure, value) in [
        ("chaos_faults", report.faults),
        ("chaos_windows", verdict.windows),
        ("chaos_windows_said", verdict.said),
        ("chaos_windows_different", verdict.different),
        ("chaos_windows_missing", verdict.missing),
        ("chaos_windows_revised", report.revised),
        ("chaos_ten_seconds_complete", report.complete),
        ("chaos_ten_seconds_wrong", report.wrong),
        ("chaos_minutes", minutes(|rolled| rolled.right)),
        ("chaos_minutes_different", minutes_different),
    ] {
        println!("{figure:<34} {value:>14}");
        writeln!(lines, "{}", serde_json::json!({ "figure": figure, "value": value, "unit": "count" }))?;
    }
    if let Some(file) = arguments.next() {
        std::fs::write(&file, lines).with_context(|| format!("write the figures to {file}"))?;
    }
    if verdict.different + verdict.missing + report.wrong + minutes_different > 0 {
        bail!(
            "not every window or minute is what its log says; `cargo xtask chaos --seed {}` does the same harm again",
            plan.seed
        );
    }
    Ok(())
}
