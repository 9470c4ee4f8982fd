//! An Alertmanager: it is told all that fires again and again, as Prometheus does, so that neither side has to remember anything.
//!
//! An alert that is not told again ends there after [`LASTS`]; one that is resolved is told as such for [`RESOLVED_FOR`]. Two consoles tell the same,
//! which an Alertmanager takes for one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_schemas::records::Workload;
use serde_json::{Map, Value, json};

use super::Destination;
use crate::live::AlertView;
use crate::metrics;
use crate::post::{Backoff, Target};

const AGAIN: Duration = Duration::from_secs(60);
const LASTS: Duration = Duration::from_secs(240);
const RESOLVED_FOR: Duration = Duration::from_secs(900);
const NAME: &str = "alertmanager";

pub struct Alertmanager {
    target: Target,
    backoff: Backoff,
    /// What was told last, and when.
    told: Vec<(String, bool)>,
    told_at: Option<Instant>,
}

impl Alertmanager {
    pub fn new(target: Target) -> Alertmanager {
        Alertmanager { target, backoff: Backoff::default(), told: Vec::new(), told_at: None }
    }
}

impl Destination for Alertmanager {
    fn tick(&mut self, alerts: &[AlertView], now_us: i64) {
        let news = worth_telling(alerts, now_us);
        let mut states: Vec<(String, bool)> =
            news.iter().map(|view| (view.alert.alert_id.clone(), view.firing)).collect();
        states.sort();
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= AGAIN) || states != self.told;
        if news.is_empty() || !is_due || !self.backoff.is_over() {
            return;
        }
        let body = Value::Array(news.iter().map(|view| alert(view, now_us)).collect()).to_string();
        match self.target.post("application/json", body.as_bytes()) {
            Ok(_) => {
                metrics::ALERTS_SENT.add(&[NAME], news.len() as u64);
                (self.told, self.told_at) = (states, Some(Instant::now()));
                self.backoff.worked();
            }
            // What was not taken is told again as it is then: nothing is kept for it.
            Err(error) => {
                tracing::warn!(%error, "the Alertmanager does not take alerts");
                metrics::ALERTS_FAILURES.add(&[NAME], 1);
                self.backoff.failed();
            }
        }
    }
}

/// What fires, and what was resolved of late.
fn worth_telling(alerts: &[AlertView], now_us: i64) -> Vec<&AlertView> {
    let oldest_us = now_us - RESOLVED_FOR.as_micros() as i64;
    alerts.iter().filter(|view| view.firing || view.alert.observed_at_us >= oldest_us).collect()
}

fn alert(view: &AlertView, now_us: i64) -> Value {
    let alert = &view.alert;
    let mut labels = Map::new();
    // Empty labels are not allowed.
    let mut label = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.into());
        }
    };
    label("alertname", &alert.kind);
    for (side, workload) in [("service", &alert.service), ("client", &alert.client), ("server", &alert.server)] {
        let Workload { cluster, namespace, kind, name } = workload;
        for (part, value) in [("cluster", cluster), ("namespace", namespace), ("kind", kind), ("name", name)] {
            label(&format!("{side}_{part}"), value);
        }
    }
    label("protocol", &alert.protocol);
    label("operation", &alert.operation);
    label("objective", &alert.objective);
    label("severity", &alert.severity);
    label("owner", &alert.owner);
    // To group by.
    label("incident", &alert.incident_id);
    let ends_at_us = if view.firing { now_us + LASTS.as_micros() as i64 } else { alert.observed_at_us };
    json!({
        "labels": labels,
        "annotations": {
            "summary": alert.message,
            "value": alert.value.to_string(),
            "baseline": alert.baseline.to_string(),
            "threshold": alert.threshold.to_string(),
        },
        "startsAt": time(alert.started_at_us),
        "endsAt": time(ends_at_us.max(alert.started_at_us)),
    })
}

/// As RFC 3339 has it.
fn time(us: i64) -> String {
    let at: SystemTime = UNIX_EPOCH + Duration::from_micros(us.max(0) as u64);
    humantime::format_rfc3339_micros(at).to_string()
}
