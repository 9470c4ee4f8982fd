//! What a platform team asks of manifests, held against what Kustomize and Helm make of them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use headwater_manifests::{by_name, chart, folder, kustomize};
use serde_json::{Value, json};

const OVERLAYS: [&str; 4] = ["base", "overlays/dev", "overlays/keda", "overlays/strimzi"];

/// The objects of an overlay, by name.
fn made(overlay: &str) -> BTreeMap<String, Value> {
    by_name(&kustomize(overlay).unwrap()).unwrap()
}

/// What each workload starts: its name and the specification of its pods.
fn pods(objects: &BTreeMap<String, Value>) -> Vec<(&str, &Value)> {
    let spec = |object: &'_ Value| -> Option<&'static str> {
        match object["kind"].as_str()? {
            "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
            "DaemonSet" | "Deployment" | "StatefulSet" => Some("/spec/template/spec"),
            _ => None,
        }
    };
    objects.iter().filter_map(|(name, object)| Some((name.as_str(), object.pointer(spec(object)?).unwrap()))).collect()
}

fn containers(pod: &Value) -> Vec<&Value> {
    let all = ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array());
    all.flatten().collect()
}

fn is_ours(name: &str) -> bool {
    name.contains("/headwater/headwater-")
}

#[test]
fn every_pod_is_as_restricted_as_it_can_be() {
    for overlay in OVERLAYS {
        let objects = made(overlay);
        for (name, pod) in pods(&objects) {
            let is_agent = name == "DaemonSet/headwater/headwater-agent";
            let is_on_host = is_agent || name == "DaemonSet/sample-front/monitor";
            assert_eq!(pod["enableServiceLinks"], false, "{overlay} {name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{overlay} {name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"] == true, !is_agent, "{overlay} {name}");
            assert_eq!(pod["automountServiceAccountToken"] == false, !is_agent, "{overlay} {name}");
            assert_eq!(pod["hostPID"] == true, is_agent, "{overlay} {name}");
            assert_eq!(pod["hostNetwork"] == true, is_on_host && !is_agent, "{overlay} {name}");
            assert!(!pod.to_string().contains("hostPath"), "{overlay} {name}");
            for container in containers(pod) {
                let rights = &container["securityContext"];
                let added = if is_agent { json!(["BPF", "PERFMON"]) } else { Value::Null };
                assert_eq!(rights["capabilities"]["drop"], json!(["ALL"]), "{overlay} {name}");
                assert_eq!(rights["capabilities"]["add"], added, "{overlay} {name}");
                assert_eq!(rights["allowPrivilegeEscalation"], false, "{overlay} {name}");
                assert_eq!(rights["readOnlyRootFilesystem"], true, "{overlay} {name}");
                assert_ne!(rights["privileged"], true, "{overlay} {name}");
                let (_, tag) = container["image"].as_str().unwrap().rsplit_once(':').unwrap();
                assert!(!tag.is_empty() && tag != "latest", "{overlay} {name}");
                let resources = &container["resources"];
                assert!(
                    resources["requests"]["cpu"].is_string() && resources["limits"]["memory"].is_string(),
                    "{name}"
                );
                assert!(resources["limits"]["cpu"].is_null(), "{name}: what is held back loses events or falls behind");
            }
        }
        let agent = &objects["DaemonSet/headwater/headwater-agent"]["spec"];
        // A pod that names a profile is refused where the kernel has no AppArmor; without one it gets the runtime's own where there is.
        assert!(agent["template"]["spec"]["securityContext"]["appArmorProfile"].is_null(), "{overlay}");
        assert_eq!(agent["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
        let pod = &agent["template"]["spec"];
        assert_eq!(pod["priorityClassName"], "headwater-agent");
        // Its spool is bounded by itself, to 512 MiB; a pod that takes more than its volume's limit is evicted.
        let named = |list: &Value| list.as_array().unwrap().iter().find(|one| one["name"] == "spool").unwrap().clone();
        assert_eq!(named(&pod["volumes"])["emptyDir"], json!({"sizeLimit": "640Mi"}), "{overlay}");
        assert_eq!(named(&pod["containers"][0]["volumeMounts"])["mountPath"], "/var/lib/headwater/spool", "{overlay}");
    }
}

#[test]
fn a_right_more_is_given_only_where_it_is_asked_for() {
    let namespace = &made("base")["Namespace//headwater"]["metadata"]["labels"];
    assert_eq!(namespace["pod-security.kubernetes.io/enforce"], "privileged");
    // A folder of its own: components have to be named by a relative path.
    let asked = tempfile::tempdir_in(folder().join("overlays")).unwrap();
    let kustomization = "resources: [../../base]\ncomponents: [../../components/trace-rights]\n";
    std::fs::write(asked.path().join("kustomization.yaml"), kustomization).unwrap();
    let objects = made(&format!("overlays/{}", asked.path().file_name().unwrap().to_str().unwrap()));
    let agent = &objects["DaemonSet/headwater/headwater-agent"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(agent["securityContext"]["capabilities"]["add"], json!(["BPF", "PERFMON", "SYS_PTRACE"]));
}

#[test]
fn every_program_of_ours_is_probed_named_and_told_where_it_is() {
    for overlay in OVERLAYS {
        let objects = made(overlay);
        let ours: Vec<_> = pods(&objects).into_iter().filter(|(name, _)| is_ours(name)).collect();
        assert_eq!(ours.len(), 8, "{overlay}");
        for (name, pod) in ours {
            let container = containers(pod)[0];
            let path = |probe: &str| container[probe]["httpGet"]["path"].as_str().unwrap_or_default();
            let paths = ["startupProbe", "livenessProbe", "readinessProbe"].map(path);
            assert_eq!(paths, ["/livez", "/livez", "/readyz"], "{overlay} {name}");
            assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError", "{overlay} {name}");
            let variables: BTreeSet<&str> = container["env"]
                .as_array()
                .unwrap()
                .iter()
                .map(|variable| variable["name"].as_str().unwrap())
                .collect();
            for variable in ["HEADWATER_KAFKA_CLIENT_ID", "HEADWATER_KAFKA_RACK", "HEADWATER_METRICS_LISTEN"] {
                assert!(variables.contains(variable), "{overlay} {name} {variable}");
            }
        }
        let settings = objects["ConfigMap/headwater/headwater"]["data"].as_object().unwrap();
        assert!(!settings.contains_key("HEADWATER_KAFKA_REPLICATION"), "the brokers know how many copies they keep");
    }
}

#[test]
fn the_processors_are_one_template_and_each_may_be_drained() {
    let objects = made("base");
    let mut templates = BTreeSet::new();
    let modes = headwater_processors::modes::Mode::ALL.map(|mode| mode.name());
    for mode in modes.into_iter().chain([headwater_processors::revisions::NAME, headwater_processors::rollups::NAME]) {
        let name = format!("headwater-{mode}");
        let object = &objects[&format!("Deployment/headwater/{name}")];
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["args"], json!([mode]));
        templates.insert(object.to_string().replace(&name, "NAME").replace(&format!("[\"{mode}\"]"), "[MODE]"));
        let budget = &objects[&format!("PodDisruptionBudget/headwater/{name}")]["spec"];
        assert_eq!((&budget["maxUnavailable"], &budget["selector"]), (&json!(1), &object["spec"]["selector"]));
    }
    assert_eq!(templates.len(), 1, "a processor differs from the others in more than its name and mode");
}

#[test]
fn the_chart_is_made_from_the_base_as_it_is_today() {
    for (name, text) in chart::templates().unwrap() {
        let kept = std::fs::read_to_string(folder().join("chart/templates").join(&name)).unwrap_or_default();
        assert_eq!(kept, text, "chart/templates/{name} is old: cargo run -p headwater-manifests");
    }
}

#[test]
fn a_selector_finds_what_it_is_for() {
    for overlay in OVERLAYS {
        let objects = made(overlay);
        let labels: Vec<(&str, &Value)> = objects
            .values()
            .filter_map(|object| {
                let labels = object.pointer("/spec/template/metadata/labels")?;
                Some((object["metadata"]["namespace"].as_str()?, labels))
            })
            .collect();
        let selectors = objects.iter().filter_map(|(name, object)| {
            let selector = match object["kind"].as_str()? {
                "Service" => &object["spec"]["selector"],
                "PodDisruptionBudget" | "PodMonitor" => &object["spec"]["selector"]["matchLabels"],
                "NetworkPolicy" => &object["spec"]["podSelector"]["matchLabels"],
                _ => return None,
            };
            Some((name, object["metadata"]["namespace"].as_str()?, selector.as_object()?))
        });
        for (name, namespace, selector) in selectors {
            let finds = |(of, labels): &&(&str, &Value)| {
                *of == namespace && selector.iter().all(|(key, value)| labels[key] == *value)
            };
            assert!(
                !selector.is_empty() && labels.iter().any(|labels| finds(&labels)),
                "{overlay} {name} finds no pod"
            );
        }
    }
}
