//! What is usual of an edge or operation, and how surprising it is to see something else.
//!
//! In: what was observed in good windows. Out: the usual shares of errors and failed connections, and the limits that a share of the requests
//! is not slower than. The past is some minutes of [`MINUTE_WINDOWS`] windows each. The last of them are left out where there are enough before
//! them, so that what begins slowly does not count as usual while it is looked for. All depends on these windows alone, so that it can be built
//! again from the log.

use std::collections::VecDeque;

use super::shape::{Logarithms, Shape};
use super::unanswered::{Asked, Size};
use super::window::Observation;
use crate::windows::Windows;

/// Windows that are summed up as one: a minute of windows of ten seconds.
pub const MINUTE_WINDOWS: i64 = 6;
/// How many minutes are the past.
const HISTORY_MINUTES: i64 = 15;
/// How many windows are the past.
pub const HISTORY_WINDOWS: i64 = HISTORY_MINUTES * MINUTE_WINDOWS;
/// Minutes that are left out where as many are before them: as many as are looked at at once.
const RECENT_MINUTES: i64 = 5;

/// Less is no past.
const HISTORY_WINDOWS_MIN: u32 = 3;
const HISTORY_REQUESTS_MIN: u64 = 15;
/// A window with fewer requests says little of whether they come all the time.
const STEADY_REQUESTS_MIN: i64 = 5;
/// An edge that carried requests in fewer of the past's windows may rest.
const STEADY_WINDOWS_MIN: u32 = 50;
/// Of all windows since its first one, the share in which such an edge carried requests.
const STEADY_SHARE_MIN: f64 = 0.9;

/// Of a normal distribution, the standard deviation in median absolute deviations.
const DEVIATION_OF_MAD: f64 = 1.4826;
/// Standard deviations from minute to minute that are still usual.
const USUAL_DEVIATIONS: f64 = 4.0;
/// Requests above the quantile of which a minute has to have some to say how it varies.
const SPREAD_REQUESTS_MIN: f64 = 10.0;
/// All may be slower by this for a time, as where a job runs beside or much is to be done.
const USUAL_FACTOR: f64 = 1.5;
/// However much they vary, this is not usual.
const FACTOR_MAX: f64 = 4.0;
/// Of a single request, what counts of how much longer it takes.
const ONE_FACTOR_MAX: f64 = 16.0;

/// Which latency is looked at: the shares of requests that it is not exceeded by, the least factor by which it rises before anybody
/// is told, and the least rise. The median is judged by the mean of all requests, which chance moves least, so its factor is just above
/// [`USUAL_FACTOR`].
pub const QUANTILES: [Quantile; 3] = [
    Quantile { share: 0.5, factor_min: 1.6, rise_us_min: 300.0 },
    Quantile { share: 0.95, factor_min: 1.7, rise_us_min: 1_000.0 },
    Quantile { share: 0.99, factor_min: 2.0, rise_us_min: 2_000.0 },
];

#[derive(Debug, Clone, Copy)]
pub struct Quantile {
    pub share: f64,
    factor_min: f64,
    rise_us_min: f64,
}

/// What is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// Requests of a window.
    pub requests: i64,
    /// Requests of the past: so many tell what is usual.
    pub known: f64,
    pub error_share: f64,
    /// The share of errors that the past allows for, which is not 0 only because none was seen.
    pub error_chance: f64,
    pub connect_share: f64,
    /// The chance that a connection fails: each request that was served is one more that did not.
    pub connect_chance: f64,
    /// Segments that are sent again, for each request and one of these, and what the past allows for.
    pub retransmit_share: f64,
    pub retransmit_chance: f64,
    pub size: Size,
    pub logarithms: Logarithms,
    /// Of each of [`QUANTILES`].
    pub latency: [Level; QUANTILES.len()],
    /// Whether it carries requests all the time.
    is_steady: bool,
}

/// One quantile of the latency.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Level {
    pub us: f64,
    pub limit_us: f64,
    /// The share of requests that the past allows to be slower than the limit.
    pub chance: f64,
}

impl Baseline {
    /// Usual requests of a window, if they come all the time.
    pub fn steady_requests(&self) -> Option<f64> {
        self.is_steady.then_some(self.requests as f64)
    }

    /// The requests of a window, with what is missing: that may be just those that are fast and succeed.
    pub fn with_missing(&self, observation: &Observation) -> i64 {
        let missing = if observation.incomplete { (self.requests - observation.requests).max(0) } else { 0 };
        observation.requests + missing
    }
}

impl Baseline {
    /// By how much the median's logarithm may rise.
    pub fn shift_limit(&self) -> f64 {
        let Level { us, limit_us, .. } = self.latency[0];
        (limit_us / us.max(1.0)).ln()
    }

    /// By how much the logarithm of one request may be above the usual mean: one that takes very long says nothing of all.
    fn most_of_one(&self) -> f64 {
        (2.0 * self.shift_limit()).max(ONE_FACTOR_MAX.ln())
    }

