//! Sums over several windows, from which rates, shares and percentiles are taken.
//!
//! Sums are added, histograms are merged, and only then divided: the mean of percentiles is no percentile.

use headwater_histogram::Histogram;
use serde::Serialize;

use super::share;

/// Requests of something over some time.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    pub requests: i64,
    pub errors: i64,
    pub duration_ns: Histogram,
    pub server_duration_ns: Histogram,
}

/// The same, in the form that people read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    pub requests: i64,
    pub errors: i64,
    pub requests_per_s: f64,
    /// From 0 to 1.
    pub error_share: f64,
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    /// As the server saw it; what is between this and `p50_us` is the network and both queues.
    pub server_p50_us: f64,
    pub server_p95_us: f64,
}

impl Sums {
    pub fn add(&mut self, requests: i64, errors: i64, duration_ns: &Histogram, server_duration_ns: &Histogram) {
        self.requests = self.requests.saturating_add(requests);
        self.errors = self.errors.saturating_add(errors);
        // A histogram of another scale cannot be added; its requests still count, and the percentiles stay those of the rest.
        let _ = self.duration_ns.merge(duration_ns);
        let _ = self.server_duration_ns.merge(server_duration_ns);
    }

    pub fn summary(&self, covered_s: f64) -> Summary {
        let us = |histogram: &Histogram, q: f64| histogram.quantile(q) / 1e3;
        Summary {
            requests: self.requests,
            errors: self.errors,
            requests_per_s: if covered_s > 0.0 { self.requests as f64 / covered_s } else { 0.0 },
            error_share: share(self.errors, self.requests),
            p50_us: us(&self.duration_ns, 0.50),
            p95_us: us(&self.duration_ns, 0.95),
            p99_us: us(&self.duration_ns, 0.99),
            server_p50_us: us(&self.server_duration_ns, 0.50),
            server_p95_us: us(&self.server_duration_ns, 0.95),
        }
    }
}
