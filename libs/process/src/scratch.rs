//! A temporary folder that does not outlive its process for long, however that ends.
//!
//! In: how its name begins, and whose it is. Out: a folder that is locked for this process, and removed with its [`Scratch`]. Promises: one
//! whose process was killed is removed by the next that is made with the same beginning and owner; folders of other users are not even
//! looked into, and none of them can hold its lock or have it removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ProcessError;

/// The name of the file in it that is locked.
pub const LOCK: &str = "lock";
/// Behind the beginning of the name, of a folder that is not locked yet.
const UNFINISHED: &str = "unfinished-";
/// Locking comes right after making: what is older was left by a process that was killed between the two.
const UNFINISHED_MAX: Duration = Duration::from_secs(600);

/// The folder; it is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes one in the folder for temporary files, in the name of whoever calls (see [`User::act`](crate::User::act)), after it
    /// removed what earlier processes of the same user left.
    pub fn create(prefix: &str, mode: u32) -> Result<Scratch, ProcessError> {
        Scratch::create_in(&std::env::temp_dir(), prefix, mode)
    }

    /// The same in another folder. It is made and locked under a name that no sweep believes abandoned, and renamed then. So nothing is
    /// shared with other users of `parent`: a lock there could be held or made unusable by any of them.
    pub fn create_in(parent: &Path, prefix: &str, mode: u32) -> Result<Scratch, ProcessError> {
        sweep(parent, prefix);
        Self::make(parent, prefix, mode).map_err(ProcessError::io(format!("make a folder in {}", parent.display())))
    }

    fn make(parent: &Path, prefix: &str, mode: u32) -> io::Result<Scratch> {
        let (unfinished, path) = loop {
            let number = RandomNumber::next();
            let unfinished = parent.join(format!("{prefix}{UNFINISHED}{number:016x}"));
            match fs::DirBuilder::new().mode(0o700).create(&unfinished) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    break (unfinished, parent.join(format!("{prefix}{number:016x}")));
                }
            }
        };
        let lock = File::options().create_new(true).append(true).mode(0o600).open(unfinished.join(LOCK))?;
        lock.lock()?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))?;
        fs::rename(&unfinished, &path)?;
        Ok(Scratch { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The lock goes after this, so that nobody takes over a folder that is being removed. What cannot be removed now is
        // abandoned, and removed by the next one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

struct RandomNumber;

impl RandomNumber {
    /// Not to be guessed, so that nobody has made the folder before.
    fn next() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id())
    }
}

fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        let is_old = || {
            let modified = entry.metadata().and_then(|found| found.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_MAX))
        };
        let is_unlocked = || File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_own_folder(&entry) && (if rest.starts_with(UNFINISHED) { is_old() } else { is_unlocked() }) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Links are not followed: this user's folder elsewhere is not one that another user may have swept.
fn is_own_folder(entry: &fs::DirEntry) -> bool {
    // SAFETY: asked for what cannot be, setfsuid changes nothing and answers as whom this thread acts.
    let own = unsafe { libc::syscall(libc::SYS_setfsuid, -1) };
    entry.metadata().is_ok_and(|found| found.is_dir() && i64::from(found.uid()) == own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    const PREFIX: &str = "headwater-test-";

    fn create(root: &Path) -> Scratch {
        Scratch::create_in(root, PREFIX, 0o700).unwrap()
    }

    /// A folder as one that was killed leaves it.
    fn leave(root: &Path, name: &str) -> PathBuf {
        let folder = root.join(format!("{PREFIX}{name}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(LOCK), "").unwrap();
        folder
    }

    #[test]
    fn it_goes_with_its_owner_and_an_abandoned_one_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (abandoned, owned) = (leave(root.path(), "abandoned"), leave(root.path(), "owned"));
        let foreign = root.path().join("something-else");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        let held = File::open(owned.join(LOCK)).unwrap();
        held.lock().unwrap();
        let scratch = create(root.path());
        assert!(!abandoned.exists() && owned.exists() && foreign.exists());
        let other = create(root.path());
        assert!(scratch.path().exists(), "one that is in use is not swept");
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn other_users_can_neither_enter_it_nor_be_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        let precious = leave(root.path(), "precious");
        let precious_elsewhere = root.path().join("elsewhere");
        fs::rename(precious, &precious_elsewhere).unwrap();
        symlink(&precious_elsewhere, root.path().join(format!("{PREFIX}link"))).unwrap();
        let others = leave(root.path(), "others");
        // SAFETY: geteuid has no preconditions and cannot fail.
        let is_root = unsafe { libc::geteuid() == 0 };
        if is_root {
            lchown(&others, Some(60_705), Some(60_705)).unwrap();
        }
        let scratch = create(root.path());
        assert!(precious_elsewhere.join(LOCK).exists(), "a link is not followed");
        assert!(!is_root || others.exists(), "what is another user's is left to him");
        for path in [scratch.path(), &scratch.path().join(LOCK)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        }
    }
}
