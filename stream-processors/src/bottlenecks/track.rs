//! The story of one subject and kind of deviation: calm, in an incident, and whether an alert is firing for it.
//!
//! In: one reading a window. Out: when to fire and when to resolve. Two bad windows in a row make an incident, two good ones end
//! it; an alert fires once two bad windows in a row are not explained by a deeper edge, or three if that is what a restart looks like, too: if
//! less than half of its requests fail, or connections do and enough come through. Where all requests of an edge stop, nothing ends.

use headwater_schemas::records::Evidence;

use super::away::Away;
use super::baseline::Baseline;
use super::reading::{Deviating, Reading};

const WINDOWS_TO_FIRE: u32 = 2;
/// Where it may be a restart.
const WINDOWS_TO_FIRE_IN_PART: u32 = 3;
const WINDOWS_TO_RESOLVE: u32 = 2;
/// Without a reading for this many windows, the subject is gone.
const SILENT_WINDOWS_MAX: u32 = 6;
/// What lasts longer than this is the new past.
pub const INCIDENT_WINDOWS_MAX: i64 = 6 * 360;

/// Records that may show one alert.
const EVIDENCE_MAX: usize = 20;

/// State of one subject and kind.
#[derive(Debug, Default)]
pub struct Track {
    /// First of the bad windows in a row, and what was usual before it.
    pub bad_since: Option<(i64, Baseline)>,
    bad_windows: u32,
    unexplained_windows: u32,
    /// The last window in which it waited for a deeper edge.
    waited_us: Option<i64>,
    good_windows: u32,
    silent_windows: u32,
    /// Windows in a row in which the edge carried nothing.
    cut_windows: u32,
    evidence: Vec<Evidence>,
    /// The first window of the alert that is firing.
    pub firing_since_us: Option<i64>,
    /// When the first of the alerts fired, for those that blame the same service at the same time.
    pub incident_from_us: Option<i64>,
    started_at_us: i64,
    /// Of the windows that are unexplained, the least share that is bad.
    least_share: f64,
    /// What came through in them.
    away: Away,
    last: Option<Reading>,
    /// Which quantile fired.
    quantile: usize,
}

/// What to do after a window.
#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    Fire {
        started_at_us: i64,
        reading: Reading,
        evidence: Vec<Evidence>,
    },
    /// What fires goes on, without anything that could be measured.
    GoOn {
        started_at_us: i64,
        quantile: usize,
        reading: Reading,
        evidence: Vec<Evidence>,
    },
    /// The incident is over; `fired` says which alert to resolve.
    End {
        fired: Option<i64>,
        /// [`Track::incident_from_us`] of what was firing.
        incident_from_us: Option<i64>,
        quantile: usize,
        reading: Option<Reading>,
        evidence: Vec<Evidence>,
        why: Why,
    },
}

/// Why an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Good,
    Vanished,
    NewNormal,
}

/// One window, as far as this subject and kind are concerned.
pub struct Sight<'a> {
    pub window_us: i64,
    pub window_length_us: i64,
    pub baseline: Baseline,
    /// None if too little was seen to tell.
    pub reading: Option<Reading>,
    /// Another one speaks for it.
    pub explained: bool,
    /// That is a deeper edge, for which it waits.
    pub waits: bool,
    pub kind: Deviating,
    /// The whole edge carries nothing, though its client is there.
    pub is_cut: bool,
    pub evidence: &'a [Evidence],
}

impl Track {
    /// Whether it is so bad that its windows are not part of the past.
    pub fn in_incident(&self) -> bool {
        self.bad_windows >= WINDOWS_TO_FIRE
    }

    /// How many windows were looked at together when it was bad last.
    pub fn last_windows(&self) -> Option<i64> {
        self.last.map(|reading| reading.windows)
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.bad_since.is_none()
    }

