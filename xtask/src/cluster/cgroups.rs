//! The cgroups of a cluster, in every hierarchy of the machine (version 2, version 1, or both beside each other).
//!
//! Every process of a cluster is started inside its version 2 cgroup and what it starts inherits that, so the cgroup
//! is the record of what belongs to the cluster: no process id can be mistaken, and all end at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::files;
use super::plan::Plan;

const END_WAIT: Duration = Duration::from_secs(30);
/// What the kubelet wants to be able to limit.
const CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "pids"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    is_v2: bool,
}

/// The cgroup for the control plane's processes, or for those of a node that are in no pod.
pub fn of_control(plan: &Plan) -> Result<PathBuf> {
    Ok(unified()?.join(plan.cgroup()).join("control"))
}

pub fn of_node_system(plan: &Plan, node: &str) -> Result<PathBuf> {
    Ok(unified()?.join(plan.cgroup()).join(node).join("system"))
}

/// Makes them all. The kubelet makes those of pods below its node's.
pub fn make(plan: &Plan) -> Result<()> {
    files::make_folder(&of_control(plan)?)?;
    for node in plan.nodes() {
        for hierarchy in hierarchies()? {
            files::make_folder(&hierarchy.root.join(node.cgroup()))?;
        }
        files::make_folder(&of_node_system(plan, &node.name())?)?;
        hand_down_controllers(&unified()?, &node.cgroup());
    }
    Ok(())
}

/// Where version 2 has the controllers, each level must pass them on. Beside version 1 it has none, and nothing happens.
fn hand_down_controllers(root: &Path, cgroup: &str) {
    let mut folder = root.to_path_buf();
    for name in std::iter::once("").chain(cgroup.split('/')) {
        folder.push(name);
        for controller in CONTROLLERS {
            // A controller that is not there is one that the kubelet does without or complains about itself.
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

/// Ends every process of the cluster at once, whatever they are in the middle of, and waits until they are gone.
pub fn kill(cgroup: &str) -> Result<()> {
    let folder = unified()?.join(cgroup);
    if !folder.exists() {
        return Ok(());
    }
    let switch = folder.join("cgroup.kill");
    fs::write(&switch, "1").with_context(|| format!("write to {} (Linux 5.14 and later have it)", switch.display()))?;
    let deadline = Instant::now() + END_WAIT;
    while is_populated(&folder)? {
        if Instant::now() > deadline {
            bail!("processes in {} did not end within {} s of being killed", folder.display(), END_WAIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// True while a process lives in this cgroup or below it.
fn is_populated(folder: &Path) -> Result<bool> {
    Ok(files::read(&folder.join("cgroup.events"))?.lines().any(|line| line == "populated 1"))
}

/// True when this very process is one that was started in the cgroup.
pub fn holds(cgroup: &Path, pid: u32) -> bool {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    processes.lines().any(|line| line.parse() == Ok(pid))
}

/// Removes the emptied cgroups of all hierarchies.
pub fn remove(cgroup: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.root.join(cgroup);
        let deadline = Instant::now() + END_WAIT;
        // A cgroup is busy for a moment after its last process ended.
        while folder.exists() {
            let Err(error) = remove_tree(&folder) else { break };
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("remove the cgroup {}", folder.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// The files of a cgroup cannot be removed and go with their folder.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn unified() -> Result<PathBuf> {
    let found = hierarchies()?.into_iter().find(|hierarchy| hierarchy.is_v2);
    found.map(|hierarchy| hierarchy.root).context("no version 2 hierarchy of cgroups is mounted; mount one with `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`")
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    Ok(parse_mounts(&files::read(Path::new("/proc/self/mounts"))?))
}

fn parse_mounts(mounts: &str) -> Vec<Hierarchy> {
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups = lines.filter(|words| matches!(words.get(2), Some(&"cgroup" | &"cgroup2")));
    // A container's own view of a hierarchy may be mounted elsewhere too.
    let standard = cgroups.filter(|words| words[1].starts_with("/sys/fs/cgroup"));
    standard.map(|words| Hierarchy { root: PathBuf::from(words[1]), is_v2: words[2] == "cgroup2" }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_and_other_mounts_are_not() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup2 /var/x/cgroup cgroup2 rw 0 0\n";
        let found = parse_mounts(mounts);
        let expected = [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup/unified", true)];
        assert_eq!(found, expected.map(|(root, is_v2)| Hierarchy { root: PathBuf::from(root), is_v2 }));
    }
}
