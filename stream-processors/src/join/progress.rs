//! What agents say of one topic's records: how far each node is, and what of it is missing.
//!
//! In: watermarks in the order of the log of progress. Out: whether a window can be sealed, and then how complete it is. A node counts from its
//! first watermark on until the window in which it says `final`, or until it was silent for [`FORGET_AFTER_US`] of event time;
//! it is waited for as long as it is heard and lags less than the node timeout. A clock that is wrong cannot be told from a node
//! that lags, except by the others: what most nodes agree on holds. Bounded: nodes, and watermarks kept for each.

use headwater_schemas::place::Offset;
use headwater_schemas::records::{Dropped, Missing, Progress as Told, Share};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::JoinSettings;
use super::reached::{Place, Reached};
use super::spans::{self, Span, missing, no_data};
use super::symbols::{Symbol, Symbols};
use crate::missing::{PARTITIONS_DIFFER, coalesce, honest};
use crate::plausible::{SOURCE_PARTITIONS_MAX, are_names, within};
use crate::processor::BadInput;
use crate::windows::{Window, Windows};

/// A silent node is named as missing for this long, and remembered for a gap to be known when it returns.
pub const FORGET_AFTER_US: i64 = 5 * 60 * 1_000_000;

/// What an agent says of its connections when it stops is a little later than the time that its last watermark vouches for.
const LAST_WORDS_US: i64 = 1_000_000;

/// An agent speaks every second, or once its queue has room again. A watermark that covers more is one of a machine whose clock was set
/// meanwhile, often from 1970, and would close each window since then.
const COVERED_US_MAX: i64 = 24 * 3600 * 1_000_000;

/// More than fit into the longest window and the longest grace, at one a second.
const SPANS_MAX: usize = 8192;
const DROPPED_RANGES_MAX: usize = 1000;

/// What an agent says of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    pub node: Symbol,
    pub agent_started_at_us: i64,
    pub sequence: i64,
    pub covers_from_us: i64,
    pub up_to_us: i64,
    pub is_final: bool,
    /// Among how many partitions it spreads its records.
    pub partitions: i32,
    pub published: i64,
    pub dropped: Vec<Dropped>,
    /// Its records up to there are vouched for.
    pub through: Offset,
}

impl Watermark {
    /// What it says of the topic that this is its share of.
    pub fn of(told: &Told, share: &Share, node: Symbol) -> Watermark {
        Watermark {
            node,
            agent_started_at_us: told.agent_started_at_us,
            sequence: told.sequence,
            covers_from_us: told.covers_from_us,
            up_to_us: told.up_to_us,
            is_final: told.is_final,
            partitions: told.partitions,
            published: share.published,
            dropped: share.dropped.clone(),
            through: Offset(share.through_offset),
        }
    }
}

/// The state of all nodes, as one partition tells it.
#[derive(Default, Serialize, Deserialize)]
pub struct Progress {
    nodes: FxHashMap<Symbol, Node>,
    largest: Option<Mark>,
    /// How much time has gone by, by the furthest node: without the leaps that the largest time makes when a node comes whose clock
    /// is ahead. Only differences mean anything.
    elapsed_us: i64,
    /// Where the nodes are; what a snapshot has of them says it again.
    #[serde(skip)]
    reached: Reached,
}

/// The largest time that any watermark has reached, and where the first one stood that did.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Mark {
    up_to_us: i64,
    offset: Offset,
}

/// What is known of a window when it is sealed.
#[derive(Debug, Default, PartialEq)]
pub struct Coverage {
    pub nodes: FxHashSet<Symbol>,
    pub completeness: f64,
    pub missing: Vec<Missing>,
    /// Among how many partitions agents spread their records: the most that any of them says.
    pub partitions: Option<i32>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    agent_started_at_us: i64,
    sequence: i64,
    up_to_us: i64,
    is_final: bool,
    /// Its records up to there are vouched for; none if nobody knows any more.
    through: Option<Offset>,
    /// Where the watermark stood that said so.
    last_offset: Offset,
    /// Time that had gone by then: what goes by after it is silence.
    heard_us: i64,
    /// From where on time must be counted again to know how long the silence is.
    heard_offset: Offset,
    /// Covered times, in the order in which they were told.
    spans: Vec<Span>,
}

