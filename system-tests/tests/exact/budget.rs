//! Many connections of a middling rate cost more than the agent may take: it adds up what it told of one by one, also what the probes cannot add
//! up. What was asked still counts exactly, on both sides and in the edges, and the detail comes back when nobody asks any more.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use headwater_process::Port;
use headwater_schemas::records::{Agent, Edge, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port, wait_up_to};
use headwater_system_tests::topics;

use crate::sums::{seen, totals};

/// Fewer exchanges a second on each than make a connection hot in full detail.
const CONNECTIONS: u64 = 300;
const PER_SECOND: u64 = 10;

/// Exchanges that the agent is to add up, of both sides.
const ENOUGH: i64 = 20_000;

/// Room for half a minute, and for another try behind one that came too early.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(150);

#[test]
fn detail_is_given_up_for_the_budget_and_given_back_and_counts_stay_exact() {
    let lab = Lab::start().unwrap();
    let port = Port::free().unwrap();
    let _nginx = lab.nginx(&[port.address().to_string()], None).unwrap();
    wait_for_port(port.address()).unwrap();
    let mut agent = lab.agent_of_users_with(&["--capture-cpu-budget", "1"]).unwrap();
    let _processors = lab.processor("all").unwrap();
    let last = || topics::agents(&lab.settings).unwrap().pop().unwrap();
    let hot = |agent: &Agent| agent.counters["sums_hot_per_second"];

    let even = env!("CARGO_BIN_EXE_oracle-even");
    let mut client = lab.even(even, port.address(), CONNECTIONS, PER_SECOND).unwrap();
    assert_eq!(hot(&last()), 32);
    wait_for("exchanges that the agent adds up", || Ok(last().counters["sums_added_by_agent"] >= ENOUGH)).unwrap();
    client.stop().unwrap();
    let outcomes = client.finish().unwrap();
    let sent = outcomes.len() as i64;
    let requests = |edges: &[Edge]| edges.iter().map(|edge| edge.requests).sum::<i64>();
    let edges = || topics::edges(&lab.settings).unwrap_or_default();
    let all_came = wait_for("all exchanges in the edges", || Ok(requests(&edges()) >= sent));
    println!("{sent} sent, {} in the edges, {:?}", requests(&edges()), last().counters);
    all_came.unwrap();
    let least = hot(&last());
    assert!(least <= 8, "{least}");
    wait_up_to(GIVEN_BACK_WITHIN, "detail that is given back", || Ok(hot(&last()) > least)).unwrap();
    stop(&mut agent).unwrap();

    let asked = totals(&outcomes);
    let last = last();
    // The probes have measured some of their runs, and none of what they did not do.
    for program in ["probe_send_us", "probe_receive_us", "probe_state_us"] {
        assert!(last.counters[program] > 0, "{program}: {:?}", last.counters);
    }
    println!("asked {asked:?}; {:?} {:?}", last.dropped, last.counters);
    for (side, seen) in [Side::Client, Side::Server].into_iter().zip(&mut seen(&lab)) {
        println!("{side:?}: {:?}, {} of them added up: {:?}", seen.totals, seen.summed, seen.summed_of);
        assert_eq!(seen.totals, asked, "{side:?}");
        assert_eq!(seen.doubled(), 0, "{side:?}");
        for operation in ["GET /ok/same", "GET /ok/pair", "GET /ok/other/{id}"] {
            let [exchanges, records] = seen.summed_of[operation];
            assert!(exchanges > 2 * records && exchanges > 1000, "{side:?} {operation}: {:?}", seen.summed_of);
        }
    }
    assert_eq!(requests(&edges()), sent);
}
