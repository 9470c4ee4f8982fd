//! The last windows of one subject, held against what is usual at four horizons.
//!
//! In: what was observed in a window, as counts of what is worse than usual. Out: for a share that is bad, whether the last window, the last
//! minute, the last two or the last five deviate: by an amount that matters, and by more than chance gives. A longer horizon sees what is too rare for a
//! window; what its few worst windows say alone does not count there, nor does what few windows hold, since a short trouble that is over is
//! not to be told of minutes later. What counts as bad is said by [`super::signs`].

use std::collections::VecDeque;

use super::baseline::{Baseline, QUANTILES, surprise};
use super::unanswered::Asked;
use super::window::Observation;
use crate::windows::Windows;

/// How many windows are looked at together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Horizon {
    pub(super) windows: i64,
    /// Of them, the worst ones that are left out.
    pub(super) left_out: usize,
    /// How improbable what is seen must be by chance, as a natural logarithm. A single window must be bad twice in a row besides.
    pub(super) surprise: f64,
}

pub(super) const HORIZONS: [Horizon; 4] = [
    Horizon { windows: 1, left_out: 0, surprise: 8.0 },
    Horizon { windows: 6, left_out: 2, surprise: 12.0 },
    Horizon { windows: 12, left_out: 2, surprise: 12.0 },
    Horizon { windows: 30, left_out: 3, surprise: 13.0 },
];
/// The last windows that anything depends on.
pub const RECENT_WINDOWS: i64 = 30;
/// So many that are bad in one window may come one by one; what is more is a short trouble.
const BURST_MIN: i64 = 2;

/// Fewer requests, or errors, say nothing.
const REQUESTS_MIN: i64 = 10;
const ERRORS_MIN: i64 = 3;
/// Where there is another sign.
const BAD_BELOW_MIN: i64 = 2;

/// What is enough to go on with a bad time, or to believe that an edge is bad behind which others wait.
pub const SURPRISE_TO_GO_ON: f64 = 3.0;
pub const SURPRISE_BELOW: f64 = 6.0;
/// What is enough of one, where all that the same fault would touch show it together.
pub const SURPRISE_BESIDE: f64 = 1.0;

/// What is counted of one window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) window_us: i64,
    /// With those that are missing, which are taken as good.
    pub(super) requests: i64,
    pub(super) errors: i64,
    pub(super) opened: i64,
    pub(super) failed: i64,
    pub(super) retransmits: i64,
    pub(super) asked: Asked,
    /// Sum of the logarithms of the times in microseconds, and of how many.
    pub(super) logarithms: (f64, i64),
    /// Requests slower than the limit of each quantile, and the share that was expected. Both are of one limit: the next one may be another.
    pub(super) slower: [i64; QUANTILES.len()],
    pub(super) slower_chance: [f64; QUANTILES.len()],
}

/// The last windows.
#[derive(Debug, Default)]
pub struct Recent {
    pub(super) windows: VecDeque<Counted>,
}

/// How sure it must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Enough {
    /// What a horizon asks for.
    ToBegin,
    /// As much at any horizon.
    ToBeginAt(f64),
    /// As much is enough at any horizon, since there is another sign.
    Surprise(f64),
}

impl Enough {
    pub(super) fn needed(self, horizon: &Horizon) -> f64 {
        match self {
            Enough::ToBegin => horizon.surprise,
            Enough::ToBeginAt(needed) | Enough::Surprise(needed) => needed,
        }
    }
}

/// What a horizon shows of one way to deviate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// The share of requests, or connections, that are worse.
    pub share: f64,
    pub surprise: f64,
    pub deviates: bool,
    pub windows: i64,
}

impl Recent {
    /// Counts a window. It is the last one from now on.
    pub fn count(&mut self, window_us: i64, baseline: &Baseline, observation: &Observation) {
        let limits_us = baseline.latency.map(|level| level.limit_us);
        self.windows.push_back(Counted {
            window_us,
            requests: baseline.with_missing(observation),
            errors: observation.errors,
            opened: observation.opened,
            failed: observation.failed,
            retransmits: observation.retransmits,
            // Where some is missing, requests may lack their ends.
            asked: if observation.incomplete { Asked::default() } else { observation.asked_for },
            logarithms: baseline.with_missing_logarithms(observation),
            slower: observation.slower_than(limits_us),
            slower_chance: baseline.latency.map(|level| level.chance),
        });
        while self.windows.len() > RECENT_WINDOWS as usize {
            self.windows.pop_front();
        }
    }

    /// Forgets windows before the ones that are looked at.
    pub fn forget(&mut self, window_us: i64, windows: Windows) {
        let first_us = windows.shift(window_us, 1 - RECENT_WINDOWS);
        while self.windows.front().is_some_and(|counted| counted.window_us < first_us) {
            self.windows.pop_front();
        }
    }

    /// The last windows, as far as one looks back, the last one first.
    pub(super) fn of_horizon(&self, now: Now<'_>, windows: i64) -> impl Iterator<Item = &Counted> {
        let first_us = now.windows.shift(now.window_us, 1 - windows);
        self.windows.iter().rev().take_while(move |counted| counted.window_us >= first_us)
    }

