//! Ten thousand requests, each with a path of its own, over connections of every kind: each is seen once from each side, with
//! the right method, status and sizes, and the edges add up to them.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use headwater_schemas::Histogram;
use headwater_schemas::records::Side;
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, free_port, wait_for, wait_for_port, wait_for_window};
use headwater_system_tests::topics::{self, SeenRequest};

const EACH: u64 = 5_000;
const EARLY: u64 = 50;

#[test]
fn ten_thousand_requests_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let nginx_port = free_port().unwrap();
    let _nginx = lab.nginx(&[format!("127.0.0.1:{nginx_port}")], None).unwrap();
    let nginx_address = format!("127.0.0.1:{nginx_port}").parse().unwrap();
    wait_for_port(nginx_address).unwrap();
    let (_hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let load = |address, server, label, seed| Load {
        address,
        server,
        label,
        seed,
        requests: EACH,
        early: EARLY,
        threads: 4,
        pause_us: 0,
        netns: None,
    };
    let program = env!("CARGO_BIN_EXE_oracle-client");
    let mut clients = [
        lab.client(program, &load(nginx_address, "nginx", "n", 1)).unwrap(),
        lab.client(program, &load(hyper_address, "hyper", "h", 2)).unwrap(),
    ];
    let _agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    // The window in which the agent started is not covered whole, and says so.
    wait_for_window(10_000_000).unwrap();
    clients.iter_mut().for_each(|client| client.go().unwrap());
    let outcomes: Vec<Outcome> = clients.into_iter().flat_map(|client| client.finish().unwrap()).collect();
    assert_eq!(outcomes.len() as u64, 2 * EACH);

    // The edges of the load's last window come behind all of its records.
    let in_edges = || topics::edges(&lab.settings).unwrap_or_default().iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all requests in the edges", || Ok(in_edges() >= 2 * EACH as i64));
    println!("agent: {:?}", topics::agents(&lab.settings).unwrap().last().map(|agent| agent.dropped.clone()));
    check_requests(&outcomes, &topics::requests(&lab.settings).unwrap());
    all_came.unwrap_or_else(|error| panic!("{error}: {} of {} came", in_edges(), 2 * EACH));
    check_edges(&lab, &outcomes);
}

/// Counts right, missing, wrong and doubled apart, for each side.
fn check_requests(outcomes: &[Outcome], seen: &[SeenRequest]) {
    let mut by_name: HashMap<(&str, Side), Vec<&SeenRequest>> = HashMap::new();
    for request in seen {
        by_name.entry((&request.path, request.side)).or_default().push(request);
    }
    for side in [Side::Client, Side::Server] {
        let (mut right, mut missing, mut wrong, mut doubled) = (0, Vec::new(), Vec::new(), 0);
        for outcome in outcomes {
            match by_name.get(&(outcome.path.as_str(), side)).map(Vec::as_slice) {
                None => missing.push(outcome),
                Some([one]) if is_right(outcome, one) => right += 1,
                Some([one]) => wrong.push((outcome, *one)),
                Some(_) => doubled += 1,
            }
        }
        println!("{side:?}: {right} right, {} missing, {} wrong, {doubled} doubled", missing.len(), wrong.len());
        missing.iter().take(5).for_each(|outcome| println!("  missing {outcome:?}"));
        wrong.iter().take(5).for_each(|(outcome, seen)| println!("  wrong {outcome:?}\n    seen {seen:?}"));
        assert_eq!((right, missing.len(), wrong.len(), doubled), (outcomes.len(), 0, 0, 0), "{side:?}");
    }
    assert_eq!(seen.len(), 2 * outcomes.len(), "records of no request of the plan");
    for outcome in outcomes {
        let [client, server] = [Side::Client, Side::Server].map(|side| by_name[&(outcome.path.as_str(), side)][0]);
        assert_eq!(
            (&client.connection_id, client.position),
            (&server.connection_id, server.position),
            "both sides name {} alike",
            outcome.path
        );
    }
}

fn is_right(outcome: &Outcome, seen: &SeenRequest) -> bool {
    seen.method == outcome.method
        && seen.status == i32::from(outcome.status)
        && seen.request_bytes == outcome.request_bytes as i64
        && seen.response_bytes == outcome.response_bytes as i64
        && seen.failure.is_none()
}

fn check_edges(lab: &Lab, outcomes: &[Outcome]) {
    let edges = topics::edges(&lab.settings).unwrap();
    let http: Vec<_> = edges.iter().filter(|edge| edge.requests > 0).collect();
    for edge in &http {
        println!(
            "{} {} > {}: {} requests, {} errors, p50 {:.0} p95 {:.0} p99 {:.0} us, complete {}",
            edge.window_start_us,
            edge.client,
            edge.server,
            edge.requests,
            edge.errors,
            edge.p50_us,
            edge.p95_us,
            edge.p99_us,
            edge.completeness
        );
    }
    let sum = |value: fn(&headwater_schemas::records::Edge) -> i64| http.iter().map(|edge| value(edge)).sum::<i64>();
    assert_eq!(sum(|edge| edge.requests), outcomes.len() as i64);
    assert_eq!(sum(|edge| edge.both_sides), outcomes.len() as i64);
    let errors = outcomes.iter().filter(|outcome| outcome.status >= 500).count() as i64;
    assert_eq!(sum(|edge| edge.errors), errors);
    assert!(http.iter().all(|edge| edge.completeness == 1.0), "a window that was covered is not called complete");
    let servers: Vec<(&str, &str)> = http.iter().map(|edge| (edge.client.as_str(), edge.server.as_str())).collect();
    assert!(
        servers.iter().all(|edge| [("oracle-client", "nginx"), ("oracle-client", "oracle-server")].contains(edge)),
        "{servers:?}"
    );

    let mut merged = Histogram::default();
    http.iter().for_each(|edge| merged.merge(&edge.duration_ns).unwrap());
    let mut latencies: Vec<u64> = outcomes.iter().map(|outcome| outcome.latency_ns).collect();
    latencies.sort_unstable();
    for q in [0.5, 0.95, 0.99] {
        let rank = ((q * latencies.len() as f64).ceil() as usize).max(1);
        let (client_us, seen_us) = (latencies[rank - 1] as f64 / 1e3, merged.quantile(q) / 1e3);
        println!("p{}: client {client_us:.1} us, edges {seen_us:.1} us", q * 100.0);
        assert!((client_us - seen_us).abs() <= (client_us * 0.02).max(50.0), "p{}", q * 100.0);
    }
}
