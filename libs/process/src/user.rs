//! A user that programs run as which need none of root's rights.
//!
//! In: who asked for root's rights (`sudo`), and who owns the data that is there. Out: a [`User`]. Promise: what is done in the files
//! of a user is done with that user's rights ([`User::act`]): a link that he made leads nobody into files of others.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::thread;

use crate::error::ProcessError;
use crate::spawner;

/// Numbers that no distribution gives to anybody, below those of systemd's dynamic users.
const UNASSIGNED: std::ops::Range<libc::uid_t> = 60_700..61_184;

/// Who a program runs as; never root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: libc::uid_t,
    /// The number of his group.
    pub gid: libc::gid_t,
}

impl User {
    /// Who runs what root need not run: the owner of `data`, if that exists and is not root's; else the user who called
    /// `sudo`; else a number of our own. None if this process is not root: then it runs as its own user.
    pub fn choose(data: Option<&Path>) -> Option<User> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return None;
        }
        let owner =
            data.and_then(|path| fs::metadata(path).ok()).map(|found| User { uid: found.uid(), gid: found.gid() });
        let number = |variable: &str| env::var(variable).ok()?.parse().ok();
        let caller = || {
            let uid = number("SUDO_UID")?;
            Some(User { uid, gid: number("SUDO_GID").unwrap_or(uid) })
        };
        let is_plain = |user: &User| user.uid != 0;
        owner.filter(is_plain).or_else(|| caller().filter(is_plain)).or_else(User::unassigned)
    }

    /// A number that nobody has.
    fn unassigned() -> Option<User> {
        let number = UNASSIGNED.into_iter().find(|&uid| name_of(uid).is_none())?;
        Some(User { uid: number, gid: number })
    }

    /// `nobody`, for programs that want a user with a name; none if there is no such user.
    pub fn nobody() -> Option<User> {
        // SAFETY: the name ends with a zero; the answer is looked at before any other call could change it.
        unsafe {
            let entry = libc::getpwnam(c"nobody".as_ptr());
            (!entry.is_null()).then(|| User { uid: (*entry).pw_uid, gid: (*entry).pw_gid })
        }
    }

    /// Whether the machine knows a name for him.
    pub fn has_name(self) -> bool {
        name_of(self.uid).is_some()
    }

    /// Does something in files with this user's rights and in his name, on a thread of its own. Needs root.
    pub fn act<T: Send>(self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        // Children that the work starts must not be the first: the thread that forks would have this user's rights for ever.
        spawner::start();
        thread::scope(|scope| {
            let acting = scope.spawn(|| self.become_on_this_thread().map(|()| work()));
            // A panic of the work goes on here.
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The kernel then leaves this thread none of root's rights over files. It ends with that identity.
    fn become_on_this_thread(self) -> io::Result<()> {
        // SAFETY: system calls on integers. By number, they change this thread alone; libc's setgroups would change all.
        unsafe {
            if libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::syscall(libc::SYS_setfsgid, self.gid);
            libc::syscall(libc::SYS_setfsuid, self.uid);
            // They tell no errors; asked for what cannot be, they answer what is.
            let now = libc::syscall(libc::SYS_setfsuid, -1);
            if u32::try_from(now) != Ok(self.uid) {
                return Err(io::Error::other(format!("the kernel does not let this process act as user {}", self.uid)));
            }
        }
        Ok(())
    }

    /// Whether he can open a file, or list a folder.
    pub fn can_read(self, path: &Path) -> bool {
        let open = || if path.is_dir() { fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
        self.act(open).is_ok_and(|opened| opened.is_ok())
    }

    /// Makes a folder for him alone, or gives him one of root's with all that is in it, such as one from a time when all ran as
    /// root. One that is his stays as it is.
    ///
    /// # Errors
    /// If it belongs to somebody else; if others may write in it, who could have put links to files of others there; or if
    /// he may not enter those above it.
    pub fn take_over(self, folder: &Path) -> Result<(), ProcessError> {
        // A link is somebody's choice of where the folder is to be.
        let folder = &folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let doing = || ProcessError::io(format!("give {} to user {}", folder.display(), self.uid));
        let refused = |why: &str| Err(doing()(io::Error::other(why.to_owned())));
        match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.make(folder).map_err(doing())?,
            Err(error) => return Err(doing()(error)),
            Ok(found) if found.uid() == self.uid => {}
            Ok(found) if is_roots_alone(&found) => self.own(folder).map_err(doing())?,
            Ok(_) => return refused("it is neither this user's nor a folder where root alone may write"),
        }
        if !self.can_read(folder) {
            return refused(
                "he may not enter the folders above it; choose one that all may enter, such as in /var/lib",
            );
        }
        Ok(())
    }

    /// Where he may not make it himself, root does, if nobody else could make something else of it meanwhile.
    fn make(self, folder: &Path) -> io::Result<()> {
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let made = self.act(make)?;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match made {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && is_roots_alone(&fs::metadata(parent)?) => {
                fs::DirBuilder::new().mode(0o700).create(folder)?;
                lchown(folder, Some(self.uid), Some(self.gid))
            }
            made => made,
        }
    }

    /// What is inside comes first: as long as the folder is root's, nobody can change what is in it meanwhile.
    fn own(self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own(&entry?.path())?;
            }
        }
        lchown(path, Some(self.uid), Some(self.gid))
    }
}

