//! Join: brings both sides of every connection together and folds each window into partial sums per edge and operation.
//!
//! In: one partition of `flows`, and those of the same number of `requests` and of what agents say of their progress in both. Out: `partials`, then a
//! marker that the window is closed. A window closes once agents' progress has sealed it for both; what counts in it is what they vouch for before
//! the seals, so it is decided by the logs alone. The state follows from the last [`REACH_WINDOWS`] windows: they can be read again, or it is taken from a snapshot.

mod arrivals;
mod clocks;
mod counted;
mod credits;
mod edges;
mod exchanges;
mod fold;
mod items;
mod lane;
mod names;
mod progress;
mod ranges;
mod reached;
mod snapshot;
mod spans;
mod summed;
mod symbols;

use std::collections::{BTreeSet, VecDeque};

use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Flow, MORE, Missing, Progress as ToldProgress, Request, Share, Touch, WindowClosed};
use headwater_schemas::topics::Topic;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use self::arrivals::Stretch;
use self::clocks::Written;
use self::counted::Counted;
use self::credits::{CREDIT_WINDOWS, Credits};
use self::edges::Edges;
use self::exchanges::pair;
use self::fold::Fold;
use self::items::{FlowItem, Item, Told};
use self::lane::{Heard, Lane, Shared};
use self::names::Names;
use self::progress::{Coverage, Progress, Watermark};
use self::summed::take_out_what_is_late;
use self::symbols::{Symbol, Symbols};
use crate::missing::{coalesce, honest};
use crate::processor::{
    BadInput, Checkpoint, Counters, Input, Memo, NodeTrouble, Output, Processor, Replay, Trouble, Troubles, read,
};
use crate::touched::{Seen, listed};
use crate::windows::{Window, Windows};

pub use self::progress::FORGET_AFTER_US;

/// Names and counted exchanges are remembered for this many windows: as many as nodes are waited for, and those of the credits.
pub const MEMORY_WINDOWS: i64 = 8;

/// What counts in a window follows from its records and those of so many windows before it: whoever computes it again begins there. A credit is
/// claimed up to `CREDIT_WINDOWS` after it was given, and what was claimed is used up to as many after that; and whether it was given followed from
/// the names that were remembered then.
pub const REACH_WINDOWS: i64 = MEMORY_WINDOWS + 2 * CREDIT_WINDOWS;

/// In a gap in which nothing is known of any node, windows are published only up to this long before its end.
const GAP_US_MAX: i64 = 3600 * 1_000_000;

const FLOWS: usize = 0;
const REQUESTS: usize = 1;
const PROGRESS: usize = 2;

/// When windows close, and what the join may remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinSettings {
    pub windows: Windows,
    /// Watermarks must pass a window's end by this much: it lets a client's record arrive that completes after its server's.
    pub slack_us: i64,
    /// A node that lags is waited for this long after that, or after it was last heard.
    pub grace_us: i64,
    /// A node that lags by more than this is not waited for.
    pub node_timeout_us: i64,
    /// Windows that closed longer ago than this are not said to have late records.
    pub horizon_us: i64,
    pub nodes_max: usize,
    pub connections_max: usize,
    pub counted_max: usize,
    pub records_per_window_max: usize,
}

impl Default for JoinSettings {
    fn default() -> Self {
        JoinSettings {
            windows: Windows::of_ms(10_000),
            slack_us: 2_000_000,
            grace_us: 15_000_000,
            node_timeout_us: 60_000_000,
            horizon_us: 900_000_000,
            nodes_max: 20_000,
            connections_max: 200_000,
            counted_max: 1_000_000,
            records_per_window_max: 4_000_000,
        }
    }
}

/// The join of the partitions of one number.
pub struct Join {
    partition: Partition,
    partitions: i32,
    settings: JoinSettings,
    symbols: Symbols,
    names: Names,
    counted: Counted,
    credits: Credits,
    flows: Lane<FlowItem>,
    requests: Lane<Told>,
    /// The oldest open window.
    open: Option<Window>,
    /// Windows up to here are published.
    published_through: Option<Window>,
    /// The only windows that are published, if it computes a past range again.
    replay: Option<Replay>,
    complete: VecDeque<Window>,
    /// Closed windows of which something came since the last one closed.
    late: BTreeSet<Window>,
    outputs: Vec<Output>,
    counters: Counters,
    troubles: Troubles,
}

