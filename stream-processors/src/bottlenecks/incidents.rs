//! The times that the past leaves out: what the present state depends on reaches back over them.
//!
//! In: what became of each story in a window. Out: of each incident, its first and its last window.

use std::collections::VecDeque;

use super::reading::Deviating;
use super::track::Track;
use super::window::Subject;

#[derive(Debug)]
pub struct Incident {
    pub from_us: i64,
    pub to_us: i64,
    pub subject: Subject,
    pub kind: Deviating,
    pub over: bool,
}

/// Notes what became of a story in a window.
pub fn note_incident(
    incidents: &mut VecDeque<Incident>,
    subject: &Subject,
    kind: Deviating,
    track: &Track,
    window_us: i64,
) {
    let open = incidents.iter_mut().find(|i| !i.over && i.kind == kind && i.subject == *subject);
    match (open, track.bad_since) {
        (Some(incident), since) => {
            incident.to_us = window_us;
            incident.over = since.is_none() || !track.in_incident();
        }
        (None, Some((from_us, _))) if track.in_incident() => {
            incidents.push_back(Incident { from_us, to_us: window_us, subject: subject.clone(), kind, over: false });
        }
        _ => {}
    }
}
