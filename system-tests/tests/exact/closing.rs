//! Connections that end while the agent comes to its own end are told like all others.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use headwater_process::{Launch, Port};
use headwater_schemas::records::{Flow, FlowState, Side};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;

/// As many milliseconds, which is longer than the agent takes.
const CONNECTIONS: usize = 400;

/// More than the kernel keeps in TIME_WAIT (`net.ipv4.tcp_max_tw_buckets`), so that some peers have forgotten the connection when the last FIN
/// comes, and answer it with a reset.
const PAIRS: usize = 200_000;

#[test]
fn a_reset_that_finds_both_streams_complete_is_no_failure() {
    let lab = Lab::start_own().unwrap();
    let mut agent = lab.agent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-hostile"));
    command.args(["pairs", &PAIRS.to_string()]);
    let launch = Launch::new("pairs", command, lab.folder.path().join("pairs.log"));
    let mut pairs = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(pairs.first_line().unwrap(), "ready");
    drop(pairs.take_stdin());
    assert!(pairs.join().unwrap().success(), "{}", pairs.log_text());
    stop(&mut agent).unwrap();

    let (mut closed, mut failed) = ([0, 0], 0);
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        closed[usize::from(flow.side == Side::Server)] += i64::from(flow.state == FlowState::Closed);
        failed += i64::from(flow.failure.is_some());
        Ok(())
    })
    .unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{closed:?} closed, {failed} failed, dropped {:?}", last.dropped);
    // What the agent has no processor for is counted, on a machine that is busy otherwise.
    assert!(closed.iter().all(|closed| closed * 2 > PAIRS as i64));
    assert_eq!(failed, 0);
}

#[test]
fn connections_that_end_while_the_agent_stops_are_told() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    let port = Port::free().unwrap();
    let _nginx = lab.nginx(&[port.address().to_string()], None).unwrap();
    wait_for_port(port.address()).unwrap();
    let mut agent = lab.agent().unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/closing.py"));
    command.arg(folder).args([port.number().to_string(), CONNECTIONS.to_string()]);
    let launch = Launch::new("clients", command, folder.join("clients.log"));
    let mut clients = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    wait_for("all connections", || Ok(folder.join("used").exists() || !clients.is_running())).unwrap();
    fs::write(folder.join("go"), "").unwrap();
    stop(&mut agent).unwrap();
    let ports: Vec<i64> = serde_json::from_str(&clients.first_line().unwrap()).unwrap();
    assert!(clients.join().unwrap().success(), "{}", clients.log_text());

    let mut told: BTreeMap<(i64, u8), [i64; 4]> = BTreeMap::new();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        assert_eq!(flow.protocol, "http");
        let client = if flow.side == Side::Client { flow.local_port } else { flow.remote_port };
        let sums = told.entry((client.into(), flow.side as u8)).or_default();
        let closed = i64::from(flow.state == FlowState::Closed);
        let more = [flow.opened, closed, flow.requests, i64::from(flow.sent_bytes > 0)];
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        Ok(())
    })
    .unwrap();
    let sides = ports.iter().flat_map(|client| [Side::Client, Side::Server].map(|side| (*client, side as u8)));
    let wrong: Vec<_> = sides.filter(|key| !matches!(told.get(key), Some([1, 0 | 1, 1, 1]))).collect();
    let closed = told.values().filter(|sums| sums[1] == 1).count();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{} told, {closed} of them to their end, dropped {:?}", told.len(), last.dropped);
    assert!(wrong.is_empty() && told.len() == 2 * CONNECTIONS, "{} wrong or missing: {wrong:?}", wrong.len());
    assert!(closed > 0, "the agent was gone before the first one ended");
    assert!(last.is_final && last.dropped.is_empty(), "{:?}", last.dropped);
}
