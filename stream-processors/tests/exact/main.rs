//! The processors as values, held against a generator that knows what happened: without Kafka, in thousands of interleavings.
#![allow(clippy::unwrap_used)]

mod bottlenecks;
mod drive;
mod join;
mod logs;
mod merge;
mod nodes;
mod random;
mod traffic;
mod world;

use proptest::test_runner::Config;

/// So many cases, unless PROPTEST_CASES asks for more. Worlds are made from a seed, so there is not much to shrink.
fn config(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: asked.unwrap_or(cases), max_shrink_iters: 300, failure_persistence: None, ..Config::default() }
}
