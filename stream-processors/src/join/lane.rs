//! One of the two partitions that a join reads, up to the place in the log of progress where it seals the oldest open window.
//!
//! In: its records, and what agents say of them in the order of the log of progress. A record counts once its agent has vouched for it, so which
//! ones do where a window closes is decided by that log and the offsets that it names, however the reading of the logs interleaves. Past the seal
//! what agents say waits. Bounded: what waits (the runtime stops reading), and records of one window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater_schemas::place::Offset;
use headwater_schemas::records::{Dropped, Missing, Side, UNKNOWN, WindowClosed};
use serde::{Deserialize, Serialize};

use super::arrivals::{Arrivals, Stretch, Taken};
use super::items::Item;
use super::names::Names;
use super::progress::{Coverage, Progress, Watermark, last_window};
use super::symbols::{Symbol, Symbols};
use super::{JoinSettings, MEMORY_WINDOWS, REACH_WINDOWS};
use crate::missing::{coalesce, honest};
use crate::processor::{Checkpoint, Counters, Memo, Trouble, Troubles};
use crate::windows::Window;

/// What waits behind a seal, or for records: more is not read until these come, or the other partition gets there too.
const WAITING_MAX: usize = 50_000;

/// Where windows close at the log's end: more are not open at a time but for records that were written long after the windows that are computed.
const UNSEEN_WINDOWS_MAX: usize = 1000;

/// The reasons given where records came and could not be counted, or nodes.
const RECORDS_MAX: &str = "records-per-window-max";
const NODES_MAX: &str = "nodes-max";

/// What an agent says of the records of this partition.
pub struct Heard {
    pub watermark: Watermark,
    pub stretch: Stretch,
}

/// The state of one partition. What waits is no part of a snapshot: whoever goes on with it reads that again.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct Lane<T> {
    pub progress: Progress,
    /// Records of open windows.
    pub buckets: BTreeMap<Window, Vec<T>>,
    #[serde(skip)]
    waiting: VecDeque<(Offset, Heard)>,
    /// Records that nobody has vouched for.
    arrivals: Arrivals<T>,
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
    /// What nodes said that found no room, which may tell of any window that is open up to this one. Bounded by the windows that are open.
    unseen: BTreeMap<Window, i64>,
    /// The same by each window, where windows close at the log's end: all are open then, and it may not tell of any that was closed the first time.
    #[serde(skip)]
    unseen_in: BTreeMap<Window, i64>,
    /// The first window that was open then, the first time.
    #[serde(skip)]
    unsealed: Option<Window>,
    applied_offset: Offset,
    /// Where the log of progress is read next.
    #[serde(skip)]
    next_offset: Offset,
    #[serde(skip)]
    read_to: Offset,
    /// What stands before is in here already.
    #[serde(skip)]
    from: Offset,
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
        while window >= least && self.late.len() < WindowClosed::LATE_WINDOWS_MAX {
            self.late.insert(window);
            window = windows.moved(window, -1);
        }
    }
}

impl<T: Item> Lane<T> {
    /// A lane that starts where checkpoints of its partition and of the log of progress say.
    pub fn new(of_records: Option<&Checkpoint>, of_progress: Option<&Checkpoint>) -> Lane<T> {
        let seals = of_records.filter(|_| of_progress.is_some()).map(|c| c.memo.seals.as_slice()).unwrap_or_default();
        let needed_from = of_progress.map_or(Offset::FIRST, |c| c.needed_from);
        Lane {
            progress: Progress::default(),
            buckets: BTreeMap::new(),
            waiting: VecDeque::new(),
            sealed_at: None,
            seals: VecDeque::new(),
            arrivals: of_records.map(|c| Arrivals::from(c.needed_from, needed_from)).unwrap_or_default(),
            known_seals: seals.iter().copied().collect(),
            first_offsets: BTreeMap::new(),
            needed: seals.first().map(|(window, _)| (*window, needed_from)).into_iter().collect(),
            late: Vec::new(),
            cut_off: BTreeMap::new(),
            unseen: BTreeMap::new(),
            unseen_in: BTreeMap::new(),
            unsealed: None,
            applied_offset: needed_from.before(),
            next_offset: needed_from,
            read_to: of_progress.map_or(Offset::FIRST, |c| c.memo.read_to),
            from: Offset::FIRST,
            has_ended: false,
        }
    }

