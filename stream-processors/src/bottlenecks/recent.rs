//! The last windows of one subject, held against what is usual at three horizons.
//!
//! In: what was observed in a window, as counts of what is worse than usual. Out: for a share that is bad, whether the last window, the last
//! minute or the last five deviate: by an amount that matters, and by more than chance gives. A longer horizon sees what is too rare for a
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

pub(super) const HORIZONS: [Horizon; 3] = [
    Horizon { windows: 1, left_out: 0, surprise: 8.0 },
    Horizon { windows: 6, left_out: 2, surprise: 14.0 },
    Horizon { windows: 30, left_out: 3, surprise: 16.0 },
];
/// The last windows that anything depends on.
pub const RECENT_WINDOWS: i64 = 30;
const LEFT_OUT_MAX: usize = 3;
/// So many that are bad in one window may come one by one; what is more is a short trouble.
const BURST_MIN: i64 = 2;

/// Fewer requests, or errors, say nothing.
const REQUESTS_MIN: i64 = 10;
pub(super) const ERRORS_MIN: i64 = 3;
/// Where there is another sign.
const BAD_BELOW_MIN: i64 = 2;

/// What is enough to go on with a bad time, or to believe that an edge is bad behind which others wait.
pub const SURPRISE_TO_GO_ON: f64 = 3.0;
pub const SURPRISE_BELOW: f64 = 6.0;

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
    /// Requests slower than the limit of each quantile.
    pub(super) slower: [i64; QUANTILES.len()],
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

    /// Forgets all, since what was seen belongs to an incident that is over.
    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// The first horizon that deviates; else the shortest one that tells anything.
    pub(super) fn read(
        &self,
        now: Now,
        enough: Enough,
        chance: f64,
        threshold: f64,
        bad_min: i64,
        of: impl Fn(&Counted) -> (i64, i64),
    ) -> Option<Evidence> {
        let mut calm = None;
        for horizon in HORIZONS.iter().filter(|horizon| now.horizons.contains(&horizon.windows)) {
            let (mut bad, all, bad_windows) = self.sums(now, horizon, &of);
            let begins = !matches!(enough, Enough::Surprise(_));
            let bad_min = if begins { bad_min } else { bad_min.min(BAD_BELOW_MIN) };
            // As few windows as a short trouble has say nothing of it that a single window does not say.
            if begins && bad_windows <= horizon.left_out {
                bad = 0;
            }
            let is_told = all >= REQUESTS_MIN || bad >= bad_min;
            if !is_told {
                continue;
            }
            let share = bad as f64 / all.max(1) as f64;
            let surprise = if share > threshold { surprise(bad, all, chance) } else { 0.0 };
            let needed = match enough {
                Enough::ToBegin => horizon.surprise,
                Enough::ToBeginAt(needed) | Enough::Surprise(needed) => needed,
            };
            let deviates = bad >= bad_min && share > threshold && surprise >= needed;
            let evidence = Evidence { share, surprise, deviates, windows: horizon.windows };
            if deviates {
                return Some(evidence);
            }
            calm = calm.or(Some(evidence));
        }
        calm
    }

    /// What is bad, and all, of a horizon without its worst windows; and in how many windows of it anything was bad.
    fn sums(&self, now: Now, horizon: &Horizon, of: impl Fn(&Counted) -> (i64, i64)) -> (i64, i64, usize) {
        let first_us = now.windows.shift(now.window_us, 1 - horizon.windows);
        let (mut sums, mut bad_windows) = ((0i64, 0i64), 0);
        let mut worst = [(0i64, 0i64); LEFT_OUT_MAX];
        for counted in self.windows.iter().rev().take_while(|counted| counted.window_us >= first_us) {
            let (bad, all) = of(counted);
            bad_windows += usize::from(bad > 0);
            sums = (sums.0.saturating_add(bad), sums.1.saturating_add(all));
            if horizon.left_out > 0 && bad > worst[horizon.left_out - 1].0.max(BURST_MIN) {
                worst[horizon.left_out - 1] = (bad, all);
                worst[..horizon.left_out].sort_unstable_by(|a, b| b.cmp(a));
            }
        }
        for (bad, all) in &worst[..horizon.left_out] {
            sums = (sums.0 - bad, sums.1 - all);
        }
        (sums.0, sums.1, bad_windows)
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

/// All horizons.
pub const ALL: &[i64] = &[1, 6, 30];
