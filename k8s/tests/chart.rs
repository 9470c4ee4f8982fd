//! The Helm chart renders to what Kustomize makes of the base.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_manifests::{by_name, commands_of, helm_lint, helm_template, kustomize, run_as_written};
use serde_json::{Value, json};

fn rendered(values: &[&str]) -> BTreeMap<String, Value> {
    by_name(&helm_template(values).unwrap()).unwrap()
}

#[test]
fn the_linter_has_no_complaint() {
    helm_lint().unwrap();
}

#[test]
fn what_the_documentation_shows_of_helm_works() {
    let commands = commands_of("kubernetes.md").unwrap();
    let of_helm: Vec<&String> = commands.iter().filter(|command| command.starts_with("helm ")).collect();
    assert!(!of_helm.is_empty());
    for command in of_helm {
        assert!(run_as_written(command).unwrap().contains("kind: DaemonSet"), "{command}");
    }
}

#[test]
fn it_renders_to_the_same_as_the_overlays() {
    assert_same(rendered(&[]), "base");
    assert_same(rendered(&["keda.enabled=true", "podMonitors.enabled=true"]), "overlays/keda");
}

#[test]
fn values_reach_what_they_are_for() {
    let scaled = rendered(&["hpa.enabled=true", "networkPolicies.enabled=false", "processors.replicas.bottlenecks=2"]);
    assert_eq!(scaled.keys().filter(|name| name.starts_with("HorizontalPodAutoscaler/")).count(), 3);
    assert!(!scaled.keys().any(|name| name.starts_with("NetworkPolicy/")));
    assert!(scaled["Deployment/headwater/headwater-join"]["spec"]["replicas"].is_null(), "the scaler decides");
    assert_eq!(scaled["Deployment/headwater/headwater-bottlenecks"]["spec"]["replicas"], 2);

    let set = rendered(&[
        "image=here/headwater:9",
        "settings.HEADWATER_KAFKA_BROKERS=b:1",
        "secrets.kafka=ours",
        "agent.capabilities={BPF,PERFMON,SYS_PTRACE}",
        "keda.enabled=true",
    ]);
    for name in ["DaemonSet/headwater/headwater-agent", "Deployment/headwater/headwater-join"] {
        let pod = &set[name]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], "here/headwater:9");
        assert_eq!(pod["volumes"][0]["secret"]["secretName"], "ours");
    }
    let agent = &set["DaemonSet/headwater/headwater-agent"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(agent["securityContext"]["capabilities"]["add"], json!(["BPF", "PERFMON", "SYS_PTRACE"]));
    let settings = &set["ConfigMap/headwater/headwater"]["data"];
    assert_eq!(
        (&settings["HEADWATER_KAFKA_BROKERS"], &settings["HEADWATER_LOG_JSON"]),
        (&json!("b:1"), &json!("true"))
    );
    let scaler = &set["ScaledObject/headwater/headwater-join"]["spec"];
    assert_eq!(scaler["triggers"][0]["metadata"]["bootstrapServers"], "b:1");
}

/// Helm makes the namespace itself, notes the settings' checksum, and writes what is empty.
fn assert_same(mut rendered: BTreeMap<String, Value>, overlay: &str) {
    let mut wanted = by_name(&kustomize(overlay).unwrap()).unwrap();
    wanted.remove("Namespace//headwater");
    for object in rendered.values_mut().chain(wanted.values_mut()) {
        if let Some(Value::Object(metadata)) = object.pointer_mut("/spec/template/metadata") {
            metadata.remove("annotations");
        }
        drop_empty(object);
    }
    assert_eq!(rendered.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, object) in &wanted {
        assert_eq!(&rendered[name], object, "{name}");
    }
}

fn drop_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(drop_empty);
        fields.retain(|_, value| !value.is_null() && *value != json!({}));
    }
}
