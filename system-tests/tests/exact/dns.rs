//! Names asked of a real dnsmasq over UDP and TCP, each by itself, by `getaddrinfo` and by dig: both sides tell of each, exactly and once. An agent that
//! comes in the middle tells of them likewise, or counts what it could not.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use headwater_process::{Child, Launch};
use headwater_schemas::records::{Kind, Outcome, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port, wait_for_window};
use headwater_system_tests::topics;

use crate::brokers::{self, Sent};

/// Names that each of the two asks for, in each of two phases: a multiple of 50. The variable `DNS_NAMES` says how many.
fn names() -> usize {
    std::env::var("DNS_NAMES").map_or(300, |names| names.parse().unwrap())
}

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
    assert_eq!(found, (2 * names() * 2).to_string());
    watched.judge(sent, |(_, name)| name.ends_with(".oracle.example"));
    watched.expect_no_others(|(_, name)| name.ends_with(".oracle.example"));
}

#[test]
fn names_asked_over_udp_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let (_dnsmasq, server) = dnsmasq(&lab);
    let (found, watched) = watch(&lab, server, "options edns0", &[]);
    assert_eq!(found, (2 * names() * 2).to_string());
    watched.judge(sent, |(_, name)| name.ends_with(".oracle.example"));
    watched.expect_no_others(|(_, name)| name.ends_with(".oracle.example"));
    if let Ok(hook) = std::env::var("EXACT_HOOK") {
        assert_eq!(topics::agents(&lab.settings).unwrap().pop().unwrap().capture_path, hook);
    }
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    topics::each_request(&lab.settings, |request| {
        let name = (request.operation.to_owned(), request.resource.to_owned());
        sides[usize::from(request.side == Side::Server)].insert(name, request.connection_id.to_owned());
    })
    .unwrap();
    let [clients, servers] = sides;
    for (name, id) in &clients {
        assert_eq!(servers.get(name).unwrap_or(id), id, "both sides name {name:?} alike");
    }
}

/// What comes truncated over UDP is asked again over TCP. (../shared/cases/dns-pairs.md)
#[test]
fn the_map_has_who_asks_whom_for_names() {
    let lab = Lab::start().unwrap();
    let (_dnsmasq, server) = dnsmasq(&lab);
    let mut agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    wait_for_window(10_000_000).unwrap();
    let script = "import socket\nfor at in range(40): socket.getaddrinfo(f'w{at}.oracle.example', 80, type=socket.SOCK_STREAM)\n\
                  print(len(socket.getaddrinfo('big.oracle.example', 80, family=socket.AF_INET, type=socket.SOCK_STREAM)))";
    let resolv = resolv_conf(&lab, server, "");
    assert_eq!(lab.run("/usr/bin/unshare", &["--mount", "sh", "-c", WITH_RESOLVER, &resolv, script]).unwrap(), "60");
    // Each name's A and AAAA, and the big one's A twice.
    const ASKED: i64 = 2 * 40 + 2;
    let of_dns = || topics::edges(&lab.settings).unwrap_or_default().into_iter().filter(|edge| edge.protocol == "dns");
    wait_for("all names in the edges", || Ok(of_dns().map(|edge| edge.requests).sum::<i64>() >= ASKED)).unwrap();
    let sums: BTreeSet<(String, String)> = of_dns().map(|edge| (edge.client.name, edge.server.name)).collect();
    assert_eq!(sums, BTreeSet::from([("python3".to_owned(), "dnsmasq".to_owned())]));
    let of_both = of_dns().map(|edge| edge.both_sides).sum::<i64>();
    assert_eq!((of_dns().map(|edge| edge.requests).sum::<i64>(), of_both), (ASKED, ASKED));
    stop(&mut agent).unwrap();
}