    /// Where the log of progress is read from if nothing is left of this value but what a snapshot has of it, and where the partition is.
    pub fn read_from(&self) -> (Offset, Offset) {
        let progress = self.waiting.front().map_or(self.next_offset, |(offset, _)| *offset);
        (progress, self.arrivals.needed(progress))
    }

    /// Goes on from a snapshot, whose oldest open window is `open`: what was committed since is known, and comes again.
    pub fn go_on(
        &mut self,
        open: Option<Window>,
        (progress, records): (Offset, Offset),
        of_records: &Memo,
        of_progress: &Memo,
    ) {
        (self.next_offset, self.from) = (progress, progress);
        self.progress.rank();
        self.arrivals.go_on(records, progress);
        self.read_to = of_progress.read_to;
        self.known_seals = of_records.seals.iter().copied().filter(|(window, _)| Some(*window) >= open).collect();
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

    /// The next record of the partition; one that is of no use only counts.
    pub fn record(&mut self, offset: Offset, node: Symbol, item: Option<T>) {
        if self.arrivals.begins_again(offset) {
            tracing::warn!(%offset, "the partition begins again: what agents vouch for from now on counts");
            self.progress.forget_places();
        }
        self.arrivals.push(offset, node, item);
    }

    /// Nobody could make anything of the next record of the partition.
    pub fn unreadable(&mut self, offset: Offset) {
        self.arrivals.unreadable(offset);
    }

    /// Records of the partition up to here were deleted before they were read.
    pub fn deleted(&mut self, last: Offset) {
        self.arrivals.deleted(last);
    }

    /// The partition ends there now.
    pub fn ends(&mut self, end: Offset) {
        self.arrivals.ends(end);
    }

    /// The next thing that an agent says.
    pub fn hear(&mut self, offset: Offset, heard: Heard) {
        self.next_offset = self.next_offset.max(offset.next());
        if offset >= self.from {
            self.waiting.push_back((offset, heard));
        }
    }

    /// Something that is of no use stood here in the log of progress.
    pub fn skip(&mut self, offset: Offset) {
        self.next_offset = self.next_offset.max(offset.next());
    }

    /// The record that the next thing that an agent says waits for.
    pub fn waits_for(&self) -> Option<Offset> {
        let through = self.waiting.front()?.1.stretch.through;
        (!self.arrivals.has_read(through)).then_some(through)
    }

    /// Whether the next thing that an agent says can be looked at now.
    pub fn may_advance(&self, shared: &Shared<'_>) -> bool {
        !self.waiting.is_empty() && self.waits_for().is_none() && !self.blocked(shared)
    }

    /// The log has no more.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Goes on with what waits until the oldest open window is sealed. Says whether it is.
    pub fn advance(&mut self, shared: &mut Shared<'_>) -> bool {
        self.check_seal(shared);
        while self.may_advance(shared)
            && let Some((offset, heard)) = self.waiting.pop_front()
        {
            self.apply(offset, heard, shared);
        }
        self.sealed_at.is_some()
    }

    /// What is known of the oldest open window now that it is sealed.
    pub fn coverage(&self, window: Window, settings: &JoinSettings, symbols: &Symbols) -> Coverage {
        let (start_us, end_us) = (window.start_us(), settings.windows.end_us(window));
        let mut coverage = self.progress.coverage(start_us, end_us, symbols);
        let kept = self.buckets.get(&window).map_or(0, Vec::len) as f64;
        let cut_off = self.cut_off.get(&window).map(|count| (RECORDS_MAX, *count));
        let alone = self.unseen_in.range(window..settings.windows.next(window));
        let unseen = self.unseen.range(window..).chain(alone).map(|(_, count)| (NODES_MAX, *count));
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
    pub fn close(&mut self, window: Window, settings: &JoinSettings, counters: &mut Counters) -> Vec<T> {
        let open = settings.windows.next(window);
        let reach = settings.windows.moved(open, -REACH_WINDOWS);
        self.seals.extend(self.sealed_at.take().map(|offset| (window, offset)));
        self.seals.retain(|(window, _)| *window >= reach);
        self.known_seals.remove(&window);
        self.cut_off.remove(&window);
        self.unseen = self.unseen.split_off(&open);
        self.progress.forget(open.start_us());
        self.needed.extend(self.progress.needed_from().map(|offset| (open, offset)));
        self.needed.retain(|(open, _)| *open >= reach);
        self.first_offsets = self.first_offsets.split_off(&reach);
        let memory = settings.windows.moved(open, -MEMORY_WINDOWS);
        let given_up = self.arrivals.forget(self.needed_from(), memory.start_us());
        counters.add("unvouched", given_up);
        self.buckets.remove(&window).unwrap_or_default()
    }

    /// The earliest time from a window on at which there is anything at all.
    pub fn next_sign_us(&self, from_us: i64) -> Option<i64> {
        let record_us = self.buckets.keys().next().map(|window| window.start_us());
        record_us.into_iter().chain(self.progress.next_covered_us(from_us)).min()
    }

    /// Whether more of the log of progress may come.
    pub fn wants_progress(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Whether more records may come: what is waited for must.
    pub fn wants_records(&self) -> bool {
        self.arrivals.wants_more() || self.waits_for().is_some()
    }

    /// The oldest offset of the log of progress that is still needed.
    pub fn needed_from(&self) -> Offset {
        let needed = [
            self.first_offsets.values().min().copied(),
            self.progress.needed_from(),
            self.needed.iter().map(|(_, offset)| *offset).min(),
            self.waiting.front().map(|(offset, _)| *offset),
        ];
        needed.into_iter().flatten().fold(self.next_offset, Offset::min)
    }

    /// What is committed of the partition of records, where `progress` is of the log of progress.
    pub fn checkpoint(&self, progress: Offset, memo: &Memo) -> Checkpoint {
        Checkpoint {
            needed_from: self.arrivals.needed(progress),
            memo: Memo {
                read_to: self.arrivals.next(),
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

    /// Up to where the log of progress was read, now or before.
    pub fn read_to(&self) -> Offset {
        self.next_offset.max(self.read_to)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.arrivals.records()
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let waiting = self.waiting.iter().map(|(_, heard)| heard.watermark.node).chain(self.arrivals.symbols());
        let waiting = waiting.chain(self.progress.symbols());
        self.buckets.values().flatten().chain(&self.late).flat_map(Item::symbols).chain(waiting)
    }

    /// Whether it must wait for the other lane: at a seal, or for the first window to be known.
    fn blocked(&self, shared: &Shared<'_>) -> bool {
        self.sealed_at.is_some() || (shared.open.is_none() && self.progress.has_begun())
    }

    fn apply(&mut self, offset: Offset, heard: Heard, shared: &mut Shared<'_>) {
        let Heard { mut watermark, stretch } = heard;
        let known = self.progress.known_through(watermark.node);
        let Taken { items, missing } = self.arrivals.take(offset, watermark.node, known, stretch);
        for item in items {
            self.apply_item(offset, item, shared);
        }
        if let Some((gap, count)) = missing {
            shared.counters.add("records_missing", count.unsigned_abs());
            watermark.dropped.push(Dropped {
                reason: gap.reason().to_owned(),
                count,
                from_us: watermark.covers_from_us,
                to_us: watermark.up_to_us,
            });
        }
        let last = last_window(&watermark, shared.settings.windows);
        self.needs(last, offset);
        if watermark.covers_from_us < watermark.up_to_us {
            shared.tells_of(watermark.covers_from_us, watermark.up_to_us - 1);
        }
        if !self.progress.watermark(offset, watermark, shared.settings) {
            shared.counters.add("nodes_cut_off", 1);
            self.has_not_seen(last, shared);
        }
        self.applied_offset = offset;
        self.check_seal(shared);
    }

    fn apply_item(&mut self, offset: Offset, item: T, shared: &mut Shared<'_>) {
        let window = shared.settings.windows.at(item.at_us());
        self.needs(window, offset);
        let memory = shared.open.map(|open| shared.settings.windows.moved(open, -MEMORY_WINDOWS));
        let is_remembered = memory.is_none_or(|memory| window >= memory);
        if is_remembered {
            shared.names.mention(&item, shared.symbols);
        }
        if shared.open.is_some_and(|open| window < open) {
            self.count_late(offset, &item, shared);
            // Of older windows nothing is remembered that it could have counted in, and it may have been given up as well. What an agent tells of them now
            // it says is of then.
            if is_remembered {
                shared.tells_of(item.at_us(), item.at_us());
            }
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
    fn has_not_seen(&mut self, last: Window, shared: &Shared<'_>) {
        if shared.closes_at_end {
            let Some(mut window) = self.first_open(shared) else { return };
            for _ in 0..UNSEEN_WINDOWS_MAX {
                if window <= last {
                    *self.unseen_in.entry(window).or_default() += 1;
                    window = shared.settings.windows.next(window);
                }
            }
            return;
        }
        if shared.open.is_none_or(|open| open <= last) {
            *self.unseen.entry(last).or_default() += 1;
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
