//! What the records of a span add up to.
//!
//! In: the parts of a span, and the records of its windows or minutes. Out: one record a key for the whole span. Pure, and independent of the order: of several revisions of
//! a record the newest counts. The number of a roll-up is the sum of its parts', so it rises with each of them, and the same number says the same. Bounded: keys, and records
//! of which a newer revision may come.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use headwater_schemas::encryption::Encryptions;
use headwater_schemas::records::{Edge, Latency, Record, Workload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::spans::{Level, Part, Turn};
use crate::merge::{ClosedWindow, LatencyView, ServiceMapView, View};
use crate::plausible::is_named;
use crate::processor::{BadInput, Output};
use crate::sums::Sum;

/// Keys of one span.
const KEYS_MAX: usize = 1_000_000;
/// Records of parts that were closed again, of which one more may come.
const HELD_MAX: usize = 1_000_000;

/// A record that can be rolled up: what it is of, and its sums.
pub trait Rolled: Record + Serialize + DeserializeOwned {
    type Key: Ord + Hash + Clone;

    fn place(&self) -> Place;
    fn ends(key: &Self::Key) -> (&Workload, &Workload);

    /// # Errors
    /// If its sums cannot be meant.
    fn opened(self) -> Result<(Self::Key, Sum), BadInput>;

    fn made(key: Self::Key, sum: Sum, span: &ClosedWindow, revision: i32, completeness: f64) -> Option<Self>;
    fn kafka_key(&self) -> String;
}

/// Where a record belongs, and how far it may be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub start_us: i64,
    pub revision: i32,
    pub completeness: f64,
}

impl Rolled for Edge {
    type Key = <ServiceMapView as View>::Key;

    fn place(&self) -> Place {
        Place { start_us: self.window_start_us, revision: self.revision, completeness: self.completeness }
    }

    fn ends((client, server, _): &Self::Key) -> (&Workload, &Workload) {
        (client, server)
    }

    fn opened(self) -> Result<(Self::Key, Sum), BadInput> {
        is_named(&self.client, &self.server, &self.protocol)?;
        let sum = Sum::of_edge(&self)?;
        Ok(((self.client, self.server, self.protocol), sum))
    }

    fn made(key: Self::Key, sum: Sum, span: &ClosedWindow, revision: i32, completeness: f64) -> Option<Edge> {
        match ServiceMapView::record(key, sum, span) {
            Output::Edge(edge) => Some(Edge { revision, completeness, ..edge }),
            _ => None,
        }
    }

    fn kafka_key(&self) -> String {
        self.key()
    }
}

impl Rolled for Latency {
    type Key = <LatencyView as View>::Key;

    fn place(&self) -> Place {
        Place { start_us: self.window_start_us, revision: self.revision, completeness: self.completeness }
    }

    fn ends((client, server, _): &Self::Key) -> (&Workload, &Workload) {
        (client, server)
    }

    fn opened(self) -> Result<(Self::Key, Sum), BadInput> {
        is_named(&self.client, &self.server, &self.protocol)?;
        let sum = Sum::of_latency(&self)?;
        Ok(((self.client, self.server, [self.protocol, self.operation, self.status_class]), sum))
    }

    fn made(key: Self::Key, sum: Sum, span: &ClosedWindow, revision: i32, completeness: f64) -> Option<Latency> {
        match LatencyView::record(key, sum, span) {
            Output::Latency(latency) => Some(Latency { revision, completeness, ..latency }),
            _ => None,
        }
    }

    fn kafka_key(&self) -> String {
        self.key()
    }
}

/// Too much at once: the span is not rolled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a span has over {0} of {1}")]
pub struct TooMuch(usize, &'static str);

/// A span that is being added up.
pub struct Roll<'a, R: Rolled> {
    turn: &'a Turn,
    added: HashMap<R::Key, Added>,
    held: HashMap<(i64, R::Key), Held>,
    /// Records that came of each part, in their first revision.
    came: BTreeMap<i64, i64>,
}

#[derive(Default)]
struct Added {
    sum: Sum,
    /// The most of any part: connections that go on are in several.
    encryption: Encryptions,
    revision: i64,
    /// In parts that are not whole: what the record said.
    completeness: BTreeMap<i64, f64>,
}