impl Join {
    /// A join of partition `partition` of `partitions`, as the checkpoints of flows, requests and progress left it.
    pub fn new(
        partition: Partition,
        partitions: i32,
        settings: JoinSettings,
        checkpoints: &[Option<Checkpoint>],
    ) -> Join {
        let checkpoint = |stream: usize| checkpoints.get(stream).and_then(Option::as_ref);
        let of_progress = checkpoint(PROGRESS);
        let flows = Lane::new(checkpoint(FLOWS), of_progress);
        let requests = Lane::new(checkpoint(REQUESTS), of_progress);
        let memos = || [FLOWS, REQUESTS].into_iter().filter_map(checkpoint).map(|checkpoint| &checkpoint.memo);
        let published = memos().max_by_key(|memo| memo.closed_through_us);
        let mut join = Join {
            partition,
            partitions,
            symbols: Symbols::default(),
            names: Names::new(settings.connections_max),
            counted: Counted::new(settings.counted_max),
            credits: Credits::new(settings.counted_max),
            flows,
            requests,
            open: None,
            published_through: published.and_then(|memo| memo.closed_through_us).map(Window::starting_at),
            replay: published.and_then(|memo| memo.replay),
            complete: VecDeque::new(),
            late: BTreeSet::new(),
            outputs: Vec::new(),
            counters: Counters::default(),
            troubles: Troubles::default(),
            settings,
        };
        join.open = match (join.published_through, join.warming_up()) {
            (_, Some(replay)) => join.next_known(Window::FIRST).or(replay.memory_from_us.map(Window::starting_at)),
            (Some(through), None) => {
                // Windows may have had another length then.
                let end_us = through.start_us() + published.map_or(0, |memo| memo.window_ms * 1000);
                let known = join.next_known(Window::FIRST);
                Some(known.unwrap_or_else(|| join.settings.windows.starting_from(end_us)))
            }
            (None, None) => None,
        };
        join
    }

