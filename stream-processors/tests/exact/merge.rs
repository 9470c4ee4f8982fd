//! The merge: any order of its sources and any number of raw partitions give the same edges, bit by bit.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_kafka::partition_of;
use headwater_processors::merge::{ClosedWindow, LatencyView, Merge, ServiceMapView, View};
use headwater_processors::processor::{BadSnapshot, Checkpoint, Kind, Output, Processor};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Edge, Missing, Partial, Record, Side, Touch, WindowClosed, Workload};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::{Encoder, WriterSchema};
use proptest::prelude::*;

use crate::config;
use crate::drive::{Committed, Pace, Schemas, drive};
use crate::join::{join, logs, pace, plan, troubled_plan};
use crate::logs::{Entry, Log, datum, waited_ns, workload};
use crate::world::{Plan, WINDOW_US, World};
use headwater_testing::Random;

/// What the joins of all partitions put out, each in its order.
fn joined(plan: &Plan) -> (World, Vec<Vec<Output>>) {
    let world = World::of(plan);
    let logs = logs(&world);
    let outputs = (0..logs.flows.len()).map(|partition| join(&logs, partition, Pace::STEADY).outputs).collect();
    (world, outputs)
}

/// The partitions of `partials` as they may come out: each source in its order, the sources in any.
fn partials(sources: &[Vec<Output>], partitions: i32, seed: u64) -> Vec<Log> {
    let encoders = (Encoder::of::<Partial>(1).unwrap(), Encoder::of::<WindowClosed>(2).unwrap());
    let mut random = Random::new(seed);
    let mut logs = vec![Log::new(); partitions as usize];
    let mut places = vec![0; sources.len()];
    let mut sent: BTreeMap<(usize, Partition), i64> = BTreeMap::new();
    let mut put = |partition: Partition, timestamp_us: i64, kind: Kind, datum: Vec<u8>| {
        let log: &mut Log = &mut logs[partition.0 as usize];
        let offset = log.last().map_or(Offset::FIRST, |last| last.offset.next());
        log.push(Entry::made(offset, timestamp_us, kind, datum));
    };
    loop {
        let ready: Vec<usize> = (0..sources.len()).filter(|&source| places[source] < sources[source].len()).collect();
        if ready.is_empty() {
            return logs;
        }
        let source = ready[random.between(0, ready.len() as i64 - 1) as usize];
        for _ in 0..random.between(1, 50) {
            match sources[source].get(places[source]) {
                Some(Output::Partial(partial)) => {
                    let key = partial.key();
                    let partition = partition_of(key.as_bytes(), partitions);
                    *sent.entry((source, partition)).or_default() += 1;
                    put(partition, partial.window_start_us, Kind::Value, datum(&encoders.0, partial));
                }
                Some(Output::Closed(_, marker)) => {
                    for partition in (0..partitions).map(Partition) {
                        let records = sent.remove(&(source, partition)).unwrap_or(0);
                        let marker = WindowClosed { records, ..marker.clone() };
                        put(partition, marker.window_start_us, Kind::Control, datum(&encoders.1, &marker));
                    }
                }
                _ => break,
            }
            places[source] += 1;
        }
    }
}

fn merge<V: View + 'static>(logs: &[Log], pace: Pace) -> Vec<Committed> {
    let (value, control) =
        (WriterSchema::parse(Partial::SCHEMA).unwrap(), WriterSchema::parse(WindowClosed::SCHEMA).unwrap());
    let count = logs.len() as i32;
    let one = |(partition, log): (usize, &Log)| {
        let make = |checkpoints: &[Option<Checkpoint>], _: Option<&[u8]>| -> Result<Box<dyn Processor>, BadSnapshot> {
            Ok(Box::new(Merge::<V>::new(Partition(partition as i32), count, checkpoints[0].as_ref())))
        };
        drive(&make, &[log], &Schemas { values: vec![&value], control: &control }, pace)
    };
    logs.iter().enumerate().map(one).collect()
}

