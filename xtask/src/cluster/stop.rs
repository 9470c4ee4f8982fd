//! `cargo xtask cluster down`: ends the processes of a cluster, with which all that they made in the kernel goes, and
//! removes its cgroups and its folder. Works from the name alone, so also after an `up` that was killed half-way.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::plan::{self, Plan};
use super::{cgroups, files};
use crate::run;

pub fn down(name: &str) -> Result<()> {
    let link = Plan::load(name).ok().map(|plan| plan.link());
    let (cgroup, state) = (plan::cgroup_of(name), plan::state_of(name));
    cgroups::kill(&cgroup)?;
    if let Some(link) = link {
        remove_link(&link)?;
    }
    cgroups::remove(&cgroup)?;
    remove_state(&state)?;
    println!("Cluster: {name} is down");
    Ok(())
}

/// The link would go with the namespace at its other end, which a connection that nobody answers can hold for a while.
fn remove_link(link: &str) -> Result<()> {
    let is_there = || Path::new("/sys/class/net").join(link).exists();
    if is_there() && !run::succeeds("ip", &["link", "delete", link]) && is_there() {
        bail!("the link {link} cannot be removed: try `ip link delete {link}`");
    }
    Ok(())
}

fn remove_state(state: &Path) -> Result<()> {
    if !state.exists() {
        return Ok(());
    }
    // The nodes' mounts are in namespaces of their own. Never remove through a mount that is none of them.
    let mounts = files::read(Path::new("/proc/self/mounts"))?;
    let within = |line: &&str| line.split(' ').nth(1).is_some_and(|point| Path::new(point).starts_with(state));
    if let Some(mount) = mounts.lines().find(within) {
        bail!("something is mounted in {}: unmount it, then run the same again: {mount}", state.display());
    }
    fs::remove_dir_all(state).with_context(|| format!("remove {}", state.display()))?;
    plan::forget_states();
    Ok(())
}
