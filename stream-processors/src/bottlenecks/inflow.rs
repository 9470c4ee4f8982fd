//! Whether services have as much to do as ever, and whether they are there at all.
//!
//! In: what is usual of each edge, and what was observed in a window. Out: of a service, the share of its usual requests that it got. A
//! client that calls nobody because nobody calls it is well.

use std::collections::BTreeMap;

use headwater_schemas::records::Workload;
use rustc_hash::{FxHashMap, FxHashSet};

use super::baseline::Baseline;
use super::window::{Observation, Subject};
use crate::touched::Touched;

/// One window.
#[derive(Debug, Default)]
pub struct Inflow<'a> {
    /// Usual and observed requests, of edges that never rest.
    by_server: FxHashMap<&'a Workload, (f64, f64)>,
    /// Services of which that is not known, since an edge of theirs may lack something.
    unclear: FxHashSet<&'a Workload>,
    touched: Touched,
    /// Who did anything.
    present: FxHashSet<&'a Workload>,
    /// Whose edges carried requests.
    carried: FxHashSet<(&'a Workload, &'a Workload, &'a str)>,
}

impl<'a> Inflow<'a> {
    pub fn of(
        usual: impl Iterator<Item = (&'a Subject, Baseline)>,
        observations: &'a BTreeMap<Subject, Observation>,
        touched: &Touched,
    ) -> Inflow<'a> {
        // Where nothing at all was observed, nobody looked.
        let touched = if observations.is_empty() { Touched::All } else { touched.clone() };
        let mut inflow = Inflow { touched, ..Inflow::default() };
        for (subject, baseline) in usual.filter(|(subject, _)| subject.operation.is_empty()) {
            if let Some(requests) = baseline.steady_requests() {
                if inflow.touched.has(&subject.client, &subject.server) {
                    inflow.unclear.insert(&subject.server);
                }
                let observed = observations.get(subject).map_or(0, |observation| observation.requests) as f64;
                let sums = inflow.by_server.entry(&subject.server).or_default();
                *sums = (sums.0 + requests, sums.1 + observed);
            }
        }
        for (subject, observation) in observations {
            if observation.requests > 0 {
                inflow.present.extend([&subject.client, &subject.server]);
                inflow.carried.insert(subject.edge());
            } else if observation.failed > 0 || observation.asked_for.sent_bytes > 0 {
                inflow.present.insert(&subject.client);
            }
        }
        inflow
    }

    /// The share of its usual requests that a service got, at most 1. None if it is not known what is usual, or if something is
    /// missing from the window.
    pub fn share(&self, service: &Workload) -> Option<f64> {
        let (usual, observed) = self.by_server.get(service).filter(|_| !self.unclear.contains(service))?;
        Some((observed / usual).min(1.0))
    }

    /// Whether an edge carries nothing though its client is there.
    pub fn is_cut(&self, subject: &Subject) -> bool {
        let is_clear = !self.touched.has(&subject.client, &subject.server);
        is_clear && self.present.contains(&subject.client) && !self.carried.contains(&subject.edge())
    }
}
