//! The agents' health, from their heartbeats.
//!
//! Counts in a heartbeat run from the start of its agent. What is happening now is the difference between the newest
//! heartbeat and the oldest of the kept minutes; after a restart of the agent only those of its new life are compared.
//! A heartbeat counts from when it was sent, or from when it was read if that was earlier: a clock that is ahead keeps no
//! node alive.
//! Bounds: so many agents, and [`SAMPLES_MAX`] heartbeats of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headwater_schemas::records::Agent;
use serde::Serialize;

use super::Live;

const SAMPLES_MAX: usize = 512;

/// An agent that was silent for longer than this many of its own intervals is late, then lost.
const LATE_INTERVALS: i64 = 3;
const LOST_INTERVALS: i64 = 12;
/// For an agent whose interval is not known yet, and no less than that for any.
const INTERVAL_US_MIN: i64 = 5_000_000;
/// An agent is told to drop for so long after its last loss; the loss itself stays in its figures.
const DROPPING_US: i64 = 60_000_000;
/// Clocks of machines that keep time by the network are closer together than this.
const CLOCK_AHEAD_US: i64 = 2_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No heartbeat for so long that it must be taken for dead.
    Lost,
    /// Heartbeats are late.
    Late,
    /// Beats, but dropped something in the last minute.
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
    /// How far its clock was ahead of the console's when the newest heartbeat was read; 0 if it was not.
    pub clock_ahead_ms: i64,
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

#[derive(Clone)]
pub(super) struct Agents {
    by_node: BTreeMap<String, Arc<Heartbeats>>,
    agents_max: usize,
    horizon_us: i64,
    pub cut_off: u64,
}

#[derive(Clone)]
struct Heartbeats {
    newest: Agent,
    heard_at_us: i64,
    clock_ahead_us: i64,
    /// Oldest first, all of the same life of the agent, and within the horizon of the newest.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    observed_at_us: i64,
    /// When it was sent, or read if that was earlier.
    heard_at_us: i64,
    captured: i64,
    dropped: i64,
    cpu_ms: i64,
}

impl Agents {
    pub fn new(agents_max: usize, minutes: u32) -> Self {
        Agents { by_node: BTreeMap::new(), agents_max, horizon_us: i64::from(minutes) * 60_000_000, cut_off: 0 }
    }

    pub fn insert(&mut self, heartbeat: Agent, now_us: i64) -> bool {
        if !self.by_node.contains_key(&heartbeat.node) && self.by_node.len() >= self.agents_max {
            self.forget_silent(now_us);
            if self.by_node.len() >= self.agents_max {
                self.cut_off += 1;
                return false;
            }
        }
        match self.by_node.get_mut(&heartbeat.node) {
            Some(known) if known.is_before(&heartbeat, now_us) => {
                Arc::make_mut(known).follow(heartbeat, now_us, self.horizon_us);
                true
            }
            Some(_) => false,
            None => {
                self.by_node.insert(heartbeat.node.clone(), Arc::new(Heartbeats::first(heartbeat, now_us)));
                true
            }
        }
    }

    /// Room comes first from agents that have not been heard of for the kept minutes.
    fn forget_silent(&mut self, now_us: i64) {
        let horizon_us = self.horizon_us;
        self.by_node.retain(|_, known| now_us - known.heard_at_us <= horizon_us);
    }
}

impl Heartbeats {
    fn first(heartbeat: Agent, now_us: i64) -> Self {
        let (heard_at_us, clock_ahead_us) = heard(&heartbeat, now_us);
        let samples = VecDeque::from([Sample::of(&heartbeat, heard_at_us)]);
        Heartbeats { newest: heartbeat, heard_at_us, clock_ahead_us, samples }
    }

    /// Whether this heartbeat is later than all that are known of its node.
    fn is_before(&self, heartbeat: &Agent, now_us: i64) -> bool {
        if heartbeat.agent_started_at_us == self.newest.agent_started_at_us {
            return heartbeat.sequence > self.newest.sequence;
        }
        // A life that began in the future had a wrong clock: one that began by now is the later one, whatever the times say.
        let in_future = |agent: &Agent| agent.agent_started_at_us > now_us.saturating_add(CLOCK_AHEAD_US);
        match (in_future(&self.newest), in_future(heartbeat)) {
            (true, false) => true,
            (false, true) => now_us - self.heard_at_us > INTERVAL_US_MIN,
            _ => heartbeat.agent_started_at_us > self.newest.agent_started_at_us,
        }
    }

