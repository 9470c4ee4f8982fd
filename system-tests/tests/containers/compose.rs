//! docker-compose.yml is the whole system: it comes up, shows the shop, fills the dashboards, and goes without a trace.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use headwater_system_tests::dashboards::{Query, queries, root};
use serde_json::Value;

use crate::engine::{Engine, succeed};
use crate::images;

const PROJECT: &str = "headwater";
const CONSOLE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8470);
const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
const PATIENCE: Duration = Duration::from_secs(180);

/// The repository's compose file as this engine can run it.
struct Compose<'a> {
    engine: &'a Engine,
    file: tempfile::NamedTempFile,
}

impl<'a> Compose<'a> {
    fn new(engine: &'a Engine) -> Compose<'a> {
        let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let wanted = "cap_add: [BPF, PERFMON]";
        assert!(text.contains(wanted));
        let text = match engine.knows_bpf() {
            true => text,
            false => {
                println!("this engine does not know the capabilities BPF and PERFMON: SYS_ADMIN takes their place");
                text.replace(wanted, "cap_add: [SYS_ADMIN]")
            }
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Compose { engine, file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.compose();
        command.args(["--project-name", PROJECT, "--project-directory"]).arg(root());
        command.arg("--file").arg(self.file.path()).args(["--profile", "shop"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }
}

#[test]
fn the_whole_system_shows_the_shop_and_leaves_nothing() {
    let engine = Engine::start();
    images::kafka_and_registry(&engine);
    images::headwater(&engine);
    images::prometheus(&engine);
    let compose = Compose::new(&engine);
    println!("grafana/grafana cannot be had here: Grafana is not started");

    // The shop first: the agent must look at nothing but it.
    let shop = ["shop-visitors", "shop-front", "shop-catalog", "shop-orders", "shop-payments"];
    compose.run(&[&["up", "--detach", "--no-build"], &shop[..]].concat());
    let ids = compose.run(&[&["ps", "--quiet"], &shop[..]].concat());
    let pids: Vec<String> = ids
        .split_whitespace()
        .map(|id| engine.docker(&["inspect", "--format", "{{.State.Pid}}", id]).trim().to_owned())
        .collect();
    assert_eq!(pids.len(), shop.len());
    let others = [
        "kafka",
        "registry",
        "agent",
        "join",
        "service-map",
        "latency",
        "bottlenecks",
        "revisions",
        "rollups",
        "console",
        "prometheus",
    ];
    let mut up = compose.command(&[&["up", "--detach", "--no-build", "--no-recreate"], &others[..]].concat());
    succeed(up.env("HEADWATER_CAPTURE_PID", pids.join(",")));

    let complaint = || compose.run(&["logs", "--tail", "15"]);
    let ready = |path| engine.get(CONSOLE, path);
    let mut asked = 0;
    let mut complain = || {
        asked += 1;
        if asked % 100 == 0 {
            println!("{}", complaint());
        }
    };
    engine.wait("the console is ready", PATIENCE, || {
        complain();
        ready("/readyz")
    });
    let edges = engine.wait("four edges of the shop", PATIENCE, || {
        complain();
        let map: Value = serde_json::from_str(&engine.get(CONSOLE, "/api/map?minutes=5")?).ok()?;
        let edges = map["edges"].as_array()?.clone();
        let with_requests = edges.iter().filter(|edge| edge["requests"]["requests"].as_i64() > Some(0)).count();
        (with_requests == 4).then_some(edges)
    });
    let pairs: BTreeSet<String> =
        edges.iter().map(|edge| format!("{} {}", edge["client"]["id"], edge["server"]["id"])).collect();
    assert!(!pairs.iter().any(|pair| pair.contains("unknown")), "{pairs:?}");

    // Every program is scraped: each of ours, and the console's map beside its metrics.
    let targets = std::fs::read_to_string(root().join("deploy/prometheus.yml")).unwrap();
    let of_programs = others.iter().filter(|name| targets.contains(&format!("\"{name}:9464\""))).count();
    assert_eq!(of_programs, others.len() - ["kafka", "registry", "prometheus"].len());
    engine.wait("all targets are up", PATIENCE, || {
        let answer: Value = serde_json::from_str(&engine.get(PROMETHEUS, "/api/v1/query?query=sum(up)")?).ok()?;
        (answer["data"]["result"][0]["value"][1] == (of_programs + 1).to_string().as_str()).then_some(())
    });
    let service = edges[0]["server"]["name"].as_str().unwrap();
    for Query { title, text, may_be_empty } in queries(service).unwrap() {
        engine.wait(&format!("{title}: {text}"), PATIENCE, || {
            let path = format!("/api/v1/query?query={}", encoded(&text));
            let answer: Value = serde_json::from_str(&engine.get(PROMETHEUS, &path)?).ok()?;
            let is_filled = !answer["data"]["result"].as_array()?.is_empty();
            (answer["status"] == "success" && (is_filled || may_be_empty)).then_some(())
        });
    }

    compose.run(&["down", "--volumes"]);
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]), "");
    assert_eq!(engine.docker(&["volume", "ls", "--quiet"]), "");
    let networks = engine.docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains(PROJECT), "{networks}");
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
