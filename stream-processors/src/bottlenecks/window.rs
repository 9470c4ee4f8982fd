//! Collects whole windows from edges and latencies.
//!
//! In: records and markers of one of the two topics. Out: what was observed of each edge or operation in a window, once every
//! source partition has closed it. Bounded: subjects of one window; windows, and subjects in them, that wait for the other topic; those
//! that wait for a source partition that does not come, the oldest of which are then judged without it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use headwater_histogram::{Histogram, SCALE};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Edge, Evidence, Latency, Missing, Touch, WindowClosed, Workload};

use super::unanswered::Asked;
use crate::markers::Sources;
use crate::plausible::within;
use crate::processor::{BadInput, Counters};
use crate::touched::Touched;

/// Edges and operations that are looked at in one window.
const SUBJECTS_MAX: usize = 50_000;

/// Windows that may wait, and what may be observed in them: once of those that are whole, and once of those that are not.
const WINDOWS_MAX: usize = 500;
const WAITING_MAX: usize = 50_000;

/// Records that may show one observation.
const EVIDENCE_MAX: usize = 10;
/// Addresses that an edge may name: as many as its record has.
const ASKED_MAX: usize = 9;

/// What is judged: an edge, or one operation of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    pub client: Workload,
    pub server: Workload,
    pub protocol: String,
    /// Empty for the whole edge.
    pub operation: String,
}

impl Subject {
    /// The edge that this is, or is an operation of.
    pub fn edge(&self) -> (&Workload, &Workload, &str) {
        (&self.client, &self.server, &self.protocol)
    }
}

/// Operations of an edge stand behind the whole of it. The names, which tell most apart, come first: subjects are looked up often.
impl Ord for Subject {
    fn cmp(&self, other: &Subject) -> Ordering {
        (self.client.name.cmp(&other.client.name))
            .then_with(|| self.server.name.cmp(&other.server.name))
            .then_with(|| self.protocol.cmp(&other.protocol))
            .then_with(|| self.client.cmp(&other.client))
            .then_with(|| self.server.cmp(&other.server))
            .then_with(|| self.operation.cmp(&other.operation))
    }
}

impl PartialOrd for Subject {
    fn partial_cmp(&self, other: &Subject) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What was seen of a subject in one window.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    pub requests: i64,
    pub errors: i64,
    pub(super) durations: Histogram,
    /// Connections that were established, and those that never were or ended by a reset or a time-out. Of whole edges alone.
    pub opened: i64,
    pub failed: i64,
    /// Segments that were sent again. Of whole edges alone.
    pub retransmits: i64,
    /// Bytes to the server and back, and the requests that ended. Of whole edges alone.
    pub asked_for: Asked,
    /// Where the clients asked for the server. Of whole edges alone.
    pub asked: Vec<String>,
    /// The window says that something is missing from it.
    pub incomplete: bool,
    pub evidence: Vec<Evidence>,
}

impl Observation {
    /// How long this share of the requests took at most.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.durations.quantile(share) / 1000.0
    }

    /// Sum of the logarithms of all durations in microseconds, of which none counts as more than `most`, and how many there are.
    pub fn sum_of_logarithms(&self, most: f64) -> (f64, i64) {
        let octaves = |bucket: i32| (f64::from(bucket) + 0.5) / f64::from(1 << SCALE);
        let of_us = |bucket: i32| octaves(bucket) * std::f64::consts::LN_2 - 1000f64.ln();
        self.durations.buckets().fold((0.0, 0i64), |(sum, all), (bucket, count)| {
            (sum + of_us(bucket).min(most) * count as f64, all.saturating_add(i64::try_from(count).unwrap_or(i64::MAX)))
        })
    }

    /// See [`slower_than`].
    pub fn slower_than<const N: usize>(&self, limits_us: [f64; N]) -> [i64; N] {
        slower_than(&self.durations, limits_us)
    }

    /// Adds what was observed elsewhere of the same subject.
    ///
    /// # Errors
    /// If its histogram is none that can be added; nothing is added then.
    pub fn merge(&mut self, other: Observation) -> Result<(), BadInput> {
        self.durations.merge(&other.durations).map_err(|error| BadInput(error.to_string()))?;
        self.incomplete |= other.incomplete;
        for (sum, value) in [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.opened, other.opened),
            (&mut self.failed, other.failed),
            (&mut self.retransmits, other.retransmits),
        ] {
            *sum = sum.saturating_add(value);
        }
        self.asked_for.add(&other.asked_for);
        self.asked.extend(other.asked);
        self.asked.truncate(ASKED_MAX);
        self.evidence.extend(other.evidence);
        self.evidence.truncate(EVIDENCE_MAX);
        Ok(())
    }
}

