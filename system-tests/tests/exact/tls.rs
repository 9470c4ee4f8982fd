//! Connections over TLS and in clear text, from clients and to a server that many use: both sides' flows say of each what its own client says. Of
//! one that is older than the agent only that it is encrypted is known.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::{Flow, Side};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;
use serde_json::Value;

/// Subject and issuer of the certificate.
const NAME: &str = "/C=SE/O=Example/CN=Root of tests";

#[test]
fn both_sides_tell_what_the_client_itself_says_of_its_encryption() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let [tls, plain, gnutls] = [(); 3].map(|()| Port::free().unwrap());
    let _nginx = nginx(&lab, &tls, &plain);
    let _gnutls = gnutls_serv(&lab, &gnutls);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(folder).args([&tls, &plain, &gnutls].map(|port| port.number().to_string()));
    let launch = Launch::new("clients", command, folder.join("clients.log"));
    let mut clients = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    wait_for("a connection before the agent", || Ok(folder.join("half").exists() || !clients.is_running())).unwrap();
    let mut agent = lab.agent().unwrap();
    fs::write(folder.join("go"), "").unwrap();
    let told = clients.first_line().unwrap();
    assert!(clients.join().unwrap().success(), "{}", clients.log_text());
    stop(&mut agent).unwrap();

    let seen = seen(&lab, &[&tls, &plain, &gnutls]);
    let told: Vec<Value> = serde_json::from_str(&told).unwrap();
    assert_eq!(seen.len(), 2 * told.len());
    for client in &told {
        let [client_port, server_port] = [0, 1].map(|at| client["ports"][at].as_i64().unwrap());
        for side in [Side::Client, Side::Server] {
            let flow = &seen[&(client_port, server_port, side as u8)];
            let encryption = client["encryption"].as_str().unwrap();
            assert_eq!(flow["encryption"], encryption, "{side:?} of {client}: {flow}");
            let protocol = if encryption == "none" { "http" } else { "tls" };
            assert_eq!(flow["protocol"], protocol, "{side:?} of {client}: {flow}");
            check(client, &flow["tls"]);
        }
    }
}

/// Go exchanges keys in a post-quantum group unless it is asked for another one.
#[test]
fn both_sides_tell_whether_keys_stand_against_quantum_computers() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let program = folder.join("go-tls");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls.go");
    let built = Command::new("go").arg("build").arg("-o").arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let port = Port::free().unwrap();
    let mut agent = lab.agent().unwrap();
    let arguments = [&folder.to_string_lossy(), &*port.number().to_string()];
    let told = lab.run(&program.to_string_lossy(), &arguments).unwrap();
    stop(&mut agent).unwrap();
    let (seen, told) = (seen(&lab, &[&port]), serde_json::from_str::<Vec<Value>>(&told).unwrap());
    assert_eq!(seen.len(), 2 * told.len());
    assert!(told.iter().any(|client| client["post_quantum"] == true));
    for client in &told {
        for side in [Side::Client, Side::Server] {
            let flow = &seen[&(client["port"].as_i64().unwrap(), port.number().into(), side as u8)];
            for name in ["key_exchange_group", "post_quantum"] {
                assert_eq!(flow["tls"][name], client[name], "{side:?} of {client}: {flow}");
            }
        }
    }
}

/// What a flow says is what its client said, and nothing that was not there to be seen.
fn check(client: &Value, tls: &Value) {
    match client["client"].as_str().unwrap() {
        "plain" => return assert_eq!(tls, &Value::Null),
        "kept" => {
            let is_known = |value: &Value| !value.is_null() && value != "";
            return assert!(!tls.as_object().unwrap().values().any(is_known), "{tls}");
        }
        _ => {}
    }
    for (name, value) in client.as_object().unwrap() {
        if !["client", "ports", "encryption"].contains(&name.as_str()) {
            assert_eq!(&tls[name], value, "{name} of {client}: {tls}");
        }
    }
    assert_eq!(tls["post_quantum"], false, "{client}: {tls}");
    if client["encryption"] == "tls1.3" {
        for hidden in ["alpn", "certificate_issuer", "certificate_expires_at_us", "mutual"] {
            assert_eq!(tls[hidden], Value::Null, "{hidden} of {client}: {tls}");
        }
    }
}

/// The last flow record of each side of each connection, by the ports of client and server.
pub fn seen(lab: &Lab, servers: &[&Port]) -> BTreeMap<(i64, i64, u8), Value> {
    let servers: Vec<i32> = servers.iter().map(|port| port.number().into()).collect();
    let mut seen = BTreeMap::new();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        let (client, server) = match flow.side {
            Side::Client => (flow.local_port, flow.remote_port),
            Side::Server => (flow.remote_port, flow.local_port),
        };
        if servers.contains(&server) {
            seen.insert((client.into(), server.into(), flow.side as u8), serde_json::to_value(&flow)?);
        }
        Ok(())
    })
    .unwrap();
    seen
}

/// Makes a certificate, which proves who the server is and who a client is.
pub fn certify(folder: &Path) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            NAME,
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Starts nginx in the cgroup with TLS on one port and clear text on the other.
pub fn nginx(lab: &Lab, tls: &Port, plain: &Port) -> Child {
    let folder = lab.folder.path().join("nginx-tls");
    fs::create_dir_all(&folder).unwrap();
    let (at, certificates) = (folder.display(), lab.folder.path().display());
    let (tls_address, plain_address) = (tls.address(), plain.address());
    let config = format!(
        "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen {tls_address} ssl; listen {plain_address}; default_type text/plain;\n\
         ssl_certificate {certificates}/cert.pem; ssl_certificate_key {certificates}/key.pem;\n\
         ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0; ssl_ecdh_curve X25519:P-256:P-384;\n\
         ssl_verify_client optional_no_ca; ssl_session_cache shared:tls:1m;\n\
         location /ok/ {{ return 200 \"ok\\n\"; }} }} }}\n"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-p").arg(&folder);
    let launch = Launch::new("nginx", command, folder.join("output.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(plain.address()).unwrap();
    process
}

/// Starts GnuTLS's own server in the cgroup, which says again what it is told.
fn gnutls_serv(lab: &Lab, port: &Port) -> Child {
    let mut command = Command::new("gnutls-serv");
    command.args(["--echo", "--quiet", "--priority", "NORMAL", "--port", &port.number().to_string()]);
    command.arg("--x509certfile").arg(lab.folder.path().join("cert.pem"));
    command.arg("--x509keyfile").arg(lab.folder.path().join("key.pem"));
    let launch = Launch::new("gnutls-serv", command, lab.folder.path().join("gnutls-serv.log"));
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(port.address()).unwrap();
    process
}
