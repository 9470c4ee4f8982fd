//! Real processes around a test: servers, client, agent, processors, Kafka, registry. All end with the lab.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdin, Command};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_kafka::KafkaSettings;
use headwater_process::{Cgroup, Child, Launch, Port, User, program};
use headwater_stack::shared::Shared;
use headwater_stack::{Stack, StackOptions};

use crate::client::{Outcome, time_of_day_us};
use crate::topics;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// For an agent's start. Linux 6.1, emulated, has been seen to verify the probes for 40 s, without those of TLS; with them a start took longer than a minute.
const START_PATIENCE: Duration = Duration::from_secs(240);

/// Lines of each process's log that a failed test shows.
const LOG_LINES_MAX: usize = 40;

/// What the agent calls this machine.
pub const NODE: &str = "oracle-node";

/// The ground of one test.
pub struct Lab {
    /// Kafka and a registry of this test's own, if it has some; others take the shared ones.
    pub stack: Option<Arc<Stack>>,
    pub settings: KafkaSettings,
    pub cgroup: Cgroup,
    pub folder: tempfile::TempDir,
}

impl Lab {
    /// With the Kafka and the registry that tests share, under a prefix of its own.
    pub fn start() -> Result<Lab> {
        Ok(Lab { stack: None, settings: shared("lab")?, cgroup: cgroup()?, folder: tempfile::tempdir()? })
    }

    /// With a Kafka and a registry that it may harm.
    pub fn start_own() -> Result<Lab> {
        Lab::around(Stack::start(StackOptions::default())?, cgroup()?)
    }

    /// The Kafka and the registry that this test may harm.
    ///
    /// # Panics
    /// If they are the shared ones.
    pub fn own_stack(&self) -> &Arc<Stack> {
        self.stack.as_ref().expect("a test that harms Kafka starts with Lab::start_own")
    }

    /// The same with Kafka and the registry inside of what the agent observes.
    pub fn start_observed() -> Result<Lab> {
        let cgroup = cgroup()?;
        let stack = Stack::start(StackOptions { cgroup: Some(cgroup.path().to_owned()), ..StackOptions::default() })?;
        Lab::around(stack, cgroup)
    }

    /// With a Kafka and a registry that the test has started.
    pub fn around(stack: Stack, cgroup: Cgroup) -> Result<Lab> {
        let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
        Ok(Lab { stack: Some(Arc::new(stack)), settings, cgroup, folder: tempfile::tempdir()? })
    }

    /// Starts the agent on this lab's cgroup; it is ready once its heartbeat was read.
    pub fn agent(&self) -> Result<Child> {
        self.agent_with(&self.settings)
    }

    /// The same with settings of its own: several agents may look at the same processes under different prefixes.
    pub fn agent_with(&self, settings: &KafkaSettings) -> Result<Child> {
        self.once_ready(settings, || self.spawn_agent_with(settings))
    }

    /// The same with nothing but its memory to keep what Kafka does not take.
    pub fn agent_without_spool(&self, settings: &KafkaSettings) -> Result<Child> {
        self.once_ready(settings, || {
            let mut command = self.agent_command(settings)?;
            command.args(["--spool-bytes", "0"]);
            Ok(self.agent_launched(settings, command).spawn()?)
        })
    }

    /// The same with a ring buffer of so many bytes, for a burst that is not to be lost.
    pub fn agent_with_ring(&self, ring_bytes: u32) -> Result<Child> {
        self.once_ready(&self.settings, || {
            let mut command = self.agent_command(&self.settings)?;
            command.args(["--capture-ring-bytes", &ring_bytes.to_string()]);
            Ok(self.agent_launched(&self.settings, command).spawn()?)
        })
    }

    /// The same with the libraries of TLS watched.
    pub fn agent_seeing_tls(&self) -> Result<Child> {
        self.once_ready(&self.settings, || {
            let mut command = self.agent_command(&self.settings)?;
            command.args(["--capture-tls", "on"]);
            Ok(self.agent_launched(&self.settings, command).spawn()?)
        })
    }

