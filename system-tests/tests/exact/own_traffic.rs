//! The agent's own traffic is not taken for anybody's, also where the agent and Kafka are inside of what it observes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;

use headwater_schemas::records::Flow;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Heartbeats, five seconds apart: the progress of open connections is published in that time.
const HEARTBEATS: usize = 4;

#[test]
fn the_agents_own_connections_are_seen_from_neither_side() {
    // Kafka, the registry and the agent are all inside of the capture: both ends of the agent's connections are.
    let lab = Lab::start_observed().unwrap();
    let mut agent = lab.spawn_observed_agent().unwrap();
    let mut own = BTreeSet::new();
    let mut heartbeats = Vec::new();
    wait_for("heartbeats", || {
        own.extend(ports_of(agent.pid()));
        heartbeats = topics::agents(&lab.settings).unwrap_or_default();
        Ok(heartbeats.len() >= HEARTBEATS)
    })
    .unwrap();
    stop(&mut agent).unwrap();
    assert!(!own.is_empty(), "the agent's connections were not found");
    let mut others = 0;
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        let is_own = is_of(&own, flow.local_port, flow.remote_port);
        assert!(!is_own && flow.workload != "headwater-agent", "the agent's own: {flow:?}");
        others += 1;
        Ok(())
    })
    .unwrap();
    // What was captured is the broker's side of this test's own readers, so the capture did work.
    assert!(others > 0, "nothing at all was captured");
    // They speak as the agent's own producer does: with librdkafka, and of the same topics.
    let mut requests = 0;
    topics::each_request(&lab.settings, |request| {
        let is_own = is_of(&own, request.local_port, request.remote_port);
        assert!(!is_own && request.workload != "headwater-agent", "the agent's own: {request:?}");
        requests += usize::from(request.protocol == "kafka");
    })
    .unwrap();
    assert!(requests > 0, "nothing that others asked Kafka was told of");
    println!("{others} flows and {requests} requests of others, none of the agent's ports {own:?}");
}

/// Whether either end of such a connection saw these ports.
fn is_of(connections: &BTreeSet<(u16, u16)>, local: i32, remote: i32) -> bool {
    let (local, remote) = (local as u16, remote as u16);
    connections.contains(&(local, remote)) || connections.contains(&(remote, local))
}

/// Local and remote ports of the TCP sockets that a process holds open. One alone would not do: another program's connection to elsewhere may have the
/// same local port.
fn ports_of(pid: u32) -> Vec<(u16, u16)> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: BTreeSet<String> = links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = fields.filter(|fields| fields.get(9).is_some_and(|inode| sockets.contains(*inode)));
    let port = |address: &&str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    own.filter_map(|fields| Some((port(fields.get(1)?)?, port(fields.get(2)?)?))).collect()
}
