//! What agents ask of the API server: one agent of a real node, and the watches of many over as many pods as fit here.
//!
//! It prints what it measured, from which `docs/benchmarks.md` says what ten thousand nodes would cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_process::{Child, Launch};
use headwater_system_tests::lab::{stop, wait_up_to};

use crate::account::Account;
use crate::cluster::{Cluster, bare_pod};
use crate::ground::Ground;

/// Nodes of the fleet, pods of each, and processes over which the watches are spread.
const NODES: usize = 600;
const PODS: usize = 30;
const PROCESSES: usize = 4;
/// Longer than a watch lasts.
const IDLE: Duration = Duration::from_secs(270);
const CHANGES: usize = 3000;

/// One agent, with the pods that a real kubelet runs.
#[test]
fn what_one_agent_asks_of_the_api_server() -> Result<()> {
    let ground = Ground::start("load")?;
    let pods: Vec<String> = (0..20).map(|number| format!("load-{number}")).collect();
    let make = |range: &[String]| {
        ground.cluster.apply(&range.iter().map(|name| bare_pod(name, "load", None, 0)).collect::<String>())
    };
    make(&pods[..10])?;
    ground.cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--selector=app=load", "--timeout=180s"])?;
    let mut agent = ground.agent()?;
    ground.wait_connected(true)?;
    let listed = ground.proxy.bytes();
    println!("start with 11 pods: {listed} bytes, {:?}", ground.account().counts()?);
    std::thread::sleep(IDLE);
    let idle = ground.proxy.bytes() - listed;
    println!("{idle} bytes in {IDLE:?} in which no pod changed, {:?}", ground.account().counts()?);
    ensure!(ground.counter("kubernetes_errors") == 0, "a quiet server is taken for one that is gone");
    let (before, events) = (ground.proxy.bytes(), ground.counter("kubernetes_events"));
    make(&pods[10..])?;
    ground.cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--selector=app=load", "--timeout=180s"])?;
    ground
        .cluster
        .kubectl(&[&["delete", "pod"], &pods[10..].iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())?;
    wait_up_to(Duration::from_secs(60), "the heartbeat after the last event", || {
        let now = ground.counter("kubernetes_events");
        std::thread::sleep(Duration::from_secs(6));
        Ok(now > events && ground.counter("kubernetes_events") == now)
    })?;
    let (bytes, events) = (ground.proxy.bytes() - before, ground.counter("kubernetes_events") - events);
    println!("10 pods made and removed: {events} events, {bytes} bytes");
    let counts = ground.account().counts()?;
    println!("all that it asked: {counts:?}");
    ensure!(counts.get("list pods 200") == Some(&1), "{counts:?}");
    // Of itself it asks every four minutes.
    ensure!(counts.get("watch pods 200").is_some_and(|watches| *watches <= 3), "{counts:?}");
    ensure!(counts.len() == 2, "{counts:?}");
    ensure!(idle < 20_000, "{idle} bytes in {IDLE:?} in which nothing happened");
    stop(&mut agent)
}

/// Many agents' watches.
#[test]
fn many_agents_share_an_api_server() -> Result<()> {
    let cluster = Cluster::up("fleet")?;
    let account = Account::make(&cluster)?;
    let server = cluster.kubectl(&["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"])?;
    let (config, _) = account.kubeconfig(server.trim_start_matches("https://"), &account.token()?)?;
    // Nobody removes pods of nodes that do not exist.
    for part in ["kube-controller-manager", "kube-scheduler"] {
        cluster.xtask(&["stop", part])?;
    }
    let fleet = Fleet { cluster: &cluster, server, token: maker(&cluster)? };
    let began = Instant::now();
    fleet.make()?;
    println!("{} pods of {NODES} nodes made in {:?}", NODES * PODS, began.elapsed());

    let alone = fleet.change("alone", 0)?;
    let before = fleet.metrics()?;
    let mut watchers = Watchers::start(&cluster, &config)?;
    let began = Instant::now();
    wait_up_to(Duration::from_secs(300), "all lists", || Ok(watchers.totals()?[0] == NODES as u64))?;
    println!("all listed after {:?}; API server: {}", began.elapsed(), fleet.metrics()?.since(&before));
    let totals = watchers.totals()?;
    ensure!(totals[1] == (NODES * PODS) as u64, "{} pods seen of {}", totals[1], NODES * PODS);

    let before = fleet.metrics()?;
    std::thread::sleep(IDLE);
    println!("{IDLE:?} without a change: {}", fleet.metrics()?.since(&before));
    ensure!(watchers.totals()?[1] == totals[1], "pods were told that did not change");

    let watched = fleet.change("watched", CHANGES as u64)?;
    wait_up_to(Duration::from_secs(60), "all changes", || Ok(watchers.totals()?[1] >= totals[1] + CHANGES as u64))?;
    // Each change is told to the agent of its node and to no other.
    ensure!(watchers.totals()?[1] == totals[1] + CHANGES as u64, "{:?}", watchers.totals()?);
    println!(
        "{CHANGES} changes without watches took the API server {alone:.2} s of processor time, with {NODES} watches {watched:.2} s"
    );

    let asked = account.counts()?;
    cluster.xtask(&["stop", "kube-apiserver"])?;
    std::thread::sleep(Duration::from_secs(45));
    let (lists, began) = (watchers.totals()?[3], Instant::now());
    cluster.start_api()?;
    let metrics = fleet.metrics()?;
    let is_back = || Ok(fleet.metrics()?.value("watches") >= NODES as f64);
    wait_up_to(Duration::from_secs(180), "all watches", is_back)?;
    println!("all back {:?} after the start: {}", began.elapsed(), fleet.metrics()?.since(&metrics));
    println!(
        "lists that began again: {}; asked before {asked:?}, now {:?}",
        watchers.totals()?[3] - lists,
        account.counts()?
    );
    let busiest = account.busiest_second(asked.values().sum())?;
    println!("most requests in one second: {busiest}");
    ensure!(watchers.totals()?[3] - lists <= NODES as u64, "an agent listed twice after one absence");
    ensure!(busiest <= NODES / 4, "{busiest} of {NODES} agents asked within one second");
    Ok(())
}

/// The pods of nodes that do not exist.
struct Fleet<'a> {
    cluster: &'a Cluster,
    server: String,
    token: String,
}

