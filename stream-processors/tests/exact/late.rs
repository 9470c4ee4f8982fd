//! Windows that are computed again with what came late: at the logs' end everything counts where it belongs, and the markers of the first time
//! say which windows these are.

use std::collections::{BTreeMap, BTreeSet};

use headwater_processors::join::{Join, JoinSettings, REACH_WINDOWS};
use headwater_processors::processor::{Checkpoint, Input, Memo, Output, Processor, Replay};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Side, WindowClosed};
use proptest::prelude::*;

use crate::config;
use crate::join::{logs, wire};
use crate::logs::{Entry, Log, Logs};
use crate::world::{BEGIN_US, Fact, Plan, SECOND, WINDOW_US, World};

const WINDOWS: i64 = 12;
const SECONDS: i64 = 120;

/// Agents that do not deliver for a while, and nothing that is lost.
fn world(seed: u64) -> World {
    World::of(&Plan {
        seed,
        nodes: 3,
        partitions: 2,
        connections: 20,
        seconds: SECONDS,
        skew_ms: 0,
        is_stamped: false,
        late_closes: false,
        drops: false,
        stalls: true,
        kills: false,
        stops: false,
        sums: false,
    })
}

/// Reads the logs of a partition. The record of requests at `bad` is one that nobody can read.
fn read(join: &mut Join, logs: &Logs, partition: usize, bad: Option<usize>) {
    let logs: [&Log; 3] = [&logs.flows[partition], &logs.requests[partition], &logs.progress[partition]];
    let mut places = [0; 3];
    loop {
        let may = |stream: &usize| places[*stream] < logs[*stream].len() && join.wants(*stream);
        // All go on at about the same pace, as long as they may.
        let share = |stream: &usize| places[*stream] as f64 / logs[*stream].len() as f64;
        let next = (0..3).filter(may).min_by(|one, other| share(one).total_cmp(&share(other)));
        let Some(stream) = next else { return };
        let entry = &logs[stream][places[stream]];
        let (offset, timestamp_us, appended_us) = (entry.offset, Some(entry.timestamp_us), entry.appended_us);
        if stream == 1 && bad == Some(places[1]) {
            join.unreadable(stream, offset);
        } else {
            let schema = [&wire().flow, &wire().request, &wire().progress][stream];
            let (kind, datum) = (entry.kind, entry.datum.as_slice());
            join.record(Input { stream, offset, timestamp_us, appended_us, kind, partitions: None, schema, datum })
                .unwrap();
        }
        places[stream] += 1;
    }
}

/// What a join gives as windows close by their watermarks.
fn the_first_time(logs: &Logs, partition: usize, bad: Option<usize>) -> Vec<Output> {
    let (at, partitions) = (Partition(partition as i32), logs.flows.len() as i32);
    let mut join = Join::new(at, partitions, JoinSettings::default(), &[]);
    read(&mut join, logs, partition, bad);
    join.take_outputs()
}

/// What it gives for windows that close where the logs end.
fn at_end(logs: &Logs, partition: usize, bad: Option<usize>) -> Vec<Output> {
    let (from_us, to_us) = (BEGIN_US, BEGIN_US + WINDOWS * WINDOW_US);
    let memory_from_us = Some(from_us - REACH_WINDOWS * WINDOW_US);
    let replay = Some(Replay { from_us, to_us, memory_from_us, at_end: true });
    let closed_through_us = Some(from_us - WINDOW_US);
    let memo = Memo { closed_through_us, window_ms: WINDOW_US / 1000, replay, ..Memo::default() };
    let checkpoint = Some(Checkpoint { needed_from: Offset::FIRST, memo });
    let checkpoints = [checkpoint.clone(), checkpoint.clone(), checkpoint];
    let (at, partitions) = (Partition(partition as i32), logs.flows.len() as i32);
    let mut join = Join::new(at, partitions, JoinSettings::default(), &checkpoints);
    read(&mut join, logs, partition, bad);
    assert!(!join.has_outputs(), "nothing closes before the end");
    join.end();
    assert!(join.is_done());
    join.take_outputs()
}

/// Markers and requests of each window.
fn by_window<'a>(outputs: impl IntoIterator<Item = &'a Output>) -> BTreeMap<i64, (Vec<&'a WindowClosed>, i64)> {
    let mut windows = BTreeMap::<i64, (Vec<&WindowClosed>, i64)>::new();
    for output in outputs {
        match output {
            Output::Partial(partial) => windows.entry(partial.window_start_us).or_default().1 += partial.requests,
            Output::Closed(_, marker) => windows.entry(marker.window_start_us).or_default().0.push(marker),
            other => panic!("a join gave {other:?}"),
        }
    }
    windows
}

