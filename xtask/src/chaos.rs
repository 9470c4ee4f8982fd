//! `cargo xtask chaos`: set-up, a build, then the long chaos of system-tests.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::needs::Purpose;
use crate::run;
use crate::setup;

const PACKAGES: &[&str] = &["headwater-processors", "headwater-system-tests"];

#[derive(Args)]
#[group(skip)]
pub struct Chaos {
    /// How long harm is done
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    minutes: u64,
    /// Decides what is harmed when, and how
    #[arg(long, default_value_t = 2026)]
    seed: u64,
    /// Write one line of JSON for each figure to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

pub fn run(yes: bool, chaos: Chaos) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Stack], yes)?;
    let cargo = run::cargo();
    let mut line = vec![cargo.as_str(), "build", "--bins"];
    line.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    run::checked(&line)?;

    let program = run::root().join("target/debug/oracle-chaos").to_string_lossy().into_owned();
    let mut line = vec![program, chaos.minutes.to_string(), chaos.seed.to_string()];
    if let Some(file) = chaos.json {
        // The program runs in the root of the repository; the file is meant from where the person stands.
        let file = env::current_dir().context("find the current folder")?.join(file);
        line.push(file.to_string_lossy().into_owned());
    }
    run::checked(&line.iter().map(String::as_str).collect::<Vec<_>>())
}
