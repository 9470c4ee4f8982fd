//! The agents' health, from their heartbeats.
//!
//! Counts in a heartbeat run from the start of its agent. What is happening now is the difference between the newest
//! heartbeat and the oldest of the kept minutes; after a restart of the agent only those of its new life are compared.
//! Bounds: so many agents, and [`SAMPLES_MAX`] heartbeats of each.

use std::collections::{BTreeMap, VecDeque};

use headwater_schemas::records::Agent;
use serde::Serialize;

use super::Live;

const SAMPLES_MAX: usize = 512;

/// An agent that was silent for longer than this many of its own intervals is late, then lost.
const LATE_INTERVALS: i64 = 3;
const LOST_INTERVALS: i64 = 12;
/// For an agent whose interval is not known yet, and no less than that for any.
const INTERVAL_US_MIN: i64 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No heartbeat for so long that it must be taken for dead.
    Lost,
    /// Heartbeats are late.
    Late,
    /// Beats, but dropped something in the kept minutes.
    Dropping,
    Ok,
    /// It said that it stops.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentsView {
    /// Those that need a look first.
    pub agents: Vec<AgentView>,
    pub cut_off: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentView {
    pub health: Health,
    pub heartbeat_age_ms: i64,
    /// The time that the fields `recent_*` are about.
    pub recent_s: f64,
    pub recent_captured: i64,
    pub recent_dropped: i64,
    pub recent_captured_per_s: f64,
    /// Captured less dropped, as a share of captured, over the kept minutes.
    pub completeness: f64,
    /// Share of one processor core.
    pub recent_cpu_share: f64,
    #[serde(flatten)]
    pub heartbeat: Agent,
}

pub(super) struct Agents {
    by_node: BTreeMap<String, Heartbeats>,
    agents_max: usize,
    horizon_us: i64,
    pub cut_off: u64,
}

struct Heartbeats {
    newest: Agent,
    /// Oldest first, all of the same life of the agent, and within the horizon of the newest.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    observed_at_us: i64,
    captured: i64,
    dropped: i64,
    cpu_ms: i64,
}

impl Agents {
    pub fn new(agents_max: usize, minutes: u32) -> Self {
        Agents { by_node: BTreeMap::new(), agents_max, horizon_us: i64::from(minutes) * 60_000_000, cut_off: 0 }
    }

    pub fn insert(&mut self, heartbeat: Agent) -> bool {
        if !self.by_node.contains_key(&heartbeat.node) && self.by_node.len() >= self.agents_max {
            self.forget_silent(heartbeat.observed_at_us);
            if self.by_node.len() >= self.agents_max {
                self.cut_off += 1;
                return false;
            }
        }
        match self.by_node.get_mut(&heartbeat.node) {
            Some(known) => known.follow(heartbeat, self.horizon_us),
            None => {
                let samples = VecDeque::from([Sample::of(&heartbeat)]);
                self.by_node.insert(heartbeat.node.clone(), Heartbeats { newest: heartbeat, samples });
                true
            }
        }
    }

    /// Room comes first from agents that have not been heard of for the kept minutes.
    fn forget_silent(&mut self, now_us: i64) {
        let horizon_us = self.horizon_us;
        self.by_node.retain(|_, known| now_us - known.newest.observed_at_us <= horizon_us);
    }
}

impl Heartbeats {
    fn follow(&mut self, heartbeat: Agent, horizon_us: i64) -> bool {
        let position = |agent: &Agent| (agent.agent_started_at_us, agent.sequence);
        if position(&heartbeat) <= position(&self.newest) {
            return false;
        }
        if heartbeat.agent_started_at_us != self.newest.agent_started_at_us || self.samples.len() >= SAMPLES_MAX {
            let keep =
                if heartbeat.agent_started_at_us == self.newest.agent_started_at_us { SAMPLES_MAX / 2 } else { 0 };
            self.samples.drain(..self.samples.len() - keep);
        }
        self.samples.push_back(Sample::of(&heartbeat));
        let oldest_us = heartbeat.observed_at_us - horizon_us;
        while self.samples.len() > 1 && self.samples.front().is_some_and(|sample| sample.observed_at_us < oldest_us) {
            self.samples.pop_front();
        }
        self.newest = heartbeat;
        true
    }

