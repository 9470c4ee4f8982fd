//! One of the two partitions that a join reads, up to the place where it seals the oldest open window.
//!
//! In: its records and watermarks in the order of the log. Past the seal they wait, so that the state at which a window closes is
//! decided by the content of each partition alone, however the reading of the two interleaves. Bounded: what waits (the
//! runtime stops reading), and records of one window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater_schemas::place::Offset;
use headwater_schemas::records::{Missing, PartitionClosed, Side, UNKNOWN, Watermark};
use serde::{Deserialize, Serialize};

use super::items::Item;
use super::names::Names;
use super::progress::{Coverage, Progress, last_window};
use super::symbols::{Symbol, Symbols};
use super::{JoinSettings, MEMORY_WINDOWS, REACH_WINDOWS};
use crate::missing::{coalesce, honest};
use crate::processor::{Checkpoint, Counters, Memo, Trouble, Troubles};
use crate::windows::Window;

/// What waits behind a seal: more is not read until the other partition gets there too.
const WAITING_MAX: usize = 50_000;

/// Where windows close at the log's end: more are not open at a time but for records that were written long after the windows that are computed.
const UNSEEN_WINDOWS_MAX: usize = 1000;

/// The reasons given where records came and could not be counted.
const RECORDS_MAX: &str = "records-per-window-max";

/// Why nobody could make anything of what came, or was to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unseen {
    NodesMax,
    Unreadable,
    Deleted,
}

impl Unseen {
    /// The one that comes before the others in order.
    const FIRST: Unseen = Unseen::NodesMax;

    fn reason(self) -> &'static str {
        match self {
            Unseen::NodesMax => "nodes-max",
            Unseen::Unreadable => "unreadable",
            Unseen::Deleted => "deleted",
        }
    }
}

/// Something that the log says, once it is decoded.
pub enum Event<T> {
    Item(T),
    /// With among how many partitions its agent spreads records, if it says so.
    Watermark(Box<Watermark>, Option<i32>),
    /// So many records that nobody can make anything of, and when the last of them was written at the latest.
    Unseen(Unseen, i64, Option<i64>),
}

impl<T> Event<T> {
    /// One that cannot be read.
    pub fn unreadable(written_us: Option<i64>) -> Event<T> {
        Event::Unseen(Unseen::Unreadable, 1, written_us)
    }

    /// So many that were deleted before they were read.
    pub fn deleted(count: i64, written_us: Option<i64>) -> Event<T> {
        Event::Unseen(Unseen::Deleted, count, written_us)
    }
}

/// The state of one partition. What waits is no part of a snapshot: whoever goes on with it reads that again.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct Lane<T> {
    pub progress: Progress,
    /// Records of open windows.
    pub buckets: BTreeMap<Window, Vec<T>>,
    #[serde(skip)]
    waiting: VecDeque<(Offset, Event<T>)>,
    /// Where the oldest open window was sealed, if it is.
    sealed_at: Option<Offset>,
    /// The last [`REACH_WINDOWS`] that were sealed, and where.
    seals: VecDeque<(Window, Offset)>,
    /// While the state is built again: where windows were sealed the first time.
    #[serde(skip)]
    known_seals: BTreeMap<Window, Offset>,
    /// The first record that says anything of a window.
    first_offsets: BTreeMap<Window, Offset>,
    /// For each of these windows, the oldest record that the watermarks' state needed when it became the oldest open one: what was
    /// known of a node then may be forgotten by now, and is needed to close the window again.
    needed: VecDeque<(Window, Offset)>,
    /// What clients told of remembered windows that had closed, since the last one closed: it counts no more, and may have counted from its server's side.
    /// Bounded as the records of one window are.
    pub late: Vec<T>,
    /// Records of a window past the bound, by window.
    cut_off: BTreeMap<Window, i64>,
    /// What nobody could make anything of and may tell of any window that is open up to this one, by the reason and that window. Bounded
    /// by the windows that are open.
    unseen: BTreeMap<(Window, Unseen), i64>,
    /// The same by each window, where windows close at the log's end: all are open then, and it may not tell of any that was closed the first time.
    #[serde(skip)]
    unseen_in: BTreeMap<(Window, Unseen), i64>,
    /// The first window that was open then, the first time.
    #[serde(skip)]
    unsealed: Option<Window>,
    applied_offset: Offset,
    #[serde(skip)]
    next_offset: Offset,
    #[serde(skip)]
    read_to: Offset,
    /// Nothing more comes.
    #[serde(skip)]
    has_ended: bool,
}

