//! Where nothing happens, nothing but watermarks and heartbeats is published.
#![allow(clippy::unwrap_used)]

use headwater_schemas::records::Agent;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Heartbeats, five seconds apart, in which whatever feeds itself would grow.
const HEARTBEATS: usize = 4;

#[test]
fn with_nothing_to_observe_nothing_is_published_but_signs_of_life() {
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    wait_for("heartbeats", || Ok(topics::agents(&lab.settings)?.len() >= HEARTBEATS)).unwrap();
    stop(&mut agent).unwrap();
    for topic in [Topic::Flows, Topic::Requests] {
        let mut records = 0;
        topics::each(&lab.settings, topic, |_, _| {
            records += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(records, 0, "{topic:?}");
    }
    let agents = topics::agents(&lab.settings).unwrap();
    for Agent { captured, published, dropped, .. } in &agents {
        assert!(captured.values().chain(published.values()).chain(dropped.values()).all(|&count| count == 0));
    }
}