    /// The sum of the logarithms of the times of a window, and of how many, with those that are missing as usual ones.
    pub fn with_missing_logarithms(&self, observation: &Observation) -> (f64, i64) {
        let (sum, count) = observation.sum_of_logarithms(self.logarithms.mean + self.most_of_one());
        let missing = self.with_missing(observation) - observation.requests;
        (sum + missing as f64 * self.logarithms.mean, count.saturating_add(missing))
    }
}

/// How surprising it is that `count` of `all` have what one has with this chance, which is known from so many: at least the negative logarithm of the
/// probability of so many or more (Chernoff's bound), with the chance between both that makes them likeliest. 0 if it is no more than usual.
pub fn surprise(count: i64, all: i64, chance: f64, known: f64) -> f64 {
    let (all, known) = (all.max(1) as f64, known.max(1.0));
    let share = count as f64 / all;
    if share <= chance {
        return 0.0;
    }
    let of_both = (count as f64 + known * chance) / (all + known);
    all * divergence(share, of_both) + known * divergence(chance, of_both)
}

/// Of a share from another one (Kullback and Leibler).
fn divergence(share: f64, from: f64) -> f64 {
    let of = |share: f64, from: f64| if share > 0.0 { share * (share / from).ln() } else { 0.0 };
    of(share, from) + of(1.0 - share, 1.0 - from)
}

/// The past of one subject.
#[derive(Debug, Default)]
pub struct History {
    minutes: VecDeque<Minute>,
}

/// Some windows of the past, without those of an incident.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    complete: Sums,
    /// Of windows that say that something is missing from them.
    incomplete: Sums,
}

#[derive(Debug, Default, Clone)]
struct Sums {
    windows: u32,
    /// Of the windows, those that carried enough to count as such.
    busy_windows: u32,
    requests: i64,
    errors: i64,
    opened: i64,
    failed: i64,
    retransmits: i64,
    asked: Asked,
    shape: Shape,
}

impl Sums {
    fn add(&mut self, observation: &Observation) {
        self.windows += 1;
        self.busy_windows += u32::from(observation.requests >= STEADY_REQUESTS_MIN);
        for (sum, value) in [
            (&mut self.requests, observation.requests),
            (&mut self.errors, observation.errors),
            (&mut self.opened, observation.opened),
            (&mut self.failed, observation.failed),
            (&mut self.retransmits, observation.retransmits),
        ] {
            *sum = sum.saturating_add(value);
        }
        self.asked.add(&observation.asked_for);
        self.shape.add(&observation.durations);
    }

    fn merge(&mut self, other: &Sums) {
        self.windows += other.windows;
        self.busy_windows += other.busy_windows;
        for (sum, value) in [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.opened, other.opened),
            (&mut self.failed, other.failed),
            (&mut self.retransmits, other.retransmits),
        ] {
            *sum = sum.saturating_add(value);
        }
        self.asked.add(&other.asked);
        self.shape.merge(&other.shape);
    }
}

/// The minute that a window belongs to.
fn minute_of(window_us: i64, windows: Windows) -> i64 {
    window_us.div_euclid(windows.length_us() * MINUTE_WINDOWS)
}

impl History {
    pub fn learn(&mut self, window_us: i64, windows: Windows, observation: &Observation) {
        let number = minute_of(window_us, windows);
        if self.minutes.back().is_none_or(|last| last.number != number) {
            self.minutes.push_back(Minute { number, ..Minute::default() });
        }
        if let Some(minute) = self.minutes.back_mut() {
            let sums = if observation.incomplete { &mut minute.incomplete } else { &mut minute.complete };
            sums.add(observation);
        }
    }

    /// Forgets minutes that ended before this window's past. Says whether anything is left.
    pub fn forget(&mut self, window_us: i64, windows: Windows) -> bool {
        let first = minute_of(window_us, windows) - HISTORY_MINUTES;
        while self.minutes.front().is_some_and(|minute| minute.number < first) {
            self.minutes.pop_front();
        }
        !self.minutes.is_empty()
    }

