//! The newest windows of one topic: at most so many minutes of them, and at most so many records.
//!
//! In: records that belong to a window, and the markers that say that a window is published. Out: the windows of a
//! time span. Promises: of several revisions of a record the newest stays, whatever the order they come in; what a
//! bound keeps out is counted by reason. Time comes only from the records, so the same input gives the same answer.
//! A clone shares all records, and each window until one of the two changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_schemas::records::{Edge, Latency, Missing, NO_DATA, WindowClosed};
use serde::Serialize;

use super::Limits;

/// Gaps that are kept of one window, and inputs that a window may have.
const MISSING_MAX: usize = 200;
const PARTITIONS_MAX: usize = 10_000;
const WINDOW_MS_MAX: i64 = 3_600_000;

/// A record of one window, of which a later revision replaces an earlier one.
pub trait Windowed: Clone {
    fn key(&self) -> String;
    fn window_start_us(&self) -> i64;
    fn window_ms(&self) -> i64;
    fn revision(&self) -> i32;
}

/// Which windows an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// The newest window that is published in full.
    Latest,
    /// So many minutes up to the end of that window.
    Minutes(u32),
}

/// A range as it turned out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    pub from_us: i64,
    pub to_us: i64,
    /// How much time the windows that are there cover: what rates are divided by.
    pub covered_s: f64,
    pub windows: usize,
    /// How many windows fit between `from_us` and `to_us`; more than `windows` if nothing was computed for a while.
    pub windows_expected: usize,
}

/// Records that were left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CutOff {
    /// Older than the minutes that are kept.
    pub too_old: u64,
    /// Of a window that starts minutes after this machine's time: a clock is wrong.
    pub from_the_future: u64,
    /// More records or windows than fit: the oldest had to go.
    pub over_limit: u64,
    /// Came later than the newest revision of the same record.
    pub outdated: u64,
}

#[derive(Clone)]
pub struct Window<R> {
    pub length_us: i64,
    pub records: BTreeMap<String, Arc<R>>,
    pub missing: Vec<Missing>,
    pub completeness: f64,
    closed: BTreeSet<i32>,
    partitions: i32,
    /// The highest number of its markers: what these say of what is missing holds.
    revision: i32,
}

#[derive(Clone)]
pub struct Windows<R> {
    limits: Limits,
    windows: BTreeMap<i64, Arc<Window<R>>>,
    records: usize,
    /// Windows were there before the oldest one.
    has_forgotten: bool,
    pub cut_off: CutOff,
}

/// Windows with their starts, oldest first.
pub type Found<'a, R> = Vec<(i64, &'a Window<R>)>;

impl<R: Windowed> Windows<R> {
    pub fn new(limits: Limits) -> Self {
        Windows { limits, windows: BTreeMap::new(), records: 0, has_forgotten: false, cut_off: CutOff::default() }
    }

    /// Takes a record in. Returns whether it changed anything.
    pub fn insert(&mut self, record: R, now_us: i64) -> bool {
        let key = record.key();
        let Some(window) = self.window(record.window_start_us(), record.window_ms(), now_us) else { return false };
        if let Some(known) = window.records.get_mut(&key) {
            let newer = record.revision() >= known.revision();
            if newer {
                *known = Arc::new(record);
            } else {
                self.cut_off.outdated += 1;
            }
            return newer;
        }
        if !self.make_room(record.window_start_us()) {
            self.cut_off.over_limit += 1;
            return false;
        }
        if let Some(window) = self.windows.get_mut(&record.window_start_us()) {
            Arc::make_mut(window).records.insert(key, Arc::new(record));
            self.records += 1;
        }
        true
    }

    /// Notes that one of the topic's inputs has published all that it gives to a window.
    pub fn close(&mut self, marker: &WindowClosed, now_us: i64) -> bool {
        let Some(window) = self.window(marker.window_start_us, marker.window_ms, now_us) else { return false };
        window.partitions = window.partitions.max(marker.source_partitions);
        let mut changed = window.closed.len() < PARTITIONS_MAX && window.closed.insert(marker.source_partition);
        if marker.revision > window.revision {
            (window.revision, window.completeness) = (marker.revision, 1.0);
            window.missing.clear();
            changed = true;
        }
        let mut over_limit = 0;
        if marker.revision == window.revision {
            window.completeness = window.completeness.min(marker.completeness);
            for missing in &marker.missing {
                if window.missing.contains(missing) {
                    continue;
                }
                if window.missing.len() < MISSING_MAX {
                    window.missing.push(missing.clone());
                } else {
                    over_limit += 1;
                }
            }
        }
        self.cut_off.over_limit += over_limit;
        changed
    }

    /// The windows of a range, oldest first, and what they cover; none before the first window is known.
    pub fn of(&self, range: Range) -> Option<(Span, Found<'_, R>)> {
        self.until(range, self.complete_to_us()?)
    }

    /// As [`Self::of`], for a range that ends at `to_us`.
    pub fn until(&self, range: Range, to_us: i64) -> Option<(Span, Found<'_, R>)> {
        let (newest_start_us, newest) = self.windows.range(..to_us).next_back()?;
        let from_us = match range {
            Range::Latest => *newest_start_us,
            Range::Minutes(minutes) => to_us - i64::from(minutes) * 60_000_000,
        };
        let mut windows: Vec<(i64, &Window<R>)> =
            self.windows.range(from_us..to_us).map(|(&start, w)| (start, &**w)).collect();
        if let [first, _, ..] = windows.as_slice()
            && self.is_beginning(*first)
        {
            windows.remove(0);
        }
        let from_us = windows.first().map_or(from_us, |(start, _)| *start);
        let covered_us: i64 = windows.iter().map(|(_, window)| window.length_us).sum();
        let span = Span {
            from_us,
            to_us,
            covered_s: covered_us as f64 / 1e6,
            windows: windows.len(),
            windows_expected: ((to_us - from_us) / newest.length_us) as usize,
        };
        Some((span, windows))
    }