/// What all lanes of a join share.
pub struct Shared<'a> {
    pub settings: &'a JoinSettings,
    pub names: &'a mut Names,
    pub symbols: &'a Symbols,
    pub counters: &'a mut Counters,
    pub troubles: &'a mut Troubles,
    /// The oldest open window, once there is one.
    pub open: Option<Window>,
    /// Windows that were called complete, of those that closed lately.
    pub complete: &'a VecDeque<Window>,
    /// Closed windows of which something came.
    pub late: &'a mut BTreeSet<Window>,
    /// Windows close where the logs end, and nowhere else.
    pub closes_at_end: bool,
}

impl Shared<'_> {
    /// Something came that tells of this time, which does not end before it begins. What of it is closed is late, up to the horizon.
    fn tells_of(&mut self, from_us: i64, to_us: i64) {
        let Some(open) = self.open.filter(|open| from_us < open.start_us()) else { return };
        let windows = self.settings.windows;
        let least = windows.at(from_us.max(open.start_us().saturating_sub(self.settings.horizon_us)));
        let mut window = windows.at(to_us.min(open.start_us() - 1));
        while window >= least && self.late.len() < PartitionClosed::LATE_WINDOWS_MAX {
            self.late.insert(window);
            window = windows.moved(window, -1);
        }
    }
}

impl<T: Item> Lane<T> {
    /// A lane that starts where a checkpoint says.
    pub fn new(checkpoint: Option<&Checkpoint>) -> Lane<T> {
        Lane {
            progress: Progress::default(),
            buckets: BTreeMap::new(),
            waiting: VecDeque::new(),
            sealed_at: None,
            seals: VecDeque::new(),
            known_seals: checkpoint.map(|c| c.memo.seals.iter().copied().collect()).unwrap_or_default(),
            first_offsets: BTreeMap::new(),
            needed: checkpoint.into_iter().filter_map(|c| Some((c.memo.seals.first()?.0, c.needed_from))).collect(),
            late: Vec::new(),
            cut_off: BTreeMap::new(),
            unseen: BTreeMap::new(),
            unseen_in: BTreeMap::new(),
            unsealed: None,
            applied_offset: checkpoint.map_or(Offset::BEFORE_ALL, |c| c.needed_from.before()),
            next_offset: checkpoint.map_or(Offset::FIRST, |c| c.needed_from),
            read_to: checkpoint.map_or(Offset::FIRST, |c| c.memo.read_to),
            has_ended: false,
        }
    }

    /// Where reading goes on if nothing is left of this value but what a snapshot has of it.
    pub fn read_from(&self) -> Offset {
        self.waiting.front().map_or(self.next_offset, |(offset, _)| *offset)
    }

    /// Goes on from a snapshot, whose oldest open window is `open`: what was committed since is known, and comes again.
    pub fn go_on(&mut self, open: Option<Window>, read_from: Offset, memo: &Memo) {
        self.next_offset = read_from;
        self.read_to = memo.read_to;
        self.known_seals = memo.seals.iter().copied().filter(|(window, _)| Some(*window) >= open).collect();
    }

    /// Whether windows that were closed before are closed again.
    pub fn is_built_again(&self) -> bool {
        !self.known_seals.is_empty()
    }

    /// Records of open windows, and those that came late.
    pub fn records(&self) -> usize {
        self.buckets.values().map(Vec::len).sum::<usize>() + self.late.len()
    }

    /// The first window from this one on of which it is known where it was sealed.
    pub fn known_seal_from(&self, from: Window) -> Option<Window> {
        self.known_seals.range(from..).next().map(|(window, _)| *window)
    }

    /// The next thing that the log says. Says whether the lane has come to where it must wait.
    pub fn push(&mut self, offset: Offset, event: Event<T>, shared: &mut Shared<'_>) -> bool {
        self.next_offset = offset.next();
        if self.blocked(shared) {
            self.waiting.push_back((offset, event));
            return false;
        }
        self.apply(offset, event, shared);
        self.blocked(shared)
    }

    /// A record of a time that is of no use stood here.
    pub fn skip(&mut self, offset: Offset) {
        self.next_offset = offset.next();
    }

