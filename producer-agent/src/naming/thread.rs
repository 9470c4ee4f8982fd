//! The naming thread: keeps [`Names`] up to date and answers for owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use headwater_probe_loader::Hierarchy;
use headwater_probe_loader::types::change;
use headwater_workload::identities::Identities;
use headwater_workload::names::{Answer, CgroupKey, Names, Owner as Key, ProgramKey};
use headwater_workload::path::Place;
use headwater_workload::program::Process;
use headwater_workload::runtimes::Runtimes;
use headwater_workload::{Kind, Workload};

use crate::clock::{Clock, monotonic_ns};

use super::{Counts, News, Settings, Told, process, walk};

/// How often those that are not named yet are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A name that comes so long after an owner was asked for still counts, for what is seen of the owner from then on.
const LATE_FOR: Duration = Duration::from_secs(300);

/// How often those are looked at again that something was said of.
const LATE_INTERVAL: Duration = Duration::from_secs(1);

/// Owners that wait for a name.
const WAITING_MAX: usize = 16 * 1024;

/// Walks over the hierarchies are so far apart at least.
const WALK_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub struct NamingThread {
    names: Names,
    hierarchies: Vec<Hierarchy>,
    answers: SyncSender<Told>,
    /// Those that nothing was said of, and those that may still be named otherwise.
    waiting: Vec<Waiting>,
    late: Vec<Waiting>,
    late_at: Instant,
    wait: Duration,
    identities: Identities,
    identities_interval: Duration,
    identities_at: Instant,
    walk_again: Arc<AtomicBool>,
    walked_at: Option<Instant>,
    counts: Arc<Counts>,
    api: Arc<headwater_kubernetes::Counts>,
}

struct Waiting {
    owner: Key,
    /// It was asked for before.
    is_again: bool,
    since: Instant,
    /// What was answered when the time was over.
    said: Option<Workload>,
}

impl NamingThread {
    pub fn new(
        settings: &Settings,
        hierarchies: Vec<Hierarchy>,
        answers: SyncSender<Told>,
        walk_again: Arc<AtomicBool>,
        counts: Arc<Counts>,
        api: Arc<headwater_kubernetes::Counts>,
    ) -> NamingThread {
        NamingThread {
            names: Names::new(
                Runtimes::new(settings.roots.clone()),
                settings.kubernetes.is_some(),
                settings.cluster.clone(),
            ),
            hierarchies,
            answers,
            waiting: Vec::new(),
            late: Vec::new(),
            late_at: Instant::now(),
            // The pipeline stops waiting at the same time, counted from a little earlier.
            wait: settings.wait.mul_f32(0.8),
            identities: Identities::default(),
            identities_interval: settings.identities_interval,
            identities_at: Instant::now(),
            walk_again,
            walked_at: None,
            counts,
            api,
        }
    }

