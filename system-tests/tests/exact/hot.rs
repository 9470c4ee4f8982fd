//! Exchanges at full speed, ten million if there is time: what the probes added up is what the client got, on both sides, in the edges too, and its durations
//! are the client's.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_process::Port;
use headwater_schemas::records::{Edge, Side};
use headwater_system_tests::hot::{Got, Report};
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;

const CONNECTIONS: u64 = 32;

/// What the client's own calls take before and behind what the probes see.
const OFF_MAX: f64 = 0.05;

#[derive(Default)]
struct Seen {
    got: BTreeMap<String, Got>,
    summed: u64,
    records: u64,
    duration_ns: Histogram,
}

fn seen(lab: &Lab) -> [Seen; 2] {
    let mut sides = [Seen::default(), Seen::default()];
    topics::each_request(&lab.settings, |request| {
        let seen = &mut sides[usize::from(request.side == Side::Server)];
        seen.records += 1;
        let weight = request.weight.unsigned_abs();
        let is_redis = request.protocol == "redis";
        let status = if is_redis { request.code.to_owned() } else { request.status.to_string() };
        let got = seen.got.entry(status).or_default();
        got.answers += weight;
        let (asked, answered) = match request.sums.as_deref() {
            Some(sums) => {
                seen.summed += weight;
                assert_eq!(sums.duration_ns.count(), weight);
                seen.duration_ns.merge(&sums.duration_ns).unwrap();
                (sums.request_bytes, sums.response_bytes)
            }
            None => {
                seen.duration_ns.record(request.duration_ns.unsigned_abs());
                (request.request_bytes, request.response_bytes)
            }
        };
        got.request_bytes += asked.unsigned_abs();
        got.response_bytes += answered.unsigned_abs();
    })
    .unwrap();
    sides
}

/// Who answers.
#[derive(Clone, Copy)]
enum Server {
    Nginx,
    Redis,
}

#[test]
fn exchanges_at_full_speed_are_added_up_as_the_client_got_them() {
    held_against_the_client(Server::Nginx, 300_000, 200_000, "both");
}

#[test]
fn commands_at_full_speed_are_added_up_as_the_client_got_them() {
    held_against_the_client(Server::Redis, 300_000, 200_000, "both");
}

#[test]
fn exchanges_at_full_speed_within_a_node_are_told_by_the_clients_end() {
    held_against_the_client(Server::Nginx, 1_000_000, 800_000, "one");
}

#[test]
fn commands_at_full_speed_within_a_node_are_told_by_the_clients_end() {
    held_against_the_client(Server::Redis, 1_000_000, 800_000, "one");
}

#[test]
fn ten_million_exchanges_are_added_up_as_the_client_got_them() {
    held_against_the_client(Server::Nginx, 10_000_000, 8_990_000, "one");
}

#[test]
fn ten_million_commands_are_added_up_as_the_client_got_them() {
    held_against_the_client(Server::Redis, 10_000_000, 9_000_000, "one");
}

/// Of these at least `summed_min` are to be added up: what comes before the connections are hot, each error of Redis, and of HTTP the one in ten
/// that has another status than its operation (`/status/404/hot` and `/status/503/hot` are one), is told of one by one.
/// `ends` is the setting `capture.ends`.
fn held_against_the_client(server: Server, exchanges: u64, summed_min: u64, ends: &str) {
    let lab = Lab::start().unwrap();
    let (_server, port, protocol) = match server {
        Server::Nginx => {
            let port = Port::free().unwrap();
            (lab.nginx(&[port.address().to_string()], None).unwrap(), port, "http")
        }
        Server::Redis => {
            let (redis, port) = lab.redis().unwrap();
            (redis, port, "redis")
        }
    };
    wait_for_port(port.address()).unwrap();
    let mut agent = lab.agent_of_users_with(&["--capture-ends", ends]).unwrap();
    let _processors = lab.processor("all").unwrap();
    let report = lab.folder.path().join("hot.json");
    let numbers = [CONNECTIONS, exchanges].map(|number| number.to_string());
    let address = port.address().to_string();
    let arguments = [&address, &numbers[0], &numbers[1], &*report.to_string_lossy(), protocol];
    lab.run(env!("CARGO_BIN_EXE_oracle-hot"), &arguments).unwrap();
    let client: Report = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let sent: u64 = client.got.values().map(|got| got.answers).sum();

    let edges = || topics::edges(&lab.settings).unwrap_or_default();
    let requests = |edges: &[Edge]| edges.iter().map(|edge| edge.requests.unsigned_abs()).sum::<u64>();
    let all_came = wait_for("all exchanges in the edges", || Ok(requests(&edges()) >= sent));
    stop(&mut agent).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{sent} sent, {} in the edges; {:?} {:?}", requests(&edges()), last.dropped, last.counters);
    let percentiles = |histogram: &Histogram| [0.5, 0.95, 0.99].map(|q| histogram.quantile(q));
    println!("client {:?}, {:.0?} ns", client.got, percentiles(&client.latency_ns));
    for (side, seen) in [Side::Client, Side::Server].into_iter().zip(&seen(&lab)) {
        let Seen { got, summed, records, duration_ns } = seen;
        println!("{side:?}: {got:?}, {summed} added up, {records} records, {:.0?} ns", percentiles(duration_ns));
        if side == Side::Server && ends == "one" {
            sampled(got, &client.got, sent);
            continue;
        }
        assert_eq!(*got, client.got, "{side:?}");
        assert_eq!(duration_ns.count(), sent, "{side:?}");
        assert!(*summed >= summed_min, "{side:?}: {summed}");
        if side == Side::Client {
            for (own, its) in percentiles(duration_ns).into_iter().zip(percentiles(&client.latency_ns)) {
                assert!((own / its - 1.0).abs() < OFF_MAX, "{own} ns, and the client's {its} ns");
            }
        }
    }
    all_came.unwrap();
    assert_eq!(requests(&edges()), sent);
    let missing = last.dropped.iter().find(|(reason, _)| reason.starts_with("requests/"));
    assert_eq!(missing, None);
}

/// An end that is not followed all the time tells of a part, and of nothing that was not there.
fn sampled(got: &BTreeMap<String, Got>, all: &BTreeMap<String, Got>, sent: u64) {
    let told: u64 = got.values().map(|got| got.answers).sum();
    assert!((sent / 20..sent).contains(&told), "{told} of {sent}");
    for (status, its) in got {
        let all = &all[status];
        assert!(its.answers <= all.answers && its.response_bytes <= all.response_bytes, "{status}");
    }
}
