//! How one window compares with the past, subject by subject.
//!
//! In: all subjects with their pasts, and what was observed. Out: a reading for each kind of deviation that can be told, also of edges that carry
//! nothing; which edges deviate, and which of them are spoken for by another.

use std::collections::{BTreeMap, BTreeSet};

use super::Judged;
use super::baseline::{Baseline, Deviating, KINDS, Reading};
use super::blame::Deviations;
use super::inflow::Inflow;
use super::window::{Observation, Subject};
use crate::windows::Windows;

/// More operations of an edge than this at once are the edge's trouble.
const OPERATIONS_MAX: usize = 3;

/// A subject's readings in one window.
pub struct Readings {
    pub baseline: Baseline,
    pub by_kind: [Option<Reading>; KINDS],
}

/// All readings, also of edges that carry nothing, and those that carry nothing though their client is there.
pub(super) fn readings(
    subjects: &BTreeMap<Subject, Judged>,
    windows: Windows,
    observations: &BTreeMap<Subject, Observation>,
) -> (BTreeMap<Subject, Readings>, BTreeSet<Subject>) {
    let known = || subjects.iter().filter(|(subject, _)| subject.server.is_known());
    let usual: BTreeMap<&Subject, Baseline> =
        known().filter_map(|(subject, judged)| Some((subject, judged.history.baseline(windows)?))).collect();
    // Also of those whose past was long ago, since they are in an incident.
    let before = |judged: &Judged| judged.tracks.iter().find_map(|track| track.bad_since).map(|(_, baseline)| baseline);
    let usual_or_before =
        known().filter_map(|(subject, judged)| Some((subject, before(judged).or(usual.get(subject).copied())?)));
    let inflow = Inflow::of(usual_or_before, observations);
    let nothing = Observation::default();
    let (mut readings, mut cut) = (BTreeMap::new(), BTreeSet::new());
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
        let usual = usual.get(subject).copied();
        // In bad times, what was usual before them.
        let baseline_of = |kind: Deviating| judged.tracks[kind as usize].bad_since.map(|(_, b)| b).or(usual);
        let client_share = inflow.share(&subject.client);
        let by_kind = Deviating::ALL.map(|kind| {
            if kind == Deviating::Traffic && !subject.operation.is_empty() {
                return None;
            }
            let in_incident = judged.tracks[kind as usize].in_incident();
            baseline_of(kind)?.read(kind, observation, client_share, in_incident)
        });
        if let Some(baseline) = usual.or(Deviating::ALL.into_iter().find_map(baseline_of)) {
            readings.insert(subject.clone(), Readings { baseline, by_kind });
        }
    }
    (readings, cut)
}

/// The edges that deviate in any way, as a whole or in one operation. That no requests come any more may be their client's doing, so it
/// explains nothing.
pub fn deviations(readings: &BTreeMap<Subject, Readings>) -> Deviations {
    let mut deviations = Deviations::default();
    for (subject, readings) in readings {
        if readings.by_kind[..Deviating::Traffic as usize].iter().flatten().any(|reading| reading.deviates) {
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
