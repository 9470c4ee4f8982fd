//! Owners in, workloads out, in any order.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_workload::names::{Answer, CgroupKey, Names, Owner, ProgramKey};
use headwater_workload::pods::{KEPT_FOR, PODS_MAX, Pod, PodNews, owner_of};
use headwater_workload::program::Process;
use headwater_workload::runtimes::{Roots, Runtimes};
use headwater_workload::{Kind, Workload};
use proptest::prelude::*;

const I: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "9f1c1f5e-70a5-4f0b-8a3e-5d7d2f4c6b1a";

fn names(kubernetes: bool) -> Names {
    let nowhere = Path::new("/nonexistent").to_owned();
    Names::new(Runtimes::new(Roots { docker: nowhere.clone(), podman: nowhere }), kubernetes, "c1".into())
}

fn owner(cgroup: u64, pid: u32) -> Owner {
    Owner {
        program: ProgramKey { pid, started_ns: 5, exec: 1 },
        cgroup: CgroupKey { hierarchy: 0, id: cgroup },
        first_thread: *b"MainThread\0\0\0\0\0\0",
    }
}

fn program(names: &mut Names, pid: u32, executable: &str) {
    let process = Process { executable: executable.as_bytes(), ..Process::default() };
    names.program(ProgramKey { pid, started_ns: 5, exec: 1 }, &process);
}

fn full_name(workload: &Workload) -> String {
    let namespace = if workload.namespace.is_empty() { String::new() } else { format!("{}/", workload.namespace) };
    namespace + &workload.published_name()
}

/// What a program in a cgroup is called.
fn called(path: &str, executable: &str) -> (String, String) {
    let mut names = names(false);
    names.cgroup(CgroupKey { hierarchy: 0, id: 7 }, path);
    program(&mut names, 9, executable);
    match names.of(&owner(7, 9), Instant::now()) {
        Answer::Known(workload) => (workload.kind.as_str().to_owned(), full_name(&workload)),
        other => panic!("{path}: {other:?}"),
    }
}

fn pod(uid: &str, name: &str, ids: &[(&str, &str)], containers: &[&str]) -> Box<Pod> {
    Box::new(Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: name.into(),
        owner: ("Deployment".into(), "web".into()),
        containers: containers.iter().map(|name| (*name).to_owned()).collect(),
        ids: ids.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect(),
        ..Pod::default()
    })
}

#[test]
fn units_of_guests_and_sessions_are_not_taken_for_others() {
    let unit = |name: &str| ("unit".to_owned(), name.to_owned());
    let program = |name: &str| ("program".to_owned(), name.to_owned());
    assert_eq!(called("/system.slice/ssh.service", "nginx"), program("nginx"));
    assert_eq!(called("/system.slice/cron.service", "curl"), program("curl"));
    assert_eq!(called("/system.slice/ssh.service", "sshd"), unit("ssh"));
    assert_eq!(called("/system.slice/nginx.service", "nginx"), unit("nginx"));
    assert_eq!(called("/lxc.payload.web1/system.slice/nginx.service", "nginx"), unit("web1/nginx"));
    let nspawn = "/machine.slice/systemd-nspawn@db1.service/payload/system.slice/nginx.service";
    assert_eq!(called(nspawn, "nginx"), unit("db1/nginx"));
    assert_eq!(called(&format!("/system.slice/shop.service/libpod-payload-{I}"), "x"), unit("shop"));
    let user = "/user.slice/user-1000.slice/user@1000.service";
    assert_eq!(called(&format!("{user}/app.slice/nginx.service"), "x"), unit("nginx@uid-1000"));
    let container = ("container".to_owned(), "x@0123456789ab@uid-1000".to_owned());
    assert_eq!(called(&format!("{user}/docker-{I}.scope"), "x"), container);
    assert_eq!(called(&format!("{user}/session-1.scope"), "x"), program("x"));
    assert_eq!(called(&format!("/docker-{I}.scope"), "curl").1, "curl@0123456789ab");
}

#[test]
fn what_is_not_known_yet_is_said_and_never_guessed() {
    let mut names = names(false);
    let now = Instant::now();
    assert_eq!(names.of(&owner(7, 9), now), Answer::NotYet(Workload::unknown()));
    names.cgroup(CgroupKey { hierarchy: 0, id: 7 }, "/x");
    assert_eq!(names.of(&owner(7, 9), now), Answer::NotYet(Workload::unknown()), "the first thread's name is none");
    assert_eq!(names.of(&owner(7, 0), now), Answer::Known(Workload::unknown()), "nobody used it");
    program(&mut names, 9, "node");
    assert!(matches!(names.of(&owner(7, 9), now), Answer::Known(workload) if workload.name == "node"));
    // The same number in another hierarchy is another cgroup.
    let other = Owner { cgroup: CgroupKey { hierarchy: 8, id: 7 }, ..owner(7, 9) };
    assert_eq!(names.of(&other, now), Answer::NotYet(Workload::unknown()));
}

