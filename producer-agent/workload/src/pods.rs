//! The pods of this node, as the watch on Kubernetes tells of them, and whose a container is.
//!
//! In: [`PodNews`] in order, containers from paths of cgroups. Out: the pod. Promise: pods are found by their uid or a container's id, both
//! of which Kubernetes gives once, never by an address; the outermost container that is known wins, since what is inside of a
//! container could have chosen its own ids. A pod outlives its deletion by [`KEPT_FOR`]. Bounded: [`PODS_MAX`] pods. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::path::Container;
use crate::{Kind, Workload};

/// How long a pod can be found after it was deleted: longer than a record waits anywhere.
pub const KEPT_FOR: Duration = Duration::from_secs(600);

/// Pods that are known at a time, the deleted ones included: a node has a few hundred.
pub const PODS_MAX: usize = 8192;

/// A pod with what names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    pub uid: String,
    /// What the cgroup of a static pod is called, which is not its uid.
    pub config_hash: Option<String>,
    pub namespace: String,
    pub name: String,
    /// Kind and name of what it belongs to, through all of its owners.
    pub owner: (String, String),
    /// The labels that were asked for.
    pub labels: BTreeMap<String, String>,
    /// Names of all containers that it may have.
    pub containers: Vec<String>,
    /// Ids of containers and their names, as far as they were started.
    pub ids: Vec<(String, String)>,
    /// Its own addresses; none if it uses those of the node.
    pub addresses: Vec<String>,
}

/// What the watch tells.
#[derive(Debug, Clone)]
pub enum PodNews {
    /// All pods of the node follow, one by one.
    ListBegins,
    /// All of them were told: others are gone.
    ListEnds,
    Seen(Box<Pod>),
    /// By uid.
    Deleted(String),
}

/// What is known of some containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The pod and, if it is known, the name of the container.
    Pod(Arc<Pod>, Option<String>),
    /// A pod's containers, but of no pod that is known yet.
    NotYet,
    /// No pod's.
    NoPod,
}

struct Entry {
    pod: Arc<Pod>,
    /// The list in which it was last seen.
    list: u64,
    deleted_at: Option<Instant>,
}

/// The pods.
#[derive(Default)]
pub struct Pods {
    by_uid: FxHashMap<String, Entry>,
    /// Container id or config hash to uid and container name.
    by_id: FxHashMap<String, (String, Option<String>)>,
    list: u64,
    listed: bool,
    forgotten: u64,
}

impl Pods {
    pub fn take(&mut self, news: PodNews, now: Instant) {
        match news {
            PodNews::ListBegins => self.list += 1,
            PodNews::ListEnds => {
                self.listed = true;
                let list = self.list;
                for entry in self.by_uid.values_mut().filter(|entry| entry.list != list) {
                    entry.deleted_at = entry.deleted_at.or(Some(now));
                }
                self.forget(now);
            }
            PodNews::Seen(pod) => self.seen(*pod, now),
            PodNews::Deleted(uid) => {
                if let Some(entry) = self.by_uid.get_mut(&uid) {
                    entry.deleted_at = entry.deleted_at.or(Some(now));
                }
                self.forget(now);
            }
        }
    }

    /// Whether a whole list was read.
    pub fn are_listed(&self) -> bool {
        self.listed
    }

    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// Pods that were given up for the bound.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The pods that were not deleted.
    pub fn living(&self) -> impl Iterator<Item = &Pod> {
        self.by_uid.values().filter(|entry| entry.deleted_at.is_none()).map(|entry| &*entry.pod)
    }