/// How many requests took longer than each limit, to a bucket of the histogram, which is 2 % wide.
pub fn slower_than<const N: usize>(durations: &Histogram, limits_us: [f64; N]) -> [i64; N] {
    // Bucket `i` begins at `2^(i/32)` nanoseconds.
    let limits = limits_us.map(|us| ((us * 1000.0).max(1.0).log2() * f64::from(1 << SCALE)).round() as i32);
    let mut slower = [0i64; N];
    for (bucket, count) in durations.buckets() {
        for (slower, limit) in slower.iter_mut().zip(limits) {
            if bucket >= limit {
                *slower = slower.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
    slower
}

/// What a record says, which can be meant.
#[derive(Debug)]
pub struct Seen {
    pub window_us: i64,
    window_ms: i64,
    subject: Subject,
    observation: Observation,
}

impl Seen {
    pub fn of_edge(edge: Edge) -> Result<Seen, BadInput> {
        let observation = Observation {
            requests: edge.requests,
            errors: edge.errors,
            durations: edge.duration_ns,
            opened: within("connections_opened", edge.connections_opened, 0, i64::MAX)?,
            failed: within("connections_failed", edge.connections_failed, 0, i64::MAX)?,
            retransmits: within("retransmits", edge.retransmits, 0, i64::MAX)?,
            asked_for: Asked {
                sent_bytes: within("client_to_server_bytes", edge.client_to_server_bytes, 0, i64::MAX)?,
                received_bytes: within("server_to_client_bytes", edge.server_to_client_bytes, 0, i64::MAX)?,
                requests: edge.requests,
            },
            asked: edge.asked,
            incomplete: edge.completeness < 1.0,
            evidence: Vec::new(),
        };
        let Edge { client, server, protocol, window_start_us, window_ms, .. } = edge;
        let subject = Subject { client, server, protocol, operation: String::new() };
        Seen { window_us: window_start_us, window_ms, subject, observation }.checked()
    }

    pub fn of_latency(latency: Latency) -> Result<Seen, BadInput> {
        let observation = Observation {
            requests: latency.requests,
            errors: latency.errors,
            durations: latency.duration_ns,
            incomplete: latency.completeness < 1.0,
            ..Observation::default()
        };
        let Latency { client, server, protocol, operation, window_start_us, window_ms, .. } = latency;
        let subject = Subject { client, server, protocol, operation };
        Seen { window_us: window_start_us, window_ms, subject, observation }.checked()
    }

    fn checked(self) -> Result<Seen, BadInput> {
        let Observation { requests, errors, durations, .. } = &self.observation;
        within("requests", *requests, 0, i64::MAX)?;
        within("errors", *errors, 0, *requests)?;
        within("window_ms", self.window_ms, 1, 86_400_000)?;
        durations.check().map_err(|error| BadInput(error.to_string()))?;
        Ok(self)
    }
}

/// Where records begin, and what closes their windows.
pub type FirstOffsets = [Option<Offset>; 2];

/// What one topic says of the windows that are not judged yet.
pub struct Collector {
    topic: String,
    partition: Partition,
    windows: BTreeMap<i64, Collected>,
    sources: Sources,
    /// Windows up to here are taken for whole though a source partition did not come.
    given_up_through_us: Option<i64>,
    is_full: bool,
}

struct Collected {
    first_offsets: FirstOffsets,
    length_ms: i64,
    /// Records that came, and those that its sources say to be there, if all of them say.
    came: i64,
    told: Option<i64>,
    observations: BTreeMap<Subject, Observation>,
    /// What its sources say is missing, and whom that touches.
    missing: Vec<Missing>,
    touches: Vec<Touch>,
}

/// What was observed in a window.
pub struct Observed {
    /// The offsets at which its records begin, and what closes it.
    pub first_offsets: FirstOffsets,
    pub by_subject: BTreeMap<Subject, Observation>,
    /// Edges that may lack something.
    pub touched: Touched,
}

impl Collector {
    pub fn new(topic: String, partition: Partition) -> Collector {
        let sources = Sources::default();
        Collector { topic, partition, windows: BTreeMap::new(), sources, given_up_through_us: None, is_full: false }
    }

    pub fn closed(&mut self, offset: Offset, marker: &WindowClosed, counters: &mut Counters) {
        self.sources.mark(marker);
        let window = self.window(marker.window_start_us, marker.window_ms);
        window.first_offsets[1].get_or_insert(offset);
        let told = window.told.filter(|_| marker.records >= 0);
        window.told = told.map(|told| told.saturating_add(marker.records));
        window.missing.extend(marker.missing.iter().cloned());
        window.touches.extend(marker.touches.iter().cloned());
        self.give_up(counters);
        self.look_whether_full();
    }

    /// Whether all of a window is here, or it was given up.
    pub fn has_all_of(&self, window_us: i64) -> bool {
        self.given_up_through_us >= Some(window_us) || self.sources.have_closed(window_us)
    }

    /// Whether as much waits for the other topic as may. That one is not full then: it lacks the oldest of these windows.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    fn look_whether_full(&mut self) {
        let whole = || self.windows.iter().take_while(|(window_us, _)| self.has_all_of(**window_us));
        let waiting = whole().map(|(_, collected)| collected.observations.len()).sum::<usize>();
        self.is_full = whole().count() >= WINDOWS_MAX || waiting >= WAITING_MAX;
    }

    /// Waits no longer for all sources of the oldest windows where too much waits for them. It looks at this topic alone, and at those of
    /// its windows that cannot have been judged, so that it is decided alike however the reading of the two topics interleaves.
    fn give_up(&mut self, counters: &mut Counters) {
        let mut kept = 0;
        let mut waiting = 0;
        // Newest first: what does not fit is the oldest.
        for (window_us, collected) in self.windows.iter().rev() {
            if self.has_all_of(*window_us) {
                return;
            }
            (kept, waiting) = (kept + 1, waiting + collected.observations.len());
            if kept > WINDOWS_MAX || (kept > 1 && waiting > WAITING_MAX) {
                self.given_up_through_us = Some(*window_us);
                counters.add("windows_given_up", 1);
                return;
            }
        }
    }

    pub fn oldest(&self) -> Option<(i64, i64)> {
        self.windows.first_key_value().map(|(window_us, collected)| (*window_us, collected.length_ms))
    }

    /// Windows that wait to be judged.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Hands out a window.
    pub fn take(&mut self, window_us: i64) -> Option<Observed> {
        let is_whole = self.sources.have_closed(window_us);
        let taken = self.windows.remove(&window_us).map(|mut collected| {
            let is_whole = is_whole && collected.told.is_none_or(|told| collected.came >= told);
            collected.observations.values_mut().for_each(|observation| observation.incomplete |= !is_whole);
            let touched = if is_whole { Touched::of(&collected.missing, &collected.touches) } else { Touched::All };
            Observed { first_offsets: collected.first_offsets, by_subject: collected.observations, touched }
        });
        self.look_whether_full();
        taken
    }

    /// Where the oldest records of windows that wait stand, and what closes them.
    pub fn first_offsets(&self) -> FirstOffsets {
        [0, 1].map(|which| self.windows.values().filter_map(|collected| collected.first_offsets[which]).min())
    }

    /// The next record.
    pub fn add(&mut self, offset: Offset, seen: Seen, counters: &mut Counters) {
        let Seen { window_us, window_ms, subject, mut observation } = seen;
        observation.evidence.push(Evidence {
            topic: self.topic.clone(),
            partition: self.partition.0,
            offset: offset.0,
            window_start_us: window_us,
        });
        if !self.windows.contains_key(&window_us) {
            self.window(window_us, window_ms);
            self.give_up(counters);
        }
        let window = self.window(window_us, window_ms);
        window.first_offsets[0].get_or_insert(offset);
        window.came += 1;
        if window.observations.len() >= SUBJECTS_MAX && !window.observations.contains_key(&subject) {
            counters.add("subjects_cut_off", 1);
            return;
        }
        // An operation has one record for each status class. Only a histogram that is none could not be added.
        if window.observations.entry(subject).or_default().merge(observation).is_err() {
            counters.add("subjects_cut_off", 1);
        }
    }

    fn window(&mut self, window_us: i64, length_ms: i64) -> &mut Collected {
        self.windows.entry(window_us).or_insert_with(|| Collected {
            first_offsets: [None; 2],
            length_ms,
            came: 0,
            told: Some(0),
            observations: BTreeMap::new(),
            missing: Vec::new(),
            touches: Vec::new(),
        })
    }
}
