//! A range that is computed again, from a start in the middle of the log, gives the windows of the first time.
//!
//! Logs are drawn with everything that decides a window: nodes that lag, fall silent and come back, losses, sides that come
//! late, twice or not at all, names that only an older record knows. The first run reads from the birth of the log; the second
//! one starts where [`Plan`] says, reads in another interleaving, and is stopped and built again from its checkpoints.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use headwater_processors::join::{Join, JoinSettings};
use headwater_processors::processor::{Checkpoint, Input, Kind, Output, Processor};
use headwater_processors::replay::{Place, Plan};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{
    Dropped, Flow, FlowState, Kind as RequestKind, Outcome, Progress, Record, Request, Share, Side,
};
use headwater_schemas::wire::{Encoder, WriterSchema, split};
use headwater_testing::Random;
use proptest::prelude::*;
use serde::Serialize;

const START_US: i64 = 1_700_000_000_000_000;
const SECOND_US: i64 = 1_000_000;
const LOG_SECONDS: i64 = 25 * 60;
const TICK_SECONDS: i64 = 2;
const NODES: [&str; 3] = ["a", "b", "c"];
const SERVICES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "unknown"];

/// One partition of a topic: Kafka's timestamp, what stands there.
#[derive(Default)]
struct Log(Vec<(i64, Vec<u8>)>);

/// What is written into flows and requests, when and by which node, and what nodes say of their progress.
#[derive(Default)]
struct Written {
    records: [Vec<(i64, usize, Vec<u8>)>; 2],
    progress: Vec<(i64, usize, Progress)>,
}

/// One agent as it says how far it is.
struct Node {
    started_at_us: i64,
    sequence: i64,
    covered_us: i64,
    /// How long after the fact it publishes.
    lag_us: i64,
    /// When it published last: one producer's records stay in order, so a smaller lag overtakes nothing.
    written_us: i64,
    silent_until_us: i64,
}

/// `flows`, `requests` and progress.
fn draw(random: &mut Random) -> [Log; 3] {
    in_order(written(random))
}

fn written(random: &mut Random) -> Written {
    let mut written = Written::default();
    let mut nodes = NODES.map(|_| Node {
        started_at_us: START_US,
        sequence: -1,
        covered_us: START_US,
        lag_us: random.between(0, 2) * 400_000,
        written_us: 0,
        silent_until_us: 0,
    });
    let mut position = 0;
    for second in (0..LOG_SECONDS).step_by(TICK_SECONDS as usize) {
        let now_us = START_US + second * SECOND_US;
        for _ in 0..random.between(0, 3) {
            position += 1;
            exchange(random, &nodes, now_us, position, &mut written.records);
        }
        for (at, node) in nodes.iter_mut().enumerate() {
            tick(random, at, node, now_us, &mut written.progress);
        }
    }
    written
}

/// Nodes name what they had written by then.
fn in_order(written: Written) -> [Log; 3] {
    let Written { mut records, mut progress } = written;
    records.iter_mut().for_each(|log| log.sort_by_key(|(written_us, ..)| *written_us));
    progress.sort_by_key(|(written_us, ..)| *written_us);
    let mut through = [[-1; 2]; NODES.len()];
    let mut told = Vec::new();
    for (written_us, node, progress) in progress {
        let mut share = |stream: usize, share: Share| {
            let after = through[node][stream];
            let log = records[stream].iter().enumerate().take_while(|(_, (at_us, ..))| *at_us <= written_us);
            let of_node = log.filter(|(at, (_, by, _))| *by == node && *at as i64 > after).map(|(at, _)| at as i64);
            let places: Vec<i64> = of_node.collect();
            through[node][stream] = places.last().copied().unwrap_or(after);
            let records = places.len() as i64;
            Share { after_offset: after, through_offset: through[node][stream], records, ..share }
        };
        let (flows, requests) = (share(0, progress.flows.clone()), share(1, progress.requests.clone()));
        told.push((written_us, datum(&Progress { flows, requests, ..progress })));
    }
    let [flows, requests] = records.map(|log| Log(log.into_iter().map(|(at_us, _, datum)| (at_us, datum)).collect()));
    [flows, requests, Log(told)]
}

