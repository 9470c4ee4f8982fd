//! `kubectl apply -k k8s/overlays/dev` on a cluster that has nothing: every object is taken, every pod becomes ready, and the map of the
//! sample application shows the edges of `expected-edges.json` and no others, each seen from both sides.
//!
//! The nodes of the test's cluster share this machine's kernel, so each agent is kept to the cgroup of its node; the external address is
//! one of the machine, at which the test serves. Nothing else is changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, output};

const EXTERNAL: &str = "203.0.113.10";
const SAMPLE: &str = "sample-";
/// Images are loaded already: what takes time are Kafka's start, and the schemas of the first program.
const READY_WITHIN: &str = "--timeout=180s";
/// The pods of the CronJob come once a minute.
const MAP_WITHIN: Duration = Duration::from_secs(240);

#[test]
fn the_dev_overlay_alone_gives_the_map_of_the_sample() {
    let cluster = Cluster::new("dev");
    output(&mut cluster.xtask(&["up", "--nodes", "2", "--yes"]));
    output(&mut cluster.xtask(&["images"]));
    let _external = External::serve(&cluster);

    let folder = cluster.state().join("dev");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("kustomization.yaml"), kustomization(&cluster)).unwrap();
    // Validation by the server is strict: an unknown field is an error.
    let made = cluster.kubectl(&["apply", "--server-side", "--validate=strict", "-k", &folder.display().to_string()]);
    assert!(made.lines().all(|line| line.ends_with("serverside-applied")), "{made}");
    // Not pods: those of the sample's job come and end meanwhile.
    let kinds: [(&str, &[&str]); 4] = [
        ("headwater", &["daemonset", "deployment", "statefulset"]),
        ("sample-front", &["deployment", "daemonset"]),
        ("sample-shop", &["deployment"]),
        ("sample-data", &["statefulset", "deployment"]),
    ];
    for (namespace, kinds) in kinds {
        for kind in kinds {
            cluster.kubectl(&["rollout", "status", kind, "-n", namespace, READY_WITHIN]);
        }
    }

    check_rights_of_the_agents(&cluster);
    let expected = expected_edges();
    let since_us = wait_for_edges(&cluster, &expected);
    check_names_of_the_console(&cluster);
    // Later windows hold no connection that was there before the agents.
    let deadline = Instant::now() + MAP_WITHIN;
    let map = loop {
        let map = map(&cluster, 1);
        if map["span"]["from_us"].as_i64().is_some_and(|from_us| from_us > since_us) {
            break map;
        }
        assert!(Instant::now() < deadline, "no minute of windows after {since_us}: {}", map["span"]);
        std::thread::sleep(Duration::from_secs(2));
    };
    assert_eq!(edges(&map), expected, "a minute later");
    check_questions_for_names(&map);
    let http = |edge: &&Value| is_of_the_sample(edge) && is_busy(edge) && edge["protocol"] == "http";
    assert_eq!(edges_where(&map, |edge| http(&edge)), expected, "what is known as HTTP");
    for edge in map["edges"].as_array().unwrap().iter().filter(http) {
        assert_eq!(edge["requests"]["errors"], 0, "{edge}");
        if edge["server"]["kind"] != "address" {
            // Through the addresses of Services, which kube-proxy translates.
            assert_eq!(edge["both_sides_share"], 1.0, "{edge}");
        }
    }
    // By tracepoints alone, nobody tells of the end of some Unix sockets, such as those by which a container is started (docs/capture.md).
    let ends_are_told = !agent_metrics(&cluster).contains("hook=\"tracepoint\"");
    let is_missing = |missing: &&Value| ends_are_told || missing["reason"] != "close_missed";
    let missing: Vec<&Value> = map["missing"].as_array().into_iter().flatten().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What one of the agents says of itself.
fn agent_metrics(cluster: &Cluster) -> String {
    let of_agents = ["get", "pods", "-n", "headwater", "-l", "app.kubernetes.io/name=headwater-agent", "-o", "name"];
    let pods = cluster.kubectl(&of_agents);
    let pod = pods.lines().next().unwrap().trim_start_matches("pod/");
    cluster.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/headwater/pods/{pod}:9464/proxy/metrics")])
}

