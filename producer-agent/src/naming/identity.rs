//! The one place where a claim to an address becomes a record.

use headwater_schemas::records::Identity;
use headwater_workload::identities::Claim;

/// What all of this agent's records of addresses have in common.
pub struct IdentityRecords {
    pub node: String,
    pub cluster: String,
    pub agent_started_at_us: i64,
}

impl IdentityRecords {
    pub fn record(&self, claim: Claim) -> Identity {
        let workload = claim.pod.workload(&self.cluster, None);
        Identity {
            network: self.cluster.clone(),
            address: claim.address,
            node: self.node.clone(),
            agent_started_at_us: self.agent_started_at_us,
            kind: workload.kind.as_str().to_owned(),
            cluster: workload.cluster,
            namespace: workload.namespace,
            name: workload.name,
            pod: workload.pod,
            labels: workload.labels,
            from_us: claim.from_us,
            until_us: claim.until_us,
            ended: claim.ended,
        }
    }
}
