//! What a record of each exchange costs the agent and the broker, at a steady rate. Builds of the agent are compared in turn, so that the
//! machine's hour is the same for all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use headwater_process::{cpu_time, program};
use headwater_schemas::topics::Topic;

use crate::ground::{Detail, Ground, until_at_rest};
use crate::paced;
use crate::report::{Report, median};
use crate::servers::Nginx;
use crate::warm;

const RATE: u32 = 10_000;
const SPAN: Duration = Duration::from_secs(10);

/// Processor time for each request, of which both sides have a record.
#[derive(Debug, Clone, Copy)]
struct Cost {
    agent_us: f64,
    broker_us: f64,
    /// Servers and load, and with them the probes.
    load_us: f64,
    /// On the broker, for each side.
    bytes: f64,
}

impl Cost {
    fn all_us(&self) -> f64 {
        self.agent_us + self.broker_us + self.load_us
    }
}

/// Compares agents, or measures the one beside this program if none is given.
pub fn measure(ground: &Ground, agents: &[PathBuf], rounds: u32, report: &mut Report) -> Result<()> {
    let nginx = Nginx::start(ground)?;
    warm::up(ground, &nginx)?;
    let own = [program("headwater-agent")?];
    let agents = if agents.is_empty() { &own[..] } else { agents };
    println!(
        "nginx at {RATE} requests/s for {SPAN:?}, a record of each side: in microseconds a request, less those without an agent"
    );
    let mut all: Vec<Vec<Cost>> = vec![Vec::new(); agents.len()];
    for round in 0..rounds as usize {
        let none = run(ground, &nginx, None, "")?;
        for turn in 0..agents.len() {
            let at = (turn + round) % agents.len();
            let cost = run(ground, &nginx, Some(&agents[at]), &format!("records{round}{at}."))?;
            let cost =
                Cost { broker_us: cost.broker_us - none.broker_us, load_us: cost.load_us - none.load_us, ..cost };
            println!(
                "  round {round}, {}: agent {:.2}, broker {:.2}, servers and load {:.2}, all {:.2}; {:.1} bytes a side",
                agents[at].display(),
                cost.agent_us,
                cost.broker_us,
                cost.load_us,
                cost.all_us(),
                cost.bytes
            );
            all[at].push(cost);
        }
    }
    for (at, costs) in all.iter().enumerate() {
        let of = |part: fn(&Cost) -> f64| median(&costs.iter().map(part).collect::<Vec<_>>());
        report.add_named(format!("record_agent_us_{at}"), of(|cost| cost.agent_us), "us");
        report.add_named(format!("record_broker_us_{at}"), of(|cost| cost.broker_us), "us");
        report.add_named(format!("record_machine_us_{at}"), of(Cost::all_us), "us");
        report.add_named(format!("record_bytes_{at}"), of(|cost| cost.bytes), "bytes");
    }
    Ok(())
}

fn run(ground: &Ground, nginx: &Nginx, agent: Option<&Path>, prefix: &str) -> Result<Cost> {
    let agent =
        agent.map(|agent| ground.agent_of(agent, ground.load_cgroup(), prefix, Detail::Full, &[])).transpose()?;
    let agent_cpu = || agent.as_ref().map_or(Ok(Duration::ZERO), |agent| cpu_time(agent.process.pid()));
    let before = [agent_cpu()?, ground.stack_cpu()?, ground.load_cpu()?];
    let speed = paced::run(nginx.port(), RATE, SPAN, ground)?;
    if let Some(agent) = &agent {
        until_at_rest(agent.process.pid())?;
    }
    let after = [agent_cpu()?, ground.stack_cpu()?, ground.load_cpu()?];
    let us = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / speed.requests;
    let bytes = agent.as_ref().map_or(Ok(0), |agent| ground.log_bytes(agent, Topic::Requests))?;
    Ok(Cost { agent_us: us(0), broker_us: us(1), load_us: us(2), bytes: bytes as f64 / (2.0 * speed.requests) })
}
