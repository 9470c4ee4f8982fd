//! Ten thousand requests, each with a path of its own, over connections of every kind: each is seen once from each side, with
//! the right method, status and sizes, and the edges add up to them.
//!
//! The kernel leaves a probe's run out, and counts it, if it comes while the same program runs on the same processor. Such a run is
//! one call of one socket, so it may cut one side of one connection; so many cuts are allowed, and no more, and each sum is
//! expected without exactly what they cost.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};

use headwater_process::Port;
use headwater_schemas::Histogram;
use headwater_schemas::records::{Edge, Side, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, stop, wait_for, wait_for_port, wait_for_window};
use headwater_system_tests::topics::{self, SeenRequest};

/// Of each server; the variable EXACT_REQUESTS asks for fewer, where the machine is emulated.
const EACH: u64 = 5_000;
const EARLY: u64 = 50;

#[test]
fn ten_thousand_requests_are_seen_exactly() {
    let each = std::env::var("EXACT_REQUESTS").map_or(EACH, |text| text.parse().unwrap());
    let lab = Lab::start().unwrap();
    let nginx_port = Port::free().unwrap();
    let nginx_address = nginx_port.address();
    let _nginx = lab.nginx(&[nginx_address.to_string()], None).unwrap();
    wait_for_port(nginx_address).unwrap();
    let (_hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let load = |address, server, label, seed| Load {
        address,
        server,
        label,
        seed,
        requests: each,
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
    let mut agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    // The window in which the agent started is not covered whole, and says so.
    wait_for_window(10_000_000).unwrap();
    clients.iter_mut().for_each(|client| client.go().unwrap());
    let outcomes: Vec<Outcome> = clients.into_iter().flat_map(|client| client.finish().unwrap()).collect();
    assert_eq!(outcomes.len() as u64, 2 * each);

    // The edges of the load's last window come behind all of its records.
    let in_edges = || topics::edges(&lab.settings).unwrap_or_default().iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all requests in the edges", || Ok(in_edges() >= 2 * each as i64));
    stop(&mut agent).unwrap();
    let last = || topics::agents(&lab.settings).unwrap().pop().unwrap();
    wait_for("the last heartbeat", || Ok(last().is_final)).unwrap();
    let dropped = last().dropped;
    println!("agent: by {}, {dropped:?}", last().capture_path);
    // Where a kernel is known to take a hook, its absence is a failure.
    if let Ok(hook) = std::env::var("EXACT_HOOK") {
        assert_eq!(last().capture_path, hook);
    }
    let missed_runs = dropped.get("requests/probe_run_missed").copied().unwrap_or(0);
    let requests = topics::requests(&lab.settings).unwrap();
    let found = check_requests(&outcomes, &requests, missed_runs as usize);
    if missed_runs == 0 {
        all_came.unwrap_or_else(|error| panic!("{error}: {} of {} came", in_edges(), 2 * each));
    }
    let closed = topics::closed(&lab.settings, Topic::Edges).unwrap();
    check_edges(&topics::edges(&lab.settings).unwrap(), &closed, &outcomes, &found, missed_runs);
}

/// The records of each request, the client's before the server's.
type Found<'a> = Vec<[Option<&'a SeenRequest>; 2]>;

/// Counts right, missing, wrong and doubled apart, for each side.
fn check_requests<'a>(outcomes: &[Outcome], seen: &'a [SeenRequest], missed_runs: usize) -> Found<'a> {
    let mut by_name: HashMap<(&str, Side), Vec<&SeenRequest>> = HashMap::new();
    for request in seen {
        by_name.entry((&request.path, request.side)).or_default().push(request);
    }
    let one = |outcome: &Outcome, side| by_name.get(&(outcome.path.as_str(), side)).map(|records| records[0]);
    let found: Found<'_> =
        outcomes.iter().map(|outcome| [Side::Client, Side::Server].map(|side| one(outcome, side))).collect();
    // Sides of connections of which something is missing. The other side's record tells the connection.
    let mut cuts = BTreeSet::new();
    for (index, side) in [Side::Client, Side::Server].into_iter().enumerate() {
        let (mut right, mut missing, mut wrong, mut doubled) = (0, Vec::new(), Vec::new(), 0);
        for (outcome, records) in outcomes.iter().zip(&found) {
            match records[index] {
                None => {
                    let connection = records[1 - index].map_or(&outcome.path, |other| &other.connection_id);
                    cuts.insert((side, connection));
                    missing.push(outcome);
                }
                Some(_) if by_name[&(outcome.path.as_str(), side)].len() > 1 => doubled += 1,
                Some(one) if is_right(outcome, one) => right += 1,
                Some(one) => wrong.push((outcome, one)),
            }
        }
        println!("{side:?}: {right} right, {} missing, {} wrong, {doubled} doubled", missing.len(), wrong.len());
        missing.iter().take(5).for_each(|outcome| println!("  missing {outcome:?}"));
        wrong.iter().take(5).for_each(|(outcome, seen)| println!("  wrong {outcome:?}\n    seen {seen:?}"));
        assert_eq!((right + missing.len(), wrong.len(), doubled), (outcomes.len(), 0, 0), "{side:?}");
    }
    assert!(cuts.len() <= missed_runs, "{missed_runs} runs were missed, which do not explain {cuts:?}");
    assert_eq!(seen.len(), found.iter().flatten().flatten().count(), "records of no request of the plan");
    for (outcome, records) in outcomes.iter().zip(&found) {
        if let [Some(client), Some(server)] = records {
            assert_eq!(
                (&client.connection_id, client.position),
                (&server.connection_id, server.position),
                "both sides name {} alike",
                outcome.path
            );
        }
    }
    found
}

