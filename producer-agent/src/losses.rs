//! Turns the probes' counters into drops: what the kernel gave up since the last look.

use headwater_probe_loader::types::count;

use crate::ledger::{Ledger, Stream};

/// Counters of the probes that mean that a record is missing, the stream it is missing from, and the reason's name.
const LOSSES: [(u32, Stream, &str); 6] = [
    (count::RING_FULL_DATA, Stream::Requests, "ring_full"),
    (count::RING_FULL_CLOSE, Stream::Flows, "ring_full"),
    (count::STORAGE_FULL, Stream::Requests, "socket_storage_full"),
    (count::STORAGE_FULL, Stream::Flows, "socket_storage_full"),
    (count::UNSETTLED, Stream::Requests, "socket_unsettled"),
    (count::MID_EXCHANGE, Stream::Requests, "started_before_capture"),
];

/// The counters as they were at the last look.
#[derive(Default)]
pub struct Losses {
    counts: [u64; count::LEN as usize],
    missed_runs: u64,
}

impl Losses {
    /// Books what was lost since the last look. Each lost event counts as one record: a bound from above. Says whether the path of a
    /// cgroup may be among it.
    pub fn book(&mut self, counts: &[u64; count::LEN as usize], missed_runs: u64, ledger: &mut Ledger) -> bool {
        for (index, stream, reason) in LOSSES {
            let index = index as usize;
            ledger.dropped(stream, reason, counts[index].saturating_sub(self.counts[index]));
        }
        let missed = missed_runs.saturating_sub(self.missed_runs);
        ledger.dropped(Stream::Requests, "probe_run_missed", missed);
        ledger.dropped(Stream::Flows, "probe_run_missed", missed);
        let paths = count::RING_FULL_CGROUP as usize;
        let path_lost = missed > 0 || counts[paths] > self.counts[paths];
        (self.counts, self.missed_runs) = (*counts, missed_runs);
        path_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_booked_once() {
        let mut ledger = Ledger::new("n".into(), 0, 0);
        let mut losses = Losses::default();
        let mut counts = [0; count::LEN as usize];
        counts[count::RING_FULL_DATA as usize] = 3;
        assert!(losses.book(&counts, 1, &mut ledger));
        assert!(!losses.book(&counts, 1, &mut ledger));
        counts[count::RING_FULL_CGROUP as usize] = 1;
        assert!(losses.book(&counts, 1, &mut ledger));
        let requests = &ledger.counts(Stream::Requests).dropped;
        assert_eq!((requests["ring_full"], requests["probe_run_missed"]), (3, 1));
        assert_eq!(ledger.counts(Stream::Flows).dropped["probe_run_missed"], 1);
    }
}
