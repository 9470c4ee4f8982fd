//! A service of many clients, each of which shows too little: all of them together show that it fails.

use std::collections::BTreeSet;

use headwater_schemas::records::AlertState;

use crate::dead_service::{Carried, END, FAULT, alerts, faulty, good, named, well};
use crate::traffic::window_us;
use crate::world::WINDOW_US;

/// Told within a minute and two windows.
const TOLD_WITHIN_US: i64 = 8 * WINDOW_US;
const CLIENTS: [&str; 6] = ["orders", "refunds", "search", "mail", "stock", "prices"];

/// Each client meets an error in one window of three, two of them in each window.
fn errors_of(clients: &[&str], window: i64) -> Vec<Carried> {
    let errors = |at: usize| i64::from(faulty(window) && (window - at as i64).rem_euclid(3) == 0);
    let calls = clients.iter().enumerate().map(|(at, client)| {
        let client = CLIENTS.into_iter().find(|known| known == client).unwrap_or("other");
        Carried { errors: errors(at), ..good(client, "payments") }
    });
    let callers = well().into_iter().filter(|carried| carried.client != "orders");
    callers.chain(calls).collect()
}

#[test]
fn errors_that_no_client_shows_alone_are_told_of_by_all() {
    let alerts = alerts(|window| errors_of(&CLIENTS, window));
    let told: Vec<_> = alerts.iter().map(|a| (a.state, a.observed_at_us, &a.alert_id, &a.message)).collect();
    let firing = alerts.iter().find(|alert| alert.state == AlertState::Firing).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(firing.observed_at_us <= window_us(FAULT) + TOLD_WITHIN_US, "{told:#?}");
    assert!(firing.score >= 12.0, "{}", firing.score);
    assert!(alerts.iter().all(|alert| alert.service == named("payments") && alert.kind == "error_rate"), "{told:#?}");
    let incidents: BTreeSet<&str> = alerts.iter().map(|alert| alert.incident_id.as_str()).collect();
    assert_eq!(incidents.len(), 1, "{told:#?}");
    let resolved = alerts.iter().filter(|alert| alert.state == AlertState::Resolved);
    assert!(resolved.clone().all(|alert| alert.observed_at_us > window_us(END)), "{told:#?}");
    assert_eq!(2 * resolved.count(), alerts.len(), "{told:#?}");
}

#[test]
fn two_clients_with_as_few_errors_tell_of_nothing() {
    let alerts = alerts(|window| errors_of(&CLIENTS[..2], window));
    assert!(alerts.is_empty(), "{alerts:#?}");
}

/// One of the clients asks for what fails more often, and asks more for a time: each is held against its own past.
#[test]
fn that_another_client_asks_more_is_no_trouble() {
    let alerts = alerts(|window| {
        let requests = if faulty(window) { 600 } else { 60 };
        let failing = Carried { requests, sent: requests, errors: requests / 10, ..good("refunds", "payments") };
        let others = ["search", "mail", "stock"].map(|client| good(client, "payments"));
        [well(), others.to_vec(), vec![failing]].concat()
    });
    assert!(alerts.is_empty(), "{alerts:#?}");
}
