//! What becomes of windows when a node falls silent, stops, lags or has a wrong clock: what agents say alone, in one partition.

use headwater_agent::ledger::{Ledger, Stream};
use headwater_processors::join::{FORGET_AFTER_US, Join, JoinSettings, REACH_WINDOWS};
use headwater_processors::processor::{Input, Kind, Output, Processor, Trouble};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Partial, Progress, Record, Request, Share, Side, WindowClosed};
use headwater_schemas::samples;
use headwater_schemas::wire::{Encoder, WriterSchema};

use crate::logs::datum;
use crate::world::{BEGIN_US, SECOND, WINDOW_US};

const PROGRESS: usize = 2;

/// A join that reads progress as it comes, and agents that write it each second.
struct Nodes {
    join: Join,
    encoder: Encoder,
    schema: WriterSchema,
    offset: Offset,
    agents: Vec<(Ledger, i64)>,
    /// Whether the broker, whose clock is right, stamps what it appends.
    is_stamped: bool,
    now_us: i64,
    /// Among how many partitions each agent spreads its records.
    partitions: Vec<i32>,
    /// Who said the last thing.
    said_by: usize,
    closed: Vec<WindowClosed>,
    partials: Vec<Partial>,
}

impl Nodes {
    /// Agents that started before time 0, with clocks that are ahead by so many seconds.
    fn ahead_by_s(ahead_s: &[i64]) -> Nodes {
        let agent = |(node, ahead_s): (usize, &i64)| {
            let began_us = BEGIN_US - SECOND + ahead_s * SECOND;
            (Ledger::new(format!("node-{node}"), began_us, began_us), ahead_s * SECOND)
        };
        Nodes {
            join: Join::new(Partition(0), 1, JoinSettings::default(), &[]),
            encoder: Encoder::of::<Progress>(1).unwrap(),
            schema: WriterSchema::parse(Progress::SCHEMA).unwrap(),
            offset: Offset::FIRST,
            agents: ahead_s.iter().enumerate().map(agent).collect(),
            is_stamped: false,
            now_us: BEGIN_US,
            partitions: vec![1; ahead_s.len()],
            said_by: 0,
            closed: Vec::new(),
            partials: Vec::new(),
        }
    }

    /// What a node says at so many true seconds.
    fn says(&mut self, node: usize, at_s: i64, is_final: bool) {
        let (ledger, ahead_us) = &mut self.agents[node];
        (self.now_us, self.said_by) = (BEGIN_US + at_s * SECOND, node);
        let now_us = self.now_us + *ahead_us;
        let progress = ledger.progress(now_us, now_us, is_final);
        self.reads(progress);
    }

    fn reads(&mut self, progress: Progress) {
        let progress = Progress { partitions: self.partitions[self.said_by], ..progress };
        let datum = datum(&self.encoder, &progress);
        let (offset, kind, schema) = (self.offset, Kind::Value, &self.schema);
        let appended_us = self.is_stamped.then_some(self.now_us);
        let (stream, timestamp_us, partitions) = (PROGRESS, appended_us, None);
        let input = Input { stream, offset, timestamp_us, appended_us, kind, partitions, schema, datum: &datum };
        self.join.record(input).unwrap();
        self.offset = self.offset.next();
        for output in self.join.take_outputs() {
            match output {
                Output::Closed(_, marker) => self.closed.push(marker),
                Output::Partial(partial) => self.partials.push(partial),
                other => panic!("a join gives no {other:?}"),
            }
        }
    }

    /// All of these nodes say what they have each second.
    fn go_on(&mut self, nodes: &[usize], seconds: std::ops::RangeInclusive<i64>) {
        for at_s in seconds {
            nodes.iter().for_each(|&node| self.says(node, at_s, false));
        }
    }

    fn last_closed_s(&self) -> Option<i64> {
        self.closed.last().map(|marker| (marker.window_start_us + WINDOW_US - BEGIN_US) / SECOND)
    }

    fn window(&self, start_s: i64) -> &WindowClosed {
        let is_it = |marker: &&WindowClosed| marker.window_start_us == BEGIN_US + start_s * SECOND;
        self.closed.iter().find(is_it).unwrap_or_else(|| panic!("{start_s} is open: {:?}", self.closed))
    }

