//! A chat: it is told each change once, the changes of a moment in one message, in the order of the services that they are about.
//!
//! What fired before the console started is told once as well, since nobody else may have told it. Bounds: a message names
//! [`LINES_MAX`] alerts and counts the others; it is tried [`ATTEMPTS_MAX`] times, some five minutes, and then given up and counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Destination;
use crate::live::AlertView;
use crate::metrics;
use crate::post::{Backoff, PostError, Target};

/// Alerts of one window come within seconds.
const GATHER: Duration = Duration::from_secs(5);
const LINES_MAX: usize = 20;
const ATTEMPTS_MAX: u32 = 10;
const NAME: &str = "slack";

pub struct Slack {
    target: Target,
    backoff: Backoff,
    /// Whether each alert fired when it was told or passed over last.
    known: BTreeMap<String, bool>,
    /// What is to be told, by service and id.
    pending: BTreeMap<(String, String), AlertView>,
    pending_since: Option<Instant>,
}

impl Slack {
    pub fn new(target: Target) -> Slack {
        Slack {
            target,
            backoff: Backoff::default(),
            known: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_since: None,
        }
    }

    /// Notes what changed.
    fn gather(&mut self, alerts: &[AlertView]) {
        for view in alerts {
            let id = &view.alert.alert_id;
            // An alert that is first heard of when it is over is no news.
            let was_firing = self.known.insert(id.clone(), view.firing).unwrap_or(false);
            if was_firing != view.firing {
                self.pending.insert((view.service_id.clone(), id.clone()), view.clone());
                self.pending_since.get_or_insert_with(Instant::now);
            }
        }
        // The console forgets old alerts, and so does this.
        if self.known.len() > alerts.len() {
            let ids: std::collections::BTreeSet<&str> =
                alerts.iter().map(|view| view.alert.alert_id.as_str()).collect();
            self.known.retain(|id, _| ids.contains(id.as_str()));
        }
    }

    fn done(&mut self) {
        self.pending.clear();
        self.pending_since = None;
        self.backoff.worked();
    }
}

impl Destination for Slack {
    fn tick(&mut self, alerts: &[AlertView], _now_us: i64) {
        self.gather(alerts);
        let is_due = self.pending_since.is_some_and(|since| since.elapsed() >= GATHER);
        if !is_due || !self.backoff.is_over() {
            return;
        }
        let body = json!({ "text": text(self.pending.values()) }).to_string();
        match self.target.post("application/json", body.as_bytes()) {
            Ok(_) => {
                metrics::ALERTS_SENT.add(&[NAME], self.pending.len() as u64);
                self.done();
            }
            Err(error) => {
                metrics::ALERTS_FAILURES.add(&[NAME], 1);
                self.backoff.failed();
                let is_over = matches!(error, PostError::Refused(_)) || self.backoff.attempts >= ATTEMPTS_MAX;
                tracing::warn!(%error, given_up = is_over, "the chat does not take a message about alerts");
                if is_over {
                    metrics::ALERTS_DROPPED.add(&[NAME], self.pending.len() as u64);
                    self.done();
                }
            }
        }
    }
}

fn text<'a>(changes: impl ExactSizeIterator<Item = &'a AlertView>) -> String {
    let count = changes.len();
    let mut lines = Vec::new();
    let mut service = None;
    for view in changes.take(LINES_MAX) {
        if service != Some(&view.service_id) {
            lines.push(format!("*{}*", escaped(&view.alert.service.to_string())));
            service = Some(&view.service_id);
        }
        let state = if view.firing { ":red_circle: firing" } else { ":white_check_mark: resolved" };
        lines.push(format!("{state}: {}", escaped(&view.alert.message)));
    }
    if count > LINES_MAX {
        lines.push(format!("and {} more", count - LINES_MAX));
    }
    lines.join("\n")
}

/// The three characters that are special to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::post::Hidden;
    use headwater_schemas::records::{Alert, AlertState, Workload};

    fn view(id: &str, service: &str, firing: bool) -> AlertView {
        let service = Workload::local("program", service);
        let client = Workload::local("program", "a");
        let alert = Alert {
            alert_id: id.to_owned(),
            state: if firing { AlertState::Firing } else { AlertState::Resolved },
            kind: "error_rate".to_owned(),
            service: service.clone(),
            client,
            server: service.clone(),
            protocol: "http".to_owned(),
            operation: String::new(),
            started_at_us: 0,
            observed_at_us: 0,
            value: 0.5,
            baseline: 0.0,
            threshold: 0.1,
            message: format!("{service} fails <much> ({id})"),
            evidence: Vec::new(),
            incident_id: String::new(),
            score: 0.0,
            runners_up: Vec::new(),
            objective: String::new(),
            severity: String::new(),
            owner: String::new(),
        };
        AlertView { firing, edge: String::new(), service_id: service.key(), alert }
    }

    #[test]
    fn each_change_is_told_once_and_grouped_by_service() {
        let mut slack = Slack::new(Target::new(Hidden("http://127.0.0.1:1".to_owned()), Vec::new()));
        slack.gather(&[view("1", "b", true), view("2", "a", true), view("3", "b", true), view("old", "b", false)]);
        let told = text(slack.pending.values());
        assert_eq!(
            told,
            "*a*\n:red_circle: firing: a fails &lt;much&gt; (2)\n*b*\n:red_circle: firing: b fails &lt;much&gt; (1)\n\
             :red_circle: firing: b fails &lt;much&gt; (3)"
        );
        slack.done();
        slack.gather(&[view("1", "b", true), view("2", "a", false)]);
        assert_eq!(text(slack.pending.values()), "*a*\n:white_check_mark: resolved: a fails &lt;much&gt; (2)");
        assert_eq!(slack.known.len(), 2);
        let many: Vec<AlertView> = (0..30).map(|id| view(&id.to_string(), "c", true)).collect();
        assert!(text(many.iter()).ends_with("\nand 10 more"));
    }
}
