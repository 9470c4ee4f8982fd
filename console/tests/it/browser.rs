//! The page in a real Chromium, driven by playwright-core: the scripts in `browser` look at it, this file publishes what they
//! are to see. Chromium, Node and npm must be there; nothing is skipped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{
    Console, WINDOW_US, Writer, firing, heartbeat, http, newest_window_us, no_data, settings, write_shop,
};
use headwater_schemas::records::{ADDRESS, Alert, AlertState, Edge, Workload};
use serde_json::Value;

fn browser_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

#[test]
fn the_layout_holds_its_promises() {
    let status = Command::new("node").args(["--test", "layout.test.js"]).current_dir(browser_dir()).status();
    assert!(status.expect("start node: is Node.js 20 installed?").success());
}

#[test]
fn the_page_shows_what_is_in_the_topics() {
    let mut start_us = 0;
    run("page.test.js", "browser", |wanted, writer| match wanted {
        "shop" => {
            start_us = newest_window_us();
            writer.agent(&heartbeat("node-1", 0, 0));
            write_shop(writer, 30, start_us - 29 * WINDOW_US);
        }
        "alert" => {
            writer.alert(&firing(start_us));
            writer.agent(&heartbeat("node-2", 0, 0));
            writer.agent(&heartbeat("node-2", 1, 120));
        }
        "resolve" => writer.alert(&Alert { state: AlertState::Resolved, ..firing(start_us) }),
        "gap" => {
            let missing = vec![no_data("node-3", start_us, start_us + WINDOW_US)];
            let edge = http(start_us, "nginx", "shop-catalog", 214, 0, 1_150.0);
            writer.edge(&Edge { revision: 1, completeness: 0.75, ..edge });
            writer.close_without(start_us, 0.75, missing);
        }
        "markup" => {
            let name = "<img src=x onerror=document.title='broken'>";
            writer.edge(&http(start_us, name, "<b>bold</b>", 10, 0, 1_000.0));
        }
        other => panic!("the script wants something unknown: {other}"),
    });
}

#[test]
fn workloads_stand_with_their_namespaces() {
    let start_us = newest_window_us();
    let publish = |writer: &Writer, client: Workload, server: Workload| {
        writer.edge(&Edge { client, server, ..http(start_us, "", "", 40, 1, 4_000.0) });
    };
    run("namespaces.test.js", "namespaces", |wanted, writer| match wanted {
        "sample" => {
            writer.agent(&heartbeat("node-1", 0, 0));
            sample("kubernetes").into_iter().for_each(|(client, server)| publish(writer, client, server));
            writer.close(start_us);
        }
        "twin" => publish(
            writer,
            pod("kubernetes", "staging", "Deployment", "storefront"),
            pod("kubernetes", "staging", "Deployment", "catalog"),
        ),
        "cluster" => sample("west").into_iter().for_each(|(client, server)| publish(writer, client, server)),
        "dozens" => (0..40).for_each(|team| {
            let team = format!("team-{team}");
            let api = pod("kubernetes", &team, "Deployment", "api");
            publish(writer, pod("kubernetes", "sample-front", "Deployment", "storefront"), api.clone());
            publish(writer, api, pod("kubernetes", &team, "StatefulSet", "postgres"));
        }),
        other => panic!("the script wants something unknown: {other}"),
    });
}

fn pod(cluster: &str, namespace: &str, kind: &str, name: &str) -> Workload {
    let [cluster, namespace, kind, name] = [cluster, namespace, kind, name].map(str::to_owned);
    Workload { cluster, namespace, kind, name }
}

/// Who calls whom in the sample of the dev overlay.
fn sample(cluster: &str) -> Vec<(Workload, Workload)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/overlays/dev/sample/expected-edges.json");
    let edges: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let end = |end: &Value| match end["external"].as_str() {
        Some(address) => Workload::local(ADDRESS, address),
        None => {
            let [namespace, kind, name] = ["namespace", "kind", "name"].map(|field| end[field].as_str().unwrap());
            pod(cluster, namespace, kind, name)
        }
    };
    edges.iter().map(|edge| (end(&edge["client"]), end(&edge["server"]))).collect()
}

/// Lets a script look at a console of its own. It prints a word when it wants the next thing to happen, and waits for a line back.
fn run(name: &str, prefix: &str, mut on_wish: impl FnMut(&str, &Writer)) {
    install();
    let settings = settings(prefix);
    let console = Console::start(&settings);
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("console-screenshots");
    std::fs::create_dir_all(&screenshots).unwrap();
    let mut script = Command::new("node")
        .arg(name)
        .args([&console.url, screenshots.to_str().unwrap()])
        .current_dir(browser_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start node: is Node.js 20 installed?");
    let mut answers = script.stdin.take().unwrap();
    let mut writer = None;
    for line in BufReader::new(script.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(wanted) = line.strip_prefix("do: ") else {
            println!("{line}");
            continue;
        };
        // Not before: a page without topics says so.
        let writer = writer.get_or_insert_with(|| Writer::start(&settings));
        on_wish(wanted, writer);
        writer.flush();
        writeln!(answers, "done").unwrap();
    }
    assert!(script.wait().unwrap().success(), "{name} failed; its output is above");
}

/// Fetches playwright-core once, in the version of the lock file.
fn install() {
    if browser_dir().join("node_modules/playwright-core").is_dir() {
        return;
    }
    let status = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(browser_dir()).status();
    assert!(status.expect("start npm: is it installed?").success(), "npm ci failed");
}