    fn missing_nodes(&self, start_s: i64) -> Vec<&str> {
        self.window(start_s).missing.iter().map(|missing| missing.node.as_str()).collect()
    }
}

#[test]
fn a_window_closes_when_every_node_has_passed_it_by_the_slack() {
    let mut nodes = Nodes::ahead_by_s(&[0, 0]);
    nodes.go_on(&[0, 1], 0..=11);
    assert_eq!(nodes.last_closed_s(), Some(0));
    nodes.says(0, 12, false);
    assert_eq!(nodes.last_closed_s(), Some(0), "one node is not there yet");
    nodes.says(1, 12, false);
    assert_eq!(nodes.last_closed_s(), Some(10));
    assert_eq!(nodes.window(0).completeness, 1.0);
}

/// It is waited for as long as it may only lag, and named for as long as it may come back; then it counts as taken away.
#[test]
fn a_killed_node_holds_up_a_minute_of_windows_and_is_missing_from_five() {
    let mut nodes = Nodes::ahead_by_s(&[0, 0]);
    nodes.go_on(&[0, 1], 0..=15);
    nodes.go_on(&[0], 16..=36);
    assert_eq!(nodes.last_closed_s(), Some(10), "waited for");
    nodes.go_on(&[0], 37..=37);
    assert_eq!(nodes.last_closed_s(), Some(20), "after slack and grace it goes on without");
    let missing = &nodes.window(10).missing[0];
    assert_eq!((missing.node.as_str(), missing.reason.as_str()), ("node-1", "no-data"));
    assert_eq!((missing.from_us, missing.to_us), (BEGIN_US + 15 * SECOND, BEGIN_US + 20 * SECOND));
    nodes.go_on(&[0], 38..=102);
    assert_eq!(nodes.last_closed_s(), Some(100), "it is not waited for any more");
    nodes.go_on(&[0], 103..=400);
    let forgotten_s = 15 + FORGET_AFTER_US / SECOND;
    assert_eq!(nodes.missing_nodes(forgotten_s - 15), ["node-1"]);
    assert_eq!(nodes.missing_nodes(forgotten_s + 15), [""; 0]);
}

#[test]
fn the_window_in_which_a_node_stops_is_not_called_complete_and_later_ones_do_not_wait() {
    let mut nodes = Nodes::ahead_by_s(&[0, 0]);
    nodes.go_on(&[0, 1], 0..=13);
    nodes.says(1, 14, true);
    nodes.go_on(&[0], 14..=32);
    assert_eq!(nodes.last_closed_s(), Some(30));
    assert_eq!(
        (nodes.missing_nodes(10), nodes.window(10).missing[0].from_us),
        (vec!["node-1"], BEGIN_US + 14 * SECOND)
    );
    assert_eq!((nodes.window(20).completeness, nodes.window(20).nodes), (1.0, 1));
    // Its last records may be in the window after the one that its last watermark is in.
    nodes.says(1, 33, false);
    nodes.go_on(&[0, 1], 33..=49);
    nodes.says(1, 50, true);
    nodes.go_on(&[0], 50..=72);
    assert_eq!((nodes.missing_nodes(50), nodes.missing_nodes(60)), (vec!["node-1"], vec![]));
}

/// Nobody is left to be waited for. What an agent that starts again tells of the window in which it stopped comes too late, and is counted.
#[test]
fn windows_close_when_the_last_node_stops_also_the_one_it_stopped_in() {
    let mut nodes = Nodes::ahead_by_s(&[0]);
    nodes.go_on(&[0], 0..=20);
    assert_eq!(nodes.last_closed_s(), Some(10));
    nodes.says(0, 21, true);
    assert_eq!(nodes.last_closed_s(), Some(30));
    assert_eq!(nodes.window(10).completeness, 1.0);
    let missing = &nodes.window(20).missing[0];
    assert_eq!((missing.from_us, missing.to_us), (BEGIN_US + 21 * SECOND, BEGIN_US + 30 * SECOND));

    let began_us = BEGIN_US + 23 * SECOND;
    nodes.agents[0].0 = Ledger::new("node-0".to_owned(), began_us, began_us);
    nodes.go_on(&[0], 24..=42);
    assert_eq!(nodes.last_closed_s(), Some(40));
    assert_eq!(nodes.window(30).completeness, 1.0);
}

