//! In which ways the last windows of a subject can deviate, and what counts as bad in each.
//!
//! In: the last windows, and what is usual. Out: for errors, slow requests, connections that fail, segments that are sent again and requests without
//! an end, what the first horizon shows that deviates.

use super::baseline::{Baseline, QUANTILES};
use super::recent::{Counted, ERRORS_MIN, Enough, Evidence, HORIZONS, Horizon, Now, Recent};
use super::shape::Logarithms;
use super::unanswered::{Asked, UNANSWERED_SHARE_MIN, Unanswered};

const SHIFTED_REQUESTS_MIN: i64 = 4;
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

impl Recent {
    /// The share of requests that fail; none if too few were made to tell.
    pub fn errors(&self, now: Now, baseline: &Baseline, enough: Enough) -> Option<Evidence> {
        let threshold = error_threshold(baseline);
        self.read(now, enough, baseline.error_chance, threshold, ERRORS_MIN, |counted| {
            (counted.errors, counted.requests)
        })
    }

    /// The share of requests that are slower than the limit of one of the quantiles.
    pub fn slower(&self, now: Now, baseline: &Baseline, quantile: usize, enough: Enough) -> Option<Evidence> {
        let chance = baseline.latency[quantile].chance;
        let share = 1.0 - QUANTILES[quantile].share;
        self.read(now, enough, chance, share, ERRORS_MIN, |counted| (counted.slower[quantile], counted.requests))
    }

    /// Whether all requests take longer than usual: by how much their mean logarithm is above the usual one, in its standard deviations. It tells
    /// of a shift by fewer requests than a count of those beyond a limit does. None if too few were made to tell.
    pub fn shifted(&self, now: Now<'_>, baseline: &Baseline, enough: Enough) -> Option<Evidence> {
        let Logarithms { mean: usual, deviation, count: before } = baseline.logarithms;
        let level = &baseline.latency[0];
        let limit = (level.limit_us / level.us.max(1.0)).ln();
        let mut calm = None;
        for horizon in HORIZONS.iter().filter(|horizon| now.horizons.contains(&horizon.windows)) {
            let first_us = now.windows.shift(now.window_us, 1 - horizon.windows);
            let windows = self.windows.iter().rev().take_while(|counted| counted.window_us >= first_us);
            let (mut sum, mut count, mut beyond, mut told) = (0.0, 0i64, 0usize, 0usize);
            for Counted { logarithms: (of_window, of), .. } in windows.filter(|counted| counted.logarithms.1 > 0) {
                (sum, count, told) = (sum + of_window, count.saturating_add(*of), told + 1);
                beyond += usize::from(of_window / *of as f64 - usual > limit);
            }
            if count < SHIFTED_REQUESTS_MIN {
                continue;
            }
            let shift = sum / count as f64 - usual;
            // What is usual is known from so many requests only.
            let error = deviation.max(SHIFT_DEVIATION_MIN) * (1.0 / count as f64 + 1.0 / before).sqrt();
            let deviations = (shift - SHIFT_USUAL) / error;
            // A few windows that are bad are a short trouble.
            let lasts = horizon.windows == 1 || (beyond > horizon.left_out && 2 * beyond > told);
            let is_much = shift > limit && lasts;
            let surprise = if is_much { deviations * deviations / 2.0 } else { 0.0 };
            let needed = match enough {
                Enough::ToBegin => horizon.surprise,
                Enough::ToBeginAt(needed) | Enough::Surprise(needed) => needed,
            };
            let share = 1.0 - (-shift.max(0.0)).exp();
            let evidence = Evidence { share, surprise, deviates: surprise >= needed, windows: horizon.windows };
            if evidence.deviates {
                return Some(evidence);
            }
            calm = calm.or(Some(evidence));
        }
        calm
    }

