//! Two real drivers ask a real Memcached, one in text and one in binary with quiet commands in pipelines: each command is told of by both sides,
//! exactly and once, whenever the agent comes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use headwater_schemas::records::{Kind, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::rounds::{Client, hold};
use headwater_system_tests::topics;
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

/// A client that wants no answer to most that it asks.
const QUIET: &str = r#"
import os, sys, time
from pymemcache.client.base import Client
client = Client(("127.0.0.1", int(sys.argv[1])))
for number in range(100): client.get("before")
while not os.path.exists(f"{sys.argv[3]}/go"): time.sleep(0.02)
for number in range(int(sys.argv[2])): client.set(f"key-{number}", b"secret" * 30, noreply=True)
client.get("after")
print("asked")
"#;

/// It goes on for longer than what is copied of what one side says before the other does.
#[test]
fn commands_that_nobody_answers_are_seen_exactly_however_many_there_are() {
    const QUIET_COMMANDS: usize = 4_000;
    let lab = Lab::start().unwrap();
    let server = servers::memcached(Some(lab.cgroup.path())).unwrap();
    let mut agent = lab.agent().unwrap();
    let script = lab.folder.path().join("quiet.py");
    fs::write(&script, QUIET).unwrap();
    let folder = lab.folder.path();
    let numbers = [server.port().number().into(), QUIET_COMMANDS].map(|number: usize| number.to_string());
    let arguments = [&script.display().to_string(), &numbers[0], &numbers[1], &folder.display().to_string()];
    std::thread::scope(|scope| {
        let client = scope.spawn(|| lab.run("/usr/bin/python3", &arguments.map(String::as_str)).unwrap());
        // From the first answers on it is known what is spoken; what comes before that is known has a bound.
        let is_known =
            || Ok(client.is_finished() || topics::requests(&lab.settings).is_ok_and(|seen| seen.len() >= 200));
        wait_for("what is spoken to be known", is_known).unwrap();
        fs::write(folder.join("go"), "").unwrap();
        client.join().unwrap();
    });
    stop(&mut agent).unwrap();
    let mut told = BTreeMap::new();
    topics::each_request(&lab.settings, |request| {
        *told.entry((request.side, request.operation.to_owned(), request.kind)).or_insert(0) += request.weight;
    })
    .unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("dropped {:?}, told {told:?}", last.dropped);
    for side in [Side::Client, Side::Server] {
        let of = |operation: &str, kind| told.get(&(side, operation.to_owned(), kind)).copied().unwrap_or_default();
        assert_eq!((of("GET", Kind::Call), of("SET", Kind::OneWay)), (101, QUIET_COMMANDS as i64));
    }
    assert!(last.dropped.is_empty(), "{:?}", last.dropped);
}
