//! What all clients of a service show together, where none of them shows it alone.
//!
//! In: the subjects of one window with their pasts and readings. Out: of those that show it most, readings that deviate, where the evidence of all
//! edges to one server, of all their operations, or of one operation from all clients is as improbable as that of a single one must be. Each is held
//! against its own past before it is added, so that it says nothing that another client comes, or asks more. Nothing is remembered beside what is
//! known of each: two bad windows in a row are asked of the edge that is named, as ever.

use headwater_schemas::records::Workload;
use rustc_hash::FxHashMap;

use super::Judged;
use super::reading::{Deviating, KINDS, Look, Reading, SPEAKERS, Told, seen};
use super::recent::{ALL, ALONE, Enough, Evidence, Now, SURPRISE_BESIDE, Seen, Together};
use super::window::{Observation, Subject};
use crate::windows::Windows;

/// What is judged together. Connections that fail are not: a restart touches all clients at once.
const TOGETHER: [Deviating; 2] = [Deviating::Errors, Deviating::Latency];

/// A subject in one window.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub subject: &'a Subject,
    pub judged: &'a Judged,
    pub observation: &'a Observation,
    /// What it shows alone.
    pub by_kind: [Option<Reading>; KINDS],
}

impl Member<'_> {
    fn is_calm(&self, kind: Deviating) -> bool {
        !self.by_kind[kind as usize].is_some_and(|reading| reading.deviates)
    }
}

/// Tells of the readings that deviate beside others.
pub(super) fn look_beside<'a>(
    members: &[Member<'a>],
    window_us: i64,
    windows: Windows,
    mut tell: impl FnMut(&'a Subject, Deviating, Reading),
) {
    let mut by_server: FxHashMap<&Workload, Vec<&Member<'a>>> = FxHashMap::default();
    for member in members {
        by_server.entry(&member.subject.server).or_default().push(member);
    }
    for of_server in by_server.into_values().filter(|of_server| of_server.len() > 1) {
        let (edges, mut operations): (Vec<&Member<'_>>, Vec<&Member<'_>>) =
            of_server.into_iter().partition(|member| member.subject.operation.is_empty());
        operations.sort_by(|a, b| a.subject.operation.cmp(&b.subject.operation));
        let of_one = operations.chunk_by(|a, b| a.subject.operation == b.subject.operation);
        // All of them are one of them where there is no other.
        let of_one = of_one.filter(|of_one| of_one.len() < operations.len());
        for group in [&edges[..], &operations[..]].into_iter().chain(of_one) {
            for kind in TOGETHER {
                let calm: Vec<&Member<'_>> = group.iter().filter(|member| member.is_calm(kind)).copied().collect();
                if calm.len() > 1 {
                    judge(&calm, window_us, windows, kind, &mut tell);
                }
            }
        }
    }
}

/// Judges those together of which none deviates alone.
fn judge<'a>(
    group: &[&Member<'a>],
    window_us: i64,
    windows: Windows,
    kind: Deviating,
    tell: &mut impl FnMut(&'a Subject, Deviating, Reading),
) {
    let all: Vec<Seen<'_>> = group.iter().filter_map(|member| seen(member.judged, kind)).collect();
    // The same is asked for most of them.
    let mut asked: Vec<(Told, Option<Evidence>)> = Vec::new();
    for Member { subject, judged, observation, .. } in group {
        let look = Look { window_us, windows, observation, client_share: None, enough: Enough::ToBegin, horizons: ALL };
        let told = look.told(judged, kind);
        let known = asked.iter().find(|(other, _)| *other == told).map(|(_, evidence)| *evidence);
        let evidence = known.unwrap_or_else(|| {
            let evidence = of_all(&all, Now { window_us, windows, horizons: told.horizons }, kind, told.enough);
            asked.push((told, evidence));
            evidence
        });
        let Some(Evidence { surprise, windows: back, .. }) = evidence else { continue };
        let Some(horizons) = ALONE.into_iter().find(|alone| alone.contains(&back)) else { continue };
        let beside = Told { horizons, enough: Enough::Surprise(SURPRISE_BESIDE) };
        if let Some(reading) = look.read_with(judged, kind, beside).filter(|reading| reading.deviates) {
            tell(subject, kind, Reading { surprise: surprise.max(reading.surprise), ..reading });
        }
    }
}

/// What deviates of all.
fn of_all(all: &[Seen<'_>], now: Now<'_>, kind: Deviating, enough: Enough) -> Option<Evidence> {
    let together = Together(all);
    let evidence = match kind {
        Deviating::Errors => together.errors(now, enough),
        _ => SPEAKERS.iter().filter_map(|quantile| together.latency(now, *quantile, enough)).find(|read| read.deviates),
    };
    evidence.filter(|evidence| evidence.deviates)
}
