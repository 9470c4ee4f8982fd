//! What differs between windows as they were published and as they are now.
//!
//! In: records and markers of both. Out: those to publish, as a whole, each under the number after the one that is there. What is no more is
//! published with nothing in it. Pure: comparing again gives nothing once all of it is published.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::{Edge, Latency, WindowClosed};

/// Records by the start of their window and their key.
pub type Records<R> = BTreeMap<(i64, String), R>;

/// A record of one window, of which the one with the largest number holds.
pub trait Revisable: Clone + PartialEq {
    fn window_us(&self) -> i64;
    fn revision(&self) -> i32;
    fn with_revision(self, revision: i32) -> Self;
}

impl Revisable for Edge {
    fn window_us(&self) -> i64 {
        self.window_start_us
    }

    fn revision(&self) -> i32 {
        self.revision
    }

    fn with_revision(self, revision: i32) -> Self {
        Edge { revision, ..self }
    }
}

impl Revisable for Latency {
    fn window_us(&self) -> i64 {
        self.window_start_us
    }

    fn revision(&self) -> i32 {
        self.revision
    }

    fn with_revision(self, revision: i32) -> Self {
        Latency { revision, ..self }
    }
}

/// What of some windows stands in a topic, or is to.
#[derive(Debug, Clone)]
pub struct Windows<R> {
    pub records: Records<R>,
    /// By window and source partition.
    pub markers: BTreeMap<(i64, i32), WindowClosed>,
}

impl<R> Default for Windows<R> {
    fn default() -> Windows<R> {
        Windows { records: BTreeMap::new(), markers: BTreeMap::new() }
    }
}

impl<R: Revisable> Windows<R> {
    /// Takes a record. Of several with one key in one window the newest stays.
    pub fn take(&mut self, window_us: i64, key: String, record: R) {
        let known = self.records.entry((window_us, key)).or_insert_with(|| record.clone());
        if record.revision() >= known.revision() {
            *known = record;
        }
    }

    /// Takes a marker, in the same way.
    pub fn mark(&mut self, marker: WindowClosed) {
        let place = (marker.window_start_us, marker.source_partition);
        let known = self.markers.entry(place).or_insert_with(|| marker.clone());
        if marker.revision >= known.revision {
            *known = marker;
        }
    }

    /// What one of its markers says of a window.
    pub fn marker(&self, window_us: i64) -> Option<&WindowClosed> {
        self.markers.range((window_us, i32::MIN)..=(window_us, i32::MAX)).map(|(_, marker)| marker).next()
    }

    /// What is to be published so that all windows that were computed are as they are now; none of one that was not closed yet. Each window of which anything is, is closed again. `emptied` makes a record with nothing in
    /// it of one that was published.
    pub fn revised(
        &self,
        computed: &Windows<R>,
        emptied: impl Fn(&R, &WindowClosed) -> Option<R>,
    ) -> (Vec<R>, Vec<WindowClosed>) {
        let mut records = Vec::new();
        for (place, before) in &self.records {
            if !computed.records.contains_key(place)
                && let Some(now) = computed.marker(place.0).and_then(|marker| emptied(before, marker))
            {
                records.extend(differs(before, now));
            }
        }
        for (place, now) in computed.records.iter().filter(|(place, _)| self.marker(place.0).is_some()) {
            match self.records.get(place) {
                Some(before) => records.extend(differs(before, now.clone())),
                // Nothing of this key stands there.
                None => records.push(now.clone().with_revision(1)),
            }
        }
        let changed: BTreeSet<i64> = records.iter().map(Revisable::window_us).collect();
        // No record has a higher number than what closes its window, unless whoever published it did not come that far.
        let mut highest: BTreeMap<i64, i32> = BTreeMap::new();
        for ((window_us, _), record) in &self.records {
            let revision = highest.entry(*window_us).or_default();
            *revision = record.revision().max(*revision);
        }
        let marker = |(place, now): (_, &WindowClosed)| {
            let before: &WindowClosed = self.markers.get(place)?;
            let same = !changed.contains(&now.window_start_us)
                && highest.get(&now.window_start_us).is_none_or(|highest| *highest <= before.revision)
                && before.completeness == now.completeness
                && before.nodes == now.nodes
                && before.missing == now.missing
                && before.touches == now.touches;
            (!same).then(|| WindowClosed { revision: before.revision.saturating_add(1), ..now.clone() })
        };
        (records, computed.markers.iter().filter_map(marker).collect())
    }
}

