//! A pod as the API server sends it, with the few fields that name it, and what they say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use headwater_workload::clean;
use headwater_workload::pods::{Pod, owner_of};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

/// Annotations of static pods: the hash of their file, which is also the name of their cgroup.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Containers of a pod that are looked at.
const CONTAINERS_MAX: usize = 256;

/// See the module. The whole type has ten times as many fields.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct PodObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: bool,
    containers: Vec<Named>,
    init_containers: Vec<Named>,
    ephemeral_containers: Vec<Named>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Address {
    ip: String,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    /// `containerd://ID`; empty before the first start.
    #[serde(rename = "containerID")]
    container_id: String,
    last_state: State,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct State {
    terminated: Terminated,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: String,
}

impl kube::Resource for PodObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodObject {
    pub fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    /// The pod with the labels that were asked for; `None` if it has no uid or no name.
    pub fn pod(&self, labels: &[String]) -> Option<Pod> {
        let metadata = &self.metadata;
        let (uid, name) = (metadata.uid.clone()?, clean(metadata.name.as_deref()?)?);
        let empty = BTreeMap::new();
        let all_labels = metadata.labels.as_ref().unwrap_or(&empty);
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let controller = owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first());
        let controller = controller.map(|owner| (owner.kind.as_str(), owner.name.as_str()));
        let made_at_s = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let (kind, owner) = owner_of(controller, &name, all_labels, made_at_s);
        let annotations = metadata.annotations.as_ref().unwrap_or(&empty);
        let is_static = annotations.contains_key(CONFIG_MIRROR);
        let chosen = labels.iter().filter_map(|key| Some((key.clone(), clean(all_labels.get(key)?)?)));
        Some(Pod {
            uid,
            config_hash: annotations.get(CONFIG_HASH).filter(|_| is_static).cloned(),
            namespace: clean(metadata.namespace.as_deref().unwrap_or("default"))?,
            owner: (clean(&kind)?, clean(&owner)?),
            labels: chosen.collect(),
            containers: self.container_names(),
            ids: self.container_ids(),
            addresses: self.addresses(),
            name,
        })
    }

    fn container_names(&self) -> Vec<String> {
        let Spec { containers, init_containers, ephemeral_containers, .. } = &self.spec;
        let all = containers.iter().chain(init_containers).chain(ephemeral_containers);
        all.filter_map(|container| clean(&container.name)).take(CONTAINERS_MAX).collect()
    }

    fn container_ids(&self) -> Vec<(String, String)> {
        let Status { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } = &self.status;
        let all = container_statuses.iter().chain(init_container_statuses).chain(ephemeral_container_statuses);
        let ids = all.flat_map(|status| {
            let ids = [&status.container_id, &status.last_state.terminated.container_id];
            ids.into_iter().filter_map(|id| {
                let (_, id) = id.split_once("://")?;
                (!id.is_empty()).then(|| Some((id.to_owned(), clean(&status.name)?))).flatten()
            })
        });
        ids.take(2 * CONTAINERS_MAX).collect()
    }

    /// None with the network of the node: those addresses are the node's. None after its end, when others may have them.
    fn addresses(&self) -> Vec<String> {
        if self.spec.host_network || matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return Vec::new();
        }
        self.status.pod_ips.iter().map(|address| address.ip.clone()).filter(|ip| !ip.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_names_a_pod_is_read() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "uid": "u1", "name": "web-5d4f-x", "namespace": "shop", "resourceVersion": "5",
                "creationTimestamp": "2026-11-26T01:00:00Z",
                "labels": {"app": "web", "secret": "x", "pod-template-hash": "5d4f"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "a"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "b", "controller": true}
                ]
            },
            "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "i"}, {"name": "proxy"}], "initContainers": [{"name": "init"}]},
            "status": {
                "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
                "containerStatuses": [
                    {"name": "app", "containerID": "containerd://aa", "lastState": {"terminated": {"containerID": "containerd://a0", "exitCode": 1}}},
                    {"name": "proxy", "state": {"waiting": {"reason": "x"}}}
                ],
                "initContainerStatuses": [{"name": "init", "containerID": "cri-o://bb", "lastState": {}}]
            }
        });
        let object: PodObject = serde_json::from_value(object).unwrap();
        let pod = object.pod(&["app".to_owned(), "team".to_owned()]).unwrap();
        assert_eq!((pod.owner.0.as_str(), pod.owner.1.as_str()), ("Deployment", "web"));
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("shop", "web-5d4f-x"));
        assert_eq!(pod.labels, BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        assert_eq!(pod.containers, ["app", "proxy", "init"]);
        let id = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        assert_eq!(pod.ids, [id("aa", "app"), id("a0", "app"), id("bb", "init")]);
        assert_eq!(pod.addresses, ["10.0.0.7", "fd00::7"]);
        let mut over = object.clone();
        over.status.phase = "Succeeded".into();
        assert!(over.pod(&[]).unwrap().addresses.is_empty(), "its address may be another's");
    }

    #[test]
    fn a_static_pod_is_found_by_its_hash_and_a_nodes_address_is_no_pods() {
        let object = json!({
            "metadata": {
                "uid": "u1", "name": "etcd-n", "namespace": "kube-system",
                "annotations": {"kubernetes.io/config.hash": "h1", "kubernetes.io/config.mirror": "h1"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "b", "controller": true}]
            },
            "spec": {"hostNetwork": true, "containers": [{"name": "etcd"}]},
            "status": {"podIPs": [{"ip": "192.0.2.1"}]}
        });
        let object: PodObject = serde_json::from_value(object).unwrap();
        let pod = object.pod(&[]).unwrap();
        assert_eq!((pod.owner.0.as_str(), pod.owner.1.as_str()), ("Pod", "etcd-n"));
        assert_eq!(pod.config_hash.as_deref(), Some("h1"));
        assert!(pod.addresses.is_empty());
        let nothing: PodObject = serde_json::from_value(json!({})).unwrap();
        assert!(nothing.pod(&[]).is_none());
    }
}