impl Progress {
    /// Refuses what no agent can mean, whatever its clock shows.
    pub fn check(told: &Told) -> Result<(), BadInput> {
        let least_us = told.up_to_us.saturating_sub(COVERED_US_MAX).max(0);
        within("covers_from_us", told.covers_from_us, least_us, told.up_to_us)?;
        are_names("node", [told.node.as_str()])?;
        within("sequence", told.sequence, 0, i64::MAX)?;
        within("partitions", told.partitions.into(), 1, SOURCE_PARTITIONS_MAX)?;
        for share in [&told.flows, &told.requests] {
            within("published", share.published, 0, 1 << 50)?;
            within("after_offset", share.after_offset, -1, share.through_offset)?;
            within("records", share.records, 0, 1 << 50)?;
            within("number of dropped ranges", share.dropped.len() as i64, 0, DROPPED_RANGES_MAX as i64)?;
            for dropped in &share.dropped {
                are_names("dropped", [dropped.reason.as_str()])?;
                within("dropped count", dropped.count, 0, 1 << 50)?;
                within("dropped from_us", dropped.from_us, 0, dropped.to_us)?;
            }
        }
        Ok(())
    }

    /// After a snapshot was read, which has nothing of it.
    pub fn rank(&mut self) {
        self.nodes.iter().for_each(|(symbol, node)| self.reached.moves(*symbol, None, node.place()));
    }

    /// Where records stand that were vouched for does not hold any more.
    pub fn forget_places(&mut self) {
        self.nodes.values_mut().for_each(|node| node.through = None);
    }

    /// Up to where the records of a node have been vouched for, if it is not gone.
    pub fn known_through(&self, node: Symbol) -> Option<Offset> {
        self.nodes.get(&node).filter(|node| node.may_go_on(self.elapsed_us)).and_then(|node| node.through)
    }

