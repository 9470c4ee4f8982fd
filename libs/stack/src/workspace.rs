//! The folder that holds the data and the logs of one stack.
//!
//! In: a folder to keep, or none. Out: a folder that is locked for this process. Promises: two stacks never share one;
//! a temporary one is removed with its stack, and one whose process was killed is removed by the next start.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::StackError;

const TEMPORARY_PREFIX: &str = "headwater-stack-";
const LOCK: &str = "lock";

#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    // The order counts: the lock goes last, so that nobody takes over a folder that is being removed.
    _temporary: Option<TempDir>,
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
        fs::create_dir_all(path).map_err(StackError::io("making the data folder", path))?;
        // The children get paths that do not depend on where they run.
        let path = path.canonicalize().map_err(StackError::io("finding the data folder", path))?;
        let lock = lock(&path)?;
        Ok(Self { path, _temporary: None, _lock: lock })
    }

    fn temporary() -> Result<Self, StackError> {
        let parent = std::env::temp_dir();
        // Held while a folder is made and not yet locked, when it would look abandoned.
        let gate = parent.join("headwater-stack.lock");
        let gating = || StackError::io("locking", &gate);
        let gate_file = File::options().create(true).append(true).open(&gate).map_err(gating())?;
        gate_file.lock().map_err(gating())?;
        sweep(&parent);
        let folder = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(&parent);
        let folder = folder.map_err(StackError::io("making a temporary folder in", &parent))?;
        let lock = lock(folder.path())?;
        Ok(Self { path: folder.path().to_path_buf(), _temporary: Some(folder), _lock: lock })
    }
}

fn lock(folder: &Path) -> Result<File, StackError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(StackError::io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StackError::DataDirInUse { path: folder.to_path_buf() }),
        Err(TryLockError::Error(source)) => {
            Err(StackError::Io { doing: format!("locking {}", path.display()), source })
        }
    }
}

/// Removes temporary folders whose process is gone. What cannot be removed is another user's, and stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX)) {
        let is_abandoned = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_abandoned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
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
        sweep(root.path());
        assert!(!abandoned.exists() && owned.exists() && foreign.exists());

        let temporary = Workspace::open(None).unwrap();
        let path = temporary.path().to_path_buf();
        assert!(path.exists());
        drop(temporary);
        assert!(!path.exists());
    }
}
