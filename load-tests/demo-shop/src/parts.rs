//! Each program of the shop: how it is started, when it is ready, and how it is stopped.
//!
//! In: where things are ([`Site`]). Out: running [`Part`]s and the addresses that they listen on. All readiness is
//! learned from log lines and Unix sockets, so that no TCP connection appears which is not part of the shop. Bounds:
//! every wait has a deadline, and ends early with the last lines of the log if the program ends.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::database::{DATABASE, ROLE};
use crate::fault::Service;
use crate::load::LoadOptions;
use crate::ports;
use crate::programs::{Programs, User};
use crate::service::READY;
use crate::spawn::{Launch, Spawner};

const READY_PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const LOG_TAIL_LINES: usize = 10;

/// What starting a part needs to know.
pub struct Site {
    pub programs: Programs,
    pub spawner: Spawner,
    /// The folder of this shop.
    pub dir: PathBuf,
    /// Runs nginx, Redis and PostgreSQL.
    pub user: Option<User>,
}

impl Site {
    /// PostgreSQL, over TCP for the services and over a Unix socket for us.
    pub fn start_postgres(&self) -> Result<(Part, SocketAddr)> {
        let dir = self.own_folder("postgres")?;
        let data = dir.join("data");
        let mut init = self.launch(&self.programs.initdb, "initdb", dir.clone(), libc::SIGTERM);
        init.args =
            args(["-D", path(&data)?, "-U", ROLE, "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
        let mut init = Part::start(&self.spawner, "initdb", &init)?;
        init.wait_success(Duration::from_secs(120))?;

        let address = free_address()?;
        let mut server = self.launch(&self.programs.postgres, "postgres", dir.clone(), libc::SIGINT);
        server.args =
            args(["-D", path(&data)?, "-h", "127.0.0.1", "-p", &address.port().to_string(), "-k", path(&dir)?]);
        // A demo may lose its data in a crash, and must leave the machine to what it demonstrates.
        for setting in ["fsync=off", "synchronous_commit=off", "shared_buffers=32MB", "max_connections=40", "jit=off"] {
            server.args.extend(args(["-c", setting]));
        }
        let mut part = Part::start(&self.spawner, "postgres", &server)?;
        part.wait_ready(|_| {
            let mut ask = Command::new(&self.programs.pg_isready);
            ask.args(["-q", "-d", DATABASE, "-U", ROLE, "-p", &address.port().to_string(), "-h"]).arg(&dir);
            Ok(ask.status().context("running pg_isready")?.success().then_some(()))
        })?;
        Ok((part, address))
    }

    pub fn start_redis(&self) -> Result<(Part, SocketAddr)> {
        let dir = self.own_folder("redis")?;
        let address = free_address()?;
        let socket = dir.join("ready.sock");
        let mut server = self.launch(&self.programs.redis_server, "redis-server", dir, libc::SIGTERM);
        server.args = args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--daemonize", "no"]);
        server.args.extend(args(["--save", "", "--appendonly", "no", "--maxmemory", "64mb"]));
        server.args.extend(args(["--unixsocket", path(&socket)?]));
        let mut part = Part::start(&self.spawner, "redis-server", &server)?;
        part.wait_ready(|_| Ok(answers(&socket, "PING\r\n", "+PONG").then_some(())))?;
        Ok((part, address))
    }

    /// One of our services, with its own flags beside the common ones. It picks its port and tells it.
    pub fn start_service(&self, service: Service, peers: &[(&str, SocketAddr)]) -> Result<(Part, SocketAddr)> {
        let program = match service {
            Service::Catalog => &self.programs.catalog,
            Service::Orders => &self.programs.orders,
            Service::Payments => &self.programs.payments,
            Service::Shipping => &self.programs.shipping,
        };
        let mut launch = self.launch(program, service.program(), self.dir.clone(), libc::SIGTERM);
        launch.user = None;
        launch.args = args(["--fault-socket", path(&service.fault_socket(&self.dir))?]);
        for (flag, address) in peers {
            launch.args.extend(args([*flag, &address.to_string()]));
        }
        let mut part = Part::start(&self.spawner, service.program(), &launch)?;
        let ready = part.wait_ready(Part::ready_line)?;
        let address =
            ready.parse().with_context(|| format!("reading the address of {service} from its line `{ready}`"))?;
        Ok((part, address))
    }

    /// The gateway. Its master process starts workers of the same name, which do all the talking.
    pub fn start_nginx(
        &self,
        catalog: SocketAddr,
        orders: SocketAddr,
        shipping: SocketAddr,
    ) -> Result<(Part, SocketAddr)> {
        let dir = self.own_folder("nginx")?;
        let address = free_address()?;
        let config = include_str!("../config/nginx.conf")
            .replace("{{dir}}", path(&dir)?)
            .replace("{{listen}}", &address.to_string())
            .replace("{{catalog}}", &catalog.to_string())
            .replace("{{orders}}", &orders.to_string())
            .replace("{{shipping}}", &shipping.to_string());
        let config_file = dir.join("nginx.conf");
        fs::write(&config_file, config).with_context(|| format!("writing {}", config_file.display()))?;
        let socket = dir.join("ready.sock");
        let mut server = self.launch(&self.programs.nginx, "nginx", dir.clone(), libc::SIGTERM);
        // Without -e it first tries the machine's own error log, which is not ours to open.
        server.args = args(["-p", path(&dir)?, "-c", path(&config_file)?, "-e", "stderr"]);
        let mut part = Part::start(&self.spawner, "nginx", &server)?;
        part.wait_ready(|_| Ok(answers(&socket, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 204").then_some(())))?;
        Ok((part, address))
    }

    /// A load generator whose output goes to the log `log_name`.
    pub fn start_load(&self, gateway: SocketAddr, load: &LoadOptions, log_name: &str) -> Result<Part> {
        let mut launch = self.launch(&self.programs.load, log_name, self.dir.clone(), libc::SIGTERM);
        launch.user = None;
        launch.args = args(["--gateway", &gateway.to_string()]);
        launch.args.extend(args(["--rate", &load.rate.to_string(), "--seed", &load.seed.to_string()]));
        if let Some(requests) = load.requests {
            launch.args.extend(args(["--requests", &requests.to_string()]));
        }
        if let Some(duration) = load.duration {
            launch.args.extend(args(["--duration", &duration.as_secs().max(1).to_string()]));
        }
        if let Some(report) = &load.report {
            // The child has another working directory.
            let report = std::path::absolute(report).with_context(|| format!("resolving {}", report.display()))?;
            launch.args.extend(["--report".into(), report.into_os_string()]);
        }
        Part::start(&self.spawner, "shop-load", &launch)
    }

    fn launch(&self, program: &Path, log_name: &str, dir: PathBuf, stop_signal: libc::c_int) -> Launch {
        let log = self.dir.join(format!("{log_name}.log"));
        Launch { program: program.to_owned(), args: Vec::new(), dir, log, user: self.user.clone(), stop_signal }
    }

    /// A folder in the shop's that belongs to the unprivileged user.
    fn own_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        if let Some(user) = &self.user {
            chown(&folder, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} to the user {}", folder.display(), user.name))?;
        }
        Ok(folder)
    }
}

/// A running program of the shop.
pub struct Part {
    pub name: &'static str,
    pub log: PathBuf,
    child: Child,
    stop_signal: libc::c_int,
}

impl Part {
    fn start(spawner: &Spawner, name: &'static str, launch: &Launch) -> Result<Self> {
        let child = spawner.spawn(launch)?;
        Ok(Self { name, log: launch.log.clone(), child, stop_signal: launch.stop_signal })
    }

    /// Fails with the end of its log if the program has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}). {}", self.name, log_tail(&self.log)),
        }
    }

    /// The rest of the line by which a program of ours says that it is ready.
    pub fn ready_line(&self) -> Result<Option<String>> {
        let log = fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        // A line without its end may not be complete yet.
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        Ok(lines.filter_map(|line| line.strip_prefix(READY)).next().map(|rest| rest.trim().to_owned()))
    }

    /// Asks `probe` until it has an answer.
    pub fn wait_ready<T>(&mut self, probe: impl Fn(&Self) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            if let Some(answer) = probe(self)? {
                return Ok(answer);
            }
            self.check()?;
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {READY_PATIENCE:?}. {}",
                self.name,
                log_tail(&self.log)
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the program ends by itself, and for its success.
    pub fn wait_success(&mut self, patience: Duration) -> Result<()> {
        let Some(status) = self.wait_exit(patience)? else {
            bail!("{} has not ended after {patience:?}. {}", self.name, log_tail(&self.log));
        };
        ensure!(status.success(), "{} failed ({status}). {}", self.name, log_tail(&self.log));
        Ok(())
    }

    /// Asks the program to end, and kills it if it has not after `patience`.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        // SAFETY: kill takes plain integers. The child was not waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, self.stop_signal) };
        if self.wait_exit(patience)?.is_none() {
            self.child.kill().with_context(|| format!("killing {}", self.name))?;
            self.child.wait().with_context(|| format!("waiting for the end of {}", self.name))?;
        }
        Ok(())
    }

    fn wait_exit(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.exit_status()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking whether {} has ended", self.name))
    }
}

/// A part that nobody stopped, after an error for example, does not stay behind.
impl Drop for Part {
    fn drop(&mut self) {
        // Nothing can be reported from here; the cgroup's removal kills what is left.
        let _ = self.stop(Duration::from_secs(5));
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::reserve()?)))
}

/// Whether a server on a Unix socket answers a question with the expected beginning.
fn answers(socket: &Path, question: &str, expected: &str) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question.as_bytes())?;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer == expected.as_bytes())
}

fn args<const N: usize>(args: [&str; N]) -> Vec<OsString> {
    args.map(OsString::from).into()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))
}

fn log_tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    if tail.is_empty() {
        return format!("Its log {} is empty.", log.display());
    }
    format!("The end of its log {}:\n  {}", log.display(), tail.join("\n  "))
}
