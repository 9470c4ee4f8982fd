//! The folder that holds the data and the logs of one stack.
//!
//! In: a folder to keep, or none. Out: a folder that is locked for this process. Promises: two stacks never share one;
//! a temporary one is removed with its stack, and one whose process was killed is removed by the next start of the same user; no
//! other user can read what is in it, hold its lock or have it removed.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StackError;

const TEMPORARY_PREFIX: &str = "headwater-stack-";
/// Of a folder that is not locked yet.
const UNFINISHED_PREFIX: &str = "headwater-unfinished-";
/// Locking comes right after making: what is older was left by a process that was killed between the two.
const UNFINISHED_MAX: Duration = Duration::from_secs(600);
const LOCK: &str = "lock";
/// Topics hold who talks to whom on this machine.
const PRIVATE: u32 = 0o700;

#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    // The order counts: the lock goes last, so that nobody takes over a folder that is being removed.
    _temporary: Option<Temporary>,
    _lock: File,
}

impl Workspace {
    pub fn open(kept: Option<&Path>) -> Result<Self, StackError> {
        match kept {
            Some(path) => Self::keep(path),
            None => Self::temporary(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_temporary(&self) -> bool {
        self._temporary.is_some()
    }

    /// The same as long as the folder lives: Kafka refuses data of another cluster.
    pub fn cluster_id(&self) -> Result<String, StackError> {
        let file = self.path.join("cluster-id");
        if let Ok(id) = fs::read_to_string(&file) {
            return Ok(id.trim().to_owned());
        }
        // Kafka wants 16 bytes in base64url: 22 letters, of which the last carries two bits.
        let id = format!("{:016x}HwStkA", RandomState::new().hash_one(&file));
        fs::write(&file, &id).map_err(StackError::io("writing", &file))?;
        Ok(id)
    }

    fn keep(path: &Path) -> Result<Self, StackError> {
        private_folder(path)?;
        // The children get paths that do not depend on where they run.
        let path = path.canonicalize().map_err(StackError::io("finding the data folder", path))?;
        let lock = lock(&path)?;
        Ok(Self { path, _temporary: None, _lock: lock })
    }

    fn temporary() -> Result<Self, StackError> {
        Self::temporary_in(&std::env::temp_dir())
    }

    /// The folder is made and locked under a name that no sweep believes abandoned, and renamed then. So nothing is shared with other
    /// users of `parent`: a lock there could be held or made unusable by any of them.
    fn temporary_in(parent: &Path) -> Result<Self, StackError> {
        sweep(parent);
        let making = || StackError::io("making a temporary folder in", parent);
        let folder = tempfile::Builder::new()
            .prefix(UNFINISHED_PREFIX)
            .permissions(fs::Permissions::from_mode(PRIVATE))
            .tempdir_in(parent)
            .map_err(making())?;
        let lock = lock(folder.path())?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy();
        let path = parent.join(name.replacen(UNFINISHED_PREFIX, TEMPORARY_PREFIX, 1));
        fs::rename(folder.path(), &path).map_err(making())?;
        // It has left the place that its own guard would remove.
        let _ = folder.keep();
        Ok(Self { path: path.clone(), _temporary: Some(Temporary(path)), _lock: lock })
    }
}

/// Removed with its owner.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now is abandoned, and removed by the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a folder that its owner alone can look into, and those above it. One that exists stays as it is.
pub fn private_folder(path: &Path) -> Result<(), StackError> {
    let made = fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    made.map_err(StackError::io("making the folder", path))
}

fn lock(folder: &Path) -> Result<File, StackError> {
    let path = folder.join(LOCK);
    // Whoever can open it could hold it.
    let opened = File::options().create(true).append(true).mode(0o600).open(&path);
    let file = opened.map_err(StackError::io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StackError::DataDirInUse { path: folder.to_path_buf() }),
        Err(TryLockError::Error(source)) => {
            Err(StackError::Io { doing: format!("locking {}", path.display()), source })
        }
    }
}

/// Removes this user's temporary folders whose process is gone. Those of others are not even looked into.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_abandoned = || match name.starts_with(UNFINISHED_PREFIX) {
            true => entry
                .metadata()
                .is_ok_and(|it| it.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_MAX))),
            false => {
                name.starts_with(TEMPORARY_PREFIX)
                    && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
            }
        };
        if is_own_folder(&entry) && is_abandoned() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Links are not followed: this user's folder elsewhere is not one that another user may have swept.
fn is_own_folder(entry: &fs::DirEntry) -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let own = unsafe { libc::geteuid() };
    entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kept_folder_has_one_owner_and_one_cluster_id() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = Workspace::open(Some(&path)).unwrap();
        let id = first.cluster_id().unwrap();
        assert_eq!(id.len(), 22);
        let error = Workspace::open(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("in use by another"), "{error}");
        drop(first);
        assert_eq!(Workspace::open(Some(&path)).unwrap().cluster_id().unwrap(), id);
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner_and_an_abandoned_one_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join(format!("{TEMPORARY_PREFIX}abandoned"));
        let owned = root.path().join(format!("{TEMPORARY_PREFIX}owned"));
        let foreign = root.path().join("something-else");
        for folder in [&abandoned, &owned, &foreign] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(LOCK), "").unwrap();
        }
        let _owner = lock(&owned).unwrap();
        let temporary = Workspace::temporary_in(root.path()).unwrap();
        assert!(!abandoned.exists() && owned.exists() && foreign.exists());

        let path = temporary.path().to_path_buf();
        sweep(root.path());
        assert!(path.exists(), "one that is in use is not swept");
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn other_users_can_neither_read_it_nor_be_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        // What another user may leave in a folder for all: a lock that is held, one that is no file, a link to what is ours.
        let held = File::create(root.path().join("headwater-stack.lock")).unwrap();
        held.lock().unwrap();
        let precious = root.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join(LOCK), "").unwrap();
        std::os::unix::fs::symlink(&precious, root.path().join(format!("{TEMPORARY_PREFIX}link"))).unwrap();

        let temporary = Workspace::temporary_in(root.path()).unwrap();
        assert!(precious.join(LOCK).exists(), "a link is not followed");
        let kept = Workspace::open(Some(&root.path().join("kept"))).unwrap();
        for path in [temporary.path(), kept.path()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            assert_eq!(fs::metadata(path.join(LOCK)).unwrap().permissions().mode() & 0o077, 0);
        }
    }
}
