//! The oracle: loads of which every request is known, and the ground on which Headwater is held against them.
//!
//! [`plan`] says what is asked, [`client`] asks it over raw TCP and notes what happened, [`lab`] runs servers, client, agent,
//! processors, Kafka and registry as real processes, [`topics`] reads what came out.

pub mod client;
pub mod fill;
pub mod lab;
pub mod plan;
pub mod random;
pub mod topics;
