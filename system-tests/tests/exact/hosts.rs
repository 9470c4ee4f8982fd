//! Servers that no agent observes are called as their clients came to them: by the name that DNS had answered with their address, or that the handshake named.
//! Where a client knows an address by two names, or by none, it is the address.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

use headwater_process::{Child, Launch};
use headwater_schemas::records::{ADDRESS, HOST, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_window};
use headwater_system_tests::topics;

use crate::dns::{WITH_RESOLVER, dnsmasq_with, resolv_conf};
use crate::tls::certify;

/// Of each kind.
const REQUESTS: i64 = 20;

/// Asks by a name, by an alias of another name, by one of two names of one address, by an address, and over TLS by an address with a name in the handshake.
const CLIENT: &str = r#"
import http.client, socket, ssl, sys
number, outside, aliased, shared, bare, (encrypted, tls_port) = int(sys.argv[1]), *sys.argv[2:6], sys.argv[6].split(":")
def ask(host, port):
    for _ in range(number):
        connection = http.client.HTTPConnection(host, port)
        connection.request("GET", "/ok/1")
        assert connection.getresponse().read() == b"ok\n"
        connection.close()
ask("outside.oracle.example", outside)
ask("alias.oracle.example", aliased)
socket.getaddrinfo("a.oracle.example", shared)
ask("b.oracle.example", shared)
ask("127.0.0.1", bare)
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for _ in range(number):
    with socket.create_connection((encrypted, int(tls_port))) as plain:
        with context.wrap_socket(plain, server_hostname="Named.oracle.example") as stream:
            stream.sendall(b"x")
            assert stream.recv(1) == b"x"
print("done")
"#;

/// Says back what it is told.
const ECHO: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
listener = socket.create_server(("127.0.0.1", 0))
print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    plain, _ = listener.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as stream: stream.sendall(stream.recv(1))
    except OSError: pass
"#;

#[test]
fn servers_that_no_agent_observes_are_called_as_their_clients_came_to_them() {
    called_as_their_clients_came_to_them("");
}

#[test]
fn servers_are_called_likewise_where_dns_is_asked_over_tcp() {
    called_as_their_clients_came_to_them("options use-vc");
}

/// With these options of the resolver.
fn called_as_their_clients_came_to_them(options: &str) {
    let lab = Lab::start().unwrap();
    let [outside, aliased, shared] = [11, 12, 13].map(|last| format!("127.54.0.{last}"));
    let (_dnsmasq, resolver) = dnsmasq_with(
        &lab,
        &[
            format!("--host-record=outside.oracle.example,{outside}"),
            format!("--host-record=target.oracle.example,{aliased}"),
            "--cname=alias.oracle.example,target.oracle.example".to_owned(),
            format!("--host-record=a.oracle.example,{shared}"),
            format!("--host-record=b.oracle.example,{shared}"),
        ],
    );
    let servers = [&*outside, &aliased, &shared, "127.0.0.1"].map(|address| unobserved(&lab, address));
    let mut python = Command::new("/usr/bin/python3");
    certify(lab.folder.path());
    python.args(["-c", ECHO]).arg(lab.folder.path());
    let echo = started(Launch::new("echo", python, lab.folder.path().join("echo.log")));
    let mut agent = lab.agent().unwrap();
    let _processors = lab.processor("all").unwrap();
    wait_for_window(10_000_000).unwrap();

    let resolv = resolv_conf(&lab, resolver, options);
    let ports = servers.each_ref().map(|(_, address)| address.port().to_string());
    let encrypted = echo.1.to_string();
    let mut arguments = vec!["--mount", "sh", "-c", WITH_RESOLVER, &resolv, CLIENT];
    let number = REQUESTS.to_string();
    arguments.push(&number);
    arguments.extend(ports.iter().map(String::as_str));
    arguments.push(&encrypted);
    assert_eq!(lab.run("/usr/bin/unshare", &arguments).unwrap(), "done");

    let [outside_port, aliased_port, shared_port, bare_port] = &ports;
    let expected: BTreeMap<(String, String), i64> = [
        (HOST, format!("outside.oracle.example:{outside_port}")),
        (HOST, format!("alias.oracle.example:{aliased_port}")),
        (ADDRESS, format!("{shared}:{shared_port}")),
        (ADDRESS, format!("127.0.0.1:{bare_port}")),
        (HOST, format!("named.oracle.example:{}", echo.1.port())),
    ]
    .map(|(kind, name)| ((kind.to_owned(), name), REQUESTS))
    .into();
    let opened = || {
        let mut opened: BTreeMap<(String, String), i64> = BTreeMap::new();
        for edge in topics::edges(&lab.settings).unwrap_or_default() {
            if edge.protocol != "dns" && edge.client.name == "python3" {
                *opened.entry((edge.server.kind, edge.server.name)).or_default() += edge.connections_opened;
            }
        }
        opened
    };
    let in_all = || opened().values().sum::<i64>();
    wait_for("all connections in the edges", || Ok(in_all() >= 5 * REQUESTS)).unwrap();
    assert_eq!(opened(), expected);
    stop(&mut agent).unwrap();

    let mut names = BTreeSet::new();
    topics::each_request(&lab.settings, |request| {
        if request.protocol == "http" {
            assert_eq!(request.side, Side::Client);
            names.insert((request.remote_name.to_owned(), request.remote_address.to_owned()));
        }
    })
    .unwrap();
    let named =
        [("outside.oracle.example", &*outside), ("alias.oracle.example", &aliased), ("", &shared), ("", "127.0.0.1")];
    assert_eq!(names, named.map(|(name, address)| (name.to_owned(), address.to_owned())).into());
}

/// A server beside what is observed.
fn unobserved(lab: &Lab, address: &str) -> (Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-server"));
    command.arg(format!("{address}:0"));
    started(Launch::new("unobserved", command, lab.folder.path().join(format!("{address}.log"))))
}

/// With the address that it prints.
fn started(launch: Launch) -> (Child, SocketAddr) {
    let mut process = launch.piping_stdout().spawn().unwrap();
    let address = process.first_line().unwrap().parse().unwrap();
    (process, address)
}
