//! Files of root's for a user who may not enter the folders above them, such as a checkout below `/root`.
//!
//! In: a folder, its files that are needed, and who needs them. Out: a folder in which that user finds them under the same names: this
//! one if he can read it, else a temporary one with links to the files, or copies where links cannot be. Only his group may enter that.
//! Bound: it is as large as what is copied.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::error::ProcessError;
use crate::scratch::Scratch;
use crate::user::User;

const PREFIX: &str = "headwater-programs-";
/// His group may enter it and list it, as Java does with jars.
const MODE: u32 = 0o750;

/// Where a user finds files; a temporary folder goes with it.
#[derive(Debug)]
pub struct Reach {
    folder: PathBuf,
    _temporary: Option<Scratch>,
}

impl Reach {
    /// For all files of `folder` and those below.
    pub fn of_all(user: User, folder: &Path) -> Result<Reach, ProcessError> {
        let mut files = Vec::new();
        list(folder, Path::new(""), &mut files)
            .map_err(ProcessError::io(format!("list what is in {}", folder.display())))?;
        Reach::of(user, folder, &files)
    }

    /// For these files, by their paths within `folder`.
    pub fn of(user: User, folder: &Path, files: &[PathBuf]) -> Result<Reach, ProcessError> {
        let failed = || ProcessError::io(format!("let user {} read what is in {}", user.uid, folder.display()));
        let is_reached = |file: &PathBuf| {
            let path = folder.join(file);
            user.can_read(&path) && path.parent().is_none_or(|folder| user.can_read(folder))
        };
        if files.iter().all(is_reached) {
            return Ok(Reach { folder: folder.to_owned(), _temporary: None });
        }
        let temporary = Scratch::create(PREFIX, 0o700)?;
        for file in files {
            lend(&folder.join(file), &temporary.path().join(file), user).map_err(failed())?;
        }
        open(temporary.path(), user).map_err(failed())?;
        Ok(Reach { folder: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn list(folder: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() => list(folder, &path, files)?,
            _ => files.push(path),
        }
    }
    Ok(())
}

/// The folder and those above it in the temporary one are root's: nobody else can put anything there.
fn lend(file: &Path, to: &Path, user: User) -> io::Result<()> {
    if let Some(parent) = to.parent()
        && !parent.is_dir()
    {
        fs::create_dir_all(parent)?;
        open(parent, user)?;
    }
    let mode = fs::metadata(file)?.permissions().mode();
    // What others can read needs no copy, unless it is on another file system.
    if mode & 0o004 != 0 && fs::hard_link(file, to).is_ok() {
        return Ok(());
    }
    fs::copy(file, to)?;
    chown(to, None, Some(user.gid))?;
    fs::set_permissions(to, fs::Permissions::from_mode(if mode & 0o100 != 0 { 0o750 } else { 0o640 }))
}

fn open(folder: &Path, user: User) -> io::Result<()> {
    chown(folder, None, Some(user.gid))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_below_a_closed_folder_is_reached_elsewhere() {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let user = User { uid: 60_701, gid: 60_701 };
        let other = User { uid: 60_702, gid: 60_702 };
        let closed = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        fs::create_dir(closed.path().join("jars")).unwrap();
        for (name, mode) in [("program", 0o755), ("jars/a.jar", 0o644), ("secret", 0o600), ("other", 0o644)] {
            fs::write(closed.path().join(name), name).unwrap();
            fs::set_permissions(closed.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let needed = ["program", "jars/a.jar", "secret"];
        let reach = Reach::of(user, closed.path(), &needed.map(PathBuf::from)).unwrap();
        assert_ne!(reach.folder(), closed.path());
        for name in needed {
            let path = reach.folder().join(name);
            assert!(user.can_read(&path) && !other.can_read(&path), "{name}");
            assert!(user.can_read(path.parent().unwrap()), "Java lists the jars of a folder");
            assert_eq!(fs::read_to_string(path).unwrap(), name);
        }
        assert!(!reach.folder().join("other").exists());
        assert_eq!(fs::metadata(reach.folder().join("program")).unwrap().permissions().mode() & 0o111, 0o111);
        let folder = reach.folder().to_owned();
        drop(reach);
        assert!(!folder.exists() && closed.path().join("secret").exists());

        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(closed.path().join("secret")).unwrap();
        assert_eq!(Reach::of_all(user, closed.path()).unwrap().folder(), closed.path());
    }
}
