//! Which incidents there are, and which one is meant.
//!
//! In: alerts in the order of their topic. Out: a line for each incident. Pure. Bounded: incidents, the oldest of which make room, and alerts of one that fire at a time.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::{Alert, AlertState, Workload};
use serde::Serialize;

use super::id_of;

const INCIDENTS_MAX: usize = 10_000;
const FIRING_MAX: usize = 1000;
/// Of those that may be meant, so many are named.
const NAMED_MAX: usize = 8;

/// An incident in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    pub incident_id: String,
    /// That is blamed.
    pub service: Workload,
    pub started_at_us: i64,
    /// When the newest alert was told.
    pub told_at_us: i64,
    /// Records of alerts.
    pub alerts: u64,
    /// Alerts that fire.
    pub firing: usize,
    pub message: String,
    #[serde(skip)]
    firing_ids: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Incidents {
    by_id: BTreeMap<String, Incident>,
    /// Older ones that made room.
    pub cut_off: u64,
}

/// What was meant.
#[derive(Debug)]
pub struct Found {
    pub incident_id: String,
    /// Older incidents of the same service, if that was named.
    pub others: usize,
}

/// Why no incident is meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error(
        "no incident has an id that begins with `{0}`, and none blames such a service: `headwater incident` lists them, `headwater tail alerts --from earliest` shows all alerts"
    )]
    Unknown(String),
    #[error("`{wanted}` begins the ids of {count} incidents; give more of it:{named}")]
    Ambiguous { wanted: String, count: usize, named: String },
}

impl Incidents {
    pub fn note(&mut self, alert: &Alert) {
        let id = id_of(alert);
        if !self.by_id.contains_key(id) {
            if self.by_id.len() >= INCIDENTS_MAX {
                self.give_one_up();
            }
            let incident = Incident {
                incident_id: id.to_owned(),
                service: alert.service.clone(),
                started_at_us: alert.started_at_us,
                told_at_us: alert.observed_at_us,
                alerts: 0,
                firing: 0,
                message: alert.message.clone(),
                firing_ids: BTreeSet::new(),
            };
            self.by_id.insert(id.to_owned(), incident);
        }
        let Some(incident) = self.by_id.get_mut(id) else { return };
        incident.alerts += 1;
        incident.started_at_us = incident.started_at_us.min(alert.started_at_us);
        incident.told_at_us = incident.told_at_us.max(alert.observed_at_us);
        match alert.state {
            AlertState::Firing if incident.firing_ids.len() < FIRING_MAX => {
                incident.firing_ids.insert(alert.alert_id.clone());
            }
            AlertState::Firing => {}
            AlertState::Resolved => {
                incident.firing_ids.remove(&alert.alert_id);
            }
        }
        incident.firing = incident.firing_ids.len();
    }

    fn give_one_up(&mut self) {
        let oldest = self.by_id.values().min_by_key(|incident| (incident.firing > 0, incident.told_at_us));
        if let Some(id) = oldest.map(|incident| incident.incident_id.clone()) {
            self.by_id.remove(&id);
            self.cut_off += 1;
        }
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &Incident> {
        let mut all: Vec<&Incident> = self.by_id.values().collect();
        all.sort_by_key(|incident| std::cmp::Reverse((incident.started_at_us, incident.told_at_us)));
        all.into_iter()
    }

    /// The incident with this id, or the only one whose id begins like this, or the newest one that blames a service of this name.
    ///
    /// # Errors
    /// If there is none, or several ids begin like this.
    pub fn find(&self, wanted: &str) -> Result<Found, NotFound> {
        if let Some(incident) = self.by_id.get(wanted) {
            return Ok(Found { incident_id: incident.incident_id.clone(), others: 0 });
        }
        let blames = |incident: &&Incident| {
            let service = &incident.service;
            [service.name.clone(), service.to_string(), service.key()].iter().any(|name| name == wanted)
        };
        let of_service: Vec<&Incident> = self.newest_first().filter(blames).collect();
        if let [newest, older @ ..] = &of_service[..] {
            return Ok(Found { incident_id: newest.incident_id.clone(), others: older.len() });
        }
        let begin_so: Vec<&Incident> = self
            .newest_first()
            .filter(|incident| !wanted.is_empty() && incident.incident_id.starts_with(wanted))
            .collect();
        match &begin_so[..] {
            [] => Err(NotFound::Unknown(wanted.to_owned())),
            [only] => Ok(Found { incident_id: only.incident_id.clone(), others: 0 }),
            several => {
                let mut named: String =
                    several.iter().take(NAMED_MAX).map(|incident| format!("\n  {}", incident.incident_id)).collect();
                if several.len() > NAMED_MAX {
                    named.push_str(&format!("\n  and {} older ones", several.len() - NAMED_MAX));
                }
                Err(NotFound::Ambiguous { wanted: wanted.to_owned(), count: several.len(), named })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_schemas::samples;

    use super::*;

    fn alert(service: &str, started_at_us: i64, id: &str, state: AlertState) -> Alert {
        let service = Workload::local("program", service);
        let incident_id = format!("{} {started_at_us}", service.key());
        let alert_id = id.to_owned();
        Alert {
            service,
            started_at_us,
            observed_at_us: started_at_us + 20,
            incident_id,
            alert_id,
            state,
            ..samples::alert()
        }
    }

    fn incidents() -> Incidents {
        let mut incidents = Incidents::default();
        for (service, at, id, state) in [
            ("orders", 100, "a", AlertState::Firing),
            ("orders", 100, "b", AlertState::Firing),
            ("orders", 100, "a", AlertState::Resolved),
            ("orders", 250, "c", AlertState::Firing),
            ("orders", 250, "c", AlertState::Resolved),
            ("payments", 120, "d", AlertState::Firing),
        ] {
            incidents.note(&alert(service, at, id, state));
        }
        incidents
    }

    #[test]
    fn alerts_of_one_id_are_one_incident_which_lasts_as_long_as_one_of_them() {
        let told: Vec<_> =
            incidents().newest_first().map(|one| (one.service.name.clone(), one.alerts, one.firing)).collect();
        assert_eq!(told, [("orders".into(), 2, 0), ("payments".into(), 1, 1), ("orders".into(), 3, 1)]);
    }

    #[test]
    fn an_id_its_beginning_or_a_service_will_do() {
        let incidents = incidents();
        let found = |wanted: &str| incidents.find(wanted).map(|found| (found.incident_id, found.others));
        assert_eq!(found("//program/orders 100").unwrap(), ("//program/orders 100".into(), 0));
        assert_eq!(found("//program/orders 2").unwrap(), ("//program/orders 250".into(), 0));
        assert_eq!(found("orders").unwrap(), ("//program/orders 250".into(), 1));
        let NotFound::Ambiguous { count, named, .. } = found("//program/ord").unwrap_err() else { panic!() };
        assert_eq!((count, named.as_str()), (2, "\n  //program/orders 250\n  //program/orders 100"));
        let told = found("shipping").unwrap_err().to_string();
        assert!(told.contains("`shipping`") && told.contains("headwater tail alerts"), "{told}");
        assert!(matches!(found(""), Err(NotFound::Unknown(_))));
    }

    #[test]
    fn the_oldest_that_is_over_makes_room() {
        let mut incidents = incidents();
        for number in 0..INCIDENTS_MAX as i64 {
            incidents.note(&alert("busy", 1000 + number, "x", AlertState::Resolved));
        }
        assert_eq!((incidents.by_id.len(), incidents.cut_off), (INCIDENTS_MAX, 3));
        assert!(incidents.find("//program/payments").is_ok(), "it still fires");
    }
}
