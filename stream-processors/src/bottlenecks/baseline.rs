//! The own past of an edge or operation, and whether a window leaves it.
//!
//! In: what was observed, window by window. Out: deviations. The past is the last [`HISTORY_WINDOWS`] windows: latencies are summed
//! up by medians, which a few bad windows do not move, errors are so rare that they are added up. A window deviates if it is
//! worse by an amount that matters and by more than chance gives: so many requests fail, or are slower than the limit, that it
//! is hardly to be had from the usual share. What a window misses is taken as good. All depends on these windows alone, so that
//! it can be built again from the log.

use std::collections::VecDeque;

use super::window::Observation;
use crate::windows::Windows;

/// How many windows are the past.
pub const HISTORY_WINDOWS: i64 = 60;

const HISTORY_REQUESTS_MIN: i64 = 5;
const HISTORY_SAMPLES_MIN: usize = 3;
const JUDGED_REQUESTS_MIN: i64 = 10;
const ERRORS_MIN: i64 = 3;
const ERROR_SHARE_MIN: f64 = 0.05;
const LATENCY_FACTOR_MIN: f64 = 2.0;
const LATENCY_RISE_US_MIN: f64 = 5_000.0;
/// Fewer connections that fail are nobody's trouble.
const CONNECT_SHARE_MIN: f64 = 0.2;
/// An edge that carried requests in fewer of the past's windows may rest.
const STEADY_SAMPLES_MIN: usize = HISTORY_WINDOWS as usize * 5 / 6;
/// Of all windows since its first one, the share in which such an edge carried requests.
const STEADY_SHARE_MIN: f64 = 0.9;
/// More requests than this share are never slower than the usual p95, and fewer are slower than the limit.
const SLOW_SHARE: f64 = 0.05;
/// How improbable what is seen must be by chance, as a natural logarithm: to begin a bad time, and to go on with it.
const SURPRISE_TO_BEGIN: f64 = 10.0;
const SURPRISE_TO_GO_ON: f64 = 3.0;
/// Standard deviations that are still usual.
const USUAL_DEVIATIONS: f64 = 4.0;
/// Of a normal distribution, the standard deviation in median absolute deviations.
const DEVIATION_OF_MAD: f64 = 1.4826;

/// In which way something leaves its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviating {
    Errors,
    Latency,
    /// Connections that fail.
    Connects,
    /// Requests that do not come any more.
    Traffic,
}

/// How many kinds there are.
pub const KINDS: usize = 4;

impl Deviating {
    pub const ALL: [Deviating; KINDS] =
        [Deviating::Errors, Deviating::Latency, Deviating::Connects, Deviating::Traffic];

    /// The alert's `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Deviating::Errors => "error_rate",
            Deviating::Latency => "latency_p95",
            Deviating::Connects => "failed_connects",
            Deviating::Traffic => "traffic_stopped",
        }
    }
}

/// What is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    requests: i64,
    error_share: f64,
    /// The share of errors that the past allows for, which is not 0 only because none was seen.
    error_chance: f64,
    p95_us: f64,
    /// Standard deviation of the logarithm of the p95.
    p95_spread: f64,
    connect_share: f64,
    /// The chance that a connection fails: each request that was served is one more that did not.
    connect_chance: f64,
    /// Whether it carries requests all the time.
    is_steady: bool,
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
    /// Usual requests of a window, if they come all the time.
    pub fn steady_requests(&self) -> Option<f64> {
        self.is_steady.then_some(self.requests as f64)
    }

    /// How the requests of a window compare, given the share of what its client usually has to do. None if this tells nothing. What is
    /// surprising is that none comes, where so many are expected (Poisson).
    fn read_traffic(&self, observation: &Observation, client_share: Option<f64>) -> Option<Reading> {
        let (value, baseline) = (observation.requests as f64, self.requests as f64);
        let deviates = observation.requests == 0;
        if deviates && (!self.is_steady || baseline * client_share? < SURPRISE_TO_BEGIN) {
            return None;
        }
        Some(Reading { value, baseline, threshold: 1.0, deviates })
    }

    /// How the connections of a window compare; none if nobody made any, nor used one.
    fn read_connects(&self, observation: &Observation, enough: f64) -> Option<Reading> {
        let Observation { opened, failed, requests, .. } = *observation;
        let tried = opened.saturating_add(failed);
        if tried == 0 && requests == 0 {
            return None;
        }
        let (value, baseline) = (failed as f64 / tried.max(1) as f64, self.connect_share);
        let threshold = CONNECT_SHARE_MIN.max(3.0 * baseline + 0.02);
        let deviates =
            failed >= ERRORS_MIN && value > threshold && surprise(failed, tried, self.connect_chance) >= enough;
        Some(Reading { value, baseline, threshold, deviates })
    }

    /// How a window compares; none if it tells nothing. In bad times less is needed for them to go on. `client_share` is the share of its
    /// usual work that the client has, if that is known.
    pub fn read(
        &self,
        kind: Deviating,
        observation: &Observation,
        client_share: Option<f64>,
        in_incident: bool,
    ) -> Option<Reading> {
        let enough = if in_incident { SURPRISE_TO_GO_ON } else { SURPRISE_TO_BEGIN };
        let has_enough = observation.requests >= JUDGED_REQUESTS_MIN;
        match kind {
            Deviating::Errors => has_enough.then(|| self.read_errors(observation, enough)),
            Deviating::Latency => has_enough.then(|| self.read_latency(observation, enough)),
            Deviating::Connects => self.read_connects(observation, enough),
            Deviating::Traffic => self.read_traffic(observation, client_share),
        }
    }

    fn read_errors(&self, observation: &Observation, enough: f64) -> Reading {
        let requests = self.with_missing(observation);
        let baseline = self.error_share;
        let threshold = ERROR_SHARE_MIN.max(3.0 * baseline + 0.02);
        let errors = observation.errors;
        let deviates = errors >= ERRORS_MIN
            && errors as f64 > threshold * requests as f64
            && surprise(errors, requests, self.error_chance) >= enough;
        Reading { value: observation.error_share(), baseline, threshold, deviates }
    }

    fn read_latency(&self, observation: &Observation, enough: f64) -> Reading {
        let baseline = self.p95_us;
        let factor = LATENCY_FACTOR_MIN.max((USUAL_DEVIATIONS * self.p95_spread).exp());
        let threshold = (baseline * factor).max(baseline + LATENCY_RISE_US_MIN);
        let slow = surprising_count(self.with_missing(observation), SLOW_SHARE, enough);
        let deviates = slow <= observation.requests && observation.slowest_us(slow) > threshold;
        Reading { value: observation.p95_us(), baseline, threshold, deviates }
    }

    /// The requests of a window, with what is missing: that may be just those that are fast and succeed.
    fn with_missing(&self, observation: &Observation) -> i64 {
        let missing = if observation.incomplete { (self.requests - observation.requests).max(0) } else { 0 };
        observation.requests + missing
    }
}

