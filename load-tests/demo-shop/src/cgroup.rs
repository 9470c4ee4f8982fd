//! The cgroup (version 2) that holds every process of one shop, so that a capture can be limited to it.
//!
//! In: nothing, or the path that the cgroup shall have. Out: an empty cgroup that children enter by its
//! `cgroup.procs`. Bound: one cgroup a shop; it is removed with the shop, and one that a killed shop left behind by
//! the next start.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const NAME_PREFIX: &str = "headwater-demo-";
const SHOPS_PER_PROCESS_MAX: u32 = 100;

pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates the cgroup at `path`, or under the first mounted cgroup2 hierarchy with a name of its own.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        let candidates = match path {
            Some(path) => vec![path.to_owned()],
            None => {
                let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
                let root = cgroup2_mount(&mounts).context(
                    "no cgroup2 hierarchy is mounted; mount one with \
                     `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`",
                )?;
                remove_leftovers(&root);
                own_names(&root)
            }
        };
        for path in candidates {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    let path = path.display();
                    let doing = format!("creating the cgroup {path} (this needs root or a delegated cgroup)");
                    return Err(error).context(doing);
                }
            }
        }
        bail!("creating a cgroup for the shop: the name is taken; stop the other shop or choose another name")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that moves the process that writes `0` to it into the cgroup.
    pub fn procs_file(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// The processes that are in the cgroup now, children of children included.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let file = self.procs_file();
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Waits until the cgroup is empty, kills what is still in it after `patience`, and removes it.
    pub fn remove(&self, patience: Duration) -> Result<()> {
        let kill_from = Instant::now() + patience;
        let give_up_at = kill_from + Duration::from_secs(5);
        loop {
            let pids = self.pids()?;
            if pids.is_empty() && fs::remove_dir(&self.path).is_ok() {
                return Ok(());
            }
            let now = Instant::now();
            if now > give_up_at {
                bail!("the cgroup {} cannot be removed; still in it: {pids:?}", self.path.display());
            }
            if now > kill_from {
                for pid in pids {
                    // SAFETY: kill takes plain integers; the process is in the cgroup that only our children entered.
                    unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
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

/// One process may run several shops at once, as tests do.
fn own_names(root: &Path) -> Vec<PathBuf> {
    let first = format!("{NAME_PREFIX}{}", std::process::id());
    let others = (2..=SHOPS_PER_PROCESS_MAX).map(|number| format!("{first}-{number}"));
    std::iter::once(first.clone()).chain(others).map(|name| root.join(name)).collect()
}

/// A shop that was killed cannot remove its cgroup. The kernel refuses to remove one that has a process in it.
fn remove_leftovers(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(NAME_PREFIX)).and_then(|rest| rest.split('-').next());
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
