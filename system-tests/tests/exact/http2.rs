//! Streams of HTTP/2, ten at once, with answers of up to a megabyte, from a real nginx and from a server of Rust's usual HTTP/2: each is told of by
//! both sides, exactly and once, however many frames one call moves.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_process::Port;
use headwater_schemas::records::{Kind, Outcome, Side};
use headwater_system_tests::http2::{ANSWERS, paths};
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

/// What is told of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    protocol: String,
    outcome: Outcome,
    code: String,
    status: i32,
    /// The resource is the server's address and port.
    names_server: bool,
    kind: Kind,
    /// Those of the answer are at least what it holds.
    has_all_bytes: bool,
    messages: [Option<i32>; 2],
}

#[test]
fn streams_of_large_answers_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let port = Port::free().unwrap();
    let files: Vec<(usize, Vec<u8>)> = ANSWERS.iter().map(|(bytes, _)| (*bytes, vec![b'x'; *bytes])).collect();
    let _nginx = lab.nginx_of_files(port.address(), &files).unwrap();
    wait_for_port(port.address()).unwrap();
    // Its clients send as fast as they can, so that the agent comes behind for a moment: what is lost then is counted, and not what this is about.
    let mut agent = lab.agent_with_ring(128 << 20).unwrap();
    lab.run(env!("CARGO_BIN_EXE_oracle-http2"), &[&port.address().to_string()]).unwrap();
    stop(&mut agent).unwrap();

    // By side, whether nginx answered, and path.
    let mut seen: BTreeMap<(bool, bool, String), Vec<Told>> = BTreeMap::new();
    topics::each_request(&lab.settings, |request| {
        let is_server = request.side == Side::Server;
        let server_port = if is_server { request.local_port } else { request.remote_port };
        let is_nginx = server_port == i32::from(port.number());
        let bytes: i64 = request
            .path
            .split(['/', 'x'])
            .filter_map(|part| part.trim_start_matches("Get").parse().ok())
            .next()
            .unwrap_or(0);
        let told = Told {
            protocol: request.protocol.to_owned(),
            outcome: request.outcome,
            code: request.code.to_owned(),
            status: request.status,
            names_server: request.resource == format!("127.0.0.1:{server_port}"),
            kind: request.kind,
            has_all_bytes: request.response_bytes > bytes && request.response_bytes < bytes + bytes / 50 + 500,
            messages: [request.request_messages, request.response_messages],
        };
        assert_eq!(request.weight, 1);
        seen.entry((is_server, is_nginx, request.path.to_owned())).or_default().push(told);
    })
    .unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{}", topics::losses(&last));
    let expected = |is_grpc: bool| Told {
        protocol: if is_grpc { "grpc" } else { "http2" }.to_owned(),
        outcome: Outcome::Ok,
        code: if is_grpc { "OK" } else { "" }.to_owned(),
        status: 200,
        names_server: true,
        kind: Kind::Call,
        has_all_bytes: true,
        messages: [is_grpc.then_some(1); 2],
    };
    let mut is_right = true;
    for is_server in [false, true] {
        for (is_nginx, is_grpc) in [(true, false), (false, false), (false, true)] {
            let asked = paths(is_grpc);
            let of = |path: &str| seen.get(&(is_server, is_nginx, path.to_owned()));
            let count = |is_it: &dyn Fn(&Vec<Told>) -> bool| {
                asked.iter().filter(|(path, _)| of(path).is_some_and(is_it)).count()
            };
            let right = count(&|told| *told == [expected(is_grpc)]);
            let doubled = count(&|told| told.len() > 1);
            let missing = asked.iter().filter(|(path, _)| of(path).is_none()).count();
            let wrong = asked.len() - right - doubled - missing;
            println!(
                "server {is_server}, nginx {is_nginx}, grpc {is_grpc}: of {} {right} right, {wrong} wrong, {doubled} doubled, {missing} missing",
                asked.len()
            );
            if let Some((path, _)) =
                asked.iter().find(|(path, _)| of(path).is_some_and(|told| *told != [expected(is_grpc)]))
            {
                println!("{path} was told of as {:?}", of(path));
            }
            is_right &= right == asked.len();
        }
    }
    assert!(is_right, "{}", topics::losses(&last));
}