fn is_roots_alone(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == 0 && found.permissions().mode() & 0o022 == 0
}

fn name_of(uid: libc::uid_t) -> Option<()> {
    // SAFETY: the answer is only compared with null.
    unsafe { (!libc::getpwuid(uid).is_null()).then_some(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn is_root() -> bool {
        // SAFETY: geteuid has no preconditions and cannot fail.
        unsafe { libc::geteuid() == 0 }
    }

    fn private() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    #[test]
    fn the_owner_of_the_data_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        if !is_root() {
            assert_eq!(User::choose(Some(folder.path())), None);
            return;
        }
        let own = User::choose(Some(folder.path())).unwrap();
        assert!(own.uid != 0 && own.gid != 0, "a folder of root's has root run nothing");
        lchown(folder.path(), Some(60_702), Some(60_703)).unwrap();
        assert_eq!(User::choose(Some(folder.path())), Some(User { uid: 60_702, gid: 60_703 }));
    }

    #[test]
    fn who_acts_for_a_user_has_his_rights_alone() {
        if !is_root() {
            return;
        }
        let user = User { uid: 60_701, gid: 60_701 };
        let folder = private();
        let (secret, his) = (folder.path().join("secret"), folder.path().join("his"));
        fs::write(&secret, "root's").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(&his).unwrap();
        lchown(&his, Some(user.uid), Some(user.gid)).unwrap();
        assert!(!user.can_read(&his), "nobody else may enter the folder above");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(user.can_read(&his) && !user.can_read(&secret) && !user.can_read(folder.path()));

        // A link that he made does not lead root into a file of root's.
        std::os::unix::fs::symlink(&secret, his.join("log")).unwrap();
        let open = || File::options().append(true).open(his.join("log")).map(drop);
        assert_eq!(user.act(open).unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
        user.act(|| fs::write(his.join("new"), "")).unwrap().unwrap();
        assert_eq!(fs::metadata(his.join("new")).unwrap().uid(), user.uid);
        open().unwrap();
    }

    #[test]
    fn a_folder_of_roots_is_handed_over_and_one_of_others_is_not() {
        if !is_root() {
            return;
        }
        let user = User { uid: 60_701, gid: 60_701 };
        let root = private();
        let data = root.path().join("data");
        fs::create_dir_all(data.join("kafka-1")).unwrap();
        fs::write(data.join("kafka-1/log"), "").unwrap();
        let precious = root.path().join("precious");
        fs::write(&precious, "").unwrap();
        std::os::unix::fs::symlink(&precious, data.join("link")).unwrap();
        let error = user.take_over(&data).unwrap_err().to_string();
        assert!(error.contains("may not enter the folders above it"), "{error}");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        user.take_over(&data).unwrap();
        assert_eq!(fs::metadata(data.join("kafka-1/log")).unwrap().uid(), user.uid);
        assert_eq!(fs::metadata(&precious).unwrap().uid(), 0, "a link is not followed");
        let error = User { uid: 60_705, ..user }.take_over(&data).unwrap_err().to_string();
        assert!(error.contains("neither this user's"), "{error}");

        let new = root.path().join("new");
        user.take_over(&new).unwrap();
        let found = fs::metadata(&new).unwrap();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (user.uid, 0o700));
    }
}
