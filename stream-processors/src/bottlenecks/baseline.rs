//! The own past of an edge or operation, and whether a window leaves it.
//!
//! In: what was observed, window by window. Out: deviations. The past is the last [`HISTORY_WINDOWS`] windows, summed up by medians,
//! which a few bad windows do not move. It depends on these windows alone, so that it can be built again from the log.

use std::collections::VecDeque;

use super::window::Observation;

/// How many windows are the past.
pub const HISTORY_WINDOWS: i64 = 60;

const HISTORY_REQUESTS_MIN: i64 = 5;
const HISTORY_SAMPLES_MIN: usize = 3;
const JUDGED_REQUESTS_MIN: i64 = 10;
const ERRORS_MIN: i64 = 3;
const ERROR_SHARE_MIN: f64 = 0.05;
const LATENCY_FACTOR_MIN: f64 = 2.0;
const LATENCY_RISE_US_MIN: f64 = 5_000.0;
/// Standard deviations that are still usual.
const USUAL_DEVIATIONS: f64 = 4.0;
/// Of a normal distribution, the standard deviation in median absolute deviations.
const DEVIATION_OF_MAD: f64 = 1.4826;

/// In which way something leaves its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviating {
    Errors,
    Latency,
}

impl Deviating {
    pub const ALL: [Deviating; 2] = [Deviating::Errors, Deviating::Latency];

    /// The alert's `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Deviating::Errors => "error_rate",
            Deviating::Latency => "latency_p95",
        }
    }
}

/// What is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    error_share: f64,
    p95_us: f64,
    /// Standard deviation of the logarithm of the p95.
    p95_spread: f64,
}

/// One window against what is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub value: f64,
    pub baseline: f64,
    pub threshold: f64,
    pub deviates: bool,
}

impl Baseline {
    /// How a window compares; none if it has too few requests to tell.
    pub fn read(&self, kind: Deviating, observation: &Observation) -> Option<Reading> {
        if observation.requests < JUDGED_REQUESTS_MIN {
            return None;
        }
        Some(match kind {
            Deviating::Errors => {
                let (value, baseline) = (observation.error_share(), self.error_share);
                let threshold = ERROR_SHARE_MIN.max(3.0 * baseline + 0.02);
                let deviates = value > threshold && observation.errors >= ERRORS_MIN;
                Reading { value, baseline, threshold, deviates }
            }
            Deviating::Latency => {
                let (value, baseline) = (observation.p95_us(), self.p95_us);
                let factor = LATENCY_FACTOR_MIN.max((USUAL_DEVIATIONS * self.p95_spread).exp());
                let threshold = (baseline * factor).max(baseline + LATENCY_RISE_US_MIN);
                Reading { value, baseline, threshold, deviates: value > threshold }
            }
        })
    }
}

/// The past of one subject.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    window_us: i64,
    ln_p95: f64,
    error_share: f64,
}

impl History {
    pub fn learn(&mut self, window_us: i64, observation: &Observation) {
        if observation.requests >= HISTORY_REQUESTS_MIN {
            let ln_p95 = observation.p95_us().max(1.0).ln();
            self.samples.push_back(Sample { window_us, ln_p95, error_share: observation.error_share() });
        }
    }

    /// Forgets windows before this one. Says whether anything is left.
    pub fn forget(&mut self, before_us: i64) -> bool {
        while self.samples.front().is_some_and(|sample| sample.window_us < before_us) {
            self.samples.pop_front();
        }
        !self.samples.is_empty()
    }

    /// What is usual; none as long as too little is known.
    pub fn baseline(&self) -> Option<Baseline> {
        if self.samples.len() < HISTORY_SAMPLES_MIN {
            return None;
        }
        let middle = median(self.samples.iter().map(|sample| sample.ln_p95));
        let spread = median(self.samples.iter().map(|sample| (sample.ln_p95 - middle).abs()));
        Some(Baseline {
            error_share: median(self.samples.iter().map(|sample| sample.error_share)),
            p95_us: middle.exp(),
            p95_spread: spread * DEVIATION_OF_MAD,
        })
    }
}

/// The middle value, the lower one of two; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
