//! `cargo xtask bench [PART]`: set-up, a release build, then the benchmarks of load-tests/bench.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::needs::Purpose;
use crate::run;
use crate::setup;

const PACKAGES: &[&str] = &["headwater-agent", "headwater-processors", "headwater-bench"];

pub fn run(yes: bool, part: Option<String>, json: Option<PathBuf>) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Capture, Purpose::Stack, Purpose::Demo, Purpose::Bench], yes)?;
    println!("Building for release");
    let cargo = run::cargo();
    let mut line = vec![cargo.as_str(), "build", "--release", "--bins"];
    line.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    run::checked(&line)?;

    let program = run::root().join("target/release/headwater-bench").to_string_lossy().into_owned();
    let mut line = vec![program];
    line.extend(part);
    if let Some(file) = json {
        // The program runs in the root of the repository; the file is meant from where the person stands.
        let file = env::current_dir().context("find the current folder")?.join(file);
        line.extend(["--json".to_owned(), file.to_string_lossy().into_owned()]);
    }
    run::checked(&line.iter().map(String::as_str).collect::<Vec<_>>())
}
