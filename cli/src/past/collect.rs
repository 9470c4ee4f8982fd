//! Adds up the windows of a range, edge by edge or operation by operation.
//!
//! In: records of edges or latencies and the markers that close their windows, as they stand in their topic. Out: [`Sums`] of each subject over all windows
//! that are whole. Pure. Promises: of several revisions of a record the newest counts, if it comes within twenty minutes of windows, or before too much waits; what
//! is not in the sums is counted. Bounded: subjects, and records of windows that wait for their markers and revisions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use headwater_histogram::Histogram;
use headwater_schemas::records::{Edge, Latency, WindowClosed, Workload};
use serde::Serialize;

use super::incomplete::{Incomplete, MarkersOfWindow, is_whole};
use super::range::Range;

/// Edges, or operations of them.
const SUBJECTS_MAX: usize = 50_000;
/// Windows are published again with what came late up to a horizon, by default of a quarter of an hour, once nothing more has come for a minute.
const REVISED_WITHIN_US: i64 = 20 * 60 * 1_000_000;
/// Some kilobytes each.
const WAITING_MAX: usize = 200_000;
/// Windows that are named for what is missing of them.
const INCOMPLETE_MAX: usize = 1000;

/// What is compared: an edge, or one operation of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Subject {
    pub client: Workload,
    pub server: Workload,
    pub protocol: String,
    /// Empty for the whole edge.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation: String,
}

/// What was counted of a subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    pub requests: i64,
    pub errors: i64,
    pub duration_ns: Histogram,
    /// Both ways. Of edges alone, as what follows.
    pub bytes: i64,
    pub connections_opened: i64,
    pub connections_failed: i64,
}

/// The same over several windows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    pub counts: Counts,
    /// Sums of the squares of each window's count: they say how much it differs from window to window by itself.
    pub requests_squared: f64,
    pub bytes_squared: f64,
}

/// A record, as far as it is looked at here.
pub struct Observed {
    pub subject: Subject,
    /// Of several records of a subject in a window: latencies have one for each class of status.
    pub part: String,
    pub window_us: i64,
    pub window_ms: i64,
    pub revision: i32,
    pub counts: Counts,
}

/// All of a range.
#[derive(Debug, Default)]
pub struct Collected {
    pub subjects: BTreeMap<Subject, Sums>,
    /// Windows that are whole, and the time that they cover.
    pub windows: i64,
    pub covered_us: i64,
    /// Start of the first of them, and end of the last.
    pub from_us: Option<i64>,
    pub to_us: Option<i64>,
    /// Windows that fit into the range.
    pub windows_in_range: i64,
    /// The lowest of the windows.
    pub completeness: f64,
    pub incomplete: Vec<Incomplete>,
    pub left_out: LeftOut,
}

/// What is not in the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Windows that are there in part: not all of their partitions have closed them.
    pub windows_not_closed: i64,
    /// Records of subjects beyond the bound.
    pub records_over_limit: u64,
    /// Records that came anew when their window was in the sums.
    pub records_too_late: u64,
    /// Records that cannot be read.
    pub records_unreadable: u64,
    /// Windows that are incomplete and not named.
    pub incomplete_not_named: u64,
}

/// Too much waits for markers that do not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{WAITING_MAX} records are of windows that nobody has closed, more than fit: ask for a shorter range, or look with `headwater tail edge-windows` \
     whether the processors run"
)]
pub struct Overfull;

pub struct Collector {
    range: Range,
    open: BTreeMap<i64, Open>,
    waiting: usize,
    window_ms: i64,
    /// The last window that each source partition has closed, and how many there are.
    reached: BTreeMap<i32, i64>,
    sources: i32,
    collected: Collected,
}

/// A window that is not in the sums yet.
#[derive(Default)]
struct Open {
    window_ms: i64,
    /// All have closed it; what came late may still come.
    is_whole: bool,
    records: BTreeMap<(Subject, String), (i32, Counts)>,
    markers: MarkersOfWindow,
}

