//! Puts Kafka and the registry together.

use std::path::PathBuf;

use headwater_process::{Port, Reach, User, program_folder};

use crate::artifacts::Artifacts;
use crate::credentials::Credentials;
use crate::disk;
use crate::error::StackError;
use crate::java;
use crate::kafka::{KafkaNode, KafkaProgram};
use crate::kafka_config::{self, NodeConfig};
use crate::ports;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::workspace::{Workspace, private_folder};

/// Kafka preallocates index files and stops for good when a write fails, so it does not start on the last bytes.
const SPACE_NEEDED_BYTES: u64 = 256 << 20;
const BROKERS_MAX: u16 = 5;

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Kept between starts; a temporary folder when there is none.
    pub data_dir: Option<PathBuf>,
    /// `logs` in the data folder when there is none.
    pub log_dir: Option<PathBuf>,
    /// The first broker's port; further brokers take the ports that follow. A free one when there is none.
    pub kafka_port: Option<u16>,
    /// The registry's port. A free one when there is none.
    pub registry_port: Option<u16>,
    /// How many brokers, at least one.
    pub brokers: u16,
    /// The heap of each broker.
    pub heap_mb: u32,
    /// With them, nobody else is let in: each listener of Kafka asks for SASL PLAIN (SASL_PLAINTEXT), the registry for HTTP's basic
    /// authentication. Without them, both let in every user of the machine.
    pub closed_to: Option<Credentials>,
    /// With users there is a second listener, which asks for SASL PLAIN: [`KafkaNode::sasl_bootstrap`].
    pub sasl_users: Vec<(String, String)>,
    /// With the port of a proxy the first broker has one more listener, [`KafkaNode::behind_proxy`], whose clients are told to
    /// connect to the proxy.
    pub proxy_port: Option<u16>,
    /// The cgroup that all processes are in; the caller's when there is none. Not together with a user.
    pub cgroup: Option<PathBuf>,
    /// Who all processes run as, and whose the data and the logs are; the caller when there is none.
    pub user: Option<User>,
    /// Who is told how far the start is.
    pub progress: Progress,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            log_dir: None,
            kafka_port: None,
            registry_port: None,
            brokers: 1,
            heap_mb: 512,
            closed_to: None,
            sasl_users: Vec::new(),
            proxy_port: None,
            cgroup: None,
            user: None,
            progress: Progress::default(),
        }
    }
}

/// A running Kafka and registry. Dropping it stops them.
#[derive(Debug)]
pub struct Stack {
    nodes: Vec<KafkaNode>,
    registry: Option<Registry>,
    workspace: Workspace,
    logs: PathBuf,
    /// Held for the processes, also while one of them is down.
    _ports: Vec<Port>,
    /// Holds the jars where their user finds them.
    _reach: Option<Reach>,
    progress: Progress,
}

/// What is run.
struct Programs {
    java: PathBuf,
    artifacts: Artifacts,
}

impl Stack {
    /// Returns when the brokers and the registry answer.
    pub fn start(options: StackOptions) -> Result<Self, StackError> {
        Self::start_parts(options, Parts { kafka: true, registry: true })
    }

    /// The same with only one of the two, where the other one exists already.
    pub(crate) fn start_parts(options: StackOptions, parts: Parts) -> Result<Self, StackError> {
        check(&options)?;
        let java = java::find()?;
        // Ports first: a taken one should not be found out about after a download.
        let mut ports = Vec::new();
        let registry_port = ports::claim(options.registry_port, "the registry", "--registry-port")?;
        let registry_number = registry_port.number();
        ports.push(registry_port);
        let configs = if parts.kafka { node_configs(&options, &mut ports)? } else { Vec::new() };
        let mut artifacts = Artifacts::ensure(&options.progress)?;
        let mut reach = None;
        if let Some(user) = options.user {
            if let Some(data_dir) = &options.data_dir {
                user.take_over(data_dir)?;
            }
            let (reached, folder) = artifacts.within_reach(user)?;
            (artifacts, reach) = (reached, Some(folder));
        }
        let registry = parts.registry.then_some(registry_number);
        let spawn = || Self::spawn(&options, &Programs { java, artifacts }, registry, configs);
        let mut stack = match options.user {
            // What is made is in folders of his: it is made with his rights.
            Some(user) => user.act(spawn).map_err(|source| {
                let doing = format!("acting as user {}", user.uid);
                StackError::Io { doing, source }
            })?,
            None => spawn(),
        }?;
        (stack._ports, stack._reach) = (ports, reach);
        stack.nodes.iter().try_for_each(KafkaNode::await_ready)?;
        stack.registry.iter().try_for_each(Registry::await_ready)?;
        Ok(stack)
    }

