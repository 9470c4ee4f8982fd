//! One window of one subject against its past: in which ways it deviates, and by how much.
//!
//! In: what is usual, the last windows, and how sure one must be. Out: a reading for each way to deviate that can be told.

use super::Judged;
use super::baseline::{Baseline, QUANTILES};
use super::recent::{ALONE, Enough, Evidence, Now, SURPRISE_TO_GO_ON, Seen, Together};
use super::signs::{connect_threshold, error_threshold, retransmit_threshold};
use super::unanswered::UNANSWERED_SHARE_MIN;
use super::window::Observation;
use crate::windows::Windows;

/// How surprising it must be that no request comes where so many are expected (Poisson).
const SURPRISE_OF_SILENCE: f64 = 10.0;
/// The quantiles in the order in which one of them speaks for the others.
pub(super) const SPEAKERS: [usize; 3] = [1, 0, 2];

/// In which way something leaves its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviating {
    Errors,
    Latency,
    /// Connections that fail.
    Connects,
    /// Segments that are sent again.
    Retransmits,
    /// Requests that are sent and not answered.
    Unanswered,
    /// Requests that do not come any more.
    Traffic,
}

/// How many kinds there are.
pub const KINDS: usize = 6;

impl Deviating {
    pub const ALL: [Deviating; KINDS] = [
        Deviating::Errors,
        Deviating::Latency,
        Deviating::Connects,
        Deviating::Retransmits,
        Deviating::Unanswered,
        Deviating::Traffic,
    ];

    /// The ways that say more of what is wrong with the same edge.
    pub fn said_better_by(self) -> &'static [Deviating] {
        match self {
            Deviating::Retransmits => {
                &[Deviating::Errors, Deviating::Latency, Deviating::Connects, Deviating::Unanswered]
            }
            Deviating::Unanswered => &[Deviating::Errors, Deviating::Connects],
            _ => &[],
        }
    }

    /// The alert's `kind`; of latencies, with the quantile.
    pub fn kind(self, quantile: usize) -> &'static str {
        match self {
            Deviating::Errors => "error_rate",
            Deviating::Latency => ["latency_p50", "latency_p95", "latency_p99"][quantile.min(2)],
            Deviating::Connects => "failed_connects",
            Deviating::Retransmits => "retransmits",
            Deviating::Unanswered => "unanswered",
            Deviating::Traffic => "traffic_stopped",
        }
    }
}

/// One window, or as many as were needed, against what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    pub value: f64,
    pub baseline: f64,
    pub threshold: f64,
    pub deviates: bool,
    /// Of a latency, which of [`QUANTILES`] it is.
    pub quantile: usize,
    /// How many windows were looked at together.
    pub windows: i64,
    /// How improbable it is by chance, as a natural logarithm.
    pub surprise: f64,
    /// Of requests or connections, those that are worse than usual.
    pub share: f64,
}

/// What is looked at of a subject.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub window_us: i64,
    pub windows: Windows,
    pub observation: &'a Observation,
    /// Of its usual work, the share that the client has, if that is known.
    pub client_share: Option<f64>,
    /// How sure one must be that a bad time begins.
    pub enough: Enough,
    /// How far one looks back; of what is bad already, as far as when it began.
    pub horizons: &'static [i64],
}

/// How sure one must be of a subject, and how far one looks back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub horizons: &'static [i64],
    pub enough: Enough,
}

/// What was seen of a subject, and what is usual of it; in bad times, what was usual before them.
pub(super) fn seen(judged: &Judged, kind: Deviating) -> Option<Seen<'_>> {
    let before = judged.tracks[kind as usize].bad_since.as_ref().map(|(_, baseline)| baseline);
    Some(Seen { recent: &judged.recent, baseline: before.or(judged.usual.as_ref())? })
}

