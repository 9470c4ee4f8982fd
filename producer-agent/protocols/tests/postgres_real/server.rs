//! A PostgreSQL of this test's own, and its clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch, User};
use headwater_protocols::postgres::{Options, Postgres};
use headwater_protocols::{Connection, OrderOptions, Side};

use crate::proxy::{Found, Proxy};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    programs: PathBuf,
    port: u16,
    hidden_calls: usize,
    _child: Option<Child>,
    _folder: Option<Scratch>,
    _port: Option<Port>,
}

impl Server {
    /// As `nobody`, since PostgreSQL refuses root.
    pub fn start() -> Server {
        let programs = programs();
        let folder = Scratch::create("headwater-postgres-", 0o755).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let user = User::nobody();
        if let Some(user) = user {
            user.take_over(&data).unwrap();
        }
        let run = |name: &str, mut command: Command| {
            command.current_dir(&data);
            let launch = Launch::new(name, command, folder.path().join(format!("{name}.log"))).ending_softly();
            match user {
                Some(user) => launch.as_user(user),
                None => launch,
            }
        };
        let mut init = Command::new(programs.join("initdb"));
        init.arg("-D").arg(&data).args(["-U", "tester", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
        run("initdb", init).spawn().unwrap().await_success(PATIENCE).unwrap();
        let port = Port::free().unwrap();
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.number().to_string(), "-k", ""]);
        server.args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "jit=off"]);
        let mut child = run("postgres", server).stopped_by(2).spawn().unwrap();
        let number = port.number().to_string();
        child
            .await_ready(PATIENCE, || {
                let mut ask = Command::new(programs.join("pg_isready"));
                ask.args(["-q", "-h", "127.0.0.1", "-p", &number, "-d", "postgres", "-U", "tester"]);
                ask.status().unwrap().success().then_some(())
            })
            .unwrap();
        Server {
            programs,
            port: port.number(),
            hidden_calls: 0,
            _child: Some(child),
            _folder: Some(folder),
            _port: Some(port),
        }
    }

    /// The same server, of whose connections the parser does not hear for so many calls.
    pub fn hiding_first_calls(&self, calls: usize) -> Server {
        Server {
            programs: self.programs.clone(),
            port: self.port,
            hidden_calls: calls,
            _child: None,
            _folder: None,
            _port: None,
        }
    }

    /// Runs statements one after another; errors stop nothing.
    pub fn psql(&self, script: &str, captured_max: usize) -> Found {
        self.observe(captured_max, |port| {
            let file = script_file(script);
            let mut psql = Command::new(self.programs.join("psql"));
            psql.args(["-X", "-q", "-f"]).arg(file.path().join("script")).args(arguments(port)).arg("postgres");
            run(psql);
        })
    }

    pub fn pgbench(&self, script: &str, mode: &str, clients: usize, transactions: usize, captured_max: usize) -> Found {
        self.observe(captured_max, |port| {
            let file = script_file(script);
            let mut pgbench = Command::new(self.programs.join("pgbench"));
            pgbench.args(["-n", "-M", mode, "-c", &clients.to_string(), "-t", &transactions.to_string(), "-f"]);
            pgbench.arg(file.path().join("script")).args(arguments(port)).arg("postgres");
            run(pgbench);
        })
    }

    /// Runs a script of Python, with Debian's own interpreter, whose first argument says where the server is.
    pub fn python(&self, script: &str, captured_max: usize) -> Found {
        self.observe(captured_max, |port| {
            let mut python = Command::new("/usr/bin/python3");
            python.args(["-c", script, &format!("host=127.0.0.1 port={port} user=tester dbname=postgres")]);
            run(python);
        })
    }

    fn observe(&self, captured_max: usize, ask: impl FnOnce(u16)) -> Found {
        let proxy = Proxy::start(self.port, captured_max, self.hidden_calls, || {
            Box::new(Connection::new(Side::Server, OrderOptions::default(), Postgres::new(Options::default())))
        });
        ask(proxy.port());
        proxy.finish()
    }
}

fn script_file(script: &str) -> Scratch {
    let folder = Scratch::create("headwater-postgres-script-", 0o700).unwrap();
    fs::write(folder.path().join("script"), script).unwrap();
    folder
}

fn arguments(port: u16) -> [String; 6] {
    ["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "tester"].map(str::to_owned)
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Debian keeps them out of PATH, one folder a version: the newest one.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let number =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
    let newest = versions.filter(|path| path.join("bin/postgres").exists()).max_by_key(number);
    newest.map_or_else(|| Path::new("/usr/bin").to_owned(), |path| path.join("bin"))
}
