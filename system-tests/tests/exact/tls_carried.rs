//! Requests over TLS of programs that move the bytes between OpenSSL and their sockets themselves: Python's asyncio with the library, and Node, which has it linked in. They ask each
//! other, themselves and nginx, in HTTP/1.1 and HTTP/2, on connections of their own and at the same time. Both sides tell of each, exactly and once, by the same name and on its own
//! connection. Of connections that are older than the agent nobody can say on which socket their sessions go: they are counted, and nothing is told of them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

use crate::tls::certify;
use crate::tls_plaintext::{Asked, judge, nginx, nothing_told, own_library, wait_for_file};

const PHASES: [&str; 2] = ["middle", "again"];
/// On old connections, of which nothing is told.
const OLD_CALLS: i64 = 20;

#[test]
fn requests_of_programs_that_move_the_bytes_themselves_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let [nginx_port, plain, asyncio, node1, node2] = [(); 5].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &library, &nginx_port, &plain);
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let numbers = [&nginx_port, &asyncio, &node1].map(|port| port.number().to_string()).join(",");

    let mut python = Command::new("/usr/bin/python3");
    python.arg(clients.join("tls_carried.py")).arg(folder).arg(asyncio.number().to_string()).arg(&numbers);
    python.env("LD_LIBRARY_PATH", &library);
    let mut node = Command::new(own_node(folder));
    // Debian's Node uses the library.
    node.env("LD_LIBRARY_PATH", &library);
    node.arg(clients.join("tls_carried.js")).arg(folder);
    node.args([&node1, &node2].map(|port| port.number().to_string())).arg(&numbers);
    node.arg(plain.number().to_string());
    let mut programs = [("asyncio", python), ("node", node)].map(|(name, command)| {
        let launch = Launch::new(name, command, folder.join(format!("{name}.log")));
        (name, launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap())
    });
    for (name, program) in &mut programs {
        wait_for_file(program, folder, &format!("serving-{name}"));
    }
    for port in [&asyncio, &node1, &node2] {
        wait_for_port(port.address()).unwrap();
    }
    phase(&mut programs, folder, "connect");
    phase(&mut programs, folder, "before");
    for name in PHASES {
        let mut agent = lab.agent_seeing_tls().unwrap();
        phase(&mut programs, folder, name);
        stop(&mut agent).unwrap();
    }
    let mut asked = Asked::default();
    for (name, program) in &mut programs {
        let told: Asked = serde_json::from_str(&program.first_line().unwrap()).unwrap();
        for (phase, ports) in told.into_iter().filter(|(phase, _)| PHASES.contains(&phase.as_str())) {
            let all = asked.entry(phase).or_default();
            for (port, paths) in ports {
                assert!(!paths.is_empty(), "{name} asked {port} nothing");
                all.entry(port).or_insert_with(Vec::new).extend(paths);
            }
        }
    }
    fs::write(folder.join("go-end"), "").unwrap();
    for (_, program) in &mut programs {
        assert!(program.join().unwrap().success(), "{}", program.log_text());
    }

    let agents = topics::agents(&lab.settings).unwrap();
    for last in agents.iter().filter(|agent| agent.is_final) {
        println!("{}", topics::losses(last));
        println!("counted {:?}", last.counters.iter().filter(|(name, _)| name.contains("tls")).collect::<Vec<_>>());
    }
    // What the programs say on old connections to nginx is seen there.
    let (old, seen): (Vec<_>, Vec<_>) =
        topics::requests(&lab.settings).unwrap().into_iter().partition(|seen| seen.path.starts_with("/ok/old/"));
    judge(&seen, &asked, &PHASES);
    for old in &old {
        assert_eq!((old.side, &old.local), (Side::Server, &format!("127.0.0.1 {}", nginx_port.number())), "{old:?}");
    }
    assert_eq!(old.len(), PHASES.len() * programs.len());
    for last in agents.iter().filter(|agent| agent.is_final) {
        assert!(!last.dropped.keys().any(|name| name.starts_with("requests/")), "{:?}", last.dropped);
        // Each of the two programs writes and reads on three connections, and is asked on three.
        assert_eq!(last.counters["probe_tls_unknown"], OLD_CALLS);
        assert!(last.counters["probe_tls_carried"] > 0);
    }
    nothing_told(&lab, "not-to-be-told");
}

fn phase(programs: &mut [(&str, Child)], folder: &Path, name: &str) {
    fs::write(folder.join(format!("go-{name}")), "").unwrap();
    for (program, child) in programs {
        wait_for_file(child, folder, &format!("done-{name}-{program}"));
    }
}

/// A copy of Node, so that no probe is in those of other programs.
fn own_node(folder: &Path) -> PathBuf {
    let own = folder.join("node");
    fs::copy(fs::canonicalize("/usr/bin/node").unwrap(), &own).unwrap();
    own
}