/// The overlay as it is, with each agent kept to its node.
fn kustomization(cluster: &Cluster) -> String {
    let overlay =
        relative_to_root(&fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/overlays/dev")).unwrap());
    let hierarchy =
        if Path::new("/sys/fs/cgroup/unified").is_dir() { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" };
    let cgroup = format!("{hierarchy}/{}/$(HEADWATER_NODE_NAME)", cluster.cgroup());
    format!(
        r#"apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["{}{overlay}"]
patches:
  - target: {{kind: DaemonSet, name: headwater-agent}}
    patch: |
      - {{op: add, path: /spec/template/spec/containers/0/env/-, value: {{name: HEADWATER_CAPTURE_CGROUP, value: "{cgroup}"}}}}
      - {{op: add, path: /spec/template/spec/containers/0/volumeMounts/-, value: {{name: cgroup, mountPath: /sys/fs/cgroup, readOnly: true}}}}
      - {{op: add, path: /spec/template/spec/volumes/-, value: {{name: cgroup, hostPath: {{path: /sys/fs/cgroup, type: Directory}}}}}}
"#,
        up_to_root(&cluster.state().join("dev"))
    )
}

/// Kustomize takes no absolute paths.
fn up_to_root(folder: &Path) -> String {
    "../".repeat(folder.components().count() - 1)
}

fn relative_to_root(folder: &Path) -> String {
    folder.strip_prefix("/").unwrap().display().to_string()
}

/// Waits for exactly these edges; gives the end of the newest window then.
fn wait_for_edges(cluster: &Cluster, expected: &BTreeSet<String>) -> i64 {
    let deadline = Instant::now() + MAP_WITHIN;
    loop {
        let map = map(cluster, 2);
        let found = edges(&map);
        if found == *expected {
            return map["span"]["to_us"].as_i64().unwrap();
        }
        let (missing, wrong): (Vec<_>, Vec<_>) =
            (expected.difference(&found).collect(), found.difference(expected).collect());
        assert!(Instant::now() < deadline, "missing: {missing:?}, wrong: {wrong:?}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// By way of the API server, which asks the console for its Service's pod.
fn map(cluster: &Cluster, minutes: u32) -> Value {
    let path = format!("/api/v1/namespaces/headwater/services/headwater-console:http/proxy/api/map?minutes={minutes}");
    let answer = cluster.kubectl_command(&["get", "--raw", &path]).output().unwrap();
    serde_json::from_slice(&answer.stdout).unwrap_or(Value::Null)
}

fn is_of_the_sample(edge: &Value) -> bool {
    let namespace = |side: &str| edge[side]["namespace"].as_str().unwrap_or_default().starts_with(SAMPLE);
    namespace("client") || namespace("server")
}

/// Every edge that begins or ends at the sample and on which anything happened: the map keeps those that are idle for a while, such as
/// one of a connection whose other side's agent started a second later. Without questions for names: who asks when is its resolver's to say.
fn edges(map: &Value) -> BTreeSet<String> {
    edges_where(map, |edge| is_of_the_sample(edge) && is_busy(edge) && !asks_for_names(edge))
}

fn asks_for_names(edge: &Value) -> bool {
    edge["protocol"] == "dns"
}

/// The sample's job asks for the catalog's name each time that it runs, and nobody else answers than the cluster's own server.
fn check_questions_for_names(map: &Value) {
    let asked = edges_where(map, |edge| is_of_the_sample(edge) && is_busy(edge) && asks_for_names(edge));
    let server = "kube-system/Deployment/coredns";
    assert!(asked.contains(&format!("sample-shop/CronJob/stock-check > {server}")), "{asked:?}");
    assert!(asked.iter().all(|edge| edge.ends_with(&format!("> {server}"))), "{asked:?}");
}

fn is_busy(edge: &Value) -> bool {
    let some = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
    let bytes = some(&edge["to_server_bytes_per_s"]) || some(&edge["to_client_bytes_per_s"]);
    bytes || some(&edge["requests"]["requests"]) || some(&edge["connections_failed"])
}

fn edges_where(map: &Value, is_wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let edges = map["edges"].as_array().into_iter().flatten().filter(|edge| is_wanted(edge));
    let side = |edge: &Value, side: &str| {
        let of = |key: &str| edge[side][key].as_str().unwrap_or_default().to_owned();
        if of("kind") == "address" { of("name") } else { [of("namespace"), of("kind"), of("name")].join("/") }
    };
    edges.map(|edge| format!("{} > {}", side(edge, "client"), side(edge, "server"))).collect()
}

fn expected_edges() -> BTreeSet<String> {
    let text = include_str!("../../../k8s/overlays/dev/sample/expected-edges.json");
    let listed: Vec<Value> = serde_json::from_str(text).unwrap();
    let side = |side: &Value| match side["external"].as_str() {
        Some(address) => address.to_owned(),
        None => ["namespace", "kind", "name"].map(|key| side[key].as_str().unwrap()).join("/"),
    };
    listed.iter().map(|edge| format!("{} > {}", side(&edge["client"]), side(&edge["server"]))).collect()
}

/// They have what the manifest declares and nothing else: CAP_PERFMON is 38, CAP_BPF 39 (include/uapi/linux/capability.h).
fn check_rights_of_the_agents(cluster: &Cluster) {
    let status = ["exec", "-n", "headwater", "daemonset/headwater-agent", "--", "cat", "/proc/self/status"];
    let status = cluster.kubectl(&status);
    let value =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned();
    let both = format!("{:016x}", 1_u64 << 38 | 1 << 39);
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(value(set), both, "{set} {status}");
    }
    // Mode 2 is a filter, here the runtime's default profile.
    assert_eq!((value("NoNewPrivs:").as_str(), value("Seccomp:").as_str()), ("1", "2"), "{status}");
}

/// A pod reaches the page by the names of its Service.
fn check_names_of_the_console(cluster: &Cluster) {
    let asks = "for name in headwater-console headwater-console.headwater headwater-console.headwater.svc.cluster.local; do wget -q -O /dev/null http://$name:8470/api/status && echo $name; done";
    let answered = cluster.kubectl(&["exec", "-n", "headwater", "statefulset/registry", "--", "sh", "-c", asks]);
    assert_eq!(answered.lines().count(), 3, "{answered}");
}

/// What stands for the world outside: the address belongs to the machine, as long as the cluster's link lives.
struct External(Child);

impl External {
    fn serve(cluster: &Cluster) -> External {
        let addresses = output(Command::new("ip").args(["-brief", "address"]));
        let server = super::server(cluster);
        let network = server.trim_start_matches("https://").rsplit_once('.').unwrap().0.to_owned();
        let line = addresses.lines().find(|line| line.contains(&format!(" {network}."))).unwrap();
        let link = line.split(['@', ' ']).next().unwrap();
        output(Command::new("ip").args(["address", "add", &format!("{EXTERNAL}/32"), "dev", link]));
        let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("sample-service");
        let mut command = Command::new(program);
        command.args(["--listen", &format!("{EXTERNAL}:8080")]).stdin(Stdio::null()).stdout(Stdio::null());
        External(command.spawn().unwrap())
    }
}

impl Drop for External {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
