//! Turns a step of a story into an alert, with a sentence for people.

use headwater_schemas::records::{Alert, AlertState, edge_id};

use super::baseline::QUANTILES;
use super::reading::{Deviating, Reading};
use super::track::{Step, Why};
use super::window::Subject;

/// The alert that a step asks for, if it asks for one. The incident that it is part of began at `incident_from_us`.
pub fn alert(
    subject: &Subject,
    kind: Deviating,
    step: Step,
    observed_at_us: i64,
    incident_from_us: Option<i64>,
) -> Option<Alert> {
    let (state, started_at_us, quantile, reading, evidence, message) = match step {
        Step::Nothing | Step::End { fired: None, .. } => return None,
        Step::Fire { started_at_us, reading, evidence } => {
            (AlertState::Firing, started_at_us, reading.quantile, reading, evidence, firing(subject, kind, &reading))
        }
        Step::GoOn { started_at_us, quantile, reading, evidence } => {
            let message =
                format!("There are no {} any more. Before: {}", what(subject), firing(subject, kind, &reading));
            (AlertState::Firing, started_at_us, quantile, reading, evidence, message)
        }
        Step::End { fired: Some(started_at_us), quantile, reading, evidence, why, .. } => {
            let reading = reading.unwrap_or_default();
            (AlertState::Resolved, started_at_us, quantile, reading, evidence, resolved(subject, kind, &reading, why))
        }
    };
    let Subject { client, server, protocol, operation } = subject.clone();
    let incident_id = format!("{} {}", server.key(), incident_from_us.unwrap_or(started_at_us));
    let kind = kind.kind(quantile);
    Some(Alert {
        alert_id: format!("{kind} {} {operation} {started_at_us}", edge_id(&client, &server, &protocol)),
        state,
        kind: kind.to_owned(),
        service: server.clone(),
        client,
        server,
        protocol,
        operation,
        started_at_us,
        observed_at_us,
        value: reading.value,
        baseline: reading.baseline,
        threshold: reading.threshold,
        message,
        evidence,
        incident_id,
        score: 0.0,
        runners_up: Vec::new(),
        objective: String::new(),
        severity: String::new(),
        owner: String::new(),
    })
}

fn firing(subject: &Subject, kind: Deviating, reading: &Reading) -> String {
    let (value, baseline, threshold) =
        (quantity(kind, reading.value), quantity(kind, reading.baseline), quantity(kind, reading.threshold));
    let what = what(subject);
    match kind {
        Deviating::Errors => format!("{value} of {what} fail; usually it is {baseline}, the limit is {threshold}."),
        Deviating::Latency => {
            let share = QUANTILES[reading.quantile].share * 100.0;
            format!("{share:.0} % of {what} take up to {value}; usually it is {baseline}, the limit is {threshold}.")
        }
        Deviating::Connects => {
            let Subject { client, server, .. } = subject;
            format!(
                "{value} of the connections from {client} to {server} fail; usually it is {baseline}, the limit is {threshold}."
            )
        }
        Deviating::Retransmits => {
            format!("{value} of {what} have a segment sent again; usually it is {baseline}, the limit is {threshold}.")
        }
        Deviating::Unanswered => format!("{value} of {what} are sent and not answered; the limit is {threshold}."),
        Deviating::Traffic => {
            format!(
                "There are no {what}, though {} has as much to do as ever; usually there are {baseline} in a window.",
                subject.client
            )
        }
    }
}

fn resolved(subject: &Subject, kind: Deviating, reading: &Reading, why: Why) -> String {
    let (value, what) = (quantity(kind, reading.value), what(subject));
    match (why, kind) {
        (Why::Vanished, _) => format!("There are no {what} any more."),
        (Why::NewNormal, _) => format!("{what}: {value} has lasted so long that it counts as usual from now on."),
        (Why::Good, Deviating::Errors) => format!("Only {value} of {what} fail again."),
        (Why::Good, Deviating::Connects) => {
            format!("Connections from {} to {} succeed again; {value} fail.", subject.client, subject.server)
        }
        (Why::Good, Deviating::Retransmits) => format!("Only {value} of {what} have a segment sent again any more."),
        (Why::Good, Deviating::Unanswered) => format!("There are answers again to {what}."),
        (Why::Good, Deviating::Traffic) => format!("There are {what} again: {value} in a window."),
        (Why::Good, Deviating::Latency) => {
            format!("{:.0} % of {what} take up to {value} again.", QUANTILES[reading.quantile].share * 100.0)
        }
    }
}

fn what(subject: &Subject) -> String {
    let Subject { client, server, operation, .. } = subject;
    if operation.is_empty() {
        format!("requests from {client} to {server}")
    } else {
        format!("requests {operation} from {client} to {server}")
    }
}

fn quantity(kind: Deviating, value: f64) -> String {
    match kind {
        Deviating::Errors | Deviating::Connects | Deviating::Retransmits | Deviating::Unanswered => {
            format!("{:.1} %", value * 100.0)
        }
        Deviating::Traffic => format!("{value:.0}"),
        Deviating::Latency => format!("{:.1} ms", value / 1000.0),
    }
}