    fn decode(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        let Input { offset, timestamp_us, appended_us, schema, datum, .. } = input;
        let written = Written::of(timestamp_us, appended_us, self.settings.windows);
        match input.stream {
            FLOWS => {
                let item = FlowItem::of(&read::<Flow<'_>>(schema, datum)?, written, &mut self.symbols)?;
                let (node, item) = (item.node, Some(item).filter(|item| self.is_of_use(item.at_us)));
                self.flows.record(offset, node, item);
                let (flows, _, shared) = self.lanes();
                if flows.may_advance(&shared) {
                    self.advance();
                }
            }
            REQUESTS => {
                let told = Told::of(read::<Request<'_>>(schema, datum)?, written, &mut self.symbols)?;
                let (node, told) = (told.node(), Some(told).filter(|told| self.is_of_use(told.at_us())));
                self.requests.record(offset, node, told);
                let (_, requests, shared) = self.lanes();
                if requests.may_advance(&shared) {
                    self.advance();
                }
            }
            _ => {
                let mut told: ToldProgress = read(schema, datum)?;
                Progress::check(&told)?;
                let ahead_us = written.progress(&mut told)?;
                if ahead_us > 0 {
                    self.troubles.add(Trouble::ClockAhead, &told.node, ahead_us);
                }
                self.hear(offset, &told);
            }
        }
        Ok(())
    }

    /// What an agent says of both topics.
    fn hear(&mut self, offset: Offset, told: &ToldProgress) {
        if self.is_behind_reach(told.covers_from_us) {
            self.flows.skip(offset);
            return self.requests.skip(offset);
        }
        let node = self.symbols.intern(&told.node);
        let heard = |share: &Share| Heard { watermark: Watermark::of(told, share, node), stretch: Stretch::of(share) };
        self.flows.hear(offset, heard(&told.flows));
        self.requests.hear(offset, heard(&told.requests));
        self.advance();
    }

    /// Whether any window looks at a record of this time.
    fn is_of_use(&self, at_us: i64) -> bool {
        !self.is_before_memory(at_us) && !self.is_behind_reach(at_us)
    }

    /// Closes every window that both lanes have sealed.
    fn advance(&mut self) {
        loop {
            if self.open.is_none() {
                let (flows, requests, mut shared) = self.lanes();
                flows.advance(&mut shared);
                requests.advance(&mut shared);
                self.open = self.first_window();
            }
            let Some(open) = self.open.filter(|_| !self.is_done()) else {
                return;
            };
            let (flows, requests, mut shared) = self.lanes();
            let flows_sealed = flows.advance(&mut shared);
            let requests_sealed = requests.advance(&mut shared);
            if !(flows_sealed && requests_sealed) {
                return;
            }
            self.close(open);
            self.open = Some(self.window_after(open));
        }
    }

    fn close(&mut self, window: Window) {
        let windows = self.settings.windows;
        let (settings, symbols) = (&self.settings, &self.symbols);
        let mut coverage =
            both(self.flows.coverage(window, settings, symbols), self.requests.coverage(window, settings, symbols));
        let flows = self.flows.close(window, &self.settings, &mut self.counters);
        let requests = self.requests.close(window, &self.settings, &mut self.counters);
        let ahead = windows.moved(window, MEMORY_WINDOWS);
        self.flows.late.clear();
        let unclear = take_out_what_is_late(std::mem::take(&mut self.requests.late), &mut self.counted);
        if unclear > 0 {
            let kept = requests.len() as f64;
            coverage.completeness = honest(coverage.completeness * kept / (kept + unclear as f64), true);
            coverage.missing.push(Missing {
                node: "unknown".to_owned(),
                reason: "told-late".to_owned(),
                count: i64::try_from(unclear).unwrap_or(i64::MAX),
                from_us: window.start_us(),
                to_us: windows.end_us(window),
            });
        }
        let paired = pair(window, requests, &mut self.requests.buckets, ahead, &mut self.counted, &mut self.counters);
        let mut fold = Fold {
            window,
            windows,
            names: &self.names,
            credits: &mut self.credits,
            nodes: coverage.nodes.clone(),
            since_us: windows.moved(window, -MEMORY_WINDOWS).start_us(),
            symbols: &mut self.symbols,
            edges: Edges::default(),
        };
        fold.exchanges(&paired.exchanges);
        fold.summed(&paired.summed);
        fold.flows(&flows, &mut self.counters);
        let edges = fold.edges;
        let touches = self.touches(&coverage.missing, windows.moved(window, -MEMORY_WINDOWS).start_us());
        self.publish(window, edges, coverage, touches);
        self.late.clear();
        self.forget(windows.next(window));
    }

    /// Whom nodes saw since a time of which something is missing.
    fn touches(&mut self, missing: &[Missing], since_us: i64) -> Vec<Touch> {
        let nodes: FxHashSet<Symbol> = missing.iter().map(|missing| self.symbols.intern(&missing.node)).collect();
        if nodes.is_empty() {
            return Vec::new();
        }
        let text = |symbol: Symbol| self.symbols.text(symbol).to_owned();
        let of = |last_us, workloads| Seen { last_us, workloads };
        listed(match self.names.seen_on(&nodes, since_us) {
            Some(seen) => {
                let seen = seen.into_iter();
                seen.map(|(node, (last_us, names))| (text(node), of(last_us, names.into_iter().map(text).collect())))
                    .collect()
            }
            None => nodes.into_iter().map(|node| (text(node), of(since_us, [MORE.to_owned()].into()))).collect(),
        })
    }

    fn publish(&mut self, window: Window, mut edges: Edges, coverage: Coverage, touches: Vec<Touch>) {
        for (name, count) in std::mem::take(&mut edges.counters).iter() {
            self.counters.add(name, count);
        }
        if coverage.missing.is_empty() {
            self.complete.push_back(window);
        }
        if self.published_through.is_some_and(|through| window <= through) {
            return;
        }
        if self.replay.is_some_and(|replay| window.start_us() >= replay.to_us) {
            return;
        }
        let window_ms = self.settings.windows.length_ms();
        let partials = edges.into_partials(window.start_us(), window_ms, self.partition.0, &self.symbols);
        self.outputs.extend(partials.into_iter().map(Output::Partial));
        let closed = WindowClosed {
            window_start_us: window.start_us(),
            window_ms,
            source_partition: self.partition.0,
            // What agents spread their records among, which may be less than there is: nothing stands in the others, then.
            source_partitions: coverage.partitions.unwrap_or(self.partitions),
            nodes: coverage.nodes.len() as i32,
            completeness: coverage.completeness,
            missing: coverage.missing,
            records: -1,
            through_offset: -1,
            late_windows_us: self.late_windows_us(),
            revision: 0,
            touches,
        };
        self.outputs.push(Output::Closed(Topic::Partials, closed));
        self.published_through = Some(window);
        self.counters.add("windows_closed", 1);
    }

    /// Windows that are to be computed again. A replay's topics have none of before its range, and it does not read all that tells of those.
    fn late_windows_us(&self) -> Vec<i64> {
        let from_us = self.replay.map_or(i64::MIN, |replay| replay.from_us);
        self.late.iter().map(|window| window.start_us()).filter(|late_us| *late_us >= from_us).collect()
    }

    fn forget(&mut self, open: Window) {
        let since = self.settings.windows.moved(open, -MEMORY_WINDOWS);
        let cut_off = self.names.forget(since.start_us());
        self.counters.add("names_cut_off", cut_off);
        let cut_off = self.counted.forget(since);
        self.counters.add("counted_cut_off", cut_off);
        let cut_off = self.credits.forget(open, self.settings.windows);
        self.counters.add("credits_cut_off", cut_off);
        self.complete.retain(|window| *window >= since);
        if self.symbols.wants_sweep() {
            let mut symbols = std::mem::take(&mut self.symbols);
            symbols.sweep(self.symbols_in_use());
            self.symbols = symbols;
        }
    }

    fn symbols_in_use(&self) -> impl Iterator<Item = Symbol> {
        let read = self.flows.symbols().chain(self.requests.symbols());
        read.chain(self.names.symbols()).chain(self.counted.symbols())
    }

    /// The first window of all: the one in which anything is covered first. Known once both lanes had a watermark.
    fn first_window(&self) -> Option<Window> {
        let flows_us = self.flows.progress.first_covered_us()?;
        let requests_us = self.requests.progress.first_covered_us()?;
        Some(self.settings.windows.at(flows_us.min(requests_us)))
    }

    fn window_after(&self, window: Window) -> Window {
        let next = self.settings.windows.next(window);
        if self.warming_up().is_some() {
            return self.next_known(next).unwrap_or_else(|| self.past_a_long_gap(next));
        }
        match self.published_through {
            // Still building up again what was known: the windows that were closed the first time are closed again.
            Some(through) if next <= through => {
                self.next_known(next).unwrap_or_else(|| self.settings.windows.starting_from(through.start_us() + 1))
            }
            _ => self.past_a_long_gap(next),
        }
    }

    fn past_a_long_gap(&self, next: Window) -> Window {
        let next_us = next.start_us();
        let signs = self.flows.next_sign_us(next_us).into_iter().chain(self.requests.next_sign_us(next_us));
        match signs.min() {
            Some(sign_us) if sign_us - GAP_US_MAX > next_us => self.settings.windows.at(sign_us - GAP_US_MAX),
            _ => next,
        }
    }

    /// The replay whose first window is still to come. Windows before it are closed by their watermarks as ever, unpublished.
    fn warming_up(&self) -> Option<Replay> {
        let replay = self.replay?;
        self.published_through.is_none_or(|through| through.start_us() < replay.from_us).then_some(replay)
    }

    /// Whether no window of the replay can remember a record of this time.
    fn is_before_memory(&self, at_us: i64) -> bool {
        self.replay.and_then(|replay| replay.memory_from_us).is_some_and(|from_us| at_us < from_us)
    }

    /// Whether no window of a range that closes at the logs' end looks at a record of this time, which would be kept until then.
    fn is_behind_reach(&self, at_us: i64) -> bool {
        let replay = self.replay.filter(|replay| replay.at_end);
        replay.is_some_and(|replay| at_us >= self.settings.windows.shift(replay.to_us, MEMORY_WINDOWS))
    }

    fn next_known(&self, from: Window) -> Option<Window> {
        let known = [self.flows.known_seal_from(from), self.requests.known_seal_from(from)];
        known.into_iter().flatten().min()
    }

    fn lanes(&mut self) -> (&mut Lane<FlowItem>, &mut Lane<Told>, Shared<'_>) {
        let shared = Shared {
            settings: &self.settings,
            names: &mut self.names,
            symbols: &self.symbols,
            counters: &mut self.counters,
            troubles: &mut self.troubles,
            open: self.open,
            complete: &self.complete,
            late: &mut self.late,
            closes_at_end: self.replay.is_some_and(|replay| replay.at_end),
        };
        (&mut self.flows, &mut self.requests, shared)
    }
}

impl Processor for Join {
    fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        self.decode(input)
    }

    fn unreadable(&mut self, stream: usize, offset: Offset) {
        match stream {
            FLOWS => self.flows.unreadable(offset),
            REQUESTS => self.requests.unreadable(offset),
            // Whose progress it was shows when the next one comes.
            _ => {
                self.flows.skip(offset);
                self.requests.skip(offset);
            }
        }
        self.advance();
    }

    fn deleted(&mut self, stream: usize, last: Offset) {
        match stream {
            FLOWS => self.flows.deleted(last),
            REQUESTS => self.requests.deleted(last),
            _ => {
                self.flows.skip(last);
                self.requests.skip(last);
            }
        }
        self.advance();
    }

    fn waits_for(&self, stream: usize) -> Option<Offset> {
        match stream {
            FLOWS => self.flows.waits_for(),
            REQUESTS => self.requests.waits_for(),
            _ => None,
        }
    }

    fn ends(&mut self, stream: usize, end: Offset) {
        match stream {
            FLOWS => self.flows.ends(end),
            REQUESTS => self.requests.ends(end),
            _ => {}
        }
        self.advance();
    }

    fn end(&mut self) {
        self.flows.end();
        self.requests.end();
        self.advance();
    }

    fn wants(&self, stream: usize) -> bool {
        if self.is_done() {
            return false;
        }
        match stream {
            FLOWS => self.flows.wants_records(),
            REQUESTS => self.requests.wants_records(),
            _ => self.flows.wants_progress() && self.requests.wants_progress(),
        }
    }

    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let memo = Memo {
            closed_through_us: self.closed_through_us(),
            window_ms: self.settings.windows.length_ms(),
            replay: self.replay,
            ..Memo::default()
        };
        let progress = self.flows.needed_from().min(self.requests.needed_from());
        let read_to = self.flows.read_to().min(self.requests.read_to());
        vec![
            self.flows.checkpoint(progress, &memo),
            self.requests.checkpoint(progress, &memo),
            Checkpoint { needed_from: progress, memo: Memo { read_to, ..memo } },
        ]
    }

