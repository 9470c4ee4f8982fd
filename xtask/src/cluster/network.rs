//! The links and routes of a cluster.
//!
//! A bridge in the control plane's network namespace joins nodes and machine. In the machine's own namespace there is
//! one link, with routes to pods and services, and it ends with the namespace at its other end: nothing has to be
//! removed. The machine's firewall and forwarding stay as they are, so pods reach the machine but nothing beyond it.

use anyhow::Result;

use super::files;
use super::plan::{Node, Plan};

const BRIDGE: &str = "nodes";
const HOST_END: &str = "machine";

/// How often a socket without a process repeats itself to a peer that has gone, before it lets go of its namespace.
pub const ORPHAN_RETRIES: u8 = 1;

/// Joins the machine and the control plane's namespace, which the process `control` holds.
pub fn join_control(plan: &Plan, control: u32) -> Result<()> {
    let link = plan.link();
    let within = |line: &str| files::words(&format!("nsenter --target {control} --net {line}"));
    within("ip link set lo up")?;
    within(&format!("ip link add {BRIDGE} type bridge"))?;
    within(&format!("ip address add {}/24 dev {BRIDGE}", plan.control_address()))?;
    within(&format!("ip link set {BRIDGE} up"))?;
    files::words(&format!("ip link add {link} type veth peer name {HOST_END} netns {control}"))?;
    within(&format!("ip link set {HOST_END} master {BRIDGE} up"))?;
    files::words(&format!("ip address add {}/24 dev {link}", plan.host_address()))?;
    files::words(&format!("ip link set {link} up"))?;
    for (range, via) in routes(plan) {
        files::words(&format!("ip route add {range} via {via}"))?;
        within(&format!("ip route add {range} via {via}"))?;
    }
    Ok(())
}

/// Joins a node's namespace, which the process `holder` holds, to the bridge.
pub fn join_node(node: Node<'_>, control: u32, holder: u32) -> Result<()> {
    let (plan, name) = (node.plan, node.name());
    files::words(&format!(
        "nsenter --target {control} --net ip link add {name} type veth peer name eth0 netns {holder}"
    ))?;
    files::words(&format!("nsenter --target {control} --net ip link set {name} master {BRIDGE} up"))?;
    let within = |line: &str| files::words(&format!("nsenter --target {holder} --net {line}"));
    within("ip link set lo up")?;
    within(&format!("ip address add {}/24 dev eth0", node.address()))?;
    within("ip link set eth0 up")?;
    within(&format!("ip route add default via {}", plan.host_address()))?;
    for other in plan.nodes().filter(|other| other.name() != name) {
        within(&format!("ip route add {} via {}", other.pods(), other.address()))?;
    }
    Ok(())
}

/// From outside of the nodes: pods behind their node, services behind any, here the first.
fn routes(plan: &Plan) -> Vec<(String, String)> {
    let services = plan.nodes().take(1).map(|node| (plan.services(), node.address()));
    plan.nodes().map(|node| (node.pods(), node.address())).chain(services).collect()
}
