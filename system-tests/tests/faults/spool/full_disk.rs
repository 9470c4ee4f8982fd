//! The disk below the spool is full, a real one: what finds no room is counted, what is there arrives.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use headwater_process::Port;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

use super::*;
use crate::disk::Disk;

const FEW: u64 = 500;

/// Both sides of them take several times what queue and disk have room for.
const MANY: u64 = 20_000;

#[test]
fn what_a_full_disk_below_the_spool_does_not_take_is_counted_and_the_rest_arrives() {
    let disk = Disk::mount(2);
    let lab = Lab::start_own().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let port = Port::free().unwrap();
    let metrics = port.address();
    let spool = disk.path().join("spool");
    let mut agent = spawn(&lab, "agent", &spool, metrics, SMALL);
    let seen = || topics::requests(&lab.settings).map_or(0, |requests| requests.len() as u64);
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let mut outcomes = begin(&lab, address, "before", 1, FEW, 0).finish().unwrap();
    wait_for("the first requests", || Ok(seen() >= 2 * FEW)).unwrap();

    stop_kafka(&lab);
    outcomes.extend(begin(&lab, address, "during", 2, MANY, 0).finish().unwrap());
    let refused = "headwater_agent_spool_evicted_total{record=\"requests\",reason=\"spool_disk\"}";
    wait_for("requests that find no room", || Ok(value(metrics, refused) > Some(0))).unwrap();
    assert!(agent.is_running(), "{}", agent.log_text());

    lab.own_stack().kafka().restart().unwrap();
    wait_for("an empty spool", || Ok(value(metrics, "headwater_agent_spool_bytes") == Some(0))).unwrap();
    outcomes.extend(begin(&lab, address, "after", 3, FEW, 0).finish().unwrap());
    wait_until_captured(metrics, 2 * outcomes.len() as u64);
    stop(&mut agent).unwrap();

    let mut by_name: HashMap<(String, Side), usize> = HashMap::new();
    let published = topics::requests(&lab.settings).unwrap();
    published.into_iter().for_each(|request| *by_name.entry((request.path, request.side)).or_default() += 1);
    let (mut right, mut missing, mut doubled) = (0, 0, 0);
    for outcome in &outcomes {
        for side in [Side::Client, Side::Server] {
            match by_name.remove(&(outcome.path.clone(), side)) {
                None => missing += 1,
                Some(1) => right += 1,
                Some(_) => doubled += 1,
            }
        }
    }
    let last = topics::agents(&lab.settings).unwrap().into_iter().max_by_key(|agent| agent.observed_at_us).unwrap();
    println!("{right} right, {missing} missing, {doubled} doubled; {last:?}");
    assert_eq!((doubled, by_name.len()), (0, 0), "{by_name:?} were never sent");
    let dropped = |reason: &str| last.dropped.get(&format!("requests/{reason}")).copied().unwrap_or(0);
    let (full, missed_runs) = (dropped("spool_disk"), dropped("probe_run_missed"));
    assert!(full > 0 && last.is_final, "{last:?}");
    // Whatever the reason: a call whose bytes have no place, since another thread used its socket meanwhile, is counted as well.
    let of_requests = last.dropped.iter().filter(|(reason, _)| reason.starts_with("requests/"));
    let counted = of_requests.map(|(_, count)| count).sum::<i64>() - missed_runs;
    // A run that the kernel left out is counted as one record, whether or not it would have given one: a bound from above.
    assert!((counted..=counted + missed_runs).contains(&missing), "what is missing is not what was counted");
    assert!(!last.dropped.keys().any(|reason| reason.starts_with("requests/spool") && !reason.ends_with("spool_disk")));
}