    /// Takes a checked watermark. One that was seen before changes nothing.
    ///
    /// Says whether there was room for it: one node more than can be remembered is not taken.
    pub fn watermark(&mut self, offset: Offset, watermark: Watermark, settings: &JoinSettings) -> bool {
        if self.nodes.len() >= settings.nodes_max && !self.nodes.contains_key(&watermark.node) {
            return false;
        }
        let run = (watermark.agent_started_at_us, watermark.sequence);
        // Whether a node was silent for so long that it counts as gone is told by the log alone, whenever its reading began.
        let went_by_us = self.elapsed_us;
        let is_gone = |node: &Node| !node.may_go_on(went_by_us);
        if self.nodes.get(&watermark.node).is_some_and(is_gone)
            && let Some(gone) = self.nodes.remove(&watermark.node)
        {
            self.reached.moves(watermark.node, gone.place(), None);
        }
        let largest = match self.largest {
            Some(largest) if largest.up_to_us >= watermark.up_to_us => largest,
            before => {
                let leap_us = before.map_or(0, |before| watermark.up_to_us - before.up_to_us);
                self.elapsed_us += leap_us.min(watermark.up_to_us - watermark.covers_from_us);
                Mark { up_to_us: watermark.up_to_us, offset }
            }
        };
        self.largest = Some(largest);
        let (partitions, through) = (Some(watermark.partitions), watermark.through);
        let elapsed_us = self.elapsed_us;
        let node = self.nodes.entry(watermark.node).or_insert_with(|| Node {
            agent_started_at_us: i64::MIN,
            sequence: -1,
            up_to_us: i64::MIN,
            is_final: false,
            through: Some(Offset::BEFORE_ALL),
            last_offset: offset,
            heard_us: elapsed_us,
            heard_offset: largest.offset,
            spans: Vec::new(),
        });
        // Also what a run says that was overtaken by the next one.
        node.through = node.through.max(Some(through));
        if run.0 == node.agent_started_at_us && run.1 <= node.sequence {
            return true;
        }
        let predecessor_heard_offset = node.heard_offset;
        // Where the broker's clock moved its time, the one before it may have been moved to an earlier one.
        let predecessor_up_to_us = if run.0 == node.agent_started_at_us { node.up_to_us } else { i64::MAX };
        let follows = match run {
            (started_us, sequence) if started_us == node.agent_started_at_us => sequence == node.sequence + 1,
            (_, sequence) => sequence == 0,
        };
        if run > (node.agent_started_at_us, node.sequence) {
            let before = node.place();
            (node.agent_started_at_us, node.sequence) = run;
            node.up_to_us = watermark.up_to_us;
            node.is_final = watermark.is_final;
            node.last_offset = offset;
            (node.heard_us, node.heard_offset) = (elapsed_us, largest.offset);
            self.reached.moves(watermark.node, before, node.place());
        }
        // What a lost watermark said was dropped may reach beyond it, so the next one cannot vouch for its own time. Nor does
        // what it published count anywhere: as the first one that is read again, it must not count in the window that it ends at.
        let from_us = if follows { watermark.covers_from_us.min(predecessor_up_to_us) } else { watermark.up_to_us };
        let needed_from = if follows { predecessor_heard_offset } else { largest.offset };
        let span = Span {
            offset,
            needed_from,
            last_needed_from: needed_from,
            // By its own clock, which may be ahead.
            started_us: watermark.agent_started_at_us.min(from_us),
            from_us,
            to_us: watermark.up_to_us,
            published: if follows { watermark.published } else { 0 },
            dropped: watermark.dropped,
            partitions,
        };
        match node.spans.last_mut() {
            Some(last) if last.goes_on_in(&span, settings.windows) => last.extend(span),
            _ => {
                if node.spans.len() == SPANS_MAX {
                    node.spans.remove(0);
                }
                node.spans.push(span);
            }
        }
        true
    }

    /// Start of the earliest time that any node covered and that is still remembered.
    pub fn first_covered_us(&self) -> Option<i64> {
        self.nodes.values().flat_map(|node| &node.spans).map(|span| span.from_us).min()
    }

    pub fn has_begun(&self) -> bool {
        self.largest.is_some()
    }

    /// Whether nothing more is to be waited for before this window closes. Looks at few nodes, since it is asked whenever one says anything.
    pub fn seals(&mut self, end_us: i64, settings: &JoinSettings) -> bool {
        let Some(Mark { up_to_us: largest_us, .. }) = self.largest else {
            return false;
        };
        let enough_us = end_us + settings.slack_us;
        if largest_us < enough_us {
            // Once all have stopped in order, nobody is left to be waited for. The window in which the last one stopped says what is
            // missing of it; one that starts again in it comes too late for it.
            let has_begun = largest_us > end_us - settings.windows.length_us();
            return has_begun && self.reached.is_empty();
        }
        // How far the furthest is whose clock is not ahead of most others by more than the node timeout, of those that are heard.
        self.reached.silence(self.elapsed_us - settings.node_timeout_us);
        let Some(front_us) = self.reached.front_us(settings.node_timeout_us) else {
            return true;
        };
        let is_heard = self.elapsed_us - settings.grace_us;
        let heard_after_us = (largest_us >= enough_us + settings.grace_us).then_some(is_heard);
        let least_us = front_us - settings.node_timeout_us;
        front_us >= enough_us && !self.reached.is_any_within(least_us, enough_us, heard_after_us)
    }

