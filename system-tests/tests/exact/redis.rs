//! Commands to a real Redis, in pipelines of any depth: each is told of by both sides, exactly and once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_schemas::records::{Kind, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::redis::Command;
use headwater_system_tests::topics;

const CONNECTIONS: usize = 8;
const COMMANDS: usize = 1_250;

type Seen = BTreeMap<(u16, i64), Vec<Command>>;

fn seen(lab: &Lab) -> [Seen; 2] {
    let mut sides = [Seen::new(), Seen::new()];
    topics::each_request(&lab.settings, |request| {
        assert_eq!(
            (request.protocol, request.path, request.status, request.weight),
            ("redis", "", 0, 1),
            "{request:?}"
        );
        assert_eq!(request.method, request.operation);
        let is_server = request.side == Side::Server;
        let port = if is_server { request.remote_port } else { request.local_port } as u16;
        sides[usize::from(is_server)].entry((port, request.request_position)).or_default().push(Command {
            port,
            position: request.request_position,
            operation: request.operation.to_owned(),
            kind: request.kind,
            outcome: request.outcome,
            code: request.code.to_owned(),
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
        });
    })
    .unwrap();
    sides
}

#[test]
fn ten_thousand_commands_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let (_redis, port) = lab.redis().unwrap();
    let mut agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    let report = lab.folder.path().join("redis.json");
    let numbers = [CONNECTIONS, COMMANDS, 7].map(|number| number.to_string());
    let address = port.address().to_string();
    let [connections, commands, seed] = &numbers;
    let arguments = [&address, connections, commands, seed, &*report.to_string_lossy()];
    lab.run(env!("CARGO_BIN_EXE_oracle-redis"), &arguments).unwrap();
    let lines = std::fs::read_to_string(report).unwrap();
    let asked: Vec<Command> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let edges = || topics::edges(&lab.settings).unwrap_or_default();
    let in_edges = || edges().iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all commands in the edges", || Ok(in_edges() >= asked.len() as i64));
    stop(&mut agent).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{} asked; {} in the edges; {:?}", asked.len(), in_edges(), last.dropped);
    let mut all_right = true;
    for (side, seen) in [Side::Client, Side::Server].into_iter().zip(seen(&lab)) {
        let of = |command: &Command| seen.get(&(command.port, command.position));
        let right = asked.iter().filter(|command| of(command).is_some_and(|seen| seen[0] == **command)).count();
        let missing = asked.iter().filter(|command| of(command).is_none()).count();
        let doubled = seen.values().filter(|records| records.len() > 1).count();
        let wrong = seen.len() - right;
        println!("{side:?}: {right} right, {wrong} wrong, {doubled} doubled, {missing} missing");
        let first_wrong = asked.iter().find(|command| of(command).is_some_and(|seen| seen[0] != **command));
        if let Some(command) = first_wrong {
            println!("{command:?} was seen as {:?}", of(command));
        }
        all_right &= right == asked.len() && (wrong, doubled, missing) == (0, 0, 0);
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
