//! Requests over GnuTLS: of wget, which uses it, to nginx with OpenSSL, on connections that are kept, and of curl with OpenSSL to GnuTLS's own server, on one each. Both sides tell of each,
//! exactly and once, by the same name, whichever library is at the other end.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

use crate::tls::certify;
use crate::tls_plaintext::{judge, nginx, nothing_told, own_library};

const KEPT: usize = 150;
const PROGRAMS: usize = 3;
const SHORT: usize = 40;
const SECRET: &str = "not-to-be-told";

#[test]
fn requests_over_gnutls_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let [tls, plain, own] = [(); 3].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &library, &tls, &plain);
    let _server = server(&lab, &library, &own);
    let mut agent = lab.agent_seeing_tls().unwrap();

    let mut asked = BTreeMap::new();
    for program in 0..PROGRAMS {
        let paths: Vec<_> = (0..KEPT).map(|number| format!("/ok/wget/{program}/{number}")).collect();
        let list = folder.join("list");
        fs::write(&list, paths.iter().map(|path| format!("https://{}{path}\n", tls.address())).collect::<String>())
            .unwrap();
        let mut command = Command::new("wget");
        command.args(["-q", "--no-config", "--no-check-certificate", "--no-proxy", "-O", "/dev/null"]);
        command.arg(format!("--header=Authorization: Bearer {SECRET}")).arg("-i").arg(&list);
        run(&lab, &library, command);
        asked.entry(tls.number().to_string()).or_insert_with(Vec::new).extend(paths);
    }
    for number in 0..SHORT {
        let path = format!("/ok/gnutls-serv/{number}");
        let mut command = Command::new("curl");
        command.args(["-sSk", "--http1.1", "--noproxy", "*", "-o", "/dev/null", "-H"]);
        command.arg(format!("Authorization: Bearer {SECRET}")).arg(format!("https://{}{path}", own.address()));
        run(&lab, &library, command);
        asked.entry(own.number().to_string()).or_insert_with(Vec::new).push(path);
    }
    stop(&mut agent).unwrap();

    let agents = topics::agents(&lab.settings).unwrap();
    let last = agents.iter().find(|agent| agent.is_final).unwrap();
    println!("dropped {:?}, unknown calls {}", last.dropped, last.counters["probe_tls_unknown"]);
    judge(&topics::requests(&lab.settings).unwrap(), &BTreeMap::from([("all".to_owned(), asked)]), &["all"]);
    assert_eq!((last.counters["tls_libraries"], last.counters["probe_tls_unknown"]), (2, 0));
    assert!(!last.dropped.keys().any(|name| name.starts_with("requests/")), "{:?}", last.dropped);
    nothing_told(&lab, SECRET);
}

fn run(lab: &Lab, library: &Path, mut command: Command) {
    command.env("LD_LIBRARY_PATH", library);
    let launch = Launch::new("client", command, lab.folder.path().join("client.log"));
    let mut client = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    assert!(client.join().unwrap().success(), "{}", client.log_text());
}

/// Starts GnuTLS's own server in the cgroup, which answers each request with what it knows of the connection.
fn server(lab: &Lab, library: &Path, port: &Port) -> Child {
    let mut command = Command::new("gnutls-serv");
    command.args(["--http", "--quiet", "--port", &port.number().to_string()]).env("LD_LIBRARY_PATH", library);
    command.arg("--x509certfile").arg(lab.folder.path().join("cert.pem"));
    command.arg("--x509keyfile").arg(lab.folder.path().join("key.pem"));
    let launch = Launch::new("gnutls-serv", command, lab.folder.path().join("gnutls-serv.log"));
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(port.address()).unwrap();
    process
}