/// How surprising it is that `count` of `all` have what one has with this chance: at least the negative logarithm of the
/// probability of so many or more (Chernoff's bound). 0 if it is no more than usual.
fn surprise(count: i64, all: i64, chance: f64) -> f64 {
    let share = count as f64 / all as f64;
    if share <= chance {
        return 0.0;
    }
    let rest = if share < 1.0 { (1.0 - share) * ((1.0 - share) / (1.0 - chance)).ln() } else { 0.0 };
    all as f64 * (share * (share / chance).ln() + rest)
}

/// The least count that is surprising enough; more than all if none is.
fn surprising_count(all: i64, chance: f64, enough: f64) -> i64 {
    let (mut too_few, mut enough_of) = (0, all + 1);
    while enough_of - too_few > 1 {
        let middle = too_few + (enough_of - too_few) / 2;
        if surprise(middle, all, chance) >= enough { enough_of = middle } else { too_few = middle }
    }
    enough_of
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
    requests: i64,
    errors: i64,
    opened: u32,
    failed: u32,
    incomplete: bool,
}

impl History {
    pub fn learn(&mut self, window_us: i64, observation: &Observation) {
        if observation.requests >= HISTORY_REQUESTS_MIN {
            let ln_p95 = observation.p95_us().max(1.0).ln();
            let Observation { requests, errors, incomplete, .. } = *observation;
            let [opened, failed] =
                [observation.opened, observation.failed].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            self.samples.push_back(Sample { window_us, ln_p95, requests, errors, opened, failed, incomplete });
        }
    }

    /// Forgets windows before this one. Says whether anything is left.
    pub fn forget(&mut self, before_us: i64) -> bool {
        while self.samples.front().is_some_and(|sample| sample.window_us < before_us) {
            self.samples.pop_front();
        }
        !self.samples.is_empty()
    }

    /// What is usual; none as long as too little is known. Windows of which something is missing are asked only where there are no
    /// others: the part that is there may be an unusual one.
    pub fn baseline(&self, windows: Windows) -> Option<Baseline> {
        let complete = self.samples.iter().filter(|sample| !sample.incomplete).count();
        let all = complete < HISTORY_SAMPLES_MIN;
        if all && self.samples.len() < HISTORY_SAMPLES_MIN {
            return None;
        }
        let samples = || self.samples.iter().filter(|sample| all || !sample.incomplete);
        let middle = median(samples().map(|sample| sample.ln_p95));
        let spread = median(samples().map(|sample| (sample.ln_p95 - middle).abs()));
        let requests = samples().fold(0i64, |sum, sample| sum.saturating_add(sample.requests)) as f64;
        let errors = samples().fold(0i64, |sum, sample| sum.saturating_add(sample.errors)) as f64;
        let sum = |count: fn(&Sample) -> u32| samples().map(|sample| f64::from(count(sample))).sum::<f64>();
        let (opened, failed) = (sum(|sample| sample.opened), sum(|sample| sample.failed));
        Some(Baseline {
            connect_share: failed / (opened + failed).max(1.0),
            connect_chance: (failed + 1.0) / (opened + failed + requests + 2.0),
            is_steady: self.is_steady(windows),
            requests: median(samples().map(|sample| sample.requests as f64)) as i64,
            error_share: errors / requests.max(1.0),
            error_chance: (errors + 1.0) / (requests + 2.0),
            p95_us: middle.exp(),
            p95_spread: spread * DEVIATION_OF_MAD,
        })
    }
}

impl History {
    /// Whether it carried requests in nearly all windows from its first one to its last one, which are enough to tell.
    fn is_steady(&self, windows: Windows) -> bool {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return false };
        let span = (last.window_us - first.window_us) / windows.length_us() + 1;
        let count = self.samples.len();
        count >= STEADY_SAMPLES_MIN && count as f64 >= STEADY_SHARE_MIN * span as f64
    }
}

/// The middle value, the lower one of two; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
