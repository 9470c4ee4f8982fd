//! Builds every program and test of the workspace at once, and lists the tests.
//!
//! In: nothing but the workspace. Out: [`Case`]s, each a test with the executable that holds it. One build serves all:
//! `cargo test --package X` resolves other features than the workspace does, and compiles hundreds of units again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Of the package, without the `headwater-` that all share.
    pub package: String,
    /// The name of the file or folder in `tests`; none for unit tests.
    pub program: Option<String>,
    pub executable: PathBuf,
    /// Tests run in the folder of their package, as cargo runs them.
    pub folder: PathBuf,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// `package::program::name`, or `package::name` for a unit test.
    pub id: String,
    /// As the executable knows it.
    pub name: String,
    pub is_unit: bool,
    /// A test that its source says is not to be run: a failure, since nothing is skipped quietly.
    pub is_ignored: bool,
    pub executable: PathBuf,
    pub folder: PathBuf,
}

/// Builds all programs and all tests; the flag is false when some of it did not compile.
pub fn build() -> Result<(Vec<Program>, bool)> {
    cargo(&["build", "--workspace", "--bins", "--tests", "--keep-going"])
}

/// The unit tests and these programs of `tests` folders alone: units that [`build`] makes as well, so that neither does anything that
/// the other one has done.
pub fn build_quick(programs: &[&str]) -> Result<(Vec<Program>, bool)> {
    let output = run::command(&run::cargo()).args(["metadata", "--no-deps", "--format-version", "1"]).output();
    let output = output.context("run cargo metadata")?;
    let metadata = serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")?;
    let binaries = tested_binaries(&metadata);
    let mut line = vec!["test", "--workspace", "--no-run", "--lib", "--no-fail-fast"];
    line.extend(binaries.iter().flat_map(|name| ["--bin", name]));
    line.extend(programs.iter().flat_map(|program| ["--test", program]));
    cargo(&line)
}

/// Programs with unit tests. `--bins` would also make test programs of all that say `test = false`, each as large as the program.
fn tested_binaries(metadata: &Value) -> Vec<&str> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let tested = targets.filter(|target| target["kind"][0] == "bin" && target["test"] == true);
    tested.filter_map(|target| target["name"].as_str()).collect()
}

fn cargo(line: &[&str]) -> Result<(Vec<Program>, bool)> {
    let output = run::command(&run::cargo())
        .args(line)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run cargo {}", line.join(" ")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs: Vec<Program> = messages.filter_map(|message| program(&message)).collect();
    programs.sort_by(|a, b| (&a.package, &a.program).cmp(&(&b.package, &b.program)));
    Ok((programs, output.status.success()))
}

/// A test executable among cargo's messages.
fn program(message: &Value) -> Option<Program> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let executable = PathBuf::from(message["executable"].as_str().filter(|_| is_test)?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let package = message["package_id"].as_str()?;
    // `path+file:///folder#name@version`, or `path+file:///folder/name#version` where both are the same.
    let (path, fragment) = package.split_once('#')?;
    let name = fragment.split_once('@').map_or_else(|| path.rsplit('/').next().unwrap_or(path), |(name, _)| name);
    let is_integration = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let program = message["target"]["name"].as_str().filter(|_| is_integration).map(str::to_owned);
    Some(Program { package: name.trim_start_matches("headwater-").to_owned(), program, executable, folder })
}

/// The tests of a program.
pub fn cases(program: &Program) -> Result<Vec<Case>> {
    let ask = |flags: &[&str]| -> Result<Vec<String>> {
        let mut command = run::command(&program.executable.to_string_lossy());
        let output = command.args(["--list", "--format", "terse"]).args(flags).output();
        let output = output.with_context(|| format!("list the tests of {}", program.executable.display()))?;
        if !output.status.success() {
            bail!("{} does not list its tests: {}", program.executable.display(), output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = ask(&["--ignored"])?;
    let prefix = [Some(program.package.as_str()), program.program.as_deref()];
    let prefix: String = prefix.iter().flatten().map(|part| format!("{part}::")).collect();
    let case = |name: String| Case {
        id: format!("{prefix}{name}"),
        is_ignored: ignored.contains(&name),
        name,
        is_unit: program.program.is_none(),
        executable: program.executable.clone(),
        folder: program.folder.clone(),
    };
    Ok(ask(&[])?.into_iter().map(case).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, kind: &str, is_test: bool) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact", "package_id": id, "manifest_path": "/w/libs/kafka/Cargo.toml",
            "target": {"kind": [kind], "name": "real_kafka"}, "profile": {"test": is_test}, "executable": "/t/x-1",
        })
    }

    #[test]
    fn of_programs_only_those_with_unit_tests_are_built_for_tests() {
        let target =
            |name: &str, kind: &str, test: bool| serde_json::json!({"name": name, "kind": [kind], "test": test});
        let targets = [target("tested", "bin", true), target("plain", "bin", false), target("it", "test", true)];
        let metadata = serde_json::json!({"packages": [{"targets": targets}]});
        assert_eq!(tested_binaries(&metadata), ["tested"]);
    }

    #[test]
    fn only_test_executables_count_and_carry_their_package_and_program() {
        let found = program(&message("path+file:///w/libs/kafka#headwater-kafka@0.1.0", "test", true));
        let expected = Program {
            package: "kafka".into(),
            program: Some("real_kafka".into()),
            executable: "/t/x-1".into(),
            folder: "/w/libs/kafka".into(),
        };
        assert_eq!(found, Some(expected.clone()));
        let unit = program(&message("path+file:///w/xtask#0.1.0", "bin", true));
        assert_eq!(unit, Some(Program { package: "xtask".into(), program: None, ..expected }));
        assert_eq!(program(&message("path+file:///w/xtask#0.1.0", "bin", false)), None);
    }
}
