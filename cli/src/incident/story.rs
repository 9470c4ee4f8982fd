//! One incident: its alerts in order, who is blamed, and where the records stand that show it.
//!
//! In: the alerts of the topic, in their order. Out: what to tell, for people and for programs. Pure. Bounded: alerts of it, and places of evidence.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::{Alert, AlertState, Candidate, Workload};
use serde::Serialize;

use super::id_of;
use crate::clock::rfc3339;
use crate::compare::Comparison;

const ALERTS_MAX: usize = 1000;
const EVIDENCE_MAX: usize = 10_000;

/// An alert with its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    #[serde(rename = "@partition")]
    pub partition: i32,
    #[serde(rename = "@offset")]
    pub offset: i64,
    #[serde(flatten)]
    pub alert: Alert,
}

/// What an alert says of its story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Fired,
    /// It fires still, and something is new.
    Changed,
    Resolved,
}

#[derive(Debug)]
pub struct Story {
    pub incident_id: String,
    pub alerts: Vec<(Step, Told)>,
    firing: BTreeSet<String>,
    /// Alerts beyond the bound.
    pub cut_off: u64,
    /// By topic and partition.
    pub evidence: BTreeMap<(String, i32), BTreeSet<i64>>,
    places: usize,
}

/// Who is likeliest to be the cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blame {
    pub service: Workload,
    pub score: f64,
    /// By their highest score.
    pub runners_up: Vec<Candidate>,
}

#[derive(Serialize)]
pub struct Json<'a> {
    incident_id: &'a str,
    is_firing: bool,
    from: Option<String>,
    to: Option<String>,
    blame: Option<Blame>,
    alerts: Vec<Line<'a>>,
    alerts_cut_off: u64,
    edges: Option<&'a Comparison>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_edges: Option<&'a str>,
    evidence: Vec<Evidence<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    step: Step,
    #[serde(flatten)]
    told: &'a Told,
}

#[derive(Serialize)]
struct Evidence<'a> {
    topic: &'a str,
    partition: i32,
    offsets: &'a BTreeSet<i64>,
}

impl Story {
    pub fn of(incident_id: &str) -> Story {
        Story {
            incident_id: incident_id.to_owned(),
            alerts: Vec::new(),
            firing: BTreeSet::new(),
            cut_off: 0,
            evidence: BTreeMap::new(),
            places: 0,
        }
    }

    pub fn take(&mut self, told: Told) {
        if id_of(&told.alert) != self.incident_id {
            return;
        }
        let id = told.alert.alert_id.clone();
        let step = match told.alert.state {
            AlertState::Resolved => {
                self.firing.remove(&id);
                Step::Resolved
            }
            AlertState::Firing if self.firing.contains(&id) => Step::Changed,
            AlertState::Firing => {
                if self.firing.len() < ALERTS_MAX {
                    self.firing.insert(id);
                }
                Step::Fired
            }
        };
        for evidence in &told.alert.evidence {
            let place = (evidence.topic.clone(), evidence.partition);
            if self.places < EVIDENCE_MAX && self.evidence.entry(place).or_default().insert(evidence.offset) {
                self.places += 1;
            }
        }
        if self.alerts.len() < ALERTS_MAX {
            self.alerts.push((step, told));
        } else {
            self.cut_off += 1;
        }
    }

    pub fn is_firing(&self) -> bool {
        !self.firing.is_empty()
    }

    /// From the first window that deviated to the end, or to now.
    pub fn span_us(&self, now_us: i64) -> (i64, i64) {
        let alerts = || self.alerts.iter().map(|(_, told)| &told.alert);
        let from_us = alerts().map(|alert| alert.started_at_us).min().unwrap_or(now_us);
        let told_us = alerts().map(|alert| alert.observed_at_us).max().unwrap_or(now_us);
        (from_us, if self.is_firing() { now_us.max(told_us) } else { told_us })
    }