fn is_right(outcome: &Outcome, seen: &SeenRequest) -> bool {
    seen.method == outcome.method
        && seen.status == i32::from(outcome.status)
        && seen.request_bytes == outcome.request_bytes as i64
        && seen.response_bytes == outcome.response_bytes as i64
        && seen.failure.is_none()
        // What the kernel saw of a client's request lies between the client's own two looks at the clock.
        && (seen.side == Side::Server || seen.duration_ns as u64 <= outcome.latency_ns)
}

fn check_edges(edges: &[Edge], closed: &[WindowClosed], outcomes: &[Outcome], found: &Found<'_>, missed_runs: i64) {
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
    let sum = |value: fn(&Edge) -> i64| http.iter().map(|edge| value(edge)).sum::<i64>();
    let count = |holds: &dyn Fn(&Outcome, &[Option<&SeenRequest>; 2]) -> bool| {
        outcomes.iter().zip(found).filter(|(outcome, records)| holds(outcome, records)).count() as i64
    };
    assert_eq!(sum(|edge| edge.requests), count(&|_, records| records.iter().any(Option::is_some)));
    let both_sides = count(&|_, records| records.iter().all(Option::is_some));
    assert_eq!(sum(|edge| edge.both_sides), both_sides);
    let is_error = |outcome: &Outcome| outcome.status >= 500;
    let errors = count(&|outcome, records| is_error(outcome) && records.iter().any(Option::is_some));
    assert_eq!(sum(|edge| edge.errors), errors);
    let says = |edge: &Edge| closed.iter().find(|marker| marker.window_start_us == edge.window_start_us);
    let is_explained = |edge: &Edge| says(edge).is_some_and(|marker| is_explained(marker, missed_runs));
    let unexplained = http.iter().find(|edge| edge.completeness != 1.0 && !is_explained(edge));
    assert_eq!(unexplained, None, "a window that was covered is not called complete");
    let servers: Vec<(&str, &str)> =
        http.iter().map(|edge| (edge.client.name.as_str(), edge.server.name.as_str())).collect();
    assert!(
        servers.iter().all(|edge| [("oracle-client", "nginx"), ("oracle-client", "oracle-server")].contains(edge)),
        "{servers:?}"
    );
    check_percentiles(&http, outcomes, found, outcomes.len() - both_sides as usize);
}

