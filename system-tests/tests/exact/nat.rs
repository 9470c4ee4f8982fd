//! Behind a router that translates both addresses, the two sides of a connection still carry one id and opposite roles, whether it
//! was opened before the agent started or after, in IPv4 and in IPv6.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use headwater_schemas::records::Side;
use headwater_system_tests::client::Outcome;
use headwater_system_tests::lab::{Lab, Load, PATIENCE, wait_for};
use headwater_system_tests::nat::{Addresses, Nat, VIRTUAL_PORT};
use headwater_system_tests::topics::{self, SeenRequest};

const SERVER_PORT: u16 = 8080;
const EACH: u64 = 200;
const EARLY: u64 = 10;

#[test]
fn both_sides_of_a_translated_connection_carry_one_id_and_opposite_roles() {
    let lab = Lab::start().unwrap();
    let nat = Nat::make(SERVER_PORT).unwrap();
    let listen = nat.families.map(|addresses| SocketAddr::new(addresses.server, SERVER_PORT).to_string());
    let _nginx = lab.nginx(&listen, Some(&nat.server)).unwrap();
    let program = env!("CARGO_BIN_EXE_oracle-client");
    let start = |(label, addresses): (&'static str, Addresses)| {
        let load = Load {
            address: SocketAddr::new(addresses.virtual_server, VIRTUAL_PORT),
            server: "nginx",
            label,
            seed: 7,
            requests: EACH,
            early: EARLY,
            threads: 2,
            pause_us: 0,
            netns: Some(nat.client.clone()),
        };
        // nginx needs a moment to listen, and is not reachable from here to ask.
        let mut client = lab.client(program, &load);
        let deadline = std::time::Instant::now() + PATIENCE;
        while client.is_err() && std::time::Instant::now() < deadline {
            client = lab.client(program, &load);
        }
        (label, addresses, client.unwrap())
    };
    let mut clients: Vec<_> = ["v4", "v6"].into_iter().zip(nat.families).map(start).collect();
    let _agent = lab.agent().unwrap();
    clients.iter_mut().for_each(|(_, _, client)| client.go().unwrap());
    let mut expected = Vec::new();
    for (label, addresses, client) in clients {
        let outcomes = client.finish().unwrap();
        assert_eq!(outcomes.len() as u64, EACH, "{label}");
        expected.push((label, addresses, outcomes));
    }
    let mut seen = Vec::new();
    wait_for("both sides of all requests", || {
        seen = topics::requests(&lab.settings)?;
        Ok(seen.len() as u64 >= 2 * 2 * EACH)
    })
    .unwrap();
    for (label, addresses, outcomes) in &expected {
        check(label, addresses, outcomes, &seen);
    }
    assert_eq!(seen.len() as u64, 2 * 2 * EACH, "doubled, or of something else");

    // The edge names who answered, and beside it what was asked for.
    let _processors = ["join", "service-map"].map(|mode| lab.processor(mode).unwrap());
    let asked =
        expected.iter().map(|(_, addresses, _)| SocketAddr::new(addresses.virtual_server, VIRTUAL_PORT).to_string());
    let asked: BTreeSet<String> = asked.collect();
    let mut edges = Vec::new();
    let says = || {
        // The topic comes with the first processor.
        edges = topics::edges(&lab.settings).unwrap_or_default();
        let of_server = edges.iter().filter(|edge| edge.server.name == "nginx" && edge.both_sides > 0);
        Ok(of_server.flat_map(|edge| edge.asked.iter().cloned()).collect::<BTreeSet<_>>() == asked)
    };
    if let Err(error) = wait_for("an edge that says what was asked for", says) {
        panic!("{error}: {asked:?} in {edges:#?}");
    }
}

fn check(label: &str, addresses: &Addresses, outcomes: &[Outcome], seen: &[SeenRequest]) {
    let mut by_path: HashMap<&str, Vec<&SeenRequest>> = HashMap::new();
    seen.iter().for_each(|request| by_path.entry(&request.path).or_default().push(request));
    let (mut missing, mut doubled, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let (mut connections, mut pipelined_or_kept) = (BTreeSet::new(), 0);
    for outcome in outcomes {
        let sides = by_path.get(outcome.path.as_str()).map(Vec::as_slice).unwrap_or_default();
        let of = |side| sides.iter().copied().find(|one| one.side == side);
        let (Some(client), Some(server)) = (of(Side::Client), of(Side::Server)) else {
            missing.push(&outcome.path);
            continue;
        };
        if sides.len() > 2 {
            doubled.push(&outcome.path);
        }
        let translated = client.remote == format!("{} {VIRTUAL_PORT}", addresses.virtual_server)
            && client.local.starts_with(&format!("{} ", addresses.client))
            && server.local == format!("{} {SERVER_PORT}", addresses.server)
            && server.remote.starts_with(&format!("{} ", addresses.translated_client));
        let same = client.connection_id == server.connection_id && client.position == server.position;
        if !translated || !same || client.status != i32::from(outcome.status) {
            wrong.push((client, server));
        }
        pipelined_or_kept += usize::from(!connections.insert(client.connection_id.clone()));
    }
    println!(
        "{label}: {} requests on {} connections, {} missing, {} wrong, {} doubled",
        outcomes.len(),
        connections.len(),
        missing.len(),
        wrong.len(),
        doubled.len()
    );
    assert!(missing.is_empty() && doubled.is_empty(), "missing {missing:?}, doubled {doubled:?}");
    assert!(wrong.is_empty(), "not the same connection on both sides, or not translated: {wrong:#?}");
    // Early connections carried more than their first request, and others were opened later.
    assert!(connections.len() as u64 > EARLY && pipelined_or_kept > 0, "{} connections", connections.len());
}
