//! The oracle: loads of which every request is known, and the ground on which Headwater is held against them.
//!
//! [`plan`] says what is asked, [`client`] asks it over raw TCP and notes what happened, [`lab`] runs servers, client, agent,
//! processors, Kafka and registry as real processes, [`topics`] reads what came out. [`raw`] writes into the topics past the agent,
//! good records and bad ones, and [`program`] runs one of our programs to its end.

pub mod client;
pub mod lab;
pub mod plan;
pub mod program;
pub mod random;
pub mod raw;
pub mod topics;