#[test]
fn a_pod_is_found_whatever_comes_first_and_after_its_end() {
    let mut names = names(true);
    let now = Instant::now();
    names.cgroup(CgroupKey { hierarchy: 0, id: 7 }, &format!("/kubepods/pod{UID}/{I}"));
    names.cgroup(CgroupKey { hierarchy: 0, id: 8 }, "/system.slice/nginx.service");
    program(&mut names, 9, "busybox");
    assert_eq!(names.of(&owner(7, 9), now), Answer::NotYet(Workload::unknown()), "not busybox@0123");
    assert!(matches!(names.of(&owner(8, 9), now), Answer::Known(workload) if workload.kind == Kind::Unit));

    // Bound to the node, and not started: by the pod's uid, without the container's name.
    let pods = names.pods_mut().unwrap();
    pods.take(PodNews::Seen(pod(UID, "web-1", &[], &["app", "proxy"])), now);
    let Answer::NotYet(workload) = names.of(&owner(7, 9), now) else { panic!("the container is not known") };
    assert_eq!((full_name(&workload).as_str(), workload.container.as_str()), ("shop/web", ""));

    let pods = names.pods_mut().unwrap();
    pods.take(PodNews::Seen(pod(UID, "web-1", &[(I, "proxy")], &["app", "proxy"])), now);
    let Answer::Known(workload) = names.of(&owner(7, 9), now) else { panic!("all is known") };
    assert_eq!(
        (workload.cluster.as_str(), workload.pod.as_str(), workload.container.as_str(), workload.kind.as_str()),
        ("c1", "web-1", "proxy", "Deployment")
    );
    names.pods_mut().unwrap().take(PodNews::Deleted(UID.into()), now);
    let later = now + KEPT_FOR - Duration::from_secs(1);
    names.pods_mut().unwrap().take(PodNews::Deleted("other".into()), later);
    assert_eq!(names.of(&owner(7, 9), later), Answer::Known(workload));
    names.pods_mut().unwrap().take(PodNews::Deleted("other".into()), now + KEPT_FOR);
    assert_eq!(names.of(&owner(7, 9), now), Answer::NotYet(Workload::unknown()));
}

#[test]
fn a_container_inside_of_a_pod_cannot_pass_for_another_pod() {
    let mut names = names(true);
    let now = Instant::now();
    let victim = "fedcba9876543210".repeat(4);
    let pods = names.pods_mut().unwrap();
    pods.take(PodNews::Seen(pod(UID, "attacker", &[(I, "a")], &["a"])), now);
    let mut other = pod("11111111-70a5-4f0b-8a3e-5d7d2f4c6b1a", "victim", &[(&victim, "v")], &["v"]);
    other.owner.1 = "victim".into();
    pods.take(PodNews::Seen(other), now);
    names.cgroup(CgroupKey { hierarchy: 0, id: 7 }, &format!("/kubepods/pod{UID}/{I}/docker/{victim}"));
    assert!(matches!(names.of(&owner(7, 9), now), Answer::Known(workload) if workload.pod == "attacker"));
    // Seen from inside of a node that is a container: the outer one is unknown.
    names.cgroup(
        CgroupKey { hierarchy: 0, id: 8 },
        &format!("/docker/{}/kubelet/kubepods/pod{UID}/{I}", "0".repeat(64)),
    );
    assert!(matches!(names.of(&owner(8, 9), now), Answer::Known(workload) if workload.pod == "attacker"));
}

#[test]
fn a_list_that_is_read_again_deletes_what_it_does_not_hold() {
    let mut names = names(true);
    let now = Instant::now();
    let pods = names.pods_mut().unwrap();
    for news in [
        PodNews::ListBegins,
        PodNews::Seen(pod("a", "a", &[], &[])),
        PodNews::Seen(pod("b", "b", &[], &[])),
        PodNews::ListEnds,
        PodNews::ListBegins,
        PodNews::Seen(pod("b", "b", &[], &[])),
        PodNews::ListEnds,
    ] {
        pods.take(news, now);
    }
    assert_eq!(pods.living().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["b"]);
    pods.take(PodNews::Deleted("c".into()), now + KEPT_FOR);
    assert_eq!(pods.len(), 1);
}

