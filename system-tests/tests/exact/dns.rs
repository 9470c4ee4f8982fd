//! Names asked of a real dnsmasq, each by itself, by `getaddrinfo` and by dig: both sides tell of each, exactly and once. An agent that comes in the middle
//! tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use headwater_process::{Child, Launch};
use headwater_schemas::records::Kind;
use headwater_system_tests::lab::{Lab, wait_for_port};

use crate::brokers::{self, Sent};

/// Names that each of the two asks for, in each of two phases.
const NAMES: usize = 300;

/// Asks in both phases, as `getaddrinfo` with its settings does and as dig does. Between the phases it waits for a file.
const SCRIPT: &str = r#"
import os, socket, subprocess, sys, time
server, folder, count, how = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
def word(number):
    return "".join(chr(97 + number // 26 ** at % 26) for at in range(3))
def phase(name):
    found = 0
    for at in range(count):
        found += len(socket.getaddrinfo(f"{word(at)}.{name}.oracle.example", 80, type=socket.SOCK_STREAM))
    # dnsmasq answers a hundred questions on a connection.
    for begin in range(0, count, 50):
        with open(f"{folder}/names", "w") as names:
            names.writelines(f"{word(at)}.dig.{name}.oracle.example A\n" for at in range(begin, begin + 50))
        told = subprocess.run(["dig", f"@{server}", "+short", "+tries=1", *how, "-f", f"{folder}/names"], capture_output=True, text=True, check=True).stdout
        assert told.split() == ["10.1.2.3"] * 50, told[:300]
    # What ends last may still be on its way.
    time.sleep(1)
    return found
found = phase("first")
open(f"{folder}/half", "w").close()
while not os.path.exists(f"{folder}/go"): time.sleep(0.05)
print(found + phase("second"))
"#;

#[test]
fn names_asked_over_tcp_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let (_dnsmasq, server) = dnsmasq(&lab);
    let (found, watched) = watch(&lab, server, "options use-vc", &["+tcp", "+keepopen"]);
    assert_eq!(found, (2 * NAMES * 2).to_string());
    watched.judge(sent, |(_, name)| name.ends_with(".oracle.example"));
    watched.expect_no_others(|(_, name)| name.ends_with(".oracle.example"));
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> Vec<Sent> {
    let word = |number: usize| -> String {
        (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect()
    };
    let all = (0..NAMES).flat_map(|number| {
        let name = format!("{}.{phase}.oracle.example", word(number));
        let by_dig = format!("{}.dig.{phase}.oracle.example", word(number));
        [("A", name.clone(), Kind::Call), ("AAAA", name, Kind::Call), ("A", by_dig, Kind::Call)]
    });
    all.collect()
}

fn watch(lab: &Lab, server: IpAddr, options: &str, how: &[&str]) -> (String, brokers::Watched) {
    let resolv = lab.folder.path().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {server}\n{options}\n")).unwrap();
    let (server, resolv) = (server.to_string(), resolv.to_string_lossy().into_owned());
    let (folder, names) = (lab.folder.path().to_string_lossy().into_owned(), NAMES.to_string());
    // In a mount namespace of its own, so that the machine's resolver stays as it is.
    let begin = "mount --bind \"$0\" /etc/resolv.conf && exec python3 -c \"$@\"";
    let arguments = ["--mount", "sh", "-c", begin, &resolv, SCRIPT, &server, &folder, &names];
    let arguments: Vec<&str> = arguments.into_iter().chain(how.iter().copied()).collect();
    brokers::watch(lab, "dns", "/usr/bin/unshare", &arguments)
}

/// Starts dnsmasq in the lab's cgroup, at an address of this test's own.
fn dnsmasq(lab: &Lab) -> (Child, IpAddr) {
    let [low, high, ..] = std::process::id().to_le_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, 53, high, low.clamp(1, 254)));
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file", "--conf-file"]);
    command.args(["--bind-interfaces", &format!("--listen-address={address}")]);
    command.args(["--address=/oracle.example/10.1.2.3", "--address=/oracle.example/fd00::1"]);
    let launch = Launch::new("dnsmasq", command, lab.folder.path().join("dnsmasq.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(SocketAddr::new(address, 53)).unwrap();
    (process, address)
}
