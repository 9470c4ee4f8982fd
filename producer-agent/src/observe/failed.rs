//! Connections that were never established: a name for each, and one record for a program that tries again and again.
//!
//! In: sockets that failed to connect. Out: which of them to tell at once, and at the end of an interval those that were kept back, with how
//! many each stands for. The first failure of its kind is told at once; what fails alike before the interval is over is counted. Pure.
//! Bounded: [`LOOPS_MAX`] kinds; further ones are told one by one.

use std::rc::Rc;

use headwater_probe_loader::types::SocketRecord;
use headwater_schemas::ids::ConnectionId;
use rustc_hash::FxHashMap;

use super::connection::{Service, spread};
use crate::naming::Owner;

const LOOPS_MAX: usize = 10_000;

/// Attempts that are the same to whoever reads of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    service: Service,
    role: u16,
    remote_address: [u8; 16],
    remote_port: u16,
    error: u32,
}

impl Kind {
    fn of(socket: &SocketRecord) -> Kind {
        Kind {
            service: Service::of(socket),
            role: socket.role,
            remote_address: socket.remote_address,
            remote_port: socket.remote_port,
            error: socket.error,
        }
    }
}

/// Attempts that failed since the last record of their kind.
pub struct Attempts {
    pub count: i64,
    /// The newest of them.
    pub socket: SocketRecord,
    pub owner: Rc<Owner>,
}

/// The kinds of attempts that failed lately.
#[derive(Default)]
pub struct Failed {
    kinds: FxHashMap<Kind, Attempts>,
}

impl Failed {
    /// An attempt has failed. Says whether it is to be told at once.
    pub fn add(&mut self, socket: &SocketRecord, owner: &Rc<Owner>) -> bool {
        let kind = Kind::of(socket);
        if let Some(attempts) = self.kinds.get_mut(&kind) {
            *attempts = Attempts { count: attempts.count + 1, socket: *socket, owner: Rc::clone(owner) };
            return false;
        }
        if self.kinds.len() < LOOPS_MAX {
            self.kinds.insert(kind, Attempts { count: 0, socket: *socket, owner: Rc::clone(owner) });
        }
        true
    }

    /// The interval is over: gives what was kept back, and forgets the kinds of which there was nothing.
    pub fn end_interval(&mut self, mut tell: impl FnMut(&Attempts)) {
        self.kinds.retain(|_, attempts| {
            if attempts.count == 0 {
                return false;
            }
            tell(attempts);
            attempts.count = 0;
            true
        });
    }
}

/// The name of a connection that has no sequence numbers: of its addresses, its time and its node.
pub fn name(node: &str, socket: &SocketRecord) -> ConnectionId {
    let half = |bytes: &[u8; 16], at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(half)
    };
    let ports = u64::from(socket.local_port) << 32 | u64::from(socket.remote_port) << 16 | u64::from(socket.role);
    let words = [
        socket.at_ns,
        ports,
        half(&socket.local_address, 0),
        half(&socket.local_address, 8),
        half(&socket.remote_address, 0),
        half(&socket.remote_address, 8),
        socket.process_started_ns,
    ];
    let of_node = node.bytes().fold(0, |id, byte| spread(id ^ u64::from(byte)));
    ConnectionId(
        words.into_iter().fold(spread(of_node ^ node.len() as u64), |id, word| spread(id.wrapping_add(1) ^ word)),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::naming::Owners;
    use crate::naming::tests::socket;

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_others_together() {
        let mut owners = Owners::new(Duration::from_secs(1));
        let mut failed = Failed::default();
        let (loops, other) = (socket(1), SocketRecord { remote_port: 9, ..socket(1) });
        let owner = owners.of(&loops);
        let told = |failed: &mut Failed| {
            let mut told = Vec::new();
            failed.end_interval(|attempts| told.push((attempts.count, attempts.socket.at_ns)));
            told
        };
        assert!(failed.add(&loops, &owner) && failed.add(&other, &owner));
        for at_ns in 1..=500 {
            assert!(!failed.add(&SocketRecord { at_ns, local_port: at_ns as u16, ..loops }, &owner));
        }
        assert_eq!(told(&mut failed), [(500, 500)]);
        assert!(!failed.add(&SocketRecord { at_ns: 501, ..loops }, &owner), "it goes on");
        assert!(failed.add(&other, &owner), "that was over");
        assert_eq!(told(&mut failed), [(1, 501)]);
        assert_eq!((told(&mut failed).len(), failed.kinds.len()), (0, 0));
    }

    #[test]
    fn two_that_fail_in_the_same_nanosecond_have_names_of_their_own() {
        let one = SocketRecord { at_ns: 7, local_port: 40_000, remote_port: 80, ..socket(1) };
        let others = [
            SocketRecord { local_port: 40_001, ..one },
            SocketRecord { remote_port: 81, ..one },
            SocketRecord { at_ns: 8, ..one },
            SocketRecord { remote_address: [1; 16], ..one },
        ];
        assert!(others.iter().all(|other| name("a", other) != name("a", &one)));
        assert_eq!(name("a", &one), name("a", &one));
        assert_ne!(name("a", &one), name("b", &one));
    }
}
