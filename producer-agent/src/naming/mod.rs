//! Names the owners of sockets on a thread of its own, so that the pipeline never reads a file nor waits for anyone.
//!
//! ```text
//! pipeline --events, owners (bounded)--> naming thread --names (bounded)--> pipeline
//!                    pods of Kubernetes --^   reads /sys/fs/cgroup, /proc, files of runtimes
//! ```
//!
//! Promise: what was told before an owner was asked for is known when it is named, since both take the same queue. An event
//! that finds the queue full is counted, and the hierarchy of cgroups is walked again. An owner is named at once if all is known; else
//! until [`Settings::wait`] is over, then with what is right without the rest, and again if the rest comes within `LATE_FOR`.

mod identity;
mod owners;
mod process;
#[cfg(test)]
pub mod tests;
mod thread;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_kubernetes::{PodNews, Watch};
use headwater_probe_loader::{Event, Hierarchy};
use headwater_workload::Workload;
use headwater_workload::identities::Claim;
use headwater_workload::names::Owner as Key;
use headwater_workload::runtimes::Roots;

pub use identity::IdentityRecords;
pub use owners::{Named, Owner, Owners};

/// Events and owners that may wait for the naming thread.
const QUEUE_MAX: usize = 16 * 1024;

/// How naming is done.
#[derive(Debug, Clone)]
pub struct Settings {
    pub roots: Roots,
    pub cluster: String,
    /// Records wait so long for the name of their workload.
    pub wait: Duration,
    /// How often the owners of addresses are told.
    pub identities_interval: Duration,
    /// The pods to watch; none outside of Kubernetes.
    pub kubernetes: Option<headwater_kubernetes::Options>,
}

/// What the naming thread is told.
enum News {
    Cgroup {
        change: u32,
        hierarchy: u32,
        id: u64,
        path: String,
    },
    Program {
        event: headwater_probe_loader::types::ProcessEvent,
        words: Vec<u8>,
    },
    /// Who an owner is, and whether that was asked before.
    Owner(Key, bool),
    Pod(PodNews),
}

/// What the naming thread tells.
enum Told {
    /// The name of an owner, and whether it was asked for again.
    Name((Key, bool), Box<Workload>),
    Claim(Box<Claim>),
}

/// What happened in naming, for the heartbeat.
#[derive(Debug, Default)]
pub struct Counts {
    /// Owners that were named; among them, those that were named `unknown`, and those that were named anew afterwards.
    pub named: AtomicU64,
    pub unknown: AtomicU64,
    pub late: AtomicU64,
    /// Owners that were looked up in /proc, since their events were lost.
    pub from_proc: AtomicU64,
    pub walks: AtomicU64,
    pub forgotten: AtomicU64,
    pub queue_full: AtomicU64,
    /// Pods that are known, those included that are gone.
    pub pods: AtomicU64,
}

impl Counts {
    /// Name and value of each.
    pub fn all(&self) -> Vec<(&'static str, i64)> {
        let counts = [
            ("names_given", &self.named),
            ("names_unknown", &self.unknown),
            ("names_late", &self.late),
            ("names_from_proc", &self.from_proc),
            ("names_walks", &self.walks),
            ("names_forgotten", &self.forgotten),
            ("names_queue_full", &self.queue_full),
            ("names_pods", &self.pods),
        ];
        counts.iter().map(|(name, count)| (*name, count.load(Ordering::Relaxed) as i64)).collect()
    }
}

/// The pipeline's end of the naming thread. It ends with this.
pub struct Naming {
    news: Option<SyncSender<News>>,
    names: Receiver<Told>,
    walk_again: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
    watch: Option<Watch>,
    stopping: Arc<AtomicBool>,
}

impl Naming {
    /// Starts the thread, and the watch on Kubernetes if that is asked for. The probes must tell of new cgroups already: those that exist
    /// are walked over now.
    ///
    /// # Errors
    /// If Kubernetes is to be asked and no credentials are there, or if there is no thread.
    pub fn start(settings: &Settings, hierarchies: &[Hierarchy]) -> Result<Naming> {
        let (news_in, news_out) = sync_channel(QUEUE_MAX);
        let (names_in, names_out) = sync_channel(QUEUE_MAX);
        let (walk_again, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let api: Arc<headwater_kubernetes::Counts> = Arc::default();
        let thread = thread::NamingThread::new(
            settings,
            hierarchies.to_vec(),
            names_in,
            Arc::clone(&walk_again),
            Arc::clone(&counts),
            Arc::clone(&api),
        );
        let thread = std::thread::Builder::new()
            .name("naming".into())
            .spawn(move || thread.run(&news_out))
            .context("start the naming thread")?;
        let stopping = Arc::new(AtomicBool::new(false));
        let watch = match &settings.kubernetes {
            Some(options) => Some(Watch::start(options.clone(), api, sink(news_in.clone(), Arc::clone(&stopping)))?),
            None => None,
        };
        Ok(Naming { news: Some(news_in), names: names_out, walk_again, counts, thread: Some(thread), watch, stopping })
    }

    /// Takes an event that tells of names. Gives back one that does not.
    pub fn event<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        let news = match event {
            Event::Cgroup(event, path) => News::Cgroup {
                change: event.change,
                hierarchy: event.hierarchy,
                id: event.id,
                path: String::from_utf8_lossy(path).into_owned(),
            },
            Event::Process(event, arguments, environment) => {
                News::Program { event, words: [arguments, environment].concat() }
            }
            other => return Some(other),
        };
        if !self.tell(news) {
            self.walk_again();
        }
        None
    }

    /// The kernel could not tell of a cgroup: it is looked for.
    pub fn walk_again(&self) {
        self.walk_again.store(true, Ordering::Relaxed);
    }

    /// Asks for owners, and takes the names that are there; gives what is told of addresses.
    pub fn exchange(&mut self, owners: &mut Owners) -> Vec<Claim> {
        owners.ask(|key, is_again| self.tell(News::Owner(key, is_again)));
        let mut claims = Vec::new();
        while let Ok(told) = self.names.try_recv() {
            match told {
                Told::Name((key, is_again), workload) => owners.take((&key, is_again), *workload),
                Told::Claim(claim) => claims.push(*claim),
            }
        }
        claims
    }

    /// Name and value of each counter.
    pub fn counters(&self) -> Vec<(&'static str, i64)> {
        let mut counters = self.counts.all();
        if let Some(watch) = &self.watch {
            let counts = watch.counts();
            counters.extend([
                ("kubernetes_connected", i64::from(counts.connected.load(Ordering::Relaxed))),
                ("kubernetes_events", counts.events.load(Ordering::Relaxed) as i64),
                ("kubernetes_lists", counts.lists.load(Ordering::Relaxed) as i64),
                ("kubernetes_errors", counts.errors.load(Ordering::Relaxed) as i64),
            ]);
        }
        counters
    }

    fn tell(&self, news: News) -> bool {
        let taken = self.news.as_ref().is_some_and(|queue| queue.try_send(news).is_ok());
        if !taken {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

/// Hands pods to the naming thread; waits for room, since a pod that is lost would not be told again.
fn sink(queue: SyncSender<News>, stopping: Arc<AtomicBool>) -> impl FnMut(PodNews) -> bool + Send + 'static {
    move |pod| {
        let mut news = News::Pod(pod);
        loop {
            news = match queue.try_send(news) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if stopping.load(Ordering::Relaxed) => return false,
                Err(TrySendError::Full(news)) => news,
            };
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.watch = None;
        self.news = None;
        // It may wait for room among the names.
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            let _ = self.names.recv_timeout(Duration::from_millis(20));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
