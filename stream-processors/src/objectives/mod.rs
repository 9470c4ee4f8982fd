//! Objectives: says when a service uses up its budget of bad requests faster than it may.
//!
//! In: records of `edges` and `latencies`, the ends of windows, and the [`Rules`] of a file, which may change. Out: alerts, firing and resolved. What is counted is
//! what the records say: a window of which something is missing counts with what was seen. Bounded: pairs of an objective and a service, and the evidence of each.

mod budget;
pub mod file;
pub mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headwater_schemas::records::{Alert, AlertState, Edge, Evidence, Latency, Workload};
use serde::{Deserialize, Serialize};

use self::budget::{Budget, Count};
use self::rules::{BurnRate, Objective, Rules, Span};
use crate::bottlenecks::slower_than;
use crate::processor::{BadSnapshot, Counters};

/// Of the alerts that objectives raise.
pub const KIND: &str = "burn_rate";
/// Pairs of an objective and a service.
const KEPT_MAX: usize = 1000;
/// Records that may show one alert.
const EVIDENCE_MAX: usize = 20;
/// So many bad requests in the long window are no chance of one or two.
const BAD_MIN: u64 = 3;
/// Windows in a row in which the short one is within its rate, before an alert ends.
const WINDOWS_TO_RESOLVE: u32 = 2;
/// About what one pair takes in a snapshot.
const KEPT_BYTES: usize = 3000;
/// To be changed with any change of what is written.
const VERSION: u8 = 1;

/// Counts for all objectives.
#[derive(Default)]
pub struct Objectives {
    rules: Arc<Rules>,
    /// What was counted in windows that are not closed.
    open: BTreeMap<i64, BTreeMap<Key, Seen>>,
    kept: BTreeMap<Key, Kept>,
    counted_through_us: Option<i64>,
}

/// What one objective counts of one service. The meaning is the objective's ([`Objective::meaning`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    objective: String,
    meaning: u32,
    service: Workload,
}

#[derive(Default)]
struct Seen {
    count: Count,
    evidence: Vec<Evidence>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    budget: Budget,
    /// By long and short window.
    firing: BTreeMap<(i64, i64), Firing>,
    /// The newest records that had bad requests.
    evidence: VecDeque<Evidence>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Firing {
    started_at_us: i64,
    incident_from_us: i64,
    good_windows: u32,
}

/// Where a record stands.
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
}

/// What is to be counted of a record: nothing of most.
pub struct Counted(Vec<(Key, Count)>);

impl Objectives {
    /// What it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Goes by these rules from the next end of a window on. What was counted for an objective stays as long as it counts the same.
    pub fn follow(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
    }

    pub fn is_empty(&self) -> bool {
        self.rules.objectives.is_empty() && self.kept.is_empty()
    }

    pub fn of_edge(&self, edge: &Edge) -> Counted {
        self.of(false, &edge.client, &edge.server, &edge.protocol, |objective| {
            let failed = if objective.failed_connections { edge.connections_failed } else { 0 };
            let [requests, errors, failed] = [edge.requests, edge.errors, failed].map(unsigned);
            Some(Count { requests: requests + failed, bad: errors + failed })
        })
    }

    pub fn of_latency(&self, latency: &Latency) -> Counted {
        self.of(true, &latency.client, &latency.server, &latency.protocol, |objective| {
            let is_asked = objective.operation.as_ref().is_none_or(|operation| *operation == latency.operation);
            let [requests, errors] = [latency.requests, latency.errors].map(unsigned);
            let [slow] = objective.within.map_or([0], |within| slower_than(&latency.duration_ns, [within.0 as f64]));
            let slow = unsigned(slow);
            // A record has one class of status, so that all of its requests are errors or none is.
            let bad = if errors > 0 { errors.saturating_add(slow).min(requests) } else { slow.min(requests) };
            is_asked.then_some(Count { requests, bad })
        })
    }

    fn of(
        &self,
        is_of_operations: bool,
        client: &Workload,
        server: &Workload,
        protocol: &str,
        count: impl Fn(&Objective) -> Option<Count>,
    ) -> Counted {
        let fits = |objective: &&Objective| {
            objective.is_of_operations() == is_of_operations && objective.fits(client, server, protocol)
        };
        let counted = self.rules.objectives.iter().filter(fits).filter_map(|objective| {
            let count = count(objective).filter(|count| count.requests > 0)?;
            let key = Key { objective: objective.name.clone(), meaning: objective.meaning(), service: server.clone() };
            Some((key, count))
        });
        Counted(counted.collect())
    }

