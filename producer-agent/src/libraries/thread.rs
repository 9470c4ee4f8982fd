//! Looks for libraries, and at whether somebody still maps them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use headwater_probe_loader::{GoError, TlsFunctions, TlsSessions};
use tracing::warn;

use super::maps::Kind;
use super::{FileKey, KEEP, LIBRARIES_MAX, Told, maps};

/// How often libraries are looked after.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Programs of one library that are remembered.
const USERS_MAX: usize = 256;

/// Programs without TLS of their own that are remembered, so that they are not read again.
const PLAIN_MAX: usize = 4096;

/// See the module.
pub struct LibraryThread {
    told: SyncSender<Told>,
    known: HashMap<FileKey, Library>,
    plain: HashSet<FileKey>,
    sessions: TlsSessions,
    full: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    /// Files that are let go of, and have probes yet.
    detaching: Arc<AtomicUsize>,
}

struct Library {
    /// Programs that were seen to map it.
    users: BTreeSet<u32>,
    used_at: Instant,
}

impl LibraryThread {
    /// `full` counts files that there is no room for, and `refused` those that are not understood.
    pub fn new(
        told: SyncSender<Told>,
        sessions: TlsSessions,
        [full, refused]: [&Arc<AtomicU64>; 2],
        detaching: Arc<AtomicUsize>,
    ) -> LibraryThread {
        let [full, refused] = [full, refused].map(Arc::clone);
        LibraryThread { told, known: HashMap::new(), plain: HashSet::new(), sessions, full, refused, detaching }
    }

    /// Runs until nobody tells anything any more.
    pub fn run(mut self, programs: &Receiver<u32>) {
        let mut looked_at = Instant::now();
        loop {
            match programs.recv_timeout(LOOK_INTERVAL) {
                Ok(pid) => self.look(pid),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked_at.elapsed() >= LOOK_INTERVAL {
                looked_at = Instant::now();
                self.look_after(looked_at);
            }
        }
    }

    /// Looks at what a program maps.
    pub fn look(&mut self, pid: u32) {
        for mapped in maps::of_process(pid) {
            if let Some(library) = self.known.get_mut(&mapped.key) {
                library.used_at = Instant::now();
                if library.users.len() < USERS_MAX {
                    library.users.insert(pid);
                }
                continue;
            }
            if self.known.len() + self.detaching.load(Ordering::Relaxed) >= LIBRARIES_MAX {
                self.full.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if self.plain.contains(&mapped.key) {
                continue;
            }
            let Some(file) = mapped.open(pid) else { continue };
            let functions = match mapped.kind {
                Kind::Library => TlsFunctions::of_library(&file).map_err(GoError::from),
                Kind::Program => TlsFunctions::of_program(&file),
            };
            let functions = functions.unwrap_or_else(|error| {
                self.refused.fetch_add(1, Ordering::Relaxed);
                warn!(%error, path = %mapped.path.display(), "what it encrypts is not seen");
                None
            });
            if functions.is_none() && mapped.kind == Kind::Program {
                // There are many: they take no place.
                if self.plain.len() == PLAIN_MAX {
                    self.plain.clear();
                }
                self.plain.insert(mapped.key);
                continue;
            }
            // One that has not the functions is remembered, too.
            let library = Library { users: BTreeSet::from([pid]), used_at: Instant::now() };
            self.known.insert(mapped.key.clone(), library);
            if let Some(functions) = functions {
                let found = Told::Found { key: mapped.key.clone(), file, path: mapped.path, functions };
                if self.told.try_send(found).is_err() {
                    self.known.remove(&mapped.key);
                    self.full.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Forgets the libraries that nobody maps any more, and sessions of processes that are gone.
    fn look_after(&mut self, now: Instant) {
        self.sessions.retain(|pid| Path::new("/proc").join(pid.to_string()).exists());
        let told = &self.told;
        self.known.retain(|key, library| {
            library.users.retain(|pid| maps::of_process(*pid).iter().any(|mapped| mapped.key == *key));
            if !library.users.is_empty() {
                library.used_at = now;
            }
            now.duration_since(library.used_at) < KEEP || told.try_send(Told::Gone(key.clone())).is_err()
        });
    }
}