    /// How complete the window is, by what was told until now.
    pub fn coverage(&self, start_us: i64, end_us: i64, symbols: &Symbols) -> Coverage {
        let mut coverage = Coverage { completeness: 1.0, ..Coverage::default() };
        let expected = || self.nodes.iter().filter(|(_, node)| node.is_expected(start_us, end_us, self.elapsed_us));
        coverage.partitions = expected().filter_map(|(_, node)| spans::partitions(&node.spans, start_us, end_us)).max();
        for (symbol, node) in expected() {
            let name = symbols.text(*symbol);
            if spans::partitions(&node.spans, start_us, end_us).is_some_and(|told| Some(told) < coverage.partitions) {
                coverage.missing.push(missing(name, PARTITIONS_DIFFER, start_us, end_us));
            }
            coverage.nodes.insert(*symbol);
            let completeness = spans::completeness(&node.spans, name, start_us, end_us, &mut coverage.missing);
            coverage.completeness = coverage.completeness.min(completeness);
        }
        if coverage.nodes.is_empty() {
            // Nobody looked, so nothing may be called complete.
            coverage.completeness = 0.0;
            coverage.missing.push(no_data("unknown", start_us, end_us));
        }
        coverage.missing = coalesce(coverage.missing, i64::saturating_add);
        coverage.completeness = honest(coverage.completeness, !coverage.missing.is_empty());
        coverage
    }

    /// The earliest time from here on that any node covers.
    pub fn next_covered_us(&self, from_us: i64) -> Option<i64> {
        let spans = self.nodes.values().flat_map(|node| &node.spans);
        spans.filter(|span| span.to_us > from_us).map(|span| span.from_us.max(from_us)).min()
    }

    /// Forgets what no window from `open_from_us` on needs. Of each node the last watermark before that time stays, so
    /// that a gap after it is known.
    pub fn forget(&mut self, open_from_us: i64) {
        let oldest_us = open_from_us - FORGET_AFTER_US;
        let elapsed_us = self.elapsed_us;
        for node in self.nodes.values_mut() {
            let before_us = node.spans.iter().map(|span| span.to_us).filter(|&to_us| to_us <= open_from_us).max();
            let last_offset = node.last_offset;
            // A node that is not gone yet goes on if it is heard again. Where all were silent, windows pass faster than time does.
            let goes_on = node.may_go_on(elapsed_us) || node.spans.iter().any(|span| span.to_us > open_from_us);
            node.spans.retain(|span| {
                let reaches_us = span.reaches_us();
                let last = span.offset == last_offset || Some(span.to_us) == before_us;
                reaches_us > open_from_us || (last && (goes_on || reaches_us >= oldest_us))
            });
            for span in node.spans.iter_mut().filter(|span| span.reaches_us() <= open_from_us) {
                span.needed_from = span.last_needed_from;
            }
        }
        let reached = &mut self.reached;
        self.nodes.retain(|symbol, node| {
            let stays = !node.spans.is_empty();
            if !stays {
                reached.moves(*symbol, node.place(), None);
            }
            stays
        });
    }

    /// Offset of the oldest watermark that is still needed.
    pub fn needed_from(&self) -> Option<Offset> {
        let spans = self.nodes.values().flat_map(|node| &node.spans).map(|span| span.needed_from);
        spans.chain(self.nodes.values().map(|node| node.heard_offset)).min()
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What is remembered of all nodes together.
    pub fn spans(&self) -> usize {
        self.nodes.values().map(|node| node.spans.len()).sum()
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.nodes.keys().copied()
    }
}

impl Node {
    /// Where it is, if it runs.
    fn place(&self) -> Option<Place> {
        (!self.is_final).then_some(Place { up_to_us: self.up_to_us, heard_us: self.heard_us })
    }

    /// Whether it was not silent for so long that it counts as gone.
    fn may_go_on(&self, elapsed_us: i64) -> bool {
        elapsed_us - self.heard_us < FORGET_AFTER_US
    }

