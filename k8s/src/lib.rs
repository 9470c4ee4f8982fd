//! The manifests as values: what Kustomize and Helm make of them, and the chart that is made from the Kustomize base.
//!
//! In: the files of this folder. Out: objects of Kubernetes as JSON, in no certain order. Needs `kubectl` or `kustomize`, and `helm`.

pub mod chart;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// This folder.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What Kustomize makes of a folder below this one, as text.
///
/// # Errors
/// What Kustomize says, or that it is not there.
pub fn kustomize(overlay: &str) -> Result<String> {
    let path = folder().join(overlay);
    match tool("kustomize") {
        Some(kustomize) => output(Command::new(kustomize).arg("build").arg(path)),
        None => output(Command::new("kubectl").arg("kustomize").arg(path)),
    }
}

/// What Helm makes of the chart with some values (`name=value`), as text.
///
/// # Errors
/// What Helm says, or that it is not there.
pub fn helm_template(values: &[&str]) -> Result<String> {
    let mut command = Command::new(tool("helm").context(NO_HELM)?);
    command.args(["template", "headwater", "--namespace", "headwater"]).arg(folder().join("chart"));
    output(command.args(values.iter().flat_map(|value| ["--set", value])))
}

/// # Errors
/// What Helm's linter complains of.
pub fn helm_lint() -> Result<String> {
    let mut command = Command::new(tool("helm").context(NO_HELM)?);
    output(command.args(["lint", "--strict", "--quiet"]).arg(folder().join("chart")))
}

const NO_HELM: &str = "there is no helm: `cargo xtask setup` installs it";

/// The objects of a text of YAML documents.
///
/// # Errors
/// If one of them is no YAML.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let values = documents.map(serde::Deserialize::deserialize).collect::<Result<Vec<Value>, _>>()?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

/// The objects of a text, by `Kind/namespace/name`.
///
/// # Errors
/// If it is no YAML, or two objects have the same name.
pub fn by_name(text: &str) -> Result<BTreeMap<String, Value>> {
    let mut named = BTreeMap::new();
    for object in objects(text)? {
        let name = name_of(&object);
        ensure!(named.insert(name.clone(), object).is_none(), "there are two {name}");
    }
    Ok(named)
}

fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{}/{}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Runs a line of the documentation in the root of the repository, as it is written.
///
/// # Errors
/// What it says when it fails.
pub fn run_as_written(line: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain(go_programs())).context("join the PATH")?;
    output(Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(folder().join("..")))
}

/// The lines after a prompt in a page of the documentation.
///
/// # Errors
/// If it cannot be read.
pub fn commands_of(page: &str) -> Result<Vec<String>> {
    let path = folder().join("../docs").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect())
}

/// On the PATH, or where `go install` puts it.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(go_programs())
        .map(|folder| folder.join(name))
        .find(|program| Path::is_file(program))
}

/// Where `go install` puts programs.
fn go_programs() -> Option<PathBuf> {
    let go = std::env::var_os("GOPATH").map(PathBuf::from);
    go.or_else(|| std::env::home_dir().map(|home| home.join("go"))).map(|go| go.join("bin"))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("the output is no text")
}
