//! What was right of what was blamed.
//!
//! A fault counts for its first alarm within five minutes of its beginning, whoever that blames. One that nobody tells of in this time is wrong in
//! every way, and as late as that.

use super::fault::{Fault, Kind};
use super::judges::{Alarm, Blamed};
use super::run::time_us;
use super::system::System;

/// In which time an alarm is of use.
pub const PATIENCE_S: f64 = 300.0;

/// How one judge did with one fault.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub kind: Kind,
    /// Seconds until the first alarm; none if there was none in time.
    pub detected_s: Option<f64>,
    /// The place of the culprit among the candidates of that alarm, from 0.
    pub rank: Option<usize>,
    /// Spans of five minutes before, at and behind the beginning, and those in which nobody else was blamed.
    pub spans: u32,
    pub clean_spans: u32,
}

impl Outcome {
    pub fn new(system: &System, fault: &Fault, alarms: &[Alarm]) -> Outcome {
        let is_at = |blamed: &Blamed| is_at(system, fault, blamed);
        let within = |from_s: f64, to_s: f64| {
            let (from_us, to_us) = (time_us(from_s), time_us(to_s));
            alarms.iter().filter(move |alarm| alarm.at_us > from_us && alarm.at_us <= to_us)
        };
        let first = within(fault.from_s, fault.from_s + PATIENCE_S).next();
        let starts = [fault.from_s - PATIENCE_S, fault.from_s, fault.from_s + PATIENCE_S];
        let is_clean = |from_s: &&f64| within(**from_s, **from_s + PATIENCE_S).all(|alarm| is_at(&alarm.candidates[0]));
        Outcome {
            kind: fault.kind,
            detected_s: first.map(|alarm| (alarm.at_us - time_us(fault.from_s)) as f64 / 1e6),
            rank: first.and_then(|alarm| alarm.candidates.iter().position(is_at)),
            spans: starts.len() as u32,
            clean_spans: starts.iter().filter(is_clean).count() as u32,
        }
    }
}

/// Whether what is blamed is the culprit: by its name, or by the address at which it is asked for if its name was lost.
fn is_at(system: &System, fault: &Fault, blamed: &Blamed) -> bool {
    fault.is_at(system, &blamed.client, &blamed.server)
}

/// Of many faults.
#[derive(Debug, Default, Clone, Copy)]
pub struct Score {
    pub faults: usize,
    pub detected: usize,
    pub top1: f64,
    pub top3: f64,
    pub detect_median_s: f64,
    pub specificity: f64,
}

impl Score {
    /// Faults that were not detected count as detected after [`PATIENCE_S`].
    pub fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Score {
        let outcomes: Vec<&Outcome> = outcomes.collect();
        let share = |count: usize| count as f64 / outcomes.len().max(1) as f64;
        let within = |most: usize| share(outcomes.iter().filter(|o| o.rank.is_some_and(|rank| rank < most)).count());
        let mut late: Vec<f64> = outcomes.iter().map(|outcome| outcome.detected_s.unwrap_or(PATIENCE_S)).collect();
        late.sort_by(f64::total_cmp);
        let spans: u32 = outcomes.iter().map(|outcome| outcome.spans).sum();
        let clean: u32 = outcomes.iter().map(|outcome| outcome.clean_spans).sum();
        Score {
            faults: outcomes.len(),
            detected: outcomes.iter().filter(|outcome| outcome.detected_s.is_some()).count(),
            top1: within(1),
            top3: within(3),
            detect_median_s: late.get(late.len().saturating_sub(1) / 2).copied().unwrap_or(PATIENCE_S),
            specificity: f64::from(clean) / f64::from(spans.max(1)),
        }
    }
}
