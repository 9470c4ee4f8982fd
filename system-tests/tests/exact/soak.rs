//! Some hundred connections a second, each open for a moment after its last answer: every exchange is told by both of its sides, also where
//! the kernel left out a run of a probe, and where the end of a connection comes late.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_process::Port;
use headwater_system_tests::lab::{Lab, Load, wait_for, wait_for_port};
use headwater_system_tests::topics::{self, SeenRequest};

const SOAK: Duration = Duration::from_secs(90);
const THREADS: u64 = 40;
const PAUSE_US: u64 = 200_000;
/// More than are sent.
const ENOUGH: u64 = 2_000_000;

#[test]
fn every_exchange_of_many_short_connections_is_told_by_both_sides() {
    let lab = Lab::start_own().unwrap();
    let port = Port::free().unwrap();
    let _nginx = lab.nginx(&[port.address().to_string()], None).unwrap();
    wait_for_port(port.address()).unwrap();
    let (_hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let client = |address, server, label, seed| {
        let load = Load {
            address,
            server,
            label,
            seed,
            requests: ENOUGH,
            early: 0,
            threads: THREADS,
            pause_us: PAUSE_US,
            netns: None,
        };
        lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap()
    };
    let mut clients = [client(port.address(), "nginx", "n", 1), client(hyper_address, "hyper", "h", 2)];
    let _agent = lab.agent().unwrap();
    clients.iter_mut().for_each(|client| client.go().unwrap());
    std::thread::sleep(SOAK);
    clients.iter_mut().for_each(|client| client.stop().unwrap());
    let sent = clients.into_iter().map(|client| client.finish().unwrap().len()).sum::<usize>();

    let mut seen = Vec::new();
    let all = wait_for("both sides of all", || {
        seen = topics::requests(&lab.settings)?;
        Ok(seen.len() >= 2 * sent)
    });
    let agent = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{sent} exchanges, {} records; {:?}, {:?}", seen.len(), agent.captured, agent.dropped);
    let mut sides: BTreeMap<(&str, i64), Vec<&SeenRequest>> = BTreeMap::new();
    for request in &seen {
        sides.entry((&request.connection_id, request.position)).or_default().push(request);
    }
    let lonely: Vec<_> = sides.values().filter(|both| both.len() != 2 || both[0].side == both[1].side).collect();
    assert!(lonely.is_empty(), "{} of {sent} are not told by two sides: {lonely:?}", lonely.len());
    assert_eq!(sides.len(), sent);
    all.unwrap();
}
