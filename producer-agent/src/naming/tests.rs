#![allow(clippy::unwrap_used)]
//! The naming thread on the real file system, without a kernel's events.

use std::fs;
use std::time::{Duration, Instant};

use headwater_probe_loader::types::life::LifeEvent;
use headwater_probe_loader::types::{CgroupEvent, ProcessEvent, SocketRecord, change, kind};

use super::*;
use headwater_workload::Kind;
use headwater_workload::names::CgroupKey;

/// A socket of a process that does not exist, in the cgroup with the same number.
pub fn socket(pid: u32) -> SocketRecord {
    // SAFETY: a record of integers, for which zeroes are a value.
    let zeroed: SocketRecord = unsafe { std::mem::zeroed() };
    SocketRecord { pid: u32::MAX - pid, cgroup_id: u64::from(pid), process_started_ns: 1, ..zeroed }
}

fn settings(folder: &std::path::Path, wait: Duration) -> Settings {
    Settings {
        roots: Roots { docker: folder.join("docker"), podman: folder.join("podman") },
        cluster: String::new(),
        wait,
        identities_interval: Duration::from_secs(1),
        kubernetes: None,
    }
}

fn made(id: u64, path: &str) -> (CgroupEvent, Vec<u8>) {
    let event =
        CgroupEvent { kind: kind::CGROUP, change: change::MADE, hierarchy: 0, path_bytes: path.len() as u32, id };
    (event, path.as_bytes().to_vec())
}

/// Exchanges until the owner is named.
fn named(naming: &mut Naming, owners: &mut Owners, owner: &Owner) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(naming.exchange(owners).is_empty());
        if let Some(named) = owner.named() {
            return named.name().to_owned();
        }
        assert!(Instant::now() < deadline, "no name came");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_told_before_is_known_and_what_was_not_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("cgroup");
    fs::create_dir_all(mount.join("system.slice/old.service")).unwrap();
    let hierarchy = Hierarchy { number: 0, mount: Some(mount.clone()) };
    let mut naming =
        Naming::start(&settings(folder.path(), Duration::from_millis(200)), std::slice::from_ref(&hierarchy)).unwrap();
    let mut owners = Owners::new(Duration::from_millis(200));

    // Made under the eyes of the probes, and gone since.
    let (event, path) = made(77, "/system.slice/new.service");
    assert!(naming.event(Event::Cgroup(event, &path)).is_none());
    let owner = owners.of(&socket(77));
    assert_eq!(named(&mut naming, &mut owners, &owner), "new");

    // Older than the probes.
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(mount.join("system.slice/old.service")).unwrap());
    let old = SocketRecord { cgroup_id: inode, ..socket(78) };
    let owner = owners.of(&old);
    assert_eq!(named(&mut naming, &mut owners, &owner), "old");

    // Of which nothing is known: unknown when the time is over, and named when it becomes known.
    let owner = owners.of(&socket(79));
    assert_eq!(named(&mut naming, &mut owners, &owner), "unknown");
    let (event, path) = made(79, "/system.slice/late.service");
    naming.event(Event::Cgroup(event, &path));
    let deadline = Instant::now() + Duration::from_secs(20);
    while owner.named().unwrap().name() != "late" {
        assert!(naming.exchange(&mut owners).is_empty());
        assert!(Instant::now() < deadline, "the late name did not come");
        std::thread::yield_now();
    }
    assert!(naming.counters().contains(&("names_late", 1)));
}

#[test]
fn a_program_that_gave_itself_a_title_is_named_by_it_once_it_uses_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let hierarchy = Hierarchy { number: 0, mount: Some(folder.path().join("cgroup")) };
    let settings = settings(folder.path(), Duration::from_secs(20));
    let mut naming = Naming::start(&settings, std::slice::from_ref(&hierarchy)).unwrap();
    let mut owners = Owners::new(Duration::from_secs(20));
    let socket = socket(80);
    let (event, path) = made(80, "/");
    naming.event(Event::Cgroup(event, &path));
    let told = |naming: &mut Naming, words: &[u8]| {
        // SAFETY: an event of integers, for which zeroes are a value.
        let zeroed: ProcessEvent = unsafe { std::mem::zeroed() };
        let (pid, started_ns) = (socket.pid, socket.process_started_ns);
        let mut executable = [0; 64];
        executable[..4].copy_from_slice(b"perl");
        let arguments_bytes = words.len() as u32;
        let event = ProcessEvent { kind: kind::PROCESS, pid, started_ns, executable, arguments_bytes, ..zeroed };
        naming.event(Event::Process(event, words, &[]));
    };
    told(&mut naming, b"perl\0-e\x001\0");
    // SAFETY: an event of integers, for which zeroes are a value.
    let zeroed: LifeEvent = unsafe { std::mem::zeroed() };
    let (pid, process_started_ns, cgroup_id) = (socket.pid, socket.process_started_ns, socket.cgroup_id);
    let owner = owners.living(&LifeEvent { pid, process_started_ns, cgroup_id, ..zeroed });
    assert_eq!(named(&mut naming, &mut owners, &owner), "perl");
    told(&mut naming, b"gunicorn: worker [shop]\0");
    let owner = owners.of(&socket);
    assert_eq!(named(&mut naming, &mut owners, &owner), "shop");
}

#[test]
fn what_was_answered_before_a_program_was_asked_for_again_is_not_taken() {
    let mut owners = Owners::new(Duration::from_secs(20));
    let socket = socket(81);
    // SAFETY: an event of integers, for which zeroes are a value.
    let zeroed: LifeEvent = unsafe { std::mem::zeroed() };
    let (pid, process_started_ns, cgroup_id) = (socket.pid, socket.process_started_ns, socket.cgroup_id);
    owners.living(&LifeEvent { pid, process_started_ns, cgroup_id, ..zeroed });
    let mut asked = Vec::new();
    let mut ask = |owners: &mut Owners| {
        owners.ask(|key, is_again| {
            asked.push((key, is_again));
            true
        });
    };
    ask(&mut owners);
    let owner = owners.of(&socket);
    ask(&mut owners);
    let of = |name: &str| Workload { kind: Kind::Program, name: name.into(), ..Workload::default() };
    let [(first, false), (again, true)] = asked[..] else { panic!("{asked:?}") };
    owners.take((&first, false), of("perl"));
    assert!(owner.named().is_none());
    owners.take((&again, true), of("shop"));
    // Whatever the order.
    owners.take((&first, false), of("perl"));
    assert_eq!(owner.named().unwrap().name(), "shop");
}

#[test]
fn what_a_cgroup_loses_is_of_one_that_has_a_name() {
    let mut owners = Owners::new(Duration::from_secs(1));
    for cgroup_id in 0..64 {
        // Accepted by the kernel, and used by nobody so far.
        let unused = SocketRecord { pid: 0, process_started_ns: 0, cgroup_id, ..socket(1) };
        let used = SocketRecord { cgroup_id, ..socket(7) };
        let (_, owner) = (owners.of(&unused), owners.of(&used));
        let key = CgroupKey { hierarchy: 0, id: cgroup_id };
        assert_eq!(owners.in_cgroup(key).pid(), owner.pid());
        let mut asked = Vec::new();
        owners.ask(|key, is_again| {
            asked.push((key, is_again));
            true
        });
        for (key, is_again) in asked.iter().filter(|(key, _)| key.program.pid != 0) {
            let workload = Workload { kind: Kind::Program, name: "hostile".into(), ..Workload::default() };
            owners.take((key, *is_again), workload);
        }
        assert_eq!(owners.in_cgroup(key).named().unwrap().name(), "hostile");
    }
}
