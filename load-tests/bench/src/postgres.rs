//! PostgreSQL under `pgbench -S`: one SELECT by primary key after the other.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, Port, Scratch, User};

use crate::ground::Ground;
use crate::load::{Speed, output};

const PATIENCE: Duration = Duration::from_secs(120);
const CLIENTS: &str = "8";

pub struct Postgres {
    programs: PathBuf,
    port: Port,
    _process: Child,
    _folder: Scratch,
}

impl Postgres {
    /// As `nobody`, since PostgreSQL refuses root. Its tables are pgbench's, with 100,000 accounts.
    pub fn start(ground: &Ground) -> Result<Postgres> {
        let programs = programs()?;
        let folder = Scratch::create("headwater-bench-postgres-", 0o755)?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let user = User::nobody();
        if let Some(user) = user {
            user.take_over(&data)?;
        }
        let launch = |name: &str, mut command: Command| {
            command.current_dir(&data);
            let launch = Launch::new(name, command, folder.path().join(format!("{name}.log"))).ending_softly();
            match user {
                Some(user) => launch.as_user(user),
                None => launch,
            }
        };
        let mut init = Command::new(programs.join("initdb"));
        init.arg("-D").arg(&data).args(["-U", "bench", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
        launch("initdb", init).spawn()?.await_success(PATIENCE)?;
        let port = Port::free()?;
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.number().to_string(), "-k", ""]);
        server.args(["-c", "fsync=off", "-c", "shared_buffers=64MB", "-c", "jit=off"]);
        let mut process =
            launch("postgres", server).stopped_by(libc::SIGINT).in_cgroup(ground.load_cgroup()).spawn()?;
        process.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok())?;
        let postgres = Postgres { programs, port, _process: process, _folder: folder };
        let mut fill = postgres.pgbench();
        fill.args(["--initialize", "--quiet", "--scale", "1"]);
        output(ground, "pgbench", fill)?;
        Ok(postgres)
    }

    /// Asks for some seconds.
    pub fn load(&self, ground: &Ground, seconds: u32) -> Result<Speed> {
        let mut command = self.pgbench();
        command.args(["-S", "-n", "-j", "1", "-c", CLIENTS, "-T", &seconds.to_string()]);
        let text = output(ground, "pgbench", command)?;
        let number = |before: &str| -> Result<f64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(before));
            let word = rest.and_then(|rest| rest.split(['/', ' ']).find(|word| !word.is_empty()));
            word.and_then(|word| word.parse().ok()).with_context(|| format!("pgbench printed no \"{before}\": {text}"))
        };
        Ok(Speed {
            requests: number("number of transactions actually processed:")?,
            requests_per_second: number("tps =")?,
            p99_us: None,
        })
    }

    fn pgbench(&self) -> Command {
        let mut command = Command::new(self.programs.join("pgbench"));
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.number().to_string(), "-U", "bench"])
            .env("PGDATABASE", "postgres");
        command
    }
}

/// Debian keeps the server's programs in a folder for each version; elsewhere they are on the path.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let has_all = |folder: &Path| ["initdb", "postgres", "pgbench"].iter().all(|name| folder.join(name).exists());
    folders.into_iter().rev().find(|folder| has_all(folder)).context("PostgreSQL is needed: apt-get install postgresql")
}
