//! What a service map of the shop must show, as data: `expected-map.json`, one object a line, with the names of
//! the two ends.

use serde::{Deserialize, Serialize};

const EXPECTED_MAP: &str = include_str!("../expected-map.json");

/// One edge. PostgreSQL's parts (one process for each connection) all have the program name `postgres`, nginx's
/// workers `nginx`, whichever of them accepts or connects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedEdge {
    pub client: String,
    pub server: String,
    /// `http`, `grpc`, `postgresql`, `redis`, `kafka`, or `tls` where what is said is encrypted.
    pub protocol: String,
}

/// Every edge of a shop that was given a broker, each of which carries traffic in any ten seconds at the default rate. There is no other.
pub fn expected_map() -> Vec<ExpectedEdge> {
    let edges = EXPECTED_MAP.lines().map(serde_json::from_str::<ExpectedEdge>);
    // The file is part of the program, and a test of this crate reads it.
    edges.collect::<Result<_, _>>().expect("expected-map.json has one edge a line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_readable_and_names_each_edge_once() {
        let mut edges = expected_map();
        let count = edges.len();
        assert!(
            edges
                .iter()
                .all(|edge| ["http", "grpc", "postgresql", "redis", "kafka", "tls"].contains(&edge.protocol.as_str()))
        );
        edges.sort();
        edges.dedup_by(|a, b| a.client == b.client && a.server == b.server);
        assert_eq!(edges.len(), count);
    }
}
