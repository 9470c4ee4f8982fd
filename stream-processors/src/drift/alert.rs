//! What is said of an edge that drifts, in an alert.

use headwater_schemas::records::{Alert, AlertState, edge_id};

use super::story::{Reading, Step};
use super::{Key, Kind};

/// The alert of a step; `observed_at_us` is the end of the hour.
pub fn alert(
    (client, server, protocol): &Key,
    kind: Kind,
    reading: &Reading,
    step: Step,
    observed_at_us: i64,
) -> Alert {
    let name = match kind {
        Kind::Latency => "latency_drift",
        Kind::Errors => "error_drift",
    };
    let what = format!("requests from {client} to {server}");
    let quantity = |value: f64| match kind {
        Kind::Latency => format!("{:.1} ms", value / 1000.0),
        Kind::Errors => format!("{:.2} %", value * 100.0),
    };
    let (value, usual, limit) = (quantity(reading.value), quantity(reading.usual), quantity(reading.limit));
    let told = match kind {
        Kind::Latency => format!("{} % of {what} take up to {value}", reading.percentile),
        Kind::Errors => format!("{value} of {what} fail"),
    };
    let (state, since_us, evidence, message, score) = match step {
        Step::Fire { since_us, evidence } => {
            let message =
                format!("{told} for two hours; at this hour of the last weeks it was {usual}, the limit is {limit}.");
            (AlertState::Firing, since_us, evidence, message, reading.surprise)
        }
        Step::Resolve { since_us, evidence } => {
            let message = match evidence {
                Some(_) => format!("{told} again, which is usual at this hour."),
                None => format!("There are no {what} any more that could be held against the last weeks."),
            };
            (AlertState::Resolved, since_us, evidence.into_iter().collect(), message, 0.0)
        }
    };
    Alert {
        alert_id: format!("{name} {} {since_us}", edge_id(client, server, protocol)),
        state,
        kind: name.to_owned(),
        service: server.clone(),
        client: client.clone(),
        server: server.clone(),
        protocol: protocol.clone(),
        operation: String::new(),
        started_at_us: since_us,
        observed_at_us,
        value: reading.value,
        baseline: reading.usual,
        threshold: reading.limit,
        message,
        evidence,
        incident_id: format!("{} {since_us}", server.key()),
        score,
        runners_up: Vec::new(),
        objective: String::new(),
        severity: String::new(),
        owner: String::new(),
    }
}
