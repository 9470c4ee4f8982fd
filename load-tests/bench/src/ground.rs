//! Where a benchmark runs: Kafka and the registry, a cgroup for servers and their load, and agents that see that cgroup or nothing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, Next, Start, TopicReader};
use headwater_process::{Cgroup, Child, Launch, cpu_time, program};
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Lives as long as the benchmark.
pub struct Ground {
    stack: Stack,
    stack_cgroup: Cgroup,
    load_cgroup: Cgroup,
    /// Nothing is ever in it.
    empty_cgroup: Cgroup,
    folder: tempfile::TempDir,
}

/// How much an agent tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// As it is by default: plain exchanges of hot connections are added up.
    Default,
    /// The same at both ends of each connection, all the time.
    BothEnds,
    /// A record of each exchange.
    Full,
}

/// An agent under measurement.
pub struct Agent {
    pub process: Child,
    pub prefix: String,
}

/// So long must a process have done next to nothing. What was added up in a second leaves the agent in the next one.
const REST: Duration = Duration::from_millis(1200);
const REST_CPU_MAX: Duration = Duration::from_millis(30);
const REST_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until a process has done what it had to do: what is in its buffers still belongs to the load before. Asking Kafka for its heartbeat
/// would cost what is measured.
pub fn until_at_rest(pid: u32) -> Result<()> {
    let deadline = Instant::now() + REST_TIMEOUT;
    let mut used = cpu_time(pid)?;
    while Instant::now() < deadline {
        std::thread::sleep(REST);
        let now = cpu_time(pid)?;
        if now - used <= REST_CPU_MAX {
            return Ok(());
        }
        used = now;
    }
    bail!("process {pid} did not come to rest within {REST_TIMEOUT:?} after the load")
}

impl Ground {
    pub fn prepare() -> Result<Ground> {
        let stack_cgroup = Cgroup::create("headwater-bench-stack")?;
        let options = StackOptions { cgroup: Some(stack_cgroup.path().to_owned()), ..StackOptions::default() };
        Ok(Ground {
            stack: Stack::start(options).context("start Kafka and the registry")?,
            stack_cgroup,
            load_cgroup: Cgroup::create("headwater-bench-load")?,
            empty_cgroup: Cgroup::create("headwater-bench-empty")?,
            folder: tempfile::tempdir()?,
        })
    }

    /// Servers and whoever loads them.
    pub fn load_cgroup(&self) -> &Path {
        self.load_cgroup.path()
    }

    pub fn empty_cgroup(&self) -> &Path {
        self.empty_cgroup.path()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where an agent with a prefix publishes.
    pub fn settings(&self, prefix: &str) -> KafkaSettings {
        let prefix = prefix.to_owned();
        KafkaSettings { prefix, ..KafkaSettings::local(&self.stack.bootstrap(), &self.stack.registry().url()) }
    }

    /// Starts an agent that sees one cgroup, and waits for its first heartbeat.
    pub fn agent(&self, sees: &Path, prefix: &str, detail: Detail) -> Result<Agent> {
        self.agent_of(&program("headwater-agent")?, sees, prefix, detail, &[])
    }

    /// The same with another build of the agent, and with more settings.
    pub fn agent_of(
        &self,
        agent: &Path,
        sees: &Path,
        prefix: &str,
        detail: Detail,
        arguments: &[&str],
    ) -> Result<Agent> {
        let settings = self.settings(prefix);
        let mut command = Command::new(agent);
        command.args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url]).args([
            "--kafka-prefix",
            prefix,
            "--capture-cgroup",
            &sees.to_string_lossy(),
            "--log-level",
            "warn",
        ]);
        if detail == Detail::BothEnds {
            command.args(["--capture-ends", "both"]);
        }
        if detail == Detail::Full {
            // A bound on records would drop what is to be measured.
            command.args([
                "--capture-sums",
                "off",
                "--requests-per-second-max",
                "10000000",
                "--capture-shed",
                "detail",
            ]);
        }
        command.args(arguments);
        let launch = Launch::new("headwater-agent", command, self.folder.path().join(format!("{prefix}agent.log")));
        let mut process = launch.ending_softly().spawn()?;
        let topic = Topic::Agents.name(prefix);
        process.await_ready(READY_TIMEOUT, || {
            let mut reader = TopicReader::start(&settings, std::slice::from_ref(&topic), &Start::Earliest).ok()?;
            matches!(reader.next(Duration::from_secs(1)), Ok(Next::Record(_))).then_some(())
        })?;
        Ok(Agent { process, prefix: prefix.to_owned() })
    }

    /// Processor time of servers and their load so far.
    pub fn load_cpu(&self) -> Result<Duration> {
        cgroup_cpu(self.load_cgroup.path())
    }

    /// Processor time of Kafka and the registry so far.
    pub fn stack_cpu(&self) -> Result<Duration> {
        cgroup_cpu(self.stack_cgroup.path())
    }

    /// Runs something while no process of Kafka and the registry gets any time.
    pub fn with_stack_standing_still<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let signal = |signal: libc::c_int| -> Result<()> {
            for pid in self.stack_cgroup.pids()? {
                // SAFETY: kill has no preconditions; these are processes that this one started.
                unsafe { libc::kill(pid as libc::pid_t, signal) };
            }
            Ok(())
        };
        signal(libc::SIGSTOP)?;
        let result = run();
        signal(libc::SIGCONT)?;
        result
    }

    /// What an agent's records take on the broker's disk.
    pub fn log_bytes(&self, agent: &Agent, topic: Topic) -> Result<u64> {
        let name = format!("{}-", topic.name(&agent.prefix));
        let mut bytes = 0;
        for folder in walk(self.stack.data_dir())? {
            let file = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let partition =
                folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            if partition.starts_with(&name) && file.ends_with(".log") {
                bytes += folder.metadata()?.len();
            }
        }
        Ok(bytes)
    }
}

/// All files below a folder. Kafka's data is three levels deep.
fn walk(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn cgroup_cpu(cgroup: &Path) -> Result<Duration> {
    let path = cgroup.join("cpu.stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
    Ok(Duration::from_micros(usage.with_context(|| format!("{} has no usage_usec", path.display()))?))
}
