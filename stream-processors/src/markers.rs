//! How far each input partition of a stage is, by the markers that it writes.

use std::collections::BTreeMap;

use headwater_schemas::records::WindowClosed;

/// The last window that each source partition has closed.
#[derive(Debug, Default)]
pub struct Sources {
    reached: BTreeMap<i32, Reached>,
    partitions: i32,
}

#[derive(Debug, Clone, Copy)]
struct Reached {
    window_us: i64,
    /// How many partitions there are, as the one said that closed it.
    partitions: i32,
}

impl Sources {
    pub fn mark(&mut self, marker: &WindowClosed) {
        self.partitions = marker.source_partitions;
        let now = Reached { window_us: marker.window_start_us, partitions: marker.source_partitions };
        let reached = self.reached.entry(marker.source_partition).or_insert(now);
        if now.window_us >= reached.window_us {
            *reached = now;
        }
    }

    /// How many partitions there are, as the newest marker says; 0 before the first one.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether each of so many source partitions has closed this window or a later one.
    pub fn passed(&self, window_us: i64, partitions: i32) -> bool {
        let passed = |source| self.reached.get(&source).is_some_and(|reached| reached.window_us >= window_us);
        partitions > 0 && (0..partitions).all(passed)
    }

    /// The same of as many source partitions as the most that any of those knows of that have closed it: while partitions are added, some are behind in
    /// what they know.
    pub fn have_closed(&self, window_us: i64) -> bool {
        let closed = self.reached.values().filter(|reached| reached.window_us >= window_us);
        closed.map(|reached| reached.partitions).max().is_some_and(|partitions| self.passed(window_us, partitions))
    }
}

#[cfg(test)]
mod tests {
    use headwater_schemas::samples;

    use super::*;

    fn mark(sources: &mut Sources, source_partition: i32, window_start_us: i64, source_partitions: i32) {
        let marker = WindowClosed { source_partition, window_start_us, source_partitions, ..samples::window_closed() };
        sources.mark(&marker);
    }

    #[test]
    fn while_partitions_are_added_who_knows_of_most_counts() {
        let mut sources = Sources::default();
        assert!(!sources.have_closed(0));
        for (source, partitions) in [(2, 3), (0, 2), (1, 2)] {
            assert!(!sources.have_closed(10));
            mark(&mut sources, source, 10, partitions);
        }
        assert!(sources.have_closed(10));
        // One says so that is ahead, and the next one knows nothing of it.
        for (source, partitions) in [(1, 4), (0, 3), (2, 3)] {
            mark(&mut sources, source, 20, partitions);
            assert!(!sources.have_closed(20));
        }
        mark(&mut sources, 3, 20, 4);
        assert!(sources.have_closed(20));
    }

    #[test]
    fn of_a_topic_that_was_made_anew_with_fewer_partitions_the_others_are_not_waited_for() {
        let mut sources = Sources::default();
        (0..3).for_each(|source| mark(&mut sources, source, 10, 3));
        mark(&mut sources, 0, 20, 1);
        assert!(sources.have_closed(20));
    }
}
