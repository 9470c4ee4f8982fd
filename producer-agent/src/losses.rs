//! Turns the probes' counters into drops: what the kernel gave up since the last look.

use headwater_probe_loader::MissedRuns;
use headwater_probe_loader::types::count;
use headwater_probe_loader::types::share::{Cgroup, lost};
use headwater_workload::names::CgroupKey;
use rustc_hash::FxHashMap;

use crate::ledger::{Ledger, Stream};
use crate::naming::Owners;

/// Counters of the probes that mean that a record is missing, the stream it is missing from, and the reason's name.
const LOSSES: [(u32, Stream, &str); 8] = [
    (count::RING_FULL_DATA, Stream::Requests, "ring_full"),
    (count::RING_FULL_CLOSE, Stream::Flows, "ring_full"),
    (count::STORAGE_FULL, Stream::Requests, "socket_storage_full"),
    (count::STORAGE_FULL, Stream::Flows, "socket_storage_full"),
    (count::STORAGE_FULL, Stream::Processes, "socket_storage_full"),
    (count::RING_FULL_LIFE, Stream::Processes, "ring_full"),
    (count::RATE_LIMITED_LIFE, Stream::Processes, "rate_limited"),
    (count::UNSETTLED, Stream::Requests, "socket_unsettled"),
];

/// What the probes and their loader have counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub counts: [u64; count::LEN as usize],
    /// Runs of programs that the kernel left out.
    pub missed_runs: MissedRuns,
    /// Events that the loader does not know.
    pub unknown_events: u64,
}

impl Seen {
    /// What is missing of each stream since the kernel left runs out, at most.
    fn missed(&self, stream: Stream) -> u64 {
        let MissedRuns { calls, states, ends, lives, .. } = self.missed_runs;
        match stream {
            Stream::Flows => calls + ends + states.min(self.counts[count::UNSEEN_ENDS as usize]),
            Stream::Requests => calls,
            Stream::Processes => lives,
        }
    }
}

/// The counters as they were at the last look.
#[derive(Default)]
pub struct Losses {
    last: Seen,
    /// Bounded by the probes' own table.
    last_by_cgroup: FxHashMap<CgroupKey, [u64; lost::LEN]>,
}

impl Losses {
    /// Whether events about bytes were lost since the last look.
    pub fn is_new(&self, seen: &Seen) -> bool {
        let counts = [count::RING_FULL_DATA, count::STORAGE_FULL].map(|index| index as usize);
        counts.iter().any(|index| seen.counts[*index] > self.last.counts[*index])
            || seen.missed_runs.calls > self.last.missed_runs.calls
            || seen.unknown_events > self.last.unknown_events
    }

    /// Books what was lost since the last look. Each lost event counts as one record, in all streams where it is not known of which it
    /// was: a bound from above. Says whether the path of a cgroup may be among it.
    pub fn book(&mut self, seen: &Seen, ledger: &mut Ledger) -> bool {
        for (index, stream, reason) in LOSSES {
            let index = index as usize;
            ledger.dropped(stream, reason, seen.counts[index].saturating_sub(self.last.counts[index]));
        }
        let unknown = seen.unknown_events.saturating_sub(self.last.unknown_events);
        for stream in Stream::ALL {
            ledger.dropped(stream, "probe_run_missed", seen.missed(stream).saturating_sub(self.last.missed(stream)));
            ledger.dropped(stream, "unknown_event", unknown);
        }
        let paths = count::RING_FULL_CGROUP as usize;
        let path_lost = seen.missed_runs.names > self.last.missed_runs.names
            || unknown > 0
            || seen.counts[paths] > self.last.counts[paths];
        self.last = *seen;
        path_lost
    }
}

