//! Which spans are to be rolled up, and what is known of the windows in them.
//!
//! In: what closes windows, in the order of the log. Out: turns, a minute or an hour each, in the order of time: the first time once all windows are closed that begin in it, an hour once none of
//! them can change any more in good order; and again where one of these was closed again. A pure function of the log. Bounded: windows that are known, and the workloads of what
//! is missing of one.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::place::Offset;
use headwater_schemas::records::{WindowClosed, Workload};
use headwater_schemas::topics::Topic;
use serde::{Deserialize, Serialize};

use crate::markers::Sources;
use crate::touched::Touched;
use crate::windows::Windows;

/// For so long after an hour was rolled up it may be rolled up again.
const KNOWN_US: i64 = 3_600_000_000;
/// Windows that may be known: some hours of them.
const WINDOWS_MAX: usize = 20_000;
/// Of what is missing of a window, workloads that are known; of more, any edge may lack something.
const WORKLOADS_MAX: usize = 200;

/// Spans that wait to be rolled up again: their text stands beside an offset, where Kafka keeps 4 KiB.
const AGAIN_MAX: usize = 80;

/// How long a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    Minute,
    Hour,
}

impl Level {
    pub const ALL: [Level; 2] = [Level::Minute, Level::Hour];

    pub fn spans(self) -> Windows {
        match self {
            Level::Minute => Windows::of_ms(60_000),
            Level::Hour => Windows::of_ms(3_600_000),
        }
    }

    /// Where the roll-ups of a topic stand.
    pub fn topic(self, of: Topic) -> Option<Topic> {
        match (of, self) {
            (Topic::Edges, Level::Minute) => Some(Topic::EdgeMinutes),
            (Topic::Edges, Level::Hour) => Some(Topic::EdgeHours),
            (Topic::Latencies, Level::Minute) => Some(Topic::LatencyMinutes),
            (Topic::Latencies, Level::Hour) => Some(Topic::LatencyHours),
            _ => None,
        }
    }
}

/// A span to roll up.
#[derive(Debug, Clone)]
pub struct Turn {
    pub level: Level,
    pub from_us: i64,
    pub to_us: i64,
    /// What it consists of: windows, or minutes.
    pub parts: BTreeMap<i64, Part>,
    /// How many parts it would have without gaps.
    pub parts_expected: i64,
    /// All records of its windows stand up to here.
    pub through: Offset,
}

/// A window, or a minute.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// How often one of its windows was closed again, or by one more partition.
    pub revision: i64,
    /// Records that were published of it the first time, if that is known.
    pub records: Option<i64>,
    windows: Vec<Lacks>,
    windows_expected: i64,
}

impl Part {
    /// How complete it is where nothing is seen of an edge. Of a window that was never closed nothing is known.
    pub fn completeness_of(&self, client: &Workload, server: &Workload) -> f64 {
        let sum: f64 = self.windows.iter().map(|lacks| lacks.completeness_of(client, server)).sum();
        (sum / self.windows_expected.max(1) as f64).min(1.0)
    }

    /// Whether it is complete, of whichever edge.
    pub fn is_whole(&self) -> bool {
        let is_whole = |lacks: &Lacks| lacks.0.iter().all(|(_, touched)| *touched == Touched::Nothing);
        self.windows.len() as i64 >= self.windows_expected && self.windows.iter().all(is_whole)
    }
}

/// What each source partition lacks of a window: the completeness of whom it touches.
#[derive(Debug, Clone, Default)]
struct Lacks(Vec<(f64, Touched)>);

impl Lacks {
    fn completeness_of(&self, client: &Workload, server: &Workload) -> f64 {
        let touched = self.0.iter().filter(|(_, touched)| touched.has(client, server));
        touched.map(|(completeness, _)| *completeness).fold(1.0, f64::min)
    }
}

/// What closed a window.
struct Closed {
    /// Where the first record stands that did.
    first: Offset,
    by_source: BTreeMap<i32, BySource>,
}

struct BySource {
    revision: i32,
    /// All that it knew of had closed the window already.
    is_added: bool,
    records: Option<i64>,
    through: Offset,
    lacks: (f64, Touched),
}

