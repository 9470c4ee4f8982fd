//! Of several revisions of a record the newest, as every reader has to take it who adds records up.

use std::collections::BTreeMap;

use headwater_schemas::records::{Edge, Latency, WindowClosed};

/// A record of one window.
pub trait OfWindow {
    /// The window, and what names the record in it.
    fn window_and_key(&self) -> (i64, String);
    fn revision(&self) -> i32;
}

impl OfWindow for Edge {
    fn window_and_key(&self) -> (i64, String) {
        (self.window_start_us, Edge::key(self))
    }
    fn revision(&self) -> i32 {
        self.revision
    }
}

impl OfWindow for Latency {
    fn window_and_key(&self) -> (i64, String) {
        (self.window_start_us, Latency::key(self))
    }
    fn revision(&self) -> i32 {
        self.revision
    }
}

impl OfWindow for WindowClosed {
    fn window_and_key(&self) -> (i64, String) {
        (self.window_start_us, self.source_partition.to_string())
    }
    fn revision(&self) -> i32 {
        self.revision
    }
}

/// One of each.
pub fn newest<R: OfWindow>(records: Vec<R>) -> Vec<R> {
    let mut newest: BTreeMap<(i64, String), R> = BTreeMap::new();
    for record in records {
        let known = newest.get(&record.window_and_key());
        if known.is_none_or(|known| known.revision() <= record.revision()) {
            newest.insert(record.window_and_key(), record);
        }
    }
    newest.into_values().collect()
}