    /// The log has no more.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Goes on with what waits until the oldest open window is sealed. Says whether it is.
    pub fn advance(&mut self, shared: &mut Shared<'_>) -> bool {
        self.check_seal(shared);
        while !self.blocked(shared) {
            let Some((offset, event)) = self.waiting.pop_front() else {
                break;
            };
            self.apply(offset, event, shared);
        }
        self.sealed_at.is_some()
    }

    /// What is known of the oldest open window now that it is sealed.
    pub fn coverage(&self, window: Window, settings: &JoinSettings) -> Coverage {
        let (start_us, end_us) = (window.start_us(), settings.windows.end_us(window));
        let mut coverage = self.progress.coverage(start_us, end_us);
        let kept = self.buckets.get(&window).map_or(0, Vec::len) as f64;
        let cut_off = self.cut_off.get(&window).map(|count| (RECORDS_MAX, *count));
        let up_to = self.unseen.range((window, Unseen::FIRST)..);
        let alone = self.unseen_in.range((window, Unseen::FIRST)..(settings.windows.next(window), Unseen::FIRST));
        let unseen = up_to.chain(alone).map(|((_, unseen), count)| (unseen.reason(), *count));
        for (reason, count) in cut_off.into_iter().chain(unseen) {
            coverage.completeness = honest(coverage.completeness * kept / (kept + count as f64), true);
            coverage.missing.push(Missing {
                node: UNKNOWN.to_owned(),
                reason: reason.to_owned(),
                count,
                from_us: start_us,
                to_us: end_us,
            });
        }
        coverage.missing = coalesce(coverage.missing, i64::saturating_add);
        coverage
    }

    /// Ends the oldest open window: hands out its records, and forgets what no later window needs.
    pub fn close(&mut self, window: Window, settings: &JoinSettings) -> Vec<T> {
        let open = settings.windows.next(window);
        let reach = settings.windows.moved(open, -REACH_WINDOWS);
        self.seals.extend(self.sealed_at.take().map(|offset| (window, offset)));
        self.seals.retain(|(window, _)| *window >= reach);
        self.known_seals.remove(&window);
        self.cut_off.remove(&window);
        self.unseen = self.unseen.split_off(&(open, Unseen::FIRST));
        self.progress.forget(open.start_us());
        self.needed.extend(self.progress.needed_from().map(|offset| (open, offset)));
        self.needed.retain(|(open, _)| *open >= reach);
        self.first_offsets = self.first_offsets.split_off(&reach);
        self.buckets.remove(&window).unwrap_or_default()
    }

    /// The earliest time from a window on at which there is anything at all.
    pub fn next_sign_us(&self, from_us: i64) -> Option<i64> {
        let record_us = self.buckets.keys().next().map(|window| window.start_us());
        record_us.into_iter().chain(self.progress.next_covered_us(from_us)).min()
    }

