//! Real processes around a test: servers, client, agent, processors, Kafka, registry. All end with the lab.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::KafkaSettings;
use headwater_stack::shared::Shared;
use headwater_stack::{Stack, StackOptions};

use crate::client::{Outcome, time_of_day_us};
use crate::topics;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of each process's log that a failed test shows.
const LOG_LINES_MAX: usize = 40;

/// What the agent calls this machine.
pub const NODE: &str = "oracle-node";

/// The ground of one test.
pub struct Lab {
    /// Kafka and a registry of this test's own, if it has some; others take the shared ones.
    pub stack: Option<Stack>,
    pub settings: KafkaSettings,
    pub cgroup: Cgroup,
    pub folder: tempfile::TempDir,
}

impl Lab {
    /// With the Kafka and the registry that tests share, under a prefix of its own.
    pub fn start() -> Result<Lab> {
        Ok(Lab { stack: None, settings: shared("lab")?, cgroup: Cgroup::make()?, folder: tempfile::tempdir()? })
    }

    /// With a Kafka and a registry that it may harm.
    pub fn start_own() -> Result<Lab> {
        Lab::around(Stack::start(StackOptions::default())?)
    }

    /// The same with those that the test has started.
    pub fn around(stack: Stack) -> Result<Lab> {
        let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
        Ok(Lab { stack: Some(stack), settings, cgroup: Cgroup::make()?, folder: tempfile::tempdir()? })
    }

    /// The Kafka and the registry that this test may harm.
    ///
    /// # Panics
    /// If they are the shared ones.
    pub fn own_stack(&self) -> &Stack {
        self.stack.as_ref().expect("a test that harms Kafka starts with Lab::start_own")
    }

    /// The same with Kafka and the registry inside of what the agent observes.
    pub fn start_observed() -> Result<Lab> {
        let cgroup = Cgroup::make()?;
        let stack = cgroup.run_inside(|| Ok(Stack::start(StackOptions::default())?))?;
        let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
        Ok(Lab { stack: Some(stack), settings, cgroup, folder: tempfile::tempdir()? })
    }

    /// Starts the agent on this lab's cgroup; it is ready once its heartbeat was read.
    pub fn agent(&self) -> Result<Process> {
        self.agent_with(&self.settings)
    }

    /// The same with settings of its own: several agents may look at the same processes under different prefixes.
    pub fn agent_with(&self, settings: &KafkaSettings) -> Result<Process> {
        let before = topics::agents(settings).map_or(0, |agents| agents.len());
        let agent = self.spawn_agent_with(settings)?;
        wait_for("the agent's heartbeat", || Ok(topics::agents(settings).is_ok_and(|all| all.len() > before)))?;
        Ok(agent)
    }

    /// Starts the agent without waiting.
    pub fn spawn_agent(&self) -> Result<Process> {
        self.spawn_agent_with(&self.settings)
    }

    fn spawn_agent_with(&self, settings: &KafkaSettings) -> Result<Process> {
        let mut command = Command::new(built("headwater-agent")?);
        command
            .args(kafka_arguments(settings))
            .args(["--capture-cgroup", &self.cgroup.path().to_string_lossy(), "--node-name", NODE])
            .args(["--http-paths", "full"]);
        Process::spawn("agent", command, &self.folder.path().join(format!("{}agent.log", settings.prefix)))
    }

    /// Starts a processor.
    pub fn processor(&self, mode: &str) -> Result<Process> {
        self.processor_with(mode, &self.settings)
    }

    /// The same with settings of its own.
    pub fn processor_with(&self, mode: &str, settings: &KafkaSettings) -> Result<Process> {
        let mut command = Command::new(built("headwater-processor")?);
        command.arg(mode).args(kafka_arguments(settings));
        Process::spawn(mode, command, &self.folder.path().join(format!("{}{mode}.log", settings.prefix)))
    }

