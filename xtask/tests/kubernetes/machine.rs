//! What a cluster could leave behind on a machine, as lists to compare.
//!
//! Other programs of the machine may come and go while a test runs, so a list is compared for what it has gained, and
//! what they made in passing is given time to go.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Folders that a kubelet or a containerd make where they are not told otherwise.
const USUAL_FOLDERS: &[&str] = &[
    "/etc/cni",
    "/etc/kubernetes",
    "/opt/cni",
    "/opt/containerd",
    "/run/containerd",
    "/run/flannel",
    "/run/kubernetes",
    "/run/netns",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/headwater-clusters",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];
/// Settings of the whole machine that a kubelet, kube-proxy or CNI plugin would change.
const SETTINGS: &[&str] = &[
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Each entry says what kind of thing it is.
pub fn things() -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    let mut add = |kind: &str, lines: &str| things.extend(lines.lines().map(|line| format!("{kind}: {line}")));
    add("mount", &fs::read_to_string("/proc/self/mounts").unwrap_or_default());
    add("network namespace", &output("ip", &["netns", "list"]));
    add("link", &entries(Path::new("/sys/class/net")));
    add("address", &output("ip", &["-brief", "address"]));
    add("route", &output("ip", &["route", "show", "table", "all"]));
    add("nft table", &output("nft", &["list", "tables"]));
    add("iptables rule", &rules(&["iptables-save", "ip6tables-save", "iptables-legacy-save"]));
    add("cgroup", &cgroups().join("\n"));
    add(
        "folder",
        &USUAL_FOLDERS.iter().copied().filter(|folder| Path::new(folder).exists()).collect::<Vec<_>>().join("\n"),
    );
    let home = std::env::var("HOME").unwrap_or_default();
    add("kubectl's cache", &entries(&Path::new(&home).join(".kube/cache/discovery")));
    for setting in SETTINGS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(setting)).unwrap_or_default();
        add("setting", &format!("{setting} = {}", value.trim()));
    }
    things
}

/// Waits until nothing is there that was not `before`; gives what stays.
pub fn gained_since(before: &BTreeSet<String>) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let gained: Vec<String> = things().difference(before).cloned().collect();
        if gained.is_empty() || Instant::now() > deadline {
            return gained;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A process and when it started, in ticks since boot: a number that is used again is another process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    started_ticks: u64,
    pub name: String,
}

impl Process {
    pub fn is_alive(&self) -> bool {
        process(self.pid).is_some_and(|now| now.started_ticks == self.started_ticks)
    }
}

/// All processes in a cgroup of this name in any hierarchy, or below it.
pub fn processes_in(cgroup: &str) -> BTreeSet<Process> {
    let folders = cgroups().into_iter().filter(|folder| folder.contains(&format!("/{cgroup}")));
    let lists = folders.filter_map(|folder| fs::read_to_string(Path::new(&folder).join("cgroup.procs")).ok());
    lists.flat_map(|list| list.lines().filter_map(|pid| process(pid.parse().ok()?)).collect::<Vec<_>>()).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = (stat.find('(')?, stat.rfind(')')?);
    // Ended, and not yet asked for by init, which has no hurry everywhere.
    if stat[rest + 2..].starts_with('Z') {
        return None;
    }
    // proc(5): the start time is field 22, and the text after the name begins with field 3.
    let started_ticks = stat[rest + 2..].split(' ').nth(19)?.parse().ok()?;
    Some(Process { pid, started_ticks, name: stat[start + 1..rest].to_owned() })
}

fn entries(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
}

fn rules(programs: &[&str]) -> String {
    // Comments have the time, and counters in brackets count.
    let lines = programs.iter().map(|program| output(program, &[])).collect::<String>();
    lines.lines().filter(|line| line.starts_with('-')).collect::<Vec<_>>().join("\n")
}

fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

/// Empty where there is no such program: then there is nothing of its kind either.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
