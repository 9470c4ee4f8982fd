//! Each program of the shop: how it is started, when it is ready, and how it is stopped.
//!
//! In: where things are ([`Site`]). Out: running [`Part`]s. All readiness is
//! learned from log lines, files and the kernel's table of sockets, so that no connection appears which is not part of the shop. Bounds:
//! every wait has a deadline, and ends early with the last lines of the log if the program ends.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, Port};

use crate::database::ROLE;
use crate::events::Broker;
use crate::fault::Service;
use crate::load::LoadOptions;
use crate::programs::{Programs, User};
use crate::service::READY;

const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Between the end of a part and its next start: long enough to be seen on the map. It doubles while a part does not stay.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What starting a part needs to know.
pub struct Site {
    pub programs: Programs,
    /// Holds all that is started; this process's own if there is none.
    pub cgroup: Option<PathBuf>,
    /// The folder of this shop.
    pub dir: PathBuf,
    /// Runs nginx, Redis and PostgreSQL.
    pub user: Option<User>,
    /// Somebody else's, if there is one.
    pub broker: Option<Broker>,
}

impl Site {
    /// PostgreSQL, over TCP alone.
    pub fn start_postgres(&self) -> Result<Part> {
        let dir = self.own_folder("postgres")?;
        let data = dir.join("data");
        let mut init = Command::new(&self.programs.initdb);
        init.args(["-D", path(&data)?, "-U", ROLE, "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
        self.unprivileged("initdb", init, &dir).spawn()?.await_success(Duration::from_secs(120))?;

        let port = Port::free()?;
        let number = port.number().to_string();
        let mut server = Command::new(&self.programs.postgres);
        server.args(["-D", path(&data)?, "-h", "127.0.0.1", "-p", &number, "-k", ""]);
        // A demo may lose its data in a crash, and must leave the machine to what it demonstrates.
        for setting in ["fsync=off", "synchronous_commit=off", "shared_buffers=32MB", "max_connections=40", "jit=off"] {
            server.args(["-c", setting]);
        }
        let launch = self.unprivileged("postgres", server, &dir).stopped_by(libc::SIGINT);
        let mut part = Part::start(launch, Some(port))?;
        let state = data.join("postmaster.pid");
        part.await_ready(|| {
            // Its eighth line is for pg_ctl, which waits for it (src/include/utils/pidfile.h).
            let text = fs::read_to_string(&state).unwrap_or_default();
            Ok((text.lines().nth(7).map(str::trim) == Some("ready")).then_some(()))
        })?;
        Ok(part)
    }

    pub fn start_redis(&self) -> Result<Part> {
        let dir = self.own_folder("redis")?;
        let port = Port::free()?;
        let socket = self.queue();
        let mut server = Command::new(&self.programs.redis_server);
        server.args(["--bind", "127.0.0.1", "--port", &port.number().to_string(), "--daemonize", "no"]);
        server.args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxmemory",
            "64mb",
            "--unixsocket",
            path(&socket)?,
            "--unixsocketperm",
            "777",
        ]);
        let address = port.address();
        let mut part = Part::start(self.unprivileged("redis-server", server, &dir), Some(port))?;
        part.await_ready(|| Ok((listens(address) && socket.exists()).then_some(())))?;
        Ok(part)
    }

    /// The Unix socket at which Redis listens, beside its port.
    pub fn queue(&self) -> PathBuf {
        self.dir.join("redis").join("queue.sock")
    }

    /// One of our services, with its own flags beside the common ones. It picks its port and tells it.
    pub fn start_service(&self, service: Service, peers: &[(&str, SocketAddr)]) -> Result<(Part, SocketAddr)> {
        let certificate = self.certificate();
        let program = match service {
            Service::Bank => &self.programs.bank,
            Service::Catalog => &self.programs.catalog,
            Service::Orders => &self.programs.orders,
            Service::Payments => &self.programs.payments,
            Service::Shipping => &self.programs.shipping,
        };
        let mut command = Command::new(program);
        command.args(["--fault-socket", path(&service.fault_socket(&self.dir))?]);
        for (flag, address) in peers {
            command.args([*flag, &address.to_string()]);
        }
        match service {
            Service::Orders | Service::Shipping => drop(command.arg("--queue").arg(self.queue())),
            Service::Bank => drop(command.arg("--certificate").arg(certificate)),
            Service::Payments => drop(command.arg("--bank-certificate").arg(certificate)),
            _ => {}
        }
        if let (Service::Orders | Service::Catalog, Some(broker)) = (service, &self.broker) {
            command.envs(broker.variables());
        }
        let mut part = Part::start(self.launch(service.program(), service.program(), command, &self.dir), None)?;
        let ready = part.await_ready_line()?;
        let address: SocketAddr =
            ready.parse().with_context(|| format!("reading the address of {service} from its line `{ready}`"))?;
        // Its peers know this address: it is to be there again after a restart.
        part.launch = part.launch.with_args(["--listen", &address.to_string()]);
        Ok((part, address))
    }

