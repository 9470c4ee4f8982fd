//! By which name a workload came to the addresses that it connects to, from the answers of DNS that it got.
//!
//! In: names with the addresses that they were answered with, over UDP or TCP, and whose question that was. Out: the name of an address, for the same workload. What others
//! asked says nothing: an address may mean something else to them, and who answers them is theirs to choose. Where a workload came to one address by two names
//! within [`KEPT_NS`], which is common where many sites share a machine, it is not known which one a connection is for: neither is given. Pure.
//! Bounded: [`WORKLOADS_HALF_MAX`] workloads with [`ADDRESSES_HALF_MAX`] addresses each, twice.

use std::net::IpAddr;
use std::rc::Rc;

use headwater_probe_loader::types::{SocketRecord, role};
use headwater_workload::bounded::Bounded;
use headwater_workload::names::CgroupKey;

use super::connection::address;
use super::unix;
use crate::naming::Owner;

/// Those that resolved something the longest time ago begin anew.
const WORKLOADS_HALF_MAX: usize = 256;
const ADDRESSES_HALF_MAX: usize = 128;

/// For so long a program may go on with what it got: hardly any answer says that it is good for more than an hour.
const KEPT_NS: u64 = 3_600_000_000_000;

/// Names of addresses, by who asked for them.
pub struct Resolved {
    workloads: Bounded<CgroupKey, Bounded<IpAddr, Given>>,
    /// Addresses whose name was cut off, since their workload had more of them than there is room for.
    pub forgotten: u64,
}

struct Given {
    name: Rc<str>,
    at_ns: u64,
    /// When it last followed or preceded another name within [`KEPT_NS`].
    contested_ns: Option<u64>,
}

impl Resolved {
    pub fn new() -> Resolved {
        Resolved { workloads: Bounded::new(WORKLOADS_HALF_MAX), forgotten: 0 }
    }

    /// A workload asked for a name and was answered with these addresses.
    pub fn learn(&mut self, workload: CgroupKey, name: &str, addresses: &[IpAddr], at_ns: u64) {
        if addresses.is_empty() || !is_host(name) {
            return;
        }
        let name: Rc<str> = name.into();
        let mut known = self.workloads.remove(&workload).unwrap_or_else(|| Bounded::new(ADDRESSES_HALF_MAX));
        let forgotten_before = known.forgotten();
        for address in addresses {
            let before = known.remove(address);
            let is_other = |before: &Given| before.name != name && within(before.at_ns, at_ns);
            let contested_ns = match &before {
                Some(before) if is_other(before) => Some(at_ns),
                Some(before) => before.contested_ns,
                None => None,
            };
            known.insert(*address, Given { name: Rc::clone(&name), at_ns, contested_ns });
        }
        self.forgotten += known.forgotten() - forgotten_before;
        self.workloads.insert(workload, known);
    }

    /// The name by which the program of a client's socket came to the other end, if there is one.
    pub fn of(&mut self, socket: &SocketRecord, owner: &Owner) -> Option<&str> {
        let is_client = u32::from(socket.role) == role::CLIENT && !unix::is_one(socket);
        let remote = is_client.then(|| address(socket.family, socket.remote_address))?;
        self.name(owner.cgroup(), remote, socket.opened_at_ns)
    }

    /// The name by which a workload came to an address, if there is one.
    pub fn name(&mut self, workload: CgroupKey, address: IpAddr, at_ns: u64) -> Option<&str> {
        let Given { name, contested_ns, .. } = self.workloads.get_mut(&workload)?.get(&address)?;
        (!contested_ns.is_some_and(|contested_ns| within(contested_ns, at_ns))).then_some(name)
    }
}

fn within(earlier_ns: u64, later_ns: u64) -> bool {
    later_ns.saturating_sub(earlier_ns) < KEPT_NS
}

/// A whole name of a host, as people write it (RFC 1123, 2.1, and the underscores of DNS): nothing that was cut, and nothing that looks like an address.
pub fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let mut labels = name.rsplit('.');
    // The last label of a name is never a number (RFC 3696, 2).
    let has_top = labels.next().is_some_and(|top| is_label(top) && !top.bytes().all(|byte| byte.is_ascii_digit()));
    has_top && labels.all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKLOAD: CgroupKey = CgroupKey { hierarchy: 0, id: 1 };
    const OTHER: CgroupKey = CgroupKey { hierarchy: 0, id: 2 };
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn resolved(names: &[(&str, u64)]) -> Resolved {
        let mut resolved = Resolved::new();
        names.iter().for_each(|(name, at_ns)| resolved.learn(WORKLOAD, name, &[ADDRESS], *at_ns));
        resolved
    }

    #[test]
    fn an_address_has_the_name_by_which_the_same_workload_came_to_it() {
        let mut resolved = resolved(&[("api.example", 1), ("api.example", 5)]);
        assert_eq!(resolved.name(WORKLOAD, ADDRESS, 9), Some("api.example"));
        assert_eq!(resolved.name(OTHER, ADDRESS, 9), None);
        assert_eq!(resolved.name(WORKLOAD, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9), None);
    }

    #[test]
    fn of_two_names_at_one_time_neither_is_given() {
        let mut both = resolved(&[("a.example", 1), ("b.example", 5)]);
        assert_eq!(both.name(WORKLOAD, ADDRESS, 9), None);
        // Also while one of them is asked for again, and no longer when the other has not been for long.
        both.learn(WORKLOAD, "b.example", &[ADDRESS], KEPT_NS);
        assert_eq!(both.name(WORKLOAD, ADDRESS, KEPT_NS + 4), None);
        assert_eq!(both.name(WORKLOAD, ADDRESS, KEPT_NS + 5), Some("b.example"));
        // One after the other.
        let mut later = resolved(&[("a.example", 1), ("b.example", KEPT_NS + 1)]);
        assert_eq!(later.name(WORKLOAD, ADDRESS, KEPT_NS + 9), Some("b.example"));
    }

    #[test]
    fn what_is_no_name_of_a_host_names_nothing() {
        for name in ["", ".", "10.0.0.1", "...cut.example", "a\\.b.example", "a..b", "a b.example"] {
            assert_eq!(resolved(&[(name, 1)]).name(WORKLOAD, ADDRESS, 2), None, "{name}");
        }
        for name in ["db", "x_y.example", "1.2.example", "xn--bcher-kva.example"] {
            assert_eq!(resolved(&[(name, 1)]).name(WORKLOAD, ADDRESS, 2), Some(name));
        }
    }

    #[test]
    fn a_workload_that_resolves_without_end_costs_itself_alone() {
        let mut resolved = resolved(&[("api.example", 1)]);
        for number in 0..100_000_u32 {
            resolved.learn(OTHER, "loud.example", &[IpAddr::from(number.to_be_bytes())], 2);
        }
        assert_eq!(resolved.name(WORKLOAD, ADDRESS, 3), Some("api.example"));
        assert_eq!(resolved.name(OTHER, IpAddr::from(99_999_u32.to_be_bytes()), 3), Some("loud.example"));
        assert!(resolved.forgotten >= 100_000 - 2 * ADDRESSES_HALF_MAX as u64);
        let kept = resolved.workloads.get(&OTHER).map(|known| known.iter().count());
        assert!(kept.is_some_and(|kept| kept <= 2 * ADDRESSES_HALF_MAX));
    }
}
