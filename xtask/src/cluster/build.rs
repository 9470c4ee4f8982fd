//! Builds Kubernetes once and keeps it in the user's cache.
//!
//! In: the Go module `xtask/kubernetes`, whose `go.sum` holds the checksum of every module that it is built from. Out:
//! a folder with one program under the names of all parts. Bound: some 150 MB for each version of the module.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::Entry;
use super::files;

/// In the order of their names.
pub const ENTRY: Entry = Entry {
    name: "kubernetes",
    source: "xtask/kubernetes",
    source_files: &["go.mod", "go.sum", "main.go", "names.go"],
    sums: "kubernetes.sha256",
};
const PROGRAM: &str = "kubernetes";
const PARTS: &[&str] =
    &["coredns", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

/// The folder with the programs, built when it is not there.
pub fn ensure() -> Result<PathBuf> {
    ENTRY.ensure(build_into)
}

fn build_into(partial: &Path) -> Result<()> {
    let version = version()?;
    println!("Cluster: building Kubernetes {version} (once; some 6 minutes on two cores, 5 GB of Go's caches)");
    let package = "k8s.io/component-base/version";
    let minor = version.split('.').nth(1).context("the version of Kubernetes has no minor number")?;
    let flags =
        format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}");
    let mut command = Command::new("go");
    command.current_dir(ENTRY.source_folder());
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
    files::write(&partial.join(ENTRY.sums), &sum)?;
    for part in PARTS {
        symlink(PROGRAM, partial.join(part)).with_context(|| format!("link {part}"))?;
    }
    Ok(())
}

/// Of Kubernetes, as the module requires it.
fn version() -> Result<String> {
    let manifest = files::read(&ENTRY.source_folder().join("go.mod"))?;
    let version = manifest.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    version.map(str::to_owned).with_context(|| format!("{}/go.mod requires no k8s.io/kubernetes", ENTRY.source))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module() {
        assert!(version().unwrap().starts_with("v1."), "{:?}", version());
    }
}
