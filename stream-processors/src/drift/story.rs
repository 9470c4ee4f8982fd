//! The story of one edge and what is looked at of it: two bad hours in a row fire, two good ones resolve.

use headwater_schemas::records::Evidence;

const HOURS_TO_FIRE: u32 = 2;
const HOURS_TO_RESOLVE: u32 = 2;
/// Without anything to go by for so long, it is over.
const SILENT_HOURS_MAX: u32 = 24;
/// Records that show it.
const EVIDENCE_MAX: usize = 20;

/// What an hour is held against.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    pub value: f64,
    pub usual: f64,
    pub limit: f64,
    /// Of a latency, the percentile.
    pub percentile: u32,
    /// How improbable it is by chance, as a natural logarithm.
    pub surprise: f64,
    pub deviates: bool,
}

#[derive(Debug, Default)]
pub struct Story {
    bad_hours: u32,
    unexplained_hours: u32,
    good_hours: u32,
    silent_hours: u32,
    since_us: i64,
    /// Start of the first bad hour of what fires.
    firing_since_us: Option<i64>,
    evidence: Vec<Evidence>,
}

/// What to say after an hour.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Fire {
        since_us: i64,
        evidence: Vec<Evidence>,
    },
    /// None if there is nothing to go by any more.
    Resolve {
        since_us: i64,
        evidence: Option<Evidence>,
    },
}

impl Story {
    /// Whether nothing is known of it that matters.
    pub fn is_idle(&self) -> bool {
        self.firing_since_us.is_none() && self.bad_hours == 0
    }

    pub fn is_firing(&self) -> bool {
        self.firing_since_us.is_some()
    }

    /// The next hour. `is_explained` if a deeper edge deviates, too.
    pub fn step(&mut self, hour_us: i64, read: Option<(&Reading, &Evidence)>, is_explained: bool) -> Option<Step> {
        let Some((reading, evidence)) = read else {
            self.silent_hours += 1;
            // Hours that follow each other count.
            (self.bad_hours, self.unexplained_hours) = (0, 0);
            return if self.silent_hours > SILENT_HOURS_MAX { self.resolve(None) } else { None };
        };
        self.silent_hours = 0;
        // What fires goes on where there is too little to be sure.
        let is_bad = reading.deviates || (self.firing_since_us.is_some() && reading.value > reading.limit);
        if !is_bad {
            (self.bad_hours, self.unexplained_hours) = (0, 0);
            self.good_hours += 1;
            return if self.good_hours >= HOURS_TO_RESOLVE { self.resolve(Some(evidence.clone())) } else { None };
        }
        if self.bad_hours == 0 {
            (self.since_us, self.evidence) = (hour_us, Vec::new());
        }
        (self.bad_hours, self.good_hours) = (self.bad_hours + 1, 0);
        self.unexplained_hours = if is_explained { 0 } else { self.unexplained_hours + 1 };
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(evidence.clone());
        }
        if self.firing_since_us.is_some() || self.unexplained_hours < HOURS_TO_FIRE {
            return None;
        }
        self.firing_since_us = Some(self.since_us);
        Some(Step::Fire { since_us: self.since_us, evidence: self.evidence.clone() })
    }

    fn resolve(&mut self, evidence: Option<Evidence>) -> Option<Step> {
        let fired = std::mem::take(self).firing_since_us;
        fired.map(|since_us| Step::Resolve { since_us, evidence })
    }
}
