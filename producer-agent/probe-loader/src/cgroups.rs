//! The hierarchies of cgroups on this machine, and which cgroups a filter means.
//!
//! In: the texts of `/proc/self/mountinfo` and `/proc/cgroups`, paths of directories. Out: [`Hierarchy`]s and ids.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headwater_probe_types::FILTER_PATH_BYTES;

use crate::LoadError;
use crate::btf::KernelTypes;

/// Inode number of the root of every hierarchy (the first that kernfs gives).
const ROOT_INODE: u64 = 1;

/// Controllers of version 1 that container runtimes use for all containers, the best first.
const CONTROLLERS: [&str; 4] = ["pids", "memory", "cpu", "devices"];

/// A hierarchy of cgroups whose paths the probes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// 0 for version 2.
    pub number: u32,
    /// Where it is mounted whole; none if only a part of it can be seen, as in a cgroup namespace.
    pub mount: Option<PathBuf>,
}

/// The hierarchy of version 2 and, where one is in use, one of version 1, with the kernel's index of its controller.
pub fn hierarchies(types: &KernelTypes) -> (Vec<Hierarchy>, u32) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = vec![Hierarchy { number: 0, mount: mount_of(&mounts, "cgroup2", None) }];
    let controllers = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let used =
        CONTROLLERS.iter().find_map(|name| Some((*name, hierarchy_of(&controllers, name)?, types.controller(name)?)));
    let Some((name, number, index)) = used else { return (found, 0) };
    found.push(Hierarchy { number, mount: mount_of(&mounts, "cgroup", Some(name)) });
    (found, index)
}

/// The number of the version 1 hierarchy that a controller is in: lines of name, hierarchy, cgroups, enabled.
fn hierarchy_of(controllers: &str, name: &str) -> Option<u32> {
    let mut fields = controllers
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.next()?.parse().ok().filter(|number| *number != 0)
}

/// Where a hierarchy is mounted from its root on (proc_pid_mountinfo(5)).
fn mount_of(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    let points = mounts.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let options = (filesystem.next() == Some(kind)).then(|| filesystem.nth(1)).flatten()?;
        let fits = controller.is_none_or(|name| options.split(',').any(|option| option == name));
        fits.then(|| mount.split(' ').nth(4)).flatten()
    });
    let mut paths = points.map(|point| PathBuf::from(unescape(point)));
    paths.find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == ROOT_INODE))
}

/// Blanks and the like are written as `\\040`.
fn unescape(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// A cgroup that a filter names: a cgroup's id is the inode number of its directory (kernel 5.5 and later, 64 bits). Its path in the
/// hierarchy serves to know it again when it is made anew; none if it cannot be told or is too long.
pub fn filtered(path: &Path, hierarchies: &[Hierarchy]) -> Result<(u64, Option<[u8; FILTER_PATH_BYTES]>), LoadError> {
    let failed = |source| LoadError::Cgroup { path: path.display().to_string(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() || !path.join("cgroup.procs").exists() {
        return Err(failed(std::io::Error::other("this is not a cgroup")));
    }
    let whole = path.canonicalize().map_err(failed)?;
    let mount =
        hierarchies.iter().find(|hierarchy| hierarchy.number == 0).and_then(|hierarchy| hierarchy.mount.as_ref());
    let key = mount.and_then(|mount| {
        let mut key = [0; FILTER_PATH_BYTES];
        let inner = whole.strip_prefix(mount).ok()?.as_os_str().as_encoded_bytes();
        // The last byte stays zero.
        key[..FILTER_PATH_BYTES - 1].get_mut(1..=inner.len())?.copy_from_slice(inner);
        key[0] = b'/';
        Some(key)
    });
    Ok((metadata.ino(), key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hierarchy_of_a_controller_is_read() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\npids\t8\t2\t1\nmisc\t0\t1\t1\n";
        assert_eq!(hierarchy_of(text, "pids"), Some(8));
        assert_eq!(hierarchy_of(text, "misc"), None);
        assert_eq!(hierarchy_of(text, "rdma"), None);
    }

    #[test]
    fn this_machines_hierarchies_are_mounted_whole() {
        let types = KernelTypes::parse(&fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
        let (found, _) = hierarchies(&types);
        assert!(found.iter().all(|hierarchy| hierarchy.mount.is_some()), "{found:?}");
    }
}
