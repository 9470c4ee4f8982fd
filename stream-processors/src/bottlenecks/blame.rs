//! Which of the deviating edges are causes, and which only wait for one.
//!
//! In: the edges that deviate. Out: whether an edge is explained by a deeper one: its server calls, directly or through others that
//! deviate too, an edge that ends the chain. In a ring of edges that wait for one another nobody explains anybody.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::Workload;

/// The deviating part of the service map.
#[derive(Debug, Clone, Default)]
pub struct Deviations {
    servers_of: BTreeMap<Workload, BTreeSet<Workload>>,
}

impl Deviations {
    pub fn insert(&mut self, client: &Workload, server: &Workload) {
        self.servers_of.entry(client.to_owned()).or_default().insert(server.to_owned());
    }

    /// All edges of both.
    pub fn with(&self, other: &Deviations) -> Deviations {
        let mut all = self.clone();
        for (client, servers) in &other.servers_of {
            all.servers_of.entry(client.clone()).or_default().extend(servers.iter().cloned());
        }
        all
    }

    /// Whether calls to this service deviate.
    pub fn name_as_server(&self, service: &Workload) -> bool {
        self.servers_of.values().any(|servers| servers.contains(service))
    }

    /// Whether a deeper edge explains why calls to this server deviate.
    pub fn explain(&self, client: &Workload, server: &Workload) -> bool {
        let mut seen: BTreeSet<&Workload> = BTreeSet::new();
        let mut to_visit: Vec<&Workload> = self.called_by(server, Some(client));
        while let Some(deeper) = to_visit.pop() {
            if !seen.insert(deeper) {
                continue;
            }
            let next = self.called_by(deeper, None);
            if next.is_empty() {
                return true;
            }
            to_visit.extend(next);
        }
        false
    }

    /// Whom a service calls with deviations; a call to itself and the way back explain nothing, nor does an unknown service.
    fn called_by(&self, service: &Workload, back_to: Option<&Workload>) -> Vec<&Workload> {
        if !service.is_known() {
            return Vec::new();
        }
        let servers = self.servers_of.get(service).into_iter().flatten();
        servers.filter(|server| *server != service && Some(*server) != back_to).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviations(edges: &[(&str, &str)]) -> Deviations {
        let mut deviations = Deviations::default();
        edges.iter().for_each(|(client, server)| deviations.insert(&named(client), &named(server)));
        deviations
    }

    fn named(name: &str) -> Workload {
        Workload::local("program", name)
    }

    fn explained(deviations: &Deviations, client: &str, server: &str) -> bool {
        deviations.explain(&named(client), &named(server))
    }

    #[test]
    fn only_the_end_of_the_chain_is_a_cause() {
        let chain = deviations(&[("gateway", "shop"), ("shop", "cart"), ("cart", "prices")]);
        assert!(explained(&chain, "gateway", "shop"));
        assert!(explained(&chain, "shop", "cart"));
        assert!(!explained(&chain, "cart", "prices"));
    }

    #[test]
    fn a_ring_and_a_call_to_itself_explain_nothing() {
        let ring = deviations(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "d")]);
        assert!(!explained(&ring, "a", "b"));
        assert!(!explained(&ring, "b", "c"));
        assert!(!explained(&ring, "d", "d"));
    }

    #[test]
    fn a_ring_with_a_way_out_is_explained_by_its_end() {
        let ring = deviations(&[("a", "b"), ("b", "a"), ("b", "c")]);
        assert!(explained(&ring, "a", "b"));
        assert!(!explained(&ring, "b", "c"));
    }
}