    /// Counts what [`Objectives::of_edge`] or [`Objectives::of_latency`] gave of a record in a window.
    pub fn count(&mut self, window_us: i64, counted: Counted, place: &Place<'_>) {
        if self.counted_through_us.is_some_and(|through_us| window_us <= through_us) {
            return;
        }
        for (key, count) in counted.0 {
            let seen = self.open.entry(window_us).or_default().entry(key).or_default();
            seen.count.add(count);
            if count.bad > 0 && seen.evidence.len() < EVIDENCE_MAX {
                seen.evidence.push(Evidence {
                    topic: place.topic.to_owned(),
                    partition: place.partition,
                    offset: place.offset,
                    window_start_us: window_us,
                });
            }
        }
    }

    /// A window is whole. `incident_of` says since when others are told of that blame the same service.
    pub fn close(
        &mut self,
        window_us: i64,
        end_us: i64,
        incident_of: impl Fn(&Workload) -> Option<i64>,
        counters: &mut Counters,
    ) -> Vec<Alert> {
        if self.counted_through_us.is_some_and(|through_us| window_us <= through_us) {
            return Vec::new();
        }
        self.counted_through_us = Some(window_us);
        let later = self.open.split_off(&(window_us + 1));
        for (window_us, seen) in std::mem::replace(&mut self.open, later) {
            for (key, seen) in seen {
                if self.kept.len() >= KEPT_MAX && !self.kept.contains_key(&key) {
                    counters.add("objectives_cut_off", 1);
                    continue;
                }
                let kept = self.kept.entry(key).or_default();
                kept.budget.add(window_us, seen.count);
                kept.evidence.extend(seen.evidence);
                let too_many = kept.evidence.len().saturating_sub(EVIDENCE_MAX);
                kept.evidence.drain(..too_many);
            }
        }
        let rules = Arc::clone(&self.rules);
        let by_name: BTreeMap<&str, (&Objective, u32)> = rules
            .objectives
            .iter()
            .map(|objective| (objective.name.as_str(), (objective, objective.meaning())))
            .collect();
        let mut alerts = Vec::new();
        self.kept.retain(|key, kept| {
            let objective = by_name.get(key.objective.as_str()).filter(|(_, meaning)| *meaning == key.meaning);
            let now = Now { key, window_us, end_us };
            kept.step(&now, objective.map(|(objective, _)| *objective), &incident_of, &mut alerts);
            (kept.budget.forget(window_us) && objective.is_some()) || !kept.firing.is_empty()
        });
        alerts
    }

    /// Names of the objectives that some request fits, one for each service.
    pub fn counted(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(|key| key.objective.as_str())
    }

    /// Alerts that fire.
    pub fn firing(&self) -> usize {
        self.kept.values().map(|kept| kept.firing.len()).sum()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// About how many bytes a snapshot has.
    pub fn snapshot_bytes(&self) -> usize {
        self.kept.len() * KEPT_BYTES
    }

    /// What was counted, for whoever goes on. Windows that are open are counted again.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        postcard::to_extend(&(self.counted_through_us, &self.kept), vec![VERSION]).ok()
    }

    /// Goes on with what was counted.
    ///
    /// # Errors
    /// If these bytes are of another version of this program.
    pub fn restore(bytes: &[u8]) -> Result<Objectives, BadSnapshot> {
        let (version, written) = bytes.split_first().ok_or_else(|| BadSnapshot("it is empty".to_owned()))?;
        if *version != VERSION {
            return Err(BadSnapshot(format!("it has version {version}, this program writes {VERSION}")));
        }
        let (counted_through_us, kept) =
            postcard::from_bytes(written).map_err(|error| BadSnapshot(format!("it cannot be read: {error}")))?;
        Ok(Objectives { kept, counted_through_us, ..Objectives::default() })
    }
}

/// The window that has ended, and whose it is.
struct Now<'a> {
    key: &'a Key,
    window_us: i64,
    end_us: i64,
}