    /// None without any alert.
    pub fn blame(&self) -> Option<Blame> {
        let alerts = || self.alerts.iter().map(|(_, told)| &told.alert);
        let service = alerts().next()?.service.clone();
        let score = alerts().map(|alert| alert.score).fold(0.0, f64::max);
        let mut others: BTreeMap<(&Workload, &Workload), f64> = BTreeMap::new();
        for candidate in alerts().flat_map(|alert| &alert.runners_up).filter(|other| other.server != service) {
            let highest = others.entry((&candidate.client, &candidate.server)).or_default();
            *highest = highest.max(candidate.score);
        }
        let candidate = |((client, server), score): ((&Workload, &Workload), f64)| Candidate {
            client: client.clone(),
            server: server.clone(),
            score,
        };
        let mut runners_up: Vec<Candidate> = others.into_iter().map(candidate).collect();
        runners_up.sort_by(|a, b| b.score.total_cmp(&a.score));
        Some(Blame { service, score, runners_up })
    }

    /// Whether it blames this one.
    pub fn is_about(&self, workload: &Workload) -> bool {
        self.alerts.iter().any(|(_, told)| told.alert.service == *workload)
    }

    pub fn json<'a>(&'a self, edges: &'a Result<Comparison, String>) -> Json<'a> {
        let (from_us, to_us) = self.span_us(0);
        let evidence = self.evidence.iter().map(|((topic, partition), offsets)| Evidence {
            topic,
            partition: *partition,
            offsets,
        });
        Json {
            incident_id: &self.incident_id,
            is_firing: self.is_firing(),
            from: Some(rfc3339(from_us)),
            to: (!self.is_firing()).then(|| rfc3339(to_us)),
            blame: self.blame(),
            alerts: self.alerts.iter().map(|(step, told)| Line { step: *step, told }).collect(),
            alerts_cut_off: self.cut_off,
            edges: edges.as_ref().ok(),
            no_edges: edges.as_ref().err().map(String::as_str),
            evidence: evidence.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_schemas::records::Evidence;
    use headwater_schemas::samples;

    use super::*;

    fn told(id: &str, state: AlertState, observed_at_us: i64, score: f64, offsets: &[i64]) -> Told {
        let evidence = offsets.iter().map(|offset| Evidence {
            topic: "t".into(),
            partition: 0,
            offset: *offset,
            window_start_us: 1,
        });
        let alert = Alert {
            alert_id: id.into(),
            state,
            observed_at_us,
            started_at_us: observed_at_us - 20,
            score,
            evidence: evidence.collect(),
            incident_id: "i".into(),
            ..samples::alert()
        };
        Told { partition: 0, offset: observed_at_us, alert }
    }

    #[test]
    fn a_story_has_its_steps_its_span_and_its_evidence() {
        let mut story = Story::of("i");
        story.take(told("a", AlertState::Firing, 100, 5.0, &[7, 3]));
        story.take(told("b", AlertState::Firing, 110, 9.0, &[7]));
        story.take(told("a", AlertState::Firing, 120, 4.0, &[]));
        story.take(Told {
            alert: Alert { incident_id: "other".into(), ..samples::alert() },
            ..told("x", AlertState::Firing, 1, 99.0, &[99])
        });
        story.take(told("a", AlertState::Resolved, 200, 0.0, &[]));
        let steps: Vec<Step> = story.alerts.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [Step::Fired, Step::Fired, Step::Changed, Step::Resolved]);
        assert!(story.is_firing());
        assert_eq!(story.span_us(1000), (80, 1000));
        story.take(told("b", AlertState::Resolved, 300, 0.0, &[]));
        assert!(!story.is_firing());
        assert_eq!(story.span_us(1000), (80, 300));
        assert_eq!(story.evidence, BTreeMap::from([(("t".to_owned(), 0), BTreeSet::from([3, 7]))]));
    }

    #[test]
    fn who_else_may_be_the_cause_is_named_once_with_the_highest_score() {
        let mut story = Story::of("i");
        assert_eq!(story.blame(), None);
        story.take(told("a", AlertState::Firing, 100, 5.0, &[]));
        let mut second = told("b", AlertState::Firing, 110, 9.0, &[]);
        second.alert.runners_up[0].score = 8.0;
        // The service itself is no other.
        let own = Candidate { server: second.alert.service.clone(), score: 50.0, ..second.alert.runners_up[0].clone() };
        second.alert.runners_up.push(own);
        story.take(second);
        let blame = story.blame().unwrap();
        assert_eq!((blame.score, blame.runners_up.len(), blame.runners_up[0].score), (9.0, 1, 9.25));
        assert_eq!(blame.service.name, "shop-orders");
    }
}