/// Whether runs that were missed are why the window is not complete.
fn is_explained(marker: &WindowClosed, missed_runs: i64) -> bool {
    missed_runs > 0 && marker.missing.iter().any(|missing| missing.reason == "probe_run_missed")
}

/// What the client's own instructions take between its looks at the clock and its calls; on an emulated processor much more.
fn client_us() -> f64 {
    std::env::var("EXACT_CLIENT_US").map_or(50.0, |text| text.parse().unwrap())
}

/// What the client's end may take, in microseconds. Where the client waited for a processor it may have done so between a call and its
/// look at the clock, so the least is what is left without that.
fn least_us(outcome: &Outcome) -> f64 {
    outcome.latency_ns.saturating_sub(outcome.waited_ns) as f64 / 1e3
}

/// The requests whose record is shorter than the client's own instructions and waiting explain: a processor that was taken away from
/// the whole machine, or an interrupt between the call and the clock. Few, or the capture is wrong.
fn count_short(outcomes: &[Outcome], found: &Found<'_>) -> usize {
    let is_short = |(outcome, [client, _]): &(&Outcome, &[Option<&SeenRequest>; 2])| {
        client.is_some_and(|record| record.duration_ns as f64 / 1e3 + client_us() < least_us(outcome))
    };
    let short = outcomes.iter().zip(found).filter(is_short).count();
    println!("{short} of {} took the client longer than its record by over {} us", outcomes.len(), client_us());
    // A busy machine does this to one in two hundred.
    assert!(short * 50 <= outcomes.len(), "{short} records are too short");
    short
}

/// `cut` requests lack a record of a side, so they count with the other side's time or not at all: each moves a rank by one.
fn check_percentiles(http: &[&Edge], outcomes: &[Outcome], found: &Found<'_>, cut: usize) {
    let mut merged = Histogram::default();
    http.iter().for_each(|edge| merged.merge(&edge.duration_ns).unwrap());
    let mut recorded_us: Vec<f64> = found
        .iter()
        .filter_map(|[client, server]| client.or(*server))
        .map(|one| one.duration_ns as f64 / 1e3)
        .collect();
    let mut at_least_us: Vec<f64> = outcomes.iter().map(least_us).collect();
    let mut at_most_us: Vec<f64> = outcomes.iter().map(|outcome| outcome.latency_ns as f64 / 1e3).collect();
    [&mut recorded_us, &mut at_least_us, &mut at_most_us]
        .into_iter()
        .for_each(|all| all.sort_unstable_by(f64::total_cmp));
    let short = count_short(outcomes, found);
    for q in [0.5, 0.95, 0.99] {
        let rank = |of: usize| ((q * of as f64).ceil() as usize).max(1) - 1;
        let seen_us = merged.quantile(q) / 1e3;
        // The histogram promises an error of at most 1.1 percent.
        let record_us = recorded_us[rank(recorded_us.len())];
        assert!((seen_us / record_us - 1.0).abs() < 0.011, "p{}: {seen_us} us, records {record_us} us", q * 100.0);
        let at = rank(outcomes.len());
        let low_us = at_least_us[at.saturating_sub(cut + short)];
        let high_us = at_most_us[(at + cut).min(outcomes.len() - 1)];
        println!("p{}: client {low_us:.1} to {high_us:.1} us, edges {seen_us:.1} us", q * 100.0);
        let allowed_us = |us: f64| (us * 0.02).max(client_us());
        let range = low_us - allowed_us(low_us)..=high_us + allowed_us(high_us);
        assert!(range.contains(&seen_us), "p{}", q * 100.0);
    }
}
