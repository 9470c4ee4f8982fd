//! The agent starts while kept-alive connections are in full use: what was under way at that moment is counted as not seen, and
//! everything that began later is seen exactly, on the same connections.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;

use headwater_process::Port;
use headwater_schemas::records::{Agent, Side};
use headwater_system_tests::client::{Outcome, time_of_day_us};
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;

const CONNECTIONS: u64 = 8;

/// Starts of the agent; each cuts into what is under way at another place.
const STARTS: usize = 3;

#[test]
fn connections_that_are_busy_while_the_agent_starts_are_followed_from_then_on() {
    let lab = Lab::start().unwrap();
    let nginx_port = Port::free().unwrap();
    let nginx_address = nginx_port.address();
    let _nginx = lab.nginx(&[nginx_address.to_string()], None).unwrap();
    wait_for_port(nginx_address).unwrap();
    let (_hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let program = env!("CARGO_BIN_EXE_oracle-steady");
    let mut clients = [
        lab.steady(program, nginx_address, "nginx", CONNECTIONS).unwrap(),
        lab.steady(program, hyper_address, "hyper", CONNECTIONS).unwrap(),
    ];
    let mut lives = Vec::new();
    for _ in 0..STARTS {
        let mut agent = lab.agent().unwrap();
        let last = || topics::agents(&lab.settings).unwrap().pop().unwrap();
        let started_at_us = last().agent_started_at_us;
        // A second heartbeat: at least five seconds of the load.
        wait_for("a second heartbeat", || Ok(last().observed_at_us > started_at_us + 5_000_000)).unwrap();
        let stopped_at_us = time_of_day_us().unwrap();
        stop(&mut agent).unwrap();
        wait_for("the last heartbeat", || Ok(last().is_final)).unwrap();
        lives.push((last(), stopped_at_us));
    }
    clients.iter_mut().for_each(|client| client.go().unwrap());
    let outcomes: Vec<Outcome> = clients.into_iter().flat_map(|client| client.finish().unwrap()).collect();
    let requests = topics::requests(&lab.settings).unwrap();
    let mut seen: HashMap<(&str, Side), u64> = HashMap::new();
    requests.iter().for_each(|request| *seen.entry((&request.path, request.side)).or_default() += 1);
    for (life, stopped_at_us) in &lives {
        check_life(life, *stopped_at_us, &outcomes, &seen);
    }
    assert!(seen.values().all(|&count| count == 1), "some are doubled");
}

/// What began after the agent's start and ended before its stop was seen once from each side.
fn check_life(life: &Agent, stopped_at_us: i64, outcomes: &[Outcome], seen: &HashMap<(&str, Side), u64>) {
    let within = outcomes.iter().filter(|outcome| {
        let began_at_us = outcome.received_at_us - (outcome.latency_ns / 1000) as i64;
        began_at_us > life.agent_started_at_us + 1_000 && outcome.received_at_us < stopped_at_us
    });
    let (mut right, mut missing) = (0_u64, 0_u64);
    for outcome in within {
        for side in [Side::Client, Side::Server] {
            if seen.contains_key(&(outcome.path.as_str(), side)) {
                right += 1;
            } else {
                missing += 1;
            }
        }
    }
    println!("{right} right, {missing} missing, {}", topics::losses(life));
    assert!(right > 1_000, "the load hardly ran: {right}");
    assert_eq!(missing, 0, "dropped {:?}", life.dropped);
    // On each side of each connection at most one exchange was under way at the start, and one at the end.
    for (reason, &count) in &life.dropped {
        let allowed = matches!(reason.as_str(), "requests/started_before_capture" | "requests/unfinished");
        assert!(allowed && count <= 4 * CONNECTIONS as i64, "{count} dropped as {reason}");
    }
}

/// Each client's call that ends an exchange whose beginning nobody saw is one loss, and no more.
#[test]
fn what_is_under_way_while_the_agent_starts_is_counted_once() {
    let lab = Lab::start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all = Barrier::new(CONNECTIONS as usize + 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..CONNECTIONS).for_each(|_| {
                let stream = listener.accept().unwrap().0;
                scope.spawn(|| answer(stream, &all));
            });
        });
        let mut client = lab.steady(env!("CARGO_BIN_EXE_oracle-steady"), address, "held", CONNECTIONS).unwrap();
        all.wait();
        let mut agent = lab.agent().unwrap();
        all.wait();
        let is_told = |requests: Vec<_>| requests.len() > 10 * CONNECTIONS as usize;
        wait_for("requests", || Ok(is_told(topics::requests(&lab.settings)?))).unwrap();
        client.go().unwrap();
        client.finish().unwrap();
        stop(&mut agent).unwrap();
    });
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{}", topics::losses(&last));
    assert_eq!(last.dropped, [("requests/started_before_capture".to_owned(), CONNECTIONS as i64)].into());
}

/// A server that is not observed: its second answer on each connection comes when the test is there, too.
fn answer(stream: TcpStream, all: &Barrier) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    for number in 0.. {
        // A request without a body, up to its empty line.
        while !lines.next().transpose().unwrap_or_default().unwrap_or_default().is_empty() {}
        if number == 1 {
            // Every connection has asked; and the agent is there.
            all.wait();
            all.wait();
        }
        if (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").is_err() {
            // The client has left.
            return;
        }
    }
}
