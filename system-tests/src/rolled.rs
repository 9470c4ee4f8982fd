//! Holds roll-ups against the windows that they are of.

use std::collections::{BTreeMap, BTreeSet};

use headwater_histogram::Histogram;
use headwater_schemas::records::{Edge, Latency};

use crate::newest::{OfWindow, newest};

const MINUTE_US: i64 = 60_000_000;

/// What can be added up.
pub trait Sums: OfWindow {
    fn sums(&self) -> (Vec<i64>, Histogram);
}

impl Sums for Edge {
    fn sums(&self) -> (Vec<i64>, Histogram) {
        let sums = vec![
            self.requests,
            self.errors,
            self.both_sides,
            self.request_bytes,
            self.response_bytes,
            self.client_to_server_bytes,
            self.server_to_client_bytes,
            self.connections_opened,
            self.connections_closed,
        ];
        (sums, self.duration_ns.clone())
    }
}

impl Sums for Latency {
    fn sums(&self) -> (Vec<i64>, Histogram) {
        (vec![self.requests, self.errors], self.duration_ns.clone())
    }
}

/// What differs, in words, of so many at most.
const QUOTED_MAX: usize = 20;

/// Roll-ups of minutes, each key apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rolled {
    pub right: usize,
    pub missing: usize,
    pub wrong: usize,
    /// Of these there is more than one under one number.
    pub doubled: usize,
    pub quoted: Vec<String>,
}

impl Rolled {
    fn quote(&mut self, (minute_us, key): &(i64, String), expected: Option<&Of>, found: Option<&Of>) {
        if self.quoted.len() < QUOTED_MAX {
            let sums = |of: Option<&Of>| of.map(|(sums, durations)| (sums.clone(), durations.sum() as u64));
            self.quoted.push(format!(
                "minute {minute_us} of {key}: {:?} where {:?} is expected",
                sums(found),
                sums(expected)
            ));
        }
    }
}

/// Sums of one key.
type Of = (Vec<i64>, Histogram);

/// Compares the minutes between these times.
pub fn compare<R: Sums>(windows: Vec<R>, minutes: Vec<R>, from_us: i64, to_us: i64) -> Rolled {
    let is_within = |minute_us: i64| minute_us >= from_us && minute_us + MINUTE_US <= to_us;
    let mut expected: BTreeMap<(i64, String), Of> = BTreeMap::new();
    for window in newest(windows) {
        let (window_us, key) = window.window_and_key();
        let minute_us = window_us.div_euclid(MINUTE_US) * MINUTE_US;
        let (sums, durations) = window.sums();
        let (all, all_durations) =
            expected.entry((minute_us, key)).or_insert((vec![0; sums.len()], Histogram::default()));
        all.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
        // Both are of the only scale that there is.
        let _ = all_durations.merge(&durations);
    }
    let mut rolled = Rolled::default();
    let mut seen = BTreeSet::new();
    for minute in minutes.iter().filter(|minute| is_within(minute.window_and_key().0)) {
        rolled.doubled += usize::from(!seen.insert((minute.window_and_key(), minute.revision())));
    }
    let found: BTreeMap<(i64, String), Of> =
        newest(minutes).iter().map(|minute| (minute.window_and_key(), minute.sums())).collect();
    for (place, sums) in expected.iter().filter(|(place, _)| is_within(place.0)) {
        match found.get(place) {
            Some(found) if found == sums => {
                rolled.right += 1;
                continue;
            }
            Some(_) => rolled.wrong += 1,
            None => rolled.missing += 1,
        }
        rolled.quote(place, Some(sums), found.get(place));
    }
    for (place, sums) in found.iter().filter(|(place, _)| is_within(place.0) && !expected.contains_key(place)) {
        rolled.wrong += 1;
        rolled.quote(place, None, Some(sums));
    }
    rolled
}

#[cfg(test)]
mod tests {
    use headwater_schemas::samples;

    use super::*;

    fn edge(start_us: i64, requests: i64, revision: i32) -> Edge {
        Edge { window_start_us: start_us, requests, revision, ..samples::edge() }
    }

    #[test]
    fn right_missing_wrong_and_doubled_are_told_apart() {
        let [zero, one, two, three] = [0, 1, 2, 3].map(|minute| minute * MINUTE_US);
        let none = |edge: Edge| Edge { errors: 0, both_sides: 0, duration_ns: Histogram::default(), ..edge };
        let bytes = |edge: Edge, times: i64| Edge {
            request_bytes: times * edge.request_bytes,
            response_bytes: times * edge.response_bytes,
            client_to_server_bytes: times * edge.client_to_server_bytes,
            server_to_client_bytes: times * edge.server_to_client_bytes,
            connections_opened: times * edge.connections_opened,
            connections_closed: times * edge.connections_closed,
            ..edge
        };
        let windows = [edge(zero, 1, 0), edge(zero, 2, 1), edge(zero + 1, 3, 0), edge(one, 4, 0), edge(two, 5, 0)];
        let windows = windows.map(none).to_vec();
        let minutes = vec![
            bytes(none(edge(zero, 5, 1)), 2),
            bytes(none(edge(zero, 4, 0)), 2),
            none(edge(one, 4, 0)),
            none(edge(one, 4, 0)),
        ];
        let of = |minutes: Vec<Edge>| {
            let Rolled { right, missing, wrong, doubled, quoted } = compare(windows.clone(), minutes, zero, three);
            assert_eq!(quoted.len(), missing + wrong);
            (right, missing, wrong, doubled)
        };
        assert_eq!(of(minutes.clone()), (2, 1, 0, 1));
        let more = [minutes, vec![none(edge(two, 6, 0))]].concat();
        assert_eq!(of(more), (2, 0, 1, 1));
        assert_eq!(compare(windows.clone(), Vec::new(), one, two).missing, 1);
    }
}
