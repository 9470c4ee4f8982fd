//! Workloads that rest: to follow them would take more than the whole budget (`capture.cpu_budget`), so that for a while no more is known of their
//! connections than what the kernel's counters say.
//!
//! In: how many are to rest. Out: which ones, from the one that gave the agent the most to do since the last look; what is wanted of their connections; and that
//! requests of theirs are missing: at least one for each connection and walk that finds it moved bytes, since nobody sees how many there were. Whose
//! turn is over is followed anew, and whoever rested first is the first. Bounded by [`RESTING_MAX`](crate::budget::RESTING_MAX).

use headwater_probe_loader::types::{DataEvent, SocketRecord, interest, role, share};
use headwater_protocols::{Event, Recognition, Segment};
use headwater_workload::names::CgroupKey;

use super::connection::Connection;
use super::ends::{end_folds, end_sums};
use super::spare::Spared;
use super::{Interest, Observer, Output, direction_of, request};

/// Who has given the agent less than one of so many parts of all that it had to do is not the one to rest.
const LOUD_PART: u64 = 4;

/// Why a request has no record.
const REASON: &str = "over_budget";

/// A cgroup rests from now on, or does not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    pub cgroup: CgroupKey,
    pub rests: bool,
}

impl Rest {
    /// As the probes name it.
    pub fn cgroup(&self) -> share::Cgroup {
        share::Cgroup { id: self.cgroup.id, hierarchy: u64::from(self.cgroup.hierarchy) }
    }
}

impl Observer {
    /// Has so many workloads rest, or fewer if no more of them have given the agent much to do since this was said last. Says what has changed.
    pub fn set_resting(&mut self, count: usize, now_ns: u64, out: &mut impl FnMut(Output<'_>)) -> Vec<Rest> {
        let mut work = self.owners.take_work();
        // Who began to rest a moment ago has his part in it.
        let least = work.values().sum::<u64>() / LOUD_PART;
        work.retain(|cgroup, work| *work > least && !self.resting.contains(cgroup));
        let mut changes = Vec::new();
        while self.resting.len() > count {
            changes.push(Rest { cgroup: self.resting.remove(0), rests: false });
        }
        while self.resting.len() < count {
            let loudest = work.iter().max_by_key(|(cgroup, work)| (**work, cgroup.hierarchy, cgroup.id));
            let Some((&cgroup, _)) = loudest else { break };
            work.remove(&cgroup);
            self.resting.push(cgroup);
            changes.push(Rest { cgroup, rests: true });
        }
        for Rest { cgroup, rests } in &changes {
            let of_it = self.connections.iter().filter(|(_, connection)| connection.cgroup() == *cgroup);
            let sockets: Vec<_> = of_it.map(|(socket, _)| *socket).collect();
            for socket in sockets {
                self.rest(socket, *rests, now_ns, out);
            }
        }
        changes
    }

    /// Workloads that rest.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// A connection is followed, or is not, as its workload says. What was under way is missing.
    pub(super) fn rest(&mut self, key: super::SocketKey, rests: bool, now_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.rests == rests || connection.is_only_counted() {
            return;
        }
        connection.rests = rests;
        connection.has_rested |= !rests;
        connection.spared = Spared::No;
        if rests {
            self.shared.sums.rest(&mut connection.heat);
            end_sums(connection, &mut self.shared, out);
            request::give_up(connection, REASON, now_ns, &mut self.shared, out);
            end_folds(connection, &mut self.shared, out);
        }
        let (is_known, wanted_again) = (connection.protocol.is_some(), connection.wanted_again());
        let is_unix = connection.identity.is_unix();
        self.begin_anew(key);
        if rests {
            self.client_is_silent(key);
        }
        let wanted = match rests {
            // It may still show what it speaks.
            true if !is_known => return,
            true => interest::COUNTERS,
            false => wanted_again,
        };
        self.interests.push(Interest { connection_id: key.0, role: u32::from(key.1), interest: wanted });
        if is_unix && !rests && u32::from(key.1) == role::CLIENT {
            self.begin_sparing(key.0, now_ns, out);
        }
    }

    /// Bytes of a connection that rests: nothing is told of them but what it speaks.
    pub(super) fn only_recognise(
        connection: &mut Connection,
        event: &DataEvent,
        segment: &Segment<'_>,
    ) -> Option<Interest> {
        if connection.protocol.is_some() {
            return None;
        }
        let Connection { identity, parser, protocol, encryption, .. } = connection;
        parser.segment(direction_of(event), segment, &mut |event| {
            if let Event::Encryption(told) = event {
                request::encrypted(identity, protocol, encryption, told);
            }
        });
        if connection.parser.recognition() == Recognition::Recognised {
            connection.protocol = Some(connection.parser.protocol());
        }
        let is_known = connection.parser.recognition() != Recognition::Undecided;
        let (connection_id, role) = connection.identity.socket;
        is_known.then_some(Interest { connection_id, role: u32::from(role), interest: interest::COUNTERS })
    }

    /// Counts what is missing of a connection that has rested since its last flow record, or that the probes do not follow yet, if it has moved
    /// bytes since.
    pub(super) fn book_rest(
        connection: &mut Connection,
        socket: &SocketRecord,
        is_left_out: bool,
        out: &mut impl FnMut(Output<'_>),
    ) {
        let told = connection.reported.sent_bytes + connection.reported.received_bytes;
        let is_unseen = connection.rests || is_left_out;
        if (std::mem::take(&mut connection.has_rested) || is_unseen)
            && !connection.is_only_counted()
            && socket.sent_bytes + socket.received_bytes > told
        {
            out(Output::RequestsDropped(REASON, 1, Some(&connection.identity.owner)));
        }
    }
}
