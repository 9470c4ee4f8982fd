//! Who is behind an address that names nobody any more.
//!
//! In: the edges of the past, which say at which addresses their clients asked for the service. Out: for an edge to an address, the service
//! that answered this client there. A service that hangs or is dead tells nothing, so nobody but the edge's own past names it; without
//! that it would vanish from the map in the moment in which it matters. Where two services answered at one address, neither is named.
//! Bounded: addresses; those at which nobody answered for as long as a past lasts are forgotten, unless an incident goes on.

use std::collections::BTreeMap;

use headwater_schemas::records::{ADDRESS, HOST, Workload};

use super::window::{Observation, Subject};
use crate::processor::Counters;

const ADDRESSES_MAX: usize = 20_000;

/// The protocol of a connection of which nothing was understood, such as one that was refused.
const PLAIN: &str = "tcp";

#[derive(Debug, Default)]
pub struct Addresses {
    /// By client, since an address such as that of the loopback interface means something else on each node.
    known: BTreeMap<(Workload, String), BTreeMap<Answered, i64>>,
}

/// Who answered, and in which protocol. Beside it stands in which window last.
type Answered = (Workload, String);

impl Addresses {
    /// Notes who answers where.
    pub fn learn(&mut self, window_us: i64, subject: &Subject, observation: &Observation, counters: &mut Counters) {
        let Subject { client, server, protocol, .. } = subject;
        if observation.requests == 0 || !server.is_known() || is_unobserved(server) {
            return;
        }
        for address in &observation.asked {
            let key = (client.clone(), address.clone());
            if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&key) {
                counters.add("addresses_cut_off", 1);
                continue;
            }
            self.known.entry(key).or_default().insert((server.clone(), protocol.clone()), window_us);
        }
    }

    /// The same window with the names of the services in place of addresses at which they answered before.
    pub fn attribute(&self, observations: BTreeMap<Subject, Observation>) -> BTreeMap<Subject, Observation> {
        let mut named: BTreeMap<Subject, Observation> = BTreeMap::new();
        for (subject, observation) in observations {
            let subject = self.behind(&subject, &observation.asked).unwrap_or(subject);
            // Their histograms were checked when they came.
            let _ = named.entry(subject).or_default().merge(observation);
        }
        named
    }

    /// Forgets where nobody answered since a time, but for services of which `is_needed` says so.
    pub fn forget(&mut self, before_us: i64, is_needed: impl Fn(&Workload) -> bool) {
        self.known.retain(|_, answered| {
            answered.retain(|(server, _), last_us| *last_us >= before_us || is_needed(server));
            !answered.is_empty()
        });
    }

    /// The same, of whoever answered at each address that was asked.
    fn behind(&self, subject: &Subject, asked: &[String]) -> Option<Subject> {
        let Subject { client, server, protocol, operation } = subject;
        if !is_unobserved(server) {
            return None;
        }
        let asked = if server.kind == ADDRESS { std::slice::from_ref(&server.name) } else { asked };
        let answered = asked.iter().map(|address| self.known.get(&(client.clone(), address.clone())));
        let answered: Vec<&Answered> =
            answered.collect::<Option<Vec<_>>>()?.into_iter().flat_map(|at| at.keys()).collect();
        let (behind, spoken) = answered.first()?;
        if answered.iter().any(|(other, _)| other != behind) {
            return None;
        }
        let is_said = protocol == PLAIN && !answered.iter().any(|(_, said)| said == PLAIN);
        let protocol = if is_said { spoken } else { protocol };
        Some(Subject {
            client: client.clone(),
            server: behind.clone(),
            protocol: protocol.clone(),
            operation: operation.clone(),
        })
    }
}

/// It is named by what its clients asked for.
fn is_unobserved(server: &Workload) -> bool {
    [ADDRESS, HOST].contains(&&*server.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS_OF_CART: &str = "10.0.0.7:80";

    fn subject(client: &str, server: Workload, protocol: &str) -> Subject {
        let client = Workload::local("program", client);
        Subject { client, server, protocol: protocol.to_owned(), operation: String::new() }
    }

    fn named(client: &str, server: &str, protocol: &str) -> Subject {
        subject(client, Workload::local("program", server), protocol)
    }

    fn nameless(client: &str, protocol: &str) -> Subject {
        subject(client, Workload::local(ADDRESS, ADDRESS_OF_CART), protocol)
    }

    fn learned(subjects: &[Subject]) -> Addresses {
        let mut addresses = Addresses::default();
        let observation =
            Observation { requests: 1, asked: vec![ADDRESS_OF_CART.to_owned()], ..Observation::default() };
        for subject in subjects {
            addresses.learn(7, subject, &observation, &mut Counters::default());
        }
        addresses
    }

    fn attributed(addresses: &Addresses, subject: Subject) -> Option<Subject> {
        addresses.attribute(BTreeMap::from([(subject, Observation::default())])).into_keys().next()
    }

    #[test]
    fn an_address_names_who_answered_its_own_client_there() {
        let addresses = learned(&[named("shop", "cart", "http")]);
        assert_eq!(attributed(&addresses, nameless("shop", "tcp")), Some(named("shop", "cart", "http")));
        assert_eq!(attributed(&addresses, nameless("shop", "http2")), Some(named("shop", "cart", "http2")));
        assert_eq!(attributed(&addresses, nameless("other", "tcp")), Some(nameless("other", "tcp")));
    }

    #[test]
    fn where_two_services_answered_neither_is_named() {
        let addresses = learned(&[named("shop", "cart", "http"), named("shop", "mail", "http")]);
        assert_eq!(attributed(&addresses, nameless("shop", "tcp")), Some(nameless("shop", "tcp")));
    }

    #[test]
    fn a_host_names_who_answered_at_all_addresses_that_were_asked_there() {
        let addresses = learned(&[named("shop", "cart", "http")]);
        let host = subject("shop", Workload::local(HOST, "cart.shop.svc:80"), "tcp");
        let attributed = |asked: &[&str]| {
            let asked = asked.iter().map(|address| (*address).to_owned()).collect();
            let observation = Observation { asked, ..Observation::default() };
            addresses.attribute(BTreeMap::from([(host.clone(), observation)])).into_keys().next()
        };
        assert_eq!(attributed(&[ADDRESS_OF_CART]), Some(named("shop", "cart", "http")));
        assert_eq!(attributed(&[ADDRESS_OF_CART, "10.0.0.8:80"]), Some(host.clone()));
        assert_eq!(attributed(&[]), Some(host.clone()));
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let mut addresses = learned(&[named("shop", "cart", "http")]);
        addresses.forget(8, |server| server.name == "cart");
        assert_eq!(addresses.known.len(), 1);
        addresses.forget(8, |_| false);
        assert!(addresses.known.is_empty());
    }
}