impl Losses {
    /// Books whose the events were that the probes could not tell. They are counted as dropped by [`Losses::book`].
    pub fn book_owners(
        &mut self,
        lost_by_cgroup: &[(Cgroup, [u64; lost::LEN])],
        owners: &mut Owners,
        ledger: &mut Ledger,
    ) {
        let mut last = std::mem::take(&mut self.last_by_cgroup);
        for (cgroup, lost) in lost_by_cgroup {
            let key = CgroupKey { hierarchy: cgroup.hierarchy as u32, id: cgroup.id };
            let before = last.remove(&key).unwrap_or_default();
            self.last_by_cgroup.insert(key, *lost);
            if *lost == before {
                continue;
            }
            let owner = owners.in_cgroup(key);
            for (kind, stream, reason) in [
                (lost::DATA, Stream::Requests, "ring_full"),
                (lost::CLOSE, Stream::Flows, "ring_full"),
                (lost::LIFE, Stream::Processes, "ring_full"),
                (lost::LIFE_RATE, Stream::Processes, "rate_limited"),
            ] {
                let (now, before) = (lost[kind as usize], before[kind as usize]);
                // The probes may have forgotten the cgroup meanwhile, and begun at 0 again.
                let more = now.checked_sub(before).unwrap_or(now);
                ledger.was_of(&owner, stream, reason, more);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_found_no_room_is_its_cgroups_also_where_the_probes_forgot_it() {
        let mut ledger = Ledger::new("n".into(), 0, 0);
        let mut losses = Losses::default();
        let mut owners = Owners::new(Duration::from_secs(1));
        let mut book = |lost: &[(u64, [u64; lost::LEN])]| {
            let lost: Vec<_> = lost.iter().map(|&(id, lost)| (Cgroup { id, hierarchy: 0 }, lost)).collect();
            losses.book_owners(&lost, &mut owners, &mut ledger);
            ledger.by_workload().told().first().map(|told| told.dropped.clone()).unwrap_or_default()
        };
        assert!(book(&[]).is_empty());
        assert_eq!(book(&[(1, [5, 2, 9, 0, 0])])["requests/ring_full"], 5);
        assert_eq!(book(&[(1, [5, 2, 9, 0, 0]), (2, [1, 0, 0, 0, 0])])["requests/ring_full"], 6);
        let last = book(&[(1, [3, 2, 0, 1, 4]), (2, [2, 0, 0, 0, 0])]);
        assert_eq!((last["requests/ring_full"], last["flows/ring_full"]), (10, 2));
        assert_eq!((last["processes/ring_full"], last["processes/rate_limited"]), (1, 4));
    }

    #[test]
    fn each_loss_is_booked_once() {
        let mut ledger = Ledger::new("n".into(), 0, 0);
        let mut losses = Losses::default();
        let mut seen = Seen::default();
        seen.missed_runs.calls = 1;
        seen.missed_runs.names = 1;
        seen.counts[count::RING_FULL_DATA as usize] = 3;
        assert!(losses.book(&seen, &mut ledger));
        assert!(!losses.book(&seen, &mut ledger));
        seen.counts[count::RING_FULL_CGROUP as usize] = 1;
        assert!(losses.book(&seen, &mut ledger));
        seen.unknown_events = 2;
        assert!(losses.book(&seen, &mut ledger));
        let requests = &ledger.counts(Stream::Requests).dropped;
        assert_eq!((requests["ring_full"], requests["probe_run_missed"], requests["unknown_event"]), (3, 1, 2));
        let flows = &ledger.counts(Stream::Flows).dropped;
        assert_eq!((flows["probe_run_missed"], flows["unknown_event"]), (1, 2));
    }

    #[test]
    fn left_out_changes_of_states_are_lost_flows_where_an_end_was_unseen() {
        let mut ledger = Ledger::new("n".into(), 0, 0);
        let mut losses = Losses::default();
        let mut book = |states: u64, ends: u64, unseen: u64| {
            let mut seen =
                Seen { missed_runs: MissedRuns { states, ends, ..MissedRuns::default() }, ..Seen::default() };
            seen.counts[count::UNSEEN_ENDS as usize] = unseen;
            losses.book(&seen, &mut ledger);
            let missed = |stream| ledger.counts(stream).dropped.get("probe_run_missed").copied().unwrap_or(0);
            (missed(Stream::Requests), missed(Stream::Flows))
        };
        // Connections that are older than the probes end unseen without that anything was left out.
        assert_eq!(book(0, 0, 5), (0, 0));
        assert_eq!(book(2, 0, 5), (0, 2));
        assert_eq!(book(9, 0, 5), (0, 5));
        assert_eq!(book(9, 0, 6), (0, 6));
        assert_eq!(book(9, 1, 6), (0, 7));
    }
}
