//! What the base, the overlays and the components hold, of operators too, passes the validation of an API server that has the
//! operators' own definitions; a field that is misspelt is refused for each kind.
//!
//! This says nothing of what the operators make of their objects: they do not run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Cluster, output};

const OVERLAYS: &[&str] = &["base", "overlays/dev", "overlays/keda", "overlays/strimzi"];
const COMPONENTS: &[&str] = &["dashboards", "hpa", "pod-monitors", "trace-rights"];
/// A dry run makes no namespace, and without one the server takes nothing into it.
const NAMESPACES: &[&str] = &["headwater", "sample-data", "sample-front", "sample-shop"];
const APPLY: &[&str] = &["apply", "--dry-run=server", "--validate=strict", "--output=name", "--kustomize"];
/// Each kind of an operator, an overlay that has it, and a field that it does not have.
const OPERATED: &[(&str, &str, &str)] = &[
    ("ScaledObject", "overlays/keda", "/spec/maxReplicaCounts"),
    ("ScaledObject", "overlays/keda", "/spec/advanced/horizontalPodAutoscalerConfig/behaviors"),
    ("PodMonitor", "overlays/keda", "/spec/podTargetLabel"),
    ("Kafka", "overlays/strimzi", "/spec/kafka/listener"),
    ("KafkaNodePool", "overlays/strimzi", "/spec/replica"),
    ("KafkaTopic", "overlays/strimzi", "/spec/partition"),
    ("KafkaUser", "overlays/strimzi", "/spec/authorization/acl"),
];

#[test]
fn every_object_passes_the_servers_validation_and_a_misspelt_field_does_not() {
    let cluster = Cluster::new("operators");
    output(&mut cluster.xtask(&["up", "--yes"]));
    let first = apply(&cluster, &k8s().join("overlays/strimzi"));
    assert!(
        first.is_err_and(|complaint| complaint.contains("no matches for kind")),
        "the server knows Strimzi by itself"
    );
    output(&mut cluster.xtask(&["operators", "--yes"]));
    for namespace in NAMESPACES {
        cluster.kubectl(&["create", "namespace", namespace]);
    }

    let mut taken = BTreeSet::new();
    for overlay in OVERLAYS {
        taken
            .extend(apply(&cluster, &k8s().join(overlay)).unwrap_or_else(|complaint| panic!("{overlay}: {complaint}")));
    }
    let all = kustomization(&cluster, "base", &components(&cluster));
    taken.extend(apply(&cluster, &all).unwrap_or_else(|complaint| panic!("with every component: {complaint}")));
    for kind in OPERATED.iter().map(|(kind, ..)| kind.to_lowercase()) {
        assert!(taken.iter().any(|object| object.starts_with(&format!("{kind}."))), "no {kind} in {taken:?}");
    }

    for (kind, overlay, field) in OPERATED {
        let patch = format!(
            "patches:\n  - target: {{kind: {kind}}}\n    patch: |\n      - {{op: add, path: {field}, value: 1}}\n"
        );
        let complaint = apply(&cluster, &kustomization(&cluster, overlay, &patch));
        let complaint = complaint.expect_err(&format!("{kind} with {field} was taken"));
        let name = field.trim_start_matches('/').replace('/', ".");
        assert!(complaint.contains(&format!("unknown field \"{name}\"")), "{kind} {field}: {complaint}");
    }
}

/// The names of what the server would take, or what it complains of.
fn apply(cluster: &Cluster, folder: &Path) -> Result<BTreeSet<String>, String> {
    let mut command = cluster.kubectl_command(APPLY);
    let answer = command.arg(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match answer.status.success() {
        true => Ok(text(&answer.stdout).lines().map(str::to_owned).collect()),
        false => Err(text(&answer.stderr)),
    }
}

/// An overlay over one of the repository. Its place serves one after the other.
fn kustomization(cluster: &Cluster, resource: &str, more: &str) -> PathBuf {
    let folder = overlay_folder(cluster);
    fs::create_dir_all(&folder).unwrap();
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    let text = format!("{head}resources: [\"{}\"]\n{more}", relative(&folder, &k8s().join(resource)));
    fs::write(folder.join("kustomization.yaml"), text).unwrap();
    folder
}

fn components(cluster: &Cluster) -> String {
    let path = |name: &&str| relative(&overlay_folder(cluster), &k8s().join("components").join(name));
    let lines: String = COMPONENTS.iter().map(|name| format!("  - {}\n", path(name))).collect();
    format!("components:\n{lines}")
}

fn overlay_folder(cluster: &Cluster) -> PathBuf {
    cluster.state().join("overlay")
}

/// Kustomize takes no absolute paths.
fn relative(folder: &Path, to: &Path) -> String {
    "../".repeat(folder.components().count() - 1) + &to.strip_prefix("/").unwrap().display().to_string()
}

fn k8s() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s")).unwrap()
}