fn differs<R: Revisable>(before: &R, now: R) -> Option<R> {
    let now = now.with_revision(before.revision());
    (now != *before).then(|| now.with_revision(before.revision().saturating_add(1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_schemas::samples;
    use proptest::prelude::*;

    use super::*;

    /// Edges by window and protocol, which is their key here, and the markers of these windows.
    fn windows(edges: &BTreeMap<(u8, u8), i64>, completeness: &[f64]) -> Windows<Edge> {
        let mut windows = Windows::default();
        for (&(window, key), &requests) in edges {
            let (window_start_us, protocol) = (i64::from(window), key.to_string());
            let edge = Edge { window_start_us, requests, protocol: protocol.clone(), ..samples::edge() };
            windows.take(window_start_us, protocol, edge);
        }
        for (window, &completeness) in completeness.iter().enumerate() {
            let (window_start_us, sample) = (window as i64, samples::window_closed());
            windows.mark(WindowClosed { window_start_us, completeness, ..sample });
        }
        windows
    }

    fn emptied(edge: &Edge, _: &WindowClosed) -> Option<Edge> {
        Some(Edge { requests: 0, ..edge.clone() })
    }

    /// What is there, by window and protocol, if it is anything.
    fn requests(windows: &Windows<Edge>) -> BTreeMap<(i64, String), i64> {
        let there = windows.records.iter().filter(|(_, edge)| edge.requests > 0);
        there.map(|(place, edge)| (place.clone(), edge.requests)).collect()
    }

    fn completeness(windows: &Windows<Edge>) -> Vec<f64> {
        windows.markers.values().map(|marker| marker.completeness).collect()
    }

    proptest! {
        /// Whatever stood there, afterwards it says what was computed, each record of it under a number of its own, and there is nothing left to publish.
        #[test]
        fn what_is_published_says_what_was_computed_and_nothing_twice(
            before in proptest::collection::btree_map((0u8..5, 0u8..4), 1i64..4, 0..12),
            turns in proptest::collection::vec(
                (proptest::collection::btree_map((0u8..3, 0u8..4), 1i64..4, 0..12), proptest::collection::vec(0.0..1.0, 3)),
                1..4,
            ),
        ) {
            let mut published = windows(&before, &[0.0; 5]);
            let mut others = requests(&published);
            others.retain(|(window_us, _), _| *window_us >= 3);
            let mut numbers: BTreeSet<_> = published.records.keys().map(|place| (place.clone(), 0)).collect();
            for (edges, marked) in &turns {
                let computed = windows(edges, marked);
                let (records, markers) = published.revised(&computed, emptied);
                for edge in records {
                    let place = (edge.window_start_us, edge.protocol.clone());
                    prop_assert!(numbers.insert((place.clone(), edge.revision)), "{:?} twice", edge);
                    published.take(place.0, place.1, edge);
                }
                for marker in markers {
                    prop_assert!(marker.revision > 0);
                    published.mark(marker);
                }
                for ((window_us, _), edge) in &published.records {
                    prop_assert!(edge.revision <= published.marker(*window_us).map_or(0, |marker| marker.revision));
                }
                let expected: BTreeMap<_, _> = requests(&computed).into_iter().chain(others.clone()).collect();
                prop_assert_eq!(requests(&published), expected);
                prop_assert_eq!(completeness(&published), [marked.as_slice(), &[0.0; 2]].concat());
                prop_assert_eq!(published.revised(&computed, emptied), (Vec::new(), Vec::new()));
            }
        }
    }

    /// Whoever published it broke off before what closes the window.
    #[test]
    fn a_window_whose_record_has_a_higher_number_is_closed_again() {
        let mut published = windows(&BTreeMap::from([((0, 1), 5)]), &[1.0]);
        let computed = windows(&BTreeMap::from([((0, 1), 6)]), &[1.0]);
        let (records, markers) = published.revised(&computed, emptied);
        assert_eq!((records.len(), markers.len()), (1, 1));
        published.take(0, "1".to_owned(), records[0].clone());
        assert_eq!(published.revised(&computed, emptied), (Vec::new(), markers.clone()));
        published.mark(markers[0].clone());
        assert_eq!(published.revised(&computed, emptied), (Vec::new(), Vec::new()));
    }

    #[test]
    fn of_what_stands_there_the_newest_counts_in_whatever_order_it_is_read() {
        let mut published = Windows::default();
        for (revision, requests) in [(0, 5), (2, 7), (1, 6)] {
            published.take(0, "a".to_owned(), Edge { revision, requests, ..samples::edge() });
            let completeness = requests as f64 / 10.0;
            published.mark(WindowClosed { revision, completeness, ..samples::window_closed() });
        }
        assert_eq!(published.records.values().map(|edge| (edge.revision, edge.requests)).collect::<Vec<_>>(), [(2, 7)]);
        assert_eq!(completeness(&published), [0.7]);
    }

    /// It may not have been closed by all whose sums it adds up: the first time is still to come.
    #[test]
    fn a_window_that_was_not_closed_is_not_revised() {
        let published = windows(&BTreeMap::from([((0, 1), 5)]), &[1.0]);
        let computed = windows(&BTreeMap::from([((0, 1), 5), ((1, 1), 5)]), &[1.0, 1.0]);
        assert_eq!(published.revised(&computed, emptied), (Vec::new(), Vec::new()));
    }
}
