//! Connections that begin in clear text and go on in TLS, with real programs: both sides' flows say what its handshake said, and what came before.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use headwater_process::{Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use serde_json::Value;

use crate::tls::{certify, nginx, seen};

const CONNECTIONS: usize = 5;
/// Versions, as curl is asked for them and with what both sides then agree on.
const VERSIONS: [(&[&str], &str, &str); 2] = [
    (&["--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"], "tls1.3", "TLS_AES_256_GCM_SHA384"),
    (
        &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        "tls1.2",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
];

#[test]
fn a_tunnel_of_http_tells_what_goes_through_it() {
    let lab = Lab::start().unwrap();
    certify(lab.folder.path());
    let [tls, plain, proxy] = [(); 3].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &tls, &plain);
    let settings = lab.folder.path().join("tinyproxy.conf");
    let text =
        format!("Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nConnectPort {}\n", proxy.number(), tls.number());
    fs::write(&settings, text).unwrap();
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(&settings);
    let launch = Launch::new("tinyproxy", command, lab.folder.path().join("tinyproxy.log"));
    let _tinyproxy = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(proxy.address()).unwrap();

    let mut agent = lab.agent().unwrap();
    let (by, address) = (format!("http://{}", proxy.address()), format!("https://{}/ok/", tls.address()));
    let mut expected = Vec::new();
    for (asked, version, suite) in VERSIONS {
        let curl = [&["-sSk", "-x", &by, "-w", "%{local_port}\n", "-o", "/dev/null", &address], asked].concat();
        for _ in 0..CONNECTIONS {
            let port: i64 = lab.run("curl", &curl).unwrap().parse().unwrap();
            expected.push((port, version, suite));
        }
    }
    stop(&mut agent).unwrap();
    let through = seen(&lab, &[&proxy]);
    assert_eq!(through.len(), 2 * expected.len());
    for (port, version, suite) in &expected {
        for side in [Side::Client, Side::Server] {
            let flow = &through[&(*port, proxy.number().into(), side as u8)];
            let told =
                [&flow["protocol"], &flow["encryption"], &flow["tls"]["cipher_suite"], &flow["tls"]["server_name"]];
            // It asks for an address, so it names no host.
            assert_eq!(told, ["http", version, suite, ""], "{side:?}: {flow}");
        }
    }
    // The proxy's own connections, whose bytes are the same.
    let behind = seen(&lab, &[&tls]);
    assert_eq!(behind.len(), 2 * expected.len());
    for flow in behind.values() {
        assert_eq!(flow["protocol"], "tls", "{flow}");
        assert!(
            VERSIONS.iter().any(|(_, version, suite)| (&flow["encryption"], &flow["tls"]["cipher_suite"])
                == (&Value::from(*version), &Value::from(*suite))),
            "{flow}"
        );
    }
}

#[test]
fn nats_goes_on_in_tls() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let client = folder.join("client");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact/handover.c");
    let compiled = Command::new("cc").arg("-o").arg(&client).arg(source).arg("-lnats").status().unwrap();
    assert!(compiled.success(), "the client compiles");
    let port = Port::free().unwrap();
    let mut command = Command::new("/usr/sbin/nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.number().to_string(), "--tls"]);
    command.arg("--tlscert").arg(folder.join("cert.pem")).arg("--tlskey").arg(folder.join("key.pem"));
    let launch = Launch::new("nats-server", command, folder.join("nats.log")).ending_softly();
    let _server = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(port.address()).unwrap();

    let mut agent = lab.agent().unwrap();
    let ports: Vec<i64> = (0..CONNECTIONS)
        .map(|_| lab.run(&client.to_string_lossy(), &[&port.number().to_string()]).unwrap().parse().unwrap())
        .collect();
    stop(&mut agent).unwrap();
    let seen = seen(&lab, &[&port]);
    for client in ports {
        for side in [Side::Client, Side::Server] {
            let flow = &seen[&(client, port.number().into(), side as u8)];
            let told = [&flow["protocol"], &flow["encryption"], &flow["tls"]["upgraded_from"]];
            assert_eq!(told, ["tls", "tls1.3", "nats"], "{side:?}: {flow}");
            let suite = flow["tls"]["cipher_suite"].as_str().unwrap_or_default();
            assert!(suite.starts_with("TLS_AES_") || suite.starts_with("TLS_CHACHA20_"), "{side:?}: {flow}");
        }
    }
}
