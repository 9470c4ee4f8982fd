//! `headwater up --demo` as a user starts it: the whole expected map within 30 seconds of being ready, each window at most 5 seconds after
//! its end, an injected fault raises an alert that names the right service within 60, the alert resolves, and Ctrl-C leaves nothing behind. Needs root, and the
//! programs beside `headwater`: `cargo build` makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_process::wait_for;
use serde::Deserialize;
use serde_json::Value;

/// Kafka, the registry and the shop start on two busy cores; nothing is fetched any more by then, or this is the first run.
const READY_WITHIN: Duration = Duration::from_secs(300);
const MAP_WITHIN: Duration = Duration::from_secs(30);
/// From the end of a window to its edges in the console.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
const WINDOWS_TIMED: usize = 4;
const ALERT_WITHIN: Duration = Duration::from_secs(60);
/// Two windows of ten seconds that are bad as a whole, and what it takes until they are closed and judged.
const HUNG_IS_NAMED_WITHIN: Duration = Duration::from_secs(45);
const RESOLVED_WITHIN: Duration = Duration::from_secs(120);
/// An alert compares with the past, which must be there first.
const PAST_WINDOWS: u64 = 8;
const PAST_WITHIN: Duration = Duration::from_secs(120);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

type Edge = (String, String, String);

#[derive(Deserialize)]
struct Ready {
    console_url: String,
    brokers: String,
    pids: BTreeMap<String, i32>,
    demo: Demo,
}

#[derive(Deserialize)]
struct Demo {
    cgroup: PathBuf,
    fault_command: Vec<String>,
    clear_command: Vec<String>,
}

/// A running `up`. Dropping it ends it; its children end with it.
struct Up {
    process: Child,
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            interrupt(&self.process);
            let _ = wait_for(STOPPED_WITHIN, || self.process.try_wait().ok().flatten());
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn headwater() -> Command {
    Command::new(env!("CARGO_BIN_EXE_headwater"))
}

/// A demo with its folder, which stays as long as this.
struct Running {
    up: Up,
    ready: Ready,
    /// What the ready file holds.
    told: Value,
    ready_file: PathBuf,
    up_folder: PathBuf,
    folder: tempfile::TempDir,
}

impl Running {
    /// Starts one and waits until it is ready.
    fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let ready_file = folder.path().join("ready.json");
        // Apart from any other that runs on this machine.
        let up_folder = folder.path().join("run");
        // Others may look into it, as they may into `/run`.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let log = fs::File::create(folder.path().join("up.log")).unwrap();
        let process = headwater()
            .args(["up", "--demo", "--yes", "--console-port", "0", "--ready-file"])
            .arg(&ready_file)
            .arg("--up-folder")
            .arg(&up_folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut up = Up { process };
        let ready = wait_for(READY_WITHIN, || {
            let ended = up.process.try_wait().unwrap();
            assert!(ended.is_none(), "up ended before it was ready:\n{}", log_of(folder.path()));
            fs::read_to_string(&ready_file).ok()
        });
        let ready = ready.unwrap_or_else(|| panic!("not ready in time:\n{}", log_of(folder.path())));
        let told: Value = serde_json::from_str(&ready).unwrap();
        let ready = serde_json::from_value(told.clone()).unwrap();
        Running { up, ready, told, ready_file, up_folder, folder }
    }

    /// Waits for as many windows as an alert needs behind it.
    fn wait_for_a_past(&self) {
        let windows = || get(&self.ready.console_url, "/api/map?minutes=5")["span"]["windows"].as_u64();
        let past = wait_for(PAST_WITHIN, || windows().filter(|&windows| windows >= PAST_WINDOWS));
        assert!(past.is_some(), "only {:?} windows {PAST_WITHIN:?} later", windows());
    }
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("up.log")).unwrap_or_default()
}

#[test]
fn the_demo_is_seen_breaks_heals_and_stops() {
    let mut running = Running::start();
    let ready_at = Instant::now();
    nothing_runs_as_root_but_the_agent(running.up.process.id(), &running.ready);
    the_whole_map_comes(&running.ready, &running.up_folder, ready_at);
    nothing_was_under_way_before_the_capture(&running.up_folder);
    doctor_names_the_agent_s_hook(&running.up_folder);
    crate::strangers::get_nothing(&running.told, &running.up_folder);
    windows_are_shown_in_time(&running.ready);
    running.wait_for_a_past();
    the_fault_is_named_and_resolves(&running.ready);
    crate::docs::run_what_is_shown_of_up(&running.up_folder);
    everything_stops(&mut running);
}