    /// The share of connections that fail; none if nobody made any, nor used one.
    pub fn connects(&self, now: Now, baseline: &Baseline, enough: Enough) -> Option<Evidence> {
        let threshold = connect_threshold(baseline);
        // They fail for a moment at each restart, and hardly ever else.
        let enough = if enough == Enough::ToBegin { Enough::ToBeginAt(SURPRISE_OF_CONNECTS) } else { enough };
        let told = self.read(now, enough, baseline.connect_chance, threshold, ERRORS_MIN, |counted| {
            (counted.failed, counted.opened.saturating_add(counted.failed))
        });
        // Few connections, or requests over older ones: then all is well.
        let calm = Evidence { share: 0.0, surprise: 0.0, deviates: false, windows: 1 };
        let last = self.windows.back().filter(|counted| counted.window_us == now.window_us);
        told.or_else(|| last.is_some_and(|last| last.requests + last.opened + last.failed > 0).then_some(calm))
    }

    /// The share of segments that are sent again; none if too few requests were made to tell.
    pub fn retransmits(&self, now: Now<'_>, baseline: &Baseline, enough: Enough) -> Option<Evidence> {
        let threshold = retransmit_threshold(baseline);
        self.read(now, enough, baseline.retransmit_chance, threshold, ERRORS_MIN, |counted| {
            (counted.retransmits, counted.requests.saturating_add(counted.retransmits))
        })
    }