    /// What is usual at a window; none as long as too little is known. Windows of which something is missing are asked only where there are
    /// no others: the part that is there may be an unusual one.
    pub fn baseline(&self, window_us: i64, windows: Windows) -> Option<Baseline> {
        let now = minute_of(window_us, windows);
        let old = || self.minutes.iter().filter(|minute| minute.number < now - RECENT_MINUTES);
        let of_old = old().count() as i64 >= RECENT_MINUTES;
        let before = if of_old { now - RECENT_MINUTES } else { now };
        let minutes = || {
            self.minutes.iter().filter(move |minute| minute.number < before && minute.number >= now - HISTORY_MINUTES)
        };
        let complete: u32 = minutes().map(|minute| minute.complete.windows).sum();
        let all = complete < HISTORY_WINDOWS_MIN;
        let mut sums = Sums::default();
        for minute in minutes() {
            sums.merge(&minute.complete);
            if all {
                sums.merge(&minute.incomplete);
            }
        }
        if sums.windows < HISTORY_WINDOWS_MIN || sums.shape.count() < HISTORY_REQUESTS_MIN {
            return None;
        }
        let spread = |quantile: &Quantile| spread(minutes().map(|minute| &minute.complete.shape), quantile.share);
        let latency = QUANTILES.each_ref().map(|quantile| level(&sums.shape, quantile, spread(quantile)));
        let (requests, errors) = (sums.requests as f64, sums.errors as f64);
        let (opened, failed) = (sums.opened as f64, sums.failed as f64);
        let retransmits = sums.retransmits as f64;
        Some(Baseline {
            requests: (requests / f64::from(sums.windows)) as i64,
            known: requests,
            error_share: errors / requests.max(1.0),
            error_chance: chance(errors, requests),
            connect_share: failed / (opened + failed).max(1.0),
            connect_chance: chance(failed, opened + failed + requests),
            retransmit_share: retransmits / (retransmits + requests).max(1.0),
            retransmit_chance: chance(retransmits, retransmits + requests),
            size: size(&sums.asked, minutes().map(|minute| &minute.complete.asked)),
            logarithms: sums.shape.logarithms()?,
            latency,
            is_steady: self.is_steady(now),
        })
    }

    /// The time that a share of the last requests did not exceed, those of some windows and the present one. Windows of an incident are not
    /// among them.
    pub fn latest_us(
        &self,
        window_us: i64,
        windows: Windows,
        count: i64,
        observation: &Observation,
        share: f64,
    ) -> f64 {
        let first = minute_of(windows.shift(window_us, -count), windows);
        let mut shape = Shape::default();
        shape.add(&observation.durations);
        let latest = self.minutes.iter().filter(|minute| minute.number >= first);
        latest.for_each(|minute| shape.merge(&minute.complete.shape));
        shape.quantile_us(share)
    }

    /// Whether it carried requests in nearly all windows from its first one to its last one, which are enough to tell.
    fn is_steady(&self, before: i64) -> bool {
        let minutes = || self.minutes.iter().filter(|minute| minute.number < before);
        let (Some(first), Some(last)) = (minutes().next(), minutes().next_back()) else { return false };
        let span = (last.number - first.number + 1) * MINUTE_WINDOWS;
        let busy: u32 = minutes().map(|minute| minute.complete.busy_windows + minute.incomplete.busy_windows).sum();
        busy >= STEADY_WINDOWS_MIN && f64::from(busy) >= STEADY_SHARE_MIN * span as f64
    }
}

/// The chance of something that was seen so often of so many, not 0 only because none was seen: one of two more is taken for such (Laplace). How
/// surely it is known is for [`surprise`] to say.
fn chance(count: f64, all: f64) -> f64 {
    ((count + 1.0) / (all + 2.0)).min(0.999)
}

fn level(shape: &Shape, quantile: &Quantile, spread: f64) -> Level {
    let us = shape.quantile_us(quantile.share);
    let factor = quantile.factor_min.max((USUAL_DEVIATIONS * spread).exp().min(FACTOR_MAX));
    let limit_us = (us * factor).max(us + quantile.rise_us_min);
    let count = shape.count() as f64;
    let slower = shape.slower_than(limit_us / USUAL_FACTOR).min((1.0 - quantile.share) * count);
    Level { us, limit_us, chance: chance(slower, count) }
}

/// How large requests are, and by how much they differ: what the sizes of minutes vary by, as if each request's were drawn by itself.
fn size<'a>(all: &Asked, minutes: impl Iterator<Item = &'a Asked>) -> Size {
    let bytes = all.sent_bytes as f64 / all.requests.max(1) as f64;
    if bytes <= 0.0 {
        return Size::default();
    }
    let of_one = |minute: &Asked| {
        let requests = minute.requests as f64;
        (minute.sent_bytes as f64 / (requests * bytes) - 1.0).abs() * requests.sqrt()
    };
    let spread = median(minutes.filter(|minute| minute.requests > 0).map(of_one)) * DEVIATION_OF_MAD;
    Size { bytes, spread, known: all.requests as f64 }
}

/// How much a quantile varies from minute to minute: the standard deviation of its logarithm. Minutes with few requests are not asked, since
/// what chance does to them is in the surprise already.
fn spread<'a>(minutes: impl Iterator<Item = &'a Shape>, share: f64) -> f64 {
    let is_enough = |shape: &&Shape| shape.count() as f64 * (1.0 - share) >= SPREAD_REQUESTS_MIN;
    let quantiles = minutes.filter(is_enough).map(|shape| shape.quantile_us(share).max(1.0).ln());
    let quantiles: Vec<f64> = quantiles.collect();
    let middle = median(quantiles.iter().copied());
    median(quantiles.iter().map(|quantile| (quantile - middle).abs())) * DEVIATION_OF_MAD
}

/// The middle value, the lower one of two; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
