//! The stream processors of Headwater.

pub mod backtest;
pub mod bottlenecks;
pub mod drift;
pub mod join;
mod judges;
mod markers;
pub mod merge;
pub mod metrics;
mod missing;
pub mod modes;
pub mod objectives;
mod plausible;
pub mod processor;
pub mod replay;
pub mod revisions;
pub mod rollups;
pub mod runtime;
pub mod settings;
mod sums;
mod touched;
pub mod windows;