/// A token of an account that may do anything.
fn maker(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&["create", "serviceaccount", "maker"])?;
    let admin =
        ["create", "clusterrolebinding", "maker", "--clusterrole=cluster-admin", "--serviceaccount=default:maker"];
    cluster.kubectl(&admin)?;
    Ok(cluster.kubectl(&["create", "token", "maker", "--duration=2h"])?.trim().to_owned())
}

impl Fleet<'_> {
    fn make(&self) -> Result<()> {
        let folder = self.cluster.state().join("fleet");
        fs::create_dir_all(&folder)?;
        let mut requests = String::new();
        for node in 0..NODES {
            for pod in 0..PODS {
                let body = folder.join(format!("{node}-{pod}.json"));
                let text = format!(
                    r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{node}-{pod}","labels":{{"app":"shop","pod-template-hash":"5d4f8c7b9"}}}},"spec":{{"nodeName":"fleet-{node}","automountServiceAccountToken":false,"containers":[{{"name":"shop","image":"shop:1","ports":[{{"containerPort":80}}],"env":[{{"name":"A","value":"b"}}],"resources":{{"limits":{{"cpu":"1","memory":"64Mi"}}}}}}]}}}}"#
                );
                fs::write(&body, text)?;
                self.request(&mut requests, "POST", "", "application/json", &body.display().to_string())?;
            }
        }
        self.run(&requests)
    }

    /// Changes pods of all nodes in turn; gives the processor time of the API server in seconds.
    fn change(&self, value: &str, events: u64) -> Result<f64> {
        let body = self.cluster.state().join("fleet/change.json");
        fs::write(&body, format!(r#"{{"metadata":{{"annotations":{{"changed":"{value}"}}}}}}"#))?;
        let mut requests = String::new();
        for change in 0..CHANGES {
            let path = format!("/pod-{}-{}", change % NODES, change / NODES);
            self.request(&mut requests, "PATCH", &path, "application/merge-patch+json", &body.display().to_string())?;
        }
        let before = self.metrics()?;
        self.run(&requests)?;
        let after = self.metrics()?;
        println!("{CHANGES} changes ({events} to be told): {}", after.since(&before));
        Ok(after.value("cpu_s") - before.value("cpu_s"))
    }

    fn request(&self, all: &mut String, method: &str, path: &str, kind: &str, body: &str) -> Result<()> {
        let (server, token) = (&self.server, &self.token);
        let next = if all.is_empty() { "" } else { "next\n" };
        writeln!(
            all,
            "{next}url = \"{server}/api/v1/namespaces/default/pods{path}\"\nrequest = {method}\ninsecure\nfail\noutput = /dev/null\n\
             header = \"Content-Type: {kind}\"\noauth2-bearer = \"{token}\"\ndata = \"@{body}\""
        )?;
        Ok(())
    }

    fn run(&self, requests: &str) -> Result<()> {
        let file = self.cluster.state().join("fleet/requests");
        fs::write(&file, requests)?;
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--parallel", "--parallel-max", "30", "--config"]).arg(&file);
        let output = command.output().context("run curl")?;
        ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn metrics(&self) -> Result<Metrics> {
        let text = self.cluster.kubectl(&["get", "--raw", "/metrics"])?;
        let sum = |name: &str, labels: &[&str]| -> f64 {
            let lines =
                text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        let (pods, events) = (r#"resource="pods""#, r#"kind="Pod""#);
        Ok(Metrics(BTreeMap::from([
            ("cpu_s", sum("process_cpu_seconds_total", &[])),
            ("memory_mib", sum("process_resident_memory_bytes", &[]) / f64::from(1 << 20)),
            ("lists", sum("apiserver_request_total{", &[pods, r#"verb="LIST""#])),
            ("watches_ended", sum("apiserver_request_total{", &[pods, r#"verb="WATCH""#])),
            ("watches", sum("apiserver_longrunning_requests{", &[pods, r#"verb="WATCH""#])),
            ("events", sum("apiserver_watch_events_total{", &[events])),
            ("event_bytes", sum("apiserver_watch_events_sizes_sum{", &[events])),
        ])))
    }
}

struct Metrics(BTreeMap<&'static str, f64>);

impl Metrics {
    fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn since(&self, before: &Metrics) -> String {
        let words = self.0.iter().map(|(name, value)| format!("{name} {:+.2}", value - before.value(name)));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The processes with the watches.
struct Watchers {
    all: Vec<(Child, ChildStdin)>,
}

impl Watchers {
    fn start(cluster: &Cluster, config: &std::path::Path) -> Result<Watchers> {
        let each = NODES / PROCESSES;
        let start = |number: usize| -> Result<(Child, ChildStdin)> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-fleet"));
            command.env("KUBECONFIG", config).args([(number * each).to_string(), each.to_string()]);
            let log = cluster.state().join(format!("fleet-{number}.log"));
            let mut child = Launch::new("oracle-fleet", command, log).piping_stdin().piping_stdout().spawn()?;
            let stdin = child.take_stdin().context("no standard input")?;
            Ok((child, stdin))
        };
        Ok(Watchers { all: (0..PROCESSES).map(start).collect::<Result<_>>()? })
    }

    /// Watches that have listed, pods seen, pods deleted, lists begun, errors.
    fn totals(&mut self) -> Result<[u64; 5]> {
        let mut totals = [0; 5];
        for (child, stdin) in &mut self.all {
            stdin.write_all(b"\n")?;
            let line = child.first_line()?;
            for (total, word) in totals.iter_mut().zip(line.split(' ')) {
                *total += word.parse::<u64>().with_context(|| format!("oracle-fleet printed `{line}`"))?;
            }
        }
        Ok(totals)
    }
}
