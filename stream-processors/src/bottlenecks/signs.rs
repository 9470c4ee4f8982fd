//! In which ways the last windows of a subject can deviate, and what counts as bad in each.
//!
//! In: the last windows, and what is usual. Out: for errors, slow requests, connections that fail, segments that are sent again and requests without
//! an end, what the first horizon shows that deviates.

use super::baseline::{Baseline, QUANTILES};
use super::recent::{Counted, Enough, Evidence, HORIZONS, Horizon, Now, RECENT_WINDOWS, Seen, Share, Together};
use super::shape::Logarithms;
use super::unanswered::{Asked, UNANSWERED_SHARE_MIN, Unanswered};

const SHIFTED_REQUESTS_MIN: f64 = 4.0;
/// Of the mean logarithm: all may be slower by this for a time.
const SHIFT_USUAL: f64 = 0.4;
/// However alike times are: they vary by so much.
const SHIFT_DEVIATION_MIN: f64 = 0.3;
/// Fewer errors than the usual share and this matter to nobody.
const ERROR_SHARE_RISE_MIN: f64 = 0.005;
const ERROR_FACTOR_MIN: f64 = 2.0;
/// Fewer connections that fail are nobody's trouble.
const CONNECT_SHARE_MIN: f64 = 0.1;
/// Fewer segments that are sent again, for each request, are any network's.
const RETRANSMIT_SHARE_MIN: f64 = 0.005;
const SURPRISE_OF_CONNECTS: f64 = 8.0;
/// Sizes vary in ways that no past shows, so that much must be missing.
const SURPRISE_OF_UNANSWERED: f64 = 40.0;
const SURPRISE_OF_UNANSWERED_BELOW: f64 = 2.0;

impl Together<'_> {
    /// The share of requests that fail; none if too few were made to tell.
    pub fn errors(&self, now: Now, enough: Enough) -> Option<Evidence> {
        self.read(now, enough, error_threshold, |counted, baseline| Share {
            bad: counted.errors,
            all: counted.requests,
            chance: baseline.error_chance,
        })
    }

    /// Whether requests take longer than usual, by one of the quantiles.
    pub fn latency(&self, now: Now, quantile: usize, enough: Enough) -> Option<Evidence> {
        if quantile == 0 { self.shifted(now, enough) } else { self.slower(now, quantile, enough) }
    }

    /// The share of requests that are slower than the limit of one of the quantiles.
    pub fn slower(&self, now: Now, quantile: usize, enough: Enough) -> Option<Evidence> {
        self.read(
            now,
            enough,
            |_| 1.0 - QUANTILES[quantile].share,
            |counted, _| Share {
                bad: counted.slower[quantile],
                all: counted.requests,
                chance: counted.slower_chance[quantile],
            },
        )
    }

    /// Whether all requests take longer than usual: by how much their mean logarithm is above the usual one, in its standard deviations. It tells
    /// of a shift by fewer requests than a count of those beyond a limit does. None if too few were made to tell.
    pub fn shifted(&self, now: Now<'_>, enough: Enough) -> Option<Evidence> {
        let mut calm = None;
        for horizon in HORIZONS.iter().filter(|horizon| now.horizons.contains(&horizon.windows)) {
            // By how much it is more than usual, of how many, in each window.
            let mut of_windows = [(0.0, 0i64); RECENT_WINDOWS as usize];
            let (mut sum, mut all, mut limits, mut variance, mut told_by) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for Seen { recent, baseline } in self.0 {
                let Logarithms { mean: usual, deviation, count: known } = baseline.logarithms;
                let mut own = 0.0;
                for Counted { window_us, logarithms: (of_window, count), .. } in recent.of_horizon(now, horizon.windows)
                {
                    let more = of_window - *count as f64 * usual;
                    (sum, own) = (sum + more, own + *count as f64);
                    if let Some(of_all) = of_windows.get_mut(now.ago(*window_us)) {
                        *of_all = (of_all.0 + more, of_all.1.saturating_add(*count));
                    }
                }
                (all, told_by) = (all + own, told_by + known);
                limits += own * baseline.shift_limit();
                // What is usual is known from so many requests only.
                variance += deviation.max(SHIFT_DEVIATION_MIN).powi(2) * (own + own * own / known);
            }
            if all < SHIFTED_REQUESTS_MIN {
                continue;
            }
            let (shift, limit) = (sum / all, limits / all);
            let told = of_windows.iter().filter(|(_, count)| *count > 0);
            let (mut beyond, mut count) = (0usize, 0usize);
            for (more, of) in told {
                (beyond, count) = (beyond + usize::from(more / *of as f64 > limit), count + 1);
            }
            let deviations = (shift - SHIFT_USUAL) * all / variance.sqrt();
            // A few windows that are bad are a short trouble.
            let lasts = horizon.windows == 1 || (beyond > horizon.left_out && 2 * beyond > count);
            let is_much = shift > limit && lasts;
            // So is how much they vary (Student).
            let surprise = if is_much { told_by / 2.0 * (deviations * deviations / told_by).ln_1p() } else { 0.0 };
            let share = 1.0 - (-shift.max(0.0)).exp();
            let deviates = surprise >= enough.needed(horizon);
            let evidence = Evidence { share, surprise, deviates, windows: horizon.windows };
            if evidence.deviates {
                return Some(evidence);
            }
            calm = calm.or(Some(evidence));
        }
        calm
    }

    /// The share of segments that are sent again; none if too few requests were made to tell.
    pub fn retransmits(&self, now: Now<'_>, enough: Enough) -> Option<Evidence> {
        self.read(now, enough, retransmit_threshold, |counted, baseline| Share {
            bad: counted.retransmits,
            all: counted.requests.saturating_add(counted.retransmits),
            chance: baseline.retransmit_chance,
        })
    }
}

