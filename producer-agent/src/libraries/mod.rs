//! The libraries of TLS that captured programs map, those programs themselves where they have TLS of their own (of Go, or OpenSSL's), and the probes in them.
//!
//! ```text
//! pipeline --programs (bounded)--> thread --files with their functions (bounded)--> pipeline --attaches--> probes
//!                                  reads /proc/PID/maps, libraries, programs
//! pipeline --probes of files that nobody maps--> detacher, one by one
//! ```
//!
//! A program is looked at when it uses its first socket, and again when a connection of its turns out to be encrypted; those that run already, before
//! the capture begins. Promise: a file is attached to within a second of that, and detached from within [`KEEP`] and a look after nobody who is known maps it any more. Bounds:
//! [`LIBRARIES_MAX`] files, and what waits in the queues; what is too much is counted.

mod detach;
mod maps;
mod thread;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use detach::Detacher;
use headwater_probe_loader::{Attached, Options, Probes, TlsFunctions};
use tracing::{info, warn};

pub use maps::FileKey;

/// Files that are attached to at a time: each takes some twenty probes, or forty if it is a program of Go.
const LIBRARIES_MAX: usize = 64;

/// Programs and files that may wait.
const QUEUE_MAX: usize = 1024;

/// For so long a library that nobody maps any more stays attached to, since short-lived programs come again.
const KEEP: Duration = Duration::from_secs(60);

/// What the thread tells.
enum Told {
    Found { key: FileKey, file: File, path: PathBuf, functions: TlsFunctions },
    Gone(FileKey),
}

/// The pipeline's end of the thread, which ends with this.
pub struct Libraries {
    /// Programs that use TLS, or may.
    programs: SyncSender<u32>,
    detacher: Detacher,
    told: Receiver<Told>,
    attached: HashMap<FileKey, Attached>,
    refused: Arc<AtomicU64>,
    /// Programs that there was no room to tell of, and libraries that there was none for.
    queue_full: u64,
    full: Arc<AtomicU64>,
}

impl Libraries {
    /// Attaches to what captured programs map now, and starts the thread that looks for more.
    pub fn start(options: &Options, probes: &mut Probes) -> Result<Libraries> {
        let (programs_in, programs_out) = sync_channel(QUEUE_MAX);
        let (told_in, told_out) = sync_channel(QUEUE_MAX);
        let full = Arc::new(AtomicU64::new(0));
        let sessions = probes.take_tls_sessions().context("find the sessions of TLS")?;
        let refused = Arc::new(AtomicU64::new(0));
        let detacher = Detacher::start()?;
        let mut thread = thread::LibraryThread::new(told_in, sessions, [&full, &refused], detacher.waiting());
        let mut libraries = Libraries {
            programs: programs_in,
            detacher,
            told: told_out,
            attached: HashMap::new(),
            refused,
            queue_full: 0,
            full,
        };
        for pid in maps::captured(options) {
            thread.look(pid);
            libraries.advance(probes);
        }
        std::thread::Builder::new()
            .name("libraries".into())
            .spawn(move || thread.run(&programs_out))
            .context("start the thread that looks for libraries of TLS")?;
        Ok(libraries)
    }

    /// A program has used its first socket, or has been seen to encrypt.
    pub fn look(&mut self, pid: u32) {
        if self.programs.try_send(pid).is_err() {
            self.queue_full += 1;
        }
    }

    /// Attaches to what was found, and lets go of what is gone.
    pub fn advance(&mut self, probes: &mut Probes) {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Found { key, file, path, functions } => {
                    // The file itself, whatever has its name by now.
                    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                    match self.detacher.while_attaching(|| probes.attach_tls(&by_descriptor, &functions)) {
                        Ok(attached) => {
                            info!(path = %path.display(), "watching a library of TLS");
                            self.attached.insert(key, attached);
                        }
                        Err(error) => {
                            self.refused.fetch_add(1, Ordering::Relaxed);
                            warn!(%error, path = %path.display(), "of a library of TLS is not seen what it encrypts");
                        }
                    }
                }
                Told::Gone(key) => {
                    if let Some(attached) = self.attached.remove(&key) {
                        self.detacher.detach(Box::new(attached.detach()));
                    }
                }
            }
        }
    }

    /// Name and value of each counter.
    pub fn counters(&self) -> [(&'static str, i64); 4] {
        [
            ("tls_libraries", self.attached.len() as i64),
            ("tls_libraries_refused", self.refused.load(Ordering::Relaxed) as i64),
            ("tls_libraries_full", self.full.load(Ordering::Relaxed) as i64),
            ("tls_programs_queue_full", self.queue_full as i64),
        ]
    }
}