struct Held {
    place: Place,
    sum: Sum,
}

impl<'a, R: Rolled> Roll<'a, R> {
    pub fn new(turn: &'a Turn) -> Roll<'a, R> {
        Roll { turn, added: HashMap::new(), held: HashMap::new(), came: BTreeMap::new() }
    }

    /// Takes a record. One that is of another span is passed over, as is one that was published again while what closes its window is still to be read.
    ///
    /// # Errors
    /// If it cannot be meant: it is left out, and what is made of the others says so.
    pub fn take(&mut self, record: R) -> Result<Option<TooMuch>, BadInput> {
        let place = record.place();
        let Some(part) = self.turn.parts.get(&place.start_us) else { return Ok(None) };
        let (key, sum) = record.opened()?;
        if place.revision == 0 {
            *self.came.entry(place.start_us).or_default() += 1;
        }
        if part.revision == 0 {
            if place.revision == 0 {
                self.add(key, place, sum);
            }
        } else {
            let held = self.held.entry((place.start_us, key)).or_insert_with(|| Held { place, sum: sum.clone() });
            if place.revision > held.place.revision {
                *held = Held { place, sum };
            }
        }
        let bounds = [(self.added.len(), KEYS_MAX, "keys"), (self.held.len(), HELD_MAX, "revised records")];
        Ok(bounds.into_iter().find(|(count, most, _)| count > most).map(|(_, most, what)| TooMuch(most, what)))
    }

    fn add(&mut self, key: R::Key, place: Place, mut sum: Sum) {
        let Some(part) = self.turn.parts.get(&place.start_us) else { return };
        let added = self.added.entry(key).or_default();
        added.encryption.at_least(&std::mem::take(&mut sum.encryption));
        added.sum.add(&sum);
        // Of a minute, its number has that of its windows in it.
        let of_windows = if self.turn.level == Level::Hour { part.revision } else { 0 };
        added.revision += i64::from(place.revision) - of_windows;
        if !part.is_whole() {
            added.completeness.insert(place.start_us, place.completeness);
        }
    }

    /// The roll-ups, in the order of their keys.
    pub fn finish(mut self) -> Vec<R> {
        for ((_, key), Held { place, sum }) in std::mem::take(&mut self.held) {
            self.add(key, place, sum);
        }
        let holes = self.holes();
        let Turn { level, from_us, parts, .. } = self.turn;
        let closed_again: i64 = parts.values().map(|part| part.revision).sum();
        let span = ClosedWindow::whole(*from_us, level.spans().length_ms());
        let mut added: Vec<(R::Key, Added)> = self.added.into_iter().collect();
        added.sort_by(|(one, _), (other, _)| one.cmp(other));
        let records = added.into_iter().filter_map(|(key, Added { mut sum, encryption, revision, completeness })| {
            sum.encryption = encryption;
            let (client, server) = R::ends(&key);
            let lacks: f64 = holes
                .iter()
                .map(|hole| {
                    let said = completeness.get(&hole.start_us).copied();
                    1.0 - hole.came * said.unwrap_or_else(|| hole.part.completeness_of(client, server))
                })
                .sum();
            let expected = self.turn.parts_expected.max(1) as f64;
            let unknown = (expected - parts.len() as f64).max(0.0);
            let completeness = ((expected - unknown - lacks) / expected).clamp(0.0, 1.0);
            let revision = i32::try_from(closed_again + revision).unwrap_or(i32::MAX);
            R::made(key, sum, &span, revision, completeness)
        });
        records.collect()
    }

    /// Parts that are not whole.
    fn holes(&self) -> Vec<Hole<'a>> {
        let holes = self.turn.parts.iter().filter_map(|(&start_us, part)| {
            let came = self.came.get(&start_us).copied().unwrap_or(0);
            let came = match part.records {
                Some(records) if came < records => came as f64 / records as f64,
                _ => 1.0,
            };
            (came < 1.0 || !part.is_whole()).then_some(Hole { start_us, part, came })
        });
        holes.collect()
    }
}