impl Observed {
    /// None of an edge without any traffic, unless it takes the place of one.
    pub fn edge(edge: Edge) -> Option<Observed> {
        let counts = Counts {
            requests: edge.requests,
            errors: edge.errors,
            duration_ns: edge.duration_ns,
            bytes: edge.client_to_server_bytes.saturating_add(edge.server_to_client_bytes),
            connections_opened: edge.connections_opened,
            connections_failed: edge.connections_failed,
        };
        let Edge { client, server, protocol, window_start_us, window_ms, revision, .. } = edge;
        let subject = Subject { client, server, protocol, operation: String::new() };
        let counts_something = (counts.is_busy() || revision > 0) && counts.duration_ns.check().is_ok();
        counts_something.then_some(Observed {
            subject,
            part: String::new(),
            window_us: window_start_us,
            window_ms,
            revision,
            counts,
        })
    }

    pub fn latency(latency: Latency) -> Option<Observed> {
        let counts = Counts {
            requests: latency.requests,
            errors: latency.errors,
            duration_ns: latency.duration_ns,
            ..Counts::default()
        };
        let Latency { client, server, protocol, operation, status_class, window_start_us, window_ms, revision, .. } =
            latency;
        let subject = Subject { client, server, protocol, operation };
        let counts_something = (counts.is_busy() || revision > 0) && counts.duration_ns.check().is_ok();
        counts_something.then_some(Observed {
            subject,
            part: status_class,
            window_us: window_start_us,
            window_ms,
            revision,
            counts,
        })
    }
}

impl Counts {
    fn is_busy(&self) -> bool {
        self.requests > 0 || self.bytes > 0 || self.connections_opened > 0 || self.connections_failed > 0
    }

    fn add(&mut self, other: &Counts) {
        for (sum, value) in [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.bytes, other.bytes),
            (&mut self.connections_opened, other.connections_opened),
            (&mut self.connections_failed, other.connections_failed),
        ] {
            *sum = sum.saturating_add(value);
        }
        // Only histograms that can be added are let in.
        let _ = self.duration_ns.merge(&other.duration_ns);
    }
}

impl Collector {
    pub fn new(range: Range) -> Collector {
        let collected = Collected { completeness: 1.0, ..Collected::default() };
        let (open, reached) = (BTreeMap::new(), BTreeMap::new());
        Collector { range, open, waiting: 0, window_ms: 0, reached, sources: 0, collected }
    }

    /// # Errors
    /// If more waits for markers than fits.
    pub fn record(&mut self, observed: Observed) -> Result<(), Overfull> {
        let Observed { subject, part, window_us, window_ms, revision, counts } = observed;
        if !self.has(window_us, window_ms) {
            return Ok(());
        }
        if self.is_closed(window_us) {
            self.collected.left_out.records_too_late += 1;
            return Ok(());
        }
        if self.waiting >= WAITING_MAX && !self.add_oldest(|_, _| true) {
            return Err(Overfull);
        }
        let open = self.open.entry(window_us).or_default();
        open.window_ms = window_ms;
        match open.records.entry((subject, part)) {
            Entry::Occupied(mut known) if known.get().0 <= revision => drop(known.insert((revision, counts))),
            Entry::Occupied(_) => {}
            Entry::Vacant(new) => {
                self.waiting += 1;
                new.insert((revision, counts));
            }
        }
        Ok(())
    }

    pub fn closed(&mut self, marker: WindowClosed) {
        let (window_us, window_ms) = (marker.window_start_us, marker.window_ms);
        // While partitions are added, not all know of all of them.
        self.sources = marker.source_partitions.max(self.sources).max(1);
        let reached = self.reached.entry(marker.source_partition).or_insert(window_us);
        *reached = window_us.max(*reached);
        self.window_ms = window_ms;
        if self.has(window_us, window_ms) && !self.is_closed(window_us) {
            let open = self.open.entry(window_us).or_default();
            open.window_ms = window_ms;
            let known = open.markers.get(&marker.source_partition);
            if known.is_none_or(|known| known.revision <= marker.revision) {
                open.markers.insert(marker.source_partition, marker);
            }
            open.is_whole = is_whole(&open.markers);
        }
        let passed_us = self.passed_us();
        while self.add_oldest(|start_us, length_us| {
            start_us.saturating_add(length_us).saturating_add(REVISED_WITHIN_US) <= passed_us
        }) {}
    }

