//! What `oracle-hot` got.

use std::collections::BTreeMap;

use anyhow::Result;
use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

/// Answers of one status, or of Redis with one code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    pub answers: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// By status (`404`) or code (`WRONGTYPE`, nothing if it is no error), and how long each took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub got: BTreeMap<String, Got>,
    pub latency_ns: Histogram,
}

impl Report {
    pub fn add(&mut self, other: &Report) -> Result<()> {
        for (status, other) in &other.got {
            let got = self.got.entry(status.clone()).or_default();
            got.answers += other.answers;
            got.request_bytes += other.request_bytes;
            got.response_bytes += other.response_bytes;
        }
        Ok(self.latency_ns.merge(&other.latency_ns)?)
    }
}