    fn spawn(
        options: &StackOptions,
        programs: &Programs,
        registry_port: Option<u16>,
        configs: Vec<NodeConfig>,
    ) -> Result<Self, StackError> {
        let workspace = Workspace::open(options.data_dir.as_deref())?;
        disk::require_space(workspace.path(), SPACE_NEEDED_BYTES, "--data-dir")?;
        let logs = options.log_dir.clone().unwrap_or_else(|| workspace.path().join("logs"));
        private_folder(&logs)?;

        let mut stack = Self {
            nodes: Vec::new(),
            registry: None,
            workspace,
            logs: logs.clone(),
            _ports: Vec::new(),
            _reach: None,
            progress: options.progress.clone(),
        };
        // The registry takes longer and needs nothing of Kafka, so it goes first.
        if let Some(port) = registry_port {
            options.progress.say("Starting the registry");
            let folder = stack.workspace.path().join("registry");
            let jar = programs.artifacts.registry_jar();
            let registry = Registry::prepare(&programs.java, &jar, port, &folder, &logs, options)?;
            registry.spawn()?;
            stack.registry = Some(registry);
        }
        if !configs.is_empty() {
            options.progress.say("Starting Kafka");
            let program = KafkaProgram {
                java: programs.java.clone(),
                class_path: programs.artifacts.kafka_class_path(),
                heap_mb: options.heap_mb,
                cluster_id: stack.workspace.cluster_id()?,
                cgroup: options.cgroup.clone(),
                user: options.user,
            };
            for mut config in configs {
                let folder = stack.workspace.path().join(format!("kafka-{}", config.id));
                config.data = folder.join("data");
                let node = KafkaNode::prepare(program.clone(), config, &folder, &logs, &options.progress)?;
                node.spawn()?;
                stack.nodes.push(node);
            }
        }
        Ok(stack)
    }

    /// The first broker, which in most stacks is the only one.
    pub fn kafka(&self) -> &KafkaNode {
        // `start` is the only public way to a stack, and it starts at least one broker.
        &self.nodes[0]
    }

    /// All brokers, at least one.
    pub fn brokers(&self) -> &[KafkaNode] {
        &self.nodes
    }

    /// The addresses of all brokers, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(KafkaNode::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        // `start` is the only public way to a stack, and it starts a registry.
        self.registry.as_ref().expect("a stack has a registry")
    }

    /// Empty for a stack without a registry.
    pub(crate) fn registry_url(&self) -> String {
        self.registry.as_ref().map(Registry::url).unwrap_or_default()
    }

    /// Where its logs stay when a test that fails drops it: the folder of its data is gone then.
    pub fn logs_of_a_failure(&self) -> PathBuf {
        // The programs of a workspace are in `target/debug`.
        let target = program_folder().ok().and_then(|folder| Some(folder.parent()?.to_owned()));
        let name = self.workspace.path().file_name().unwrap_or_default();
        target.unwrap_or_else(std::env::temp_dir).join("test-logs").join(name)
    }

    /// Keeps what explains a failure; it is bounded as the logs are.
    #[allow(clippy::print_stderr, reason = "a failed test shows it")]
    fn keep_logs(&self) {
        let kept = self.logs_of_a_failure();
        let copy = |entry: std::fs::DirEntry| std::fs::copy(entry.path(), kept.join(entry.file_name()));
        let copied = std::fs::create_dir_all(&kept)
            .and_then(|()| std::fs::read_dir(&self.logs))
            .and_then(|mut entries| entries.try_for_each(|entry| copy(entry?).map(drop)));
        match copied {
            Ok(()) => eprintln!("the logs of Kafka and the registry are in {}", kept.display()),
            Err(error) => eprintln!("keeping the logs of Kafka and the registry in {}: {error}", kept.display()),
        }
    }

    /// Where data and logs are.
    pub fn data_dir(&self) -> &std::path::Path {
        self.workspace.path()
    }
}

impl Drop for Stack {
    /// Kept data is closed in good order, all parts at once; temporary data goes with its processes.
    fn drop(&mut self) {
        if self.workspace.is_temporary() {
            if std::thread::panicking() {
                self.keep_logs();
            }
            return;
        }
        self.progress.say("Stopping Kafka and the registry");
        self.nodes.iter().for_each(KafkaNode::terminate);
        self.registry.iter().for_each(Registry::terminate);
        self.nodes.iter().for_each(KafkaNode::stop);
        self.registry.iter().for_each(Registry::stop);
    }
}

/// Which of the two to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub kafka: bool,
    pub registry: bool,
}

fn check(options: &StackOptions) -> Result<(), StackError> {
    if options.brokers == 0 || options.brokers > BROKERS_MAX {
        let detail = format!("{} is not between 1 and {BROKERS_MAX}", options.brokers);
        return Err(StackError::Option { option: "brokers", detail });
    }
    let closed_to = options.closed_to.iter().map(|one| (one.user.as_str(), one.password.as_str()));
    let users = options.sasl_users.iter().map(|(user, password)| (user.as_str(), password.as_str()));
    kafka_config::check_sasl_users(users.chain(closed_to))
}

/// The ports of the nodes go to `held`.
fn node_configs(options: &StackOptions, held: &mut Vec<Port>) -> Result<Vec<NodeConfig>, StackError> {
    let mut hold = |port: Port| {
        let number = port.number();
        held.push(port);
        number
    };
    let ids = 1..=options.brokers;
    let voters = ids.map(|id| Ok((id, hold(Port::free()?)))).collect::<Result<Vec<_>, StackError>>()?;
    let sasl = !options.sasl_users.is_empty();
    let node = |(id, controller_port): (u16, u16)| {
        let wanted = options.kafka_port.map(|first| first.saturating_add(id - 1));
        Ok(NodeConfig {
            id,
            port: hold(ports::claim(wanted, "Kafka", "--kafka-port")?),
            controller_port,
            closed_to: options.closed_to.clone(),
            sasl_port: sasl.then(Port::free).transpose()?.map(&mut hold),
            sasl_users: options.sasl_users.clone(),
            proxied: match options.proxy_port.filter(|_| id == 1) {
                Some(proxy) => Some((hold(Port::free()?), proxy)),
                None => None,
            },
            voters: voters.clone(),
            data: PathBuf::new(),
        })
    };
    voters.iter().copied().map(node).collect()
}
