//! Finds all cgroups of a hierarchy with their ids.
//!
//! In: where it is mounted. Out: id and path of each. Bounded: `CGROUPS_MAX` a walk, `DEPTH_MAX` levels. A cgroup that is made or removed
//! meanwhile is told by the probes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headwater_probe_loader::Hierarchy;
use headwater_workload::names::CgroupKey;

const CGROUPS_MAX: usize = 60_000;
const DEPTH_MAX: usize = 32;

/// Gives every cgroup to `found`.
pub fn cgroups(hierarchy: &Hierarchy, found: &mut impl FnMut(CgroupKey, &str)) {
    let Some(mount) = &hierarchy.mount else {
        tracing::warn!(
            hierarchy = hierarchy.number,
            "only a part of the hierarchy of cgroups can be seen here: containers that run already are told apart by /proc alone (in a \
             container, mount the machine's /sys/fs/cgroup, read only)"
        );
        return;
    };
    let mut folders: Vec<(PathBuf, usize)> = vec![(mount.clone(), 0)];
    let mut n = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        found(CgroupKey { hierarchy: hierarchy.number, id: metadata.ino() }, &path_of(mount, &folder));
        n += 1;
        if n >= CGROUPS_MAX {
            tracing::warn!(cgroups = n, "there are more cgroups than are looked at: some names come from /proc");
            return;
        }
        if depth >= DEPTH_MAX {
            continue;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(inner.map(|entry| (entry.path(), depth + 1)));
    }
}

/// The path from the hierarchy's root on.
fn path_of(mount: &Path, folder: &Path) -> String {
    let inner = folder.strip_prefix(mount).unwrap_or(Path::new(""));
    format!("/{}", inner.to_string_lossy())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_folder_is_found_by_its_inode() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a.slice/b.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(folder.path().join("cgroup.procs"), "").unwrap();
        let mut seen = Vec::new();
        let hierarchy = Hierarchy { number: 3, mount: Some(folder.path().to_owned()) };
        cgroups(&hierarchy, &mut |key, path| seen.push((key.id, key.hierarchy, path.to_owned())));
        seen.sort_by(|a, b| a.2.cmp(&b.2));
        let id = fs::metadata(&inner).unwrap().ino();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[2], (id, 3, "/a.slice/b.service".to_owned()));
        assert_eq!(seen[0].2, "/");
    }
}
