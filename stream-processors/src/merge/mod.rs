//! Merge: adds up what all raw partitions say of a window, for the edges of one partition of `partials`.
//!
//! In: partial sums, and markers of the raw partitions that have closed a window. Out: one record an edge (or operation) and
//! window, then a marker. A window closes when every raw partition has closed it or a later one. Bounded: when too many
//! sums wait for a raw partition that does not come, the oldest window closes without it and says so.

pub mod latency;
pub mod service_map;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Missing, Partial, Touch, UNKNOWN, WindowClosed, Workload};

use crate::markers::Sources;
use crate::missing::{PARTITIONS_DIFFER, coalesce, honest};
use crate::plausible::{SOURCE_PARTITIONS_MAX, are_names, is_named, marker_is_plausible, plausible_window, within};
use crate::processor::{BadInput, Checkpoint, Counters, Input, Kind, Memo, Output, Processor, read};
use crate::sums::Sum;
use crate::touched::{Touched, joined};

pub use self::latency::LatencyView;
pub use self::service_map::ServiceMapView;

/// Sums that may wait in one partition.
const HELD_MAX: usize = 100_000;

/// What a merge makes of partial sums.
pub trait View {
    /// What is added up separately. Its order is the order of the output.
    type Key: Ord + Hash;

    /// The topic that it writes.
    const TOPIC: headwater_schemas::topics::Topic;

    /// Where a partial belongs; nowhere if this view has no use for it.
    fn key(partial: &mut Partial) -> Option<Self::Key>;

    fn record(key: Self::Key, sum: Sum, window: &ClosedWindow) -> Output;
}

/// What all records of a window have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedWindow {
    pub start_us: i64,
    pub length_ms: i64,
    pub nodes: i32,
    pub completeness: f64,
    pub missing: Vec<Missing>,
    pub touches: Vec<Touch>,
    touched: Touched,
    /// Windows of which something came late, as the raw partitions say.
    pub late_us: BTreeSet<i64>,
}

impl ClosedWindow {
    /// The window that a marker tells of.
    pub fn of(marker: &WindowClosed) -> ClosedWindow {
        ClosedWindow {
            start_us: marker.window_start_us,
            length_ms: marker.window_ms,
            nodes: marker.nodes,
            completeness: marker.completeness,
            missing: marker.missing.clone(),
            touches: Vec::new(),
            touched: Touched::Nothing,
            late_us: BTreeSet::new(),
        }
        .touched_by(&marker.touches)
    }

    /// A span of which the records say themselves what they lack.
    pub fn whole(start_us: i64, length_ms: i64) -> ClosedWindow {
        ClosedWindow {
            start_us,
            length_ms,
            nodes: 0,
            completeness: 1.0,
            missing: Vec::new(),
            touches: Vec::new(),
            touched: Touched::Nothing,
            late_us: BTreeSet::new(),
        }
    }

    fn touched_by<'a>(mut self, lists: impl IntoIterator<Item = &'a Touch>) -> ClosedWindow {
        let nodes: BTreeSet<&str> = self.missing.iter().map(|missing| missing.node.as_str()).collect();
        let lists = lists.into_iter().filter(|touch| nodes.contains(touch.node.as_str()));
        self.touches = joined(lists, self.start_us, self.length_ms.saturating_mul(1000));
        self.touched = Touched::of(&self.missing, &self.touches);
        self
    }

    /// How complete an edge is in it.
    pub fn completeness_of(&self, client: &Workload, server: &Workload) -> f64 {
        if self.touched.has(client, server) { self.completeness } else { 1.0 }
    }
}

/// The merge of one partition of partials.
pub struct Merge<V: View> {
    partition: Partition,
    partitions: i32,
    open: BTreeMap<i64, OpenWindow<V::Key>>,
    held: usize,
    sources: Sources,
    closed_through_us: Option<i64>,
    window_ms: i64,
    next_offset: Offset,
    read_to: Offset,
    outputs: Vec<Output>,
    counters: Counters,
}

struct OpenWindow<K> {
    first_offset: Offset,
    /// In no order: a comparison of two keys, which are strings that begin alike, takes longer than all else that is done for a partial.
    sums: HashMap<K, Sum>,
    markers: BTreeMap<i32, WindowClosed>,
    /// Partials that came, by source partition.
    came: BTreeMap<i32, i64>,
    /// Among how many partitions of partials the sources spread theirs: one number, unless partitions were added just then.
    among: BTreeSet<i32>,
}

