//! A workload as the API tells of it.

use headwater_schemas::records::Workload;
use serde::Serialize;

/// Who one end is, with one text that is different for different workloads: a node of the map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkloadView {
    pub id: String,
    #[serde(flatten)]
    pub workload: Workload,
}

impl From<&Workload> for WorkloadView {
    fn from(workload: &Workload) -> Self {
        WorkloadView { id: workload.key(), workload: workload.clone() }
    }
}
