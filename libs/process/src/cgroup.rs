//! A cgroup (version 2) for the processes of one test or one shop, so that a capture can be limited to it.
//!
//! In: the beginning of its name, or its path. Out: an empty cgroup that a [`Launch`](crate::Launch) puts children into. Bound: one
//! that a killed process left behind is removed by the next one of the same name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ProcessError;
use crate::wait::wait_for;

const PER_PROCESS_MAX: u32 = 100;
/// For processes that were killed, and for a cgroup that is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// It is removed when dropped; what is still in it after some seconds is killed.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one under the first mounted cgroup2 hierarchy, whose name is `prefix` and this process's id, and a number if one
    /// process has several.
    pub fn create(prefix: &str) -> Result<Cgroup, ProcessError> {
        let mounts = "/proc/self/mounts";
        let mounts = fs::read_to_string(mounts).map_err(ProcessError::io(format!("read {mounts}")))?;
        let root = cgroup2_mount(&mounts).ok_or(ProcessError::NoCgroups)?;
        remove_leftovers(&root, prefix);
        let first = root.join(format!("{prefix}{}", std::process::id()));
        let others = (2..=PER_PROCESS_MAX).map(|number| PathBuf::from(format!("{}-{number}", first.display())));
        for path in std::iter::once(first.clone()).chain(others) {
            match Self::create_at(&path) {
                Err(ProcessError::CgroupTaken { .. }) => {}
                made => return made,
            }
        }
        Err(ProcessError::CgroupTaken { path: first })
    }

    /// Makes this one.
    pub fn create_at(path: &Path) -> Result<Cgroup, ProcessError> {
        match fs::create_dir(path) {
            Ok(()) => Ok(Cgroup { path: path.to_owned() }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(ProcessError::CgroupTaken { path: path.to_owned() })
            }
            Err(error) => {
                let doing = format!("make the cgroup {} (this needs root or a delegated cgroup)", path.display());
                Err(ProcessError::io(doing)(error))
            }
        }
    }

    /// Where the one is that this process is in.
    pub fn of_this_process() -> Result<PathBuf, ProcessError> {
        let [mounts, own] = ["/proc/self/mounts", "/proc/self/cgroup"]
            .map(|file| fs::read_to_string(file).map_err(ProcessError::io(format!("read {file}"))));
        let root = cgroup2_mount(&mounts?).ok_or(ProcessError::NoCgroups)?;
        let own = own?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(ProcessError::NoCgroups)?;
        Ok(root.join(path))
    }

    /// Its folder in the file system of cgroups.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The processes that are in it now, children of children included.
    pub fn pids(&self) -> Result<Vec<u32>, ProcessError> {
        let file = self.path.join("cgroup.procs");
        let text = fs::read_to_string(&file).map_err(ProcessError::io(format!("read {}", file.display())))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Waits until it is empty, kills what is still in it after `patience`, and removes it.
    pub fn remove(&self, patience: Duration) -> Result<(), ProcessError> {
        let removed =
            || -> Result<bool, ProcessError> { Ok(self.pids()?.is_empty() && fs::remove_dir(&self.path).is_ok()) };
        // The kernel lets go of ended processes a moment later.
        let wait = |patience| wait_for(patience, || removed().map(|is| is.then_some(())).transpose()).transpose();
        if wait(patience)?.is_some() {
            return Ok(());
        }
        for pid in self.pids()?.into_iter().filter(|pid| *pid != std::process::id()) {
            // SAFETY: kill takes plain integers; the process is in a cgroup that only our children entered.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        }
        match wait(PATIENCE)? {
            Some(()) => Ok(()),
            None => Err(ProcessError::CgroupInUse { path: self.path.clone(), pids: self.pids()? }),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever wants to know of errors calls `remove`; after it, this finds nothing.
        let _ = self.remove(PATIENCE);
    }
}

/// The mount point of the first cgroup2 hierarchy, which is `/sys/fs/cgroup` or, beside version 1, a folder below it.
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (mount_point, kind) = (fields.next()?, fields.next()?);
        // The kernel writes a space in a path as \040.
        (kind == "cgroup2").then(|| PathBuf::from(mount_point.replace("\\040", " ")))
    })
}

/// A process that was killed cannot remove its cgroup. The kernel refuses to remove one that has a process in it.
fn remove_leftovers(root: &Path, prefix: &str) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            // A refusal means that it is in use after all, which is fine.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hierarchy_beside_version_1() {
        let mounts = "proc /proc proc rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw,relatime 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert_eq!(cgroup2_mount("proc /proc proc rw 0 0\n"), None);
    }
}
