//! Holds what a reader of committed records sees against a batch computation of the same log.
//!
//! A window here is that of one edge, or of one operation and status class of an edge. It must be there once, with the same bits; or it names
//! what only faults between join and merge can cost: then it is counted apart.

use std::collections::BTreeMap;
use std::fmt::Debug;

use headwater_schemas::records::{Missing, WindowClosed};

use crate::batch::Windows;
use crate::newest::OfWindow;

/// What a window names as missing if its partials did not come as they should have, which the raw log does not know.
const SAID: [&str; 3] = ["partition-not-read", "partials-lost", "partitions-differ"];

/// How many problems are quoted.
const QUOTED_MAX: usize = 10;

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    /// In the batch computation.
    pub windows: usize,
    /// That differ and name what is missing.
    pub said: usize,
    /// That differ and say nothing, are there twice, or are not in the batch computation at all.
    pub different: usize,
    /// That no reader sees.
    pub missing: usize,
    pub quoted: Vec<String>,
}

/// Compares all windows up to one, which everybody must have closed, as they were published the first time. `closed` is what closes those of the edges.
pub fn compare(published: &Windows, closed: &[WindowClosed], computed: &Windows, last_us: i64) -> Verdict {
    let mut verdict = Verdict::default();
    let mut says: BTreeMap<i64, bool> = BTreeMap::new();
    for marker in closed {
        *says.entry(marker.window_start_us).or_default() |= names(&marker.missing);
    }
    verdict.add(&published.edges, &computed.edges, last_us, &says);
    verdict.add(&published.latencies, &computed.latencies, last_us, &says);
    verdict
}

fn names(missing: &[Missing]) -> bool {
    missing.iter().any(|missing| SAID.contains(&missing.reason.as_str()))
}

impl Verdict {
    fn add<R: OfWindow + PartialEq + Debug + Clone>(
        &mut self,
        published: &[R],
        computed: &[R],
        last_us: i64,
        says: &BTreeMap<i64, bool>,
    ) {
        let mut first: BTreeMap<(i64, String), R> = BTreeMap::new();
        let is_first = |record: &&R| record.revision() == 0 && record.window_and_key().0 <= last_us;
        for record in published.iter().filter(is_first) {
            if first.contains_key(&record.window_and_key()) {
                // While partitions are added, the sums of one edge may be in two partitions, and the window says so.
                if says.get(&record.window_and_key().0).copied().unwrap_or(false) {
                    self.said += 1;
                } else {
                    self.different += 1;
                    self.quote(format!("there twice: {record:?}"));
                }
            }
            first.insert(record.window_and_key(), record.clone());
        }
        for record in computed.iter().filter(|record| record.window_and_key().0 <= last_us) {
            let key = record.window_and_key();
            self.windows += 1;
            match first.remove(&key) {
                Some(seen) if seen == *record => {}
                _ if says.get(&key.0).copied().unwrap_or(false) => self.said += 1,
                Some(seen) => {
                    self.different += 1;
                    self.quote(format!("seen {seen:?}\n  and computed {record:?}"));
                }
                None => {
                    self.missing += 1;
                    self.quote(format!("seen by nobody: {record:?}"));
                }
            }
        }
        for (key, record) in first {
            if says.get(&key.0).copied().unwrap_or(false) {
                self.said += 1;
            } else {
                self.different += 1;
                self.quote(format!("not in the log: {record:?}"));
            }
        }
    }

    fn quote(&mut self, text: String) {
        if self.quoted.len() < QUOTED_MAX {
            self.quoted.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_schemas::records::Edge;
    use headwater_schemas::samples;

    use super::*;

    const LAST_US: i64 = 60_000_000;

    fn edge(window_start_us: i64, requests: i64) -> Edge {
        Edge { window_start_us, requests, revision: 0, ..samples::edge() }
    }

    /// Says of a window why something is missing.
    fn closed(window_start_us: i64, reason: &str) -> WindowClosed {
        let (node, reason) = ("unknown".to_owned(), reason.to_owned());
        let missing = Missing { node, reason, count: 0, from_us: window_start_us, to_us: window_start_us + 1 };
        WindowClosed { window_start_us, missing: vec![missing], ..samples::window_closed() }
    }

    fn verdict(published: &[Edge], closed: &[WindowClosed], computed: &[Edge]) -> [usize; 4] {
        let of = |edges: &[Edge]| Windows { edges: edges.to_vec(), latencies: Vec::new() };
        let verdict = compare(&of(published), closed, &of(computed), LAST_US);
        [verdict.windows, verdict.said, verdict.different, verdict.missing]
    }

    #[test]
    fn what_is_equal_is_right_and_what_came_after_the_end_is_not_judged() {
        let log = [edge(10, 1), edge(20, 2), edge(LAST_US + 1, 3)];
        assert_eq!(verdict(&log[..2], &[closed(20, "no-data")], &log), [2, 0, 0, 0]);
    }

    #[test]
    fn what_differs_lacks_or_is_too_much_is_wrong() {
        let log = [edge(10, 1), edge(20, 2)];
        assert_eq!(verdict(&[edge(10, 1), edge(20, 3)], &[], &log), [2, 0, 1, 0]);
        assert_eq!(verdict(&log[..1], &[], &log), [2, 0, 0, 1]);
        assert_eq!(verdict(&[log.as_slice(), &[edge(30, 1)]].concat(), &[], &log), [2, 0, 1, 0]);
        assert_eq!(verdict(&[log.as_slice(), &log[..1]].concat(), &[], &log), [2, 0, 1, 0]);
        // What the log itself lacks is no excuse.
        assert_eq!(verdict(&[edge(10, 9), edge(20, 2)], &[closed(10, "no-data")], &log), [2, 0, 1, 0]);
    }

    #[test]
    fn a_window_that_says_what_came_between_is_counted_apart_and_a_revision_is_another_matter() {
        let log = [edge(10, 1), edge(20, 2)];
        assert_eq!(verdict(&[edge(10, 0), edge(20, 2)], &[closed(10, "partition-not-read")], &log), [2, 1, 0, 0]);
        let twice = [edge(10, 4), edge(10, 4), edge(20, 2)];
        assert_eq!(verdict(&twice, &[closed(10, "partitions-differ")], &log), [2, 2, 0, 0]);
        // What came late is held against what happened: the log of then knows nothing of it.
        let revised = Edge { revision: 1, ..edge(10, 9) };
        assert_eq!(verdict(&[edge(10, 1), revised, edge(20, 2)], &[], &log), [2, 0, 0, 0]);
    }
}