    /// How far apart its heartbeats are, as far as is known.
    fn interval_us(&self) -> i64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return INTERVAL_US_MIN };
        let steps = self.samples.len() as i64 - 1;
        let mean_us = if steps > 0 { (last.observed_at_us - first.observed_at_us) / steps } else { 0 };
        mean_us.max(INTERVAL_US_MIN)
    }

    fn view(&self, now_us: i64) -> AgentView {
        let newest = Sample::of(&self.newest);
        // In its first minutes an agent is compared with its start, when all counts were 0.
        let start = Sample { observed_at_us: self.newest.agent_started_at_us, captured: 0, dropped: 0, cpu_ms: 0 };
        let base = if self.samples.len() > 1 { self.samples.front().copied().unwrap_or(start) } else { start };
        let recent_us = (newest.observed_at_us - base.observed_at_us).max(0);
        let (captured, dropped) = (newest.captured - base.captured, newest.dropped - base.dropped);
        let age_us = (now_us - self.newest.observed_at_us).max(0);
        let per_s = |count: i64| if recent_us > 0 { count as f64 * 1e6 / recent_us as f64 } else { 0.0 };
        let health = match age_us / self.interval_us() {
            _ if self.newest.is_final => Health::Stopped,
            LOST_INTERVALS.. => Health::Lost,
            LATE_INTERVALS.. => Health::Late,
            _ if dropped > 0 => Health::Dropping,
            _ => Health::Ok,
        };
        AgentView {
            health,
            heartbeat_age_ms: age_us / 1000,
            recent_s: recent_us as f64 / 1e6,
            recent_captured: captured,
            recent_dropped: dropped,
            recent_captured_per_s: per_s(captured),
            completeness: 1.0 - super::share(dropped, captured.max(dropped)),
            recent_cpu_share: per_s(newest.cpu_ms - base.cpu_ms) / 1e3,
            heartbeat: self.newest.clone(),
        }
    }
}

impl Sample {
    fn of(agent: &Agent) -> Self {
        let sum = |counts: &BTreeMap<String, i64>| counts.values().fold(0_i64, |sum, count| sum.saturating_add(*count));
        Sample {
            observed_at_us: agent.observed_at_us,
            captured: sum(&agent.captured),
            dropped: sum(&agent.dropped),
            cpu_ms: agent.cpu_ms,
        }
    }
}

impl Live {
    pub fn agents(&self, now_us: i64) -> AgentsView {
        let mut agents: Vec<AgentView> = self.agents.by_node.values().map(|known| known.view(now_us)).collect();
        agents.sort_by(|a, b| (a.health, &a.heartbeat.node).cmp(&(b.health, &b.heartbeat.node)));
        AgentsView { agents, cut_off: self.agents.cut_off }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    const S: i64 = 1_000_000;

    fn beat(started_at_s: i64, sequence: i64, at_s: i64, captured: i64, dropped: i64) -> Agent {
        Agent {
            node: "n1".into(),
            agent_started_at_us: started_at_s * S,
            sequence,
            observed_at_us: at_s * S,
            version: "0.1.0".into(),
            kernel: "6.18".into(),
            capture_path: "tp_btf".into(),
            is_final: false,
            captured: BTreeMap::from([("requests".into(), captured)]),
            published: BTreeMap::from([("requests".into(), captured - dropped)]),
            in_flight: BTreeMap::new(),
            dropped: BTreeMap::from([("ring_full".into(), dropped)]),
            counters: BTreeMap::new(),
            cpu_ms: at_s,
            rss_bytes: 1,
        }
    }

    fn only(live: &Live, now_s: i64) -> AgentView {
        live.agents(now_s * S).agents.remove(0)
    }

    #[test]
    fn health_follows_the_heartbeat_and_the_drops() {
        let mut live = Live::new(Limits::default());
        for i in 0..4 {
            live.agent(beat(0, i, 100 + i * 5, 1000 * i, 0));
        }
        assert_eq!(only(&live, 116).health, Health::Ok);
        assert_eq!(only(&live, 131).health, Health::Late);
        assert_eq!(only(&live, 200).health, Health::Lost);
        live.agent(beat(0, 4, 120, 5000, 500));
        let view = only(&live, 121);
        assert_eq!((view.health, view.recent_captured, view.recent_dropped), (Health::Dropping, 5000, 500));
        assert!((view.completeness - 0.9).abs() < 1e-9);
        live.agent(Agent { is_final: true, ..beat(0, 5, 125, 5000, 500) });
        assert_eq!(only(&live, 999).health, Health::Stopped);
    }

    #[test]
    fn a_restarted_agent_starts_from_nothing_and_late_heartbeats_change_nothing() {
        let mut live = Live::new(Limits::default());
        live.agent(beat(0, 7, 100, 9000, 9));
        assert!(live.agent(beat(110, 0, 115, 10, 0)));
        assert!(!live.agent(beat(0, 8, 105, 9001, 9)));
        let view = only(&live, 116);
        assert_eq!((view.recent_captured, view.recent_dropped, view.health), (10, 0, Health::Ok));
    }

    #[test]
    fn more_agents_than_the_limit_are_counted() {
        let mut live = Live::new(Limits { agents_max: 1, ..Limits::default() });
        live.agent(beat(0, 0, 100, 0, 0));
        assert!(!live.agent(Agent { node: "n2".into(), ..beat(0, 0, 101, 0, 0) }));
        assert_eq!(live.agents(101 * S).cut_off, 1);
        assert!(live.agent(Agent { node: "n3".into(), ..beat(0, 0, 2000, 0, 0) }), "n1 is silent and makes room");
    }
}
