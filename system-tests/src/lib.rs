//! The oracle: loads of which every request is known, and the ground on which Headwater is held against them.
//!
//! [`plan`] says what is asked, [`client`] asks it over raw TCP and notes what happened ([`asked`] what was asked of a server with a protocol of its own, [`http2`] what is asked in streams, [`hot`] what is asked as fast as can be, [`hostile`] what costs most to follow), [`rounds`] lets real clients ask while the agent comes and goes, [`lab`] runs servers, client, agent,
//! processors, Kafka and registry as real processes, [`dashboards`] reads what is asked of Prometheus, [`nat`] puts a router between some of them, [`chaos`] kills them, [`batch`] computes the log at once, [`topics`]
//! and [`http`] read what came out, [`windows`] holds it against what happened, [`rolled`] minutes against windows. [`raw`], [`fill`] and [`fleet`] write into the topics past the agent, good
//! records and bad ones, and [`program`] runs one of our programs to its end. [`odd`] plays conversations that are
//! legal and odd.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]

pub mod asked;
pub mod batch;
pub mod chaos;
pub mod client;
pub mod dashboards;
pub mod fill;
pub mod fleet;
pub mod hostile;
pub mod hot;
pub mod http;
pub mod http2;
pub mod lab;
pub mod nat;
pub mod newest;
pub mod odd;
pub mod plan;
pub mod program;
pub mod raw;
pub mod rolled;
pub mod rounds;
pub mod topics;
pub mod vouch;
pub mod windows;
