//! The join against what happened: each exchange counts once, a window that is called complete holds what happened in it,
//! and the two logs alone decide every bit of the output.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use headwater_kafka::partition_of;
use headwater_processors::join::{Join, JoinSettings};
use headwater_processors::merge::ClosedWindow;
use headwater_processors::processor::{BadSnapshot, Checkpoint, Output, Processor};
use headwater_processors::windows::Window;
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{
    ADDRESS, Flow, HOST, Partial, Progress, Record, Request, Side, WindowClosed, Workload,
};
use headwater_schemas::wire::WriterSchema;
use proptest::prelude::*;

use crate::config;
use crate::drive::{Committed, Pace, Schemas, drive};

use crate::logs::{
    Codec, Logs, connection_id, connection_of, is_named_late, server_address, server_name, understands, workload,
};
use crate::sums::check_sums;
use crate::world::{Fact, Plan, SECOND, SIDES, WINDOW_US, World};

/// Everything that the join needs to read.
pub struct Wire {
    codec: Codec,
    pub flow: WriterSchema,
    pub request: WriterSchema,
    pub progress: WriterSchema,
}

pub fn wire() -> &'static Wire {
    static WIRE: OnceLock<Wire> = OnceLock::new();
    WIRE.get_or_init(|| Wire {
        codec: Codec::new(),
        flow: WriterSchema::parse(Flow::SCHEMA).unwrap(),
        request: WriterSchema::parse(Request::SCHEMA).unwrap(),
        progress: WriterSchema::parse(Progress::SCHEMA).unwrap(),
    })
}

pub fn logs(world: &World) -> Logs {
    Logs::of(world, &wire().codec)
}

/// Joins one partition.
pub fn join(logs: &Logs, partition: usize, pace: Pace) -> Committed {
    let partitions = logs.flows.len() as i32;
    let make =
        |checkpoints: &[Option<Checkpoint>], snapshot: Option<&[u8]>| -> Result<Box<dyn Processor>, BadSnapshot> {
            let (partition, settings) = (Partition(partition as i32), JoinSettings::default());
            Ok(Box::new(match snapshot {
                Some(bytes) => Join::restore(partition, partitions, settings, checkpoints, bytes)?,
                None => Join::new(partition, partitions, settings, checkpoints),
            }))
        };
    let wire = wire();
    let schemas = Schemas { values: vec![&wire.flow, &wire.request, &wire.progress], control: &wire.progress };
    let all = [&logs.flows[partition], &logs.requests[partition], &logs.progress[partition]];
    drive(&make, &all, &schemas, pace)
}

/// What one join said, by window.
pub struct Said<'a> {
    pub closed: BTreeMap<i64, &'a WindowClosed>,
    pub partials: Vec<&'a Partial>,
    seals: &'a [(Window, Offset, Offset)],
}

