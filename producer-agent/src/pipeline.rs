//! The agent's pipeline, wired in one place:
//!
//! ```text
//! probes --ring buffer--> observer --records--> outlet --bounded queue, spool--> Kafka
//!    \--counters, walk over sockets--/   |          \--ledger--> progress, heartbeats
//!                                  naming thread (names of workloads)
//! ```
//!
//! One thread does all of it in turn, without waiting for Kafka. It sleeps on the ring buffer, for a fixed time or until much
//! is waiting, so that a busy server is not interrupted for each of its requests.
//!
//! Promise: a turn takes a fraction of a second whatever arrives (`DRAIN_MAX`, `WALK_MAX`), and each turn does what is due by the
//! `Schedule`. What does not fit stays in the ring buffer, which holds progress back, and is lost and counted by the probes when
//! that is full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_probe_loader::{Costs, Interests, Probes, Walk, types::cost};
use headwater_telemetry::Health;
use tracing::{info, warn};

use crate::budget::{Budget, Spent};
use crate::clock::{Clock, monotonic_ns};
use crate::heartbeat::{self, About, Heartbeats, Moment};
use crate::ledger::{Ledger, Stream};
use crate::libraries::Libraries;
use crate::losses::{Losses, Seen};
use crate::metrics;
use crate::naming::{IdentityRecords, Naming};
use crate::observe::{Cells, Interest, Observer};
use crate::pace::Pace;
use crate::probe_time::ProbeTime;
use crate::publish::Outlet;
use crate::schedule::{At, Duty, Progress, Schedule};
use crate::settings::Settings;

/// How long the ring buffer is drained before anything else gets its turn.
const DRAIN_MAX: Duration = Duration::from_millis(50);

/// How long a turn walks over sockets. The ring buffer is drained after each chunk of them, for [`WALK_DRAIN_MAX`].
const WALK_MAX: Duration = Duration::from_millis(100);
const WALK_DRAIN_MAX: Duration = Duration::from_millis(5);

/// How long the last events are drained after the capture has ended. A full ring buffer of the default size takes a fraction of a second
/// of a free processor; what is left after this time is counted.
const LAST_DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long ends of connections are waited for that the last walk did not find: as long as a peer takes that answers a close at once.
const LAST_ENDS_MAX: Duration = Duration::from_secs(1);

/// A heartbeat comes about so long after the last look at the budget, or that look was an early one.
const LOOK_MIN: Duration = Duration::from_secs(4);

/// Events older than this have left the probes: a program's run takes microseconds, and nothing interrupts it for long.
const SETTLED: Duration = Duration::from_millis(50);

/// A turn takes a fraction of a second.
const STALLS_AFTER: Duration = Duration::from_secs(60);

/// Runs until `stop` is set, then publishes what is left.
pub fn run(settings: &Settings, stop: &AtomicBool, health: &Health) -> Result<()> {
    let health = health.part("pipeline", STALLS_AFTER);
    let mut pipeline = Pipeline::start(settings)?;
    let hook = pipeline.probes.hook().name();
    metrics::CAPTURE_HOOK.set(&[hook], 1.0);
    let not_fexit_because = pipeline.probes.not_fexit_because();
    info!(node = settings.observer.node, hook, not_fexit_because, "capturing");
    while !stop.load(Ordering::Relaxed) {
        health.beat();
        pipeline.turn()?;
        match pipeline.outlet.problem() {
            Some(problem) => health.not_ready(problem),
            None => health.ready(),
        }
    }
    pipeline.stop(|| health.beat())
}

/// Everything that the one thread works with.
struct Pipeline<'s> {
    settings: &'s Settings,
    probes: Probes,
    interests: Interests,
    naming: Naming,
    /// None if libraries of TLS are not watched.
    libraries: Option<Libraries>,
    observer: Observer,
    outlet: Outlet,
    ledger: Ledger,
    losses: Losses,
    heartbeats: Heartbeats,
    identities: IdentityRecords,
    clock: Clock,
    schedule: Schedule,
    progress: Progress,
    budget: Budget,
    /// The last look at the processor time.
    spent: (Instant, i64),
    costs: Costs,
    probe_time: ProbeTime,
    /// What the probes have cost since the last look: the calls that they told of, and all others.
    probes_spent: [Duration; 2],
    /// The walk that goes on; without a pace, as fast as it can.
    walk: Option<(Walk, Option<Pace>)>,
    /// The ring buffer was not emptied.
    is_behind: bool,
    /// When it was looked into last, and the longest time since the last heartbeat in which it was not: what fills it meanwhile is lost.
    drained_at: Instant,
    undrained_max: Duration,
    started_at_us: i64,
}