    pub fn step(&mut self, sight: &Sight<'_>) -> Step {
        match sight.reading {
            None if self.is_idle() => Step::Nothing,
            None if sight.is_cut => self.cut(sight),
            None => {
                self.silent_windows += 1;
                if self.silent_windows >= SILENT_WINDOWS_MAX { self.end(Why::Vanished, sight) } else { Step::Nothing }
            }
            Some(reading) if reading.deviates => self.bad(reading, sight),
            Some(_) if self.is_idle() => Step::Nothing,
            Some(reading) => self.good(reading, sight),
        }
    }

    fn bad(&mut self, reading: Reading, sight: &Sight<'_>) -> Step {
        let (since_us, _) = *self.bad_since.get_or_insert((sight.window_us, sight.baseline));
        // What showed it at first goes on showing it.
        self.last = Some(reading);
        self.bad_windows += 1;
        (self.good_windows, self.silent_windows, self.cut_windows) = (0, 0, 0);
        if (sight.window_us - since_us) / sight.window_length_us >= INCIDENT_WINDOWS_MAX {
            return self.end(Why::NewNormal, sight);
        }
        if self.firing_since_us.is_some() {
            return Step::Nothing;
        }
        if sight.waits {
            self.waited_us = Some(sight.window_us);
        }
        // What it waited for may be over, and still among the windows that are looked at.
        let has_waited = |waited_us: i64| (sight.window_us - waited_us) / sight.window_length_us < reading.windows;
        if sight.explained || self.waited_us.is_some_and(has_waited) {
            self.unexplained_windows = 0;
            self.evidence.clear();
            return Step::Nothing;
        }
        if self.unexplained_windows == 0 {
            self.started_at_us = sight.window_us;
            (self.least_share, self.away) = (f64::INFINITY, Away::default());
        }
        self.least_share = self.least_share.min(reading.share);
        self.away.count(sight.baseline.requests as f64, reading.share);
        self.unexplained_windows += 1;
        self.evidence.extend_from_slice(sight.evidence);
        self.evidence.truncate(EVIDENCE_MAX);
        let may_be_restart = match sight.kind {
            Deviating::Errors => self.least_share < 0.5,
            Deviating::Connects => !self.away.outlasts_restart(sight.window_length_us),
            _ => false,
        };
        let is_in_part = reading.windows == 1 && may_be_restart;
        if self.unexplained_windows < if is_in_part { WINDOWS_TO_FIRE_IN_PART } else { WINDOWS_TO_FIRE } {
            return Step::Nothing;
        }
        self.quantile = reading.quantile;
        self.firing_since_us = Some(self.started_at_us);
        Step::Fire { started_at_us: self.started_at_us, reading, evidence: self.evidence.clone() }
    }

    /// No requests are no sign that it is well. It is told once.
    fn cut(&mut self, sight: &Sight<'_>) -> Step {
        self.silent_windows = 0;
        self.cut_windows += 1;
        let since_us = self.bad_since.map_or(sight.window_us, |(since_us, _)| since_us);
        if (sight.window_us - since_us) / sight.window_length_us >= INCIDENT_WINDOWS_MAX {
            return self.end(Why::NewNormal, sight);
        }
        match (self.firing_since_us, self.last) {
            (Some(started_at_us), Some(reading)) if self.cut_windows == WINDOWS_TO_FIRE => {
                Step::GoOn { started_at_us, quantile: self.quantile, reading, evidence: self.evidence.clone() }
            }
            _ => Step::Nothing,
        }
    }

    fn good(&mut self, reading: Reading, sight: &Sight<'_>) -> Step {
        self.last = Some(reading);
        self.good_windows += 1;
        (self.unexplained_windows, self.silent_windows, self.cut_windows) = (0, 0, 0);
        if self.in_incident() && self.good_windows < WINDOWS_TO_RESOLVE {
            return Step::Nothing;
        }
        self.end(Why::Good, sight)
    }

    fn end(&mut self, why: Why, sight: &Sight<'_>) -> Step {
        let ended = std::mem::take(self);
        let mut evidence = ended.evidence;
        evidence.extend_from_slice(sight.evidence);
        let Track { firing_since_us: fired, incident_from_us, quantile, last: reading, .. } = ended;
        Step::End { fired, incident_from_us, quantile, reading, evidence, why }
    }
}
