//! How far each input partition of a stage is, by the markers that it writes.

use std::collections::BTreeMap;

use headwater_schemas::records::WindowClosed;

/// The last window that each source partition has closed.
#[derive(Debug, Default)]
pub struct Sources {
    reached: BTreeMap<i32, i64>,
    partitions: i32,
}

impl Sources {
    pub fn mark(&mut self, marker: &WindowClosed) {
        self.partitions = marker.source_partitions;
        let reached = self.reached.entry(marker.source_partition).or_insert(marker.window_start_us);
        *reached = marker.window_start_us.max(*reached);
    }

    /// How many partitions there are, as the newest marker says; 0 before the first one.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether each of so many source partitions has closed this window or a later one.
    pub fn passed(&self, window_us: i64, partitions: i32) -> bool {
        let passed = |source| self.reached.get(&source).is_some_and(|&reached| reached >= window_us);
        partitions > 0 && (0..partitions).all(passed)
    }
}