    pub fn wants_more(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    pub fn checkpoint(&self, memo: &Memo) -> Checkpoint {
        let needed = [
            self.first_offsets.values().min().copied(),
            self.progress.needed_from(),
            self.needed.iter().map(|(_, offset)| *offset).min(),
            self.waiting.front().map(|(offset, _)| *offset),
        ];
        Checkpoint {
            needed_from: needed.into_iter().flatten().fold(self.next_offset, Offset::min),
            memo: Memo {
                read_to: self.next_offset.max(self.read_to),
                // Also those that are still to be closed again: a commit may fall into the time in which the state is built.
                seals: self
                    .seals
                    .iter()
                    .copied()
                    .chain(self.known_seals.iter().map(|(&at, &seal)| (at, seal)))
                    .collect(),
                ..memo.clone()
            },
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let waiting = self.waiting.iter().filter_map(|(_, event)| match event {
            Event::Item(item) => Some(item),
            Event::Watermark(..) | Event::Unseen(..) => None,
        });
        self.buckets.values().flatten().chain(&self.late).chain(waiting).flat_map(Item::symbols)
    }

    /// Whether it must wait for the other lane: at a seal, or for the first window to be known.
    fn blocked(&self, shared: &Shared<'_>) -> bool {
        self.sealed_at.is_some() || (shared.open.is_none() && self.progress.has_begun())
    }

    fn apply(&mut self, offset: Offset, event: Event<T>, shared: &mut Shared<'_>) {
        let is_watermark = matches!(event, Event::Watermark(..));
        match event {
            Event::Item(item) => self.apply_item(offset, item, shared),
            Event::Watermark(watermark, partitions) => {
                let last = last_window(&watermark, shared.settings.windows);
                self.needs(last, offset);
                if watermark.covers_from_us < watermark.up_to_us {
                    shared.tells_of(watermark.covers_from_us, watermark.up_to_us - 1);
                }
                if !self.progress.watermark(offset, *watermark, partitions) {
                    shared.counters.add("nodes_cut_off", 1);
                    self.has_not_seen((Unseen::NodesMax, 1), last, shared);
                }
            }
            Event::Unseen(why, count, written_us) => {
                let written = written_us.map(|written_us| shared.settings.windows.at(written_us));
                if let Some(last) = written.max(self.first_open(shared)) {
                    self.needs(last, offset);
                    self.has_not_seen((why, count), last, shared);
                }
            }
        }
        self.applied_offset = offset;
        if is_watermark || !self.known_seals.is_empty() {
            self.check_seal(shared);
        }
    }

    fn apply_item(&mut self, offset: Offset, item: T, shared: &mut Shared<'_>) {
        let window = shared.settings.windows.at(item.at_us());
        self.needs(window, offset);
        shared.names.mention(&item, shared.symbols);
        if let Some(open) = shared.open.filter(|open| window < *open) {
            self.count_late(offset, &item, shared);
            shared.tells_of(item.at_us(), item.at_us());
            // Of older windows nothing is remembered that it could have counted in.
            let is_remembered = window >= shared.settings.windows.moved(open, -MEMORY_WINDOWS);
            let is_client = item.side() == Side::Client;
            if is_remembered && is_client && self.late.len() < shared.settings.records_per_window_max {
                self.late.push(item);
            }
            return;
        }
        let bucket = self.buckets.entry(window).or_default();
        if bucket.len() < shared.settings.records_per_window_max {
            bucket.push(item);
        } else {
            *self.cut_off.entry(window).or_default() += 1;
            shared.counters.add("records_cut_off", 1);
        }
    }

    /// The oldest window that is open, or was the first time.
    fn first_open(&self, shared: &Shared<'_>) -> Option<Window> {
        self.unsealed.filter(|_| shared.closes_at_end).or(shared.open)
    }

    /// Windows up to this one are not complete.
    fn has_not_seen(&mut self, (unseen, count): (Unseen, i64), last: Window, shared: &Shared<'_>) {
        if shared.closes_at_end {
            let Some(mut window) = self.first_open(shared) else { return };
            for _ in 0..UNSEEN_WINDOWS_MAX {
                if window <= last {
                    *self.unseen_in.entry((window, unseen)).or_default() += count;
                    window = shared.settings.windows.next(window);
                }
            }
            return;
        }
        if shared.open.is_none_or(|open| open <= last) {
            *self.unseen.entry((last, unseen)).or_default() += count;
        }
    }

    fn count_late(&self, offset: Offset, item: &T, shared: &mut Shared<'_>) {
        if offset < self.read_to {
            return;
        }
        let window = shared.settings.windows.at(item.at_us());
        let late_us = shared.open.map_or(0, |open| open.start_us() - item.at_us());
        shared.troubles.add(Trouble::Late, shared.symbols.text(item.node()), late_us);
        shared.counters.add("late", 1);
        if shared.complete.contains(&window) {
            shared.counters.add("late_after_complete", 1);
        }
    }

    /// The oldest open window is sealed where it was sealed the first time, or else where the watermarks say so.
    fn check_seal(&mut self, shared: &Shared<'_>) {
        let Some(open) = shared.open.filter(|_| self.sealed_at.is_none()) else {
            return;
        };
        if shared.closes_at_end && !self.has_ended {
            let mut unsealed = self.unsealed.unwrap_or(open);
            while self.progress.seals(shared.settings.windows.end_us(unsealed), shared.settings) {
                unsealed = shared.settings.windows.next(unsealed);
            }
            self.unsealed = Some(unsealed);
        }
        let sealed = match self.known_seals.get(&open) {
            Some(&known) => self.applied_offset >= known,
            None if shared.closes_at_end => self.has_ended,
            None => self.progress.seals(shared.settings.windows.end_us(open), shared.settings),
        };
        self.sealed_at = sealed.then_some(self.applied_offset);
    }

    fn needs(&mut self, window: Window, offset: Offset) {
        self.first_offsets.entry(window).or_insert(offset);
    }
}
