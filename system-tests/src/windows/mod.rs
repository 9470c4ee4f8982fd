//! Holds the edges of each window against the requests that completed in it.
//!
//! In: what the clients did, the records in `requests`, the records in `edges` and what closes their windows. Out: a [`Verdict`] that counts windows that are
//! right, wrong, doubled or without a word apart. A window that is called complete has exactly the requests that completed in
//! it. Any other window has those of which there is a record, and names a node and a time for each of which there is none.
//!
//! Which window a request belongs to is decided by the agent's clock. Where there is a record, its time must lie between the
//! client's sending and receiving; where there is none, the request may count in every window that these two touch. A body in
//! chunks that is longer than what the probes copy is known to be over only by what comes next on its connection.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::RangeInclusive;

use headwater_processors::merge::ClosedWindow;
use headwater_schemas::records::{Edge, Missing, Side, WindowClosed};

use crate::client::Outcome;
use crate::lab::NODE;
use crate::newest::newest;
use crate::topics::SeenRequest;

pub const WINDOW_US: i64 = 10_000_000;

/// How far the agent's clock and the client's may be apart.
const CLOCKS_US: i64 = 1_000;

/// How long after it a client says something else on a connection, or closes it.
const NEXT_US: i64 = 1_000_000;

/// What is said of one window: by `edges`, and by what closes it.
#[derive(Debug, Default)]
pub struct Said {
    pub requests: i64,
    pub completeness: f64,
    pub missing: Vec<Missing>,
}

/// What is to be said of one window.
#[derive(Debug, Default)]
struct Truth {
    /// Requests that completed in this window, without those of which that is not known.
    certain: i64,
    /// Requests without record that may have completed in this window or in a neighbour.
    perhaps: i64,
    /// Requests that have a record.
    recorded: i64,
}

/// What came out, of the windows in which a request completed.
#[derive(Debug, Default)]
pub struct Verdict {
    pub complete: usize,
    pub incomplete: usize,
    /// Requests in no record, each within a named gap.
    pub unseen: usize,
    /// What must not be.
    pub problems: Vec<String>,
}

/// Start of the window of a time.
pub fn window_of(at_us: i64) -> i64 {
    at_us.div_euclid(WINDOW_US) * WINDOW_US
}

/// Judges every window in which a request completed.
pub fn judge(outcomes: &[Outcome], seen: &[SeenRequest], edges: &[Edge], closed: &[WindowClosed]) -> Verdict {
    let mut verdict = Verdict::default();
    let said = said(edges, closed, &mut verdict.problems);
    let mut truths: BTreeMap<i64, Truth> = BTreeMap::new();
    let by_path = by_path(outcomes, seen, &mut verdict.problems);
    for (outcome, records) in outcomes.iter().zip(by_path) {
        // An exchange counts where its client's record is, or else where its server's is.
        let counts = [Side::Client, Side::Server].into_iter().find_map(|side| records.iter().find(|r| r.side == side));
        if let Some(record) = counts {
            let truth = truths.entry(window_of(record.completed_at_us)).or_default();
            truth.certain += 1;
            truth.recorded += 1;
        } else {
            verdict.unseen += 1;
            let (from_us, to_us) = possible(outcome).into_inner();
            let windows = BTreeSet::from([from_us, to_us].map(window_of));
            for &window_us in &windows {
                let truth = truths.entry(window_us).or_default();
                *if windows.len() == 1 { &mut truth.certain } else { &mut truth.perhaps } += 1;
            }
            if !windows.iter().filter_map(|window_us| said.get(window_us)).any(|said| said.covers(outcome)) {
                verdict.problems.push(format!("no gap is named for {} at {}", outcome.path, outcome.received_at_us));
            }
        }
    }
    for (window_us, truth) in &truths {
        verdict.window(*window_us, truth, said.get(window_us));
    }
    for (window_us, said) in said.iter().filter(|(window_us, _)| !truths.contains_key(window_us)) {
        if said.requests > 0 {
            verdict.problems.push(format!("window {window_us}: nothing happened, and {said:?}"));
        }
    }
    verdict
}

impl Verdict {
    fn window(&mut self, window_us: i64, truth: &Truth, said: Option<&Said>) {
        let Some(said) = said else {
            if truth.certain > 0 {
                self.problems.push(format!("window {window_us}: not a word of it, {truth:?}"));
            }
            return;
        };
        println!(
            "window {window_us}: {} requests, completeness {:.4}, {truth:?}, missing {:?}",
            said.requests, said.completeness, said.missing
        );
        let mut problem = |what: &str| self.problems.push(format!("window {window_us}: {what}: {said:?}, {truth:?}"));
        if said.requests > truth.certain + truth.perhaps {
            problem("more than happened");
        }
        if said.completeness == 1.0 {
            self.complete += 1;
            if said.requests < truth.certain {
                problem("wrong, and called complete");
            }
            if !said.missing.is_empty() {
                problem("complete, and something is missing");
            }
        } else {
            self.incomplete += 1;
            if said.requests < truth.recorded {
                problem("fewer than there are records of");
            }
            if !said.missing.iter().any(|missing| missing.node == NODE && missing.from_us < missing.to_us) {
                problem("incomplete, and no node is named");
            }
        }
        if said.missing.iter().any(|missing| missing.from_us < window_us || missing.to_us > window_us + WINDOW_US) {
            problem("something is missing outside of the window");
        }
    }
}