    /// Whether the capture began in this window: it is the first of all, and what is missing is what was before. It says less than any other
    /// one, and nothing was lost.
    fn is_beginning(&self, (start_us, window): (i64, &Window<R>)) -> bool {
        let is_first = !self.has_forgotten && self.windows.keys().next() == Some(&start_us);
        let was_before = |missing: &Missing| {
            missing.reason == NO_DATA && missing.from_us <= start_us && missing.to_us < start_us + window.length_us
        };
        is_first && !window.missing.is_empty() && window.missing.iter().all(was_before)
    }

    /// All windows that are there, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (i64, &Window<R>)> {
        self.windows.iter().map(|(&start, window)| (start, &**window))
    }

    /// A record that is there.
    pub fn get(&self, start_us: i64, key: &str) -> Option<&R> {
        self.windows.get(&start_us)?.records.get(key).map(Arc::as_ref)
    }

    /// Start and length of the newest window, in full or in part.
    pub fn newest(&self) -> Option<(i64, i64)> {
        self.all().next_back().map(|(start_us, window)| (start_us, window.length_us))
    }

    /// The windows after a start that are published in full, oldest first.
    pub fn full_after(&self, start_us: i64) -> Found<'_, R> {
        let after = self.windows.range(start_us.saturating_add(1)..).map(|(&start, window)| (start, &**window));
        after.filter(|(_, window)| window.is_full()).collect()
    }

    /// Where the newest window ends that is published in full: until what closes it has come, more of its records may, and nothing is known
    /// of what it misses.
    pub fn complete_to_us(&self) -> Option<i64> {
        let (start_us, window) = self.all().rev().find(|(_, window)| window.is_full())?;
        Some(start_us.saturating_add(window.length_us))
    }

    /// How many windows after [`Self::complete_to_us`] are published in part.
    pub fn pending(&self) -> usize {
        let complete_to_us = self.complete_to_us().unwrap_or(i64::MIN);
        self.windows.range(complete_to_us..).count()
    }

    /// The window that starts there, made if it is within the bounds.
    fn window(&mut self, start_us: i64, window_ms: i64, now_us: i64) -> Option<&mut Window<R>> {
        if start_us > now_us.saturating_add(self.limits.ahead_us_max) {
            self.cut_off.from_the_future += 1;
            return None;
        }
        let newest_us = self.windows.last_key_value().map_or(start_us, |(&newest, _)| newest.max(start_us));
        let oldest_us = newest_us - i64::from(self.limits.minutes) * 60_000_000;
        // A length of zero would divide by zero later; such a record is not one of a window.
        if start_us <= oldest_us || !(1..=WINDOW_MS_MAX).contains(&window_ms) {
            self.cut_off.too_old += 1;
            return None;
        }
        self.forget_before(oldest_us);
        if !self.windows.contains_key(&start_us) && !self.make_room_for_window(start_us) {
            self.cut_off.over_limit += 1;
            return None;
        }
        let window = self.windows.entry(start_us).or_insert_with(|| {
            Arc::new(Window {
                length_us: window_ms * 1000,
                records: BTreeMap::new(),
                missing: Vec::new(),
                completeness: 1.0,
                closed: BTreeSet::new(),
                partitions: 0,
                revision: 0,
            })
        });
        Some(Arc::make_mut(window))
    }

    /// Drops windows that the horizon has left behind. That is no cut-off: they were shown as long as promised.
    fn forget_before(&mut self, oldest_us: i64) {
        while let Some(entry) = self.windows.first_entry() {
            if *entry.key() > oldest_us {
                break;
            }
            self.records -= entry.remove().records.len();
            self.has_forgotten = true;
        }
    }

    /// Makes room for a record of this window. Returns whether there is room now.
    fn make_room(&mut self, for_start_us: i64) -> bool {
        while self.records >= self.limits.records_max {
            if !self.give_oldest_up(for_start_us) {
                return false;
            }
        }
        true
    }

    /// Makes room for a window that starts there. Returns whether there is room now.
    fn make_room_for_window(&mut self, start_us: i64) -> bool {
        while self.windows.len() >= self.limits.windows_max {
            if !self.give_oldest_up(start_us) {
                return false;
            }
        }
        true
    }

    /// Gives the oldest window up for a newer one, and counts what was in it; an empty one counts as one.
    fn give_oldest_up(&mut self, for_start_us: i64) -> bool {
        match self.windows.first_entry() {
            Some(entry) if *entry.key() < for_start_us => {
                let dropped = entry.remove().records.len();
                self.records -= dropped;
                self.has_forgotten = true;
                self.cut_off.over_limit += dropped.max(1) as u64;
                true
            }
            _ => false,
        }
    }
}

impl<R> Window<R> {
    fn is_full(&self) -> bool {
        self.partitions > 0 && self.closed.len() >= self.partitions as usize
    }
}

impl Windowed for Edge {
    fn key(&self) -> String {
        Edge::key(self)
    }
    fn window_start_us(&self) -> i64 {
        self.window_start_us
    }
    fn window_ms(&self) -> i64 {
        self.window_ms
    }
    fn revision(&self) -> i32 {
        self.revision
    }
}

impl Windowed for Latency {
    fn key(&self) -> String {
        Latency::key(self)
    }
    fn window_start_us(&self) -> i64 {
        self.window_start_us
    }
    fn window_ms(&self) -> i64 {
        self.window_ms
    }
    fn revision(&self) -> i32 {
        self.revision
    }
}
