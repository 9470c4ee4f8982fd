//! Bottlenecks: says when an edge or operation leaves its own past, names the deepest cause, and says when it is over; and what comes of objectives (`objectives/`).
//!
//! In: `edges` and `latencies`, whole windows at a time, and the topics that say when they are whole. Out: `alerts`, firing and resolved, with the records that show them. What
//! it says of a window depends on the windows before it alone; after a restart it learns from the log again before it judges.
//! Bounded: subjects, windows that wait and what is in them, and how far back an incident reaches.

mod addresses;
mod alert;
mod away;
mod baseline;
mod blame;
mod incidents;
mod inflow;
mod lane;
mod reading;
mod readings;
mod recent;
mod shape;
mod signs;
mod suspects;
mod together;
mod track;
mod unanswered;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Alert, Edge, Latency, WindowClosed, Workload};

use self::addresses::Addresses;
use self::alert::alert;
pub(crate) use self::baseline::surprise;
use self::baseline::{Baseline, HISTORY_WINDOWS, History, MINUTE_WINDOWS};
pub(crate) use self::blame::Deviations;
use self::incidents::{Incident, note_incident};
use self::lane::{Lane, Step as Next};
use self::reading::{Deviating, KINDS};
use self::readings::{Readings, deviations, is_said_otherwise, readings};
use self::recent::{RECENT_WINDOWS, Recent};
use self::suspects::Suspects;
use self::track::{INCIDENT_WINDOWS_MAX, Sight, Step, Track};
pub use self::window::slower_than;
use self::window::{Collector, Observation, Seen, Subject};
use crate::objectives::rules::Rules;
use crate::objectives::{Counted, Objectives, Place};
use crate::plausible::{are_names, is_named, marker_is_plausible, plausible_window};
use crate::processor::{BadInput, BadSnapshot, Checkpoint, Counters, Input, Memo, Output, Processor, read};
use crate::touched::Touched;
use crate::windows::Windows;

/// What is counted in a window depends on so many before it: the last ones are held against the past of each of them, which begins with a
/// whole minute.
const MEMORY_WINDOWS: i64 = HISTORY_WINDOWS + RECENT_WINDOWS + MINUTE_WINDOWS;
/// Edges and operations with a past.
const SUBJECTS_MAX: usize = 50_000;

/// The topics that are judged.
const EDGES: usize = 0;
const LATENCIES: usize = 1;
const TOPICS: usize = 2;
/// Each has two inputs: its records, and behind them what closes its windows.
pub(crate) const STREAMS: usize = 2 * TOPICS;

const fn records_of(topic: usize) -> usize {
    2 * topic
}

const fn topic_of(stream: usize) -> usize {
    stream / 2
}

const fn is_of_records(stream: usize) -> bool {
    stream.is_multiple_of(2)
}

/// The judge of all windows.
pub struct Bottlenecks {
    collectors: [Collector; TOPICS],
    /// What was read of each topic and waits for its turn.
    lanes: [Lane<Read>; TOPICS],
    objectives: Objectives,
    topics: [String; TOPICS],
    partition: Partition,
    windows: Windows,
    subjects: BTreeMap<Subject, Judged>,
    addresses: Addresses,
    deviated_before: Deviations,
    /// Incidents that the present state still depends on: first window, and the last one if it is over.
    incidents: VecDeque<Incident>,
    first_offsets: BTreeMap<i64, [Option<Offset>; STREAMS]>,
    judge_from_us: Option<i64>,
    closed_through_us: Option<i64>,
    published_through_us: Option<i64>,
    next_offsets: [Offset; STREAMS],
    read_to: [Offset; STREAMS],
    outputs: Vec<Output>,
    counters: Counters,
}

/// A record that can be meant, and what it says of what services promise.
struct Read {
    seen: Seen,
    counted: Counted,
}

#[derive(Default)]
struct Judged {
    history: History,
    /// What is usual at the present window, if enough is known.
    usual: Option<Baseline>,
    recent: Recent,
    tracks: [Track; KINDS],
}