    /// Requests that were sent and did not end: in the windows of a horizon, or since the last byte that came back.
    pub fn unanswered(&self, now: Now<'_>, baseline: &Baseline, enough: Enough) -> Option<Evidence> {
        let last = self.windows.back().filter(|counted| counted.window_us == now.window_us)?;
        let mut silent = Asked::default();
        let since = self.windows.iter().rev().take_while(|counted| counted.asked.received_bytes == 0);
        since.for_each(|counted| silent.add(&counted.asked));
        let size = baseline.size;
        let mut calm = last.asked.unanswered(size, baseline.error_chance).map(|unanswered| (unanswered, 1));
        let of_horizon = |horizon: &Horizon| {
            let first_us = now.windows.shift(now.window_us, 1 - horizon.windows);
            let mut asked = Asked::default();
            let windows = self.windows.iter().rev().take_while(|counted| counted.window_us >= first_us);
            windows.for_each(|counted| asked.add(&counted.asked));
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bottlenecks::baseline::History;
    use crate::bottlenecks::recent::ALL;
    use crate::bottlenecks::window::Observation;
    use crate::windows::Windows;
    use headwater_histogram::Histogram;
    use proptest::prelude::*;

    const WINDOW_US: i64 = 10_000_000;

    fn observation(requests: i64, errors: i64, slow: i64) -> Observation {
        let mut durations = Histogram::default();
        (0..requests).for_each(|i| durations.record(if i < slow { 400_000_000 } else { 10_000_000 + i as u64 }));
        Observation { requests, errors, durations, ..Observation::default() }
    }

    /// The first window in which something deviates, and at which horizon, of windows behind fifteen good minutes.
    fn first(observations: &[Observation], read: impl Fn(&Recent, Now<'_>, &Baseline) -> bool) -> Option<usize> {
        let windows = Windows::of_ms(WINDOW_US / 1000);
        let mut history = History::default();
        (0..90).for_each(|i| history.learn(i * WINDOW_US, windows, &observation(20, 0, 0)));
        let mut recent = Recent::default();
        (0..observations.len()).find(|i| {
            let window_us = (90 + *i as i64) * WINDOW_US;
            let baseline = history.baseline(window_us, windows).unwrap();
            recent.count(window_us, &baseline, &observations[*i]);
            read(&recent, Now { window_us, windows, horizons: ALL }, &baseline)
        })
    }

    fn fails(recent: &Recent, now: Now<'_>, baseline: &Baseline) -> bool {
        recent.errors(now, baseline, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
    }

    #[test]
    fn what_is_too_rare_for_a_window_is_told_by_a_minute() {
        let errors = vec![observation(20, 2, 0); 30];
        assert!(first(&errors, fails).is_some_and(|window| (1..6).contains(&window)));
        assert_eq!(
            first(&errors, |recent, now, baseline| fails(recent, Now { horizons: &[1], ..now }, baseline)),
            None
        );
        let slow = vec![observation(20, 0, 2); 30];
        let is_slow = |recent: &Recent, now: Now<'_>, baseline: &Baseline| {
            recent.slower(now, baseline, 2, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
        };
        assert!(first(&slow, is_slow).is_some_and(|window| window < 12));
    }

    #[test]
    fn two_connects_that_fail_are_nobodys_trouble_and_three_of_four_are() {
        let fails = |failed: i64| {
            let observation = Observation { opened: 1, failed, ..observation(20, 0, 0) };
            first(&[observation], |recent, now, baseline| {
                recent.connects(now, baseline, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
            })
        };
        assert_eq!((fails(2), fails(3)), (None, Some(0)));
    }

    #[test]
    fn a_restart_of_a_few_seconds_is_no_trouble_of_a_minute_where_little_is_asked() {
        let window = |failed: i64| Observation { opened: 5, failed, ..observation(5, 0, 0) };
        let fails = |failed: &[i64]| {
            let observations: Vec<Observation> = failed.iter().map(|failed| window(*failed)).collect();
            first(&observations, |recent, now, baseline| {
                recent.connects(now, baseline, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
            })
        };
        // It ends in the window behind the one in which it begins.
        assert_eq!(fails(&[2, 2, 0, 0, 0, 0]), None);
        assert_eq!(fails(&[1, 2, 0, 0, 0, 0]), None);
        // What goes on is told of.
        assert_eq!(fails(&[2, 2, 2]), Some(2));
        assert_eq!(fails(&[2, 0, 0, 2, 2]), Some(4));
    }

    #[test]
    fn all_requests_twice_as_slow_are_told_of_by_a_few() {
        let slower = |factor: u64, count: u64| {
            let mut durations = Histogram::default();
            (0..count).for_each(|i| durations.record(factor * 10_000_000 + i));
            Observation { requests: count as i64, durations, ..Observation::default() }
        };
        let is_shifted = |recent: &Recent, now: Now<'_>, baseline: &Baseline| {
            recent.shifted(now, baseline, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
        };
        assert_eq!(first(&[slower(3, 8)], is_shifted), Some(0));
        assert_eq!(first(&vec![slower(1, 8); 30], is_shifted), None);
        assert_eq!(first(&[slower(3, 2)], is_shifted), None);
    }

    #[test]
    fn many_requests_tell_of_less_than_twice_the_time_and_a_job_beside_is_no_trouble() {
        let slower = |percent: u64| {
            let mut durations = Histogram::default();
            (0..200).for_each(|i| durations.record(percent * 100_000 + i));
            Observation { requests: 200, durations, ..Observation::default() }
        };
        let is_shifted = |recent: &Recent, now: Now<'_>, baseline: &Baseline| {
            recent.shifted(now, baseline, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
        };
        assert_eq!(first(&[slower(175)], is_shifted), Some(0));
        assert_eq!(first(&vec![slower(150); 30], is_shifted), None);
    }

    proptest! {
        #[test]
        fn what_two_windows_hold_is_told_of_by_one_of_them_or_not_at_all(
            bad in proptest::array::uniform2((0..30_usize, 0..=20_i64)),
        ) {
            let mut windows = vec![observation(20, 0, 0); 30];
            for (at, errors) in bad {
                windows[at] = observation(20, errors, 0);
            }
            let in_longer = |recent: &Recent, now: Now<'_>, baseline: &Baseline| {
                fails(recent, Now { horizons: &[6, 30], ..now }, baseline)
            };
            prop_assert_eq!(first(&windows, in_longer), None);
        }
    }

    #[test]
    fn one_bad_window_is_not_told_of_in_those_that_follow() {
        let mut windows = vec![observation(20, 0, 0); 30];
        windows.insert(0, observation(20, 20, 0));
        assert_eq!(first(&windows, fails), Some(0));
        let later = |recent: &Recent, now: Now<'_>, baseline: &Baseline| {
            now.window_us > 90 * WINDOW_US && fails(recent, now, baseline)
        };
        assert_eq!(first(&windows, later), None);
    }
}