/// What is remembered beside a committed offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// All before it had its effect.
    pub read_to: Offset,
    /// End of the last span of each level that was rolled up.
    pub rolled_to_us: [Option<i64>; Level::ALL.len()],
    /// Starts of spans that are to be rolled up again.
    again: BTreeSet<(Level, i64)>,
}

/// What is known of one topic.
pub struct Spans {
    horizon_us: i64,
    windows: Windows,
    sources: Sources,
    closed: BTreeMap<i64, Closed>,
    closed_through_us: Option<i64>,
    /// Of windows before it no span is rolled up any more.
    known_from_us: i64,
    memo: Memo,
    /// Up to here it is read again: what is due shows behind it.
    known_to: Offset,
    reached: Offset,
    /// Whether more may come that was closed again together with what came last.
    is_within: bool,
    given_up: u64,
}

impl Spans {
    /// As a commit left it, whose offset is where what closes windows is read from.
    pub fn new(horizon_us: i64, memo: Memo) -> Spans {
        Spans {
            horizon_us,
            windows: Windows::of_ms(1),
            sources: Sources::default(),
            closed: BTreeMap::new(),
            closed_through_us: None,
            known_from_us: i64::MIN,
            known_to: memo.read_to,
            reached: Offset::FIRST,
            memo,
            is_within: false,
            given_up: 0,
        }
    }

    /// Takes what closes a window, and stands there.
    pub fn marker(&mut self, offset: Offset, marker: &WindowClosed) {
        let (window_us, is_again) = (marker.window_start_us, marker.revision > 0);
        let is_new = offset >= self.memo.read_to;
        self.passed_over(offset);
        self.is_within = is_again;
        if window_us < self.known_from_us {
            self.given_up += u64::from(is_new);
            return;
        }
        // Partitions were added, and nobody knew of this one when the others closed the window.
        let is_added = !is_again && self.sources.have_closed(window_us);
        if !is_again {
            self.windows = Windows::of_ms(marker.window_ms);
            self.sources.mark(marker);
            self.closed_through_us = self.closed_through_us.max(Some(window_us));
        }
        let window = self.closed.entry(window_us).or_insert(Closed { first: offset, by_source: BTreeMap::new() });
        let before = window.by_source.get(&marker.source_partition);
        if before.is_some_and(|before| before.revision >= marker.revision) {
            return;
        }
        let touched = match Touched::of(&marker.missing, &marker.touches) {
            Touched::EdgesOf(workloads) if workloads.len() > WORKLOADS_MAX => Touched::All,
            touched => touched,
        };
        let records = (marker.records >= 0).then_some(marker.records);
        let is_added = before.map_or(is_added, |before| before.is_added);
        let now = BySource {
            revision: marker.revision,
            is_added,
            records: records.or(before.and_then(|before| before.records)),
            through: before.map_or(Offset::BEFORE_ALL, |before| before.through).max(Offset(marker.through_offset)),
            lacks: (marker.completeness, touched),
        };
        window.by_source.insert(marker.source_partition, now);
        if is_new && (is_again || is_added) {
            self.changed(window_us);
        }
        while self.closed.len() > WINDOWS_MAX
            && let Some((window_us, _)) = self.closed.pop_first()
        {
            self.known_from_us = window_us + 1;
            self.given_up += 1;
        }
    }

    fn changed(&mut self, window_us: i64) {
        for (level, rolled_to_us) in Level::ALL.into_iter().zip(self.memo.rolled_to_us) {
            let from_us = level.spans().start_of(window_us);
            if rolled_to_us.is_some_and(|rolled_to_us| from_us < rolled_to_us) {
                self.memo.again.insert((level, from_us));
            }
        }
        while self.memo.again.len() > AGAIN_MAX {
            self.memo.again.pop_first();
            self.given_up += 1;
        }
    }

    /// A record that closes no window stands there.
    pub fn passed_over(&mut self, offset: Offset) {
        self.reached = offset.next();
        self.memo.read_to = self.memo.read_to.max(self.reached);
    }

