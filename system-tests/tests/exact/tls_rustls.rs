//! Requests over rustls, of rustls to rustls, of rustls to nginx and of curl to rustls, in HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3, on many connections at a time and from several threads, beside others in
//! clear text in the same processes: both sides tell of each, exactly and once, by the same name, and on its own connection. Connections that are older than the agent are counted, and nothing is told of them.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

use crate::tls::certify;
use crate::tls_plaintext::{Asked, judge, nginx, nothing_told, own_library, phase, wait_for_file};

const PHASES: [&str; 2] = ["middle", "again"];
/// Features of the program, for another provider of ciphers.
const FEATURES_VARIABLE: &str = "TLS_RUSTLS_FEATURES";

#[test]
fn requests_of_rustls_are_seen_exactly_beside_those_in_clear_text() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let program = build(folder);
    let [tls, plain, nginx_tls, nginx_plain] = [(); 4].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &library, &nginx_tls, &nginx_plain);
    let _server = serve(&lab, &program, &tls, &plain);
    let mut command = Command::new(&program);
    command.arg("ask").arg(folder).args([&tls, &plain, &nginx_tls].map(|port| port.number().to_string()));
    command.env("LD_LIBRARY_PATH", &library);
    let launch = Launch::new("clients", command, folder.join("clients.log"));
    let mut clients = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    wait_for_file(&mut clients, folder, "ready");

    phase(&mut clients, folder, "before");
    let mut agent = lab.agent_seeing_tls().unwrap();
    phase(&mut clients, folder, "middle");
    stop(&mut agent).unwrap();
    phase(&mut clients, folder, "between");
    let mut agent = lab.agent_seeing_tls().unwrap();
    phase(&mut clients, folder, "again");
    let asked: Asked = serde_json::from_str(&clients.first_line().unwrap()).unwrap();
    assert!(clients.join().unwrap().success(), "{}", clients.log_text());
    stop(&mut agent).unwrap();

    let agents = topics::agents(&lab.settings).unwrap();
    for last in agents.iter().filter(|agent| agent.is_final) {
        println!("{}", topics::losses(last));
        println!("counted {:?}", last.counters.iter().filter(|(name, _)| name.contains("tls")).collect::<Vec<_>>());
    }
    // What is said on an old connection to nginx is seen there.
    let (old, seen): (Vec<_>, Vec<_>) =
        topics::requests(&lab.settings).unwrap().into_iter().partition(|seen| seen.path.starts_with("/ok/old/"));
    judge(&seen, &asked, &PHASES);
    for old in &old {
        assert_eq!((old.side, &old.local), (Side::Server, &format!("127.0.0.1 {}", nginx_tls.number())), "{old:?}");
    }
    assert_eq!(old.len(), PHASES.len());
    for last in agents.iter().filter(|agent| agent.is_final) {
        // One that the client asks of the server and one of nginx; that a connection is older than the agent is counted beside it.
        let unknown = last.counters["probe_tls_unknown"];
        let counted = last.dropped.values().sum::<i64>() + unknown;
        assert!((OLD_SIDES..=2 * OLD_SIDES).contains(&counted), "{:?}", last.dropped);
        assert!(last.dropped.keys().all(|name| name.starts_with("requests/")), "{:?}", last.dropped);
        assert_eq!(last.counters["tls_libraries_refused"], 0);
        assert!(last.counters["probe_tls_carried"] > 0);
        // What the server receives first of all, before it was seen to use rustls.
        assert!(unknown <= 1, "{unknown}");
    }
    nothing_told(&lab, "not-to-be-told");
}

/// Ends of old connections of which nothing is told, in each phase.
const OLD_SIDES: i64 = 3;

/// Builds the program as it is usual: in release mode, with its names.
fn build(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls_rustls");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tls-rustls");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
    command.arg("--target-dir").arg(&target);
    if let Ok(features) = std::env::var(FEATURES_VARIABLE) {
        command.args(["--no-default-features", "--features", &features]);
    }
    let built = command.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // A file of its own, so that no probe is in other runs of it.
    let program = folder.join("tls-rustls");
    std::fs::copy(target.join("release/tls-rustls"), &program).unwrap();
    program
}

fn serve(lab: &Lab, program: &Path, tls: &Port, plain: &Port) -> Child {
    let mut command = Command::new(program);
    command.arg("serve").arg(lab.folder.path()).args([tls, plain].map(|port| port.number().to_string()));
    let launch = Launch::new("server of rustls", command, lab.folder.path().join("server.log"));
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(tls.address()).unwrap();
    process
}
