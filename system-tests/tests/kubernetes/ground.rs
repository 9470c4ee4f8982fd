//! The cluster, the way to its API server, Kafka, and the agent that looks at the cluster's node.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_process::{Child, Launch, program};
use headwater_system_tests::lab::{self, Lab, wait_up_to};
use headwater_system_tests::topics;

use crate::account::Account;
use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::verdict::Verdict;

/// How long anything may take that is not to take long: the machine may have other work.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// See the module.
pub struct Ground {
    pub lab: Lab,
    pub proxy: Proxy,
    config: PathBuf,
    /// The file with the agent's token.
    pub token: PathBuf,
    starts: Cell<u32>,
    pub cluster: Cluster,
}

impl Ground {
    pub fn start(role: &str) -> Result<Ground> {
        let lab = Lab::start()?;
        let cluster = Cluster::up(role)?;
        let server = cluster.kubectl(&["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"])?;
        let server: SocketAddr = server.trim_start_matches("https://").parse().context("the API server's address")?;
        let proxy = Proxy::start(server)?;
        let account = Account::make(&cluster)?;
        let (config, token) = account.kubeconfig(&proxy.address(), &account.token()?)?;
        Ok(Ground { lab, proxy, config, token, starts: Cell::new(0), cluster })
    }

    pub fn account(&self) -> Account<'_> {
        Account::of(&self.cluster)
    }

    /// Starts the agent; it is ready once its heartbeat was read.
    pub fn agent(&self) -> Result<Child> {
        let before = topics::agents(&self.lab.settings).map_or(0, |agents| agents.len());
        let agent = self.spawn_agent()?;
        let came = || Ok(topics::agents(&self.lab.settings).is_ok_and(|all| all.len() > before));
        wait_up_to(PATIENCE, "the agent's heartbeat", came)?;
        Ok(agent)
    }

    /// Starts the agent without waiting.
    pub fn spawn_agent(&self) -> Result<Child> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        let mut command = Command::new(program("headwater-agent")?);
        command
            .env("KUBECONFIG", &self.config)
            .args(lab::kafka_arguments(&self.lab.settings))
            .args(["--capture-cgroup", &self.cluster.node_cgroup()?.to_string_lossy(), "--node-name", "node1"])
            .args(["--kubernetes-enabled", "on", "--cluster-name", "test", "--http-paths", "full"])
            .args(["--spool-path", &self.lab.folder.path().join("spool").to_string_lossy()])
            // Often enough that no pod lives between two looks.
            .args(["--identities-interval-ms", "1000"]);
        let log = self.lab.folder.path().join(format!("agent-{number}.log"));
        Ok(Launch::new("agent", command, log).spawn()?)
    }

    /// A counter of the last heartbeat; 0 without one.
    pub fn counter(&self, name: &str) -> i64 {
        let agents = topics::agents(&self.lab.settings).unwrap_or_default();
        agents.last().and_then(|agent| agent.counters.get(name)).copied().unwrap_or_default()
    }

    pub fn wait_connected(&self, connected: bool) -> Result<()> {
        let what = format!("an agent that says kubernetes_connected={}", i64::from(connected));
        wait_up_to(PATIENCE, &what, || Ok((self.counter("kubernetes_connected") == 1) == connected))
    }

    /// Waits until every request that was reported by now has its records of both sides, and gives the verdict.
    pub fn settled(&self) -> Result<Verdict> {
        let reports = self.cluster.reports()?;
        let mut verdict = Verdict::default();
        let came = wait_up_to(Duration::from_secs(40), "the records of all requests", || {
            verdict = Verdict::of(&topics::requests(&self.lab.settings)?, &reports);
            if verdict.missing() > 0 {
                std::thread::sleep(Duration::from_secs(2));
            }
            Ok(verdict.missing() == 0)
        });
        // What is missing is a finding for the test, not an error of its own.
        if let Err(error) = came {
            println!("{error}");
        }
        Ok(verdict)
    }

    /// Waits until the requests of this pod, those that begin from now on, are recorded under its name, or as unknown.
    pub fn wait_seen(&self, pod: &str, named: bool) -> Result<()> {
        let begin_us = headwater_system_tests::client::time_of_day_us()?;
        let what = format!("a record of {pod} that is {}", if named { "named" } else { "unknown" });
        wait_up_to(PATIENCE, &what, || {
            std::thread::sleep(Duration::from_secs(1));
            let requests = topics::requests(&self.lab.settings)?;
            let of_pod = |path: &str| path.split('/').nth(2) == Some(pod);
            Ok(requests.iter().any(|request| {
                request.side == headwater_schemas::records::Side::Client
                    && request.completed_at_us > begin_us
                    && of_pod(&request.path)
                    && (request.pod == pod) == named
            }))
        })
    }
}
