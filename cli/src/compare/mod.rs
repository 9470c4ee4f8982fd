//! Two ranges compared, edge by edge or operation by operation.
//!
//! In: what was collected of each range. Out: [`Comparison`]: what appeared, vanished, changed or stayed, the most surprising first. Pure. Percentiles are those of the
//! merged histograms. A quantity counts as changed if its score is at least [`SCORE_MIN`] and the change is large enough to matter.

mod score;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};

use headwater_histogram::Histogram;
use headwater_processors::bottlenecks::slower_than;
use serde::Serialize;

use self::score::{Flow, Part, of_rates, of_shares};
use crate::clock::rfc3339;
use crate::past::collect::{Collected, LeftOut, Subject, Sums};
use crate::past::incomplete::Incomplete;

/// A thousand to one.
pub const SCORE_MIN: f64 = 7.0;
/// A rate that is less than a fifth higher or lower is as before, and so is a percentile by less than a quarter, and a share by less than a thousandth.
const RATE_FACTOR_MIN: f64 = 1.2;
const LATENCY_FACTOR_MIN: f64 = 1.25;
const SHARE_STEP_MIN: f64 = 0.001;
const SHARES: [f64; 3] = [0.5, 0.95, 0.99];
/// Bytes of one segment of TCP: what a count of bytes is taken for, as they come together.
const SEGMENT_BYTES: f64 = 1460.0;

/// What can change of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Of requests, or of bytes where no requests are seen.
    Rate,
    ErrorShare,
    P50,
    P95,
    P99,
    FailedConnectionShare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Appeared,
    Vanished,
    Changed,
    Same,
}

#[derive(Debug, Serialize)]
pub struct Comparison {
    pub a: Side,
    pub b: Side,
    /// The most surprising first.
    pub edges: Vec<Compared>,
}

/// One of the two ranges, as it turned out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    pub prefix: String,
    /// Start of the first whole window, and end of the last; null if there is none.
    pub from: Option<String>,
    pub to: Option<String>,
    #[serde(skip)]
    pub span_us: Option<(i64, i64)>,
    pub windows: i64,
    pub windows_in_range: i64,
    pub completeness: f64,
    pub incomplete: Vec<Incomplete>,
    pub left_out: LeftOut,
}

#[derive(Debug, Serialize)]
pub struct Compared {
    pub change: Change,
    /// The highest of `scores`.
    pub score: f64,
    #[serde(flatten)]
    pub subject: Subject,
    /// null if it had no traffic.
    pub a: Option<Figures>,
    pub b: Option<Figures>,
    /// Quantities that changed.
    pub changed: BTreeSet<Quantity>,
    /// How improbable each change is by chance, as a natural logarithm.
    pub scores: BTreeMap<Quantity, f64>,
}

/// What an edge did in a range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub requests: i64,
    pub requests_per_s: f64,
    pub errors: i64,
    pub error_share: f64,
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub bytes_per_s: f64,
    pub connections_opened: i64,
    pub connections_failed: i64,
    /// Of those that were opened or failed.
    pub failed_connection_share: f64,
}

/// Compares two ranges. The prefixes are those of their topics.
pub fn compare(a: Collected, b: Collected, prefixes: [&str; 2]) -> Comparison {
    let subjects: BTreeSet<&Subject> = a.subjects.keys().chain(b.subjects.keys()).collect();
    let mut edges: Vec<Compared> = subjects.into_iter().map(|subject| compared(subject, &a, &b)).collect();
    // Of two that surprise alike the busier one comes first; the order is the same each time.
    edges.sort_by(|x, y| (x.change == Change::Same).cmp(&(y.change == Change::Same)).then(y.score.total_cmp(&x.score)));
    Comparison { edges, a: Side::of(a, prefixes[0]), b: Side::of(b, prefixes[1]) }
}

impl Comparison {
    /// Only those whose subject is wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&Subject) -> bool) {
        self.edges.retain(|compared| is_wanted(&compared.subject));
    }
}

impl Side {
    fn of(collected: Collected, prefix: &str) -> Side {
        let span_us = collected.from_us.zip(collected.to_us);
        Side {
            prefix: prefix.to_owned(),
            from: collected.from_us.map(rfc3339),
            to: collected.to_us.map(rfc3339),
            span_us,
            windows: collected.windows,
            windows_in_range: collected.windows_in_range,
            completeness: collected.completeness,
            incomplete: collected.incomplete,
            left_out: collected.left_out,
        }
    }
}

impl Figures {
    fn of(sums: &Sums, covered_s: f64) -> Figures {
        let counts = &sums.counts;
        let us = |share: f64| counts.duration_ns.quantile(share) / 1e3;
        let per_s = |count: i64| if covered_s > 0.0 { count as f64 / covered_s } else { 0.0 };
        let share = |Part { some, all }: Part| if all > 0.0 { some / all } else { 0.0 };
        Figures {
            requests: counts.requests,
            requests_per_s: per_s(counts.requests),
            errors: counts.errors,
            error_share: share(errors(sums)),
            p50_us: us(SHARES[0]),
            p95_us: us(SHARES[1]),
            p99_us: us(SHARES[2]),
            bytes_per_s: per_s(counts.bytes),
            connections_opened: counts.connections_opened,
            connections_failed: counts.connections_failed,
            failed_connection_share: share(failed_connections(sums)),
        }
    }
}

