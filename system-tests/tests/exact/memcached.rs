//! Two real drivers ask a real Memcached, one in text and one in binary with quiet commands in pipelines: each command is told of by both sides,
//! exactly and once, whenever the agent comes.
#![allow(clippy::unwrap_used)]

use headwater_system_tests::lab::Lab;
use headwater_system_tests::rounds::{Client, hold};
use headwater_testing::servers;

const COMMANDS: usize = 1_200;

#[test]
fn commands_of_two_drivers_are_seen_exactly_whenever_the_agent_comes() {
    let lab = Lab::start().unwrap();
    let server = servers::memcached(Some(lab.cgroup.path())).unwrap();
    let port = server.port().number();
    let clients = vec![
        Client::python(&lab, "pymemcache", include_str!("../../clients/pymemcache.py"), port, &[]).unwrap(),
        Client::python(&lab, "bmemcached", include_str!("../../clients/bmemcached.py"), port, &[]).unwrap(),
    ];
    hold(&lab, "memcached", clients, COMMANDS).unwrap();
}