#[test]
fn a_clock_that_is_ahead_does_not_make_the_others_lag() {
    // By less than the node timeout: even if there are but two.
    let mut nodes = Nodes::ahead_by_s(&[0, 40]);
    nodes.go_on(&[0, 1], 0..=11);
    assert_eq!(nodes.last_closed_s(), Some(0));
    nodes.go_on(&[0, 1], 12..=100);
    assert_eq!(nodes.last_closed_s(), Some(90));
    assert_eq!(nodes.missing_nodes(50), [""; 0]);
    // By more: most nodes are right. (Of two nodes nobody can tell.)
    let mut nodes = Nodes::ahead_by_s(&[0, 0, 200]);
    nodes.go_on(&[0, 1, 2], 0..=11);
    assert_eq!(nodes.last_closed_s(), Some(0));
    nodes.go_on(&[0, 1, 2], 12..=300);
    assert_eq!(nodes.last_closed_s(), Some(290));
    assert_eq!(nodes.missing_nodes(250), [""; 0]);
}

#[test]
fn a_node_that_lags_too_far_is_not_waited_for() {
    let mut nodes = Nodes::ahead_by_s(&[0, -70, 0]);
    nodes.go_on(&[0, 1, 2], 0..=112);
    assert_eq!(nodes.last_closed_s(), Some(110));
    assert_eq!(nodes.missing_nodes(100), ["node-1"]);
}

/// It may have told of drops up to a little after its own end.
#[test]
fn after_lost_progress_the_next_one_vouches_for_nothing_before_it() {
    let mut nodes = Nodes::ahead_by_s(&[0]);
    nodes.go_on(&[0], 0..=9);
    let lost_us = BEGIN_US + 10 * SECOND - 20_000;
    let (ledger, _) = &mut nodes.agents[0];
    ledger.dropped(Stream::Requests, "queue_full", 3);
    let _lost = ledger.progress(lost_us, lost_us + 50_000, false);
    nodes.go_on(&[0], 11..=22);
    assert_eq!((nodes.missing_nodes(0), nodes.missing_nodes(10)), (vec!["node-0"], vec!["node-0"]));
}

/// Only the windows in which something was dropped are incomplete.
#[test]
fn drops_lower_the_windows_concerned_alone() {
    let mut nodes = Nodes::ahead_by_s(&[0]);
    nodes.go_on(&[0], 0..=14);
    for _ in 0..3 {
        nodes.agents[0].0.published(Stream::Requests);
    }
    nodes.agents[0].0.dropped(Stream::Requests, "started_before_capture", 1);
    nodes.go_on(&[0], 15..=42);
    assert_eq!(nodes.window(0).completeness, 1.0);
    assert_eq!(nodes.window(10).completeness, 0.75);
    let missing = &nodes.window(10).missing[0];
    assert_eq!((missing.reason.as_str(), missing.count), ("started_before_capture", 1));
    assert_eq!((nodes.window(20).completeness, nodes.window(30).completeness), (1.0, 1.0));
}

/// Of two nodes it is the brokers' clock that tells which one is wrong.
#[test]
fn a_clock_that_is_ahead_of_the_brokers_costs_nobody_a_window_and_is_named() {
    for ahead_s in [20, 40, 120, 360, 3600, 20 * 3600] {
        let mut nodes = Nodes::ahead_by_s(&[0, ahead_s]);
        nodes.is_stamped = true;
        nodes.go_on(&[0, 1], 0..=11);
        assert_eq!(nodes.last_closed_s(), Some(0), "{ahead_s} s ahead");
        nodes.go_on(&[0, 1], 12..=300);
        assert_eq!(nodes.last_closed_s(), Some(290), "{ahead_s} s ahead");
        assert!(
            nodes.closed.iter().skip(2).all(|marker| marker.missing.is_empty() && marker.nodes == 2),
            "{ahead_s} s"
        );
        let troubles = nodes.join.take_troubles();
        let told: Vec<_> = troubles.iter().map(|told| (told.node.as_str(), told.trouble)).collect();
        assert_eq!(told, [("node-1", Trouble::ClockAhead)], "{ahead_s} s ahead");
        assert_eq!(troubles[0].most_us / SECOND, ahead_s - 5);
    }
}

