//! Requests over Go's crypto/tls, of Go to Go, of Go to nginx and of curl to Go, on connections old and new, from many goroutines and from deep stacks that are copied meanwhile, beside others in
//! clear text in the same processes: both sides tell of each, exactly and once, by the same name, and on its own connection. And no program of Go notices probes that come and go.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_probe_loader::types::count;
use headwater_probe_loader::{Event, Options, Probes, TlsFunctions};
use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics::{self, SeenRequest};

use crate::tls::certify;
use crate::tls_plaintext::{Asked, nginx, nothing_told, own_library, phase, wait_for_file};

/// Of requests on each of the kept connections, in each phase; others come in multiples of it.
const ROUNDS: &str = "100";

#[test]
fn requests_of_go_are_seen_exactly_beside_those_in_clear_text() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let [tls, plain, nginx_tls, nginx_plain] = [(); 4].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &library, &nginx_tls, &nginx_plain);
    // Its functions are found in Go's own table.
    let _server = server(&lab, &build(folder, "server", &["-buildmode=pie", "-ldflags", "-s -w"]), &tls, &plain);
    let mut command = command(&build(folder, "client", &[]), "ask", folder);
    command.args([&tls, &plain, &nginx_tls].map(|port| port.number().to_string())).arg(ROUNDS);
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
    let mut dropped = 0;
    for last in agents.iter().filter(|agent| agent.is_final) {
        println!("{}", topics::losses(last));
        println!("counted {:?}", last.counters.iter().filter(|(name, _)| name.contains("tls")).collect::<Vec<_>>());
        dropped +=
            last.dropped.iter().filter(|(name, _)| name.starts_with("requests/")).map(|(_, count)| *count).sum::<i64>();
        assert_eq!(last.counters["tls_libraries_refused"], 0);
        // The two programs of Go and the libraries of curl and nginx.
        assert_eq!(last.counters["tls_libraries"], 4);
    }
    judge(&topics::requests(&lab.settings).unwrap(), &asked, &["middle", "again"], dropped);
    nothing_told(&lab, "not-to-be-told");
}

/// Where a server's requests are among those of both sides.
const SERVER: usize = 1;

/// The first requests of four connections and a few of short ones, on both sides, twice.
const EXCUSED_MAX: i64 = 48;

/// The first requests of one connection, and as many as the client has under way at a time, twice.
const UNRECOGNISED_MAX: i64 = 2 * (5 + 32);

/// Counts right, missing, doubled and wrong apart, on each side. Only the first requests of connections that are older than the agent may be missing, and an answer that is read while its connection
/// is closed; they are counted then. Of a server's HTTP/2 that is older,
/// these are those that were under way until it was recognised.
fn judge(seen: &[SeenRequest], asked: &Asked, phases: &[&str], dropped: i64) {
    let mut by_name: HashMap<(&str, Side), Vec<&SeenRequest>> = HashMap::new();
    for request in seen {
        by_name.entry((&request.path, request.side)).or_default().push(request);
    }
    let (mut right, mut missing, mut excused, mut unrecognised, mut doubled, mut wrong, mut found) =
        (0, Vec::new(), 0, 0, Vec::new(), Vec::new(), 0);
    for (port, path) in phases
        .iter()
        .flat_map(|phase| &asked[*phase])
        .flat_map(|(port, paths)| paths.iter().map(move |path| (port, path)))
    {
        let told =
            [Side::Client, Side::Server].map(|side| by_name.get(&(path.as_str(), side)).map_or(&[][..], |told| told));
        found += told.iter().map(|told| told.len()).sum::<usize>();
        if told.iter().any(|told| told.len() > 1) {
            doubled.push(path);
        }
        for (side, _) in told.iter().enumerate().filter(|(_, told)| told.is_empty()) {
            let is_old_http2 = side == SERVER && (path.contains("/first-http2/") || path.contains("/kept-http2/"));
            if is_old_http2 {
                unrecognised += 1;
            } else if path.contains("/first-") || path.contains("/short/") {
                excused += 1;
            } else {
                missing.push((path, told.map(<[_]>::len)));
            }
        }
        let is_of_port = |request: &&SeenRequest| {
            let server = if request.side == Side::Client { &request.remote } else { &request.local };
            *server == format!("127.0.0.1 {port}") && request.status == 200 && request.failure.is_none()
        };
        let is_alike = match told {
            [[client], [server]] => {
                (&client.connection_id, client.position) == (&server.connection_id, server.position)
                    && (&client.local, &client.remote) == (&server.remote, &server.local)
                    && (client.request_bytes, client.response_bytes) == (server.request_bytes, server.response_bytes)
            }
            _ => true,
        };
        if told.iter().copied().flatten().all(is_of_port) && is_alike {
            right += told.iter().map(|told| told.len()).sum::<usize>();
        } else {
            wrong.push(told);
        }
    }
    println!(
        "sides: {right} right, {} missing, {excused} missing at the ends of a capture or a connection, {unrecognised} of a server's old HTTP/2, {} doubled, {} wrong",
        missing.len(),
        doubled.len(),
        wrong.len()
    );
    let mut kinds: BTreeMap<_, u32> = BTreeMap::new();
    for (path, told) in &missing {
        *kinds.entry((path.rsplit_once('/').unwrap().0, told)).or_default() += 1;
    }
    kinds.iter().for_each(|kind| println!("  missing {kind:?}"));
    wrong.iter().take(5).for_each(|wrong| println!("  wrong {wrong:?}"));
    assert_eq!((missing.len(), doubled.len(), wrong.len()), (0, 0, 0));
    assert_eq!(seen.len(), found, "records of no request of the plan");
    assert!(dropped >= excused, "{dropped} counted, {excused} missing");
    assert!(excused <= EXCUSED_MAX && unrecognised <= UNRECOGNISED_MAX, "{excused}, {unrecognised}");
}

