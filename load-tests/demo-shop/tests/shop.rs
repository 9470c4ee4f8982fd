//! The shop as a whole, with its real programs. Needs root, or a delegated cgroup, and fails without.

#![allow(clippy::unwrap_used)]

mod connections;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use headwater_demo_shop::plan::{Operation, Plan};
use headwater_demo_shop::report::{Line, RequestLine};
use headwater_demo_shop::{DIR_PREFIX, Fault, LoadOptions, Service, Shop, ShopOptions, Total, expected_map};
use tempfile::TempDir;

const RATE: f64 = 50.0;

#[test]
fn answers_as_planned_breaks_on_demand_and_leaves_nothing_behind() {
    let folder = open_tempdir();
    let options = ShopOptions { dir: folder.path().to_owned(), load: None, ..ShopOptions::default() };
    // The thread that asks for the start may end at once: the programs must not end with it.
    let shop = thread::spawn(move || Shop::start(&options, &mut |_| ()).unwrap()).join().unwrap();
    let healthy = load(&shop, folder.path(), 1);
    assert_eq!(unexpected(&healthy), 0, "{healthy:?}");

    shop.fault(Service::Payments, Fault { latency_ms: 0, error_rate: 1.0 }).unwrap();
    let failing = load(&shop, folder.path(), 2);
    let orders = &failing[&Operation::PlaceOrder];
    assert!(orders.planned > 20 && orders.unexpected == orders.planned, "{orders:?}");
    for operation in [Operation::Home, Operation::BrowseCatalog, Operation::ViewProduct] {
        assert_eq!(failing[&operation].as_expected, failing[&operation].planned);
    }

    shop.fault(Service::Payments, Fault::NONE).unwrap();
    shop.fault(Service::Catalog, Fault { latency_ms: 150, error_rate: 0.0 }).unwrap();
    let slow = load(&shop, folder.path(), 3);
    for (operation, latency_us_min) in [(Operation::ViewProduct, 150_000), (Operation::Home, 0)] {
        let total = &slow[&operation];
        assert!(total.latency_us_sum >= latency_us_min * total.planned, "{total:?}");
    }
    assert!(slow[&Operation::Home].latency_us_sum < 150_000 * slow[&Operation::Home].planned);

    shop.fault(Service::Catalog, Fault::NONE).unwrap();
    let healed = load(&shop, folder.path(), 4);
    assert_eq!(unexpected(&healed), 0, "{healed:?}");

    let (pids, cgroup, dir) = (shop.pids().unwrap(), shop.cgroup_path().to_owned(), shop.dir().to_owned());
    assert!(pids.len() >= 7);
    shop.stop().unwrap();
    assert!(!cgroup.exists() && !dir.exists());
    assert_eq!(pids.iter().find(|pid| is_in(**pid, &cgroup)), None);
}

#[test]
fn connects_exactly_as_the_expected_map_says() {
    let folder = open_tempdir();
    let options = ShopOptions { dir: folder.path().to_owned(), ..ShopOptions::default() };
    let mut shop = Shop::start(&options, &mut |_| ()).unwrap();
    // It is given no broker; that of `headwater up --demo` is looked for by the test of that.
    let without_broker = expected_map().into_iter().filter(|edge| edge.protocol != "kafka");
    let expected: BTreeSet<(String, String)> = without_broker.map(|edge| (edge.client, edge.server)).collect();
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen != expected {
        assert!(Instant::now() < deadline, "missing: {:?}", expected.difference(&seen).collect::<Vec<_>>());
        seen.extend(connections::between(&shop.pids().unwrap()));
        assert_eq!(seen.difference(&expected).next(), None);
        thread::sleep(Duration::from_millis(50));
    }
    shop.check().unwrap();
    let cgroup = shop.cgroup_path().to_owned();
    drop(shop);
    assert!(!cgroup.exists());
}

