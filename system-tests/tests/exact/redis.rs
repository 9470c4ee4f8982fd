//! Commands to a real Redis, in pipelines of any depth: each is told of by both sides, exactly and once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_schemas::records::{Kind, Side};
use headwater_system_tests::asked::{Account, Asked, told};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

const CONNECTIONS: usize = 8;
const COMMANDS: usize = 1_250;
/// Room for the burst, of values of all sizes: on a busy machine, a build for tests comes to its turn too seldom for the usual eight.
const RING_BYTES: u32 = 64 << 20;

#[test]
fn ten_thousand_commands_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let (_redis, port) = lab.redis().unwrap();
    let mut agent = lab.agent_with_ring(RING_BYTES).unwrap();
    let _processors = lab.processor("all").unwrap();
    let report = lab.folder.path().join("redis.json");
    let numbers = [CONNECTIONS, COMMANDS, 7].map(|number| number.to_string());
    let address = port.address().to_string();
    let [connections, commands, seed] = &numbers;
    let arguments = [&address, connections, commands, seed, &*report.to_string_lossy()];
    lab.run(env!("CARGO_BIN_EXE_oracle-redis"), &arguments).unwrap();
    let lines = std::fs::read_to_string(report).unwrap();
    let asked: Vec<Asked> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let edges = || topics::edges(&lab.settings).unwrap_or_default();
    let in_edges = || edges().iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all commands in the edges", || Ok(in_edges() >= asked.len() as i64));
    stop(&mut agent).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{} asked; {} in the edges; {}", asked.len(), in_edges(), topics::losses(&last));
    let mut all_right = true;
    for (side, told) in [Side::Client, Side::Server].into_iter().zip(told(&lab.settings, "redis").unwrap()) {
        let account = Account::of(&asked, &told);
        println!("{side:?}: {account}");
        all_right &= account.is_exact(asked.len());
    }
    assert!(all_right, "{:?}", last.dropped);
    all_came.unwrap();
    assert_eq!(in_edges(), asked.len() as i64);
    assert!(edges().iter().all(|edge| edge.protocol == "redis" || edge.requests == 0));

    // What was waited for because it was asked for is in no percentile.
    let waits = asked.iter().filter(|command| command.kind == Kind::Wait).count() as i64;
    let latencies = topics::latencies(&lab.settings).unwrap();
    let counted = |is_wait: bool| {
        let of = latencies.iter().filter(|latency| (latency.operation == "BLPOP") == is_wait);
        of.fold([0, 0], |[requests, timed], latency| {
            [requests + latency.requests, timed + latency.duration_ns.count() as i64]
        })
    };
    assert!(waits > 0);
    assert_eq!(counted(true), [waits, 0]);
    assert_eq!(counted(false), [asked.len() as i64 - waits; 2]);
    let classes: std::collections::BTreeSet<&str> =
        latencies.iter().map(|latency| latency.status_class.as_str()).collect();
    assert_eq!(classes.into_iter().collect::<Vec<_>>(), ["client_error", "ok"]);
}

/// Commands, bytes of them and of their replies; by operation and code.
type Totals = BTreeMap<(String, String), [i64; 3]>;

const HOT_CONNECTIONS: usize = 4;
const HOT_COMMANDS: usize = 60_000;
/// Between two pipelines, on each connection.
const ALONE: usize = 5_000;
/// Of all, on each side: pipelines and what follows them until it is known that nothing is owed are told of one by one.
const SUMMED_PART: i64 = 3;

#[derive(Default)]
struct Hot {
    totals: Totals,
    summed: i64,
    singles: BTreeMap<(u16, i64), u32>,
    /// Ranges of positions, by connection, operation and code.
    ranges: BTreeMap<(u16, String, String), Vec<(i64, i64)>>,
    wrong: Vec<String>,
}

/// Busy connections on which now and then comes what is not plain: pipelines, errors, waits, transactions, long values.
#[test]
fn what_is_added_up_of_commands_is_what_was_asked() {
    added_up("both");
}

#[test]
fn what_is_added_up_of_commands_by_an_end_in_its_turn_is_right() {
    added_up("one");
}