impl Bottlenecks {
    /// Judges what stands in this partition of the two topics, as the checkpoints of the four inputs left it.
    pub fn new(topics: [String; TOPICS], partition: Partition, checkpoints: &[Option<Checkpoint>]) -> Bottlenecks {
        let checkpoint = |stream: usize| checkpoints.get(stream).and_then(Option::as_ref);
        let memo = (0..STREAMS).filter_map(checkpoint).map(|checkpoint| &checkpoint.memo);
        let memo = memo.max_by_key(|memo| memo.closed_through_us).cloned().unwrap_or_default();
        let [edges, latencies] = topics.clone();
        let streams: [usize; STREAMS] = std::array::from_fn(|stream| stream);
        let next_offsets =
            streams.map(|stream| checkpoint(stream).map_or(Offset::FIRST, |checkpoint| checkpoint.needed_from));
        Bottlenecks {
            collectors: [edges, latencies].map(|topic| Collector::new(topic, partition)),
            lanes: [EDGES, LATENCIES].map(|topic| Lane::from(next_offsets[records_of(topic)])),
            objectives: Objectives::default(),
            topics,
            partition,
            windows: Windows::of_ms(memo.window_ms),
            subjects: BTreeMap::new(),
            addresses: Addresses::default(),
            deviated_before: Deviations::default(),
            incidents: VecDeque::new(),
            first_offsets: BTreeMap::new(),
            judge_from_us: memo.judge_from_us,
            closed_through_us: None,
            published_through_us: memo.closed_through_us,
            next_offsets,
            read_to: streams
                .map(|stream| checkpoint(stream).map_or(Offset::FIRST, |checkpoint| checkpoint.memo.read_to)),
            outputs: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The same with what a snapshot says of objectives. All else is read again from the log.
    ///
    /// # Errors
    /// If the snapshot is of another version of this program.
    pub fn restore(
        topics: [String; TOPICS],
        partition: Partition,
        checkpoints: &[Option<Checkpoint>],
        snapshot: &[u8],
    ) -> Result<Bottlenecks, BadSnapshot> {
        let objectives = Objectives::restore(snapshot)?;
        Ok(Bottlenecks { objectives, ..Bottlenecks::new(topics, partition, checkpoints) })
    }

    /// What services promise, and what was counted of it.
    pub fn objectives(&self) -> &Objectives {
        &self.objectives
    }

    /// The next record of edges, in the order in which their windows are closed.
    ///
    /// # Errors
    /// If it says what cannot be; it counts for nothing then.
    pub fn edge(&mut self, offset: Offset, edge: Edge) -> Result<(), BadInput> {
        let read = self.read_edge(edge)?;
        read.into_iter().for_each(|read| self.take(EDGES, offset, read));
        Ok(())
    }

    /// The same for latencies.
    ///
    /// # Errors
    /// As for edges.
    pub fn latency(&mut self, offset: Offset, latency: Latency) -> Result<(), BadInput> {
        let read = self.read_latency(latency)?;
        read.into_iter().for_each(|read| self.take(LATENCIES, offset, read));
        Ok(())
    }

    /// A source partition of edges (0) or latencies (1) has closed a window.
    pub fn closed(&mut self, topic: usize, offset: Offset, marker: &WindowClosed) {
        if !self.is_late(marker.window_start_us) && marker.revision == 0 {
            self.collectors[topic].closed(offset, marker, &mut self.counters);
        }
        while let Some((window_us, length_ms)) = self.oldest()
            && self.collectors.iter().all(|collector| collector.has_all_of(window_us))
        {
            self.windows = Windows::of_ms(length_ms);
            self.close(window_us);
        }
    }

    /// What is known later changes no judgement: whether it came before the window was judged is chance. Nothing is made of that.
    fn read_edge(&self, edge: Edge) -> Result<Option<Read>, BadInput> {
        if edge.revision > 0 {
            return Ok(None);
        }
        let counted = self.objectives.of_edge(&edge);
        Ok(Some(Read { seen: Seen::of_edge(edge)?, counted }))
    }

    fn read_latency(&self, latency: Latency) -> Result<Option<Read>, BadInput> {
        if latency.revision > 0 {
            return Ok(None);
        }
        let counted = self.objectives.of_latency(&latency);
        Ok(Some(Read { seen: Seen::of_latency(latency)?, counted }))
    }

    fn take(&mut self, topic: usize, offset: Offset, Read { seen, counted }: Read) {
        let window_us = seen.window_us;
        if self.is_late(window_us) {
            self.counters.add("late", u64::from(offset >= self.read_to[records_of(topic)]));
            return;
        }
        self.collectors[topic].add(offset, seen, &mut self.counters);
        let place = Place { topic: &self.topics[topic], partition: self.partition.0, offset: offset.0 };
        self.objectives.count(window_us, counted, &place);
    }

    /// Goes on with what was read of a topic, as far as all is there that its windows need.
    fn advance(&mut self, topic: usize) {
        while let Some(next) = self.lanes[topic].step() {
            match next {
                Next::Record(offset, read) => self.take(topic, offset, read),
                Next::Closed(offset, closed) => self.closed(topic, offset, &closed),
            }
        }
    }

    fn close(&mut self, window_us: i64) {
        let mut observations = BTreeMap::new();
        let mut touched = Touched::All;
        let mut first_offsets = [None; STREAMS];
        for (topic, collector) in self.collectors.iter_mut().enumerate() {
            let Some(observed) = collector.take(window_us) else { continue };
            first_offsets[records_of(topic)..][..2].copy_from_slice(&observed.first_offsets);
            observations.extend(observed.by_subject);
            if topic == EDGES {
                touched = observed.touched;
            }
        }
        let observations = self.addresses.attribute(observations);
        self.first_offsets.insert(window_us, first_offsets);
        self.count(window_us, &observations);
        if self.judge_from_us.is_none_or(|from_us| window_us >= from_us) {
            self.judge(window_us, &observations, &touched);
        }
        self.close_objectives(window_us);
        self.learn(window_us, &observations);
        self.closed_through_us = Some(window_us);
        if self.published_through_us.is_none_or(|through_us| window_us > through_us) {
            self.published_through_us = Some(window_us);
            self.counters.add("windows_closed", 1);
        }
        self.forget(window_us);
    }

    /// Holds what was observed against what is usual.
    fn count(&mut self, window_us: i64, observations: &BTreeMap<Subject, Observation>) {
        for (subject, judged) in &mut self.subjects {
            judged.usual = judged.history.baseline(window_us, self.windows);
            judged.recent.forget(window_us, self.windows);
            let in_bad_times = judged.tracks[Deviating::Latency as usize].bad_since.map(|(_, baseline)| baseline);
            if let (Some(baseline), Some(observation)) = (in_bad_times.or(judged.usual), observations.get(subject)) {
                judged.recent.count(window_us, &baseline, observation);
            }
        }
    }

    /// Steps every story that is told of, or that waits for an end.
    fn judge(&mut self, window_us: i64, observations: &BTreeMap<Subject, Observation>, touched: &Touched) {
        let (readings, cut) = readings(&self.subjects, window_us, self.windows, observations, touched);
        let mut deviated = deviations(&readings);
        // Who was bad is not well by one window that is good, or says nothing.
        let is_bad = |judged: &Judged| judged.tracks[..Deviating::Traffic as usize].iter().any(Track::in_incident);
        let bad = self.subjects.iter().filter(|(_, judged)| is_bad(judged));
        bad.for_each(|(subject, _)| deviated.insert(&subject.client, &subject.server));
        let lately = deviated.with(&self.deviated_before);
        let nothing = Observation::default();
        let mut steps = Vec::new();
        for (subject, judged) in &mut self.subjects {
            let reading = readings.get(subject);
            let observation = observations.get(subject).unwrap_or(&nothing);
            // Why nothing comes any more, if that is known.
            let says_more = judged.tracks[..Deviating::Traffic as usize].iter().any(Track::in_incident)
                || reading.is_some_and(Readings::deviates);
            let bad = Deviating::ALL.map(|kind| {
                let deviates = reading.and_then(|r| r.by_kind[kind as usize]).is_some_and(|read| read.deviates);
                deviates || judged.tracks[kind as usize].in_incident()
            });
            for kind in Deviating::ALL {
                let track = &mut judged.tracks[kind as usize];
                let read = reading.and_then(|r| r.by_kind[kind as usize]);
                if track.is_idle() && !read.is_some_and(|read| read.deviates) {
                    continue;
                }
                let Some(baseline) = reading.map(|r| r.baseline).or(track.bad_since.map(|(_, baseline)| baseline))
                else {
                    continue;
                };
                let waits = lately.explain(&subject.client, &subject.server);
                let sight = Sight {
                    window_us,
                    window_length_us: self.windows.length_us(),
                    baseline,
                    reading: read,
                    kind,
                    waits,
                    explained: waits
                        || is_said_otherwise(subject, kind, &readings)
                        || kind.said_better_by().iter().any(|better| bad[*better as usize])
                        // A client that fails by itself may call nobody.
                        || (kind == Deviating::Traffic && (says_more || lately.name_as_server(&subject.client))),
                    is_cut: cut.contains(subject),
                    evidence: &observation.evidence,
                };
                let was_bad = track.in_incident();
                let step = track.step(&sight);
                // What it showed is over.
                if was_bad && matches!(step, Step::End { .. }) {
                    judged.recent.clear();
                }
                if step != Step::Nothing {
                    steps.push((subject.clone(), kind, step));
                }
                note_incident(&mut self.incidents, subject, kind, track, window_us);
            }
        }
        let suspects = Suspects::of(&readings, |client, server| lately.explain(client, server));
        self.deviated_before = deviated;
        let mut alerts: Vec<Alert> = Vec::new();
        let observed_at_us = self.windows.end(window_us);
        for (subject, kind, step) in steps {
            let (score, runners_up) = match step {
                Step::End { .. } => (0.0, Vec::new()),
                _ => (suspects.score(&subject), suspects.runners_up(&subject)),
            };
            let incident_from_us = self.incident_from_us(&subject, kind, &step);
            let alert = alert(&subject, kind, step, observed_at_us, incident_from_us);
            alerts.extend(alert.map(|alert| Alert { score, runners_up, ..alert }));
        }
        // Who is likeliest to be the cause comes first.
        alerts.sort_by(|a, b| b.score.total_cmp(&a.score));
        alerts.into_iter().for_each(|alert| self.publish(window_us, alert));
    }

    /// When the incident began that an alert is part of. One that fires while others blame the same service belongs to theirs.
    fn incident_from_us(&mut self, subject: &Subject, kind: Deviating, step: &Step) -> Option<i64> {
        let (is_new, started_at_us) = match step {
            Step::Nothing => return None,
            Step::End { incident_from_us, .. } => return *incident_from_us,
            Step::Fire { started_at_us, .. } => (true, *started_at_us),
            Step::GoOn { started_at_us, .. } => (false, *started_at_us),
        };
        let same_service = self.subjects.iter().filter(|(other, _)| is_new && other.server == subject.server);
        let others = same_service.flat_map(|(_, judged)| &judged.tracks).filter_map(|track| track.incident_from_us);
        let from_us = others.min().unwrap_or(started_at_us);
        let track = &mut self.subjects.get_mut(subject)?.tracks[kind as usize];
        Some(*track.incident_from_us.get_or_insert(from_us))
    }

    fn close_objectives(&mut self, window_us: i64) {
        let subjects = &self.subjects;
        let incident_of = |service: &Workload| {
            let its = subjects.iter().filter(|(subject, _)| subject.server == *service);
            its.flat_map(|(_, judged)| &judged.tracks).filter_map(|track| track.incident_from_us).min()
        };
        let end_us = self.windows.end(window_us);
        let alerts = self.objectives.close(window_us, end_us, incident_of, &mut self.counters);
        alerts.into_iter().for_each(|alert| self.publish(window_us, alert));
    }

    fn publish(&mut self, window_us: i64, mut alert: Alert) {
        if self.published_through_us.is_none_or(|through_us| window_us > through_us) {
            self.objectives.rules().address(&mut alert);
            self.outputs.push(Output::Alert(alert));
        }
    }

    /// What happens in an incident is not part of the past.
    fn learn(&mut self, window_us: i64, observations: &BTreeMap<Subject, Observation>) {
        for (subject, observation) in observations {
            if observation.requests == 0 {
                continue;
            }
            self.addresses.learn(window_us, subject, observation, &mut self.counters);
            if self.subjects.len() >= SUBJECTS_MAX && !self.subjects.contains_key(subject) {
                self.counters.add("subjects_cut_off", 1);
                continue;
            }
            let judged = self.subjects.entry(subject.clone()).or_default();
            if !judged.tracks.iter().any(Track::in_incident) {
                judged.history.learn(window_us, self.windows, observation);
            }
        }
    }

    fn forget(&mut self, window_us: i64) {
        let (windows, before_us) = (self.windows, self.windows.shift(window_us, 1 - HISTORY_WINDOWS));
        self.subjects.retain(|_, judged| {
            let has_past = judged.history.forget(window_us, windows);
            has_past || !judged.tracks.iter().all(Track::is_idle)
        });
        let in_incident: BTreeSet<&Workload> = self
            .subjects
            .iter()
            .filter(|(_, judged)| !judged.tracks.iter().all(Track::is_idle))
            .map(|(subject, _)| &subject.server)
            .collect();
        self.addresses.forget(before_us, |server| in_incident.contains(server));
        if self.published_through_us == Some(window_us) {
            let judged_from_us = self.depends_on(window_us);
            self.judge_from_us = Some(judged_from_us);
            let needed_us = self.windows.shift(judged_from_us, -MEMORY_WINDOWS);
            self.first_offsets = self.first_offsets.split_off(&needed_us);
            self.incidents.retain(|incident| !incident.over || incident.to_us >= needed_us);
        }
    }

    /// The first window whose judgement the state after this window depends on: it reaches back over every incident that the
    /// past leaves out.
    fn depends_on(&self, window_us: i64) -> i64 {
        let mut from_us = self.windows.shift(window_us, -MEMORY_WINDOWS);
        let oldest_us = self.windows.shift(window_us, -INCIDENT_WINDOWS_MAX - MEMORY_WINDOWS);
        // Newest first, since each one may make an older one matter.
        for incident in self.incidents.iter().rev() {
            let matters = !incident.over || incident.to_us >= self.windows.shift(from_us, -MEMORY_WINDOWS);
            if matters {
                from_us = from_us.min(self.windows.shift(incident.from_us, -2));
            }
        }
        from_us.max(oldest_us)
    }

    fn oldest(&self) -> Option<(i64, i64)> {
        self.collectors.iter().filter_map(Collector::oldest).min()
    }

    fn is_late(&self, window_us: i64) -> bool {
        self.closed_through_us.is_some_and(|through_us| window_us <= through_us)
    }

    fn decode(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        let Input { stream, offset, timestamp_us, schema, datum, .. } = input;
        let topic = topic_of(stream);
        let record = match (topic, is_of_records(stream)) {
            (_, false) => {
                let closed: WindowClosed = read(schema, datum)?;
                marker_is_plausible(&closed, timestamp_us)?;
                self.lanes[topic].closed(offset, closed);
                return Ok(());
            }
            (EDGES, true) => {
                let edge: Edge = read(schema, datum)?;
                plausible_window(edge.window_start_us, timestamp_us)?;
                is_named(&edge.client, &edge.server, &edge.protocol)?;
                self.read_edge(edge)?
            }
            (_, true) => {
                let latency: Latency = read(schema, datum)?;
                plausible_window(latency.window_start_us, timestamp_us)?;
                is_named(&latency.client, &latency.server, &latency.protocol)?;
                are_names("operation", [latency.operation.as_str()])?;
                self.read_latency(latency)?
            }
        };
        self.lanes[topic].record(offset, record);
        Ok(())
    }
}

impl Processor for Bottlenecks {
    fn record(&mut self, input: Input<'_>) -> Result<(), BadInput> {
        let (stream, offset) = (input.stream, input.offset);
        let taken = self.decode(input);
        self.next_offsets[stream] = offset.next();
        self.advance(topic_of(stream));
        taken
    }

    fn unreadable(&mut self, stream: usize, offset: Offset) {
        self.next_offsets[stream] = offset.next();
        if is_of_records(stream) {
            self.lanes[topic_of(stream)].record(offset, None);
            self.advance(topic_of(stream));
        }
    }

    fn deleted(&mut self, stream: usize, last: Offset) {
        if is_of_records(stream) {
            self.lanes[topic_of(stream)].deleted(last);
            self.advance(topic_of(stream));
        }
    }

    fn waits_for(&self, stream: usize) -> Option<Offset> {
        self.lanes[topic_of(stream)].waits_for().filter(|_| is_of_records(stream))
    }

    fn ends(&mut self, stream: usize, end: Offset) {
        self.lanes[topic_of(stream)].ends(end);
        self.advance(topic_of(stream));
    }

    fn wants(&self, stream: usize) -> bool {
        let lane = &self.lanes[topic_of(stream)];
        let has_room = if is_of_records(stream) { lane.wants_records() } else { lane.wants_closed() };
        has_room && !self.collectors[topic_of(stream)].is_full()
    }

    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let of_stream = |stream: usize| {
            let (topic, which) = (topic_of(stream), usize::from(!is_of_records(stream)));
            let kept = self.first_offsets.values().filter_map(|offsets| offsets[stream]);
            let waiting = [self.collectors[topic].first_offsets()[which], self.lanes[topic].first_offsets()[which]];
            let needed_from = kept.chain(waiting.into_iter().flatten()).fold(self.next_offsets[stream], Offset::min);
            let memo = Memo {
                closed_through_us: self.published_through_us,
                window_ms: self.windows.length_ms(),
                read_to: self.next_offsets[stream].max(self.read_to[stream]),
                judge_from_us: self.judge_from_us,
                ..Memo::default()
            };
            Checkpoint { needed_from, memo }
        };
        (0..STREAMS).map(of_stream).collect()
    }

    #[expect(clippy::misnamed_getters, reason = "what is closed here but not published yet counts as open")]
    fn closed_through_us(&self) -> Option<i64> {
        self.published_through_us
    }

    fn closed_to_us(&self) -> Option<i64> {
        Some(self.closed_through_us()?.saturating_add(self.windows.length_us()))
    }

    fn follow(&mut self, rules: &Arc<Rules>) {
        self.objectives.follow(rules);
    }

    /// Of objectives alone, which reach back for days. The rest is learned from the log again.
    fn snapshot_bytes(&self) -> Option<usize> {
        (!self.objectives.is_empty()).then(|| self.objectives.snapshot_bytes())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        if self.objectives.is_empty() { None } else { self.objectives.snapshot() }
    }

    fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    fn sizes(&self) -> Vec<(&'static str, usize)> {
        let firing = self.subjects.values().flat_map(|judged| &judged.tracks);
        vec![
            ("subjects", self.subjects.len()),
            ("firing", firing.filter(|track| track.firing_since_us.is_some()).count()),
            ("open_windows", self.collectors.iter().map(Collector::len).max().unwrap_or_default()),
            ("waiting", self.lanes.iter().map(Lane::waiting).sum()),
            ("objectives", self.objectives.len()),
            ("objectives_firing", self.objectives.firing()),
        ]
    }
}
