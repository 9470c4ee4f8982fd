//! Odd conversations on their whole way: what the edges say of connections that few calls tell of.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use headwater_process::Launch;
use headwater_schemas::records::Edge;
use headwater_system_tests::lab::{Lab, wait_for, wait_for_window};
use headwater_system_tests::topics;

/// Plays a conversation under an agent and all processors, and returns its edges once they hold what `is_all` asks for.
fn edges_of(conversation: &str, is_all: impl Fn(&[Edge]) -> bool) -> Vec<Edge> {
    let lab = Lab::start().unwrap();
    let _agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-odd"));
    command.arg(conversation);
    let launch = Launch::new("oracle-odd", command, lab.folder.path().join("oracle-odd.log"));
    let mut odd = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(odd.first_line().unwrap(), "ready");
    // The window in which the agent started is not covered whole.
    wait_for_window(10_000_000).unwrap();
    odd.take_stdin().unwrap().write_all(b"go\n").unwrap();
    odd.await_success(Duration::from_secs(30)).unwrap();
    let mut edges = Vec::new();
    let came = wait_for("the edges", || {
        edges = topics::edges(&lab.settings).unwrap_or_default();
        // The window in which the agent started says with an edge of nobody that it is not covered whole.
        edges.retain(|edge| edge.protocol != "unknown");
        Ok(is_all(&edges))
    });
    for edge in &edges {
        println!(
            "{} > {} {}: {} failed, {} bytes to the client, complete {}",
            edge.client,
            edge.server,
            edge.protocol,
            edge.connections_failed,
            edge.server_to_client_bytes,
            edge.completeness
        );
    }
    came.unwrap();
    assert!(edges.iter().all(|edge| edge.client.name == "oracle-odd" && edge.server.name == "oracle-odd"));
    edges
}

#[test]
fn connections_that_are_reset_at_once_make_an_edge_of_failures() {
    let failed = |edges: &[Edge]| edges.iter().map(|edge| edge.connections_failed).sum::<i64>();
    let edges = edges_of("reset-at-once", |edges| failed(edges) >= 100);
    assert_eq!(failed(&edges), 100);
    assert_eq!(edges.iter().map(|edge| edge.connections_opened).sum::<i64>(), 100);
}

/// The relay itself sees no request of its two connections.
#[test]
fn what_one_side_splices_is_on_the_edge_that_the_other_side_knows() {
    let bytes = |edges: &[Edge]| edges.iter().map(|edge| edge.server_to_client_bytes).sum::<i64>();
    let edges = edges_of("relay", |edges| bytes(edges) >= 2 * 20 * 1_000_000);
    assert!(edges.iter().all(|edge| edge.protocol == "http"), "a connection of two protocols");
    assert_eq!(edges.iter().map(|edge| edge.requests).sum::<i64>(), 2 * 20);
}
