//! What the probes add up on hot connections is what was asked over them: by status, in bytes, in time, on both sides, with whatever else
//! goes over other connections.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_process::Port;
use headwater_schemas::records::{Edge, Side};
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;

/// Over hot connections; the others come on top.
const ENOUGH: i64 = 10_000;
const CONNECTIONS: u64 = 4;
const OTHERS: u64 = 1_000;

/// Exchanges, bytes of requests and of answers.
pub type Totals = BTreeMap<i32, [i64; 3]>;

#[derive(Debug, Default)]
pub struct Seen {
    pub totals: Totals,
    /// Of the exchanges, those that were added up.
    pub summed: i64,
    /// The same by operation, and in how many records.
    pub summed_of: BTreeMap<String, [i64; 2]>,
    pub duration_ns: i64,
    /// Ranges of positions, of each connection by operation and status.
    sums: BTreeMap<(String, String, i32), Vec<(i64, i64)>>,
    singles: BTreeMap<(String, i64), u64>,
}

impl Seen {
    /// Ranges that overlap, and exchanges with more than one record.
    pub fn doubled(&mut self) -> usize {
        let ranges = self.sums.values_mut().map(|ranges| {
            ranges.sort_unstable();
            ranges.windows(2).filter(|pair| pair[1].0 <= pair[0].1).count()
        });
        ranges.sum::<usize>() + self.singles.values().filter(|count| **count > 1).count()
    }
}

pub fn seen(lab: &Lab) -> [Seen; 2] {
    let mut sides = [Seen::default(), Seen::default()];
    topics::each_request(&lab.settings, |request| {
        let seen = &mut sides[usize::from(request.side == Side::Server)];
        let sums = request.sums.as_deref();
        let totals = seen.totals.entry(request.status).or_default();
        totals[0] += request.weight;
        totals[1] += sums.map_or(request.request_bytes, |sums| sums.request_bytes);
        totals[2] += sums.map_or(request.response_bytes, |sums| sums.response_bytes);
        seen.duration_ns += sums.map_or(request.duration_ns, |sums| sums.duration_ns.sum());
        let connection = request.connection_id.to_owned();
        let Some(sums) = sums else {
            *seen.singles.entry((connection, request.request_position)).or_default() += 1;
            return;
        };
        seen.summed += request.weight;
        let [exchanges, records] = seen.summed_of.entry(request.operation.to_owned()).or_default();
        (*exchanges, *records) = (*exchanges + request.weight, *records + 1);
        assert_eq!(sums.duration_ns.count(), request.weight as u64, "{request:?}");
        let name = (connection, request.operation.to_owned(), request.status);
        seen.sums.entry(name).or_default().push((sums.from_position, request.request_position));
    })
    .unwrap();
    sides
}

pub fn totals(outcomes: &[Outcome]) -> Totals {
    let mut totals = Totals::new();
    for outcome in outcomes {
        let totals = totals.entry(i32::from(outcome.status)).or_default();
        totals[0] += 1;
        totals[1] += outcome.request_bytes as i64;
        totals[2] += outcome.response_bytes as i64;
    }
    totals
}

#[test]
fn what_is_added_up_is_what_was_asked() {
    let lab = Lab::start().unwrap();
    let port = Port::free().unwrap();
    let _nginx = lab.nginx(&[port.address().to_string()], None).unwrap();
    wait_for_port(port.address()).unwrap();
    let (_hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let mut agent = lab.agent_of_users_with(&["--capture-ends", "both"]).unwrap();
    let _processors = lab.processor("all").unwrap();

    let steady = env!("CARGO_BIN_EXE_oracle-steady");
    let mut hot = [
        lab.steady(steady, port.address(), "nginx", CONNECTIONS).unwrap(),
        lab.steady(steady, hyper_address, "hyper", CONNECTIONS).unwrap(),
    ];
    let load = Load {
        address: hyper_address,
        server: "hyper",
        label: "others",
        seed: 3,
        requests: OTHERS,
        early: 0,
        threads: 4,
        pause_us: 0,
        netns: None,
    };
    let mut others = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
    others.go().unwrap();
    let mut outcomes = others.finish().unwrap();
    wait_for("enough that is added up on both sides", || Ok(seen(&lab).iter().all(|side| side.summed >= ENOUGH)))
        .unwrap();
    hot.iter_mut().for_each(|client| client.stop().unwrap());
    hot.into_iter().for_each(|client| outcomes.extend(client.finish().unwrap()));
    let in_edges = || topics::edges(&lab.settings).unwrap_or_default();
    let sent = outcomes.len() as i64;
    let requests = |edges: &[Edge]| edges.iter().map(|edge| edge.requests).sum::<i64>();
    let all_came = wait_for("all exchanges in the edges", || Ok(requests(&in_edges()) >= sent));
    let edges = in_edges();
    println!("{sent} sent; {} in {} edges", requests(&edges), edges.len());
    all_came.unwrap();
    stop(&mut agent).unwrap();

    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    let asked = totals(&outcomes);
    let latency_ns: u64 = outcomes.iter().map(|outcome| outcome.latency_ns).sum();
    println!("asked {asked:?}, {latency_ns} ns; {:?} {:?}", last.dropped, last.counters);
    for (side, seen) in [Side::Client, Side::Server].into_iter().zip(&mut seen(&lab)) {
        println!("{side:?}: {:?}, {} of them added up, {} ns", seen.totals, seen.summed, seen.duration_ns);
        assert_eq!(seen.totals, asked, "{side:?}");
        assert_eq!(seen.doubled(), 0, "{side:?}");
        // The probes see the calls, the client the time before and after them as well, and the server less of it.
        assert!(seen.duration_ns > 0 && seen.duration_ns as u64 <= latency_ns, "{side:?}");
    }
    // The client's side counts, and both were seen of all but what was under way at the end of a window.
    assert_eq!(requests(&edges), sent);
    let sum = |of: fn(&Edge) -> i64| edges.iter().map(of).sum::<i64>();
    let bytes = asked.values().fold([0, 0], |sum, [_, asked, answered]| [sum[0] + asked, sum[1] + answered]);
    assert_eq!([sum(|edge| edge.request_bytes), sum(|edge| edge.response_bytes)], bytes);
    let one_sided = sent - sum(|edge| edge.both_sides);
    assert!((0..=2 * edges.len() as i64 * CONNECTIONS as i64).contains(&one_sided), "{one_sided} one-sided");
}
