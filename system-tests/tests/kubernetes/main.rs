//! Names from a real Kubernetes: the agent runs on this machine with a token that the API server issued for the rights in
//! `k8s/base/agent-rights.yaml`, and looks at one node of a cluster of this test's own. Pods whose requests say by their path who made
//! them and who answered are the oracle.
//!
//! Needs root and what `cargo xtask cluster up` needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]

mod account;
mod churn;
mod cluster;
mod disturbances;
mod fleet;
mod ground;
mod proxy;
mod rights;
mod verdict;