/// It says nothing any more, and its callers fail in its place.
#[test]
fn a_service_that_hangs_is_named_itself() {
    let running = Running::start();
    running.wait_for_a_past();
    let payments = process_of(&running.ready.demo.cgroup, "shop-payments");
    signal(payments, libc::SIGSTOP);
    let began = Instant::now();
    let named = wait_for(HUNG_IS_NAMED_WITHIN, || {
        let alerts = alerts(&running.ready);
        alerts.iter().any(is_firing).then_some(alerts)
    });
    // Whatever else is told comes within some windows.
    let also = wait_for(Duration::from_secs(20), || {
        let others = |alert: &Value| alert["service"]["name"] != "shop-payments";
        alerts(&running.ready).into_iter().find(others)
    });
    signal(payments, libc::SIGCONT);
    let named = named.unwrap_or_else(|| panic!("no alert {HUNG_IS_NAMED_WITHIN:?} after it hung"));
    println!("{:?} after it hung: {named:#?}", began.elapsed());
    assert!(named.iter().all(|alert| alert["service"]["name"] == "shop-payments"), "{named:#?}");
    assert_eq!(also, None, "who only waits is blamed, too");
    let resolved = wait_for(RESOLVED_WITHIN, || (!alerts(&running.ready).iter().any(is_firing)).then_some(()));
    assert!(resolved.is_some(), "{RESOLVED_WITHIN:?} after it went on still firing: {:#?}", alerts(&running.ready));
}

fn alerts(ready: &Ready) -> Vec<Value> {
    get(&ready.console_url, "/api/alerts")["alerts"].as_array().unwrap().clone()
}

fn is_firing(alert: &Value) -> bool {
    alert["state"] == "FIRING"
}

/// The process of this name in a cgroup.
fn process_of(cgroup: &Path, name: &str) -> i32 {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    let is_it = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    procs.lines().find(is_it).unwrap_or_else(|| panic!("no {name} in {}", cgroup.display())).parse().unwrap()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: the process is a part of our demo, which runs.
    unsafe { libc::kill(pid, signal) };
}

/// Kafka, the registry, the page, the processors and all of the shop, whose parts are children of its own program.
fn nothing_runs_as_root_but_the_agent(up: u32, ready: &Ready) {
    let stats: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (pid, rest) = stat.split_once(" (")?;
            let (name, rest) = rest.rsplit_once(") ")?;
            let parent = rest.split(' ').nth(1)?;
            Some((pid.parse().ok()?, parent.parse().ok()?, name.to_owned()))
        })
        .collect();
    let mut family = BTreeSet::from([up]);
    while let Some((pid, ..)) =
        stats.iter().find(|(pid, parent, _)| family.contains(parent) && !family.contains(pid)).cloned()
    {
        family.insert(pid);
    }
    // One that has ended meanwhile has no owner.
    let owner = |pid: u32| Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid());
    let of_root = stats.iter().filter(|(pid, ..)| family.contains(pid) && owner(*pid) == Some(0));
    let names: BTreeSet<&str> = of_root.map(|(.., name)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["headwater", "headwater-agent"]));
    let javas = stats.iter().filter(|(pid, _, name)| family.contains(pid) && name == "java").count();
    assert!(javas == 2 && family.len() > 15, "{} processes, {javas} of Java", family.len());
    assert_eq!(owner(ready.pids["headwater"].cast_unsigned()), Some(0));
}

fn the_whole_map_comes(ready: &Ready, up_folder: &Path, ready_at: Instant) {
    let expected = expected_map();
    let mut seen = BTreeSet::new();
    let came = wait_for(MAP_WITHIN.saturating_sub(ready_at.elapsed()), || {
        let map = get(&ready.console_url, "/api/map?minutes=1");
        seen = map["edges"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|edge| carries(edge))
            .map(names_with(&ready.brokers))
            .collect();
        expected.is_subset(&seen).then_some(())
    });
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(came.is_some(), "{MAP_WITHIN:?} after being ready the map lacks {missing:?}");
    let others: Vec<_> =
        seen.difference(&expected).filter(|(client, server, _)| client != "unknown" && server != "unknown").collect();
    assert!(others.is_empty(), "the map shows what is not there: {others:?}");

    // The terminal says the same.
    let printed = run(headwater().args(["map", "--json", "--minutes", "5", "--up-folder"]).arg(up_folder));
    let lines: Vec<Value> = text(&printed).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed: BTreeSet<Edge> = lines.iter().map(names_with(&ready.brokers)).collect();
    assert!(expected.is_subset(&printed), "`headwater map --json` lacks edges: {printed:?}");
    for field in ["window_start", "requests", "errors", "p50_us", "p95_us", "p99_us", "completeness"] {
        assert!(lines.iter().all(|line| line.get(field).is_some()), "{field}");
    }
}

/// The agent is there before the shop's programs connect.
fn nothing_was_under_way_before_the_capture(up_folder: &Path) {
    let beats = run(headwater()
        .args(["tail", "agents", "--from", "-5m", "--count", "3", "--json", "--up-folder"])
        .arg(up_folder));
    for beat in text(&beats).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(beat["dropped"].get("requests/started_before_capture"), None, "{beat}");
    }
}

