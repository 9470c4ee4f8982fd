//! A real driver asks a real Cassandra in versions 4 and 5 of its protocol: each request is told of by both sides, exactly and once, whenever the agent
//! comes.
#![allow(clippy::unwrap_used)]

use headwater_system_tests::lab::Lab;
use headwater_system_tests::rounds::{Client, Others, hold_among};
use headwater_testing::servers;

const REQUESTS: usize = 800;

#[test]
fn requests_of_a_driver_are_seen_exactly_whenever_the_agent_comes() {
    let lab = Lab::start().unwrap();
    let server = servers::cassandra(Some(lab.cgroup.path())).unwrap();
    let port = server.port().number();
    let script = include_str!("../../clients/cassandra.py");
    let client = |name, version| Client::python(&lab, name, script, port, &[version]).unwrap();
    let clients = vec![client("version4", "4"), client("version5", "5")];
    // One connection of each makes the tables.
    hold_among(&lab, "cassandra", clients, REQUESTS, Others::Some).unwrap();
}