    fn once_ready(&self, settings: &KafkaSettings, spawn: impl FnOnce() -> Result<Child>) -> Result<Child> {
        let before = topics::agents(settings).map_or(0, |agents| agents.len());
        let agent = spawn()?;
        wait_up_to(START_PATIENCE, "the agent's heartbeat", || {
            Ok(topics::agents(settings).is_ok_and(|all| all.len() > before))
        })?;
        Ok(agent)
    }

    /// The same with its metrics at an address.
    pub fn agent_serving(&self, metrics: SocketAddr) -> Result<Child> {
        let mut launch = self.agent_command(&self.settings)?;
        launch.args(["--metrics-listen", &metrics.to_string()]);
        Ok(self.agent_launched(&self.settings, launch).spawn()?)
    }

    /// The same as it is by default, where exchanges are added up and no path stands as it was asked for; only that no request may be given up,
    /// since a build for tests takes several times as long.
    pub fn agent_of_users(&self) -> Result<Child> {
        self.agent_of_users_with(&[])
    }

    /// The same with these arguments beside.
    pub fn agent_of_users_with(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(program("headwater-agent")?);
        command.args(kafka_arguments(&self.settings)).args([
            "--capture-cgroup",
            &self.cgroup.path().to_string_lossy(),
            "--node-name",
            NODE,
            "--capture-shed",
            "detail",
        ]);
        command.args(arguments);
        let agent = self.agent_launched(&self.settings, command).spawn()?;
        wait_for("the agent's heartbeat", || Ok(topics::agents(&self.settings).is_ok_and(|all| !all.is_empty())))?;
        Ok(agent)
    }

    /// Starts the agent without waiting.
    pub fn spawn_agent(&self) -> Result<Child> {
        self.spawn_agent_with(&self.settings)
    }

    /// The same with the agent inside of what it observes.
    pub fn spawn_observed_agent(&self) -> Result<Child> {
        Ok(self.agent_launch(&self.settings)?.in_cgroup(self.cgroup.path()).spawn()?)
    }

    fn spawn_agent_with(&self, settings: &KafkaSettings) -> Result<Child> {
        Ok(self.agent_launch(settings)?.spawn()?)
    }

    fn agent_launch(&self, settings: &KafkaSettings) -> Result<Launch> {
        Ok(self.agent_launched(settings, self.agent_command(settings)?))
    }

    fn agent_launched(&self, settings: &KafkaSettings, command: Command) -> Launch {
        Launch::new("agent", command, self.folder.path().join(format!("{}agent.log", settings.prefix)))
    }

    fn agent_command(&self, settings: &KafkaSettings) -> Result<Command> {
        let mut command = Command::new(program("headwater-agent")?);
        command
            .args(kafka_arguments(settings))
            .args(["--capture-cgroup", &self.cgroup.path().to_string_lossy(), "--node-name", NODE])
            .args([
                "--capture-shed",
                "detail",
                "--http-paths",
                "full",
                "--spool-path",
                &self.folder.path().join("spool").to_string_lossy(),
            ]);
        Ok(command)
    }

    /// Starts a processor.
    pub fn processor(&self, mode: &str) -> Result<Child> {
        self.processor_with(mode, &self.settings)
    }

    /// The same with settings of its own.
    pub fn processor_with(&self, mode: &str, settings: &KafkaSettings) -> Result<Child> {
        let mut command = Command::new(program("headwater-processor")?);
        command.arg(mode).args(kafka_arguments(settings));
        let log = self.folder.path().join(format!("{}{mode}.log", settings.prefix));
        Ok(Launch::new(mode, command, log).spawn()?)
    }

    /// Starts a processor with its metrics at an address.
    pub fn processor_serving(&self, mode: &str, metrics: SocketAddr) -> Result<Child> {
        let mut command = Command::new(program("headwater-processor")?);
        command.arg(mode).args(kafka_arguments(&self.settings)).args(["--metrics-listen", &metrics.to_string()]);
        Ok(Launch::new(mode, command, self.folder.path().join(format!("{mode}.log"))).spawn()?)
    }

