//! Protocols whose first letters are HTTP's: they are told as what they are, and their bytes are not copied once that is clear.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use headwater_process::Launch;
use headwater_schemas::records::{Flow, Side};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop};
use headwater_system_tests::topics;

/// Bytes that go each way on each connection, of which the probes may see some before the agent has decided.
const ROUNDS: usize = 400;

#[test]
fn flow_not_http() {
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let said: usize = lab.run(env!("CARGO_BIN_EXE_oracle-foreign"), &[&ROUNDS.to_string()]).unwrap().parse().unwrap();
    stop(&mut agent).unwrap();

    assert_eq!(topics::requests(&lab.settings).unwrap(), []);
    let (mut sent_bytes, mut connections) = (0, std::collections::BTreeSet::new());
    let mut known = std::collections::BTreeSet::new();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        match flow.protocol {
            // One of them has a parser.
            "nats" => _ = known.insert(flow.connection_id.to_owned()),
            protocol => assert_eq!(protocol, "tcp", "{flow:?}"),
        }
        sent_bytes += flow.sent_bytes as usize;
        connections.insert(flow.connection_id.to_owned());
        Ok(())
    })
    .unwrap();
    assert_eq!((connections.len(), sent_bytes), (5, said));
    assert_eq!(known.len(), 1);
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    // Nothing was asked, so nothing is missing, but for what the one that is known says instead of its protocol.
    let is_known =
        |reason: &String| ["requests/malformed_request", "requests/malformed_response"].contains(&reason.as_str());
    assert!(last.dropped.keys().all(is_known), "{:?}", last.dropped);
    // Each byte is sent and read.
    let copied = last.counters["probe_copied_bytes"] as usize;
    println!("{copied} bytes copied of {} moved", 2 * said);
    assert!(copied < said / 2, "{copied} of {} bytes were copied", 2 * said);
}

/// Calls are not looked at any more, and positions have 32 bits in the kernel: the bytes are exact all the same.
#[test]
fn bytes_are_exact_where_nothing_but_counters_is_wanted() {
    const MIB: usize = 4608;
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let said = lab.run(env!("CARGO_BIN_EXE_oracle-foreign"), &["bulk", &MIB.to_string()]).unwrap();
    let said: i64 = said.trim().parse().unwrap();
    stop(&mut agent).unwrap();
    let mut bytes = std::collections::BTreeMap::new();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        let sums: &mut (i64, i64) = bytes.entry(format!("{:?}", flow.side)).or_default();
        *sums = (sums.0 + flow.sent_bytes, sums.1 + flow.received_bytes);
        Ok(())
    })
    .unwrap();
    let ((client_sent, client_received), (server_sent, server_received)) = (bytes["Client"], bytes["Server"]);
    assert_eq!((client_sent, client_received), (server_received, server_sent));
    assert_eq!(client_sent + client_received, said);
    assert!(client_sent > i64::from(u32::MAX));
}

/// What it speaks shows only after all that is looked at of a connection of which nothing is known.
#[test]
fn a_connection_is_looked_at_again_after_a_while() {
    const CALLS: usize = 100;
    let lab = Lab::start().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-foreign"));
    command.args(["late", &CALLS.to_string()]);
    let launch = Launch::new("oracle-foreign", command, lab.folder.path().join("oracle-foreign.log"));
    let mut late = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(late.first_line().unwrap(), "ready");
    let mut agent = lab.agent().unwrap();
    late.take_stdin().unwrap().write_all(b"go\n").unwrap();
    late.await_success(Duration::from_secs(90)).unwrap();
    stop(&mut agent).unwrap();
    let requests = topics::requests(&lab.settings).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{} requests; {}", requests.len(), topics::losses(&last));
    // Each end in both directions.
    assert_eq!(last.counters["probe_undecided"], 4);
    for side in [Side::Client, Side::Server] {
        let told: Vec<_> = requests.iter().filter(|request| request.side == side).collect();
        assert!((CALLS / 4..CALLS).contains(&told.len()), "{side:?}: {}", told.len());
        assert!(told.iter().all(|told| told.method == "Heartbeat" && told.failure.is_none()), "{told:?}");
    }
    // At least one of each end, as far as is known.
    assert!(last.dropped.values().sum::<i64>() >= 2, "{:?}", last.dropped);
}
