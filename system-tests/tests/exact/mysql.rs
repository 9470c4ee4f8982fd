//! Two real drivers ask a real MariaDB, one of which prepares its statements at the server: each command is told of by both sides, exactly and
//! once, whenever the agent comes.
#![allow(clippy::unwrap_used)]

use headwater_system_tests::lab::Lab;
use headwater_system_tests::rounds::{Client, hold};
use headwater_testing::servers;

const COMMANDS: usize = 1_000;

#[test]
fn commands_of_two_drivers_are_seen_exactly_whenever_the_agent_comes() {
    let lab = Lab::start().unwrap();
    let server = servers::mariadb(Some(lab.cgroup.path())).unwrap();
    let port = server.port().number();
    let clients = vec![
        Client::python(&lab, "pymysql", include_str!("../../clients/pymysql.py"), port, &[]).unwrap(),
        Client::perl(&lab, "mariadb", include_str!("../../clients/mariadb.pl"), port).unwrap(),
    ];
    hold(&lab, "mysql", clients, COMMANDS).unwrap();
}
