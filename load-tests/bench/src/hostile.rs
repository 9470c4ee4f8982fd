//! What the agent takes of the processor beside programs that make it keep, copy or tell as much as they can, one kind at a time. The settings
//! are the default ones; `capture.cpu_budget` is what it has to keep to.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_process::{Launch, cpu_time};
use headwater_schemas::records::Agent;
use headwater_system_tests::{hostile, topics};

use crate::ground::{Detail, Ground};
use crate::report::Report;

/// The first argument of a process that is hostile.
pub const ARGUMENT: &str = "--hostile";

/// What it does, and over how many connections (of `operations`: how many operations, more than there is time for).
const KINDS: [(&str, usize); 7] = [
    ("unanswered", 600),
    ("header", 4),
    ("large", 4),
    ("random", 4),
    ("changing", 4),
    ("connects", 4),
    ("operations", 10_000_000),
];

/// The agent finds out in this time how much detail it can afford.
const BEFORE: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(20);
/// The probes' own time, of which heartbeats tell.
const PROBES: [&str; 4] = ["probe_send_us", "probe_receive_us", "probe_state_us", "probe_tell_us"];

/// Reports for each kind, or for one, how much of a core agent and probes take.
pub fn measure(ground: &Ground, only: Option<&str>, report: &mut Report) -> Result<()> {
    for (kind, number) in KINDS.into_iter().filter(|(kind, _)| only.is_none_or(|only| only == *kind)) {
        println!("{kind}, for {} s", (BEFORE + MEASURED).as_secs());
        let agent = ground.agent(ground.load_cgroup(), &format!("hostile-{kind}."), Detail::Default)?;
        let settings = ground.settings(&agent.prefix);
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ARGUMENT, kind, &number.to_string()]);
        let log = tempfile::NamedTempFile::new_in(ground.folder())?;
        let launch = Launch::new("hostile", command, log.path()).in_cgroup(ground.load_cgroup()).piping_stdin();
        let mut process = launch.spawn()?;
        let input = process.take_stdin();
        thread::sleep(BEFORE);
        let (began, cpu) = (Instant::now(), cpu_time(agent.process.pid())?);
        let probes = newest(&topics::agents(&settings)?)?;
        thread::sleep(MEASURED);
        process.require()?;
        let cores = (cpu_time(agent.process.pid())? - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        let heartbeats = topics::agents(&settings)?;
        let of_probes = newest(&heartbeats)?.cores_since(&probes);
        drop(input);
        each_look(&heartbeats);
        report.add_named(format!("hostile_{kind}_agent_core_percent"), 100.0 * cores, "%");
        report.add_named(format!("hostile_{kind}_probes_core_percent"), 100.0 * of_probes, "%");
    }
    Ok(())
}

/// What agent and probes took between two heartbeats, and how much detail there was.
fn each_look(heartbeats: &[Agent]) {
    for pair in heartbeats.windows(2) {
        let us = (pair[1].observed_at_us - pair[0].observed_at_us).max(1) as f64;
        let percent = |name: &str| {
            let of = |agent: &Agent| agent.counters.get(name).copied().unwrap_or(0);
            100.0 * (of(&pair[1]) - of(&pair[0])) as f64 / us
        };
        let agent = 100.0 * ((pair[1].cpu_ms - pair[0].cpu_ms) * 1000) as f64 / us;
        let [resting, hot] =
            ["resting_workloads", "sums_hot_per_second"].map(|name| pair[1].counters.get(name).copied().unwrap_or(0));
        println!(
            "  {:4.1} s: agent {agent:4.1} %, probes' sends {:4.1} %, receives {:4.1} %, states {:4.1} %, what they told {:4.1} %; then {resting} rest, hot from {hot}/s",
            us / 1e6,
            percent(PROBES[0]),
            percent(PROBES[1]),
            percent(PROBES[2]),
            percent(PROBES[3]),
        );
    }
}

/// A process that is hostile until its input ends.
pub fn load(words: &[String]) -> Result<()> {
    let [kind, number] = words else { anyhow::bail!("{ARGUMENT} KIND NUMBER") };
    hostile::run(kind, number.parse().context("NUMBER")?, true)
}

/// What the probes had taken at a time.
struct Taken {
    at_us: i64,
    us: i64,
}

fn newest(heartbeats: &[Agent]) -> Result<Taken> {
    let last = heartbeats.last().context("the agent has not sent a heartbeat")?;
    Ok(Taken { at_us: last.observed_at_us, us: PROBES.iter().filter_map(|program| last.counters.get(*program)).sum() })
}

impl Taken {
    fn cores_since(&self, before: &Taken) -> f64 {
        (self.us - before.us) as f64 / (self.at_us - before.at_us).max(1) as f64
    }
}
