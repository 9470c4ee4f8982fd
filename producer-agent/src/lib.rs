//! The agent: captures what one node's sockets do and publishes it. `pipeline.rs` is the place to start reading.

mod budget;
mod by_workload;
pub mod clock;
mod deliveries;
mod heartbeat;
mod held;
pub mod ledger;
mod libraries;
mod losses;
mod memory;
pub mod metrics;
pub mod naming;
pub mod observe;
mod pace;
pub mod pipeline;
mod probe_time;
mod publish;
mod rate;
mod schedule;
pub mod settings;
