//! The processors as values, held against a generator that knows what happened: without Kafka, in thousands of interleavings.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]
#![allow(clippy::unwrap_used)]

mod all_clients;
mod backtest;
mod bottlenecks;
mod clocks;
mod dead_service;
mod drift;
mod drive;
mod join;
mod late;
mod logs;
mod merge;
mod nodes;
mod snapshots;
mod sums;
mod traffic;
mod vouched;
mod world;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, unless PROPTEST_CASES asks for more. Worlds are made from a seed, so there is not much to shrink.
fn config(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: asked.unwrap_or(cases), max_shrink_iters: 300, failure_persistence: None, ..Config::default() }
}

/// The same worlds each time: what chance gives in one of hundreds would otherwise fail a run now and then.
fn the_same(cases: u32) -> Config {
    Config { rng_seed: RngSeed::Fixed(2026), ..config(cases) }
}
