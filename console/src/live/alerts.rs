//! The newest state of each alert: firing ones first, then the newest.
//!
//! In: alert records in the order of their topic. Bound: so many alerts; resolved ones make room first, the oldest before
//! the newer. What had to go is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_schemas::records::{Alert, AlertState, edge_id};
use serde::Serialize;

use super::Live;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertsView {
    pub firing: usize,
    pub alerts: Vec<AlertView>,
    /// Alerts that were given up for newer ones.
    pub cut_off: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    pub firing: bool,
    /// The edge that it is about, as the map names it.
    pub edge: String,
    /// The workload to look at, as the map names it.
    pub service_id: String,
    #[serde(flatten)]
    pub alert: Alert,
}

#[derive(Clone)]
pub(super) struct Alerts {
    by_id: BTreeMap<String, Arc<Alert>>,
    alerts_max: usize,
    pub cut_off: u64,
}

impl Alerts {
    pub fn new(alerts_max: usize) -> Self {
        Alerts { by_id: BTreeMap::new(), alerts_max, cut_off: 0 }
    }

    pub fn insert(&mut self, alert: Alert) -> bool {
        let known = self.by_id.get(&alert.alert_id);
        // An earlier record can come after a later one when a topic is written again; equal times follow the topic's order.
        if known.is_some_and(|known| known.observed_at_us > alert.observed_at_us) {
            return false;
        }
        if known.is_none() && self.by_id.len() >= self.alerts_max {
            self.give_one_up();
        }
        self.by_id.insert(alert.alert_id.clone(), Arc::new(alert));
        true
    }

    fn give_one_up(&mut self) {
        let oldest = self.by_id.values().min_by_key(|alert| (is_firing(alert), alert.observed_at_us));
        if let Some(id) = oldest.map(|alert| alert.alert_id.clone()) {
            self.by_id.remove(&id);
            self.cut_off += 1;
        }
    }
}

impl Live {
    pub fn alerts(&self) -> AlertsView {
        let mut alerts: Vec<AlertView> = self.alerts.by_id.values().map(|alert| AlertView::of(alert)).collect();
        alerts.sort_by_key(|view| (!view.firing, std::cmp::Reverse(view.alert.observed_at_us)));
        let firing = alerts.iter().filter(|view| view.firing).count();
        AlertsView { firing, alerts, cut_off: self.alerts.cut_off }
    }
}

impl AlertView {
    fn of(alert: &Alert) -> Self {
        AlertView {
            firing: is_firing(alert),
            edge: edge_id(&alert.client, &alert.server, &alert.protocol),
            service_id: alert.service.key(),
            alert: alert.clone(),
        }
    }
}

fn is_firing(alert: &Alert) -> bool {
    alert.state == AlertState::Firing
}

#[cfg(test)]
mod tests {
    use headwater_schemas::records::Workload;

    use super::super::Limits;
    use super::*;

    fn alert(id: &str, state: AlertState, observed_at_us: i64) -> Alert {
        Alert {
            alert_id: id.into(),
            state,
            kind: "error_rate".into(),
            service: Workload::local("program", "b"),
            client: Workload::local("program", "a"),
            server: Workload::local("program", "b"),
            protocol: "http".into(),
            operation: String::new(),
            started_at_us: 1,
            observed_at_us,
            value: 0.5,
            baseline: 0.0,
            threshold: 0.1,
            message: "b fails".into(),
            evidence: Vec::new(),
            incident_id: String::new(),
            score: 0.0,
            runners_up: Vec::new(),
            objective: String::new(),
            severity: String::new(),
            owner: String::new(),
        }
    }

    #[test]
    fn the_newest_state_counts_and_firing_comes_first() {
        let mut live = Live::new(Limits::default());
        live.alert(alert("x", AlertState::Firing, 10));
        live.alert(alert("y", AlertState::Resolved, 30));
        live.alert(alert("z", AlertState::Firing, 20));
        assert!(live.alert(alert("x", AlertState::Resolved, 40)));
        assert!(!live.alert(alert("x", AlertState::Firing, 15)), "an older state came late");
        let view = live.alerts();
        let order: Vec<_> = view.alerts.iter().map(|v| (v.alert.alert_id.as_str(), v.firing)).collect();
        assert_eq!(order, [("z", true), ("x", false), ("y", false)]);
        assert_eq!(view.firing, 1);
    }

    #[test]
    fn the_oldest_resolved_one_makes_room_and_is_counted() {
        let mut live = Live::new(Limits { alerts_max: 2, ..Limits::default() });
        live.alert(alert("old-but-firing", AlertState::Firing, 1));
        live.alert(alert("resolved", AlertState::Resolved, 5));
        live.alert(alert("new", AlertState::Firing, 9));
        let view = live.alerts();
        let order: Vec<_> = view.alerts.iter().map(|v| v.alert.alert_id.as_str()).collect();
        assert_eq!(order, ["new", "old-but-firing"]);
        assert_eq!(view.cut_off, 1);
    }
}
