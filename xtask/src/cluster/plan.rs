//! Where everything of a cluster is: folders, cgroups, addresses. Pure but for the claim of a free number.
//!
//! Each cluster has a number from 0 to 15, from which its addresses follow, so that several run side by side:
//! nodes and control plane 10.123.N.0/24, pods 10.124.16N.0/20 (a /24 a node), services 10.125.16N.0/20.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::files;
use crate::run;

pub const NODES_MAX: u8 = 2;
const NUMBERS: u8 = 16;
/// On disk, since containerd's overlays cannot lie on another overlay or in memory everywhere.
const STATES: &str = "/var/lib/headwater-clusters";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    number: u8,
    pub nodes: u8,
}

/// The name becomes part of folders and cgroups.
pub fn parse_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=20).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('-') {
        return Ok(name.to_owned());
    }
    Err("a cluster's name has 1 to 20 characters: small letters, digits, and dashes within".to_owned())
}

impl Plan {
    /// Takes a free number and makes the state folder, before anything else of the cluster exists.
    pub fn claim(name: &str, nodes: u8) -> Result<Self> {
        // A lock on a folder leaves no lock file behind.
        let parent = Path::new(STATES).parent().unwrap_or(Path::new("/"));
        let lock = File::open(parent).with_context(|| format!("open {}", parent.display()))?;
        lock.lock().with_context(|| format!("lock {}", parent.display()))?;
        if state_of(name).exists() {
            bail!(
                "a cluster {name:?} is up, or is left from an `up` that failed: end it with `cargo xtask cluster down --name {name}`"
            );
        }
        let taken: Vec<u8> = fs::read_dir(STATES)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Self::load(&entry.file_name().to_string_lossy()).ok())
            .map(|plan| plan.number)
            .collect();
        let plan = (0..NUMBERS)
            .filter(|number| !taken.contains(number))
            .map(|number| Self { name: name.to_owned(), number, nodes })
            .find(Self::addresses_are_free)
            .context("all 16 ranges of addresses for clusters are in use; end a cluster with `cargo xtask cluster down --name NAME`")?;
        files::write_private(&plan.state().join("plan"), &plan.to_text())?;
        Ok(plan)
    }

    pub fn load(name: &str) -> Result<Self> {
        let file = state_of(name).join("plan");
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "there is no cluster {name:?} ({} cannot be read): start it with `cargo xtask cluster up`",
                file.display()
            )
        })?;
        Self::parse(name, &text)
            .with_context(|| format!("{} is damaged: run `cargo xtask cluster down --name {name}`", file.display()))
    }

    fn to_text(&self) -> String {
        format!("{} {}\n", self.number, self.nodes)
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let (number, nodes) = text.trim().split_once(' ')?;
        let plan = Self { name: name.to_owned(), number: number.parse().ok()?, nodes: nodes.parse().ok()? };
        (plan.number < NUMBERS && (1..=NODES_MAX).contains(&plan.nodes)).then_some(plan)
    }

    /// False where the machine has a route into one of the ranges.
    fn addresses_are_free(&self) -> bool {
        [self.network(), self.all_pods(), self.services()].iter().all(|range| {
            run::output("ip", &["-4", "route", "show", "table", "all", "root", range])
                .is_some_and(|routes| routes.is_empty())
        })
    }

    pub fn state(&self) -> PathBuf {
        state_of(&self.name)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("admin.kubeconfig")
    }

    /// For this cluster alone.
    pub fn kubectl(&self) -> PathBuf {
        self.state().join("kubectl")
    }

    /// Below the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        cgroup_of(&self.name)
    }

    /// The one link of the cluster in the machine's own network namespace.
    pub fn link(&self) -> String {
        format!("hwcluster{}", self.number)
    }

    pub fn network(&self) -> String {
        format!("10.123.{}.0/24", self.number)
    }

    pub fn control_address(&self) -> String {
        format!("10.123.{}.1", self.number)
    }

    /// The machine's own end.
    pub fn host_address(&self) -> String {
        format!("10.123.{}.254", self.number)
    }

    pub fn api_url(&self) -> String {
        format!("https://{}:6443", self.control_address())
    }

    pub fn all_pods(&self) -> String {
        format!("10.124.{}.0/20", self.number * 16)
    }

    pub fn services(&self) -> String {
        format!("10.125.{}.0/20", self.number * 16)
    }

    /// The API server takes the first address of the range for the Service `kubernetes`.
    pub fn api_service(&self) -> String {
        format!("10.125.{}.1", self.number * 16)
    }

    pub fn name_service(&self) -> String {
        format!("10.125.{}.10", self.number * 16)
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (1..=self.nodes).map(|ordinal| Node { plan: self, ordinal })
    }
}

/// One node of a plan; the first has ordinal 1.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub plan: &'a Plan,
    ordinal: u8,
}

impl Node<'_> {
    pub fn name(self) -> String {
        format!("node{}", self.ordinal)
    }

    pub fn address(self) -> String {
        format!("10.123.{}.{}", self.plan.number, 10 + self.ordinal)
    }

    pub fn pods(self) -> String {
        format!("10.124.{}.0/24", self.plan.number * 16 + self.ordinal)
    }

    /// What the node sees as its /var.
    pub fn var(self) -> PathBuf {
        self.plan.state().join(self.name()).join("var")
    }

    pub fn cgroup(self) -> String {
        format!("{}/{}", self.plan.cgroup(), self.name())
    }
}

pub fn state_of(name: &str) -> PathBuf {
    Path::new(STATES).join(name)
}

pub fn cgroup_of(name: &str) -> String {
    format!("headwater-cluster-{name}")
}

/// Removes the folder of all clusters once the last has gone.
pub fn forget_states() {
    // Fails while another cluster is there, which is as it should be.
    let _ = fs::remove_dir(STATES);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_clusters_share_no_address() {
        let plans = [0, 15].map(|number| Plan { name: "a".to_owned(), number, nodes: 2 });
        assert_eq!(plans[0].services(), "10.125.0.0/20");
        assert_eq!(plans[1].services(), "10.125.240.0/20");
        let pods: Vec<String> =
            plans.iter().flat_map(|plan| plan.nodes().map(Node::pods).collect::<Vec<_>>()).collect();
        assert_eq!(pods, ["10.124.1.0/24", "10.124.2.0/24", "10.124.241.0/24", "10.124.242.0/24"]);
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_a_damaged_one_is_refused() {
        let plan = Plan { name: "a".to_owned(), number: 3, nodes: 2 };
        assert_eq!(Plan::parse("a", &plan.to_text()), Some(plan));
        for text in ["", "3", "16 1", "3 0", "3 9", "x 1"] {
            assert_eq!(Plan::parse("a", text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_cannot_lead_out_of_its_folder() {
        assert!(parse_name("headwater-2").is_ok());
        for name in ["", "..", "a/b", "-a", "A", "a b", "123456789012345678901"] {
            assert!(parse_name(name).is_err(), "{name:?}");
        }
    }
}