    fn follow(&mut self, heartbeat: Agent, now_us: i64, horizon_us: i64) {
        if heartbeat.agent_started_at_us != self.newest.agent_started_at_us {
            *self = Heartbeats::first(heartbeat, now_us);
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.drain(..self.samples.len() - SAMPLES_MAX / 2);
        }
        (self.heard_at_us, self.clock_ahead_us) = heard(&heartbeat, now_us);
        self.samples.push_back(Sample::of(&heartbeat, self.heard_at_us));
        let oldest_us = heartbeat.observed_at_us - horizon_us;
        while self.samples.len() > 1 && self.samples.front().is_some_and(|sample| sample.observed_at_us < oldest_us) {
            self.samples.pop_front();
        }
        self.newest = heartbeat;
    }

    /// How far apart its heartbeats are, as far as is known.
    fn interval_us(&self) -> i64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return INTERVAL_US_MIN };
        let steps = self.samples.len() as i64 - 1;
        let mean_us = if steps > 0 { (last.heard_at_us - first.heard_at_us) / steps } else { 0 };
        mean_us.max(INTERVAL_US_MIN)
    }

    fn view(&self, now_us: i64) -> AgentView {
        let newest = Sample::of(&self.newest, self.heard_at_us);
        // In its first minutes an agent is compared with its start, when all counts were 0.
        let start_us = self.newest.agent_started_at_us;
        let start = Sample { observed_at_us: start_us, heard_at_us: start_us, captured: 0, dropped: 0, cpu_ms: 0 };
        let base = if self.samples.len() > 1 { self.samples.front().copied().unwrap_or(start) } else { start };
        let recent_us = (newest.observed_at_us - base.observed_at_us).max(0);
        let (captured, dropped) = (newest.captured - base.captured, newest.dropped - base.dropped);
        let age_us = (now_us - self.heard_at_us).max(0);
        let per_s = |count: i64| if recent_us > 0 { count as f64 * 1e6 / recent_us as f64 } else { 0.0 };
        AgentView {
            health: self.health(now_us),
            heartbeat_age_ms: age_us / 1000,
            clock_ahead_ms: self.clock_ahead_us / 1000,
            recent_s: recent_us as f64 / 1e6,
            recent_captured: captured,
            recent_dropped: dropped,
            recent_captured_per_s: per_s(captured),
            completeness: 1.0 - super::share(dropped, captured.max(dropped)),
            recent_cpu_share: per_s(newest.cpu_ms - base.cpu_ms) / 1e3,
            heartbeat: self.newest.clone(),
        }
    }

    fn health(&self, now_us: i64) -> Health {
        match (now_us - self.heard_at_us).max(0) / self.interval_us() {
            _ if self.newest.is_final => Health::Stopped,
            LOST_INTERVALS.. => Health::Lost,
            LATE_INTERVALS.. => Health::Late,
            _ if self.dropped_lately() => Health::Dropping,
            _ => Health::Ok,
        }
    }

    /// Whether it lost something in the last minute, as far as its heartbeats tell.
    fn dropped_lately(&self) -> bool {
        let dropped = sum(&self.newest.dropped);
        let since_us = self.newest.observed_at_us - DROPPING_US;
        if self.newest.agent_started_at_us > since_us {
            return dropped > 0;
        }
        let before = self.samples.iter().rev().find(|sample| sample.observed_at_us <= since_us);
        before.or(self.samples.front()).is_some_and(|before| dropped > before.dropped)
    }
}

/// When a heartbeat counts as heard, and how far its clock is ahead of ours.
fn heard(heartbeat: &Agent, now_us: i64) -> (i64, i64) {
    let ahead_us = heartbeat.observed_at_us.saturating_sub(now_us);
    (heartbeat.observed_at_us.min(now_us), if ahead_us > CLOCK_AHEAD_US { ahead_us } else { 0 })
}

fn sum(counts: &BTreeMap<String, i64>) -> i64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

impl Sample {
    fn of(agent: &Agent, heard_at_us: i64) -> Self {
        Sample {
            observed_at_us: agent.observed_at_us,
            heard_at_us,
            captured: sum(&agent.captured),
            dropped: sum(&agent.dropped),
            cpu_ms: agent.cpu_ms,
        }
    }
}