impl<'a> Said<'a> {
    fn of(committed: &'a Committed) -> Said<'a> {
        let mut said = Said { closed: BTreeMap::new(), partials: Vec::new(), seals: &committed.seals };
        for output in &committed.outputs {
            match output {
                Output::Partial(partial) => {
                    let newest_us = said.closed.last_key_value().map_or(i64::MIN, |(window_us, _)| *window_us);
                    assert!(partial.window_start_us > newest_us, "a partial of a window that was closed");
                    said.partials.push(partial);
                }
                Output::Closed(_, marker) => {
                    let window_us = marker.window_start_us;
                    if let Some((newest_us, _)) = said.closed.last_key_value() {
                        assert_eq!(window_us, newest_us + WINDOW_US, "a window twice, or left out");
                    }
                    assert_eq!(marker.completeness == 1.0, marker.missing.is_empty(), "{marker:?}");
                    said.closed.insert(window_us, marker);
                }
                other => panic!("a join says nothing like {other:?}"),
            }
        }
        said
    }

    pub fn is_complete(&self, window_us: i64) -> bool {
        self.closed.get(&window_us).is_some_and(|marker| marker.missing.is_empty())
    }

    /// Whether what there is of a connection in a window will be called complete: its edge, which nothing touches that is missing. Each connection is an edge
    /// of its own here.
    pub fn calls_complete(&self, window_us: i64, connection: usize) -> bool {
        let [client, server] = SIDES.map(|side| workload(connection, side));
        let is_there = |partial: &&Partial| {
            partial.window_start_us == window_us && partial.client == client && partial.server == server
        };
        let is_untouched = |marker: &WindowClosed| ClosedWindow::of(marker).completeness_of(&client, &server) == 1.0;
        self.is_complete(window_us)
            || (self.closed.get(&window_us).is_some_and(|marker| is_untouched(marker))
                && self.partials.iter().any(is_there))
    }

    pub fn request_seal(&self, window_us: i64) -> Option<Offset> {
        self.seals.iter().find(|(sealed, ..)| sealed.start_us() == window_us).map(|(.., offset)| *offset)
    }
}

/// Offsets in the log of progress of one partition: where records of requests are vouched for, and of the first word of each run.
pub struct Places {
    pub records: HashMap<(usize, Side), Offset>,
    pub announced: HashMap<usize, Offset>,
}

impl Places {
    pub fn of(logs: &Logs, partition: usize) -> Places {
        let mut places = Places { records: HashMap::new(), announced: HashMap::new() };
        for entry in &logs.progress[partition] {
            places.announced.entry(entry.run).or_insert(entry.offset);
        }
        for entry in &logs.requests[partition] {
            let Some(vouched_at) = entry.vouched_at else { continue };
            for fact in &entry.facts {
                if let Fact::Exchange(index, side) = *fact {
                    places.records.insert((index, side), vouched_at);
                }
            }
        }
        places
    }
}

pub fn window_of(time_us: i64) -> i64 {
    time_us.div_euclid(WINDOW_US) * WINDOW_US
}

/// Holds what the join of one partition said of requests against what happened. Gives how many windows were complete.
fn check_exchanges(world: &World, logs: &Logs, partition: usize, said: &Said<'_>) {
    let places = Places::of(logs, partition);
    let mut counted: HashMap<usize, Vec<&Partial>> = HashMap::new();
    for partial in said.partials.iter().filter(|partial| !partial.operation.is_empty()) {
        let index = partial.operation.strip_prefix("op-").unwrap().parse().unwrap();
        counted.entry(index).or_default().push(partial);
    }
    for (index, exchange) in world.exchanges.iter().enumerate() {
        if partition_of(connection_id(exchange.connection).as_bytes(), world.plan.partitions)
            != Partition(partition as i32)
        {
            continue;
        }
        let sight = |side: Side| exchange.seen[side as usize].filter(|_| logs.has_exchange(index, side));
        let (client, server) = (sight(Side::Client), sight(Side::Server));
        let partials = counted.remove(&index).unwrap_or_default();
        let about = || format!("exchange {index} {exchange:?} counted as {partials:#?}");
        assert!(partials.len() <= 1, "doubled: {}", about());
        if let Some(partial) = partials.first() {
            let allowed = [client, server].map(|sight| sight.map(|(at_us, _)| window_of(at_us)));
            assert!(allowed.contains(&Some(partial.window_start_us)), "in a wrong window: {}", about());
            assert_eq!(partial.requests, 1, "doubled: {}", about());
            let right = (i64::from(exchange.error), exchange.request_bytes, exchange.response_bytes);
            assert_eq!((partial.errors, partial.request_bytes, partial.response_bytes), right, "wrong: {}", about());
            check_names(partial, exchange.connection);
        }
        // What was seen and is not in the log is a hole in its window.
        for side in [Side::Client, Side::Server] {
            if let Some((at_us, run)) = exchange.seen[side as usize].filter(|_| !logs.has_exchange(index, side)) {
                let window_us = window_of(at_us);
                let seal = said.request_seal(window_us);
                let announced = places.announced.get(&run).is_some_and(|&first| seal.is_some_and(|seal| first <= seal));
                let is_whole = said.calls_complete(window_us, exchange.connection);
                assert!(!announced || !is_whole, "a hole in a complete window: {}", about());
            }
        }
        let Some(((at_us, run), side)) = client.map(|c| (c, Side::Client)).or(server.map(|s| (s, Side::Server))) else {
            continue;
        };
        let window_us = window_of(at_us);
        if !said.calls_complete(window_us, exchange.connection) {
            continue;
        }
        match partials.first() {
            Some(partial) if partial.window_start_us == window_us => {}
            // It counted where its server's record is: right if the client's was not known, or nobody called that complete.
            Some(partial) if partial.window_start_us < window_us => {
                let seal = said.request_seal(partial.window_start_us).unwrap();
                let known = places.records[&(index, Side::Client)] <= seal;
                assert!(!known, "counted with its server although its client was known: {}", about());
            }
            // Nowhere, or later with its server: then its record came late.
            _ => {
                let seal = said.request_seal(window_us).unwrap();
                let announced = places.announced.get(&run).is_some_and(|first| *first <= seal);
                let place = places.records[&(index, side)];
                assert!(!announced, "missing in a complete window (record at {place}, sealed at {seal}): {}", about());
            }
        }
    }
    assert!(counted.is_empty(), "exchanges that never were: {counted:?}");
}

/// Nobody is named who is not at this connection.
pub fn check_names(partial: &Partial, connection: usize) {
    let unseen = unseen(connection);
    // Where nothing was asked yet.
    let unnamed = if is_named_late(connection) { Workload::local(ADDRESS, &asked(connection)) } else { unseen.clone() };
    let clients = [workload(connection, Side::Client), Workload::unknown()];
    let servers = [workload(connection, Side::Server), unseen, unnamed, Workload::unknown()];
    assert!(clients.contains(&partial.client) && servers.contains(&partial.server), "misattributed: {partial:?}");
    // What the server's side sees is another address, which nobody asked for.
    let asked = asked(connection);
    assert!(partial.asked.iter().all(|address| *address == asked), "nobody asked for that: {partial:?}");
}

/// How a server is called of which its client alone tells.
fn unseen(connection: usize) -> Workload {
    match &*server_name(connection) {
        "" => Workload::local(ADDRESS, &asked(connection)),
        name => Workload::local(HOST, &format!("{name}:80")),
    }
}

/// What the client of a connection asks for.
fn asked(connection: usize) -> String {
    format!("{}:80", server_address(connection))
}

/// Sums of what connections did, by connection and window.
fn connections(said: &Said<'_>) -> BTreeMap<usize, BTreeMap<i64, [i64; 4]>> {
    let mut sums: BTreeMap<usize, BTreeMap<i64, [i64; 4]>> = BTreeMap::new();
    let mut encrypted: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    for partial in said.partials.iter().filter(|partial| partial.operation.is_empty()) {
        let connection = connection_of(&partial.client).or(connection_of(&partial.server)).expect("some end is known");
        check_names(partial, connection);
        let sum = sums.entry(connection).or_default().entry(partial.window_start_us).or_default();
        let values = [
            partial.client_to_server_bytes,
            partial.server_to_client_bytes,
            partial.connections_opened,
            partial.connections_closed,
        ];
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        // Each connection is an edge of its own here.
        *encrypted.entry((connection, partial.window_start_us)).or_default() +=
            partial.encryption.values().sum::<i64>();
        let is_known = understands(connection, Side::Client) && understands(connection, Side::Server);
        let words: Vec<&str> = partial.encryption.keys().map(String::as_str).collect();
        assert!(words.is_empty() || words == ["none"] || (words == ["unknown"] && !is_known), "{partial:?}");
    }
    for ((connection, window_us), count) in encrypted {
        let [to_server, to_client, ..] = sums[&connection][&window_us];
        assert_eq!(count, i64::from(to_server + to_client > 0), "connection {connection} in {window_us} counts once");
    }
    sums
}

/// Holds bytes and openings against what happened: all of it if nothing went wrong, never more than there was in windows that are
/// called complete, and in each of those what the client's side says, or the server's if the client's is not captured.
fn check_connections(world: &World, logs: &Logs, partition: usize, said: &Said<'_>, all_is_well: bool) {
    let sums = connections(said);
    for (connection, ends) in world.ends.iter().enumerate() {
        if partition_of(connection_id(connection).as_bytes(), world.plan.partitions) != Partition(partition as i32) {
            continue;
        }
        let exchanges = || world.exchanges.iter().filter(|exchange| exchange.connection == connection);
        let truth = exchanges().fold([0, 0], |sum, e| [sum[0] + e.request_bytes, sum[1] + e.response_bytes]);
        let windows = sums.get(&connection).cloned().unwrap_or_default();
        let mut total = [0; 4];
        let counts = |window_us: i64| all_is_well || said.calls_complete(window_us, connection);
        for (_, sum) in windows.iter().filter(|(window_us, _)| counts(**window_us)) {
            total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
        }
        let [to_server, to_client, opened, closed] = total;
        let progress: Vec<_> = world.progress.iter().filter(|progress| progress.connection == connection).collect();
        let about = || {
            let lines: String = progress.iter().map(|progress| format!("{progress:?}\n")).collect();
            format!("connection {connection} {ends:?}: {truth:?} as {windows:?}, from\n{lines}")
        };
        // Of a connection that is older than its client's agent nobody can tell whether the first word of that side begins where the
        // server's last one ended. If it moved its first bytes between the walks of the two agents, they count twice.
        let is_older =
            progress.iter().find(|progress| progress.side == Side::Client).is_some_and(|first| !first.opened);
        let doubled = to_server > truth[0] || to_client > truth[1] || opened > 1 || closed > 1;
        assert!(!doubled || is_older, "doubled: {}", about());
        if all_is_well && ends.iter().any(Option::is_some) {
            assert_eq!([to_server, to_client, opened], [truth[0], truth[1], 1], "lost: {}", about());
            let says = said.partials.iter().any(|partial| partial.asked == [asked(connection)]);
            // Where the server's side is seen too, all of it may count in a window in which the client's has not told of it yet.
            let is_of_client = ends[Side::Client as usize].is_some() && ends[Side::Server as usize].is_none();
            assert!(says || !is_of_client, "nobody says what was asked for: {}", about());
            // Also what a record without it tells, once the connection's name is known.
            let mut of_flows = said.partials.iter().filter(|partial| partial.operation.is_empty());
            let is_called = of_flows.any(|partial| partial.server == unseen(connection));
            let was_asked = exchanges().any(|exchange| exchange.seen[Side::Client as usize].is_some());
            assert!(is_called || !is_of_client || !was_asked, "not called by its name: {}", about());
        }
        for (&window_us, _) in said.closed.iter().filter(|(at, _)| said.calls_complete(**at, connection)) {
            let mut by_side = [[0; 2]; 2];
            for (index, progress) in world.progress.iter().enumerate() {
                let counts = progress.connection == connection && window_of(progress.at_us) == window_us;
                if counts && logs.has_progress(index) {
                    let [sent, received] = [progress.sent, progress.received];
                    let sum = if progress.side == Side::Client { [sent, received] } else { [received, sent] };
                    by_side[progress.side as usize].iter_mut().zip(sum).for_each(|(sum, value)| *sum += value);
                }
            }
            let counted = windows.get(&window_us).map_or([0, 0], |sum| [sum[0], sum[1]]);
            let deducted =
                counted[0] <= by_side[0][0] && counted[1] <= by_side[0][1] && windows.keys().any(|w| *w < window_us);
            let is_right = by_side.contains(&counted) || deducted;
            assert!(
                is_right || announces_late(world, logs, partition, said, window_us),
                "{window_us}: {by_side:?} in {}",
                about()
            );
        }
    }
}

/// Whether the first watermark of some run that was up in a window came only after the window was sealed: nobody could know of it.
fn announces_late(world: &World, logs: &Logs, partition: usize, said: &Said<'_>, window_us: i64) -> bool {
    let Some(&(_, seal, _)) = said.seals.iter().find(|(sealed, ..)| sealed.start_us() == window_us) else {
        return true;
    };
    let mut first: HashMap<usize, Offset> = HashMap::new();
    for entry in &logs.progress[partition] {
        first.entry(entry.run).or_insert(entry.offset);
    }
    let was_up = |run: &usize| world.local_us(world.runs[*run].node, world.runs[*run].from_us) < window_us + WINDOW_US;
    (0..world.runs.len()).filter(was_up).any(|run| first.get(&run).is_none_or(|offset| *offset > seal))
}

fn check(world: &World, logs: &Logs, all_is_well: bool) {
    for partition in 0..logs.flows.len() {
        let committed = join(logs, partition, Pace::STEADY);
        let said = Said::of(&committed);
        match world.plan.sums {
            true => check_sums(world, logs, partition, &said, all_is_well),
            false => check_exchanges(world, logs, partition, &said),
        }
        check_connections(world, logs, partition, &said, all_is_well);
        if all_is_well {
            let open_us = window_of(world.end_us() - 4 * SECOND);
            let incomplete: Vec<_> = said.closed.values().skip(1).filter(|marker| marker.completeness < 1.0).collect();
            assert!(incomplete.is_empty(), "{incomplete:?}");
            assert!(said.closed.len() as i64 >= (open_us - crate::world::BEGIN_US) / WINDOW_US, "{:?}", said.closed);
            assert_eq!(committed.counters.get("late"), 0);
        }
    }
}

pub fn plan() -> impl Strategy<Value = Plan> {
    (any::<u64>(), 1usize..5, 1i32..4, 1usize..40, 5i64..70, any::<bool>()).prop_map(
        |(seed, nodes, partitions, connections, seconds, sums)| Plan {
            sums,
            seed,
            nodes,
            partitions,
            connections,
            seconds,
            skew_ms: 200,
            is_stamped: seed % 2 == 0,
            late_closes: true,
            drops: false,
            stalls: false,
            kills: false,
            stops: false,
        },
    )
}

pub fn troubled_plan() -> impl Strategy<Value = Plan> {
    (plan(), 0i64..5_000, any::<[bool; 4]>()).prop_map(|(plan, skew_ms, [drops, stalls, kills, stops])| Plan {
        skew_ms,
        drops,
        stalls,
        kills,
        stops,
        ..plan
    })
}

pub fn pace() -> impl Strategy<Value = Pace> {
    let batches = prop::sample::select(vec![1i64, 7, 60, 1000]);
    let snapshots = prop::sample::select(vec![0i64, 70, 100]);
    (any::<u64>(), batches, 0u32..12, snapshots).prop_map(|(seed, batch_max, crashes, snapshots)| Pace {
        seed,
        batch_max,
        crashes,
        snapshots,
    })
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn when_all_is_well_everything_counts_once_and_windows_are_complete(plan in plan()) {
        let world = World::of(&plan);
        let logs = logs(&world);
        check(&world, &logs, true);
    }

    #[test]
    fn never_a_wrong_sum_is_called_complete_whatever_is_dropped_late_or_killed(plan in troubled_plan()) {
        let world = World::of(&plan);
        let logs = logs(&world);
        check(&world, &logs, false);
    }

    #[test]
    fn interleaving_batches_and_restarts_change_no_bit(plan in troubled_plan(), paces in prop::collection::vec(pace(), 3)) {
        let world = World::of(&plan);
        let logs = logs(&world);
        for partition in 0..logs.flows.len() {
            let steady = join(&logs, partition, Pace::STEADY);
            for &pace in &paces {
                let other = join(&logs, partition, pace);
                let differs = steady.outputs.iter().zip(&other.outputs).position(|(a, b)| a != b);
                if let Some(at) = differs {
                    panic!("{pace:?}, {} crashes, output {at}:\n{:?}\nbut {:?}", other.crashes, steady.outputs[at], other.outputs[at]);
                }
                prop_assert_eq!(steady.outputs.len(), other.outputs.len());
            }
        }
    }
}

/// The generator itself: its worlds hold what the tests above are about.
#[test]
fn the_worlds_are_worth_looking_at() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for seed in 0..80 {
        let plan = Plan {
            seed,
            nodes: 3,
            partitions: 2,
            connections: 30,
            seconds: 60,
            skew_ms: 2_000,
            is_stamped: false,
            late_closes: true,
            drops: true,
            stalls: true,
            kills: true,
            stops: true,
            sums: seed % 2 == 1,
        };
        let world = World::of(&plan);
        let logs = logs(&world);
        let committed = join(&logs, 0, Pace { seed, batch_max: 30, crashes: 10, snapshots: 50 });
        let said = Said::of(&committed);
        let complete = said.closed.keys().filter(|window_us| said.is_complete(**window_us)).count();
        let reasons = said.closed.values().flat_map(|marker| &marker.missing).map(|missing| missing.reason.as_str());
        seen.extend(reasons.map(|reason| if reason == "no-data" { "no-data" } else { "queue_full" }));
        let is_untouched = |partial: &&&Partial| {
            let (window_us, connection) = (partial.window_start_us, connection_of(&partial.client));
            !said.is_complete(window_us) && connection.is_some_and(|at| said.calls_complete(window_us, at))
        };
        for (name, is_there) in [
            ("complete", complete > 0),
            ("an edge that is complete in a window that is not", said.partials.iter().any(|p| is_untouched(&p))),
            ("both", said.partials.iter().any(|partial| partial.both_sides > 0)),
            ("one side", said.partials.iter().any(|partial| partial.requests > partial.both_sides)),
            ("late", committed.counters.get("late") > 0),
            ("several", world.plan.sums && committed.counters.get("late_side") > 0),
            ("late side", committed.counters.get("late_side") > 0),
            ("crash", committed.crashes > 0),
            ("restored", committed.restored > 0),
        ] {
            seen.extend(is_there.then_some(name));
        }
    }
    let all = [
        "an edge that is complete in a window that is not",
        "both",
        "complete",
        "crash",
        "late",
        "late side",
        "no-data",
        "one side",
        "queue_full",
        "restored",
        "several",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

/// A world in which only some connections of one partition have sums.
fn of_seed(seed: u64, connections: usize, skew_ms: i64) -> Plan {
    Plan {
        seed,
        nodes: 4,
        partitions: 1,
        connections,
        seconds: 11,
        skew_ms,
        is_stamped: false,
        late_closes: true,
        drops: false,
        stalls: false,
        kills: false,
        stops: false,
        sums: true,
    }
}

/// A server's exchange that had counted alone was taken out of the sum of another operation, which was the first of its client's to lie around it.
#[test]
fn what_counted_alone_is_taken_out_of_its_own_operation() {
    let world = World::of(&Plan { stops: true, ..of_seed(14180666100885318609, 26, 2610) });
    check(&world, &logs(&world), false);
}

/// A server's exchange that had counted alone was taken out of a client's sum around it, though the client told of it by itself.
#[test]
fn what_is_told_by_itself_is_taken_out_of_no_other_record() {
    let world = World::of(&Plan { stalls: true, ..of_seed(11888771784645260260, 11, 3614) });
    check(&world, &logs(&world), false);
}

/// The end of a connection counted twice where its server's side counted since its client's agent was not expected any more.
#[test]
fn a_connection_ends_once() {
    let plan = of_seed(2273705373555508967, 10, 0);
    let world = World::of(&Plan { partitions: 3, seconds: 18, stalls: true, stops: true, sums: false, ..plan });
    check(&world, &logs(&world), false);
}

/// A run of an agent that was overtaken by the next one vouched for records once more, for whoever went on from a snapshot between the two.
#[test]
fn what_a_run_vouches_for_behind_the_next_one_counts_once() {
    let plan =
        Plan { partitions: 1, seconds: 18, stalls: true, stops: true, ..of_seed(11460310314840144851, 22, 4224) };
    let logs = logs(&World::of(&plan));
    let steady = join(&logs, 0, Pace::STEADY);
    for seed in 0..60 {
        let other = join(&logs, 0, Pace { seed, batch_max: 1, crashes: 1, snapshots: 100 });
        assert!(other.outputs == steady.outputs, "seed {seed}");
    }
}
