//! How one window compares with the past, subject by subject.
//!
//! In: all subjects with their pasts, and what was observed. Out: a reading for each kind of deviation that can be told, also of edges that carry
//! nothing; which edges deviate, and which of them are spoken for by another.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::Workload;

use super::Judged;
use super::baseline::Baseline;
use super::blame::Deviations;
use super::inflow::Inflow;
use super::reading::{Deviating, KINDS, Look, Reading};
use super::recent::{ALL, Enough, SURPRISE_BELOW};
use super::together::{Member, look_beside};
use super::window::{Observation, Subject};
use crate::touched::Touched;
use crate::windows::Windows;

/// More operations of an edge than this at once are the edge's trouble.
const OPERATIONS_MAX: usize = 3;

/// A subject's readings in one window.
pub struct Readings {
    pub baseline: Baseline,
    pub by_kind: [Option<Reading>; KINDS],
}

impl Readings {
    /// Whether it is bad itself. That no requests come any more may be its client's doing.
    pub fn deviates(&self) -> bool {
        self.by_kind[..Deviating::Traffic as usize].iter().flatten().any(|reading| reading.deviates)
    }

    /// How improbable what deviates is by chance, as a natural logarithm; 0 if nothing does.
    pub fn surprise(&self) -> f64 {
        let deviating = self.by_kind.iter().flatten().filter(|reading| reading.deviates);
        deviating.fold(0.0, |most, reading| reading.surprise.max(most))
    }
}

/// All readings, also of edges that carry nothing, and those that carry nothing though their client is there.
pub(super) fn readings(
    subjects: &BTreeMap<Subject, Judged>,
    window_us: i64,
    windows: Windows,
    observations: &BTreeMap<Subject, Observation>,
    touched: &Touched,
) -> (BTreeMap<Subject, Readings>, BTreeSet<Subject>) {
    let known = || subjects.iter().filter(|(subject, _)| subject.server.is_known());
    // Also of those whose past was long ago, since they are in an incident.
    let before = |judged: &Judged| judged.tracks.iter().find_map(|track| track.bad_since).map(|(_, baseline)| baseline);
    let usual = known().filter_map(|(subject, judged)| Some((subject, before(judged).or(judged.usual)?)));
    let inflow = Inflow::of(usual, observations, touched);
    let nothing = Observation::default();
    let (mut readings, mut cut, mut members) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for (subject, judged) in known() {
        if inflow.is_cut(subject) {
            cut.insert(subject.clone());
        }
        let observation = match observations.get(subject) {
            Some(observation) => observation,
            // That an operation is not asked for any more is nobody's fault.
            None if !cut.contains(subject) || !subject.operation.is_empty() => continue,
            None => &nothing,
        };
        let client_share = inflow.share(&subject.client);
        let look = Look { window_us, windows, observation, client_share, enough: Enough::ToBegin, horizons: ALL };
        if let Some(baseline) = judged.usual.or_else(|| before(judged)) {
            let by_kind = read(subject, judged, &look);
            members.push(Member { subject, judged, observation, by_kind });
            readings.insert(subject.clone(), Readings { baseline, by_kind });
        }
    }
    look_beside(&members, window_us, windows, |subject, kind, reading| {
        if let Some(readings) = readings.get_mut(subject) {
            readings.by_kind[kind as usize] = Some(reading);
        }
    });
    look_below(subjects, window_us, windows, observations, &mut readings);
    (readings, cut)
}

fn read(subject: &Subject, judged: &Judged, look: &Look<'_>) -> [Option<Reading>; KINDS] {
    Deviating::ALL.map(|kind| match kind {
        Deviating::Retransmits | Deviating::Unanswered | Deviating::Traffic if !subject.operation.is_empty() => None,
        _ => look.read(judged, kind),
    })
}

/// Looks again at whom those call who are called with deviations: where one of two that wait for each other is plainly bad, less is enough to
/// believe the same of the other.
fn look_below(
    subjects: &BTreeMap<Subject, Judged>,
    window_us: i64,
    windows: Windows,
    observations: &BTreeMap<Subject, Observation>,
    readings: &mut BTreeMap<Subject, Readings>,
) {
    let bad = readings.iter().filter(|(_, readings)| readings.deviates());
    let mut called: BTreeSet<Workload> = bad.map(|(subject, _)| subject.server.clone()).collect();
    let mut to_visit: Vec<Workload> = called.iter().cloned().collect();
    while let Some(service) = to_visit.pop() {
        let its = readings.iter_mut().filter(|(subject, readings)| subject.client == service && !readings.deviates());
        let mut found = Vec::new();
        for (subject, readings) in its {
            let (Some(judged), Some(observation)) = (subjects.get(subject), observations.get(subject)) else {
                continue;
            };
            let enough = Enough::Surprise(SURPRISE_BELOW);
            let look = Look { window_us, windows, observation, client_share: None, enough, horizons: ALL };
            let traffic = readings.by_kind[Deviating::Traffic as usize];
            readings.by_kind = read(subject, judged, &look);
            readings.by_kind[Deviating::Traffic as usize] = traffic;
            if readings.deviates() {
                found.push(subject.server.clone());
            }
        }
        to_visit.extend(found.into_iter().filter(|server| called.insert(server.clone())));
    }
}

/// The edges that deviate in any way, as a whole or in one operation. That no requests come any more may be their client's doing, so it
/// explains nothing.
pub fn deviations(readings: &BTreeMap<Subject, Readings>) -> Deviations {
    let mut deviations = Deviations::default();
    for (subject, readings) in readings {
        if readings.deviates() {
            deviations.insert(&subject.client, &subject.server);
        }
    }
    deviations
}
/// Whether the edge speaks for its operations, or its operations for the edge.
pub fn is_said_otherwise(subject: &Subject, kind: Deviating, readings: &BTreeMap<Subject, Readings>) -> bool {
    let deviates = |readings: &Readings| readings.by_kind[kind as usize].is_some_and(|reading| reading.deviates);
    if !readings.get(subject).is_some_and(deviates) {
        return false;
    }
    let whole = Subject { operation: String::new(), ..subject.clone() };
    let of_edge = readings.range(&whole..).take_while(|(other, _)| other.edge() == subject.edge());
    let (mut edge_deviates, mut operations) = (false, 0);
    for (other, _) in of_edge.filter(|(_, readings)| deviates(readings)) {
        if other.operation.is_empty() {
            edge_deviates = true;
        } else {
            operations += 1;
        }
    }
    let edge_speaks = edge_deviates && (operations == 0 || operations > OPERATIONS_MAX);
    if subject.operation.is_empty() { !edge_speaks } else { edge_speaks }
}