    /// What the bank shows and payments trusts, once it is made.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("bank.pem")
    }

    /// The gateway. Its master process starts workers of the same name, which do all the talking.
    pub fn start_nginx(&self, catalog: SocketAddr, orders: SocketAddr, shipping: SocketAddr) -> Result<Part> {
        let dir = self.own_folder("nginx")?;
        let port = Port::free()?;
        let config = include_str!("../config/nginx.conf")
            .replace("{{dir}}", path(&dir)?)
            .replace("{{listen}}", &port.address().to_string())
            .replace("{{catalog}}", &catalog.to_string())
            .replace("{{orders}}", &orders.to_string())
            .replace("{{shipping}}", &shipping.to_string());
        let config_file = dir.join("nginx.conf");
        fs::write(&config_file, config).with_context(|| format!("writing {}", config_file.display()))?;
        let address = port.address();
        let mut server = Command::new(&self.programs.nginx);
        // Without -e it first tries the machine's own error log, which is not ours to open.
        server.args(["-p", path(&dir)?, "-c", path(&config_file)?, "-e", "stderr"]);
        let mut part = Part::start(self.unprivileged("nginx", server, &dir), Some(port))?;
        part.await_ready(|| Ok(listens(address).then_some(())))?;
        Ok(part)
    }

    /// A load generator whose output goes to the log `log_name`.
    pub fn start_load(&self, gateway: SocketAddr, load: &LoadOptions, log_name: &str) -> Result<Part> {
        let mut command = Command::new(&self.programs.load);
        command.args(["--gateway", &gateway.to_string()]);
        command.args(["--rate", &load.rate.to_string(), "--seed", &load.seed.to_string()]);
        if let Some(requests) = load.requests {
            command.args(["--requests", &requests.to_string()]);
        }
        if let Some(duration) = load.duration {
            command.args(["--duration", &duration.as_secs().max(1).to_string()]);
        }
        if let Some(report) = &load.report {
            // The child has another working directory.
            let report = std::path::absolute(report).with_context(|| format!("resolving {}", report.display()))?;
            command.arg("--report").arg(report);
        }
        Part::start(self.launch("shop-load", log_name, command, &self.dir), None)
    }

    /// A program of the distribution's, in a folder that its user can enter.
    fn unprivileged(&self, name: &str, command: Command, dir: &Path) -> Launch {
        let launch = self.launch(name, name, command, dir);
        match &self.user {
            Some(user) => launch.as_user(headwater_process::User { uid: user.uid, gid: user.gid }),
            None => launch,
        }
    }

    /// Every program of the shop is in its cgroup, and stops softly: nginx and PostgreSQL end processes of their own.
    fn launch(&self, name: &str, log_name: &str, mut command: Command, dir: &Path) -> Launch {
        command.current_dir(dir);
        let launch = Launch::new(name, command, self.dir.join(format!("{log_name}.log"))).ending_softly();
        match &self.cgroup {
            Some(cgroup) => launch.in_cgroup(cgroup),
            None => launch,
        }
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
    pub child: Child,
    launch: Launch,
    started_at: Instant,
    /// Set while it is down.
    start_again_at: Option<Instant>,
    /// How long it was down the last time.
    pause: Duration,
    /// Held for a program that cannot choose a port and tell it.
    port: Option<Port>,
}

impl Part {
    fn start(launch: Launch, port: Option<Port>) -> Result<Self> {
        let child = launch.clone().spawn()?;
        Ok(Self { child, launch, started_at: Instant::now(), start_again_at: None, pause: Duration::ZERO, port })
    }

    /// Starts it again some time after it has ended. Returns what is to be told.
    pub fn look_after(&mut self) -> Result<Option<String>> {
        let (now, name) = (Instant::now(), self.child.name().to_owned());
        match self.start_again_at {
            Some(at) if at <= now => {
                self.child = self.launch.clone().spawn()?;
                (self.started_at, self.start_again_at) = (now, None);
                Ok(Some(format!("{name} was started again")))
            }
            Some(_) => Ok(None),
            None => {
                let Some(status) = self.child.ended()? else { return Ok(None) };
                let lived = now.duration_since(self.started_at);
                self.pause = if lived > PAUSE_MAX { PAUSE_MIN } else { (2 * self.pause).clamp(PAUSE_MIN, PAUSE_MAX) };
                self.start_again_at = Some(now + self.pause);
                let again_s = self.pause.as_secs();
                Ok(Some(format!("{name} has ended ({status}) and is started again in {again_s} s")))
            }
        }
    }

    /// Where it listens, if its port is held for it.
    pub fn held_address(&self) -> Result<SocketAddr> {
        self.port.as_ref().map(Port::address).with_context(|| format!("{} has no port", self.child.name()))
    }

    /// The rest of the line by which a program of ours says that it is ready.
    pub fn await_ready_line(&mut self) -> Result<String> {
        let log = self.child.log().to_owned();
        self.await_ready(|| {
            let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
            // A line without its end may not be complete yet.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            Ok(lines.find_map(|line| line.strip_prefix(READY)).map(|rest| rest.trim().to_owned()))
        })
    }

    /// Asks `probe` until it has an answer.
    fn await_ready<T>(&mut self, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        self.child.await_ready(READY_PATIENCE, || probe().transpose())?
    }
}

/// Whether a program of this network namespace listens at an address of IPv4 (proc(5)). What connects from then on waits for it.
fn listens(address: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let SocketAddr::V4(address) = address else { return false };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().map(str::split_whitespace).any(|mut words| {
        // Number, local and remote address, state.
        words.nth(1) == Some(&local) && words.nth(1) == Some(LISTEN)
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))
}