/// What a restart reads again is the windows from which the next one follows, and twenty seconds, whatever a clock shows.
#[test]
fn a_clock_that_is_an_hour_ahead_has_nothing_read_again() {
    let mut nodes = Nodes::ahead_by_s(&[0, 3600]);
    nodes.is_stamped = true;
    nodes.go_on(&[0, 1], 0..=300);
    let of_progress = &nodes.join.checkpoints()[PROGRESS];
    {
        let again = nodes.offset.0 - of_progress.needed_from.0;
        assert!(again <= 2 * (REACH_WINDOWS * WINDOW_US / SECOND + 20), "{again} of {}", nodes.offset);
    }
}

/// Nobody can tell it from one whose records come late, so it is named for as long as it is heard.
#[test]
fn a_live_node_whose_clock_is_far_behind_is_missing_from_every_window() {
    for (behind_s, is_stamped) in [(70, true), (400, true), (400, false), (7200, true)] {
        let mut nodes = Nodes::ahead_by_s(&[0, -behind_s, 0]);
        nodes.is_stamped = is_stamped;
        nodes.go_on(&[0, 1, 2], 0..=700);
        assert_eq!(nodes.last_closed_s(), Some(690), "{behind_s} s behind");
        for start_s in (100..690).step_by(10) {
            assert_eq!(nodes.missing_nodes(start_s), ["node-1"], "{behind_s} s behind, window {start_s}");
        }
    }
}

/// What is missing of a window, and how much.
fn told(nodes: &Nodes, start_s: i64) -> Vec<(&str, &str, i64)> {
    let missing = nodes.window(start_s).missing.iter();
    missing.map(|missing| (missing.node.as_str(), missing.reason.as_str(), missing.count)).collect()
}

/// Agents vouch for records that are not there: of which window these were is known, and whose.
#[test]
fn a_window_of_which_records_are_not_there_is_not_called_complete_and_says_why() {
    type Happens = fn(&mut Join, usize);
    let happens: [(&str, Happens); 4] = [
        ("unreadable", |join, stream| (5..=7).for_each(|at| join.unreadable(stream, Offset(at)))),
        ("deleted", |join, stream| join.deleted(stream, Offset(7))),
        // Something that is no record of ours stands behind them.
        ("lost", |join, stream| join.unreadable(stream, Offset(8))),
        // The partition was made anew.
        ("lost", |join, stream| join.ends(stream, Offset(5))),
    ];
    for (stream, (reason, happens)) in [0, 1].into_iter().flat_map(|stream| happens.map(|happens| (stream, happens))) {
        let mut nodes = Nodes::ahead_by_s(&[0, 0]);
        nodes.go_on(&[0, 1], 0..=24);
        // Reading has come there.
        (0..2).for_each(|stream| nodes.join.unreadable(stream, Offset(4)));
        nodes.says(0, 25, false);
        let mut progress = nodes.agents[1].0.progress(BEGIN_US + 25 * SECOND, BEGIN_US + 25 * SECOND, false);
        let share = Share { published: 3, after_offset: 4, through_offset: 7, records: 3, dropped: vec![] };
        *[&mut progress.flows, &mut progress.requests][stream] = share;
        nodes.reads(progress);
        nodes.go_on(&[0, 1], 26..=45);
        assert_eq!(
            (nodes.last_closed_s(), nodes.join.waits_for(stream)),
            (Some(20), Some(Offset(7))),
            "they are waited for"
        );
        happens(&mut nodes.join, stream);
        nodes.go_on(&[0, 1], 46..=55);
        let expected = [vec![], vec![("node-1", reason, 3)], vec![]];
        assert_eq!([10, 20, 30].map(|start_s| told(&nodes, start_s)), expected);
        assert!(nodes.window(20).completeness < 1.0);
    }
}