    /// What was closed again together was read: nothing more comes for now.
    pub fn rests(&mut self) {
        self.is_within = false;
    }

    /// The span to roll up next, if there is one: minutes before the hour that they make, and what is new before what changed.
    pub fn next(&self) -> Option<Turn> {
        if self.reached < self.known_to {
            return None;
        }
        let first = Level::ALL.into_iter().find_map(|level| Some((level, self.first_time(level)?)));
        let again = || self.memo.again.first().copied().filter(|_| !self.is_within);
        let (level, from_us) = first.or_else(again)?;
        Some(self.turn(level, from_us))
    }

    /// The first span that was not rolled up yet, if its time has come.
    fn first_time(&self, level: Level) -> Option<i64> {
        let spans = level.spans();
        if self.windows.length_us() > spans.length_us() {
            return None;
        }
        let rolled_to_us = self.memo.rolled_to_us[level as usize].unwrap_or(i64::MIN);
        let (window_us, _) = self.closed.range(rolled_to_us.max(self.known_from_us)..).next()?;
        let from_us = spans.start_of(*window_us);
        let waits_us = if level == Level::Hour { self.horizon_us } else { 0 };
        let last_us = self.windows.start_of(spans.end(from_us) - 1) + waits_us;
        self.sources.have_closed(last_us).then_some(from_us)
    }

    fn turn(&self, level: Level, from_us: i64) -> Turn {
        let to_us = level.spans().end(from_us);
        let parts_of = if level == Level::Hour { Level::Minute.spans() } else { self.windows };
        let mut parts: BTreeMap<i64, Part> = BTreeMap::new();
        let mut through = Offset::BEFORE_ALL;
        for (window_us, closed) in self.closed.range(from_us..to_us) {
            let part_us = if level == Level::Hour { parts_of.start_of(*window_us) } else { *window_us };
            let part = parts.entry(part_us).or_insert_with(|| Part {
                records: (level == Level::Minute).then_some(0),
                windows_expected: starts_in(self.windows, part_us, parts_of.end(part_us)).max(1),
                ..Part::default()
            });
            let mut lacks = Lacks::default();
            for by in closed.by_source.values() {
                part.revision += i64::from(by.revision) + i64::from(by.is_added);
                part.records = part.records.zip(by.records).map(|(all, of_this)| all + of_this);
                through = through.max(by.through);
                lacks.0.push(by.lacks.clone());
            }
            part.windows.push(lacks);
        }
        Turn { level, from_us, to_us, parts, parts_expected: starts_in(parts_of, from_us, to_us), through }
    }

    /// It was rolled up.
    pub fn done(&mut self, turn: &Turn) {
        let rolled_to_us = &mut self.memo.rolled_to_us[turn.level as usize];
        *rolled_to_us = (*rolled_to_us).max(Some(turn.to_us));
        self.memo.again.remove(&(turn.level, turn.from_us));
        if turn.level == Level::Hour {
            let from_us = rolled_to_us.map_or(i64::MIN, |to_us| Level::Hour.spans().start_of(to_us - KNOWN_US));
            self.known_from_us = self.known_from_us.max(from_us);
            self.closed = self.closed.split_off(&self.known_from_us);
            self.memo.again.retain(|(_, span_us)| *span_us >= from_us);
        }
    }

    /// What to commit: where to read again from, and what to know then.
    pub fn checkpoint(&self) -> (Offset, &Memo) {
        let first = self.closed.values().map(|closed| closed.first).fold(self.memo.read_to, Offset::min);
        (first, &self.memo)
    }

    /// End of the newest window that was closed.
    pub fn closed_to_us(&self) -> Option<i64> {
        Some(self.windows.end(self.closed_through_us?))
    }

    /// Windows that are known.
    pub fn known(&self) -> usize {
        self.closed.len()
    }

    /// Windows that were closed again too late, since the last look.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }
}

