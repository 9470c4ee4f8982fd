//! Who may be the cause, the likeliest first.
//!
//! In: the readings of one window, and which edges a deeper one explains. Out: a ranking of the edges that deviate. What no deeper edge explains
//! stands before what one does; among these, what is least probable by chance stands first.

use std::collections::BTreeMap;

use headwater_schemas::records::{Candidate, Workload};

use super::readings::Readings;
use super::window::Subject;

/// Who is named beside the one that is blamed.
const RUNNERS_UP_MAX: usize = 2;

/// An edge that deviates.
#[derive(Debug)]
struct Suspect<'a> {
    client: &'a Workload,
    server: &'a Workload,
    explained: bool,
    score: f64,
}

#[derive(Debug)]
pub struct Suspects<'a> {
    ranked: Vec<Suspect<'a>>,
}

impl<'a> Suspects<'a> {
    pub fn of(
        readings: &'a BTreeMap<Subject, Readings>,
        is_explained: impl Fn(&Workload, &Workload) -> bool,
    ) -> Suspects<'a> {
        let mut scores: BTreeMap<(&Workload, &Workload), f64> = BTreeMap::new();
        for (subject, readings) in readings {
            let surprise = readings.surprise();
            if surprise > 0.0 {
                let score = scores.entry((&subject.client, &subject.server)).or_default();
                *score = score.max(surprise);
            }
        }
        let suspect =
            |((client, server), score)| Suspect { client, server, explained: is_explained(client, server), score };
        let mut ranked: Vec<Suspect<'_>> = scores.into_iter().map(suspect).collect();
        ranked.sort_by(|a, b| a.explained.cmp(&b.explained).then(b.score.total_cmp(&a.score)));
        Suspects { ranked }
    }

    /// Of an edge: how improbable it is by chance, as a natural logarithm.
    pub fn score(&self, subject: &Subject) -> f64 {
        let own = self.ranked.iter().find(|s| *s.client == subject.client && *s.server == subject.server);
        own.map_or(0.0, |suspect| suspect.score)
    }

    /// The likeliest ones beside the server of this edge, one for each server.
    pub fn runners_up(&self, subject: &Subject) -> Vec<Candidate> {
        let mut runners_up: Vec<Candidate> = Vec::new();
        for Suspect { client, server, score, .. } in &self.ranked {
            let is_new = **server != subject.server && runners_up.iter().all(|other| other.server != **server);
            if is_new && runners_up.len() < RUNNERS_UP_MAX {
                runners_up.push(Candidate { client: (*client).clone(), server: (*server).clone(), score: *score });
            }
        }
        runners_up
    }
}
