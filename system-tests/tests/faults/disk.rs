//! A real disk that can be full: a small file system in memory, mounted by the test.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of this size; it goes with this value.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub fn mount(mib: u32) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            // Writable by root alone, as the root of a disk is: what others may write in is refused as a data folder.
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0755"), "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "mount a file system; run as root");
        Disk { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all that is left, until the file is removed.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[7; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a child that was killed may hold it a moment longer.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
