use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who owned an address from when to when. See `avro/identity.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Where the address means one thing: the name of the cluster.
    pub network: String,
    /// IPv4 or IPv6, without a port.
    pub address: String,
    /// Node on which the owner runs.
    pub node: String,
    /// When this run of the agent started, in microseconds since the epoch.
    pub agent_started_at_us: i64,
    /// Name of the cluster.
    pub cluster: String,
    /// Namespace of the owner.
    pub namespace: String,
    /// Kind of the workload, such as `Deployment`.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// The pod that has the address.
    pub pod: String,
    /// The labels of the pod that the agent was asked for.
    pub labels: BTreeMap<String, String>,
    /// When the owner was first seen with the address, in microseconds since the epoch.
    pub from_us: i64,
    /// When it was last seen with it, in microseconds since the epoch.
    pub until_us: i64,
    /// It has the address no more.
    pub ended: bool,
}

record!(Identity, "Identity", "identity");

impl Identity {
    /// The Kafka key.
    pub fn key(&self) -> String {
        format!("{} {}", self.network, self.address)
    }
}