impl<V: View> Merge<V> {
    /// The merge of partition `partition` of `partitions`, as a checkpoint left it.
    pub fn new(partition: Partition, partitions: i32, checkpoint: Option<&Checkpoint>) -> Merge<V> {
        let memo = checkpoint.map(|checkpoint| checkpoint.memo.clone()).unwrap_or_default();
        Merge {
            partition,
            partitions,
            open: BTreeMap::new(),
            held: 0,
            sources: Sources::default(),
            closed_through_us: memo.closed_through_us,
            window_ms: memo.window_ms,
            next_offset: checkpoint.map_or(Offset::FIRST, |checkpoint| checkpoint.needed_from),
            read_to: memo.read_to,
            outputs: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a partial sum.
    pub fn partial(&mut self, offset: Offset, mut partial: Partial) -> Result<(), BadInput> {
        let (window_us, source) = (partial.window_start_us, partial.raw_partition);
        let key = V::key(&mut partial);
        let sum = Sum::of(partial)?;
        self.next_offset = offset.next();
        if self.closed_through_us.is_some_and(|through_us| window_us <= through_us) {
            self.counters.add("late", u64::from(offset >= self.read_to));
            return Ok(());
        }
        let window = self.open.entry(window_us).or_insert_with(|| OpenWindow::new(offset));
        *window.came.entry(source).or_default() += 1;
        if let Some(key) = key {
            let held = &mut self.held;
            let new = || {
                *held += 1;
                Sum::default()
            };
            window.sums.entry(key).or_insert_with(new).add(&sum);
        }
        if self.held > HELD_MAX {
            self.close_oldest();
            self.counters.add("windows_given_up", 1);
        }
        Ok(())
    }

    /// Takes a marker. Its writer may say among how many partitions it spreads partials.
    pub fn closed(&mut self, offset: Offset, marker: WindowClosed, among: Option<i32>) {
        self.next_offset = offset.next();
        let (window_us, source) = (marker.window_start_us, marker.source_partition);
        self.sources.mark(&marker);
        if self.closed_through_us.is_some_and(|through_us| window_us <= through_us) {
            self.counters.add("late", u64::from(offset >= self.read_to));
            return;
        }
        self.window_ms = marker.window_ms;
        let window = self.open.entry(window_us).or_insert_with(|| OpenWindow::new(offset));
        window.markers.insert(source, marker);
        window.among.extend(among);
        while let Some((&oldest_us, oldest)) = self.open.first_key_value()
            && self.sources.passed(oldest_us, oldest.sources(&self.sources))
        {
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        let Some((start_us, window)) = self.open.pop_first() else {
            return;
        };
        self.held -= window.sums.len();
        let closed = self.sum_up(start_us, &window);
        let mut sums: Vec<(V::Key, Sum)> = window.sums.into_iter().collect();
        sums.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.outputs.extend(sums.into_iter().map(|(key, sum)| V::record(key, sum, &closed)));
        self.outputs.push(Output::Closed(V::TOPIC, self.marker(closed)));
        self.closed_through_us = Some(start_us);
        self.counters.add("windows_closed", 1);
    }

    /// The least complete of what the raw partitions say. One that says nothing of the window makes it incomplete, as does one of whose
    /// partials not all came: retention takes whole segments, also those before a marker that is still there.
    fn sum_up(&self, start_us: i64, open: &OpenWindow<V::Key>) -> ClosedWindow {
        let OpenWindow { markers, came, among, .. } = open;
        let length_ms = markers.values().map(|marker| marker.window_ms).max().unwrap_or(self.window_ms);
        let mut window = ClosedWindow {
            start_us,
            length_ms,
            nodes: 0,
            completeness: 1.0,
            missing: Vec::new(),
            touches: Vec::new(),
            touched: Touched::Nothing,
            late_us: BTreeSet::new(),
        };
        let missing = |reason: &str, count| Missing {
            node: UNKNOWN.to_owned(),
            reason: reason.to_owned(),
            count,
            from_us: start_us,
            to_us: start_us + length_ms * 1000,
        };
        if among.len() > 1 {
            // Sums of one edge may be in two partitions.
            window.missing.push(missing(PARTITIONS_DIFFER, 0));
        }
        for source in 0..open.sources(&self.sources).max(1) {
            let Some(marker) = markers.get(&source) else {
                window.completeness = 0.0;
                window.missing.push(missing("partition-not-read", 0));
                continue;
            };
            window.nodes = window.nodes.max(marker.nodes);
            window.completeness = window.completeness.min(marker.completeness);
            window.missing.extend(marker.missing.iter().cloned());
            window.late_us.extend(&marker.late_windows_us);
            let came = came.get(&source).copied().unwrap_or(0);
            if marker.records >= 0 && came != marker.records {
                window.completeness =
                    window.completeness.min(came.min(marker.records) as f64 / came.max(marker.records) as f64);
                window.missing.push(missing("partials-lost", (marker.records - came).abs()));
            }
        }
        window.missing = coalesce(window.missing, i64::max);
        window.completeness = honest(window.completeness, !window.missing.is_empty());
        window.touched_by(markers.values().flat_map(|marker| &marker.touches))
    }

    fn marker(&self, window: ClosedWindow) -> WindowClosed {
        WindowClosed {
            window_start_us: window.start_us,
            window_ms: window.length_ms,
            source_partition: self.partition.0,
            source_partitions: self.partitions,
            nodes: window.nodes,
            completeness: window.completeness,
            missing: window.missing,
            records: -1,
            through_offset: -1,
            late_windows_us: window.late_us.into_iter().take(WindowClosed::LATE_WINDOWS_MAX).collect(),
            revision: 0,
            touches: window.touches,
        }
    }

    fn decode(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        match input.kind {
            Kind::Control => {
                let marker: WindowClosed = read(input.schema, input.datum)?;
                marker_is_plausible(&marker, input.timestamp_us)?;
                self.closed(input.offset, marker, input.partitions);
                Ok(())
            }
            Kind::Value => {
                let partial: Partial = read(input.schema, input.datum)?;
                plausible_window(partial.window_start_us, input.timestamp_us)?;
                within("raw_partition", i64::from(partial.raw_partition), 0, SOURCE_PARTITIONS_MAX - 1)?;
                is_named(&partial.client, &partial.server, &partial.protocol)?;
                are_names("operation", [partial.operation.as_str(), partial.status_class.as_str()])?;
                self.partial(input.offset, partial)
            }
        }
    }
}

impl<V: View> Processor for Merge<V> {
    fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        self.decode(input)
    }

    /// The marker behind a partial that cannot be read says how many there were.
    fn unreadable(&mut self, _stream: usize, offset: Offset) {
        self.next_offset = offset.next();
    }

    fn wants(&self, _stream: usize) -> bool {
        true
    }

    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let needed_from = self.open.values().map(|window| window.first_offset).fold(self.next_offset, Offset::min);
        let memo = Memo {
            closed_through_us: self.closed_through_us,
            window_ms: self.window_ms,
            read_to: self.next_offset.max(self.read_to),
            ..Memo::default()
        };
        vec![Checkpoint { needed_from, memo }]
    }

    fn closed_through_us(&self) -> Option<i64> {
        self.closed_through_us
    }

    fn closed_to_us(&self) -> Option<i64> {
        Some(self.closed_through_us?.saturating_add(self.window_ms.saturating_mul(1000)))
    }

    fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    fn sizes(&self) -> Vec<(&'static str, usize)> {
        vec![("open_windows", self.open.len()), ("sums", self.held)]
    }
}

impl<K> OpenWindow<K> {
    /// How many raw partitions tell of it: the most that any of them says, or all that are known while none does.
    fn sources(&self, all: &Sources) -> i32 {
        self.markers.values().map(|marker| marker.source_partitions).max().unwrap_or(all.partitions())
    }

    fn new(first_offset: Offset) -> OpenWindow<K> {
        OpenWindow {
            first_offset,
            sums: HashMap::new(),
            markers: BTreeMap::new(),
            came: BTreeMap::new(),
            among: BTreeSet::new(),
        }
    }
}

/// A quantile of nanoseconds, in microseconds.
fn quantile_us(histogram: &headwater_histogram::Histogram, quantile: f64) -> f64 {
    histogram.quantile(quantile) / 1000.0
}
