#![allow(clippy::unwrap_used)]
use super::*;
use crate::bottlenecks::baseline::History;
use crate::bottlenecks::recent::{ALL, Recent};
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
fn first(observations: &[Observation], read: impl Fn(Seen<'_>, Now<'_>) -> bool) -> Option<usize> {
    let windows = Windows::of_ms(WINDOW_US / 1000);
    let mut history = History::default();
    (0..90).for_each(|i| history.learn(i * WINDOW_US, windows, &observation(20, 0, 0)));
    let mut recent = Recent::default();
    (0..observations.len()).find(|i| {
        let window_us = (90 + *i as i64) * WINDOW_US;
        let baseline = history.baseline(window_us, windows).unwrap();
        recent.count(window_us, &baseline, &observations[*i]);
        read(Seen { recent: &recent, baseline: &baseline }, Now { window_us, windows, horizons: ALL })
    })
}

fn fails(seen: Seen<'_>, now: Now<'_>) -> bool {
    Together(&[seen]).errors(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
}

#[test]
fn what_is_too_rare_for_a_window_is_told_by_a_minute() {
    let errors = vec![observation(20, 2, 0); 30];
    assert!(first(&errors, fails).is_some_and(|window| (1..6).contains(&window)));
    assert_eq!(first(&errors, |seen, now| fails(seen, Now { horizons: &[1], ..now })), None);
    let slow = vec![observation(20, 0, 2); 30];
    let is_slow = |seen: Seen<'_>, now: Now<'_>| {
        Together(&[seen]).slower(now, 2, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
    };
    assert!(first(&slow, is_slow).is_some_and(|window| window < 12));
}

#[test]
fn two_connects_that_fail_are_nobodys_trouble_and_three_of_four_are() {
    let fails = |failed: i64| {
        let observation = Observation { opened: 1, failed, ..observation(20, 0, 0) };
        first(&[observation], |seen, now| seen.connects(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates))
    };
    assert_eq!((fails(2), fails(3)), (None, Some(0)));
}

#[test]
fn a_restart_of_a_few_seconds_is_no_trouble_of_a_minute_where_little_is_asked() {
    let window = |failed: i64| Observation { opened: 5, failed, ..observation(5, 0, 0) };
    let fails = |failed: &[i64]| {
        let observations: Vec<Observation> = failed.iter().map(|failed| window(*failed)).collect();
        first(&observations, |seen, now| seen.connects(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates))
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
    let is_shifted = |seen: Seen<'_>, now: Now<'_>| {
        Together(&[seen]).shifted(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
    };
    assert_eq!(first(&[slower(3, 8)], is_shifted), Some(0));
    assert_eq!(first(&vec![slower(1, 8); 30], is_shifted), None);
    assert_eq!(first(&[slower(3, 2)], is_shifted), None);
}

/// Times vary by as much as they are slower, so that a minute has too few of them, and five minutes hold the good ones of before for long.
#[test]
fn twice_the_time_of_few_requests_is_told_of_within_minutes() {
    // From a third to three times the median.
    let window = |percent: u64| of_times(&[33, 45, 64, 80, 100, 125, 156, 220, 300].map(|part| part * percent));
    let past = vec![window(100); 90];
    let is_shifted = |seen: Seen<'_>, now: Now<'_>| {
        Together(&[seen]).shifted(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
    };
    let told = first_of_learned(&past, &vec![window(220); 30], is_shifted);
    assert!(told.is_some_and(|at| at < past.len() + 14), "{told:?}");
    assert_eq!(first_of_learned(&past, &vec![window(150); 30], is_shifted), None);
}

#[test]
fn many_requests_tell_of_less_than_twice_the_time_and_a_job_beside_is_no_trouble() {
    let slower = |percent: u64| {
        let mut durations = Histogram::default();
        (0..200).for_each(|i| durations.record(percent * 100_000 + i));
        Observation { requests: 200, durations, ..Observation::default() }
    };
    let is_shifted = |seen: Seen<'_>, now: Now<'_>| {
        Together(&[seen]).shifted(now, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
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
        let in_longer = |seen: Seen<'_>, now: Now<'_>| {
            fails(seen, Now { horizons: &[6, 30], ..now })
        };
        prop_assert_eq!(first(&windows, in_longer), None);
    }
}

#[test]
fn one_bad_window_is_not_told_of_in_those_that_follow() {
    let mut windows = vec![observation(20, 0, 0); 30];
    windows.insert(0, observation(20, 20, 0));
    assert_eq!(first(&windows, fails), Some(0));
    let later = |seen: Seen<'_>, now: Now<'_>| now.window_us > 90 * WINDOW_US && fails(seen, now);
    assert_eq!(first(&windows, later), None);
}

/// The second of two windows in a row in which something deviates, of windows behind a past, which they become part of.
fn first_of_learned(
    past: &[Observation],
    observations: &[Observation],
    read: impl Fn(Seen<'_>, Now<'_>) -> bool,
) -> Option<usize> {
    let windows = Windows::of_ms(WINDOW_US / 1000);
    let (mut history, mut recent, mut deviated) = (History::default(), Recent::default(), false);
    past.iter().chain(observations).enumerate().position(|(at, observation)| {
        let window_us = at as i64 * WINDOW_US;
        history.forget(window_us, windows);
        let usual = history.baseline(window_us, windows);
        history.learn(window_us, windows, observation);
        let Some(baseline) = usual else { return false };
        recent.forget(window_us, windows);
        recent.count(window_us, &baseline, observation);
        let deviates = read(Seen { recent: &recent, baseline: &baseline }, Now { window_us, windows, horizons: ALL });
        std::mem::replace(&mut deviated, deviates) && deviates
    })
}

fn of_times(times_us: &[u64]) -> Observation {
    let mut durations = Histogram::default();
    times_us.iter().for_each(|us| durations.record(us * 1000));
    Observation { requests: times_us.len() as i64, durations, ..Observation::default() }
}

fn is_slow(seen: Seen<'_>, now: Now<'_>) -> bool {
    (0..QUANTILES.len()).any(|quantile| {
        Together(&[seen]).latency(now, quantile, Enough::ToBegin).is_some_and(|evidence| evidence.deviates)
    })
}

/// An hourly job brings thousands of requests where some dozens are known, none of which was slow.
#[test]
fn a_job_says_nothing_of_times_and_errors_where_few_requests_are_known() {
    let job = |slow: i64| vec![observation(2000, slow, slow); 3];
    let few = vec![observation(4, 0, 0); 6];
    assert_eq!(first_of_learned(&few, &job(500), |seen, now| is_slow(seen, now) || fails(seen, now)), None);
    let many = vec![observation(500, 0, 0); 60];
    assert_eq!(first_of_learned(&many, &job(500), is_slow), Some(61));
    assert_eq!(first_of_learned(&many, &job(500), fails), Some(61));
}

/// Of times that now and then are very long, a few requests happen to be alike.
#[test]
fn a_request_that_takes_very_long_says_nothing_of_all_where_few_are_known() {
    let past: Vec<Observation> = (0..6).map(|_| of_times(&[6_800, 8_400, 10_600, 13_200])).collect();
    let times: [&[u64]; 6] = [&[36_200, 36_200], &[], &[25_300, 25_300], &[], &[254_000], &[7_600]];
    assert_eq!(first_of_learned(&past, &times.map(of_times), is_slow), None);
    let all_slower = [36_200, 25_300, 31_000, 40_000];
    assert!(first_of_learned(&past, &vec![of_times(&all_slower); 6], is_slow).is_some());
}

/// Of a hundred requests about one takes eight times as long, so that the last percent's limit is now before these and now behind them. What was counted with
/// one limit is not held against the chance of the other.
#[test]
fn what_was_counted_with_another_limit_is_held_against_its_own_chance() {
    let window = |slow: bool| {
        let mut times: Vec<u64> = (0..50).map(|i| 50_000 + 100 * i).collect();
        times[0] = if slow { 420_000 } else { times[0] };
        of_times(&times)
    };
    // 0.8 % for long, then 1.4 %.
    let past: Vec<Observation> = (0..90).map(|at| window(at % 5 < 2)).collect();
    let then: Vec<Observation> = (0..90).map(|at| window(at % 10 < 7)).collect();
    assert_eq!(first_of_learned(&past, &then, is_slow), None);
}