    /// Whether this node's data is expected in the window: it is heard, though of another time if its clock is behind or what it says
    /// comes late, or it covered a time not long before. The window in which it stopped is not covered to its end: nobody
    /// looked there after that, and if it starts again, its first records may come when the window is closed.
    fn is_expected(&self, start_us: i64, end_us: i64, elapsed_us: i64) -> bool {
        let is_remembered = |span: &Span| span.reaches_us() >= start_us - FORGET_AFTER_US;
        let is_there = self.may_go_on(elapsed_us) || self.spans.iter().any(is_remembered);
        let known = self.spans.iter().any(|span| span.started_us < end_us) && is_there;
        let has_stopped = self.is_final && self.up_to_us + LAST_WORDS_US <= start_us;
        known && !has_stopped
    }
}

/// The last window that a watermark says anything about.
pub fn last_window(watermark: &Watermark, windows: Windows) -> Window {
    windows.at(watermark.dropped.iter().map(|dropped| dropped.to_us).fold(watermark.up_to_us, i64::max))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_that_may_go_on_is_not_forgotten_where_windows_pass_faster_than_time() {
        // All are silent for ten minutes. The first one that is heard again has begun anew, so it vouches for nothing between.
        let mut symbols = Symbols::default();
        let [a, b] = ["a", "b"].map(|name| symbols.intern(name));
        let log = [
            watermark(a, (0, 5), 998, 1000),
            watermark(b, (0, 5), 1000, 1002),
            watermark(a, (1602, 0), 1602, 1604),
            watermark(b, (0, 6), 1002, 1606),
        ];
        let settings = JoinSettings { windows: Windows::of_ms(2_000), ..JoinSettings::default() };
        let read = |from: usize, forget_at: Option<usize>| {
            let mut progress = Progress::default();
            for (at, watermark) in log.iter().enumerate().skip(from) {
                progress.watermark(Offset(at as i64), watermark.clone(), &settings);
                if forget_at == Some(at) {
                    progress.forget(1_600_000_000);
                }
            }
            progress
        };
        let (from_us, to_us) = (1_600_000_000, 1_606_000_000);
        let mut first = read(0, Some(2));
        let coverage = first.coverage(from_us, to_us, &symbols);
        assert_eq!(coverage.missing.iter().map(|missing| missing.node.as_str()).collect::<Vec<_>>(), ["a", "a"]);
        first.forget(from_us);
        let needed_from = first.needed_from().unwrap();
        assert_eq!(read(needed_from.0 as usize, None).coverage(from_us, to_us, &symbols), coverage);
    }

    fn watermark(node: Symbol, run: (i64, i64), from_s: i64, to_s: i64) -> Watermark {
        Watermark {
            node,
            agent_started_at_us: run.0 * 1_000_000,
            sequence: run.1,
            covers_from_us: from_s * 1_000_000,
            up_to_us: to_s * 1_000_000,
            is_final: false,
            partitions: 1,
            published: 3,
            dropped: vec![],
            through: Offset::BEFORE_ALL,
        }
    }

    #[test]
    fn a_machine_whose_clock_is_set_from_1970_covers_nothing_of_the_time_between() {
        let now_us = 1_790_000_000_000_000;
        let mut watermark = Told {
            covers_from_us: now_us - 1_000_000,
            up_to_us: now_us,
            flows: Share::anywhere(3, vec![]),
            requests: Share::anywhere(3, vec![]),
            ..headwater_schemas::samples::progress()
        };
        assert!(Progress::check(&watermark).is_ok());
        watermark.covers_from_us = now_us - COVERED_US_MAX;
        assert!(Progress::check(&watermark).is_ok(), "its queue was full for a day");
        watermark.covers_from_us = 6_000_000;
        let refused = Progress::check(&watermark).unwrap_err();
        assert!(refused.0.contains("covers_from_us"), "{}", refused.0);
    }
}