fn compared(subject: &Subject, a: &Collected, b: &Collected) -> Compared {
    let nothing = Sums::default();
    let [of_a, of_b] = [a, b].map(|side| side.subjects.get(subject));
    let [sums_a, sums_b] = [of_a, of_b].map(|sums| sums.unwrap_or(&nothing));
    let [figures_a, figures_b] = [(of_a, a), (of_b, b)].map(|(sums, side)| Some(Figures::of(sums?, side.covered_s())));
    let mut scores = BTreeMap::new();
    let has_requests = sums_a.counts.requests > 0 || sums_b.counts.requests > 0;
    let flow = |sums: &Sums, side: &Collected| {
        let (count, squared) = if has_requests {
            (sums.counts.requests as f64, sums.requests_squared)
        } else {
            (sums.counts.bytes as f64 / SEGMENT_BYTES, sums.bytes_squared / SEGMENT_BYTES.powi(2))
        };
        Flow { count, squared, windows: side.windows as f64, seconds: side.covered_s() }
    };
    scores.insert(Quantity::Rate, of_rates(flow(sums_a, a), flow(sums_b, b)));
    if sums_a.counts.requests > 0 && sums_b.counts.requests > 0 {
        scores.insert(Quantity::ErrorShare, of_shares(errors(sums_a), errors(sums_b)));
        scores.extend(latency_scores(&sums_a.counts.duration_ns, &sums_b.counts.duration_ns));
    }
    scores.insert(Quantity::FailedConnectionShare, of_shares(failed_connections(sums_a), failed_connections(sums_b)));
    let changed: BTreeSet<Quantity> = match (&figures_a, &figures_b) {
        (Some(a), Some(b)) => {
            let is_changed = |(quantity, score): (&Quantity, &f64)| *score >= SCORE_MIN && matters(*quantity, a, b);
            scores.iter().filter(|scored| is_changed(*scored)).map(|(quantity, _)| *quantity).collect()
        }
        _ => BTreeSet::new(),
    };
    let change = match (&figures_a, &figures_b) {
        (None, _) => Change::Appeared,
        (_, None) => Change::Vanished,
        _ if changed.is_empty() => Change::Same,
        _ => Change::Changed,
    };
    // A trifle that is certain does not come before a change that matters.
    let counted = scores.iter().filter(|(quantity, _)| change != Change::Changed || changed.contains(quantity));
    let score = counted.map(|(_, score)| *score).fold(0.0, f64::max);
    Compared { change, score, subject: subject.clone(), a: figures_a, b: figures_b, changed, scores }
}

fn errors(sums: &Sums) -> Part {
    Part { some: sums.counts.errors as f64, all: sums.counts.requests as f64 }
}

fn failed_connections(sums: &Sums) -> Part {
    let (opened, failed) = (sums.counts.connections_opened as f64, sums.counts.connections_failed as f64);
    Part { some: failed, all: opened + failed }
}

/// For each percentile: whether the shares differ of requests that take longer than it was in one of the ranges.
fn latency_scores(a: &Histogram, b: &Histogram) -> impl Iterator<Item = (Quantity, f64)> {
    let scores = [a, b].map(|of| {
        let limits_us = SHARES.map(|share| of.quantile(share) / 1e3);
        let [of_a, of_b] = [a, b].map(|histogram| {
            let all = histogram.count() as f64;
            slower_than(histogram, limits_us).map(|slower| Part { some: slower as f64, all })
        });
        [0, 1, 2].map(|at| of_shares(of_a[at], of_b[at]))
    });
    let quantities = [Quantity::P50, Quantity::P95, Quantity::P99].into_iter().enumerate();
    quantities.map(move |(at, quantity)| (quantity, scores[0][at].max(scores[1][at])))
}

/// Whether a change is large enough to be of interest, however certain it is.
fn matters(quantity: Quantity, a: &Figures, b: &Figures) -> bool {
    let by_factor = |a: f64, b: f64, factor: f64| a.max(b) > a.min(b) * factor;
    let by_step = |a: f64, b: f64| (a - b).abs() >= SHARE_STEP_MIN;
    match quantity {
        Quantity::Rate if a.requests > 0 || b.requests > 0 => {
            by_factor(a.requests_per_s, b.requests_per_s, RATE_FACTOR_MIN)
        }
        Quantity::Rate => by_factor(a.bytes_per_s, b.bytes_per_s, RATE_FACTOR_MIN),
        Quantity::ErrorShare => by_step(a.error_share, b.error_share),
        Quantity::P50 => by_factor(a.p50_us, b.p50_us, LATENCY_FACTOR_MIN),
        Quantity::P95 => by_factor(a.p95_us, b.p95_us, LATENCY_FACTOR_MIN),
        Quantity::P99 => by_factor(a.p99_us, b.p99_us, LATENCY_FACTOR_MIN),
        Quantity::FailedConnectionShare => by_step(a.failed_connection_share, b.failed_connection_share),
    }
}

#[cfg(test)]
mod tests;