/// The same, and connections that are not told of for about as long as anything is remembered, and then from their server's side alone.
fn draw_with_silences(random: &mut Random) -> [Log; 3] {
    let mut written = written(random);
    let entries = &mut written.records[0];
    for second in (0..LOG_SECONDS).step_by(TICK_SECONDS as usize) {
        let id = format!("{:016x}", (second as u64 + 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut at_us = START_US + second * SECOND_US;
        // Each after so many windows at least, and at most.
        for (side, (least, most)) in [
            (Side::Client, (0, 0)),
            (Side::Server, (5, 9)),
            (Side::Server, (0, 2)),
            (Side::Client, (0, 2)),
            (Side::Client, (0, 2)),
            (Side::Server, (0, 1)),
        ] {
            at_us += random.between(10 * least, 10 * most) * SECOND_US;
            let is_empty = side == Side::Server && random.one_in(3);
            let bytes = if is_empty { 0 } else { random.between(1, 999) };
            let workload = SERVICES[random.between(0, SERVICES.len() as i64 - 1) as usize];
            let opened = i64::from(random.one_in(2));
            let flow = Flow { opened, retransmits: 0, ..flow(&id, side, at_us, bytes, workload) };
            entries.push((at_us + 400_000, 0, datum(&flow)));
        }
    }
    in_order(written)
}

fn tick(random: &mut Random, at: usize, node: &mut Node, now_us: i64, told: &mut Vec<(i64, usize, Progress)>) {
    if now_us < node.silent_until_us {
        return;
    }
    if random.one_in(150) {
        node.silent_until_us = now_us + (5 + random.between(0, 8 * 60 - 1)) * SECOND_US;
        if random.one_in(2) {
            // A new run covers only what it has seen itself.
            (node.started_at_us, node.sequence) = (node.silent_until_us, -1);
            node.covered_us = node.silent_until_us;
        }
        return;
    }
    if random.one_in(40) {
        node.lag_us = random.between(0, 59) * 400_000;
    }
    if now_us <= node.covered_us {
        return;
    }
    node.sequence += 1;
    let dropped = if random.one_in(30) {
        let from_us = node.covered_us - random.between(0, 29) * SECOND_US;
        vec![Dropped { reason: "queue-full".into(), count: random.between(1, 9), from_us, to_us: now_us }]
    } else {
        Vec::new()
    };
    let progress = Progress {
        node: NODES[at].to_string(),
        agent_started_at_us: node.started_at_us,
        sequence: node.sequence,
        covers_from_us: node.covered_us,
        up_to_us: now_us,
        is_final: random.one_in(400),
        partitions: 1,
        flows: Share::anywhere(10, dropped.clone()),
        requests: Share::anywhere(10, dropped),
    };
    node.covered_us = now_us;
    node.written_us = node.written_us.max(now_us + node.lag_us);
    told.push((node.written_us, at, progress));
}

/// The records of both sides of an exchange and of its connection, or some of them, some late, some twice.
fn exchange(
    random: &mut Random,
    nodes: &[Node],
    now_us: i64,
    position: i64,
    entries: &mut [Vec<(i64, usize, Vec<u8>)>; 2],
) {
    let connection = random.between(0, 29);
    let id = format!("{:016x}", (connection as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for side in [Side::Client, Side::Server] {
        let node = (connection + side as i64) as usize % NODES.len();
        if now_us < nodes[node].silent_until_us || random.one_in(12) {
            continue;
        }
        let service = if random.one_in(3) { SERVICES.len() - 1 } else { (connection as usize + side as usize) % 5 };
        let early_us =
            if random.one_in(6) { random.between(0, 19) * SECOND_US } else { random.between(0, SECOND_US - 1) };
        let at_us = now_us - if side == Side::Server { early_us } else { 0 };
        let late_us = if random.one_in(25) { random.between(0, 39) * SECOND_US } else { 0 };
        let written_us = at_us.max(now_us - SECOND_US) + nodes[node].lag_us + late_us;
        let request = datum(&Request { node: NODES[node], ..request(&id, side, position, at_us, SERVICES[service]) });
        if random.one_in(40) {
            entries[1].push((written_us + random.between(0, 89) * SECOND_US, node, request.clone()));
        }
        entries[1].push((written_us, node, request));
        if random.one_in(3) {
            let flow =
                flow(&id, side, at_us, random.between(0, 999), SERVICES[(connection as usize + side as usize) % 5]);
            entries[0].push((written_us, node, datum(&Flow { node: NODES[node], ..flow })));
        }
    }
}

fn request<'a>(id: &'a str, side: Side, position: i64, at_us: i64, workload: &'a str) -> Request<'a> {
    Request {
        connection_id: id,
        side,
        request_position: position,
        started_at_us: at_us - 1000,
        completed_at_us: at_us,
        duration_ns: 1_000_000 + position * 977 % 5_000_000,
        time_to_first_byte_ns: 900_000,
        protocol: "http",
        kind: RequestKind::Call,
        method: "GET",
        path: "/",
        operation: if position % 5 == 0 { "GET /a" } else { "GET /b" },
        resource: "",
        status: if position % 9 == 0 { 500 } else { 200 },
        outcome: if position % 9 == 0 { Outcome::ServerError } else { Outcome::Ok },
        code: "",
        error: position % 9 == 0,
        failure: None,
        request_bytes: 100 + position,
        response_bytes: 200,
        request_messages: None,
        response_messages: None,
        trace_id: "",
        parent_span_id: "",
        request_id: "",
        request_thread_id: 0,
        request_call: 0,
        response_thread_id: 0,
        response_call: 0,
        weight: 1,
        sums: None,
        node: "a",
        cluster: "",
        namespace: "",
        workload_kind: "program",
        workload,
        pod: "",
        container: "",
        pid: 1,
        local_address: "10.0.0.1",
        local_port: 80,
        remote_address: "10.0.0.2",
        remote_port: 80,
        remote_name: "",
    }
}

fn flow<'a>(id: &'a str, side: Side, at_us: i64, bytes: i64, workload: &'a str) -> Flow<'a> {
    Flow {
        connection_id: id,
        side,
        state: if bytes % 7 == 0 { FlowState::Closed } else { FlowState::Open },
        failure: None,
        opened_at_us: at_us,
        opened_before_capture: false,
        observed_at_us: at_us,
        opened: i64::from(bytes % 5 == 0),
        protocol: "http",
        encryption: "none",
        tls: None,
        sent_bytes: bytes,
        received_bytes: bytes * 2,
        retransmits: bytes % 3,
        requests: 1,
        errors: 0,
        rtt_us: 40 + bytes,
        rtt_min_us: 40,
        connect_us: 50,
        attempts: 1,
        node: "a",
        cluster: "",
        namespace: "",
        workload_kind: "program",
        workload,
        pod: "",
        container: "",
        pid: 1,
        local_address: "10.0.0.1",
        local_port: 80,
        remote_address: "10.0.0.2",
        remote_port: 80,
        remote_name: "",
    }
}

/// Encodes as an agent does; one encoder a type, for each lives as long as the program.
fn datum<R: Record + Serialize>(record: &R) -> Vec<u8> {
    static ENCODERS: OnceLock<[Encoder; 3]> = OnceLock::new();
    let encoders = ENCODERS.get_or_init(|| {
        [
            Encoder::of::<Flow<'_>>(1).unwrap(),
            Encoder::of::<Request<'_>>(2).unwrap(),
            Encoder::of::<Progress>(3).unwrap(),
        ]
    });
    let framed = encoders.iter().find_map(|encoder| encoder.encode(record).ok()).unwrap();
    split(&framed).unwrap().1.to_vec()
}

fn schemas() -> &'static [WriterSchema; 3] {
    static SCHEMAS: OnceLock<[WriterSchema; 3]> = OnceLock::new();
    SCHEMAS.get_or_init(|| [Flow::SCHEMA, Request::SCHEMA, Progress::SCHEMA].map(|s| WriterSchema::parse(s).unwrap()))
}

fn window_us(output: &Output) -> i64 {
    match output {
        Output::Partial(partial) => partial.window_start_us,
        Output::Closed(_, closed) => closed.window_start_us,
        other => panic!("a join gives no {other:?}"),
    }
}

/// Feeds the logs from the checkpoints on, in a drawn interleaving; stops and begins again one time in `restarts`.
fn work(logs: &[Log; 3], start: [Option<Checkpoint>; 3], random: &mut Random, restarts: i64) -> (Vec<Output>, bool) {
    let at = |start: &[Option<Checkpoint>; 3]| {
        [0, 1, 2].map(|stream: usize| start[stream].as_ref().map_or(0, |c| c.needed_from.0 as usize))
    };
    let mut join = Join::new(Partition(0), 1, JoinSettings::default(), &start);
    let mut next = at(&start);
    let mut outputs = Vec::new();
    while !join.is_done() {
        let ready: Vec<usize> = (0..3).filter(|&s| next[s] < logs[s].0.len() && join.wants(s)).collect();
        if ready.is_empty() {
            break;
        }
        let stream = ready[random.between(0, ready.len() as i64 - 1) as usize];
        // In runs, as a consumer hands them out.
        for _ in 0..=random.between(0, 59) {
            let Some((written_us, datum)) = logs[stream].0.get(next[stream]).filter(|_| join.wants(stream)) else {
                break;
            };
            let schema = &schemas()[stream];
            let offset = Offset(next[stream] as i64);
            let input = Input {
                stream,
                offset,
                timestamp_us: Some(*written_us),
                appended_us: None,
                kind: Kind::Value,
                partitions: None,
                schema,
                datum,
            };
            join.record(input).unwrap();
            next[stream] += 1;
        }
        if join.has_outputs() || random.one_in(20) {
            outputs.extend(join.take_outputs());
            if random.one_in(restarts as u64) {
                let left = join.checkpoints();
                let memo = |at: &Checkpoint| serde_json::from_str(&serde_json::to_string(&at.memo).unwrap()).unwrap();
                let left = [0, 1, 2]
                    .map(|s: usize| Some(Checkpoint { needed_from: left[s].needed_from, memo: memo(&left[s]) }));
                next = at(&left);
                join = Join::new(Partition(0), 1, JoinSettings::default(), &left);
            }
        }
    }
    outputs.extend(join.take_outputs());
    (outputs, join.is_done())
}

/// Where Kafka finds the first record that is not older than a time.
fn place(log: &Log, time_us: i64) -> Place {
    let at = log.0.iter().position(|(written_us, _)| *written_us >= time_us).unwrap_or(log.0.len());
    Place { first: Offset::FIRST, at: Offset(at as i64) }
}

/// Replays from `from_s` to `to_s` (seconds of the log) and compares. Says how many partials were compared.
fn compare(seed: u64, from_s: i64, to_s: i64, restarts: i64) -> Result<usize, TestCaseError> {
    let mut random = Random::new(seed);
    let logs = draw(&mut random);
    let (first, _) = work(&logs, [None, None, None], &mut random, i64::MAX);
    compare_range(&logs, first, &mut random, from_s, to_s, restarts)
}

/// The same, where all that the first run gave is known.
fn compare_range(
    logs: &[Log; 3],
    mut expected: Vec<Output>,
    random: &mut Random,
    from_s: i64,
    to_s: i64,
    restarts: i64,
) -> Result<usize, TestCaseError> {
    let through_us = expected.last().map_or(0, window_us);
    let plan = Plan::of(&JoinSettings::default(), START_US + from_s * SECOND_US, START_US + to_s * SECOND_US).unwrap();
    expected.retain(|output| (plan.from_us..plan.to_us).contains(&window_us(output)));
    for output in &mut expected {
        if let Output::Closed(_, closed) = output {
            // A replay computes none of before its range, and names none.
            closed.late_windows_us.retain(|late_us| *late_us >= plan.from_us);
        }
    }
    let places = [0, 1, 2].map(|stream: usize| place(&logs[stream], plan.read_from_us()));
    let (replayed, done) = work(logs, plan.checkpoints(places).map(Some), random, restarts);
    prop_assert_eq!(done, through_us >= plan.to_us - 10 * SECOND_US, "it ends when its last window is closed");
    let window = |outputs: &[Output]| outputs.iter().map(window_us).min();
    prop_assert_eq!(window(&replayed), window(&expected));
    prop_assert_eq!(replayed.len(), expected.len());
    for (again, first) in replayed.iter().zip(&expected) {
        prop_assert_eq!(again, first);
    }
    Ok(expected.iter().filter(|output| matches!(output, Output::Partial(_))).count())
}

/// Compares a first run that is stopped one time in `restarts` with one that is not.
fn compare_stopped(seed: u64, restarts: i64) -> Result<(), TestCaseError> {
    let mut random = Random::new(seed);
    let logs = draw(&mut random);
    let (whole, _) = work(&logs, [None, None, None], &mut random, i64::MAX);
    let (stopped, _) = work(&logs, [None, None, None], &mut random, restarts);
    prop_assert_eq!(stopped.len(), whole.len());
    for (again, first) in stopped.iter().zip(&whole) {
        prop_assert_eq!(again, first);
    }
    Ok(())
}

/// So many cases, unless PROPTEST_CASES asks for more.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(cases), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn a_replay_from_the_middle_gives_the_windows_of_the_first_time(
        seed in any::<u64>(),
        from_s in 0..LOG_SECONDS - 60,
        length_s in 20..400_i64,
        restarts in prop_oneof![Just(i64::MAX), Just(3_i64)],
    ) {
        compare(seed, from_s, from_s + length_s, restarts)?;
    }

    /// Also if it is stopped while it still builds its state again.
    #[test]
    fn a_first_run_that_is_stopped_at_any_place_gives_the_windows_of_one_that_is_not(
        seed in any::<u64>(),
        restarts in 1..6_i64,
    ) {
        compare_stopped(seed, restarts)?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    /// What counts in the first window follows from all that a replay reads before it.
    #[test]
    fn a_replay_from_any_window_knows_what_servers_told_alone(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let logs = draw_with_silences(&mut random);
        let (first, _) = work(&logs, [None, None, None], &mut random, i64::MAX);
        for from_s in (800..LOG_SECONDS - 60).step_by(20) {
            compare_range(&logs, first.clone(), &mut random, from_s, from_s + 40, i64::MAX)?;
        }
    }
}

#[test]
fn a_node_that_was_silent_just_not_too_long_is_not_taken_for_gone_after_a_restart() {
    compare_stopped(12_120_624_619_125_268_509, 1).unwrap();
}

#[test]
fn what_a_server_told_before_its_client_counts_as_before_after_a_restart() {
    compare_stopped(4_772_271_621_450_734_261, 1).unwrap();
}

#[test]
fn a_record_that_comes_after_all_that_is_remembered_counts_against_no_window() {
    compare(2_657_105_435_541_686_797, 861, 881, i64::MAX).unwrap();
}

#[test]
fn a_record_that_comes_late_for_a_window_of_before_the_range_makes_no_difference() {
    compare(8_425_693_320_341_601_577, 761, 781, i64::MAX).unwrap();
}

#[test]
fn the_logs_that_are_drawn_put_something_to_the_test() {
    let partials = compare(7, 15 * 60, 20 * 60, 4).unwrap();
    assert!(partials > 100, "only {partials} partials were compared");
}