/// How many windows begin there.
fn starts_in(windows: Windows, from_us: i64, to_us: i64) -> i64 {
    let before = |time_us: i64| (time_us - 1).div_euclid(windows.length_us());
    before(to_us) - before(from_us)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_schemas::records::{Missing, Touch};
    use headwater_schemas::samples;
    use proptest::prelude::*;

    use super::*;

    const WINDOW_US: i64 = 10_000_000;
    const MINUTE: i64 = 6;
    const HOUR: i64 = 360;
    const HORIZON_WINDOWS: i64 = 90;

    fn closed(window: i64, revision: i32) -> WindowClosed {
        WindowClosed {
            window_start_us: window * WINDOW_US,
            window_ms: WINDOW_US / 1000,
            revision,
            source_partition: 0,
            source_partitions: 1,
            completeness: 1.0,
            missing: Vec::new(),
            records: if revision == 0 { 3 } else { -1 },
            through_offset: window,
            ..samples::window_closed()
        }
    }

    fn spans() -> Spans {
        Spans::new(HORIZON_WINDOWS * WINDOW_US, Memo::default())
    }

    /// Rolls up whatever is due: level, first window, and how often its windows were closed again.
    fn rolled(spans: &mut Spans) -> Vec<(Level, i64, i64)> {
        let mut all = Vec::new();
        while let Some(turn) = spans.next() {
            all.push((turn.level, turn.from_us / WINDOW_US, turn.parts.values().map(|part| part.revision).sum()));
            spans.done(&turn);
        }
        all
    }

    #[test]
    fn a_minute_is_due_with_its_last_window_and_an_hour_when_nothing_of_it_changes_any_more() {
        let mut spans = spans();
        for window in 0..HOUR + HORIZON_WINDOWS {
            spans.marker(Offset(window), &closed(window, 0));
            let minute = ((window + 1) % MINUTE == 0).then_some((Level::Minute, window + 1 - MINUTE, 0));
            let hour = (window == HOUR + HORIZON_WINDOWS - 1).then_some((Level::Hour, 0, 0));
            assert_eq!(rolled(&mut spans), minute.into_iter().chain(hour).collect::<Vec<_>>(), "{window}");
        }
    }

    #[test]
    fn every_source_partition_has_to_close_it() {
        let mut spans = spans();
        let of =
            |window, source_partition| WindowClosed { source_partition, source_partitions: 2, ..closed(window, 0) };
        for window in 0..MINUTE {
            spans.marker(Offset(window), &of(window, 0));
        }
        assert_eq!(rolled(&mut spans), []);
        for window in 0..MINUTE {
            spans.marker(Offset(MINUTE + window), &of(window, 1));
        }
        let turn = spans.next().unwrap();
        assert_eq!((turn.parts.len(), turn.through, turn.parts[&0].records), (6, Offset(5), Some(6)));
        assert_eq!(rolled(&mut spans), [(Level::Minute, 0, 0)]);
    }

    /// Partitions are added, and not all who close windows know of all of them at once.
    #[test]
    fn partitions_that_are_added_are_waited_for_and_what_comes_later_is_rolled_up_again() {
        let of = |window, source_partition, source_partitions| WindowClosed {
            source_partition,
            source_partitions,
            ..closed(window, 0)
        };
        let mut spans = spans();
        let mut offset = (0..).map(Offset);
        let mut say = |spans: &mut Spans, window, source, sources| {
            spans.marker(offset.next().unwrap(), &of(window, source, sources));
            spans.rests();
            rolled(spans)
        };
        for window in 0..MINUTE {
            assert_eq!(say(&mut spans, window, 1, 3), []);
            assert_eq!(say(&mut spans, window, 0, 2), [], "one of them knows of a third");
        }
        for window in 0..MINUTE {
            let minute = (window + 1 == MINUTE).then_some((Level::Minute, 0, 0));
            assert_eq!(say(&mut spans, window, 2, 3), minute.into_iter().collect::<Vec<_>>());
        }
        // Nobody knows of the fourth one when it begins.
        for window in MINUTE..2 * MINUTE {
            for source in 0..3 {
                let is_last = (window + 1, source) == (2 * MINUTE, 2);
                let minute = is_last.then_some((Level::Minute, MINUTE, 0));
                assert_eq!(say(&mut spans, window, source, 3), minute.into_iter().collect::<Vec<_>>());
            }
        }
        assert_eq!(say(&mut spans, 2 * MINUTE - 1, 3, 4), [(Level::Minute, MINUTE, 1)]);
        assert_eq!(say(&mut spans, 2 * MINUTE - 1, 0, 4), [], "that was known");
        // There are fewer again, of a topic that was made anew.
        for window in 2 * MINUTE..3 * MINUTE {
            let minute = (window + 1 == 3 * MINUTE).then_some((Level::Minute, 2 * MINUTE, 0));
            assert_eq!(say(&mut spans, window, 0, 1), minute.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_closed_again_is_rolled_up_again_once() {
        let mut spans = spans();
        let mut offset = (0..).map(Offset);
        for window in 0..HOUR + HORIZON_WINDOWS {
            spans.marker(offset.next().unwrap(), &closed(window, 0));
        }
        rolled(&mut spans);
        for window in [100, 101, 102, 3] {
            spans.marker(offset.next().unwrap(), &closed(window, 1));
            assert!(spans.next().is_none(), "more may come with it");
        }
        spans.rests();
        assert_eq!(
            rolled(&mut spans),
            [(Level::Minute, 0, 1), (Level::Minute, 96, 2), (Level::Minute, 102, 1), (Level::Hour, 0, 4)]
        );
        assert_eq!(rolled(&mut spans), []);
        // The hour behind it was not rolled up yet.
        spans.marker(offset.next().unwrap(), &closed(HOUR, 1));
        spans.marker(offset.next().unwrap(), &closed(HOUR + HORIZON_WINDOWS, 0));
        assert_eq!(rolled(&mut spans), [(Level::Minute, HOUR, 1)]);
    }

    #[test]
    fn windows_that_nobody_closed_are_unknown_and_times_without_any_are_passed_over() {
        let mut spans = spans();
        for window in [1, 2, 5, 6 + 5, 20 * MINUTE + 5] {
            spans.marker(Offset(window), &closed(window, 0));
        }
        let turn = spans.next().unwrap();
        assert_eq!((turn.parts.len(), turn.parts_expected), (3, 6));
        let minutes: Vec<_> = rolled(&mut spans).into_iter().map(|(level, from, _)| (level, from / MINUTE)).collect();
        assert_eq!(minutes, [(Level::Minute, 0), (Level::Minute, 1), (Level::Minute, 20)]);
    }

    #[test]
    fn windows_as_long_as_an_hour_have_no_minutes() {
        let mut spans = spans();
        for hour in 0..3 {
            let marker =
                WindowClosed { window_start_us: hour * HOUR * WINDOW_US, window_ms: 3_600_000, ..closed(0, 0) };
            spans.marker(Offset(hour), &marker);
        }
        assert_eq!(rolled(&mut spans), [(Level::Hour, 0, 0), (Level::Hour, HOUR, 0)]);
    }

    #[test]
    fn of_an_edge_that_is_not_seen_a_part_says_what_its_windows_lack() {
        let end = |name: &str| Workload::local("unit", name);
        let missing = Missing { node: "n1".into(), reason: "no-data".into(), count: 0, from_us: 0, to_us: 1 };
        let touch = |names: &[&str]| Touch {
            node: "n1".into(),
            last_us: 0,
            workloads: names.iter().map(|name| end(name).key()).collect(),
        };
        let mut spans = spans();
        for window in 0..MINUTE {
            let (completeness, missing) = if window == 2 { (0.5, vec![missing.clone()]) } else { (1.0, Vec::new()) };
            spans.marker(
                Offset(window),
                &WindowClosed { completeness, missing, touches: vec![touch(&["a"])], ..closed(window, 0) },
            );
        }
        let turn = spans.next().unwrap();
        let of = |name: &str| turn.parts[&(2 * WINDOW_US)].completeness_of(&end(name), &end("other"));
        assert_eq!((of("a"), of("b")), (0.5, 1.0));
        assert_eq!(turn.parts.values().filter(|part| !part.is_whole()).count(), 1);
        // A bound: of more workloads it is not known which they are.
        let names: Vec<String> = (0..=WORKLOADS_MAX).map(|i| format!("w{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut spans = self::spans();
        let marker =
            WindowClosed { completeness: 0.5, missing: vec![missing], touches: vec![touch(&names)], ..closed(5, 0) };
        spans.marker(Offset(0), &marker);
        let part = &spans.next().unwrap().parts[&(5 * WINDOW_US)];
        assert_eq!(part.completeness_of(&end("b"), &end("other")), 0.5);
    }

    #[test]
    fn windows_that_are_known_and_spans_that_wait_are_bounded() {
        let mut spans = spans();
        let most = WINDOWS_MAX as i64;
        for window in 0..most {
            // Of two source partitions only one comes.
            spans.marker(Offset(window), &WindowClosed { source_partitions: 2, ..closed(window, 0) });
        }
        assert_eq!((spans.known(), spans.take_given_up()), (WINDOWS_MAX, 0));
        spans.marker(Offset(most), &closed(most, 0));
        assert_eq!((spans.known(), spans.take_given_up()), (WINDOWS_MAX, 1));
        spans.marker(Offset(most + 1), &closed(0, 1));
        assert_eq!(spans.take_given_up(), 1, "it is not known any more");
        let mut spans = self::spans();
        for window in 0..HOUR {
            spans.marker(Offset(window), &closed(window, 0));
        }
        rolled(&mut spans);
        for window in 0..HOUR {
            spans.marker(Offset(HOUR + window), &closed(window, 1));
        }
        let (_, memo) = spans.checkpoint();
        assert!(serde_json::to_string(memo).unwrap().len() < 4096);
        for window in HOUR..2 * HOUR {
            spans.marker(Offset(HOUR + window), &closed(window, 0));
            let turn = spans.next();
            turn.iter().for_each(|turn| spans.done(turn));
        }
        for window in HOUR..HOUR + 200 {
            spans.marker(Offset(HOUR + window), &closed(window, 1));
        }
        assert!(serde_json::to_string(spans.checkpoint().1).unwrap().len() < 4096);
    }

    /// Reads a log from where a memo says, and rolls up whatever is due; breaks off behind some turns, or at the end.
    fn read(log: &[WindowClosed], from: (Offset, Memo), turns: usize) -> (Vec<String>, (Offset, Memo)) {
        let mut spans = Spans::new(HORIZON_WINDOWS * WINDOW_US, from.1);
        let mut all = Vec::new();
        let checkpoint = |spans: &Spans| (spans.checkpoint().0, spans.checkpoint().1.clone());
        for (at, marker) in log.iter().enumerate().skip(from.0.0 as usize) {
            spans.marker(Offset(at as i64), marker);
            while let Some(turn) = spans.next() {
                if all.len() == turns {
                    return (all, checkpoint(&spans));
                }
                all.push(format!("{turn:?}"));
                spans.done(&turn);
            }
        }
        (all, checkpoint(&spans))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whoever goes on where another one has committed does what is left to do, and nothing twice.
        #[test]
        fn turns_are_the_same_wherever_one_begins_again(
            again in proptest::collection::vec((0..1200i64, 0..1200usize), 0..40),
            mut cuts in proptest::collection::vec(0..250usize, 0..6),
        ) {
            let mut log: Vec<WindowClosed> = Vec::new();
            let mut revisions = BTreeMap::<i64, i32>::new();
            for window in 0..1200 {
                log.push(closed(window, 0));
                for (before, _) in again.iter().filter(|(_, at)| *at == window as usize) {
                    let late = (window - before % 150).max(0);
                    let revision = revisions.entry(late).or_default();
                    *revision += 1;
                    log.push(closed(late, *revision));
                }
            }
            let (whole, _) = read(&log, (Offset::FIRST, Memo::default()), usize::MAX);
            cuts.sort_unstable();
            let (mut all, mut from) = (Vec::new(), (Offset::FIRST, Memo::default()));
            for cut in cuts {
                let (more, next) = read(&log, from, cut.saturating_sub(all.len()));
                all.extend(more);
                from = next;
            }
            all.extend(read(&log, from, usize::MAX).0);
            prop_assert!(all.len() > 200);
            prop_assert_eq!(all, whole);
        }
    }
}
