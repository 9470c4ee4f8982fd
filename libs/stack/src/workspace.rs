//! The folder that holds the data and the logs of one stack.
//!
//! In: a folder to keep, or none. Out: a folder that is locked for this process. Promises: two stacks never share one;
//! a temporary one is removed with its stack, and one whose process was killed is removed by the next start of the same user; no
//! other user can read what is in it, hold its lock or have it removed.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use headwater_process::{LOCK, Scratch};

use crate::error::StackError;

const TEMPORARY_PREFIX: &str = "headwater-stack-";
/// Topics hold who talks to whom on this machine.
const PRIVATE: u32 = 0o700;

#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    _held: Held,
}

/// What keeps others out for as long as the workspace lives.
#[derive(Debug)]
enum Held {
    Temporary { _folder: Scratch },
    Kept { _lock: File },
}

impl Workspace {
    pub fn open(kept: Option<&Path>) -> Result<Self, StackError> {
        match kept {
            Some(path) => Self::keep(path),
            None => Ok(Self::temporary(Scratch::create(TEMPORARY_PREFIX, PRIVATE)?)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_temporary(&self) -> bool {
        matches!(self._held, Held::Temporary { .. })
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
        Ok(Self { path, _held: Held::Kept { _lock: lock } })
    }

    fn temporary(folder: Scratch) -> Self {
        Self { path: folder.path().to_owned(), _held: Held::Temporary { _folder: folder } }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

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
    fn other_users_can_neither_read_it_nor_hold_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let temporary = Workspace::temporary(Scratch::create_in(root.path(), TEMPORARY_PREFIX, PRIVATE).unwrap());
        let kept = Workspace::open(Some(&root.path().join("kept"))).unwrap();
        for path in [temporary.path(), kept.path()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            assert_eq!(fs::metadata(path.join(LOCK)).unwrap().permissions().mode() & 0o077, 0);
        }
    }
}
