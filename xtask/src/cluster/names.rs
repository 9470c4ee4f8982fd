//! Names of Services for pods: CoreDNS as a Deployment. Its program is the node's own, since it is built with the rest.

use anyhow::{Context, Result};

use super::control_plane::kubectl;
use super::files;
use super::images::BUSYBOX;
use super::plan::Plan;

const MANIFEST: &str = include_str!("names.yaml");

pub fn apply(plan: &Plan) -> Result<()> {
    let manifest = MANIFEST.replace("IMAGE", BUSYBOX).replace("ADDRESS", &plan.name_service());
    let file = plan.state().join("names.yaml");
    files::write(&file, &manifest)?;
    kubectl(plan, &["apply", "--filename", &file.to_string_lossy()]).map(drop).context("give the cluster its names")
}
