//! Requests over TLS, of curl and Python to nginx, all with OpenSSL 3, on connections old and new, beside others in clear text in the same processes: both sides tell of
//! each, exactly and once, by the same name, and on its own connection; by an agent that comes in the middle, and by one that comes again.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics::{self, SeenRequest};

use crate::tls::{certify, seen};

/// Of requests on each of the kept connections, in each phase.
const ROUNDS: &str = "250";
/// Another number of them, for machines that are emulated.
const ROUNDS_VARIABLE: &str = "TLS_ROUNDS";

/// Paths by the port that was asked, of each phase.
pub type Asked = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[test]
fn requests_over_tls_are_seen_exactly_beside_those_in_clear_text() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let [tls, plain] = [(); 2].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &library, &tls, &plain);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls_mixed.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(folder).args([&tls, &plain].map(|port| port.number().to_string()));
    command.arg(std::env::var(ROUNDS_VARIABLE).unwrap_or_else(|_| ROUNDS.to_owned()));
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

    judge(&topics::requests(&lab.settings).unwrap(), &asked, &["middle", "again"]);
    // What is spoken, and that it is encrypted, also where the handshake was before the agent.
    for (_, flow) in seen(&lab, &[&tls]) {
        let words = [&flow["protocol"], &flow["encryption"]].map(|word| word.as_str().unwrap().to_owned());
        assert!(["http", "http2"].contains(&&*words[0]) && words[1].starts_with("tls"), "{flow}");
    }
    nothing_told(&lab, "not-to-be-told");
    let agents = topics::agents(&lab.settings).unwrap();
    for last in agents.iter().filter(|agent| agent.is_final) {
        println!("{}", topics::losses(last));
        println!("counted {:?}", last.counters.iter().filter(|(name, _)| name.contains("tls")).collect::<Vec<_>>());
        let dropped: i64 =
            last.dropped.iter().filter(|(name, _)| name.starts_with("requests/")).map(|(_, count)| *count).sum();
        assert_eq!(last.counters["probe_tls_unknown"], 0);
        assert_eq!(dropped, 0, "{:?}", last.dropped);
    }
}

/// Counts right, missing, doubled and wrong apart.
pub fn judge(seen: &[SeenRequest], asked: &Asked, phases: &[&str]) {
    let mut by_name: HashMap<(&str, Side), Vec<&SeenRequest>> = HashMap::new();
    for request in seen {
        by_name.entry((&request.path, request.side)).or_default().push(request);
    }
    let (mut right, mut missing, mut doubled, mut wrong) = (0, Vec::new(), Vec::new(), Vec::new());
    let mut names = 0;
    for (port, paths) in phases.iter().flat_map(|phase| &asked[*phase]) {
        for path in paths {
            let told = [Side::Client, Side::Server].map(|side| by_name.get(&(path.as_str(), side)));
            let [Some(client), Some(server)] = told else {
                missing.push((path, told.map(|told| told.is_some())));
                continue;
            };
            names += 2;
            let ([client], [server]) = (&client[..], &server[..]) else {
                doubled.push(path);
                continue;
            };
            let is_right = (&client.connection_id, client.position) == (&server.connection_id, server.position)
                && client.remote == format!("127.0.0.1 {port}")
                && server.local == client.remote
                && server.remote == client.local
                && (client.status, client.failure.is_none(), client.request_bytes, client.response_bytes)
                    == (server.status, server.failure.is_none(), server.request_bytes, server.response_bytes)
                && client.status == 200;
            if is_right {
                right += 1;
            } else {
                wrong.push((client, server));
            }
        }
    }
    println!("{right} right, {} missing, {} doubled, {} wrong", missing.len(), doubled.len(), wrong.len());
    missing.iter().take(10).for_each(|missing| println!("  missing {missing:?}"));
    wrong.iter().take(5).for_each(|wrong| println!("  wrong {wrong:?}"));
    assert_eq!((missing.len(), doubled.len(), wrong.len()), (0, 0, 0));
    assert_eq!(seen.len(), names, "records of no request of the plan");
}

/// Heads of messages are read, and what they hold of credentials and bodies stands in no topic and no log.
pub fn nothing_told(lab: &Lab, secret: &str) {
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    for topic in [Topic::Requests, Topic::Flows, Topic::Agents] {
        let mut looked_at = 0;
        topics::each(&lab.settings, topic, |_, value| {
            assert!(!holds(value), "a record of {topic:?}");
            looked_at += 1;
            Ok(())
        })
        .unwrap();
        assert!(looked_at > 0);
    }
    let logs = fs::read_dir(lab.folder.path()).unwrap().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.to_string_lossy().ends_with("agent.log")) {
        assert!(!holds(&fs::read(&log).unwrap()), "{}", log.display());
    }
}

pub fn phase(clients: &mut Child, folder: &Path, name: &str) {
    fs::write(folder.join(format!("go-{name}")), "").unwrap();
    wait_for_file(clients, folder, &format!("done-{name}"));
}

pub fn wait_for_file(clients: &mut Child, folder: &Path, name: &str) {
    let is_there = || Ok(folder.join(name).exists() || !clients.is_running());
    wait_for(name, is_there).unwrap();
    assert!(folder.join(name).exists(), "{}", clients.log_text());
}

/// A folder with copies of the libraries, so that no probe is in those of other programs: curl maps GnuTLS's, too.
pub fn own_library(folder: &Path) -> PathBuf {
    let library = folder.join("library");
    fs::create_dir_all(&library).unwrap();
    for name in ["libssl.so.3", "libgnutls.so.30"] {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
        let path = folders.map(|folder| Path::new(folder).join(name)).into_iter().find(|path| path.exists()).unwrap();
        fs::copy(path, library.join(name)).unwrap();
    }
    library
}

/// Starts nginx in the cgroup with TLS and HTTP/2 on one port and clear text on the other.
pub fn nginx(lab: &Lab, library: &Path, tls: &Port, plain: &Port) -> Child {
    let folder = lab.folder.path().join("nginx-tls");
    fs::create_dir_all(&folder).unwrap();
    let (at, certificates) = (folder.display(), lab.folder.path().display());
    let config = format!(
        "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000; keepalive_timeout 300s;\n\
         client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen {} ssl http2; listen {}; default_type text/plain;\n\
         ssl_certificate {certificates}/cert.pem; ssl_certificate_key {certificates}/key.pem;\n\
         ssl_protocols TLSv1.2 TLSv1.3;\n\
         location /ok/ {{ return 200 \"ok\\n\"; }} }} }}\n",
        tls.address(),
        plain.address()
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-p").arg(&folder).env("LD_LIBRARY_PATH", library);
    let launch = Launch::new("nginx", command, folder.join("output.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(tls.address()).unwrap();
    process
}
