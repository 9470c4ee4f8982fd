//! `cargo xtask test`: everything that CI runs, in the order in which a broken thing fails soonest.
//!
//! Seconds first (format), then what the compiler finds, then tests without the outside world, then the real kernel
//! and the real Kafka from the smallest part to the whole. Nothing is skipped: a test that lacks the kernel or Kafka
//! fails, and every `tests` folder of the workspace is found by looking.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::needs::Purpose;
use crate::run;
use crate::setup;
use crate::steps::{self, Step};

/// Packages whose tests need the outside world, from the smallest part to the whole. Others come before them.
const ORDER: &[&str] = &[
    "headwater-stack",
    "headwater-kafka",
    "headwater-probe-loader",
    "headwater-agent",
    "headwater-processors",
    "headwater-demo-shop",
    "headwater-system-tests",
    "headwater-console",
    "headwater-cli",
    "headwater-bench",
];

pub fn run(yes: bool) -> Result<()> {
    if !run::is_root() {
        let path = env::var("PATH").unwrap_or_default();
        bail!(
            "the tests load programs into the kernel and make network namespaces, so they need root: run `sudo env PATH={path} cargo xtask test`"
        );
    }
    setup::ensure(Purpose::ALL, yes)?;
    let packages = packages_with_tests(&run::root())?;
    steps::run_all(&plan(&run::cargo(), &packages))
}

fn plan(cargo: &str, packages: &[String]) -> Vec<Step> {
    let mut steps = vec![
        Step::new("format", 5, &[cargo, "fmt", "--all", "--check"]),
        Step::new("format of the probes", 5, &[cargo, "fmt", "--manifest-path", "kernel-probes/Cargo.toml", "--check"]),
        Step::new("lints", 40, &[cargo, "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        Step::new("build", 40, &[cargo, "build", "--workspace", "--bins"]),
        Step::new("build the tests", 40, &[cargo, "test", "--workspace", "--no-run"]),
        Step::new("unit tests", 15, &[cargo, "test", "--workspace", "--lib", "--bins", "--no-fail-fast"]),
        Step::new("examples in the documentation", 10, &[cargo, "test", "--workspace", "--doc"]),
    ];
    for package in packages {
        // One at a time: they share the kernel, and their limits on time are for a machine that does one thing.
        let line = [cargo, "test", "--package", package, "--test", "*", "--no-fail-fast", "--", "--test-threads=1"];
        steps.push(Step::new(&format!("tests of {}", package.trim_start_matches("headwater-")), 40, &line));
    }
    steps
}

/// The packages that have a `tests` folder with Rust files, in [`ORDER`].
fn packages_with_tests(root: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for folder in package_folders(root) {
        let tests = fs::read_dir(folder.join("tests")).into_iter().flatten().flatten();
        let has_tests = tests.into_iter().any(|entry| {
            let path = entry.path();
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists()
        });
        if has_tests {
            packages.push(name_of(&folder)?);
        }
    }
    packages.sort();
    packages.sort_by_key(|name| ORDER.iter().position(|known| known == name).map_or(0, |position| position + 1));
    Ok(packages)
}

/// Folders with a manifest, at most two levels deep, as in the workspace's list of members.
fn package_folders(root: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders =
            entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.ends_with("target"));
        folders.collect::<Vec<_>>()
    };
    let mut folders = below(root);
    let second: Vec<PathBuf> = folders.iter().flat_map(|folder| below(folder)).collect();
    folders.extend(second);
    // The probes run in the kernel only; the loader's tests are theirs.
    folders.retain(|folder| folder.join("Cargo.toml").exists() && !folder.ends_with("kernel-probes"));
    folders
}

fn name_of(folder: &Path) -> Result<String> {
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).with_context(|| format!("{} names no package", manifest.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tests_of_every_package_are_found_and_the_whole_comes_last() {
        let packages = packages_with_tests(&run::root()).unwrap();
        assert!(packages.contains(&"headwater-stack".to_owned()), "{packages:?}");
        let place = |name: &str| packages.iter().position(|package| package == name);
        let (whole, stack) = (place("headwater-system-tests").unwrap(), place("headwater-stack").unwrap());
        assert!(stack < whole, "{packages:?}");
    }

    #[test]
    fn a_new_package_with_tests_is_not_forgotten() {
        let root = env::temp_dir().join(format!("headwater-xtask-packages-{}", std::process::id()));
        for (folder, name) in
            [("libs/new", "headwater-new"), ("system-tests", "headwater-system-tests"), ("plain", "headwater-plain")]
        {
            fs::create_dir_all(root.join(folder).join("tests")).unwrap();
            fs::write(root.join(folder).join("Cargo.toml"), format!("[package]\nname = \"{name}\"\n")).unwrap();
        }
        fs::write(root.join("libs/new/tests/it.rs"), "").unwrap();
        fs::write(root.join("system-tests/tests/it.rs"), "").unwrap();
        let packages = packages_with_tests(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(packages, ["headwater-new", "headwater-system-tests"]);
    }

    #[test]
    fn format_and_lints_come_before_anything_slow() {
        let steps = plan("cargo", &["headwater-system-tests".to_owned()]);
        assert_eq!(steps.first().unwrap().name, "format");
        let last = steps.last().unwrap();
        assert_eq!(last.name, "tests of system-tests");
        assert!(last.line.ends_with(&["--".to_owned(), "--test-threads=1".to_owned()]));
    }
}