/// A server that never answers, asked from a socket that is bound and connected to nothing; and mDNS, which is none of it.
#[test]
fn a_question_that_nobody_answers_is_told_of_as_such() {
    const SCRIPT: &str = r#"
import socket, struct, sys, time
question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\x04lost\x06oracle\x07example\0" + struct.pack(">2H", 1, 1)
server, client, mdns, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4))
server.bind((sys.argv[1], 53))
client.sendto(question, (sys.argv[1], 53))
assert server.recvfrom(500)[0] == question
mdns.bind((sys.argv[1], 5353))
peer.sendto(struct.pack(">6H", 0, 0, 1, 1, 0, 0) + question[12:], (sys.argv[1], 5353))
assert len(mdns.recvfrom(500)[0]) == len(question)
time.sleep(13)
print("done")
"#;
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let address = own_address().to_string();
    assert_eq!(lab.run("/usr/bin/python3", &["-c", SCRIPT, &address]).unwrap(), "done");
    stop(&mut agent).unwrap();
    let mut told = Vec::new();
    topics::each_request(&lab.settings, |request| {
        let words = [request.operation, request.resource, request.failure.unwrap_or_default(), request.remote_address];
        told.push((request.side, request.outcome, words.join(" ")));
    })
    .unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    let client = (Side::Client, Outcome::Unanswered, format!("A lost.oracle.example timed_out {address}"));
    let of_client: Vec<_> = told.iter().filter(|(side, ..)| *side == Side::Client).collect();
    assert_eq!(of_client, [&client]);
    // Who has asked is known to the server's side where the kernel says it in time.
    let servers = told.len() - of_client.len();
    let unknown = last.dropped.get("requests/peer_unknown").copied().unwrap_or(0);
    assert_eq!((servers as i64 + unknown, last.dropped.values().sum()), (1, unknown), "{:?}", last.dropped);
}

/// What both sides have to tell of a phase.
fn sent(phase: &str) -> Vec<Sent> {
    let word = |number: usize| -> String {
        (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect()
    };
    let all = (0..names()).flat_map(|number| {
        let name = format!("{}.{phase}.oracle.example", word(number));
        let by_dig = format!("{}.dig.{phase}.oracle.example", word(number));
        [("A", name.clone(), Kind::Call), ("AAAA", name, Kind::Call), ("A", by_dig, Kind::Call)]
    });
    all.collect()
}

fn watch(lab: &Lab, server: IpAddr, options: &str, how: &[&str]) -> (String, brokers::Watched) {
    let (resolv, server) = (resolv_conf(lab, server, options), server.to_string());
    let (folder, names) = (lab.folder.path().to_string_lossy().into_owned(), names().to_string());
    let arguments = ["--mount", "sh", "-c", WITH_RESOLVER, &resolv, SCRIPT, &server, &folder, &names];
    let arguments: Vec<&str> = arguments.into_iter().chain(how.iter().copied()).collect();
    brokers::watch(lab, "dns", "/usr/bin/unshare", &arguments)
}

/// In a mount namespace of its own, so that the machine's resolver stays as it is.
pub const WITH_RESOLVER: &str = "mount --bind \"$0\" /etc/resolv.conf && exec python3 -c \"$@\"";

pub fn resolv_conf(lab: &Lab, server: IpAddr, options: &str) -> String {
    let path = lab.folder.path().join("resolv.conf");
    std::fs::write(&path, format!("nameserver {server}\n{options}\n")).unwrap();
    path.to_string_lossy().into_owned()
}

/// Of the loopback, and of this test alone.
fn own_address() -> IpAddr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 53, high, low))
}

/// dnsmasq with a name that has more addresses than what fits into 512 bytes.
fn dnsmasq(lab: &Lab) -> (Child, IpAddr) {
    let hosts = lab.folder.path().join("hosts");
    let big: String = (1..=60).map(|at| format!("10.9.0.{at} big.oracle.example\n")).collect();
    std::fs::write(&hosts, big).unwrap();
    let all = ["--address=/oracle.example/10.1.2.3", "--address=/oracle.example/fd00::1"].map(String::from);
    dnsmasq_with(lab, &[&all[..], &[format!("--addn-hosts={}", hosts.display())]].concat())
}

/// Starts dnsmasq in the lab's cgroup with such names.
pub fn dnsmasq_with(lab: &Lab, names: &[String]) -> (Child, IpAddr) {
    let address = own_address();
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file", "--conf-file"]);
    command.args(["--bind-interfaces", &format!("--listen-address={address}")]);
    command.args(names);
    let launch = Launch::new("dnsmasq", command, lab.folder.path().join("dnsmasq.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(SocketAddr::new(address, 53)).unwrap();
    (process, address)
}