    /// Starts nginx in the cgroup. `netns` is a network namespace made by the test.
    pub fn nginx(&self, listen: &[String], netns: Option<&str>) -> Result<Process> {
        let folder = self.folder.path().join(format!("nginx-{}", netns.unwrap_or("host")));
        fs::create_dir_all(&folder)?;
        let at = folder.display();
        let listens: String = listen.iter().map(|address| format!("listen {address} backlog=1024; ")).collect();
        let config = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000; keepalive_timeout 300s; client_max_body_size 1m;\n\
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ {listens} default_type text/plain;\n\
             location /ok/ {{ return 200 \"ok\\n\"; }} location /echo/ {{ return 200 \"echo\\n\"; }}\n\
             location /status/404/ {{ return 404; }} location /status/503/ {{ return 503; }}\n\
             location /status/204/ {{ return 204; }} location /status/304/ {{ return 304; }} }} }}\n"
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = in_namespace(netns, "nginx");
        command.arg("-c").arg(&path).arg("-p").arg(&folder);
        self.cgroup.enter(&mut command)?;
        Process::spawn("nginx", command, &folder.join("output.log"))
    }

    /// Starts `oracle-server` in the cgroup on a free port.
    pub fn hyper(&self, program: &str) -> Result<(Process, SocketAddr)> {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").stdout(Stdio::piped());
        self.cgroup.enter(&mut command)?;
        let mut process = Process::spawn("oracle-server", command, &self.folder.path().join("oracle-server.log"))?;
        let line = process.line()?;
        Ok((process, line.trim().parse().with_context(|| format!("oracle-server printed `{line}`"))?))
    }

    /// Starts a client in the cgroup that keeps some connections busy until it is told to end; see `oracle-steady`.
    pub fn steady(&self, program: &str, address: SocketAddr, label: &str, connections: u64) -> Result<Client> {
        let mut command = Command::new(program);
        command.args([address.to_string(), label.to_owned(), connections.to_string()]);
        self.start_client(command, label)
    }

    /// Starts a client in the cgroup, which waits with its early connections open.
    pub fn client(&self, program: &str, load: &Load) -> Result<Client> {
        let mut command = in_namespace(load.netns.as_deref(), program);
        command
            .args([load.address.to_string(), load.server.to_owned(), load.label.to_owned()])
            .args([load.seed, load.requests, load.early, load.threads, load.pause_us].map(|number| number.to_string()));
        self.start_client(command, load.label)
    }

    /// A client writes its report to the file that is its last argument.
    fn start_client(&self, mut command: Command, label: &str) -> Result<Client> {
        let report = self.folder.path().join(format!("report-{label}"));
        command.arg(&report).stdin(Stdio::piped()).stdout(Stdio::piped());
        self.cgroup.enter(&mut command)?;
        let log = self.folder.path().join(format!("client-{label}.log"));
        let mut process = Process::spawn("oracle-client", command, &log)?;
        let stdin = process.child.stdin.take().context("no standard input")?;
        let line = process.line()?;
        if line.trim() != "ready" {
            bail!("the client printed `{line}`: {}", process.log_text());
        }
        Ok(Client { process, stdin, report })
    }
}

impl Drop for Lab {
    /// A test that fails shows what its processes said.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if entry.path().extension().is_some_and(|extension| extension == "log") && !lines.is_empty() {
                let last = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
                println!("--- {}\n{last}", entry.file_name().to_string_lossy());
            }
        }
    }
}

/// What a client is to do; see `oracle-client`.
pub struct Load {
    pub address: SocketAddr,
    pub server: &'static str,
    pub label: &'static str,
    pub seed: u64,
    pub requests: u64,
    pub early: u64,
    pub threads: u64,
    pub pause_us: u64,
    pub netns: Option<String>,
}

/// A client that waits for the word to begin (or, if it is a steady one, to end), or works.
pub struct Client {
    process: Process,
    stdin: ChildStdin,
    report: PathBuf,
}

impl Client {
    pub fn go(&mut self) -> Result<()> {
        self.stdin.write_all(b"go\n").context("give the client the word")
    }

    /// Lets the sessions that run come to their end, and begins no other.
    pub fn stop(&mut self) -> Result<()> {
        self.stdin.write_all(b"stop\n").context("tell the client to stop")
    }

