//! Statements to PostgreSQL on connections that begin in clear text and go on in TLS: by libpq, and by asyncpg, where the program moves the bytes between OpenSSL and its socket. Both sides
//! tell of each, exactly and once, by the same name.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_process::{Child, Launch, Port, Scratch, User};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

use crate::tls::certify;
use crate::tls_plaintext::{nothing_told, own_library};

const CONNECTIONS: usize = 3;
const ROUNDS: usize = 60;
const DRIVERS: [&str; 3] = ["libpq", "late", "asyncpg"];

#[test]
fn statements_over_tls_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let folder = lab.folder.path();
    certify(folder);
    let library = own_library(folder);
    let port = Port::free().unwrap();
    let (_server, _data) = server(&lab, &library, &port);
    let mut agent = lab.agent_seeing_tls().unwrap();

    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/tls_postgres.py"));
    command.args([port.number().to_string(), ROUNDS.to_string()]).env("LD_LIBRARY_PATH", &library);
    let launch = Launch::new("clients", command, folder.join("clients.log"));
    let mut clients = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    assert!(clients.join().unwrap().success(), "{}", clients.log_text());
    stop(&mut agent).unwrap();

    let mut told = BTreeMap::<String, Vec<(Side, String, i64)>>::new();
    topics::each_request(&lab.settings, |request| {
        if let Some(mark) = request.operation.split('"').nth(1).filter(|mark| mark.starts_with("mark_")) {
            let place = (request.side, request.connection_id.to_string(), request.request_position);
            told.entry(mark.to_owned()).or_default().push(place);
        }
    })
    .unwrap();
    let agents = topics::agents(&lab.settings).unwrap();
    let last = agents.iter().find(|agent| agent.is_final).unwrap();
    println!("{}", topics::losses(last));
    println!("counted {:?}", last.counters.iter().filter(|(name, _)| name.contains("tls")).collect::<Vec<_>>());
    let (mut right, mut wrong) = (0, Vec::new());
    for (driver, connection, number) in
        DRIVERS.iter().flat_map(|driver| (0..CONNECTIONS).flat_map(move |at| (0..ROUNDS).map(move |n| (driver, at, n))))
    {
        let mark = format!("mark_{driver}_{connection}_{number}");
        match told.get(&mark).map(Vec::as_slice) {
            Some([(one, id, position), (other, other_id, other_position)])
                if one != other && (id, position) == (other_id, other_position) =>
            {
                right += 1;
            }
            other => wrong.push((mark, other.map(<[_]>::to_vec))),
        }
    }
    println!("{right} right, {} missing, doubled or wrong", wrong.len());
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(10)]);
    assert_eq!(told.len(), right);
    assert_eq!(last.counters["probe_tls_carried"], CONNECTIONS as i64);
    nothing_told(&lab, "not-to-be-told");
}

/// Starts PostgreSQL in the cgroup with TLS, as `nobody`, since it refuses root.
fn server(lab: &Lab, library: &Path, port: &Port) -> (Child, Scratch) {
    let programs = programs();
    let folder = Scratch::create("headwater-postgres-", 0o755).unwrap();
    let [data, keys] = ["data", "keys"].map(|name| folder.path().join(name));
    let user = User::nobody();
    for folder in [&data, &keys] {
        fs::create_dir(folder).unwrap();
    }
    for name in ["cert.pem", "key.pem"] {
        fs::copy(lab.folder.path().join(name), keys.join(name)).unwrap();
        fs::set_permissions(keys.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for folder in [&data, &keys] {
        user.map(|user| user.take_over(folder)).transpose().unwrap();
    }
    let run = |name: &str, mut command: Command| {
        command.current_dir(&data).env("LD_LIBRARY_PATH", library);
        let launch = Launch::new(name, command, folder.path().join(format!("{name}.log"))).ending_softly();
        match user {
            Some(user) => launch.as_user(user),
            None => launch,
        }
    };
    let mut init = Command::new(programs.join("initdb"));
    init.arg("-D").arg(&data).args(["-U", "tester", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
    assert!(run("initdb", init).spawn().unwrap().join().unwrap().success());
    let mut server = Command::new(programs.join("postgres"));
    server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.number().to_string(), "-k", ""]);
    let [certificate, key] = ["cert", "key"].map(|name| keys.join(format!("{name}.pem")).display().to_string());
    server.arg("-c").arg("ssl=on").arg("-c").arg(format!("ssl_cert_file={certificate}"));
    server.arg("-c").arg(format!("ssl_key_file={key}"));
    server.args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "jit=off"]);
    let child = run("postgres", server).in_cgroup(lab.cgroup.path()).stopped_by(2).spawn().unwrap();
    wait_for_port(port.address()).unwrap();
    (child, folder)
}

/// Debian keeps each version's in a folder of its own.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter(|path| path.join("bin/postgres").exists()).max_by_key(number);
    newest.map_or_else(|| Path::new("/usr/bin").to_owned(), |path| path.join("bin"))
}
