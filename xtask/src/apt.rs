//! Installs Debian's packages without starting their services.
//!
//! Promise: a server that is installed here as a program for tests does not start listening on the machine, neither
//! now nor at the next boot, and the machine's own policy for services is in place again afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run;

/// Debian's maintainer scripts ask this program whether a service may start; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-headwater";
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask setup` while it installs packages.\nexit 101\n";
/// Packages that bring a service, and its name.
const SERVICES: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("etcd-server", "etcd"),
    ("mariadb-server", "mariadb"),
    ("memcached", "memcached"),
    ("mosquitto", "mosquitto"),
    ("nats-server", "nats-server"),
    ("nginx", "nginx"),
    ("postgresql", "postgresql"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("redis-server", "redis-server"),
];

pub fn install(packages: &[&str]) -> Result<()> {
    println!("Set-up: installing {}", packages.join(" "));
    let _policy = NoServices::declare()?;
    let mut line =
        vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    line.extend(packages);
    // Old lists name versions that are gone from the server, so a failure is followed by an update.
    if run::checked(&line).is_err() {
        update()?;
        run::checked(&line)?;
    }
    disable_services(packages)
}

/// True when apt can install this package; also where its lists are still empty and nobody can tell.
pub fn offers(package: &str) -> bool {
    if !run::is_installed("apt-cache") {
        return false;
    }
    if lists_are_empty() {
        return true;
    }
    let known = run::output("apt-cache", &["policy", package]).unwrap_or_default();
    known.lines().any(|line| line.trim_start().starts_with("Candidate:") && !line.contains("(none)"))
}

pub fn refresh_empty_lists() -> Result<()> {
    if lists_are_empty() { update() } else { Ok(()) }
}

fn update() -> Result<()> {
    println!("Set-up: updating apt's lists");
    run::checked(&["apt-get", "update", "-qq"])
}

fn lists_are_empty() -> bool {
    let entries = fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    !entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// On a machine with systemd a package also enables its service for the next boot.
fn disable_services(packages: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        run::checked(&["systemctl", "--quiet", "disable", service])?;
    }
    Ok(())
}

/// While this lives, no package starts its service.
struct NoServices;

impl NoServices {
    fn declare() -> Result<Self> {
        let of_machine = fs::read_to_string(POLICY).ok().filter(|text| text != POLICY_TEXT);
        if of_machine.is_some() {
            fs::rename(POLICY, POLICY_ASIDE).with_context(|| format!("move {POLICY} aside"))?;
        }
        fs::write(POLICY, POLICY_TEXT).with_context(|| format!("write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY} executable"))?;
        Ok(Self)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let restored = match Path::new(POLICY_ASIDE).exists() {
            true => fs::rename(POLICY_ASIDE, POLICY),
            false => fs::remove_file(POLICY),
        };
        if let Err(error) = restored {
            eprintln!("Set-up: {POLICY} could not be restored from {POLICY_ASIDE}: {error}");
        }
    }
}
