//! The agent is killed, or stopped, while Kafka is away: what it captured waits on its disk for the next agent.
#![allow(clippy::unwrap_used)]

use headwater_process::Port;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

use super::*;

const FEW: u64 = 500;

/// Both sides of them take several times the smallest queue.
const MANY: u64 = 6_000;

#[test]
fn what_is_captured_while_kafka_is_away_outlives_the_agent_and_arrives_in_its_order() {
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let metrics = port.address();
    let spool = lab.folder.path().join("spool");
    let begin = |label, seed, requests| begin(&lab, address, label, seed, requests, 0);
    let mut agent = spawn(&lab, "agent", &spool, metrics, SMALL);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let mut outcomes = begin("before", 1, FEW).finish().unwrap();
    let seen = || topics::requests(&lab.settings).map_or(0, |requests| requests.len() as u64);
    wait_for("the first requests", || Ok(seen() >= 2 * FEW && files(&spool).is_empty())).unwrap();
    // On a machine that is busy with other things, Kafka may have taken nothing for so long already.
    let log = agent.log_text();
    let was_away = log.contains("records go to the disk");
    assert!(was_away || !spool.exists(), "while Kafka takes everything, nothing goes to the disk: {log}");

    let during = begin("during", 2, MANY);
    wait_for("some more requests", || Ok(seen() > 2 * FEW)).unwrap();
    let stopped_us = stop_kafka(&lab);
    let during = during.finish().unwrap();
    let after_stop = during.iter().filter(|outcome| outcome.sent_at_us > *stopped_us.end()).count();
    println!("{after_stop} of {} exchanges came after Kafka had stopped", during.len());
    outcomes.extend(during);
    let captured = 2 * outcomes.len() as u64;
    wait_until_spooled(metrics, &spool, captured);
    assert!(agent.is_running());
    agent.kill();

    let mut agent = spawn(&lab, "agent-again", &spool, metrics, SMALL);
    wait_for("the agent to capture", || Ok(agent.log_text().contains("capturing"))).unwrap();
    assert!(agent.log_text().contains("records of an earlier run wait in the spool"), "{}", agent.log_text());
    let away = begin("away", 3, FEW).finish().unwrap();
    wait_until_spooled(metrics, &spool, 2 * away.len() as u64);
    outcomes.extend(away);

    lab.own_stack().kafka().restart().unwrap();
    wait_for("an empty spool", || Ok(value(metrics, "headwater_agent_spool_bytes") == Some(0))).unwrap();
    outcomes.extend(begin("back", 4, FEW).finish().unwrap());
    wait_until_captured(metrics, 4 * FEW);
    stop(&mut agent).unwrap();
    let left: Vec<_> = files(&spool);
    assert!(left.is_empty(), "{left:?} are left in an empty spool");

    check_each(&outcomes, &lab, &stopped_us);
    check_order(&lab, 2);
    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.observed_at_us).unwrap();
    println!("{last:?}");
    assert!(last.is_final && last.counters["spool_requests_of_earlier_runs"] > 0);
    assert!(!last.dropped.keys().any(|reason| reason.contains("spool") || reason.contains("queue")), "{last:?}");
    // What an earlier run has captured is not among this one's; a run that the kernel left out is counted as one record.
    let missed = last.dropped.get("requests/probe_run_missed").copied().unwrap_or(0);
    let captured = last.captured["requests"];
    assert!((captured - missed..=captured).contains(&(4 * FEW as i64)), "{last:?}");
    assert_eq!(last.published["requests"] + last.in_flight["requests"] + missed, captured, "{last:?}");
}

/// An agent that is told to stop while Kafka is away leaves everything to the next one, also what is on its way to Kafka.
#[test]
fn an_agent_that_stops_while_kafka_is_away_leaves_its_last_watermark_in_the_spool() {
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let spool = lab.folder.path().join("spool");
    let load = |label, seed| begin(&lab, address, label, seed, FEW, 0).finish().unwrap();
    let mut agent = spawn(&lab, "agent", &spool, port.address(), SMALL);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let stopped_us = stop_kafka(&lab);
    let mut outcomes = load("first", 1);
    wait_until_captured(port.address(), 2 * FEW);
    stop(&mut agent).unwrap();
    assert!(agent.log_text().contains("wait in the spool for the next start"), "{}", agent.log_text());
    assert!(!files(&spool).is_empty());

    lab.own_stack().kafka().restart().unwrap();
    let mut agent = spawn(&lab, "agent-again", &spool, port.address(), SMALL);
    wait_for("an empty spool", || Ok(agent.log_text().contains("Kafka is reached") && files(&spool).is_empty()))
        .unwrap();
    outcomes.extend(load("second", 2));
    wait_until_captured(port.address(), 2 * FEW);
    stop(&mut agent).unwrap();
    check_each(&outcomes, &lab, &stopped_us);
    check_order(&lab, 2);
}