impl Seen<'_> {
    /// The share of connections that fail; none if nobody made any, nor used one.
    pub fn connects(&self, now: Now, enough: Enough) -> Option<Evidence> {
        // They fail for a moment at each restart, and hardly ever else.
        let enough = if enough == Enough::ToBegin { Enough::ToBeginAt(SURPRISE_OF_CONNECTS) } else { enough };
        let told = Together(&[*self]).read(now, enough, connect_threshold, |counted, baseline| Share {
            bad: counted.failed,
            all: counted.opened.saturating_add(counted.failed),
            chance: baseline.connect_chance,
        });
        // Few connections, or requests over older ones: then all is well.
        let calm = Evidence { share: 0.0, surprise: 0.0, deviates: false, windows: 1 };
        let last = self.recent.windows.back().filter(|counted| counted.window_us == now.window_us);
        told.or_else(|| last.is_some_and(|last| last.requests + last.opened + last.failed > 0).then_some(calm))
    }

    /// Requests that were sent and did not end: in the windows of a horizon, or since the last byte that came back.
    pub fn unanswered(&self, now: Now<'_>, enough: Enough) -> Option<Evidence> {
        let Seen { recent, baseline } = self;
        let last = recent.windows.back().filter(|counted| counted.window_us == now.window_us)?;
        let mut silent = Asked::default();
        let since = recent.windows.iter().rev().take_while(|counted| counted.asked.received_bytes == 0);
        since.for_each(|counted| silent.add(&counted.asked));
        let size = baseline.size;
        let mut calm = last.asked.unanswered(size, baseline.error_chance).map(|unanswered| (unanswered, 1));
        let of_horizon = |horizon: &Horizon| {
            let mut asked = Asked::default();
            recent.of_horizon(now, horizon.windows).for_each(|counted| asked.add(&counted.asked));
            (asked, horizon.windows, horizon.surprise)
        };
        let horizons = HORIZONS.iter().filter(|horizon| now.horizons.contains(&horizon.windows)).map(of_horizon);
        for (asked, windows, surprise) in std::iter::once((silent, 1, HORIZONS[0].surprise)).chain(horizons) {
            let Some(unanswered) = asked.unanswered(size, baseline.error_chance) else { continue };
            let needed = match enough {
                Enough::ToBegin | Enough::ToBeginAt(_) if unanswered.share < 1.0 => SURPRISE_OF_UNANSWERED,
                Enough::ToBegin | Enough::ToBeginAt(_) => surprise,
                Enough::Surprise(needed) if unanswered.share < 1.0 => needed,
                Enough::Surprise(needed) => needed.min(SURPRISE_OF_UNANSWERED_BELOW),
            };
            // What is over is not told of.
            let goes_on = last
                .asked
                .unanswered(size, baseline.error_chance)
                .is_none_or(|last| last.share >= UNANSWERED_SHARE_MIN);
            if goes_on && unanswered.surprise >= needed {
                let Unanswered { share, surprise, .. } = unanswered;
                return Some(Evidence { share, surprise, deviates: true, windows });
            }
            calm = calm.or(Some((unanswered, windows)));
        }
        let (Unanswered { share, .. }, windows) = calm?;
        Some(Evidence { share, surprise: 0.0, deviates: false, windows })
    }
}

pub fn error_threshold(baseline: &Baseline) -> f64 {
    (baseline.error_share * ERROR_FACTOR_MIN).max(baseline.error_share + ERROR_SHARE_RISE_MIN)
}

pub fn retransmit_threshold(baseline: &Baseline) -> f64 {
    RETRANSMIT_SHARE_MIN.max(3.0 * baseline.retransmit_share)
}

pub fn connect_threshold(baseline: &Baseline) -> f64 {
    CONNECT_SHARE_MIN.max(3.0 * baseline.connect_share + 0.02)
}

#[cfg(test)]
mod tests;
