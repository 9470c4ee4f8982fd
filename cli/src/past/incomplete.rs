//! What is missing of a window, as the markers say that close it.

use std::collections::BTreeMap;

use headwater_schemas::records::WindowClosed;
use serde::Serialize;

use crate::clock::rfc3339;
use crate::format::completeness;

/// Incomplete windows that are told, a line each.
const SHOWN: usize = 5;
/// Of a list of what is missing, so much is said in a line.
const LACKS_SHOWN: usize = 3;

/// The markers of one window, by the partition that says so.
pub type MarkersOfWindow = BTreeMap<i32, WindowClosed>;

/// A window of which something is missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incomplete {
    pub window_start: String,
    pub completeness: f64,
    pub missing: Vec<Lack>,
}

/// Whose data is missing, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lack {
    pub node: String,
    pub reason: String,
    pub count: i64,
    pub from: String,
    pub to: String,
}

/// Whether all partitions have closed the window that is to be closed by so many.
pub fn is_whole(of_window: &MarkersOfWindow) -> bool {
    let sources = of_window.values().map(|marker| marker.source_partitions).max();
    sources.is_some_and(|sources| of_window.len() >= sources.max(1) as usize)
}

/// Lines of the first incomplete windows, and how many there are beside them; `not_named` were not even kept.
/// `of` stands before each line, `how` before each window.
pub fn notes(of: &str, how: &str, incomplete: &[Incomplete], not_named: u64) -> Vec<String> {
    let named = incomplete.iter().take(SHOWN).map(|incomplete| format!("{of}{how}: {}", incomplete.text()));
    let mut notes: Vec<String> = named.collect();
    let more = incomplete.len().saturating_sub(SHOWN) as u64 + not_named;
    if more > 0 {
        notes.push(format!("{of}{more} more windows are incomplete; --json names them"));
    }
    notes
}

impl Incomplete {
    /// None if nothing is missing.
    pub fn of(start_us: i64, of_window: &MarkersOfWindow) -> Option<Incomplete> {
        let least = of_window.values().map(|marker| marker.completeness).fold(1.0, f64::min);
        let lacks = of_window.values().flat_map(|marker| &marker.missing).map(|missing| Lack {
            node: missing.node.clone(),
            reason: missing.reason.clone(),
            count: missing.count,
            from: rfc3339(missing.from_us),
            to: rfc3339(missing.to_us),
        });
        let mut missing: Vec<Lack> = Vec::new();
        for lack in lacks {
            // Each partition says the same of the window as a whole.
            if !missing.contains(&lack) {
                missing.push(lack);
            }
        }
        (least < 1.0).then(|| Incomplete { window_start: rfc3339(start_us), completeness: least, missing })
    }

    /// The same in a line.
    pub fn text(&self) -> String {
        let lacks: Vec<String> = self.missing.iter().take(LACKS_SHOWN).map(Lack::text).collect();
        let more = match self.missing.len().saturating_sub(LACKS_SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        format!("{}  {} complete: {}{more}", self.window_start, completeness(self.completeness), lacks.join("; "))
    }
}

impl Lack {
    fn text(&self) -> String {
        let count = if self.count > 0 { format!(" {}", self.count) } else { String::new() };
        format!("{} {}{count} from {} to {}", self.node, self.reason, self.from, self.to)
    }
}
