//! A real driver asks a real FerretDB, which speaks MongoDB's protocol: each command is told of by both sides, exactly and once, whenever the agent comes.
#![allow(clippy::unwrap_used)]

use headwater_system_tests::lab::Lab;
use headwater_system_tests::rounds::{Client, Others, hold_among};
use headwater_testing::servers;

const COMMANDS: usize = 800;

#[test]
fn commands_of_a_driver_are_seen_exactly_whenever_the_agent_comes() {
    let lab = Lab::start().unwrap();
    let server = servers::ferretdb(Some(lab.cgroup.path())).unwrap();
    let port = server.port().number();
    let clients = vec![Client::python(&lab, "pymongo", include_str!("../../clients/pymongo.py"), port, &[]).unwrap()];
    // The driver watches the server by connections of its own.
    hold_among(&lab, "mongodb", clients, COMMANDS, Others::Some).unwrap();
}
