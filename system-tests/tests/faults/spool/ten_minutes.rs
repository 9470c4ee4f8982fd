//! An outage of ten minutes, with the settings that an agent has by itself.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use headwater_process::Port;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_up_to};
use headwater_system_tests::topics;

use super::*;

const OUTAGE_US: i64 = 600_000_000;

/// More than are sent: the client is told to stop.
const ENOUGH: u64 = 600_000;

/// Two connections' sessions, each followed by this, are some hundred exchanges a second.
const PAUSE_US: u64 = 15_000;

#[test]
fn what_is_captured_while_kafka_is_away_for_ten_minutes_arrives_once_and_in_its_order() {
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let metrics = port.address();
    let spool = lab.folder.path().join("spool");
    let mut agent = spawn(&lab, "agent", &spool, metrics, &[]);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();

    let mut client = begin(&lab, address, "away", 1, ENOUGH, PAUSE_US);
    wait_for("the first requests", || Ok(topics::requests(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let stopped_us = stop_kafka(&lab);
    let back_us = stopped_us.end() + OUTAGE_US;
    wait_up_to(Duration::from_secs(660), "the end of the outage", || Ok(time_of_day_us()? >= back_us)).unwrap();
    let captured = value(metrics, "headwater_agent_captured_total{record=\"requests\"}").unwrap();
    let spooled = bytes(&spool);
    println!("{captured} requests and {spooled} bytes on the disk: {} bytes for each", spooled / captured);
    assert!(spooled > 1 << 20, "next to nothing is on the disk: the test proves nothing");

    lab.own_stack().kafka().restart().unwrap();
    let restarted_us = time_of_day_us().unwrap();
    let empty = || Ok(value(metrics, "headwater_agent_spool_bytes") == Some(0));
    wait_up_to(Duration::from_secs(180), "an empty spool", empty).unwrap();
    println!("empty {} ms after Kafka was back", (time_of_day_us().unwrap() - restarted_us) / 1000);
    client.stop().unwrap();
    let outcomes = client.finish().unwrap();
    wait_until_captured(metrics, 2 * outcomes.len() as u64);
    stop(&mut agent).unwrap();

    check_each(&outcomes, &lab, &stopped_us);
    check_order(&lab, 1);
    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.observed_at_us).unwrap();
    println!("{last:?}");
    assert!(last.is_final && !last.dropped.keys().any(|reason| reason.contains("spool") || reason.contains("queue")));
}