impl Look<'_> {
    /// In bad times less is needed for them to go on, and what showed them shows it.
    pub fn told(&self, judged: &Judged, kind: Deviating) -> Told {
        let track = &judged.tracks[kind as usize];
        let showed = track.bad_since.and(track.last_windows());
        let showed = showed.and_then(|windows| ALONE.iter().find(|alone| alone[0] == windows));
        let enough = if track.in_incident() { Enough::Surprise(SURPRISE_TO_GO_ON) } else { self.enough };
        Told { horizons: showed.map_or(self.horizons, |alone| alone), enough }
    }

    /// How a subject does in one way; none if nothing tells.
    pub fn read(&self, judged: &Judged, kind: Deviating) -> Option<Reading> {
        self.read_with(judged, kind, self.told(judged, kind))
    }

    /// The same, as sure and as far back as is said.
    pub fn read_with(&self, judged: &Judged, kind: Deviating, Told { horizons, enough }: Told) -> Option<Reading> {
        let seen = seen(judged, kind)?;
        let baseline = seen.baseline;
        let now = Now { window_us: self.window_us, windows: self.windows, horizons };
        match kind {
            Deviating::Errors => {
                let evidence = Together(&[seen]).errors(now, enough)?;
                Some(of_share(evidence, baseline.error_share, error_threshold(baseline)))
            }
            Deviating::Connects => {
                let evidence = seen.connects(now, enough)?;
                let mut reading = of_share(evidence, baseline.connect_share, connect_threshold(baseline));
                // Requests over older connections are well; so are those that come through however often others are tried again.
                let Observation { requests, opened, failed, .. } = self.observation;
                let of_tries = *failed as f64 / (requests + opened + failed).max(1) as f64;
                let of_requests = 1.0 - *requests as f64 / baseline.requests.max(1) as f64;
                reading.share = of_tries.min(of_requests.max(0.0));
                Some(reading)
            }
            Deviating::Retransmits => {
                let evidence = Together(&[seen]).retransmits(now, enough)?;
                Some(of_share(evidence, baseline.retransmit_share, retransmit_threshold(baseline)))
            }
            Deviating::Unanswered => {
                // Who usually takes longer than a window says nothing by its silence.
                let is_fast = baseline.latency[QUANTILES.len() - 1].us < self.windows.length_us() as f64 / 2.0;
                let evidence = seen.unanswered(now, enough).filter(|_| is_fast)?;
                Some(of_share(evidence, 0.0, UNANSWERED_SHARE_MIN))
            }
            Deviating::Latency => self.read_latency(judged, seen, now, enough),
            Deviating::Traffic => self.read_traffic(baseline),
        }
    }

    fn read_latency(&self, judged: &Judged, seen: Seen<'_>, now: Now<'_>, enough: Enough) -> Option<Reading> {
        let read = |quantile: usize| {
            let evidence = Together(&[seen]).latency(now, quantile, enough)?;
            let level = &seen.baseline.latency[quantile];
            let share = QUANTILES[quantile].share;
            let value = match evidence.windows {
                1 => self.observation.quantile_us(share),
                windows => judged.history.latest_us(self.window_us, self.windows, windows, self.observation, share),
            };
            let mut reading = of_share(evidence, level.us, level.limit_us);
            (reading.value, reading.quantile) = (value, quantile);
            // The median itself has to say it, too.
            reading.deviates &= quantile > 0 || value > level.limit_us || matches!(enough, Enough::Surprise(_));
            Some(reading)
        };
        let readings = SPEAKERS.map(read);
        let deviating = readings.iter().flatten().find(|reading| reading.deviates);
        deviating.or(readings.iter().flatten().next()).copied()
    }

    /// How the requests of a window compare, given the share of what its client usually has to do. None if this tells nothing. What is
    /// surprising is that none comes, where so many are expected.
    fn read_traffic(&self, baseline: &Baseline) -> Option<Reading> {
        let (value, usual) = (self.observation.requests as f64, baseline.requests as f64);
        let deviates = self.observation.requests == 0;
        let expected = if deviates { baseline.steady_requests()? * self.client_share? } else { 0.0 };
        if deviates && expected < SURPRISE_OF_SILENCE {
            return None;
        }
        let share = f64::from(u8::from(deviates));
        Some(Reading {
            value,
            baseline: usual,
            threshold: 1.0,
            deviates,
            quantile: 0,
            windows: 1,
            surprise: expected,
            share,
        })
    }
}

fn of_share(evidence: Evidence, baseline: f64, threshold: f64) -> Reading {
    let Evidence { share, surprise, deviates, windows } = evidence;
    Reading { value: share, baseline, threshold, deviates, quantile: 0, windows, surprise, share }
}