    /// Adds the oldest whole window to the sums, if it may be. Whether it did.
    fn add_oldest(&mut self, may_be: impl Fn(i64, i64) -> bool) -> bool {
        let oldest = self.open.iter().find(|(_, open)| open.is_whole);
        let Some((&start_us, _)) = oldest.filter(|(start_us, open)| may_be(**start_us, open.window_ms * 1000)) else {
            return false;
        };
        let Some(open) = self.open.remove(&start_us) else { return false };
        self.waiting -= open.records.len();
        self.collected.add(start_us, open);
        true
    }

    /// The end of the last window that all source partitions have closed.
    fn passed_us(&self) -> i64 {
        let reached = (0..self.sources).map(|source| self.reached.get(&source).copied().unwrap_or(i64::MIN)).min();
        reached.unwrap_or(i64::MIN).saturating_add(self.window_ms.saturating_mul(1000))
    }

    /// Whether nothing that follows belongs to the range.
    pub fn is_over(&self) -> bool {
        self.passed_us() >= self.range.to_us.saturating_add(REVISED_WITHIN_US)
    }

    pub fn unreadable(&mut self) {
        self.collected.left_out.records_unreadable += 1;
    }

    pub fn finish(mut self) -> Collected {
        while self.add_oldest(|_, _| true) {}
        self.collected.left_out.windows_not_closed = self.open.len() as i64;
        if let Some(length_us) = self.window_ms.checked_mul(1000).filter(|length_us| *length_us > 0) {
            let first =
                self.range.from_us.div_euclid(length_us) + i64::from(self.range.from_us.rem_euclid(length_us) > 0);
            self.collected.windows_in_range = (self.range.to_us.div_euclid(length_us) - first).max(0);
        }
        self.collected
    }

    /// Whether all of a window lies in the range.
    fn has(&self, window_us: i64, window_ms: i64) -> bool {
        window_us >= self.range.from_us && window_us.saturating_add(window_ms.saturating_mul(1000)) <= self.range.to_us
    }

    /// Windows come into the sums in their order, as their partitions close them.
    fn is_closed(&self, window_us: i64) -> bool {
        !self.open.contains_key(&window_us) && self.collected.to_us.is_some_and(|to_us| window_us < to_us)
    }
}

impl Collected {
    fn add(&mut self, window_us: i64, open: Open) {
        let Open { window_ms, records, markers, .. } = open;
        let end_us = window_us + window_ms * 1000;
        self.windows += 1;
        self.covered_us += window_ms * 1000;
        self.from_us = Some(self.from_us.map_or(window_us, |from_us| from_us.min(window_us)));
        self.to_us = Some(self.to_us.map_or(end_us, |to_us| to_us.max(end_us)));
        if let Some(incomplete) = Incomplete::of(window_us, &markers) {
            self.completeness = self.completeness.min(incomplete.completeness);
            if self.incomplete.len() < INCOMPLETE_MAX {
                self.incomplete.push(incomplete);
            } else {
                self.left_out.incomplete_not_named += 1;
            }
        }
        let mut of_window: BTreeMap<Subject, Counts> = BTreeMap::new();
        for ((subject, _), (_, counts)) in records.into_iter().filter(|(_, (_, counts))| counts.is_busy()) {
            of_window.entry(subject).or_default().add(&counts);
        }
        for (subject, counts) in of_window {
            if self.subjects.len() >= SUBJECTS_MAX && !self.subjects.contains_key(&subject) {
                self.left_out.records_over_limit += 1;
                continue;
            }
            let sums = self.subjects.entry(subject).or_default();
            sums.counts.add(&counts);
            sums.requests_squared += (counts.requests as f64).powi(2);
            sums.bytes_squared += (counts.bytes as f64).powi(2);
        }
    }

    pub fn covered_s(&self) -> f64 {
        self.covered_us as f64 / 1e6
    }
}

#[cfg(test)]
mod tests;
