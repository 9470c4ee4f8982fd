//! Holds the lock files against `deny.toml`: licences and sources, without network and without cargo-deny.
//!
//! In: `deny.toml`, and what cargo says of each workspace's packages. Not looked at: bans and advisories, which cargo-deny knows.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::run;

const WORKSPACES: [&str; 4] = [
    "Cargo.toml",
    "kernel-probes/Cargo.toml",
    "producer-agent/protocols/fuzz/Cargo.toml",
    "producer-agent/spool/fuzz/Cargo.toml",
];

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    exceptions: Vec<LicenceException>,
}

#[derive(Deserialize)]
struct LicenceException {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None for a package of the repository itself.
    source: Option<String>,
}

impl Rules {
    fn read() -> Rules {
        let text = std::fs::read_to_string(run::root().join("deny.toml")).unwrap();
        toml::from_str(&text).unwrap()
    }

    /// What is wrong with a package, if anything is.
    fn complaint(&self, package: &Package) -> Option<String> {
        let Package { name, version, license, source } = package;
        let known = |source: &String| {
            let registry = source.strip_prefix("registry+");
            registry.is_some_and(|registry| self.sources.allow_registry.iter().any(|allowed| allowed == registry))
        };
        if let Some(source) = source.as_ref().filter(|source| !known(source)) {
            return Some(format!("{name} {version} comes from {source}"));
        }
        let text = license.as_deref().unwrap_or_default();
        let Ok(expression) = Expression::parse_mode(text, ParseMode::LAX) else {
            return Some(format!("{name} {version} has the licence {text:?}, which is none of SPDX"));
        };
        let excepted = self.licenses.exceptions.iter().find(|exception| exception.name == *name);
        let allowed = |wanted: &LicenseReq| {
            let id = wanted.to_string();
            self.licenses.allow.contains(&id) || excepted.is_some_and(|exception| exception.allow.contains(&id))
        };
        (!expression.evaluate(allowed)).then(|| format!("{name} {version} has the licence {text}"))
    }
}

fn packages(rules: &Rules) -> Vec<Package> {
    let mut packages = BTreeMap::new();
    for manifest in WORKSPACES {
        let mut line = vec!["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest];
        line.extend(rules.graph.targets.iter().flat_map(|target| ["--filter-platform", target]));
        let text = run::output(&run::cargo(), &line).unwrap_or_else(|| panic!("cargo {} failed", line.join(" ")));
        let found: Metadata = serde_json::from_str(&text).unwrap();
        packages.extend(
            found.packages.into_iter().map(|package| ((package.name.clone(), package.version.clone()), package)),
        );
    }
    packages.into_values().collect()
}

#[test]
fn every_crate_has_a_licence_and_a_source_that_are_allowed() {
    let rules = Rules::read();
    let packages = packages(&rules);
    assert!(packages.len() > 200, "only {} packages were found", packages.len());
    let complaints: Vec<String> = packages.iter().filter_map(|package| rules.complaint(package)).collect();
    assert!(complaints.is_empty(), "allow these in deny.toml with a reason, or do without:\n{}", complaints.join("\n"));
}

#[test]
fn every_exception_is_still_needed() {
    let rules = Rules::read();
    let packages = packages(&rules);
    for exception in &rules.licenses.exceptions {
        assert!(
            packages.iter().any(|package| package.name == exception.name),
            "{} is not used any more",
            exception.name
        );
    }
}

#[test]
fn what_is_not_allowed_is_told() {
    let rules = Rules::read();
    let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
        name: name.into(),
        version: "1.0.0".into(),
        license: license.map(str::to_owned),
        source: source.map(str::to_owned),
    };
    let told = |name, license, source| rules.complaint(&package(name, license, source));
    assert_eq!(told("own", Some("Apache-2.0"), None), None);
    assert_eq!(told("old", Some("MIT/GPL-3.0"), None), None);
    assert!(told("copyleft", Some("MIT AND GPL-3.0-only"), None).is_some());
    assert!(told("other", Some("MPL-2.0"), None).is_some(), "an exception holds for its crate alone");
    assert!(told("nothing", None, None).is_some());
    assert!(told("fork", Some("MIT"), Some("git+https://example.org/fork")).is_some());
    assert!(told("elsewhere", Some("MIT"), Some("registry+https://example.org/index")).is_some());
}