#[test]
fn owners_are_resolved_by_what_the_pod_itself_says() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let hash = labels(&[("pod-template-hash", "5d4f8c7b9")]);
    let none = BTreeMap::new();
    let made_at_s = 1_790_000_000;
    let minute = made_at_s / 60;
    let of = |kind: &str, name: &str, labels: &BTreeMap<String, String>| {
        let (kind, name) = owner_of(Some((kind, name)), "the-pod", labels, made_at_s);
        format!("{kind} {name}")
    };
    assert_eq!(of("ReplicaSet", "web-5d4f8c7b9", &hash), "Deployment web");
    assert_eq!(of("ReplicaSet", "web", &none), "ReplicaSet web");
    assert_eq!(of("ReplicaSet", "web-5d4f8c7b9", &none), "ReplicaSet web-5d4f8c7b9");
    assert_eq!(of("ReplicaSet", "web-77", &labels(&[("rollouts-pod-template-hash", "77")])), "Rollout web");
    assert_eq!(of("Job", &format!("tick-{minute}"), &none), "CronJob tick");
    assert_eq!(of("Job", &format!("tick-{}", minute - 30), &none), "CronJob tick");
    assert_eq!(of("Job", "backup-20261126", &none), "Job backup-20261126");
    assert_eq!(of("Job", "once", &none), "Job once");
    assert_eq!(of("StatefulSet", "db", &none), "StatefulSet db");
    assert_eq!(of("DaemonSet", "log", &none), "DaemonSet log");
    assert_eq!(of("Cluster", "pg", &none), "Cluster pg");
    assert_eq!(of("Node", "n1", &none), "Pod the-pod");
    assert_eq!(owner_of(None, "alone", &none, made_at_s), ("Pod".into(), "alone".into()));
}

#[test]
fn a_node_full_of_pods_forgets_the_deleted_ones_first() {
    let mut names = names(true);
    let now = Instant::now();
    let pods = names.pods_mut().unwrap();
    for i in 0..PODS_MAX + 10 {
        let uid = format!("uid-{i}");
        pods.take(PodNews::Seen(pod(&uid, &uid, &[], &[])), now);
        if i > 0 {
            pods.take(PodNews::Deleted(uid), now);
        }
    }
    assert!(pods.len() <= PODS_MAX && pods.forgotten() > 0);
    assert_eq!(pods.living().count(), 1);
}

/// What can happen to three pods with two containers each, of which each container belongs to one pod for ever.
#[derive(Debug, Clone)]
enum Step {
    Seen(usize, bool, bool),
    Deleted(usize),
    Relist(Vec<usize>),
    Ask(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, any::<bool>(), any::<bool>()).prop_map(|(pod, a, b)| Step::Seen(pod, a, b)),
        (0..3_usize).prop_map(Step::Deleted),
        prop::collection::vec(0..3_usize, 0..3).prop_map(Step::Relist),
        (0..3_usize, 0..2_usize).prop_map(|(pod, container)| Step::Ask(pod, container)),
    ]
}

proptest! {
    /// Whatever order news comes in: an answer names the right pod and container, or says that it is not known.
    #[test]
    fn no_order_of_news_gives_a_wrong_name(steps in prop::collection::vec(step(), 1..60)) {
        let mut names = names(true);
        let now = Instant::now();
        let uid = |pod: usize| format!("{pod}{}", &UID[1..]);
        let id = |pod: usize, container: usize| format!("{pod}{container}{}", &I[2..]);
        let seen = |pod: usize, a: bool, b: bool| {
            let (first, second) = (id(pod, 0), id(pod, 1));
            let ids: Vec<(&str, &str)> =
                [(a, (first.as_str(), "c0")), (b, (second.as_str(), "c1"))].into_iter().filter(|(there, _)| *there).map(|(_, id)| id).collect();
            let mut pod_seen = self::pod(&uid(pod), &format!("pod-{pod}"), &ids, &["c0", "c1"]);
            pod_seen.owner.1 = format!("w{pod}");
            PodNews::Seen(pod_seen)
        };
        for pod in 0..3 {
            for container in 0..2 {
                let key = CgroupKey { hierarchy: 0, id: (pod * 2 + container) as u64 };
                names.cgroup(key, &format!("/kubepods/pod{}/{}", uid(pod), id(pod, container)));
            }
        }
        for step in steps {
            match step {
                Step::Seen(pod, a, b) => names.pods_mut().unwrap().take(seen(pod, a, b), now),
                Step::Deleted(pod) => names.pods_mut().unwrap().take(PodNews::Deleted(uid(pod)), now),
                Step::Relist(pods) => {
                    names.pods_mut().unwrap().take(PodNews::ListBegins, now);
                    for pod in pods {
                        names.pods_mut().unwrap().take(seen(pod, true, false), now);
                    }
                    names.pods_mut().unwrap().take(PodNews::ListEnds, now);
                }
                Step::Ask(pod, container) => match names.of(&owner((pod * 2 + container) as u64, 9), now) {
                    Answer::Known(workload) => {
                        prop_assert_eq!(workload.name, format!("w{pod}"));
                        prop_assert_eq!(workload.container, format!("c{container}"));
                    }
                    Answer::NotYet(workload) if workload.kind == Kind::Unknown => {}
                    Answer::NotYet(workload) => prop_assert_eq!(workload.name, format!("w{pod}")),
                },
            }
        }
    }
}