fn doctor_names_the_agent_s_hook(up_folder: &Path) {
    let beat = run(headwater()
        .args(["tail", "agents", "--from", "-5m", "--count", "1", "--json", "--up-folder"])
        .arg(up_folder));
    let beat: Value = serde_json::from_str(text(&beat)).unwrap();
    let hook = beat["capture_path"].as_str().unwrap_or_else(|| panic!("no capture_path: {beat}"));
    let findings = run(headwater().args(["doctor", "--json", "--up-folder"]).arg(up_folder));
    let mut findings = text(&findings).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kernel = findings.find(|finding| finding["check"] == "kernel").unwrap();
    let found = kernel["found"].as_str().unwrap();
    assert!(found.ends_with(&format!("seen by {hook}")), "the agent captures by {hook}; doctor: {found}");
}

fn windows_are_shown_in_time(ready: &Ready) {
    let newest_end_us = || get(&ready.console_url, "/api/map?minutes=1")["span"]["to_us"].as_i64().unwrap();
    let mut last_us = newest_end_us();
    let mut delays_ms = Vec::new();
    while delays_ms.len() < WINDOWS_TIMED {
        let end_us = wait_for(MAP_WITHIN, || Some(newest_end_us()).filter(|end_us| *end_us > last_us));
        last_us = end_us.unwrap_or_else(|| panic!("no window came in {MAP_WITHIN:?}; before: {delays_ms:?} ms"));
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        delays_ms.push((now_us - last_us) / 1000);
    }
    println!("windows were shown {delays_ms:?} ms after their end");
    assert!(delays_ms.iter().all(|&ms| ms <= SHOWN_WITHIN.as_millis() as i64), "{delays_ms:?} ms after their end");
}

fn the_fault_is_named_and_resolves(ready: &Ready) {
    let firing = || alerts(ready);
    assert!(!firing().iter().any(is_firing), "an alert fires without a fault: {:?}", firing());

    run(Command::new(&ready.demo.fault_command[0]).args(&ready.demo.fault_command[1..]));
    let alerts = wait_for(ALERT_WITHIN, || {
        let alerts = firing();
        alerts.iter().any(is_firing).then_some(alerts)
    });
    let alerts = alerts.unwrap_or_else(|| panic!("no alert {ALERT_WITHIN:?} after the fault"));
    for alert in &alerts {
        assert_eq!(alert["service"]["name"], "shop-payments", "{alert}");
        let evidence = alert["evidence"].as_array().unwrap();
        assert!(evidence.iter().any(|at| at["offset"].is_i64() && at["partition"].is_i64()), "{alert}");
    }
    run(Command::new(&ready.demo.clear_command[0]).args(&ready.demo.clear_command[1..]));
    let resolved = wait_for(RESOLVED_WITHIN, || (!firing().iter().any(is_firing)).then_some(()));
    assert!(resolved.is_some(), "{RESOLVED_WITHIN:?} after the fault still firing: {:?}", firing());
}

fn everything_stops(running: &mut Running) {
    let Running { up, ready, ready_file, folder, .. } = running;
    interrupt(&up.process);
    let status = wait_for(STOPPED_WITHIN, || up.process.try_wait().unwrap());
    let status =
        status.unwrap_or_else(|| panic!("not stopped {STOPPED_WITHIN:?} after Ctrl-C:\n{}", log_of(folder.path())));
    assert!(status.success(), "{status}:\n{}", log_of(folder.path()));
    assert!(!ready_file.exists(), "the ready file stays");
    let gone = wait_for(STOPPED_WITHIN, || {
        let left = ready.pids.values().any(|pid| Path::new("/proc").join(pid.to_string()).exists());
        (!left && !ready.demo.cgroup.exists()).then_some(())
    });
    assert!(gone.is_some(), "something stays: {:?}, {}", ready.pids, ready.demo.cgroup.display());
}

fn expected_map() -> BTreeSet<Edge> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../load-tests/demo-shop/expected-map.json");
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| names(&serde_json::from_str(line).unwrap())).collect()
}

fn names(edge: &Value) -> Edge {
    // The expected map has names alone: what kind of workload they are depends on the machine.
    let name = |field: &str| edge[field]["name"].as_str().or(edge[field].as_str()).unwrap().to_owned();
    (name("client"), name("server"), edge["protocol"].as_str().unwrap().to_owned())
}

/// The same, where the broker that the shop is given has a name: it is outside of what is captured.
fn names_with(brokers: &str) -> impl Fn(&Value) -> Edge {
    move |edge| {
        let (client, server, protocol) = names(edge);
        let server = if server == brokers { "kafka".to_owned() } else { server };
        (client, server, protocol)
    }
}

/// An edge of a protocol that is understood has requests, any other one bytes.
fn carries(edge: &Value) -> bool {
    let requests = edge["requests"]["requests"].as_i64().unwrap();
    requests > 0
        || (["tcp", "tls"].contains(&edge["protocol"].as_str().unwrap())
            && edge["to_server_bytes_per_s"].as_f64().unwrap() > 0.0)
}

fn get(url: &str, path: &str) -> Value {
    let text = ureq::get(format!("{url}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn interrupt(process: &Child) {
    // SAFETY: the process is ours and not reaped, so the pid is still its own.
    unsafe { libc::kill(process.id().cast_signed(), libc::SIGINT) };
}