/// `ends` is the setting `capture.ends`.
fn added_up(ends: &str) {
    let lab = Lab::start().unwrap();
    let (_redis, port) = lab.redis().unwrap();
    let mut agent = lab.agent_of_users_with(&["--capture-ends", ends]).unwrap();
    let _processors = lab.processor("all").unwrap();
    let report = lab.folder.path().join("redis.json");
    let numbers = [HOT_CONNECTIONS, HOT_COMMANDS, 5, ALONE].map(|number| number.to_string());
    let address = port.address().to_string();
    let [connections, commands, seed, alone] = &numbers;
    let arguments = [&address, connections, commands, seed, &*report.to_string_lossy(), alone];
    lab.run(env!("CARGO_BIN_EXE_oracle-redis"), &arguments).unwrap();
    let lines = std::fs::read_to_string(report).unwrap();
    let asked: Vec<Asked> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = asked.len() as i64;
    let mut totals = Totals::new();
    for command in &asked {
        add(&mut totals, (&command.operation, &command.code), [1, command.request_bytes, command.response_bytes]);
    }
    let by_place: BTreeMap<(u16, i64), Asked> =
        asked.into_iter().map(|command| ((command.port, command.position), command)).collect();

    let in_edges = || topics::edges(&lab.settings).unwrap_or_default().iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all commands in the edges", || Ok(in_edges() >= sent));
    stop(&mut agent).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{sent} asked, {} in the edges; {:?} {:?}", in_edges(), last.dropped, last.counters);
    for (side, hot) in [Side::Client, Side::Server].into_iter().zip(&mut hot(&lab, &by_place)) {
        let records = hot.singles.len() + hot.ranges.values().map(Vec::len).sum::<usize>();
        println!("{side:?}: {} added up, {records} records", hot.summed);
        assert_eq!(hot.wrong, Vec::<String>::new(), "{side:?}");
        let is_sampled = side == Side::Server && ends == "one";
        if !is_sampled {
            assert_eq!(hot.totals, totals, "{side:?}");
        }
        assert!(hot.singles.values().all(|count| *count == 1), "{side:?}");
        for (of, ranges) in &mut hot.ranges {
            ranges.sort_unstable();
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{side:?} {of:?}: {ranges:?}");
        }
        // Shorter than a turn, so that how much of an end that is followed in turns was seen is not known.
        assert!(is_sampled || hot.summed >= sent / SUMMED_PART, "{side:?}: {}", hot.summed);
    }
    all_came.unwrap();
    assert_eq!(in_edges(), sent);
    assert!(last.dropped.is_empty(), "{:?}", last.dropped);
}

fn add(totals: &mut Totals, (operation, code): (&str, &str), numbers: [i64; 3]) {
    let of = totals.entry((operation.to_owned(), code.to_owned())).or_default();
    of.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
}

/// What each side's records say, held against what was asked at their places.
fn hot(lab: &Lab, asked: &BTreeMap<(u16, i64), Asked>) -> [Hot; 2] {
    let mut sides = [Hot::default(), Hot::default()];
    topics::each_request(&lab.settings, |request| {
        let is_server = request.side == Side::Server;
        let port = if is_server { request.remote_port } else { request.local_port } as u16;
        let hot = &mut sides[usize::from(is_server)];
        let of = (request.operation, request.code);
        let place = (port, request.request_position);
        // The last one of a sum is a command, too.
        let is_right = asked.get(&place).is_some_and(|command| {
            (command.operation.as_str(), command.code.as_str()) == of
                && (command.request_bytes, command.response_bytes) == (request.request_bytes, request.response_bytes)
                && (command.kind, command.outcome) == (request.kind, request.outcome)
        });
        if !is_right {
            hot.wrong.push(format!("{request:?} where {:?} was asked", asked.get(&place)));
        }
        let Some(sums) = request.sums.as_deref() else {
            add(&mut hot.totals, of, [1, request.request_bytes, request.response_bytes]);
            *hot.singles.entry(place).or_default() += 1;
            return;
        };
        assert_eq!(sums.duration_ns.count(), request.weight as u64);
        hot.summed += request.weight;
        add(&mut hot.totals, of, [request.weight, sums.request_bytes, sums.response_bytes]);
        hot.ranges
            .entry((port, request.operation.to_owned(), request.code.to_owned()))
            .or_default()
            .push((sums.from_position, request.request_position));
    })
    .unwrap();
    sides
}
