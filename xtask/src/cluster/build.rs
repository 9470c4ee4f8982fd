//! Builds Kubernetes once and keeps it in the user's cache.
//!
//! In: the Go module `xtask/kubernetes`, whose `go.sum` holds the checksum of every module that it is built from. Out:
//! a folder with one program under the names of all parts. Promise: a change of the module builds anew; a build that
//! was interrupted leaves nothing that looks finished; a damaged program is built again. Bound: one folder of some
//! 150 MB for each version of the module.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::files;
use crate::run;

const MODULE: &str = "xtask/kubernetes";
const SOURCES: &[&str] = &["go.mod", "go.sum", "main.go", "names.go"];
const PROGRAM: &str = "kubernetes";
const SUM: &str = "kubernetes.sha256";
const PARTS: &[&str] =
    &["coredns", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

/// The folder with the programs, built when it is not there.
pub fn ensure() -> Result<PathBuf> {
    let cache = cache_root()?;
    files::make_folder(&cache)?;
    let lock_path = cache.join("kubernetes.lock");
    let lock = File::options().create(true).append(true).open(&lock_path);
    let lock = lock.with_context(|| format!("open {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
    let folder = folder_in(&cache)?;
    if folder.exists() {
        if is_whole(&folder) {
            return Ok(folder);
        }
        println!("Cluster: {} is damaged: building Kubernetes again", folder.display());
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let partial = cache.join(format!("partial-kubernetes-{}", std::process::id()));
    build_into(&partial).inspect_err(|_| {
        let _ = fs::remove_dir_all(&partial);
    })?;
    fs::rename(&partial, &folder).with_context(|| format!("rename the finished build to {}", folder.display()))?;
    Ok(folder)
}

/// Where Headwater keeps what can be had again; libs/stack keeps Kafka there.
pub fn cache_root() -> Result<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = xdg.or_else(home).context("set HOME or XDG_CACHE_HOME: one says where the cache may be")?;
    Ok(cache.join("headwater"))
}

/// Named by the checksum of the sources and of how they are built.
fn folder_in(cache: &Path) -> Result<PathBuf> {
    let module = run::root().join(MODULE);
    let mut command = Command::new("sha256sum");
    command.current_dir(&module).args(SOURCES);
    let sums = files::output_of(&mut command)?;
    // One hexadecimal digit of every four of each sum is plenty to tell versions apart.
    let key: String = sums.lines().map(|line| &line[..line.len().min(4)]).collect();
    Ok(cache.join(format!("kubernetes-{key}")))
}

fn is_whole(folder: &Path) -> bool {
    let mut command = Command::new("sha256sum");
    command.current_dir(folder).args(["--check", "--status", SUM]);
    files::output_of(&mut command).is_ok()
}

fn build_into(partial: &Path) -> Result<()> {
    let version = version()?;
    println!("Cluster: building Kubernetes {version} (once; some 6 minutes on two cores, 5 GB of Go's caches)");
    files::make_folder(partial)?;
    let package = "k8s.io/component-base/version";
    let minor = version.split('.').nth(1).context("the version of Kubernetes has no minor number")?;
    let flags =
        format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}");
    let mut command = Command::new("go");
    command.current_dir(run::root().join(MODULE));
    // Readonly: what is built is what go.mod and go.sum say, or nothing.
    command.env("CGO_ENABLED", "0").args([
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &flags,
    ]);
    let status = command.arg("-o").arg(partial.join(PROGRAM)).arg(".").status().context("run go")?;
    if !status.success() {
        bail!("building Kubernetes failed ({status}); Go's message is above");
    }
    let mut command = Command::new("sha256sum");
    let sum = files::output_of(command.current_dir(partial).arg(PROGRAM))?;
    files::write(&partial.join(SUM), &sum)?;
    for part in PARTS {
        symlink(PROGRAM, partial.join(part)).with_context(|| format!("link {part}"))?;
    }
    Ok(())
}

/// Of Kubernetes, as the module requires it.
fn version() -> Result<String> {
    let manifest = files::read(&run::root().join(MODULE).join("go.mod"))?;
    let version = manifest.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    version.map(str::to_owned).with_context(|| format!("{MODULE}/go.mod requires no k8s.io/kubernetes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module() {
        assert!(version().unwrap().starts_with("v1."), "{:?}", version());
    }

    #[test]
    fn every_source_of_the_module_is_part_of_the_key() {
        let mut sources: Vec<String> = fs::read_dir(run::root().join(MODULE))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        sources.sort();
        assert_eq!(sources, SOURCES);
    }

    #[test]
    fn a_damaged_program_is_noticed() {
        let folder = env::temp_dir().join(format!("headwater-xtask-build-{}", std::process::id()));
        files::write(&folder.join(PROGRAM), "whole").unwrap();
        let sum = files::sha256(&folder.join(PROGRAM)).unwrap();
        files::write(&folder.join(SUM), &format!("{sum}  {PROGRAM}\n")).unwrap();
        assert!(is_whole(&folder));
        files::write(&folder.join(PROGRAM), "damaged").unwrap();
        assert!(!is_whole(&folder));
        fs::remove_dir_all(&folder).unwrap();
    }
}
