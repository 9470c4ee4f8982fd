//! What is made once and kept in the user's cache.
//!
//! In: the files that say what is to be made, and how it is made. Out: a folder named by their checksum. Promise: a change of
//! a file makes it anew; what was interrupted leaves nothing that looks finished; what is damaged is made again; two
//! processes make it once. Bound: one folder for each version of the files.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::files;
use crate::run;

pub struct Entry {
    pub name: &'static str,
    /// Below the root of the repository.
    pub source: &'static str,
    pub source_files: &'static [&'static str],
    /// The file within that has the checksums of all that counts.
    pub sums: &'static str,
}

impl Entry {
    /// The folder; `make` fills it when it is not there.
    pub fn ensure(&self, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let cache = root()?;
        files::make_folder(&cache)?;
        let lock_path = cache.join(format!("{}.lock", self.name));
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.with_context(|| format!("open {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
        let folder = self.folder_in(&cache)?;
        if folder.exists() {
            if is_whole(&folder, self.sums) {
                return Ok(folder);
            }
            println!("Cluster: {} is damaged: making it again", folder.display());
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        let partial = cache.join(format!("partial-{}-{}", self.name, std::process::id()));
        files::make_folder(&partial)?;
        make(&partial).inspect_err(|_| {
            let _ = fs::remove_dir_all(&partial);
        })?;
        fs::rename(&partial, &folder).with_context(|| format!("rename what was made to {}", folder.display()))?;
        Ok(folder)
    }

    fn folder_in(&self, cache: &Path) -> Result<PathBuf> {
        let mut command = Command::new("sha256sum");
        command.current_dir(self.source_folder()).args(self.source_files);
        let sums = files::output_of(&mut command)?;
        // One hexadecimal digit of every four of each sum is plenty to tell versions apart.
        let key: String = sums.lines().map(|line| &line[..line.len().min(4)]).collect();
        Ok(cache.join(format!("{}-{key}", self.name)))
    }

    pub fn source_folder(&self) -> PathBuf {
        run::root().join(self.source)
    }
}

/// Where Headwater keeps what can be had again; libs/stack keeps Kafka there.
pub fn root() -> Result<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = xdg.or_else(home).context("set HOME or XDG_CACHE_HOME: one says where the cache may be")?;
    Ok(cache.join("headwater"))
}

/// Whether the files of a list of checksums are there and are what it says.
pub fn is_whole(folder: &Path, sums: &str) -> bool {
    check(folder, Path::new(sums)).is_ok()
}

/// Names the files that are not what a list of checksums says.
pub fn check(folder: &Path, sums: &Path) -> Result<()> {
    let mut command = Command::new("sha256sum");
    files::output_of(command.current_dir(folder).args(["--check", "--strict", "--quiet"]).arg(sums)).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::{build, operators};

    #[test]
    fn every_source_is_part_of_the_key() {
        for entry in [&build::ENTRY, &operators::ENTRY] {
            let mut sources: Vec<String> = fs::read_dir(entry.source_folder())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            sources.sort();
            assert_eq!(sources, entry.source_files);
        }
    }

    #[test]
    fn a_damaged_file_is_noticed() {
        let folder = env::temp_dir().join(format!("headwater-xtask-cache-{}", std::process::id()));
        files::write(&folder.join("program"), "whole").unwrap();
        let sum = files::sha256(&folder.join("program")).unwrap();
        files::write(&folder.join("sums"), &format!("{sum}  program\n")).unwrap();
        assert!(is_whole(&folder, "sums"));
        files::write(&folder.join("program"), "damaged").unwrap();
        assert!(!is_whole(&folder, "sums"));
        fs::remove_file(folder.join("program")).unwrap();
        assert!(!is_whole(&folder, "sums"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