/// Offsets that begin again are of a topic that was made anew. What agents vouch for from then on counts.
#[test]
fn a_topic_that_was_made_anew_while_it_is_read_is_read_on() {
    let mut nodes = Nodes::ahead_by_s(&[0]);
    let encoder = Encoder::of::<Request<'_>>(2).unwrap();
    let schema = WriterSchema::parse(Request::SCHEMA).unwrap();
    let mut offset = 1_000;
    for at_s in 0..65 {
        if at_s == 25 {
            offset = 0;
        }
        let completed_at_us = BEGIN_US + at_s * SECOND - SECOND / 2;
        let position = at_s * 100;
        let request = Request {
            side: Side::Client,
            request_position: position,
            completed_at_us,
            weight: 1,
            sums: None,
            node: "node-0",
            ..samples::request()
        };
        let (datum, kind, stream) = (datum(&encoder, &request), Kind::Value, 1);
        let (timestamp_us, appended_us, partitions, schema) = (None, None, None, &schema);
        let at = Offset(offset);
        let input = Input { stream, offset: at, timestamp_us, appended_us, kind, partitions, schema, datum: &datum };
        nodes.join.record(input).unwrap();
        let (ledger, _) = &mut nodes.agents[0];
        nodes.now_us = BEGIN_US + at_s * SECOND;
        let mut progress = ledger.progress(nodes.now_us, nodes.now_us, false);
        let share =
            Share { published: 1, after_offset: offset - 1, through_offset: offset, records: 1, dropped: vec![] };
        progress.requests = share;
        nodes.reads(progress);
        offset += 1;
    }
    let counted: i64 = nodes.partials.iter().map(|partial| partial.requests).sum();
    assert_eq!(counted, 61, "all of the first minute, and what ended half a second before it");
}

/// What is nobody's word says nothing of any window.
#[test]
fn what_no_agent_vouches_for_makes_no_window_incomplete() {
    let mut nodes = Nodes::ahead_by_s(&[0]);
    nodes.go_on(&[0], 0..=24);
    (0..9).for_each(|at| nodes.join.unreadable(1, Offset(at)));
    nodes.go_on(&[0], 25..=45);
    assert!([10, 20, 30].iter().all(|start_s| nodes.window(*start_s).missing.is_empty()));
}

#[test]
fn a_window_with_a_node_too_many_is_not_called_complete() {
    let nodes_max = JoinSettings::default().nodes_max;
    let mut nodes = Nodes::ahead_by_s(&vec![0; nodes_max + 1]);
    let all: Vec<usize> = (0..=nodes_max).collect();
    for at_s in [0, 12] {
        all.iter().for_each(|&node| nodes.says(node, at_s, false));
    }
    assert_eq!(nodes.last_closed_s(), Some(10));
    let missing = &nodes.window(0).missing;
    assert_eq!(missing.iter().map(|missing| missing.reason.as_str()).collect::<Vec<_>>(), ["nodes-max"]);
}

/// Sides of one connection may be in two partitions while some agents do not know of the new ones.
#[test]
fn windows_in_which_agents_know_of_different_numbers_of_partitions_say_so() {
    let mut nodes = Nodes::ahead_by_s(&[0, 0]);
    nodes.partitions = vec![4, 4];
    nodes.go_on(&[0, 1], 0..=35);
    nodes.partitions = vec![8, 4];
    nodes.go_on(&[0, 1], 36..=55);
    nodes.partitions = vec![8, 8];
    nodes.go_on(&[0, 1], 56..=95);
    let window = |start_s| (nodes.missing_nodes(start_s), nodes.window(start_s).source_partitions);
    let (same, differ) = (Vec::new(), vec!["node-1"]);
    // In the window from 50 on the other one came to know it.
    let expected = [(&same, 4), (&same, 4), (&differ, 8), (&differ, 8), (&same, 8), (&same, 8), (&same, 8)];
    assert_eq!([10, 20, 30, 40, 50, 60, 70].map(window), expected.map(|(missing, count)| (missing.clone(), count)));
    assert_eq!(nodes.window(30).missing[0].reason, "partitions-differ");
}