struct Hole<'a> {
    start_us: i64,
    part: &'a Part,
    /// The share of its records that is still there and can be read.
    came: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_histogram::Histogram;
    use headwater_schemas::place::Offset;
    use headwater_schemas::records::WindowClosed;
    use headwater_schemas::samples;
    use proptest::prelude::*;

    use super::super::spans::{Memo, Spans};
    use super::*;

    const WINDOW_US: i64 = 10_000_000;

    /// The first minute, whose windows were closed so often.
    fn minute(closed: [i32; 6]) -> Turn {
        let mut spans = Spans::new(0, Memo::default());
        for (window, revisions) in closed.into_iter().enumerate() {
            for revision in 0..=revisions {
                let marker = WindowClosed {
                    window_start_us: window as i64 * WINDOW_US,
                    window_ms: 10_000,
                    revision,
                    source_partition: 0,
                    source_partitions: 1,
                    completeness: 1.0,
                    missing: Vec::new(),
                    records: -1,
                    ..samples::window_closed()
                };
                spans.marker(Offset(window as i64), &marker);
            }
        }
        spans.marker(
            Offset(100),
            &WindowClosed {
                window_start_us: 50 * WINDOW_US,
                window_ms: 10_000,
                source_partition: 0,
                source_partitions: 1,
                ..samples::window_closed()
            },
        );
        spans.next().unwrap()
    }

    fn edge(window: i64, name: u8, requests: i64, revision: i32) -> Edge {
        let mut duration_ns = Histogram::default();
        duration_ns.record_many(1000 * u64::from(name + 1), requests as u32);
        Edge {
            window_start_us: window * WINDOW_US,
            window_ms: 10_000,
            client: Workload::local("unit", &name.to_string()),
            requests,
            revision,
            duration_ns,
            server_duration_ns: Histogram::default(),
            completeness: 1.0,
            encryption: BTreeMap::from([("none".to_owned(), requests)]),
            ..samples::edge()
        }
    }

    fn rolled(turn: &Turn, edges: impl IntoIterator<Item = Edge>) -> Vec<Edge> {
        let mut roll = Roll::new(turn);
        for edge in edges {
            assert_eq!(roll.take(edge).unwrap(), None);
        }
        roll.finish()
    }

    #[test]
    fn windows_add_up_and_connections_that_go_on_do_not() {
        let turn = minute([0; 6]);
        let edges = rolled(&turn, [edge(0, 1, 3, 0), edge(5, 1, 4, 0), edge(2, 2, 5, 0), edge(6, 1, 100, 0)]);
        let counts: Vec<_> =
            edges.iter().map(|edge| (edge.requests, edge.encryption["none"], edge.duration_ns.count())).collect();
        assert_eq!(counts, [(7, 4, 7), (5, 5, 5)]);
        let Edge { window_start_us, window_ms, revision, completeness, p50_us, .. } = &edges[0];
        assert_eq!((*window_start_us, *window_ms, *revision, *completeness), (0, 60_000, 0, 1.0));
        assert_eq!(*p50_us, edges[0].duration_ns.quantile(0.5) / 1000.0);
    }

    #[test]
    fn what_is_published_again_before_its_window_is_closed_again_does_not_count_yet() {
        let edges = [edge(0, 1, 3, 0), edge(0, 1, 30, 1), edge(1, 1, 4, 0)];
        let of = |closed| {
            let rolled = rolled(&minute(closed), edges.clone());
            rolled.iter().map(|edge| (edge.requests, edge.revision)).collect::<Vec<_>>()
        };
        assert_eq!(of([0; 6]), [(7, 0)]);
        assert_eq!(of([1, 0, 0, 0, 0, 0]), [(34, 2)]);
    }

    #[test]
    fn records_that_are_gone_or_cannot_be_meant_lower_completeness() {
        let mut turn = minute([0; 6]);
        turn.parts.get_mut(&0).unwrap().records = Some(4);
        let mut roll = Roll::new(&turn);
        for record in [edge(0, 1, 3, 0), edge(0, 2, 3, 0), edge(1, 3, 3, 0)] {
            roll.take(record).unwrap();
        }
        assert!(roll.take(Edge { requests: -1, ..edge(0, 4, 1, 0) }).is_err());
        // Half of one window of six; one that cannot be meant came, though nothing is known of it.
        let complete: Vec<f64> = roll.finish().iter().map(|edge| edge.completeness).collect();
        assert_eq!(complete, [5.5 / 6.0; 3]);
        turn.parts.remove(&(5 * WINDOW_US));
        turn.parts.get_mut(&0).unwrap().records = None;
        let edges = rolled(&turn, [edge(0, 1, 3, 0), Edge { completeness: 0.5, ..edge(1, 1, 3, 0) }]);
        assert_eq!(
            edges[0].completeness,
            5.0 / 6.0,
            "a window was never closed; of one that is whole, its records say nothing else"
        );
    }

    #[test]
    fn an_hour_has_what_its_minutes_have() {
        let mut spans = Spans::new(0, Memo::default());
        let marker = |window: i64, revision| WindowClosed {
            window_start_us: window * WINDOW_US,
            window_ms: 10_000,
            revision,
            source_partition: 0,
            source_partitions: 1,
            completeness: 1.0,
            missing: Vec::new(),
            records: -1,
            ..samples::window_closed()
        };
        for window in 0..360 {
            spans.marker(Offset(window), &marker(window, 0));
            let turn = spans.next().filter(|turn| turn.level == Level::Minute);
            turn.iter().for_each(|turn| spans.done(turn));
        }
        let of =
            |minute: i64, requests, revision| Edge { window_ms: 60_000, ..edge(6 * minute, 1, requests, revision) };
        let turn = spans.next().unwrap();
        assert_eq!((turn.level, turn.parts_expected), (Level::Hour, 60));
        let edges = rolled(&turn, [of(0, 3, 0), of(59, 4, 0), of(60, 5, 0)]);
        assert_eq!(
            edges
                .iter()
                .map(|edge| (edge.requests, edge.revision, edge.window_ms, edge.completeness))
                .collect::<Vec<_>>(),
            [(7, 0, 3_600_000, 1.0)]
        );
        // One minute was rolled up again, in which nothing is seen of the edge; then another one, in which it is.
        spans.done(&turn);
        spans.marker(Offset(1000), &marker(12, 1));
        spans.rests();
        let minute = spans.next().unwrap();
        spans.done(&minute);
        let turn = spans.next().unwrap();
        assert_eq!(rolled(&turn, [of(0, 3, 0), of(59, 4, 0)])[0].revision, 1);
        spans.marker(Offset(1001), &marker(0, 1));
        spans.rests();
        let minute = spans.next().unwrap();
        spans.done(&minute);
        let edges = rolled(&spans.next().unwrap(), [of(0, 3, 0), of(0, 5, 2), of(59, 4, 0)]);
        assert_eq!((edges[0].revision, edges[0].requests), (3, 9));
    }

    proptest! {
        /// In whatever order they come, the newest of each counts; and a higher number is there whenever one of them is newer.
        #[test]
        fn the_newest_revisions_add_up(
            newest in proptest::collection::btree_map((0..6i64, 0..3u8), 0..4i32, 1..12),
            order in any::<u64>(),
        ) {
            let mut closed = [0; 6];
            let mut records = Vec::new();
            for (&(window, name), &revision) in &newest {
                closed[window as usize] = revision.max(closed[window as usize]);
                records.extend((0..=revision).map(|revision| edge(window, name, 1 + window + 10 * i64::from(revision), revision)));
            }
            // As good as any order.
            records.sort_by_key(|edge| (order ^ (edge.window_start_us as u64 / 7) ^ edge.requests as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut expected: BTreeMap<String, (i64, i32)> = BTreeMap::new();
            for (&(window, name), &revision) in &newest {
                let sum = expected.entry(Workload::local("unit", &name.to_string()).key()).or_insert((0, closed.iter().sum()));
                sum.0 += 1 + window + 10 * i64::from(revision);
                sum.1 += revision;
            }
            let edges = rolled(&minute(closed), records);
            let found: BTreeMap<String, (i64, i32)> =
                edges.iter().map(|edge| (edge.client.key(), (edge.requests, edge.revision))).collect();
            prop_assert_eq!(found.len(), edges.len());
            prop_assert_eq!(found, expected);
        }
    }
}