    /// Waits for its end and reads what it did.
    pub fn finish(mut self) -> Result<Vec<Outcome>> {
        let status = self.process.child.wait()?;
        if !status.success() {
            bail!("the client ended with {status}: {}", self.process.log_text());
        }
        let text = fs::read_to_string(&self.report)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// A process that was started here; it is killed when dropped.
pub struct Process {
    pub child: Child,
    log: PathBuf,
}

impl Process {
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Process> {
        let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stderr(file).spawn().with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Process { child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has now.
    pub fn rss_bytes(&self) -> Result<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<i64>()? * 1024)
    }

    /// What it wrote to standard error.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        // SAFETY: the child is ours and was not waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("process {} did not stop: {}", self.pid(), self.log_text())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the process ended without a word: {}", self.log_text());
        }
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx ends its workers on SIGTERM only.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.stop();
        }
        self.kill();
    }
}

/// A cgroup of the test's own, removed at its end.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub fn make() -> Result<Cgroup> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .and_then(|fields| fields.get(1).map(|path| (*path).to_owned()))
            .context("there is no cgroup2 mount")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(&mount).join(format!("headwater-oracle-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}; run as root", path.display()))?;
        Ok(Cgroup { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes this whole process into the cgroup for as long as `work` takes: what it starts stays there.
    pub fn run_inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("this process has no cgroup2")?;
        let mount = self.path.parent().context("the cgroup has no parent")?;
        let enter = |folder: &Path| {
            let procs = folder.join("cgroup.procs");
            fs::write(&procs, std::process::id().to_string()).with_context(|| format!("write {}", procs.display()))
        };
        enter(&self.path)?;
        let result = work();
        enter(&mount.join(own))?;
        result
    }

    /// Makes the process that the command starts enter the cgroup before it runs.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let procs = self.path.join("cgroup.procs");
        let procs = std::ffi::CString::new(procs.as_os_str().as_encoded_bytes())?;
        // SAFETY: only system calls that are safe between fork and exec; 0 means the writing process itself.
        unsafe {
            command.pre_exec(move || {
                let fd = libc::open(procs.as_ptr(), libc::O_WRONLY);
                if fd < 0 || libc::write(fd, b"0".as_ptr().cast(), 1) != 1 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(fd);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of ended processes a moment later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The Kafka and the registry that tests share, with a prefix of this test's own.
pub fn shared(name: &str) -> Result<KafkaSettings> {
    let shared = Shared::get()?;
    let settings = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    Ok(KafkaSettings { prefix: Shared::prefix(name), ..settings })
}

/// A program that was built with the workspace.
pub fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("the test runs in no target folder")?;
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is missing: run `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// Tries until it holds.
pub fn wait_for(what: &str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_up_to(PATIENCE, what, holds)
}

/// Tries until it holds, for so long.
pub fn wait_up_to(patience: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("{what} did not come in {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Waits until something listens.
pub fn wait_for_port(address: SocketAddr) -> Result<()> {
    wait_for(&format!("a listener on {address}"), || Ok(TcpStream::connect(address).is_ok()))
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until a window of this length begins.
pub fn wait_for_window(window_us: i64) -> Result<()> {
    let begins_us = (time_of_day_us()? / window_us + 1) * window_us;
    wait_for("the next window", || Ok(time_of_day_us()? >= begins_us))
}

fn kafka_arguments(settings: &KafkaSettings) -> Vec<String> {
    let KafkaSettings { brokers, prefix, queue_bytes, registry_url, .. } = settings;
    let queue_bytes = &queue_bytes.to_string();
    [
        ["--kafka-brokers", brokers],
        ["--kafka-prefix", prefix],
        ["--registry-url", registry_url],
        ["--kafka-queue-bytes", queue_bytes],
    ]
    .concat()
    .iter()
    .map(|text| (*text).to_owned())
    .collect()
}

fn in_namespace(netns: Option<&str>, program: &str) -> Command {
    match netns {
        Some(netns) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", netns, program]);
            command
        }
        None => Command::new(program),
    }
}