    fn snapshot_bytes(&self) -> Option<usize> {
        self.may_be_kept().then(|| self.bytes_about())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        self.written().filter(|_| self.may_be_kept())
    }

    fn read_from(&self) -> Option<Vec<Offset>> {
        let ((by_flows, flows), (by_requests, requests)) = (self.flows.read_from(), self.requests.read_from());
        Some(vec![flows, requests, by_flows.min(by_requests)])
    }

    fn closed_through_us(&self) -> Option<i64> {
        self.published_through.map(Window::start_us)
    }

    fn closed_to_us(&self) -> Option<i64> {
        Some(self.settings.windows.shift(self.closed_through_us()?, 1))
    }

    fn is_done(&self) -> bool {
        let Some(replay) = self.replay else { return false };
        let last_us = self.settings.windows.shift(replay.to_us, -1);
        self.closed_through_us() >= Some(last_us) || self.open.map(Window::start_us) >= Some(replay.to_us)
    }

    fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    fn take_troubles(&mut self) -> Vec<NodeTrouble> {
        self.troubles.take()
    }

    fn sizes(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("connections", self.names.len()),
            ("counted", self.counted.len()),
            ("credits", self.credits.len()),
            ("symbols", self.symbols.len()),
            ("nodes", self.flows.progress.nodes()),
            ("waiting", self.flows.waiting() + self.requests.waiting()),
        ]
    }
}

/// What both topics say of one window.
fn both(mut coverage: Coverage, other: Coverage) -> Coverage {
    coverage.nodes.extend(other.nodes);
    coverage.missing.extend(other.missing);
    coverage.partitions = coverage.partitions.max(other.partitions);
    coverage.missing = coalesce(coverage.missing, i64::saturating_add);
    let completeness = coverage.completeness.min(other.completeness);
    coverage.completeness = honest(completeness, !coverage.missing.is_empty());
    coverage
}
