//! A real cluster of two nodes: pods, Services, names and accounts work, and nothing of it is left on the machine.
//!
//! Needs root and what `cargo xtask setup` installs for clusters; builds Kubernetes when that is not in the cache.
#![allow(clippy::unwrap_used)]

mod dev;
mod machine;
mod operators;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WEB: &str = include_str!("web.yaml");
const REQUESTS: usize = 40;

/// Ends with the test, however the test ends.
struct Cluster {
    name: String,
}

impl Cluster {
    fn new(role: &str) -> Self {
        Self { name: format!("{role}-{}", std::process::id()) }
    }

    fn xtask(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("cluster").args(line).args(["--name", &self.name]).stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        Path::new("/var/lib/headwater-clusters").join(&self.name)
    }

    fn cgroup(&self) -> String {
        format!("headwater-cluster-{}", self.name)
    }

    fn kubectl_command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(self.state().join("kubectl"));
        command.args(line);
        command
    }

    fn kubectl(&self, line: &[&str]) -> String {
        output(&mut self.kubectl_command(line))
    }

    fn is_ready(&self) -> bool {
        self.kubectl_command(&["get", "--raw", "/readyz"]).output().unwrap().status.success()
    }

    fn down(&self) {
        output(&mut self.xtask(&["down"]));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.xtask(&["down"]).status();
    }
}

#[test]
fn pods_of_two_nodes_serve_each_other_and_nothing_is_left() {
    let before = machine::things();
    let cluster = Cluster::new("web");
    let printed = output(&mut cluster.xtask(&["up", "--nodes", "2", "--yes"]));
    assert!(printed.trim().ends_with(&cluster.state().join("admin.kubeconfig").display().to_string()), "{printed}");
    let settings = |things: &BTreeSet<String>| {
        things.iter().filter(|thing| thing.starts_with("setting: ")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(settings(&machine::things()), settings(&before), "a setting of the whole machine was changed");

    output(&mut cluster.xtask(&["image", "client:dev", &client_root(&cluster).display().to_string()]));
    let manifest = cluster.state().join("web.yaml");
    std::fs::write(&manifest, WEB).unwrap();
    cluster.kubectl(&["apply", "--filename", &manifest.display().to_string()]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=90s"]);
    let nodes = cluster.kubectl(&["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].spec.nodeName}"]);
    assert_eq!(nodes.split(' ').collect::<BTreeSet<_>>(), BTreeSet::from(["node1", "node2"]), "one pod a node");

    let pods = cluster.kubectl(&["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].metadata.name}"]);
    let pods: BTreeSet<&str> = pods.split(' ').collect();
    // Through the Service's name, so names, translation of the address, and the way between nodes are proven at once.
    let script = format!("for i in $(seq {REQUESTS}); do wget -q -O - http://web.default.svc.cluster.local/name; done");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answers = cluster.kubectl(&["exec", "client", "--", "sh", "-c", &script]);
        assert_eq!(answers.lines().count(), REQUESTS, "{answers}");
        let answered: BTreeSet<&str> = answers.lines().collect();
        assert!(answered.is_subset(&pods), "nobody else answers: {answered:?}");
        // A pod is ready some time before each node's proxy sends anybody to it.
        if answered == pods {
            break;
        }
        assert!(Instant::now() < deadline, "both pods answer: {answered:?} of {pods:?}");
    }

    let address = cluster.kubectl(&["get", "service", "web", "--output=jsonpath={.spec.clusterIP}"]);
    assert!(pods.contains(get(&address, "/name").as_str()), "the machine reaches the Service too");

    let token =
        cluster.kubectl(&["exec", "client", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]);
    let who = cluster.kubectl(&[
        "--kubeconfig=/dev/null",
        "--insecure-skip-tls-verify",
        &format!("--server={}", server(&cluster)),
        &format!("--token={}", token.trim()),
        "auth",
        "whoami",
        "--output=jsonpath={.status.userInfo.username}",
    ]);
    assert_eq!(who, "system:serviceaccount:default:client");

    output(&mut cluster.xtask(&["stop", "kube-apiserver"]));
    assert!(!cluster.is_ready(), "the API server is to be away");
    assert!(pods.contains(get(&address, "/name").as_str()), "pods serve on without it");
    output(&mut cluster.xtask(&["start", "kube-apiserver"]));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cluster.is_ready() {
        assert!(Instant::now() < deadline, "the API server did not come back");
        std::thread::sleep(Duration::from_millis(200));
    }

    let processes = machine::processes_in(&cluster.cgroup());
    for name in ["etcd", "kube-apiserver", "kubelet", "containerd", "httpd"] {
        assert!(processes.iter().any(|process| process.name.starts_with(name)), "no {name} in {processes:?}");
    }
    cluster.down();
    let alive: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
    assert!(alive.is_empty(), "{alive:?} outlive the cluster");
    assert_eq!(machine::gained_since(&before), Vec::<String>::new());
}

#[test]
fn what_a_killed_start_leaves_is_removed() {
    let before = machine::things();
    let cluster = Cluster::new("killed");
    let mut up = cluster.xtask(&["up", "--yes"]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(900);
    while !cluster.state().join("parts/node1-kubelet.pid").exists() {
        assert!(Instant::now() < deadline && up.try_wait().unwrap().is_none(), "the start did not get to the kubelet");
        std::thread::sleep(Duration::from_millis(10));
    }
    up.kill().unwrap();
    up.wait().unwrap();
    let processes = machine::processes_in(&cluster.cgroup());
    assert!(!processes.is_empty());
    cluster.down();
    assert!(!processes.iter().any(machine::Process::is_alive), "{processes:?}");
    assert_eq!(machine::gained_since(&before), Vec::<String>::new());
}

/// What a test would pack: here a shell with its tools.
fn client_root(cluster: &Cluster) -> PathBuf {
    let root = cluster.state().join("client-root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in ["sh", "seq", "cat", "sleep", "wget"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    root
}

fn server(cluster: &Cluster) -> String {
    cluster.kubectl(&["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"])
}

/// One request from the machine itself.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect((address, 80)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim().to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
