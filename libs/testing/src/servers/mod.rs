//! Servers of a test's own, each on a free port of 127.0.0.1 and without a password. They end with the value.

mod cassandra;
mod ferretdb;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, Port, Scratch, User};

pub use cassandra::cassandra;
pub use ferretdb::ferretdb;

const PATIENCE: Duration = Duration::from_secs(60);

const INNODB: [&str; 3] = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-method=fsync"];

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    port: Port,
    // Its process ends before what it needs, and its folder goes last.
    _process: Child,
    _needed: Option<Child>,
    folder: Scratch,
}

impl Server {
    /// Where it listens.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// A folder that everybody may enter, for files beside its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// MariaDB with an empty database `shop`, where root gets in; in a cgroup, if there is one.
///
/// # Errors
/// If it is not installed, or does not listen in time; the end of its log is told.
pub fn mariadb(cgroup: Option<&Path>) -> Result<Server> {
    let folder = Scratch::create("headwater-mariadb-", 0o755)?;
    let [data, temporary] = ["data", "temporary"].map(|name| folder.path().join(name));
    for folder in [&data, &temporary] {
        std::fs::create_dir(folder)?;
        if let Some(user) = User::nobody() {
            user.take_over(folder)?;
        }
    }
    let launch = |name: &str, mut command: Command| {
        // At its start, it removes the temporary tables of all others that share the folder.
        command.current_dir(&data).env("TMPDIR", &temporary);
        within(Launch::new(name, command, folder.path().join(format!("{name}.log"))).ending_softly(), cgroup)
    };
    let mut init = Command::new("mariadb-install-db");
    init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    init.arg(format!("--datadir={}", data.display())).args(INNODB);
    launch("install", init).spawn()?.await_success(PATIENCE).with_context(|| {
        // What it says at its end is advice; the reason stands before.
        let log = std::fs::read_to_string(folder.path().join("install.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("ERROR")).collect::<Vec<_>>().join("; ")
    })?;
    let port = Port::free()?;
    let mut server = Command::new(in_sbin("mariadbd"));
    server.args(["--no-defaults", "--bind-address=127.0.0.1", "--local-infile=1"]);
    server.arg(format!("--datadir={}", data.display())).arg(format!("--port={}", port.number()));
    server.arg(format!("--socket={}", data.join("socket").display()));
    server.args(INNODB).args([
        "--innodb-flush-log-at-trx-commit=0",
        "--aria-pagecache-buffer-size=8M",
        "--key-buffer-size=8M",
    ]);
    let mut process = launch("mariadbd", server).spawn()?;
    process.await_ready(PATIENCE, || {
        let mut create = mariadb_client("mariadb", port.number());
        let made = create.args(["-e", "CREATE DATABASE IF NOT EXISTS shop"]).output();
        made.is_ok_and(|output| output.status.success()).then_some(())
    })?;
    Ok(Server { port, _process: process, _needed: None, folder })
}

/// One of MariaDB's own programs, which asks the server at this port as root and without encryption.
pub fn mariadb_client(name: &str, port: u16) -> Command {
    let mut client = Command::new(name);
    client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=root", "--skip-ssl"]);
    client.arg(format!("--port={port}")).stdin(Stdio::null());
    client
}

/// Memcached over TCP; in a cgroup, if there is one.
///
/// # Errors
/// If it is not installed, or does not listen in time; the end of its log is told.
pub fn memcached(cgroup: Option<&Path>) -> Result<Server> {
    let folder = Scratch::create("headwater-memcached-", 0o755)?;
    let port = Port::free()?;
    let mut command = Command::new("memcached");
    command.args(["-l", "127.0.0.1", "-m", "16", "-t", "1", "-U", "0", "-p", &port.number().to_string()]);
    let mut process = within(Launch::new("memcached", command, folder.path().join("log")), cgroup).spawn()?;
    process.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok())?;
    Ok(Server { port, _process: process, _needed: None, folder })
}

/// RabbitMQ with a virtual host `/`, where `guest` gets in with that as password; in a cgroup, if there is one.
///
/// # Errors
/// If it is not installed, or does not listen in time; the end of its log is told.
pub fn rabbitmq(cgroup: Option<&Path>) -> Result<Server> {
    let folder = Scratch::create("headwater-rabbitmq-", 0o700)?;
    let at = |name: &str| folder.path().join(name);
    let [port, distribution, names_port] = [Port::free()?, Port::free()?, Port::free()?];
    // The registry of names that it would start else, and leave behind.
    let mut names = Command::new("epmd");
    names.args(["-port", &names_port.number().to_string(), "-address", "127.0.0.1"]);
    let mut names = beside(Launch::new("epmd", names, at("epmd.log")), cgroup).spawn()?;
    names.await_ready(PATIENCE, || TcpStream::connect(names_port.address()).ok())?;
    // Without the wrapper in the PATH, which becomes another user; and it replaces the shell that begins it.
    let mut broker = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    broker.env("RUNNING_UNDER_SYSTEMD", "1").env("ERL_EPMD_PORT", names_port.number().to_string());
    broker.env("HOME", folder.path()).env("RABBITMQ_NODENAME", "headwater@localhost");
    broker.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port.number().to_string());
    broker.env("RABBITMQ_DIST_PORT", distribution.number().to_string()).env("RABBITMQ_LOGS", "-");
    broker.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none");
    for (name, file) in [
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "logs"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "no-plugins"),
        ("RABBITMQ_CONF_ENV_FILE", "no-settings"),
    ] {
        broker.env(name, at(file));
    }
    let mut broker = beside(Launch::new("rabbitmq-server", broker, at("log")), cgroup).spawn()?;
    broker.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok())?;
    Ok(Server { port, _process: broker, _needed: Some(names), folder })
}

/// As `nobody`: such servers refuse root, and one that becomes somebody else by itself outlives a test that is killed.
fn within(launch: Launch, cgroup: Option<&Path>) -> Launch {
    let launch = beside(launch, cgroup);
    match User::nobody() {
        Some(user) => launch.as_user(user),
        None => launch,
    }
}

/// As whoever runs the test.
fn beside(launch: Launch, cgroup: Option<&Path>) -> Launch {
    match cgroup {
        Some(cgroup) => launch.in_cgroup(cgroup),
        None => launch,
    }
}

/// Servers stand where only root looks for programs.
fn in_sbin(name: &str) -> PathBuf {
    let path = PathBuf::from("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}