impl Live {
    /// How many agents beat, whether or not they lose something.
    pub fn agents_beating(&self, now_us: i64) -> usize {
        let beats = |known: &&Arc<Heartbeats>| matches!(known.health(now_us), Health::Ok | Health::Dropping);
        self.agents.by_node.values().filter(beats).count()
    }

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
            dropped_by_workload: Vec::new(),
        }
    }

    fn only(live: &Live, now_s: i64) -> AgentView {
        live.agents(now_s * S).agents.remove(0)
    }

    /// Takes a heartbeat in when it was sent.
    fn hear(live: &mut Live, heartbeat: Agent) -> bool {
        let now_us = heartbeat.observed_at_us;
        live.agent(heartbeat, now_us)
    }

    #[test]
    fn health_follows_the_heartbeat_and_the_drops() {
        let mut live = Live::new(Limits::default());
        for i in 0..4 {
            hear(&mut live, beat(0, i, 100 + i * 5, 1000 * i, 0));
        }
        assert_eq!(only(&live, 116).health, Health::Ok);
        assert_eq!(only(&live, 131).health, Health::Late);
        assert_eq!(only(&live, 200).health, Health::Lost);
        hear(&mut live, beat(0, 4, 120, 5000, 500));
        let view = only(&live, 121);
        assert_eq!((view.health, view.recent_captured, view.recent_dropped), (Health::Dropping, 5000, 500));
        assert!((view.completeness - 0.9).abs() < 1e-9);
        hear(&mut live, Agent { is_final: true, ..beat(0, 5, 125, 5000, 500) });
        assert_eq!(only(&live, 999).health, Health::Stopped);
    }

    #[test]
    fn a_loss_at_the_start_is_over_after_a_minute_and_stays_in_the_figures() {
        let mut live = Live::new(Limits::default());
        hear(&mut live, beat(100, 0, 101, 10, 2));
        assert_eq!(only(&live, 102).health, Health::Dropping);
        for i in 1..20 {
            hear(&mut live, beat(100, i, 101 + i * 5, 10 + i * 1000, 2));
        }
        let view = only(&live, 197);
        assert_eq!((view.health, view.heartbeat.dropped["ring_full"]), (Health::Ok, 2));
        hear(&mut live, beat(100, 20, 201, 20_000, 3));
        assert_eq!(only(&live, 202).health, Health::Dropping, "a new loss is told");
    }

    #[test]
    fn an_old_agent_of_which_one_heartbeat_is_known_is_not_blamed_for_its_start() {
        let mut live = Live::new(Limits::default());
        hear(&mut live, beat(0, 900, 5_000, 10_000, 2));
        assert_eq!(only(&live, 5_001).health, Health::Ok);
    }

    #[test]
    fn a_clock_that_is_ahead_keeps_no_dead_node_alive() {
        let mut live = Live::new(Limits::default());
        live.agent(beat(0, 0, 95, 0, 0), 95 * S);
        live.agent(beat(0, 1, 4_000, 0, 0), 100 * S);
        let view = only(&live, 101);
        assert_eq!((view.health, view.clock_ahead_ms), (Health::Ok, 3_900_000));
        assert_eq!(only(&live, 200).health, Health::Lost);
        assert_eq!(live.agents_beating(200 * S), 0);
        // Its clock was set right, and the agent started again.
        assert!(live.agent(beat(210, 0, 211, 0, 0), 211 * S));
        assert_eq!(only(&live, 212).health, Health::Ok);
    }

    #[test]
    fn a_life_from_the_future_is_followed_by_one_of_the_present() {
        let mut live = Live::new(Limits::default());
        live.agent(beat(9_000, 5, 9_010, 0, 0), 100 * S);
        assert!(live.agent(beat(110, 0, 111, 7, 0), 111 * S));
        assert!(!live.agent(beat(9_000, 6, 9_015, 0, 0), 112 * S), "what is left of the life before changes nothing");
        assert_eq!(only(&live, 113).recent_captured, 7);
    }

    #[test]
    fn a_restarted_agent_starts_from_nothing_and_late_heartbeats_change_nothing() {
        let mut live = Live::new(Limits::default());
        hear(&mut live, beat(0, 7, 100, 9000, 9));
        assert!(hear(&mut live, beat(110, 0, 115, 10, 0)));
        assert!(!live.agent(beat(0, 8, 105, 9001, 9), 116 * S));
        let view = only(&live, 116);
        assert_eq!((view.recent_captured, view.recent_dropped, view.health), (10, 0, Health::Ok));
    }

    #[test]
    fn more_agents_than_the_limit_are_counted() {
        let mut live = Live::new(Limits { agents_max: 1, ..Limits::default() });
        hear(&mut live, beat(0, 0, 100, 0, 0));
        assert!(!hear(&mut live, Agent { node: "n2".into(), ..beat(0, 0, 101, 0, 0) }));
        assert_eq!(live.agents(101 * S).cut_off, 1);
        assert!(hear(&mut live, Agent { node: "n3".into(), ..beat(0, 0, 2000, 0, 0) }), "n1 is silent and makes room");
    }
}