    /// Runs until nobody tells anything any more.
    pub fn run(mut self, news: &Receiver<News>) {
        self.walk(Instant::now());
        loop {
            let timeout = if self.waiting.is_empty() { WALK_INTERVAL } else { LOOK_AGAIN };
            match news.recv_timeout(timeout) {
                Ok(news) => self.take(news, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What is there already belongs together: the answer to an owner may be behind it.
            while let Ok(news) = news.try_recv() {
                self.take(news, Instant::now());
            }
            let now = Instant::now();
            if self.walk_again.load(Ordering::Relaxed) {
                self.walk(now);
            }
            if self.answer_waiting(now).is_err() || self.tell_identities(now).is_err() {
                return;
            }
            self.counts.forgotten.store(self.names.forgotten(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Cgroup { change: change::REMOVED, .. } => {}
            News::Cgroup { change, hierarchy, id, path } => {
                self.names.cgroup(CgroupKey { hierarchy, id }, &path);
                // The paths below a renamed one (version 1 only) have changed too.
                if change == change::RENAMED {
                    self.walk_again.store(true, Ordering::Relaxed);
                }
            }
            News::Program { event, words } => {
                let (arguments, environment) = words.split_at(words.len().min(event.arguments_bytes as usize));
                let end = event.executable.iter().position(|&byte| byte == 0).unwrap_or(event.executable.len());
                let whole;
                let environment = if event.environment_is_cut != 0 {
                    whole = process::environment(event.pid, event.started_ns);
                    whole.as_deref().unwrap_or(environment)
                } else {
                    environment
                };
                let process = Process {
                    executable: &event.executable[..end],
                    arguments,
                    environment,
                    first_thread: &event.first_thread,
                };
                let key = ProgramKey { pid: event.pid, started_ns: event.started_ns, exec: event.exec };
                self.names.program(key, &process);
            }
            News::Pod(news) => {
                if let Some(pods) = self.names.pods_mut() {
                    pods.take(news, now);
                    self.counts.pods.store(pods.len() as u64, Ordering::Relaxed);
                }
            }
            News::Owner(owner, is_again) => {
                self.complete(&owner);
                // The pipeline calls an owner unknown that it gets no answer for.
                if self.waiting.len() < WAITING_MAX {
                    self.waiting.push(Waiting { owner, is_again, since: now, said: None });
                } else {
                    self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Looks for what the events should have told and did not: they were lost, or it is older than the agent.
    fn complete(&mut self, owner: &Key) {
        if owner.program.pid == 0 {
            return;
        }
        let program = owner.program;
        if !self.names.knows_program(program)
            && let Some(found) = process::read(program.pid, program.started_ns)
        {
            self.counts.from_proc.fetch_add(1, Ordering::Relaxed);
            let process = Process { first_thread: &owner.first_thread, ..found.as_process() };
            self.names.program(program, &process);
        }
        if !self.names.knows_cgroup(owner.cgroup) {
            self.walk_again.store(true, Ordering::Relaxed);
            if let Some(cgroups) = process::cgroups(program.pid, program.started_ns) {
                self.counts.from_proc.fetch_add(1, Ordering::Relaxed);
                self.names.place(owner.cgroup, Place::of_process(&cgroups));
            }
        }
    }

    /// Answers for all that are known by now or whose time is over. Fails if nobody wants answers any more.
    fn answer_waiting(&mut self, now: Instant) -> Result<(), ()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if now.duration_since(self.late_at) >= LATE_INTERVAL {
            self.late_at = now;
            waiting.append(&mut self.late);
        }
        for mut waits in waiting {
            let age = now.duration_since(waits.since);
            match self.names.of(&waits.owner, now) {
                Answer::Known(workload) => {
                    if waits.said.as_ref() != Some(&workload) {
                        let late = u64::from(waits.said.is_some());
                        self.counts.late.fetch_add(late, Ordering::Relaxed);
                        self.answer((waits.owner, waits.is_again), workload)?;
                    }
                }
                Answer::NotYet(workload) => {
                    if age >= self.wait && waits.said.as_ref() != Some(&workload) {
                        waits.said = Some(workload.clone());
                        self.answer((waits.owner, waits.is_again), workload)?;
                    }
                    if waits.said.is_none() {
                        self.waiting.push(waits);
                    } else if age < LATE_FOR && self.late.len() < WAITING_MAX {
                        self.late.push(waits);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells who owns which address, if it is time.
    fn tell_identities(&mut self, now: Instant) -> Result<(), ()> {
        let Some(pods) = self.names.pods().filter(|_| now >= self.identities_at) else { return Ok(()) };
        // While the API server is away, nobody knows whether a pod still has its address.
        if !pods.are_listed() || !self.api.connected.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.identities_at = now + self.identities_interval;
        let now_us = Clock::measure().epoch_us(monotonic_ns());
        for claim in self.identities.look(pods.living(), now_us) {
            self.answers.send(Told::Claim(Box::new(claim))).map_err(|_| ())?;
        }
        Ok(())
    }

    fn answer(&self, owner: (Key, bool), workload: Workload) -> Result<(), ()> {
        self.counts.named.fetch_add(1, Ordering::Relaxed);
        self.counts.unknown.fetch_add(u64::from(workload.kind == Kind::Unknown), Ordering::Relaxed);
        self.answers.send(Told::Name(owner, Box::new(workload))).map_err(|_| ())
    }

    /// Walks over all cgroups, if the last walk was long enough ago.
    fn walk(&mut self, now: Instant) {
        if self.walked_at.is_some_and(|at| now.duration_since(at) < WALK_INTERVAL) {
            return;
        }
        self.walked_at = Some(now);
        self.walk_again.store(false, Ordering::Relaxed);
        self.counts.walks.fetch_add(1, Ordering::Relaxed);
        for hierarchy in &self.hierarchies {
            let names = &mut self.names;
            walk::cgroups(hierarchy, &mut |key, path| names.cgroup(key, path));
        }
    }
}
