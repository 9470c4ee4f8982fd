//! What `/proc` says of the libraries that programs map, and of the programs themselves.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headwater_probe_loader::Options;

/// Processes that are looked at before the capture begins.
const PROCESSES_MAX: usize = 10_000;

/// Libraries with OpenSSL's functions, and with GnuTLS's. Others of the first one's name (LibreSSL) have other habits.
const NAMES: [&str; 3] = ["libssl.so.3", "libssl.so.1.1", "libgnutls.so.30"];

/// A file: device and inode, as `/proc/PID/maps` has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: String,
    inode: u64,
}

/// What a file is that a process maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Library,
    /// The program itself, which may have TLS of its own.
    Program,
}

/// A library that a process maps, or its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    pub kind: Kind,
    pub key: FileKey,
    /// In the process's own view.
    pub path: PathBuf,
    /// Where it is mapped, as in the names of `/proc/PID/map_files`.
    range: String,
}

/// The libraries of TLS that a process maps and its program, each once; none if it is gone.
pub fn of_process(pid: u32) -> Vec<Mapped> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    of_text(&fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default(), &program)
}

/// proc_pid_maps(5): range, rights, offset, device, inode, path.
fn of_text(maps: &str, program: &Path) -> Vec<Mapped> {
    let mut found: Vec<Mapped> = Vec::new();
    // The kernel says both alike of a file that is gone.
    let program = program.to_str().unwrap_or_default();
    for line in maps
        .lines()
        .filter(|line| line.contains("libssl.so.") || line.contains("libgnutls.so.") || line.ends_with(program))
    {
        let mut words = line.splitn(6, ' ');
        let (Some(range), Some(device), Some(inode)) = (words.next(), words.nth(2), words.next()) else { continue };
        let told = words.next().unwrap_or_default().trim_start();
        let path = told.trim_end_matches(" (deleted)");
        let name = path.rsplit('/').next().unwrap_or_default();
        let Ok(inode) = inode.parse() else { continue };
        let key = FileKey { device: device.to_owned(), inode };
        // A version may have a name of its own: libssl.so.3.0.2.
        let is_library = NAMES
            .iter()
            .any(|known| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
        let kind = if is_library { Kind::Library } else { Kind::Program };
        let is_wanted = is_library || told == program && !program.is_empty();
        if is_wanted && found.iter().all(|mapped| mapped.key != key) {
            found.push(Mapped { kind, key, path: path.into(), range: range.to_owned() });
        }
    }
    found
}

impl Mapped {
    /// Opens the file, in whatever container the process sees it.
    pub fn open(&self, pid: u32) -> Option<File> {
        if self.kind == Kind::Program {
            return File::open(format!("/proc/{pid}/exe")).ok();
        }
        let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
        let by_path = File::open(Path::new("/proc").join(pid.to_string()).join("root").join(inside)).ok();
        // There may be another file of its name by now. The way by the mapping takes more rights.
        by_path
            .filter(|file| file.metadata().is_ok_and(|metadata| metadata.ino() == self.key.inode))
            .or_else(|| File::open(format!("/proc/{pid}/map_files/{}", self.range)).ok())
    }
}

/// Processes that are in the capture, as far as `/proc` tells: one too many does no harm.
pub fn captured(options: &Options) -> Vec<u32> {
    if !options.pids.is_empty() {
        return options.pids.clone();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && is_in(*pid, &options.cgroups)).take(PROCESSES_MAX).collect()
}

fn is_in(pid: u32, cgroups: &[PathBuf]) -> bool {
    if cgroups.is_empty() {
        return true;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // The settings say where it is mounted, too.
    let mut above = Path::new(own).ancestors().filter(|path| !path.as_os_str().is_empty());
    above.any(|path| cgroups.iter().any(|cgroup| cgroup.ends_with(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAPS: &str = "\
55d0-55d1 r--p 00000000 fe:00 11 /usr/bin/curl
7f00-7f01 r--p 00000000 fe:00 4711                       /usr/lib/x86_64-linux-gnu/libssl.so.3
7f01-7f02 r-xp 0001e000 fe:00 4711                       /usr/lib/x86_64-linux-gnu/libssl.so.3
7f03-7f04 r-xp 0001e000 00:2f 99                         /opt/a b/libssl.so.1.1 (deleted)
7f05-7f06 r-xp 0001e000 fe:00 12                         /usr/lib/libssl.so.35
7f07-7f08 r-xp 0001e000 fe:00 13                         /usr/lib/libssl.so.3.0.2
7f09-7f0a rw-p 00000000 00:00 0
";

    #[test]
    fn libraries_are_told_by_their_names_each_once() {
        let told: Vec<_> = of_text(MAPS, Path::new(""))
            .into_iter()
            .map(|mapped| (mapped.key.inode, mapped.path, mapped.range))
            .collect();
        let expected = [
            (4711, "/usr/lib/x86_64-linux-gnu/libssl.so.3", "7f00-7f01"),
            (99, "/opt/a b/libssl.so.1.1", "7f03-7f04"),
            (13, "/usr/lib/libssl.so.3.0.2", "7f07-7f08"),
        ];
        assert_eq!(told, expected.map(|(inode, path, range)| (inode, PathBuf::from(path), range.to_owned())));
        assert_eq!(of_text("libssl.so.3\nx libssl.so.3 y z", Path::new("")), []);
    }

    #[test]
    fn a_program_is_told_beside_its_libraries() {
        let kinds = |program: &str| -> Vec<_> {
            of_text(MAPS, Path::new(program)).into_iter().map(|mapped| (mapped.kind, mapped.key.inode)).collect()
        };
        let libraries = [4711, 99, 13].map(|inode| (Kind::Library, inode));
        assert_eq!(kinds("/usr/bin/curl"), [&[(Kind::Program, 11)], &libraries[..]].concat());
        assert_eq!(kinds("/bin/curl"), libraries);
        let own = of_process(std::process::id());
        assert!(own.iter().any(|mapped| mapped.kind == Kind::Program), "{own:?}");
    }

    #[test]
    fn processes_of_a_filter_are_those_of_its_cgroups_and_below() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
        let pid = std::process::id();
        assert!(is_in(pid, &[]));
        assert!(!is_in(pid, &["/sys/fs/cgroup/no-such".into()]));
        if own != "/" {
            assert!(is_in(pid, &[format!("/sys/fs/cgroup{own}").into()]));
        }
    }
}