    /// Whose these containers are; the outermost comes first.
    pub fn find<'a>(&self, containers: impl Iterator<Item = &'a Container>) -> Found {
        let mut of_some_pod = false;
        for container in containers {
            of_some_pod |= container.pod_uid.is_some();
            let by_uid = container.pod_uid.as_ref().and_then(|uid| {
                let uid = self.by_id.get(uid).map_or(uid, |(uid, _)| uid);
                self.by_uid.get(uid)
            });
            let by_id = self.by_id.get(&container.id);
            let Some(entry) = by_uid.or_else(|| self.by_uid.get(&by_id?.0)) else { continue };
            let pod = &entry.pod;
            let name = match by_id {
                Some((uid, name)) if *uid == pod.uid => name.clone(),
                _ if pod.containers.len() == 1 && !container.id.is_empty() => Some(pod.containers[0].clone()),
                _ => None,
            };
            return Found::Pod(Arc::clone(pod), name);
        }
        if of_some_pod { Found::NotYet } else { Found::NoPod }
    }

    fn seen(&mut self, pod: Pod, now: Instant) {
        for (id, name) in &pod.ids {
            self.by_id.insert(id.clone(), (pod.uid.clone(), Some(name.clone())));
        }
        if let Some(hash) = &pod.config_hash {
            self.by_id.insert(hash.clone(), (pod.uid.clone(), None));
        }
        let mut pod = pod;
        if let Some(entry) = self.by_uid.get(&pod.uid) {
            // A container that was started again has another id; records of the one before may still come.
            let gone = entry.pod.ids.iter().filter(|(id, _)| !pod.ids.iter().any(|(other, _)| other == id));
            pod.ids.extend(gone.take(64).cloned().collect::<Vec<_>>());
        }
        let (uid, list) = (pod.uid.clone(), self.list);
        self.by_uid.insert(uid, Entry { pod: Arc::new(pod), list, deleted_at: None });
        if self.by_uid.len() > PODS_MAX {
            self.forget(now);
            self.make_room();
        }
    }

    /// Forgets the pods that were deleted long ago.
    fn forget(&mut self, now: Instant) {
        let over = |entry: &Entry| entry.deleted_at.is_some_and(|at| now.duration_since(at) >= KEPT_FOR);
        let uids: Vec<String> =
            self.by_uid.iter().filter(|(_, entry)| over(entry)).map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| self.remove(uid));
    }

    /// Gives up pods, those first that were deleted first.
    fn make_room(&mut self) {
        let mut uids: Vec<(Option<Instant>, String)> =
            self.by_uid.iter().map(|(uid, entry)| (entry.deleted_at, uid.clone())).collect();
        uids.sort_by_key(|(at, _)| (at.is_none(), *at));
        let surplus = uids.len().saturating_sub(PODS_MAX - PODS_MAX / 8);
        self.forgotten += surplus as u64;
        uids.iter().take(surplus).for_each(|(_, uid)| self.remove(uid));
    }

    fn remove(&mut self, uid: &str) {
        let Some(entry) = self.by_uid.remove(uid) else { return };
        for id in entry.pod.ids.iter().map(|(id, _)| id).chain(&entry.pod.config_hash) {
            if self.by_id.get(id).is_some_and(|(owner, _)| owner == uid) {
                self.by_id.remove(id);
            }
        }
    }
}

impl Pod {
    /// The workload of one of its containers.
    pub fn workload(&self, cluster: &str, container: Option<String>) -> Workload {
        Workload {
            cluster: cluster.to_owned(),
            namespace: self.namespace.clone(),
            kind: Kind::Kubernetes(self.owner.0.clone()),
            name: self.owner.1.clone(),
            pod: self.name.clone(),
            container: container.unwrap_or_default(),
            labels: self.labels.clone(),
            owner: None,
        }
    }
}

/// What a pod belongs to, as its own metadata tells: its controller, and what made the controller.
///
/// A ReplicaSet that a Deployment made is called like it, with the hash behind that the Deployment puts into a label of its pods. A Job
/// that a CronJob made is called like it, with the minute behind for which it was planned; a number that is no minute around the pod's
/// making is part of a Job's own name.
pub fn owner_of(
    controller: Option<(&str, &str)>,
    pod_name: &str,
    labels: &BTreeMap<String, String>,
    made_at_s: i64,
) -> (String, String) {
    let Some((kind, name)) = controller else { return ("Pod".into(), pod_name.into()) };
    let without_hash = |label: &str| {
        let hash = labels.get(label).filter(|hash| !hash.is_empty())?;
        name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| !name.is_empty())
    };
    match kind {
        "ReplicaSet" => {
            if let Some(name) = without_hash("pod-template-hash") {
                return ("Deployment".into(), name.into());
            }
            // Argo Rollouts do as Deployments do, with a label of their own.
            if let Some(name) = without_hash("rollouts-pod-template-hash") {
                return ("Rollout".into(), name.into());
            }
        }
        "Job" => {
            if let Some((cron, minute)) = name.rsplit_once('-')
                && !cron.is_empty()
                && let Ok(minute) = minute.parse::<i64>()
                && (-CRON_LATE_MINUTES..=1).contains(&(minute - made_at_s / 60))
            {
                return ("CronJob".into(), cron.into());
            }
        }
        // A static pod is the node's own.
        "Node" => return ("Pod".into(), pod_name.into()),
        _ => {}
    }
    (kind.into(), name.into())
}

/// How long after its planned minute a Job's pod may be made: Jobs that wait or try again.
const CRON_LATE_MINUTES: i64 = 7 * 24 * 60;
