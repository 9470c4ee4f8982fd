//! Messages of WebSocket through a real proxy: Python's clients ask nginx, which passes all on to Python's server, and that tells more than it was asked. All four ends tell of each
//! message, exactly and once, and both ends of a connection by the same names.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::{Kind, Outcome, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

const CONNECTIONS: usize = 8;
const MESSAGES: usize = 60;
/// More than is copied of what one side says before the other does.
const EXTRA: usize = 2_000;

/// Operation, kind, outcome and code, and how many of them.
type Told = BTreeMap<(String, Kind, Outcome, String), usize>;

#[test]
fn messages_of_websocket_are_seen_exactly_at_all_four_ends() {
    let lab = Lab::start().unwrap();
    let [port, proxy] = [(); 2].map(|()| Port::free().unwrap());
    let _server = python(&lab, &["serve", &port.number().to_string(), &EXTRA.to_string()]);
    wait_for_port(port.address()).unwrap();
    let _proxy = nginx(&lab, &proxy, &port);
    let mut agent = lab.agent().unwrap();
    let numbers = [proxy.number().into(), CONNECTIONS, MESSAGES].map(|number: usize| number.to_string());
    let mut clients = python(&lab, &["ask", &numbers[0], &numbers[1], &numbers[2]]);
    let got = clients.first_line().unwrap();
    assert!(clients.join().unwrap().success(), "{}", clients.log_text());
    stop(&mut agent).unwrap();
    assert_eq!(got, vec![(MESSAGES + EXTRA).to_string(); CONNECTIONS].join(" "));

    let mut ends: BTreeMap<(String, Side, String), (Told, BTreeSet<i64>)> = BTreeMap::new();
    topics::each_request(&lab.settings, |request| {
        let end = (request.path.to_owned(), request.side, request.connection_id.to_owned());
        let (told, positions) = ends.entry(end).or_default();
        let what = (request.operation.to_owned(), request.kind, request.outcome, request.code.to_owned());
        *told.entry(what).or_default() += 1;
        assert!(positions.insert(request.request_position), "{request:?} is told of twice");
    })
    .unwrap();
    let agents = topics::agents(&lab.settings).unwrap();
    let last = agents.iter().find(|agent| agent.is_final).unwrap();
    println!("{}", topics::losses(last));
    let mut wrong = Vec::new();
    for number in 0..CONNECTIONS {
        let path = format!("/ok/chat/{number}");
        let of_path: Vec<_> = ends.iter().filter(|((of, ..), _)| *of == path).collect();
        assert_eq!(of_path.len(), 4, "{path}: {:?}", of_path.iter().map(|(end, _)| end).collect::<Vec<_>>());
        let expected = expected(number);
        for ((_, side, connection), (told, positions)) in &of_path {
            let other =
                of_path.iter().find(|((_, other, id), _)| (id, other) != (connection, side) && id == connection);
            if *told != expected || other.is_none_or(|(_, (_, others))| others != positions) {
                wrong.push(format!("{path} {side:?} {connection}: {told:?}"));
            }
        }
    }
    println!("{} ends, {} of them wrong", ends.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(ends.len(), 4 * CONNECTIONS, "{:?}", ends.keys());
    assert!(last.dropped.is_empty(), "{:?}", last.dropped);
}

fn expected(number: usize) -> Told {
    let of = |operation: &str, kind, outcome, code: &str| {
        (format!("{operation} /ok/chat/{{id}}"), kind, outcome, code.to_owned())
    };
    let end = if number % 2 == 1 { (Outcome::ServerError, "1011") } else { (Outcome::Ok, "1000") };
    Told::from([
        (of("GET", Kind::Call, Outcome::Ok, ""), 1),
        (of("MESSAGE", Kind::OneWay, Outcome::Ok, ""), MESSAGES),
        (of("DELIVER", Kind::OneWay, Outcome::Ok, ""), MESSAGES + EXTRA),
        (of("CLOSE", Kind::OneWay, end.0, end.1), 1),
    ])
}

fn python(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/websocket.py")).args(arguments);
    let launch = Launch::new(arguments[0], command, lab.folder.path().join(format!("{}.log", arguments[0])));
    launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap()
}

/// Starts nginx in the cgroup, which passes connections on.
fn nginx(lab: &Lab, listen: &Port, to: &Port) -> Child {
    let folder = lab.folder.path().join("nginx-proxy");
    fs::create_dir_all(&folder).unwrap();
    let at = folder.display();
    let config = format!(
        "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen {}; location / {{ proxy_pass http://{}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}\n",
        listen.address(),
        to.address()
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-p").arg(&folder);
    let launch = Launch::new("nginx", command, folder.join("output.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(listen.address()).unwrap();
    process
}