/// Exchanges by the window in which their client saw the end, or their server where no client was looked at.
fn truth(world: &World) -> BTreeMap<i64, i64> {
    let mut windows = BTreeMap::new();
    for exchange in &world.exchanges {
        let seen = exchange.seen[Side::Client as usize].or(exchange.seen[Side::Server as usize]);
        if let Some((at_us, _)) = seen {
            *windows.entry(at_us.div_euclid(WINDOW_US) * WINDOW_US).or_default() += 1;
        }
    }
    windows
}

proptest! {
    #![proptest_config(config(24))]
    #[test]
    fn at_the_logs_end_all_counts_where_it_belongs_and_markers_had_said_where_it_was_missing(seed in any::<u64>()) {
        let world = world(seed);
        let logs = logs(&world);
        let first: Vec<Output> = (0..2).flat_map(|partition| the_first_time(&logs, partition, None)).collect();
        let again: Vec<Output> = (0..2).flat_map(|partition| at_end(&logs, partition, None)).collect();
        let (first, again, truth) = (by_window(&first), by_window(&again), truth(&world));
        let late: BTreeSet<i64> =
            first.values().flat_map(|(markers, _)| markers).flat_map(|marker| marker.late_windows_us.clone()).collect();
        for window_us in (0..WINDOWS).map(|at| BEGIN_US + at * WINDOW_US) {
            let about = format!("window {} s, late {:?}", (window_us - BEGIN_US) / SECOND, late);
            let (markers, requests) = &again[&window_us];
            prop_assert_eq!(markers.len(), 2, "{}", about);
            prop_assert_eq!(*requests, truth.get(&window_us).copied().unwrap_or(0), "{}", about);
            // The agents began within the first one.
            if window_us > BEGIN_US {
                prop_assert!(markers.iter().all(|marker| marker.completeness == 1.0), "{}: {:?}", about, markers);
            }
            let Some((markers, _)) = first.get(&window_us) else { continue };
            if markers.iter().any(|marker| marker.completeness < 1.0) {
                let mut near = (window_us - WINDOW_US..=window_us + WINDOW_US).step_by(WINDOW_US as usize);
                prop_assert!(window_us == BEGIN_US || near.any(|near| late.contains(&near)), "{}", about);
            }
        }
        // Without them all was there the first time: perhaps with a server that told sooner than its client, in the window before.
        if late.is_empty() {
            let before: i64 = first.values().map(|(_, requests)| requests).sum();
            prop_assert_eq!(before, truth.values().sum::<i64>());
        }
    }
}

proptest! {
    #![proptest_config(config(24))]
    /// Of the windows that its agent vouches for with it. Those that were closed by then are said to be incomplete once they are computed again.
    #[test]
    fn what_nobody_can_read_is_said_of_its_windows_at_the_logs_end(seed in any::<u64>(), place in 0.1f64..0.9) {
        let world = world(seed);
        let logs = logs(&world);
        // Agents tell of a few seconds before the first window, too.
        let is_looked_at = |entry: &Entry| {
            let mut seen = entry.facts.iter().filter_map(|fact| match *fact {
                Fact::Exchange(index, side) => world.exchanges[index].seen[side as usize],
                Fact::Progress(_) => None,
            });
            seen.any(|(at_us, _)| at_us >= BEGIN_US)
        };
        let looked_at: Vec<usize> = (0..logs.requests[0].len()).filter(|at| is_looked_at(&logs.requests[0][*at])).collect();
        prop_assume!(!looked_at.is_empty());
        let bad = Some(looked_at[(looked_at.len() as f64 * place) as usize]);
        let unreadable = |outputs: Vec<Output>| -> BTreeSet<i64> {
            let markers = by_window(&outputs).into_values().flat_map(|(markers, _)| markers.into_iter().cloned().collect::<Vec<_>>());
            let says = |marker: &WindowClosed| marker.missing.iter().any(|missing| missing.reason == "unreadable");
            let range = BEGIN_US..BEGIN_US + WINDOWS * WINDOW_US;
            markers.filter(says).map(|marker| marker.window_start_us).filter(|us| range.contains(us)).collect()
        };
        let first = unreadable(the_first_time(&logs, 0, bad));
        let again = unreadable(at_end(&logs, 0, bad));
        prop_assert!(again.is_superset(&first) && again.len() <= 3 && !again.is_empty(), "{:?}, then {:?}", first, again);
    }
}

/// The tests above would hold if nothing ever came late.
#[test]
fn in_these_worlds_records_come_late() {
    let late = |seed| {
        let (world, mut windows) = (world(seed), BTreeSet::new());
        for output in the_first_time(&logs(&world), 0, None) {
            if let Output::Closed(_, marker) = output {
                assert!(marker.late_windows_us.iter().all(|late_us| *late_us < marker.window_start_us));
                windows.extend(marker.late_windows_us);
            }
        }
        !windows.is_empty()
    };
    let count = (0..80).filter(|seed| late(*seed)).count();
    assert!(count > 8, "{count} of 80");
}
