//! How one edge or one service went over the kept minutes: a point a window.

use headwater_schemas::records::Workload;
use serde::Serialize;

use super::Live;
use super::summary::{Summary, Sums};
use super::windows::Range;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryView {
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub window_start_us: i64,
    pub window_ms: i64,
    pub requests: Summary,
    pub bytes_per_s: f64,
    pub completeness: f64,
}

/// Whose history is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    /// An edge by its id.
    Edge(&'a str),
    /// All requests that a service answered, or that it made if it answers none.
    Node(&'a Workload),
}

impl Live {
    /// The windows that are published in full, oldest first. A window in which the edge did nothing is a point too.
    pub fn history(&self, of: Of, range: Range) -> HistoryView {
        let Some((_, windows)) = self.edges.of(range) else { return HistoryView { points: Vec::new() } };
        let answers = |who: &Workload| {
            self.edges.all().any(|(_, window)| window.records.values().any(|edge| edge.server == *who))
        };
        let as_server = matches!(of, Of::Node(who) if answers(who));
        let points = windows.iter().map(|(start_us, window)| {
            let covered_s = window.length_us as f64 / 1e6;
            let (mut sums, mut bytes, mut completeness) = (Sums::default(), 0_i64, window.completeness);
            for (id, edge) in &window.records {
                let meant = match of {
                    Of::Edge(wanted) => id == wanted,
                    Of::Node(who) if as_server => edge.server == *who,
                    Of::Node(who) => edge.client == *who,
                };
                if meant {
                    sums.add(edge.requests, edge.errors, &edge.duration_ns, &edge.server_duration_ns);
                    bytes =
                        bytes.saturating_add(edge.client_to_server_bytes).saturating_add(edge.server_to_client_bytes);
                    completeness = completeness.min(edge.completeness);
                }
            }
            Point {
                window_start_us: *start_us,
                window_ms: window.length_us / 1000,
                requests: sums.summary(covered_s),
                bytes_per_s: bytes as f64 / covered_s,
                completeness,
            }
        });
        HistoryView { points: points.collect() }
    }
}
