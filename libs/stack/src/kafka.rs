//! Kafka's nodes as child processes.
//!
//! In: the verified jars and a node's configuration. Out: a [`KafkaNode`] that can be stopped, killed and started
//! again at the same address with the same data, as tests of failures need it.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_process::{Child, Launch, User};

use crate::child;
use crate::error::StackError;
use crate::kafka_config::{NodeConfig, log4j_properties};
use crate::kafka_probe;
use crate::progress::Progress;
use crate::workspace::private_folder;

/// Four seconds on a free machine; a node that was killed also waits until its old session of nine seconds is over.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// What all nodes have in common.
#[derive(Debug, Clone)]
pub struct KafkaProgram {
    pub java: PathBuf,
    pub class_path: String,
    pub heap_mb: u32,
    pub cluster_id: String,
    pub cgroup: Option<PathBuf>,
    pub user: Option<User>,
}

/// One broker, which is also a controller.
#[derive(Debug)]
pub struct KafkaNode {
    program: KafkaProgram,
    config: NodeConfig,
    /// Holds the configuration, beside the data.
    folder: PathBuf,
    logs: PathBuf,
    progress: Progress,
    process: Mutex<Option<Child>>,
}

impl KafkaNode {
    /// Writes the configuration and formats the data folder if it is new. The node does not run yet.
    pub(crate) fn prepare(
        program: KafkaProgram,
        config: NodeConfig,
        folder: &Path,
        logs: &Path,
        progress: &Progress,
    ) -> Result<Self, StackError> {
        private_folder(folder)?;
        let process = Mutex::new(None);
        let (folder, logs, progress) = (folder.to_path_buf(), logs.to_path_buf(), progress.clone());
        let node = Self { program, config, folder, logs, progress, process };
        write_private(&node.properties(), &node.config.server_properties())?;
        write_private(&node.log4j(), &log4j_properties(&node.log()))?;
        if !node.config.data.join("meta.properties").exists() {
            node.format()?;
        }
        Ok(node)
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`. It stays the same over restarts.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.config.port)
    }

    /// The port of the listener that all have, on the loopback interface: without a password, unless the options close it.
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// The address that asks for SASL PLAIN (SASL_PLAINTEXT); there is one when the options name users.
    pub fn sasl_bootstrap(&self) -> Option<String> {
        self.config.sasl_port.map(|port| format!("127.0.0.1:{port}"))
    }

    /// Where a proxy passes on what it gets; there is such a listener when the options name the proxy's port.
    pub fn behind_proxy(&self) -> Option<SocketAddr> {
        self.config.proxied.map(|(port, _)| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_mut().and_then(|process| process.is_running().then(|| process.pid()))
    }

    /// Whether its process lives.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Stops it in good order (SIGTERM); returns when it is gone.
    pub fn stop(&self) {
        if let Some(mut process) = self.lock().take() {
            process.terminate();
            child::wait(&mut process);
        }
    }

    /// Ends it at once (SIGKILL); returns when it is gone.
    pub fn kill(&self) {
        if let Some(mut process) = self.lock().take() {
            process.kill();
        }
    }

    /// Stops it if it runs, and starts it at the same address with the same data; returns when it is ready.
    pub fn restart(&self) -> Result<(), StackError> {
        self.stop();
        self.spawn()?;
        self.await_ready()
    }

    /// Starts the process without waiting: several nodes are ready only together.
    pub(crate) fn spawn(&self) -> Result<(), StackError> {
        let mut command = self.java(&["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"], self.program.heap_mb);
        command.arg("kafka.Kafka").arg(self.properties());
        *self.lock() = Some(self.launch(&self.name(), command).quoting(self.log()).spawn().map_err(child::explain)?);
        Ok(())
    }

    pub(crate) fn await_ready(&self) -> Result<(), StackError> {
        let started = Instant::now();
        let mut guard = self.lock();
        let Some(process) = guard.as_mut() else {
            return Err(StackError::Option {
                option: "kafka",
                detail: "it is to be ready but was not started".to_owned(),
            });
        };
        child::await_ready(process, START_TIMEOUT, &self.progress, || {
            kafka_probe::is_ready(self.config.port, self.config.id, self.config.closed_to.as_ref())
        })?;
        self.progress.say(format!(
            "{} is ready on {} ({:.1} s)",
            self.name(),
            self.bootstrap(),
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    pub(crate) fn terminate(&self) {
        if let Some(process) = self.lock().as_mut() {
            process.terminate();
        }
    }

    /// Gives the data folder its cluster's id, once.
    fn format(&self) -> Result<(), StackError> {
        // A tool that runs for a second is quickest with the simplest compiler and collector.
        let mut command = self.java(&["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], 128);
        command.args([
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "--cluster-id",
            &self.program.cluster_id,
        ]);
        command.arg("--config").arg(self.properties());
        let launch = self.launch(&format!("{}'s format", self.name()), command);
        child::await_success(&mut launch.spawn().map_err(child::explain)?, START_TIMEOUT)
    }

    fn java(&self, flags: &[&str], heap_mb: u32) -> Command {
        let mut command = Command::new(&self.program.java);
        command.arg(format!("-Xmx{heap_mb}m")).args(flags);
        // Without the performance data there is no file of it in /tmp; a broker out of memory must end, not limp.
        command.args(["-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", self.log4j().display()));
        command.arg("-cp").arg(&self.program.class_path);
        command
    }

    fn launch(&self, name: &str, command: Command) -> Launch {
        child::placed(Launch::new(name, command, self.console()), self.program.cgroup.as_deref(), self.program.user)
    }

    fn name(&self) -> String {
        match self.config.voters.len() {
            1 => "Kafka".to_owned(),
            _ => format!("Kafka's node {}", self.config.id),
        }
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log4j(&self) -> PathBuf {
        self.folder.join("log4j2.properties")
    }

    fn log(&self) -> PathBuf {
        self.logs.join(format!("kafka-{}.log", self.config.id))
    }

    /// What the JVM itself prints.
    fn console(&self) -> PathBuf {
        self.logs.join(format!("kafka-{}.out", self.config.id))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // A thread that panicked while it held the lock left the process as it was.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file that its owner alone can read: it may hold a password.
pub fn write_private(path: &Path, text: &str) -> Result<(), StackError> {
    let writing = || StackError::io("writing", path);
    // One of an earlier start may have been for all to read.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(writing()(error)),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(writing())?;
    file.write_all(text.as_bytes()).map_err(writing())
}