impl Kept {
    /// Fires and resolves, for each burn rate. Without an objective, all that fires is over.
    fn step(
        &mut self,
        now: &Now<'_>,
        objective: Option<&Objective>,
        incident_of: &impl Fn(&Workload) -> Option<i64>,
        alerts: &mut Vec<Alert>,
    ) {
        let mut over = std::mem::take(&mut self.firing);
        for burn_rate in objective.map_or(&[][..], |objective| &objective.burn_rates) {
            let Some(objective) = objective else { continue };
            let windows = (burn_rate.long.0, burn_rate.short.0);
            let [long, short] = [windows.0, windows.1].map(|span_us| self.budget.over(now.window_us, span_us));
            let [of_long, of_short] = [long, short].map(|count| count.bad_share() / objective.allowed());
            let told = Told { objective, burn_rate, long, of_long, short };
            let fired = over.remove(&windows);
            let is_burning = long.bad >= BAD_MIN && of_long >= burn_rate.rate && of_short >= burn_rate.rate;
            match fired {
                None if is_burning => {
                    let started_at_us = now.window_us;
                    let incident_from_us = incident_of(&now.key.service).unwrap_or(started_at_us);
                    let firing = Firing { started_at_us, incident_from_us, good_windows: 0 };
                    let evidence = self.evidence.iter().cloned().collect();
                    alerts.push(alert(now, &firing, AlertState::Firing, &told, told.firing(), evidence));
                    self.firing.insert(windows, firing);
                }
                None => {}
                Some(mut firing) => {
                    // That nobody asks any more is no sign that it is well, as long as anything is known of it.
                    let is_good = (short.requests > 0 && of_short < burn_rate.rate) || long.requests == 0;
                    firing.good_windows = if is_good { firing.good_windows + 1 } else { 0 };
                    if firing.good_windows < WINDOWS_TO_RESOLVE {
                        self.firing.insert(windows, firing);
                    } else {
                        alerts.push(alert(now, &firing, AlertState::Resolved, &told, told.resolved(), Vec::new()));
                    }
                }
            }
        }
        for ((long_us, short_us), firing) in over {
            alerts.push(gone(now, &firing, (long_us, short_us)));
        }
    }
}

/// What an alert says of its objective.
struct Told<'a> {
    objective: &'a Objective,
    burn_rate: &'a BurnRate,
    long: Count,
    of_long: f64,
    short: Count,
}

impl Told<'_> {
    fn firing(&self) -> String {
        let Told { objective: Objective { name, target, .. }, burn_rate: BurnRate { long, short, .. }, .. } = self;
        format!(
            "{name}: its budget of bad requests goes {:.1} times as fast as {target} % allow. Of the last {long} {} of {} requests were bad, \
             of the last {short} {} of {}.",
            self.of_long, self.long.bad, self.long.requests, self.short.bad, self.short.requests
        )
    }

    fn resolved(&self) -> String {
        let Told { objective: Objective { name, .. }, burn_rate: BurnRate { short, .. }, .. } = self;
        if self.long.requests == 0 {
            return format!("{name}: there are no requests any more.");
        }
        format!("{name}: of the last {short} only {} of {} requests were bad.", self.short.bad, self.short.requests)
    }
}

fn alert(
    now: &Now<'_>,
    firing: &Firing,
    state: AlertState,
    told: &Told<'_>,
    message: String,
    evidence: Vec<Evidence>,
) -> Alert {
    let Told { objective, burn_rate, of_long, .. } = told;
    Alert {
        state,
        protocol: objective.protocol.clone().unwrap_or_default(),
        operation: objective.operation.clone().unwrap_or_default(),
        value: *of_long,
        threshold: burn_rate.rate,
        message,
        evidence,
        severity: burn_rate.severity.clone(),
        owner: objective.owner.clone(),
        ..gone(now, firing, (burn_rate.long.0, burn_rate.short.0))
    }
}

/// The end of one whose objective, or burn rate, is not there any more.
fn gone(Now { key, end_us, .. }: &Now<'_>, firing: &Firing, (long_us, short_us): (i64, i64)) -> Alert {
    let Key { objective, service, .. } = key;
    let Firing { started_at_us, incident_from_us, .. } = firing;
    let (long_s, short_s) = (long_us / 1_000_000, short_us / 1_000_000);
    Alert {
        alert_id: format!("{KIND} {objective} {} {long_s} {short_s} {started_at_us}", service.key()),
        state: AlertState::Resolved,
        kind: KIND.to_owned(),
        service: service.clone(),
        client: Workload::unknown(),
        server: service.clone(),
        protocol: String::new(),
        operation: String::new(),
        started_at_us: *started_at_us,
        observed_at_us: *end_us,
        value: 0.0,
        baseline: 1.0,
        threshold: 0.0,
        message: format!("{objective}: it is not among the objectives any more."),
        evidence: Vec::new(),
        incident_id: format!("{} {incident_from_us}", service.key()),
        score: 0.0,
        runners_up: Vec::new(),
        objective: objective.clone(),
        severity: String::new(),
        owner: String::new(),
    }
}

/// The long and the short window of an alert of an objective; none of another alert.
pub fn windows_of(alert: &Alert) -> Option<(Span, Span)> {
    let alert = Some(alert).filter(|alert| alert.kind == KIND)?;
    let mut words = alert.alert_id.rsplit(' ').skip(1).map(|word| word.parse::<i64>().ok());
    let (short_s, long_s) = (words.next()??, words.next()??);
    Some((Span(long_s.checked_mul(1_000_000)?), Span(short_s.checked_mul(1_000_000)?)))
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests;
