//! Nodes whose clocks differ: nothing counts twice, nothing is lost, and no window of the others suffers.

use std::collections::BTreeMap;

use headwater_processors::processor::Output;
use headwater_schemas::records::Side;
use headwater_testing::Random;

use crate::drive::Pace;
use crate::join::{join, logs};
use crate::world::{Plan, SECOND, World};

fn world(seed: u64, clocks_s: &[i64], sums: bool) -> World {
    let plan = Plan {
        seed,
        nodes: clocks_s.len(),
        partitions: 1,
        connections: 40,
        seconds: 30,
        skew_ms: clocks_s.iter().map(|clock_s| clock_s.abs() * 1000).max().unwrap(),
        is_stamped: true,
        late_closes: false,
        drops: false,
        stalls: false,
        kills: false,
        stops: false,
        sums,
    };
    World::with_clocks(&plan, clocks_s.iter().map(|clock_s| clock_s * SECOND).collect(), Random::new(seed))
}

#[test]
fn whatever_a_clock_shows_each_exchange_and_each_byte_counts_once() {
    for (seed, clocks_s) in [&[0, 3], &[0, -3], &[0, 20], &[0, -20], &[0, 40], &[0, -40], &[0, 120], &[0, 360]]
        .map(|clocks: &[i64; 2]| clocks.to_vec())
        .into_iter()
        .chain([vec![0, 0, 360], vec![0, 3600], vec![0, -50]])
        .flat_map(|clocks_s| (0..6).map(move |seed| (seed, clocks_s.clone())))
    {
        check(&world(seed, &clocks_s, seed % 2 == 1), &format!("clocks ahead by {clocks_s:?} s, seed {seed}"));
    }
}

fn check(world: &World, about: &str) {
    let logs = logs(world);
    let committed = join(&logs, 0, Pace { seed: 7, batch_max: 60, crashes: 4, snapshots: 50 });
    let steady = join(&logs, 0, Pace::STEADY);
    assert!(committed.outputs == steady.outputs, "{about}: reading again gives other bits");
    let mut counted = [0; 6];
    for output in &committed.outputs {
        match output {
            Output::Partial(partial) => {
                let of = [
                    partial.requests,
                    partial.both_sides,
                    partial.client_to_server_bytes,
                    partial.server_to_client_bytes,
                    partial.connections_opened,
                    partial.connections_closed,
                ];
                counted.iter_mut().zip(of).for_each(|(sum, value)| *sum += value);
            }
            Output::Closed(_, marker) => {
                // Before the first watermark of all nobody looked.
                let is_first = marker.window_start_us < crate::world::BEGIN_US;
                assert!(is_first || marker.missing.is_empty(), "{about}: {marker:?}");
            }
            other => panic!("a join says nothing like {other:?}"),
        }
    }
    assert_eq!(committed.counters.get("late"), 0, "{about}");
    let mut truth = [0; 6];
    for exchange in &world.exchanges {
        truth[0] += i64::from(exchange.seen.iter().any(Option::is_some));
        truth[1] += i64::from(exchange.seen.iter().all(Option::is_some));
    }
    // What one side tells of a connection, its client's if that is seen.
    let mut told: BTreeMap<(usize, bool), [i64; 4]> = BTreeMap::new();
    for progress in &world.progress {
        let is_client = progress.side == Side::Client;
        let (sent, received) = (progress.sent, progress.received);
        let (to_server, to_client) = if is_client { (sent, received) } else { (received, sent) };
        let of = [to_server, to_client, i64::from(progress.opened), i64::from(progress.closed)];
        let sums = told.entry((progress.connection, is_client)).or_default();
        sums.iter_mut().zip(of).for_each(|(sum, value)| *sum += value);
    }
    for ((connection, is_client), sums) in &told {
        if *is_client || !told.contains_key(&(*connection, true)) {
            truth[2..].iter_mut().zip(sums).for_each(|(sum, value)| *sum += value);
        }
    }
    if world.plan.sums {
        // Records of several do not name what they tell of.
        truth[1] = counted[1];
    }
    // One that does nothing but end makes no edge.
    assert!(counted[5] <= truth[5], "{about}: {} of {} connections closed", counted[5], truth[5]);
    assert_eq!(counted[..5], truth[..5], "{about}: requests, on both sides, bytes to servers and to clients, opened");
}