/// All edges of the windows that are complete, in one order.
fn complete_edges(merged: &[Committed]) -> BTreeMap<(i64, String), Edge> {
    let outputs = merged.iter().flat_map(|committed| &committed.outputs);
    let edges = outputs.filter_map(|output| match output {
        Output::Edge(edge) if edge.completeness == 1.0 => Some(edge.clone()),
        _ => None,
    });
    let mut all = BTreeMap::new();
    for edge in edges {
        let key = (edge.window_start_us, edge.key());
        assert!(all.insert(key, edge.clone()).is_none(), "an edge twice: {edge:?}");
    }
    all
}

proptest! {
    #![proptest_config(config(25))]

    #[test]
    fn the_order_of_sources_and_restarts_change_no_bit(plan in troubled_plan(), seeds in any::<[u64; 2]>(), pace in pace(), partitions in 1i32..4) {
        let (_, sources) = joined(&plan);
        let [one, other] = seeds.map(|seed| partials(&sources, partitions, seed));
        for (a, b) in merge::<ServiceMapView>(&one, Pace::STEADY).iter().zip(&merge::<ServiceMapView>(&other, pace)) {
            prop_assert_eq!(&a.outputs, &b.outputs);
        }
        for (a, b) in merge::<LatencyView>(&one, pace).iter().zip(&merge::<LatencyView>(&other, Pace::STEADY)) {
            prop_assert_eq!(&a.outputs, &b.outputs);
        }
    }

    #[test]
    fn any_number_of_raw_partitions_gives_the_same_edges(plan in plan(), seed in any::<u64>(), split in 2i32..6) {
        let merged = |raw: i32, merged: i32| {
            let (world, sources) = joined(&Plan { partitions: raw, late_closes: false, ..plan.clone() });
            (world, merge::<ServiceMapView>(&partials(&sources, merged, seed), Pace::STEADY))
        };
        let ((world, one), (_, more)) = (merged(1, 1), merged(split, 3));
        let [whole, split] = [&one, &more].map(|merged| complete_edges(merged));
        prop_assert_eq!(requests_alone(&whole), requests_alone(&split));
        prop_assert_eq!(connections(&one), connections(&more));
        check_percentiles(&world, &whole);
    }

    #[test]
    fn a_window_is_no_more_complete_than_its_least_complete_source(plan in troubled_plan(), seed in any::<u64>()) {
        let (_, sources) = joined(&plan);
        let mut least: BTreeMap<i64, f64> = BTreeMap::new();
        for output in sources.iter().flatten() {
            if let Output::Closed(_, marker) = output {
                let least = least.entry(marker.window_start_us).or_insert(1.0);
                *least = least.min(marker.completeness);
            }
        }
        for committed in merge::<ServiceMapView>(&partials(&sources, 2, seed), Pace::STEADY) {
            let markers = committed.outputs.iter().filter_map(|output| match output {
                Output::Closed(_, marker) => Some((marker.window_start_us, ClosedWindow::of(marker))),
                _ => None,
            });
            let closed: BTreeMap<i64, ClosedWindow> = markers.collect();
            for output in committed.outputs {
                match output {
                    Output::Edge(edge) => {
                        let told = closed[&edge.window_start_us].completeness_of(&edge.client, &edge.server);
                        prop_assert_eq!(edge.completeness, told);
                    }
                    Output::Closed(_, marker) => {
                        prop_assert!(marker.completeness <= least[&marker.window_start_us]);
                        prop_assert_eq!(marker.completeness < 1.0, !marker.missing.is_empty());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Edges without what records of connections say. Requests count in one window whatever the log, since the join waits for both sides.
fn requests_alone(edges: &BTreeMap<(i64, String), Edge>) -> BTreeMap<(i64, String), Edge> {
    let alone = |edge: &Edge| Edge {
        client_to_server_bytes: 0,
        server_to_client_bytes: 0,
        connections_opened: 0,
        connections_closed: 0,
        connections_failed: 0,
        retransmits: 0,
        rtt_us: -1.0,
        asked: Vec::new(),
        encryption: Default::default(),
        ..edge.clone()
    };
    let with_requests = edges.iter().filter(|(_, edge)| edge.requests > 0);
    with_requests.map(|(key, edge)| (key.clone(), alone(edge))).collect()
}

/// What was counted of all connections in all windows, by protocol. A server may speak of a connection a window before its client does:
/// whether that window then counts it from an unknown client, and the next one only the rest, depends on where the log seals it, and so
/// does whether a server's name is known by then. The sum does not: nothing is lost, and nothing counts twice. But for ends of connections: one alone makes no edge, so it counts only
/// where its window has that edge.
fn connections(merged: &[Committed]) -> BTreeMap<String, [i64; 5]> {
    let mut sums: BTreeMap<String, [i64; 5]> = BTreeMap::new();
    for output in merged.iter().flat_map(|committed| &committed.outputs) {
        let Output::Edge(edge) = output else { continue };
        let counts = [
            edge.client_to_server_bytes,
            edge.server_to_client_bytes,
            edge.connections_opened,
            edge.connections_failed,
            edge.retransmits,
        ];
        let sum = sums.entry(edge.protocol.clone()).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// The percentiles of each edge are those of one histogram of all values that counted there.
fn check_percentiles(world: &World, edges: &BTreeMap<(i64, String), Edge>) {
    let mut histograms: BTreeMap<(i64, Workload), Histogram> = BTreeMap::new();
    for exchange in &world.exchanges {
        let [client, server] = exchange.seen;
        let Some((at_us, _)) = client.or(server) else { continue };
        let window_us = at_us.div_euclid(WINDOW_US) * WINDOW_US;
        let side = if client.is_some() { Side::Client } else { Side::Server };
        let end = workload(exchange.connection, side);
        let histogram = histograms.entry((window_us, end)).or_default();
        histogram.record(waited_ns(exchange, side) as u64);
    }
    for edge in edges.values().filter(|edge| edge.requests > 0) {
        let end = if edge.client.is_known() { &edge.client } else { &edge.server };
        let expected = &histograms[&(edge.window_start_us, end.clone())];
        assert_eq!(&edge.duration_ns, expected, "{edge:?}");
        for (quantile, value_us) in [(0.5, edge.p50_us), (0.95, edge.p95_us), (0.99, edge.p99_us)] {
            assert_eq!(value_us, expected.quantile(quantile) / 1000.0);
        }
    }
}

#[test]
fn a_source_that_does_not_come_ends_in_a_window_that_says_so() {
    let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
    let template = headwater_schemas::samples::partial();
    let window_us = template.window_start_us;
    let marker = WindowClosed {
        window_start_us: window_us,
        source_partitions: 2,
        ..headwater_schemas::samples::window_closed()
    };
    merge.closed(
        Offset(0),
        WindowClosed { source_partition: 0, completeness: 1.0, missing: Vec::new(), ..marker },
        None,
    );
    let mut offset = 0;
    while !merge.has_outputs() {
        offset += 1;
        assert!(offset < 200_000, "the sums that wait have no bound");
        let mut partial = Partial { client: Workload::local("program", &format!("c-{offset}")), ..template.clone() };
        (partial.duration_ns, partial.server_duration_ns) = Default::default();
        merge.partial(Offset(offset), partial).unwrap();
    }
    let outputs = merge.take_outputs();
    let marker = outputs.iter().find_map(|output| match output {
        Output::Closed(_, marker) => Some(marker),
        _ => None,
    });
    let marker = marker.unwrap();
    assert_eq!((marker.completeness, marker.missing[0].reason.as_str()), (0.0, "partition-not-read"));
    assert_eq!(merge.take_counters().get("windows_given_up"), 1);
}

/// An edge that nobody saw is none: what is missing of a window says its marker, even if nothing of it was seen.
#[test]
fn a_window_of_which_nothing_was_seen_has_a_marker_and_no_record() {
    let marker = headwater_schemas::samples::window_closed();
    assert!(!marker.missing.is_empty(), "something is missing");
    let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
    for source_partition in 0..marker.source_partitions {
        merge.closed(Offset(1), WindowClosed { source_partition, ..marker.clone() }, None);
    }
    let outputs = merge.take_outputs();
    let [Output::Closed(Topic::Edges, told)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((told.completeness, &told.missing), (marker.completeness, &marker.missing));
}

/// Each source names the workloads of its own connections: what any of them knows of a node touches the edge, wherever its sums are.
#[test]
fn an_edge_is_as_complete_as_the_nodes_that_saw_its_ends() {
    let template = headwater_schemas::samples::window_closed();
    let workload = |name: &str| Workload::local("unit", name);
    let missing = |node: &str| Missing { node: node.into(), ..template.missing[0].clone() };
    let touch = |node: &str, name: &str| Touch {
        node: node.into(),
        last_us: template.window_start_us,
        workloads: vec![workload(name).key()],
    };
    let edges = |sources: [(Vec<Missing>, Vec<Touch>); 2]| -> Vec<(String, f64)> {
        let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
        for (client, server) in [("a", "b"), ("b", "c"), ("c", "d")] {
            let (client, server, window_start_us) = (workload(client), workload(server), template.window_start_us);
            let partial =
                Partial { client, server, window_start_us, raw_partition: 0, ..headwater_schemas::samples::partial() };
            merge.partial(Offset(0), partial).unwrap();
        }
        for (source_partition, (missing, touches)) in (0..).zip(sources) {
            let completeness = if missing.is_empty() { 1.0 } else { 0.5 };
            let (source_partitions, records) = (2, if source_partition == 0 { 3 } else { 0 });
            let marker = WindowClosed {
                source_partition,
                source_partitions,
                completeness,
                missing,
                touches,
                records,
                ..template.clone()
            };
            merge.closed(Offset(1), marker, None);
        }
        let edges = merge.take_outputs().into_iter().filter_map(|output| match output {
            Output::Edge(edge) => Some((format!("{}{}", edge.client.name, edge.server.name), edge.completeness)),
            _ => None,
        });
        edges.collect()
    };
    let told = |completeness: [f64; 3]| -> Vec<(String, f64)> {
        ["ab", "bc", "cd"].into_iter().map(String::from).zip(completeness).collect()
    };
    let of_n1 = || (vec![missing("n1")], vec![touch("n1", "a")]);
    assert_eq!(edges([of_n1(), (vec![], vec![])]), told([0.5, 1.0, 1.0]));
    assert_eq!(edges([of_n1(), (vec![missing("n1")], vec![touch("n1", "d")])]), told([0.5, 1.0, 0.5]));
    assert_eq!(edges([of_n1(), (vec![missing("n2")], vec![])]), told([0.5; 3]), "nobody knows whom n2 had");
}

/// Whatever names the records have, and however much is missing: the key and the value of what is published go into one message.
#[test]
fn what_is_made_of_the_longest_names_fits_into_one_message() {
    const MESSAGE_BYTES_MAX: usize = 1_000_000;
    let long = "%".repeat(4096);
    let end = || Workload { cluster: long.clone(), namespace: long.clone(), kind: long.clone(), name: long.clone() };
    let template = headwater_schemas::samples::partial();
    let partial = Partial { client: end(), server: end(), protocol: long.clone(), operation: long.clone(), ..template };
    let partial_us = partial.window_start_us;
    let marker = WindowClosed {
        window_start_us: partial_us,
        source_partition: 0,
        source_partitions: 1,
        missing: (0..1000)
            .map(|i| Missing { node: format!("{i:04096}"), reason: long.clone(), count: 1, from_us: i, to_us: i + 1 })
            .collect(),
        touches: (0..1000)
            .map(|i| Touch { node: format!("{i:04096}"), last_us: partial_us, workloads: vec![long.clone()] })
            .collect(),
        ..headwater_schemas::samples::window_closed()
    };
    let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
    merge.partial(Offset(0), partial).unwrap();
    merge.closed(Offset(1), marker, None);
    let encoders = (Encoder::of::<Edge>(1).unwrap(), Encoder::of::<WindowClosed>(2).unwrap());
    for output in merge.take_outputs() {
        let bytes = match output {
            Output::Edge(edge) => edge.key().len() + encoders.0.encode(&edge).unwrap().len(),
            Output::Closed(_, marker) => encoders.1.encode(&marker).unwrap().len(),
            other => panic!("{other:?}"),
        };
        assert!(bytes < MESSAGE_BYTES_MAX, "{bytes} bytes");
    }
}

/// Retention takes whole segments, also what stands before a marker that is still there; and one of the partials may be none.
#[test]
fn a_window_whose_partials_did_not_all_come_says_so() {
    let partial = headwater_schemas::samples::partial();
    let window_start_us = partial.window_start_us;
    let closed = |came: i64, records: i64| {
        let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
        (0..came).for_each(|offset| merge.partial(Offset(offset), partial.clone()).unwrap());
        let source_partition = partial.raw_partition;
        let marker = WindowClosed {
            window_start_us,
            source_partition,
            source_partitions: source_partition + 1,
            completeness: 1.0,
            missing: vec![],
            records,
            ..headwater_schemas::samples::window_closed()
        };
        for source_partition in 0..source_partition {
            merge.closed(Offset(came), WindowClosed { source_partition, records: 0, ..marker.clone() }, None);
        }
        merge.closed(Offset(came), marker, None);
        let markers = merge.take_outputs().into_iter().filter_map(|output| match output {
            Output::Closed(_, marker) => Some((marker.completeness, marker.missing)),
            _ => None,
        });
        markers.collect::<Vec<_>>()
    };
    assert_eq!(closed(3, 3), [(1.0, vec![])]);
    assert_eq!(closed(3, -1), [(1.0, vec![])], "written before markers said how many");
    for (came, records, share) in [(0, 3, 0.0), (2, 3, 2.0 / 3.0), (4, 3, 0.75)] {
        let [(completeness, missing)] = &closed(came, records)[..] else { panic!("one window") };
        assert_eq!((*completeness, missing[0].reason.as_str()), (share, "partials-lost"));
        assert_eq!(missing[0].count, (came - records).abs());
    }
}

/// A window waits for the new raw partitions from the first one on of which anybody says that they are there, and not before.
#[test]
fn partitions_that_were_added_are_waited_for_and_windows_between_say_so() {
    let template = WindowClosed { completeness: 1.0, missing: vec![], ..headwater_schemas::samples::window_closed() };
    let window_us = |window: i64| template.window_start_us + window * WINDOW_US;
    let marker = |window: i64, source_partition: i32, source_partitions: i32| WindowClosed {
        window_start_us: window_us(window),
        source_partition,
        source_partitions,
        ..template.clone()
    };
    let mut merge = Merge::<ServiceMapView>::new(Partition(0), 1, None);
    let mut offset = Offset::FIRST;
    let mut say = |merge: &mut Merge<ServiceMapView>, marker: WindowClosed, among: i32| {
        merge.closed(offset, marker, Some(among));
        offset = offset.next();
        let closed = merge.take_outputs().into_iter().filter_map(|output| match output {
            Output::Closed(_, marker) => {
                let reasons = marker.missing.into_iter().map(|missing| missing.reason).collect::<Vec<_>>();
                Some((marker.window_start_us, reasons))
            }
            _ => None,
        });
        closed.collect::<Vec<_>>()
    };
    assert_eq!(say(&mut merge, marker(0, 0, 2), 1), []);
    assert_eq!(say(&mut merge, marker(0, 1, 2), 1), [(window_us(0), vec![])]);
    assert_eq!(say(&mut merge, marker(1, 0, 2), 1), []);
    // One of them has heard of a third one.
    assert_eq!(say(&mut merge, marker(1, 1, 3), 1), [], "the third one is waited for");
    assert_eq!(say(&mut merge, marker(2, 0, 3), 2), []);
    assert_eq!(say(&mut merge, marker(2, 1, 3), 1), []);
    let not_read = "partition-not-read".to_owned();
    let differ = "partitions-differ".to_owned();
    assert_eq!(say(&mut merge, marker(2, 2, 3), 2), [(window_us(1), vec![not_read]), (window_us(2), vec![differ])]);
}