/// The kernel's types, which are read to load the probes, take some 18 MiB, which the allocator would keep for later.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without preconditions, which gives back what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl<'s> Pipeline<'s> {
    fn start(settings: &'s Settings) -> Result<Pipeline<'s>> {
        // The agent's own connections are known by their beginning: one that is older could look like somebody else's from its other end.
        let mut probes = Probes::load_switched_off(&settings.capture).context("load the probes")?;
        let watched = settings.capture.tls.then(|| Libraries::start(&settings.capture, &mut probes)).transpose()?;
        give_memory_back();
        probes.begin_capture().context("begin the capture")?;
        let outlet = Outlet::open(settings)?;
        let interests = probes.take_interests().context("say what is wanted of connections")?;
        let costs = probes.take_costs().context("find what the probes cost")?;
        let capture_began_ns = monotonic_ns();
        let naming = Naming::start(&settings.naming, probes.hierarchies())?;
        let clock = Clock::measure();
        let mut sums = probes.take_sums().context("find the cells of sums")?;
        sums.set_day_offset(clock.offset_ns());
        let cells = settings.sums.then(|| Box::new(sums) as Box<dyn Cells>);
        let started_at_us = clock.epoch_us(capture_began_ns);
        let node = || settings.observer.node.clone();
        let hook = probes.hook();
        let at = At { now: Instant::now(), day_us: started_at_us };
        Ok(Pipeline {
            settings,
            probes,
            interests,
            naming,
            libraries: watched,
            observer: Observer::new(settings.observer.clone(), cells, clock),
            outlet,
            ledger: Ledger::new(node(), started_at_us, started_at_us),
            losses: Losses::default(),
            heartbeats: Heartbeats::new(About {
                node: node(),
                agent_started_at_us: started_at_us,
                kernel: settings.kernel.clone(),
                hook,
            }),
            identities: IdentityRecords {
                node: node(),
                cluster: settings.naming.cluster.clone(),
                agent_started_at_us: started_at_us,
            },
            clock,
            schedule: Schedule::new(settings.flows_interval, settings.watermark_interval, at),
            progress: Progress::new(capture_began_ns),
            budget: Budget::new(settings.cpu_budget_percent, settings.sheds_requests),
            spent: (Instant::now(), headwater_telemetry::cpu_ms()),
            costs,
            probe_time: ProbeTime::new(capture_began_ns),
            probes_spent: [Duration::ZERO; 2],
            walk: None,
            is_behind: false,
            drained_at: Instant::now(),
            undrained_max: Duration::ZERO,
            started_at_us,
        })
    }

    /// Sleeps if there is time for it, takes what has arrived, and does what is due.
    fn turn(&mut self) -> Result<()> {
        if let Some(measures) = self.probe_time.turn(monotonic_ns()) {
            self.costs.measure(measures).context("have the probes measure what they cost")?;
        }
        let rest = self.walk_rests().unwrap_or(self.settings.poll_interval);
        if !self.is_behind && !rest.is_zero() {
            self.probes.wait(self.schedule.pause(self.at(), self.settings.poll_interval.min(rest)));
        }
        self.is_behind = !self.drain(DRAIN_MAX);
        self.exchange_names();
        if self.outlet.advance()? {
            self.schedule.hasten(Duty::Heartbeat, self.at());
        }
        self.walk_on(WALK_MAX);
        let at = self.at();
        for duty in self.schedule.due(at) {
            let is_done = match duty {
                Duty::Clock => {
                    self.clock = Clock::measure();
                    self.observer.set_clock(self.clock);
                    true
                }
                // The last one goes on still.
                Duty::Walk if self.walk.is_some() => false,
                Duty::Walk => {
                    let pace = Pace::new(at.now, self.observer.connections(), self.settings.flows_interval);
                    self.begin_walk(Some(pace));
                    self.walk_on(WALK_MAX);
                    true
                }
                Duty::Sums => {
                    let Pipeline { observer, outlet, ledger, .. } = self;
                    observer.take_sums(monotonic_ns(), &mut |output| outlet.take(output, ledger));
                    if self.is_budget_spent() {
                        self.look_at_probes()?;
                        self.look_at_budget()?;
                    }
                    true
                }
                Duty::Progress => self.tell_progress(false)?,
                Duty::Heartbeat => {
                    self.look_at_probes()?;
                    if self.spent.0.elapsed() >= LOOK_MIN {
                        self.look_at_budget()?;
                    }
                    self.heartbeat(false)?;
                    true
                }
            };
            if is_done {
                self.schedule.done(duty, at);
            } else {
                self.schedule.put_off(duty, at);
            }
        }
        Ok(())
    }

    /// Ends the capture and publishes what is left of it. `beat` is called now and then.
    fn stop(mut self, beat: impl Fn()) -> Result<()> {
        self.probes.tell_only_ends()?;
        self.drain_last(&beat)?;
        // A connection that ends before the walk comes to it tells so itself.
        self.begin_walk(None);
        while self.walk.is_some() {
            beat();
            self.walk_on(WALK_MAX);
        }
        // Of some the program had let go of the socket, so that the walk did not find it, and the connection had not ended yet.
        let deadline = Instant::now() + LAST_ENDS_MAX;
        while self.observer.misses_any() && Instant::now() < deadline {
            beat();
            std::thread::sleep(Duration::from_millis(5));
            self.drain(DRAIN_MAX);
        }
        self.probes.end_capture()?;
        self.drain_last(&beat)?;
        // None, but on a machine that left the agent next to no time.
        let left = self.probes.drain(Instant::now() + LAST_DRAIN_MAX, |_| {}).events;
        for stream in Stream::ALL {
            self.ledger.dropped(stream, "stopped_behind", left);
        }
        let (ledger, outlet) = (&mut self.ledger, &mut self.outlet);
        self.observer.finish(monotonic_ns(), &mut |output| outlet.take(output, ledger));
        self.wait_for_names(self.settings.naming.wait);
        let deadline = Instant::now() + self.settings.flush_timeout;
        while !self.tell_progress(true)? && Instant::now() < deadline {
            beat();
            self.outlet.advance()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.heartbeat(true)?;
        self.outlet.close(deadline.saturating_duration_since(Instant::now()))
    }

    /// Drains what the programs that run at this moment still tell.
    fn drain_last(&mut self, beat: &impl Fn()) -> Result<()> {
        std::thread::sleep(SETTLED);
        let deadline = Instant::now() + LAST_DRAIN_MAX;
        while !self.drain(DRAIN_MAX) && Instant::now() < deadline {
            beat();
            self.outlet.advance()?;
        }
        Ok(())
    }

    /// Gives what waits in the ring buffer to the observer. Says whether nothing waits any more.
    fn drain(&mut self, most: Duration) -> bool {
        let began_ns = monotonic_ns();
        let now = Instant::now();
        self.undrained_max = self.undrained_max.max(now - self.drained_at);
        let Pipeline { probes, interests, naming, observer, outlet, ledger, .. } = self;
        observer.owners().set_now(now);
        outlet.set_now(now);
        let drained = probes.drain(now + most, |event| {
            if let Some(event) = naming.event(event) {
                observer.event(event, &mut |output| outlet.take(output, ledger));
            }
        });
        for Interest { connection_id, role, interest } in observer.interests() {
            interests.set(connection_id, role, interest);
        }
        if observer.looks_again() {
            interests.look_again();
        }
        observer.set_kept_elsewhere(outlet.held_bytes());
        self.progress.drained(began_ns, drained.newest_ns, drained.is_empty);
        self.undrained_max = self.undrained_max.max(drained.longest);
        self.drained_at = Instant::now();
        observer.expire_ahead(self.progress.complete_to_ns(), &mut |output| outlet.take(output, ledger));
        observer.expire_datagrams(self.progress.complete_to_ns(), &mut |output| outlet.take(output, ledger));
        drained.is_empty
    }

    /// Asks for names, takes those that are there, and publishes what waited for them.
    fn exchange_names(&mut self) {
        for claim in self.naming.exchange(self.observer.owners()) {
            self.outlet.identity(&self.identities.record(claim));
        }
        for pid in self.observer.owners().new_users() {
            if let Some(libraries) = &mut self.libraries {
                libraries.look(pid);
            }
        }
        if let Some(libraries) = &mut self.libraries {
            self.observer.encrypting().for_each(|pid| libraries.look(pid));
            libraries.advance(&mut self.probes);
        }
        self.outlet.release(Instant::now(), &mut self.ledger);
    }

    /// Gives the last records their names, for as long as records wait for names.
    fn wait_for_names(&mut self, wait: Duration) {
        let deadline = Instant::now() + wait;
        while self.outlet.held().0 > 0 {
            let _ = self.naming.exchange(self.observer.owners());
            let now = Instant::now();
            self.outlet.release(now, &mut self.ledger);
            if now > deadline {
                // Whoever was first asked for in the last turn.
                return self.outlet.release(now + wait, &mut self.ledger);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Begins to publish what every connection did since the last walk.
    fn begin_walk(&mut self, pace: Option<Pace>) {
        match self.probes.walk() {
            Ok(walk) => {
                self.interests.look_again();
                self.observer.begin_walk();
                self.walk = Some((walk, pace));
            }
            // The counters stay on the sockets: the next walk says what this one could not.
            Err(error) => warn!(%error, "the walk over the sockets failed; their flows come with the next one"),
        }
    }

    /// How long the walk that goes on rests from now; none if there is none.
    fn walk_rests(&self) -> Option<Duration> {
        let (_, pace) = self.walk.as_ref()?;
        Some(pace.map_or(Duration::ZERO, |pace| pace.rest(Instant::now())))
    }

    /// Goes on with the walk, if there is one that does not rest, for so long; what arrives meanwhile is drained.
    fn walk_on(&mut self, most: Duration) {
        let until = Instant::now() + most;
        while self.walk_rests() == Some(Duration::ZERO)
            && let Some((mut walk, mut pace)) = self.walk.take()
        {
            let Pipeline { observer, outlet, ledger, .. } = self;
            let mut sockets = 0;
            let more = walk.next(|socket| {
                sockets += 1;
                observer.walked(socket, &mut |output| outlet.take(output, ledger));
            });
            match more {
                Ok(true) => {
                    pace.iter_mut().for_each(|pace| pace.done(sockets));
                    self.walk = Some((walk, pace));
                }
                Ok(false) => observer.end_walk(monotonic_ns(), &mut |output| outlet.take(output, ledger)),
                Err(error) => warn!(%error, "the walk over the sockets failed; their flows come with the next one"),
            }
            self.is_behind = !self.drain(WALK_DRAIN_MAX);
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Says up to when the records are complete, and what of them was dropped. Says whether that was possible: what found no room to be said comes
    /// first.
    fn tell_progress(&mut self, is_final: bool) -> Result<bool> {
        if !self.outlet.progress_is_out() {
            return Ok(false);
        }
        let lost_by_cgroup = self.probes.lost_by_cgroup()?;
        self.losses.book_owners(&lost_by_cgroup, self.observer.owners(), &mut self.ledger);
        let seen = Seen {
            counts: self.probes.counts()?,
            missed_runs: self.probes.missed_runs()?,
            unknown_events: self.probes.unknown_events(),
        };
        if self.losses.is_new(&seen) {
            self.observer.missed_datagrams(monotonic_ns());
        }
        if self.losses.book(&seen, &mut self.ledger) {
            self.naming.walk_again();
        }
        self.outlet.book_failed_deliveries(&mut self.ledger);
        let settled_ns = self.progress.complete_to_ns().saturating_sub(SETTLED.as_nanos() as u64);
        let settled_us = self.clock.epoch_us(settled_ns).max(self.started_at_us);
        // What is still being added up comes behind it; at the end, all of it has been taken.
        let summed_us = self.observer.sums_taken_to_us().filter(|_| !is_final);
        let settled_us = summed_us.map_or(settled_us, |summed_us| settled_us.min(summed_us - 1));
        // What is held comes behind it.
        let up_to_us = self.outlet.held_since_us().map_or(settled_us, |held_us| settled_us.min(held_us - 1));
        // What was drained or lost is older than this moment.
        let booked_us = self.clock.epoch_us(monotonic_ns());
        let progress = self.ledger.progress(up_to_us, booked_us, is_final);
        self.outlet.progress(&progress)?;
        Ok(true)
    }

    /// Adds up what the probes have taken.
    fn look_at_probes(&mut self) -> Result<()> {
        let spent = self.probe_time.look(monotonic_ns(), &self.costs.read()?);
        let telling = spent[cost::TELL as usize];
        self.probes_spent[0] += telling;
        self.probes_spent[1] += spent.iter().sum::<Duration>() - telling;
        Ok(())
    }

    /// Whether it is time to look at the budget before a heartbeat.
    fn is_budget_spent(&self) -> bool {
        self.budget.is_spent(self.agent_spent())
    }

    /// Processor time of the agent since the last look.
    fn agent_spent(&self) -> Duration {
        Duration::from_millis((headwater_telemetry::cpu_ms() - self.spent.1).max(0).unsigned_abs())
    }

    /// Gives up detail, or gives it back, by what agent and probes have taken since the last look.
    fn look_at_budget(&mut self) -> Result<()> {
        let (now, since, agent) = (Instant::now(), self.spent.0, self.agent_spent());
        self.spent = (now, headwater_telemetry::cpu_ms());
        let [telling, counting] = std::mem::take(&mut self.probes_spent);
        let spent = Spent { agent, telling, counting };
        if self.budget.look(&spent, now - since) {
            let (hot_per_second, resting) = (self.budget.hot_per_second(), self.budget.resting());
            self.observer.set_hot_per_second(hot_per_second, self.budget.gives_up());
            let budget_percent = self.settings.cpu_budget_percent;
            info!(?spent, in_the_last = ?(now - since), budget_percent, hot_per_second, resting, "the detail follows capture.cpu_budget");
        }
        let Pipeline { budget, observer, interests, outlet, ledger, .. } = self;
        let changes = observer.set_resting(budget.resting(), monotonic_ns(), &mut |output| outlet.take(output, ledger));
        let is_followed_anew = changes.iter().any(|rest| !rest.rests);
        for rest in changes {
            if let Err(error) = interests.rest(rest.cgroup(), rest.rests) {
                warn!(%error, rests = rest.rests, "the probes were not told that a workload rests or not; its new connections are followed as before");
            }
        }
        for Interest { connection_id, role, interest } in observer.interests() {
            interests.set(connection_id, role, interest);
        }
        if is_followed_anew {
            interests.look_again();
        }
        Ok(())
    }

    fn heartbeat(&mut self, is_final: bool) -> Result<()> {
        let moment = Moment {
            observed_at_us: self.at().day_us,
            probe_counts: self.probes.counts()?,
            missed_runs: self.probes.missed_runs()?,
            connections: self.observer.connections(),
            others: self.counters(),
            delivered: Stream::ALL.map(|stream| self.outlet.delivered(stream)),
            is_final,
        };
        let agent = self.heartbeats.record(&self.ledger, &moment);
        heartbeat::export(&agent);
        if self.outlet.is_open() {
            self.heartbeats.published();
            self.outlet.heartbeat(&agent)?;
        }
        Ok(())
    }

    /// What else the heartbeat says.
    fn counters(&mut self) -> Vec<(&'static str, i64)> {
        let (held, overflows) = self.outlet.held();
        let operations = self.observer.operations();
        let (memory_bytes, memory_evicted) = self.observer.memory();
        let (cells, without_cell) = self.observer.cells();
        let (added_by_agent, without_room) = self.observer.folded();
        let mut counters = self.naming.counters();
        counters.extend([
            ("names_held_records", held as i64),
            ("names_held_overflows", overflows as i64),
            ("names_owners", self.observer.owners().count() as i64),
            ("memory_parsers_bytes", memory_bytes as i64),
            ("memory_held_bytes", self.outlet.held_bytes() as i64),
            ("memory_evicted", memory_evicted as i64),
            ("cpu_budget_exceeded_looks", self.budget.exceeded_looks as i64),
            ("resting_workloads", self.observer.resting() as i64),
            ("sums_hot_per_second", i64::from(self.budget.hot_per_second())),
            ("sums_cells", cells as i64),
            ("spared_ends", self.observer.spared() as i64),
            ("sums_without_cell", without_cell as i64),
            ("sums_added_by_agent", added_by_agent as i64),
            ("sums_without_room", without_room as i64),
            ("operations_known", operations.known as i64),
            ("operations_other", operations.other as i64),
            ("operations_evicted", operations.evicted as i64),
            ("remote_names_forgotten", self.observer.remote_names_forgotten() as i64),
            ("requests_value_unknown", self.observer.values_unknown() as i64),
            ("events_unknown", self.probes.unknown_events() as i64),
            ("undrained_max_us", std::mem::take(&mut self.undrained_max).as_micros() as i64),
        ]);
        for (at, name) in cost::NAMES.iter().enumerate() {
            metrics::PROBE_CORES.set(&[name], self.probe_time.cores()[at]);
            counters.push((cost::COUNTERS[at], (self.probe_time.total_ns()[at] / 1000) as i64));
        }
        counters.extend(self.libraries.iter().flat_map(Libraries::counters));
        counters.extend(self.outlet.spool_counters(self.at().day_us));
        counters
    }

    fn at(&self) -> At {
        At { now: Instant::now(), day_us: self.clock.epoch_us(monotonic_ns()) }
    }
}