    /// Starts a console with its page and its metrics at these addresses.
    pub fn console(&self, page: SocketAddr, metrics: SocketAddr) -> Result<Child> {
        let mut command = Command::new(program("headwater")?);
        command.arg("console").args(kafka_arguments(&self.settings));
        command.args(["--console-listen", &page.to_string(), "--metrics-listen", &metrics.to_string()]);
        Ok(Launch::new("console", command, self.folder.path().join("console.log")).spawn()?)
    }

    /// Starts nginx in the cgroup. `netns` is a network namespace made by the test.
    pub fn nginx(&self, listen: &[String], netns: Option<&str>) -> Result<Child> {
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
        // It ends its worker, if it is asked.
        let launch = Launch::new("nginx", command, folder.join("output.log")).ending_softly();
        Ok(launch.in_cgroup(self.cgroup.path()).spawn()?)
    }

    /// Starts nginx in the cgroup, which speaks HTTP/2 and answers what begins with a number with a file of so many bytes.
    pub fn nginx_of_files(&self, listen: SocketAddr, files: &[(usize, Vec<u8>)]) -> Result<Child> {
        let folder = self.folder.path().join("nginx-http2");
        fs::create_dir_all(&folder)?;
        let at = folder.display();
        let mut locations = String::new();
        for (bytes, content) in files {
            fs::write(folder.join(bytes.to_string()), content)?;
            locations.push_str(&format!("location /{bytes}/ {{ root {at}; try_files /{bytes} =500; }} "));
        }
        let config = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen {listen} http2; default_type text/plain; {locations} }} }}\n"
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&path).arg("-p").arg(&folder);
        let launch = Launch::new("nginx", command, folder.join("output.log")).ending_softly();
        Ok(launch.in_cgroup(self.cgroup.path()).spawn()?)
    }

    /// Starts Redis in the cgroup on a free port.
    pub fn redis(&self) -> Result<(Child, Port)> {
        let port = Port::free()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.number().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.folder.path());
        let launch = Launch::new("redis-server", command, self.folder.path().join("redis.log")).ending_softly();
        let process = launch.in_cgroup(self.cgroup.path()).spawn()?;
        wait_for_port(port.address())?;
        Ok((process, port))
    }

    /// Starts Mosquitto in the cgroup on a free port.
    pub fn mosquitto(&self) -> Result<(Child, Port)> {
        let port = Port::free()?;
        let mut command = Command::new("/usr/sbin/mosquitto");
        // Without a file of settings it listens on the loopback alone.
        command.args(["-p", &port.number().to_string()]);
        let mut launch = Launch::new("mosquitto", command, self.folder.path().join("mosquitto.log"));
        // As root it becomes somebody else by itself, and would outlive a test that is killed.
        if let Some(user) = User::nobody() {
            launch = launch.as_user(user);
        }
        let process = launch.in_cgroup(self.cgroup.path()).spawn()?;
        wait_for_port(port.address())?;
        Ok((process, port))
    }

    /// Starts nats-server in the cgroup on a free port.
    pub fn nats(&self) -> Result<(Child, Port)> {
        let port = Port::free()?;
        let mut command = Command::new("/usr/sbin/nats-server");
        command.args(["--addr", "127.0.0.1", "--port", &port.number().to_string()]);
        let launch = Launch::new("nats-server", command, self.folder.path().join("nats.log")).ending_softly();
        let process = launch.in_cgroup(self.cgroup.path()).spawn()?;
        wait_for_port(port.address())?;
        Ok((process, port))
    }

    /// Starts `oracle-server` in the cgroup on a free port.
    pub fn hyper(&self, program: &str) -> Result<(Child, SocketAddr)> {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0");
        let launch = Launch::new("oracle-server", command, self.folder.path().join("oracle-server.log"));
        let mut process = launch.in_cgroup(self.cgroup.path()).piping_stdout().spawn()?;
        let line = process.first_line()?;
        Ok((process, line.parse().with_context(|| format!("oracle-server printed `{line}`"))?))
    }

    /// Starts a client in the cgroup that keeps some connections busy until it is told to end; see `oracle-steady`.
    pub fn steady(&self, program: &str, address: SocketAddr, label: &str, connections: u64) -> Result<Client> {
        let mut command = Command::new(program);
        command.args([address.to_string(), label.to_owned(), connections.to_string()]);
        self.start_client(command, label)
    }

    /// Starts a client in the cgroup that asks evenly over many connections until it is told to end; see `oracle-even`.
    pub fn even(&self, program: &str, address: SocketAddr, connections: u64, per_second: u64) -> Result<Client> {
        let mut command = Command::new(program);
        command.args([address.to_string(), connections.to_string(), per_second.to_string()]);
        self.start_client(command, "even")
    }

    /// Starts a client in the cgroup, which waits with its early connections open.
    pub fn client(&self, program: &str, load: &Load) -> Result<Client> {
        let mut command = in_namespace(load.netns.as_deref(), program);
        command
            .args([load.address.to_string(), load.server.to_owned(), load.label.to_owned()])
            .args([load.seed, load.requests, load.early, load.threads, load.pause_us].map(|number| number.to_string()));
        self.start_client(command, load.label)
    }

    /// Runs a program in the cgroup to its end, and returns what it printed first.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments);
        let launch = Launch::new("program", command, self.folder.path().join("program.log"));
        let mut process = launch.in_cgroup(self.cgroup.path()).piping_stdout().spawn()?;
        let line = process.first_line()?;
        let status = process.join()?;
        if status.success() { Ok(line) } else { bail!("{program} ended with {status}: {}", process.log_text()) }
    }

    /// A client writes its report to the file that is its last argument.
    fn start_client(&self, mut command: Command, label: &str) -> Result<Client> {
        let report = self.folder.path().join(format!("report-{label}"));
        command.arg(&report);
        let launch = Launch::new("oracle-client", command, self.folder.path().join(format!("client-{label}.log")));
        let mut process = launch.in_cgroup(self.cgroup.path()).piping_stdin().piping_stdout().spawn()?;
        let stdin = process.take_stdin().context("no standard input")?;
        let line = process.first_line()?;
        if line != "ready" {
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
    process: Child,
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
        let status = self.process.join()?;
        if !status.success() {
            bail!("the client ended with {status}: {}", self.process.log_text());
        }
        let text = fs::read_to_string(&self.report)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// The Kafka and the registry that tests share, with a prefix of this test's own.
pub fn shared(name: &str) -> Result<KafkaSettings> {
    let shared = Shared::get()?;
    let settings = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    Ok(KafkaSettings { prefix: Shared::prefix(name), ..settings })
}

/// Tries until it holds.
pub fn wait_for(what: &str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_up_to(PATIENCE, what, holds)
}

/// Tries until it holds, for so long.
pub fn wait_up_to(patience: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let came = headwater_process::wait_for(patience, || holds().map(|holds| holds.then_some(())).transpose());
    came.unwrap_or_else(|| bail!("{what} did not come in {patience:?}"))
}

/// A cgroup of the test's own, removed at its end.
pub fn cgroup() -> Result<Cgroup> {
    Ok(Cgroup::create("headwater-oracle-")?)
}

/// Asks a process to stop, and waits for its end.
///
/// # Errors
/// If it has to be killed.
pub fn stop(process: &mut Child) -> Result<()> {
    match process.stop(PATIENCE) {
        true => bail!("{} did not stop in {PATIENCE:?}: {}", process.name(), process.log_text()),
        false => Ok(()),
    }
}

/// Waits until something listens.
pub fn wait_for_port(address: SocketAddr) -> Result<()> {
    wait_for(&format!("a listener on {address}"), || Ok(TcpStream::connect(address).is_ok()))
}

/// Waits until a window of this length begins.
pub fn wait_for_window(window_us: i64) -> Result<()> {
    let begins_us = (time_of_day_us()? / window_us + 1) * window_us;
    wait_for("the next window", || Ok(time_of_day_us()? >= begins_us))
}

/// How each of our programs is told of Kafka and the registry.
pub fn kafka_arguments(settings: &KafkaSettings) -> Vec<String> {
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