/// Builds the program; `how` says what is special.
fn build(folder: &Path, name: &str, how: &[&str]) -> PathBuf {
    let program = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls_traffic.go");
    let mut command = Command::new("go");
    let built = command.arg("build").args(how).arg("-o").arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn command(program: &Path, mode: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(mode).arg(folder).env("GOMAXPROCS", "2");
    command
}

fn server(lab: &Lab, program: &Path, tls: &Port, plain: &Port) -> Child {
    let mut command = command(program, "serve", lab.folder.path());
    command.args([tls, plain].map(|port| port.number().to_string()));
    let launch = Launch::new("server of Go", command, lab.folder.path().join("server.log"));
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(tls.address()).unwrap();
    process
}

/// Times that the probes come and go in each run, and with `--all`.
const A_FEW: usize = 5;
const A_HUNDRED: usize = 100;

#[test]
fn programs_of_go_do_not_notice_probes_that_come_and_go() {
    come_and_go(A_FEW);
}

#[test]
fn a_hundred_times_probes_come_and_go() {
    come_and_go(A_HUNDRED);
}

/// Attaches the probes to client and server under load, and detaches them, while calls are under way. Neither ends, and no answer is wrong, which the client looks at.
fn come_and_go(times: usize) {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let [tls, plain] = [(); 2].map(|()| Port::free().unwrap());
    let programs = [build(folder, "server", &[]), build(folder, "client", &[])];
    let mut server = server(&lab, &programs[0], &tls, &plain);
    let mut command = command(&programs[1], "load", folder);
    command.args([&tls, &plain].map(|port| port.number().to_string()));
    let launch = Launch::new("client", command, folder.join("client.log"));
    let mut client = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(client.first_line().unwrap(), "ready");

    let options = Options {
        cgroups: vec![lab.cgroup.path().to_owned()],
        pids: Vec::new(),
        ring_bytes: 1 << 24,
        hook: None,
        tls: true,
        unix: false,
        processes_per_second_max: 200,
    };
    let mut probes = Probes::load(&options).unwrap();
    let functions = programs.map(|program| {
        let functions = TlsFunctions::of_program(&File::open(&program).unwrap()).unwrap().unwrap();
        (program, functions)
    });
    let mut told = 0;
    for time in 0..times {
        let attached = functions.each_ref().map(|(program, functions)| probes.attach_tls(program, functions).unwrap());
        // Each time they are at work before they go.
        let mut calls = 0;
        wait_for("calls of crypto/tls", || {
            probes.wait(Duration::from_millis(10));
            probes.drain(Instant::now() + Duration::from_millis(50), |event| {
                calls += u64::from(matches!(event, Event::Plaintext(..)));
            });
            Ok(calls > 50 || !client.is_running() || !server.is_running())
        })
        .unwrap();
        drop(attached);
        told += calls;
        assert!(client.is_running(), "client after {time}: {}", client.log_text());
        assert!(server.is_running(), "server after {time}: {}", server.log_text());
    }
    drop(client.take_stdin());
    let answers: u64 = client.first_line().unwrap().parse().unwrap();
    assert!(client.join().unwrap().success(), "{}", client.log_text());
    println!(
        "{times} times, {told} calls told, {answers} answers, {} calls unknown",
        probes.counts().unwrap()[count::TLS_UNKNOWN as usize]
    );
    assert!(answers > 50 && told > 50);
}