    /// Forgets all, since what was seen belongs to an incident that is over.
    pub fn clear(&mut self) {
        self.windows.clear();
    }
}

/// What was seen of one subject lately, and what is usual of it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub recent: &'a Recent,
    pub baseline: &'a Baseline,
}

/// Subjects that are judged as one: a single one, or all that one fault would touch. Each is held against its own past, so that it says nothing that
/// one of them carries more than usual.
#[derive(Clone, Copy)]
pub struct Together<'a>(pub &'a [Seen<'a>]);

/// What is bad in a window, of how many, and the chance of one of them to be so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) bad: i64,
    pub(super) all: i64,
    pub(super) chance: f64,
}

/// A horizon of all that are judged together.
struct Sums {
    bad: i64,
    all: i64,
    /// Windows of it in which anything was bad.
    bad_windows: usize,
    chance: f64,
    /// Of how many the chance is known.
    known: f64,
    /// Above it, a share matters.
    threshold: f64,
}

impl Together<'_> {
    /// The first horizon that deviates; else the shortest one that tells anything.
    pub(super) fn read(
        &self,
        now: Now,
        enough: Enough,
        threshold: impl Fn(&Baseline) -> f64,
        of: impl Fn(&Counted, &Baseline) -> Share,
    ) -> Option<Evidence> {
        let mut calm = None;
        for horizon in HORIZONS.iter().filter(|horizon| now.horizons.contains(&horizon.windows)) {
            let Sums { mut bad, all, bad_windows, chance, known, threshold } = self.sums(now, horizon, &threshold, &of);
            let begins = !matches!(enough, Enough::Surprise(_));
            let bad_min = if begins { ERRORS_MIN } else { BAD_BELOW_MIN };
            // As few windows as a short trouble has say nothing of it that a single window does not say.
            if begins && bad_windows <= horizon.left_out {
                bad = 0;
            }
            let is_told = all >= REQUESTS_MIN || bad >= bad_min;
            if !is_told {
                continue;
            }
            let share = bad as f64 / all.max(1) as f64;
            let is_much = share > threshold;
            let surprise = if is_much { surprise(bad, all, chance, known) } else { 0.0 };
            let deviates = bad >= bad_min && is_much && surprise >= enough.needed(horizon);
            let evidence = Evidence { share, surprise, deviates, windows: horizon.windows };
            if deviates {
                return Some(evidence);
            }
            calm = calm.or(Some(evidence));
        }
        calm
    }

    /// What is bad, and all, of a horizon without its worst windows.
    fn sums(
        &self,
        now: Now,
        horizon: &Horizon,
        threshold: impl Fn(&Baseline) -> f64,
        of: impl Fn(&Counted, &Baseline) -> Share,
    ) -> Sums {
        let mut of_windows = [(0i64, 0i64); RECENT_WINDOWS as usize];
        let (mut total, mut expected, mut limits, mut unknown) = (0.0, 0.0, 0.0, 0.0);
        for Seen { recent, baseline } in self.0 {
            let mut own = 0.0;
            for counted in recent.of_horizon(now, horizon.windows) {
                let Share { bad, all, chance } = of(counted, baseline);
                (own, expected) = (own + all as f64, expected + all as f64 * chance);
                if let Some(sum) = of_windows.get_mut(now.ago(counted.window_us)) {
                    *sum = (sum.0.saturating_add(bad), sum.1.saturating_add(all));
                }
            }
            total += own;
            limits += own * threshold(baseline);
            unknown += own * own / baseline.known.max(1.0);
        }
        let bad_windows = of_windows.iter().filter(|(bad, _)| *bad > 0).count();
        let (mut bad, mut all) = of_windows
            .iter()
            .fold((0i64, 0i64), |sum, window| (sum.0.saturating_add(window.0), sum.1.saturating_add(window.1)));
        for _ in 0..horizon.left_out {
            let Some(worst) = of_windows.iter_mut().max().filter(|worst| worst.0 > BURST_MIN) else { break };
            (bad, all) = (bad.saturating_sub(worst.0), all.saturating_sub(worst.1));
            *worst = (0, 0);
        }
        let (chance, threshold) = (expected / f64::max(total, 1.0), limits / f64::max(total, 1.0));
        Sums { bad, all, bad_windows, chance, known: total * total / f64::max(unknown, f64::MIN_POSITIVE), threshold }
    }
}

/// From when one looks back, and how far.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    pub window_us: i64,
    pub windows: Windows,
    /// How many windows back, for each horizon that is asked.
    pub horizons: &'a [i64],
}

impl Now<'_> {
    /// How many windows ago one was.
    pub(super) fn ago(&self, window_us: i64) -> usize {
        usize::try_from((self.window_us - window_us) / self.windows.length_us().max(1)).unwrap_or(usize::MAX)
    }
}

/// All horizons.
pub const ALL: &[i64] = &[1, 6, 12, 30];
/// One of them.
pub const ALONE: [&[i64]; HORIZONS.len()] = [&[1], &[6], &[12], &[30]];