#[test]
fn a_part_that_is_killed_comes_back_and_the_shop_works_again() {
    let folder = open_tempdir();
    let options = ShopOptions { dir: folder.path().to_owned(), load: None, ..ShopOptions::default() };
    let mut shop = Shop::start(&options, &mut |_| ()).unwrap();
    // Orders are placed once, so each load needs a seed of its own.
    let mut seeds = 1..;
    // Without its stores a service ends too, and all of them must come back.
    for name in ["shop-payments", "postgres", "redis-server"] {
        kill_oldest(&shop, name);
        let mut told = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let back = format!("{name} was started again");
        while !told.contains(&back) {
            assert!(Instant::now() < deadline, "{name} did not come back: {told:?}");
            told.extend(shop.look_after().unwrap());
            thread::sleep(Duration::from_millis(50));
        }
        while !works(&shop, seeds.next().unwrap()) {
            assert!(Instant::now() < deadline, "the shop does not work again without {name}: {told:?}");
            told.extend(shop.look_after().unwrap());
        }
    }
}

/// Whether all of some requests are answered as planned.
fn works(shop: &Shop, seed: u32) -> bool {
    let options = LoadOptions { rate: 20.0, seed, requests: Some(20), ..LoadOptions::default() };
    let totals = shop.run_load(&options).unwrap();
    totals.iter().all(|total| total.as_expected == total.planned)
}

/// Of PostgreSQL's processes the oldest is the server, the others are its children.
fn kill_oldest(shop: &Shop, name: &str) {
    let is_named = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    let pid = shop.pids().unwrap().into_iter().filter(is_named).min().unwrap();
    // The process is a child of this shop.
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn its_programs_die_with_it() {
    let folder = open_tempdir();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo-shop"))
        .args(["up", "--rate", "5", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let cgroup = lines.find_map(|line| line.trim().strip_prefix("cgroup: ").map(PathBuf::from)).unwrap();
    let pids = || fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    assert!(pids().lines().count() >= 7);

    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !pids().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let left = pids();
    for pid in left.lines() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
    }
    assert_eq!(left, "", "these outlived the shop");
    // What a killed shop could not remove: the next one to start removes the cgroup, here without waiting for it. The kernel lets go
    // of ended processes a moment after they have left the list.
    while fs::remove_dir(&cgroup).is_err() {
        assert!(Instant::now() < deadline, "{} cannot be removed", cgroup.display());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_failed_start_leaves_nothing_behind() {
    let folder = open_tempdir();
    let load = LoadOptions { report: Some(folder.path().join("absent/report")), ..LoadOptions::default() };
    let options = ShopOptions { dir: folder.path().to_owned(), load: Some(load), ..ShopOptions::default() };
    let error = Shop::start(&options, &mut |_| ()).err().unwrap().to_string();
    assert!(error.contains("shop-load has ended") && error.contains("absent/report"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.iter().all(|path| !path.to_string_lossy().contains(DIR_PREFIX)), "{left:?}");
}

/// A folder that the unprivileged user can enter.
fn open_tempdir() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// Runs some hundred requests, checks that the report has exactly the plan, and returns the totals.
fn load(shop: &Shop, folder: &Path, seed: u32) -> BTreeMap<Operation, Total> {
    let requests = 6 * RATE as u64;
    let report = folder.join(format!("report-{seed}"));
    let options =
        LoadOptions { rate: RATE, seed, requests: Some(requests), report: Some(report.clone()), ..Default::default() };
    let totals = shop.run_load(&options).unwrap();

    let text = fs::read_to_string(report).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut reported: Vec<RequestLine> =
        lines.filter_map(|line| if let Line::Request(request) = line { Some(request) } else { None }).collect();
    reported.sort_by_key(|line| line.index);
    assert_eq!(reported.len() as u64, requests);
    for (line, planned) in reported.iter().zip(Plan::new(seed, RATE)) {
        assert_eq!((&line.method[..], &line.path), (planned.method, &planned.path));
        assert_eq!(line.expected_status, planned.expected_status);
        assert!(line.status.is_some() && line.sent_at_us <= line.received_at_us, "{line:?}");
    }
    assert_eq!(totals.iter().map(|total| total.planned).sum::<u64>(), requests);
    totals.into_iter().map(|total| (total.operation, total)).collect()
}

fn unexpected(totals: &BTreeMap<Operation, Total>) -> u64 {
    totals.values().map(|total| total.planned - total.as_expected).sum()
}

fn is_in(pid: u32, cgroup: &Path) -> bool {
    let name = cgroup.file_name().unwrap().to_string_lossy().into_owned();
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&name))
}