impl Said {
    /// Whether a gap is named in which the request may have completed.
    fn covers(&self, outcome: &Outcome) -> bool {
        let (from_us, to_us) = possible(outcome).into_inner();
        self.missing.iter().any(|missing| missing.node == NODE && missing.from_us <= to_us && missing.to_us >= from_us)
    }

    /// Whether the node's data is said to be missing from all of this part of a window.
    fn misses(&self, from_us: i64, to_us: i64) -> bool {
        let mut reached_us = from_us;
        for missing in self.missing.iter().filter(|missing| missing.node == NODE) {
            if missing.from_us <= reached_us {
                reached_us = reached_us.max(missing.to_us);
            }
        }
        self.completeness < 1.0 && reached_us >= to_us
    }
}

/// The parts of a time in which nobody looked that no window names as missing.
pub fn unnamed(from_us: i64, to_us: i64, said: &BTreeMap<i64, Said>) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let mut window_us = window_of(from_us);
    while window_us < to_us {
        let part = (from_us.max(window_us), to_us.min(window_us + WINDOW_US));
        if !said.get(&window_us).is_some_and(|said| said.misses(part.0, part.1)) {
            parts.push(part);
        }
        window_us += WINDOW_US;
    }
    parts
}

/// Adds the edges of each window up. Of several revisions of an edge the last one counts, and so of what closes the window.
pub fn said(edges: &[Edge], closed: &[WindowClosed], problems: &mut Vec<String>) -> BTreeMap<i64, Said> {
    let mut revisions = BTreeSet::new();
    for edge in edges {
        let revision = (edge.window_start_us, edge.key(), edge.revision);
        if !revisions.insert(revision.clone()) {
            problems.push(format!("doubled: {revision:?}"));
        }
    }
    let mut windows: BTreeMap<i64, Said> = BTreeMap::new();
    let mut told: BTreeMap<i64, Vec<ClosedWindow>> = BTreeMap::new();
    for marker in newest(closed.to_vec()) {
        told.entry(marker.window_start_us).or_default().push(ClosedWindow::of(&marker));
        let new = || Said { requests: 0, completeness: 1.0, missing: Vec::new() };
        let said = windows.entry(marker.window_start_us).or_insert_with(new);
        said.completeness = said.completeness.min(marker.completeness);
        said.missing.extend(marker.missing);
    }
    for edge in newest(edges.to_vec()) {
        let (window_us, id) = (edge.window_start_us, edge.key());
        let Some(said) = windows.get_mut(&window_us) else {
            problems.push(format!("{id} in {window_us} is in a window that nothing closes"));
            continue;
        };
        said.requests += edge.requests;
        let is_told = |closed: &ClosedWindow| closed.completeness_of(&edge.client, &edge.server) == edge.completeness;
        if !told[&window_us].iter().any(is_told) {
            problems.push(format!("{id} in {window_us} says another completeness than its window"));
        }
    }
    windows
}

/// When the agent may say that a request completed.
fn possible(outcome: &Outcome) -> RangeInclusive<i64> {
    let known_us = if outcome.method == "PUT" { NEXT_US } else { 0 };
    outcome.sent_at_us - CLOCKS_US..=outcome.received_at_us + known_us + CLOCKS_US
}

/// The records of each request. No side may have two, and their times must be possible.
fn by_path<'a>(outcomes: &[Outcome], seen: &'a [SeenRequest], problems: &mut Vec<String>) -> Vec<Vec<&'a SeenRequest>> {
    let mut records: HashMap<&str, Vec<&SeenRequest>> = HashMap::new();
    for request in seen {
        records.entry(&request.path).or_default().push(request);
    }
    outcomes
        .iter()
        .map(|outcome| {
            let of_one = records.remove(outcome.path.as_str()).unwrap_or_default();
            let sides: BTreeSet<Side> = of_one.iter().map(|record| record.side).collect();
            if sides.len() != of_one.len() {
                problems.push(format!("doubled: {of_one:?}"));
            }
            let client = of_one.iter().find(|record| record.side == Side::Client);
            if client.is_some_and(|record| !possible(outcome).contains(&record.completed_at_us)) {
                problems.push(format!("at a time that cannot be: {client:?}, {outcome:?}"));
            }
            of_one
        })
        .collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { complete, incomplete, unseen, problems } = self;
        write!(f, "{complete} windows complete, {incomplete} not; {unseen} requests in named gaps; ")?;
        write!(f, "{} problems", problems.len())?;
        problems.iter().take(20).try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
