//! Watches the pods of one node: the one crate that knows Kubernetes' API.
//!
//! In: the API server, as the pod's own service account or a kubeconfig names it; the node's name. Out: [`PodNews`] in order, to a sink. Promise:
//! asks for `list` and `watch` of pods and for nothing else; lists from the server's cache (`resourceVersion=0`), takes
//! bookmarks, resumes where it was, lists anew after `410 Gone`, waits longer and longer with jitter while the server is away, and
//! takes new credentials when the old ones are refused. Bounded: one request at a time, one pod in memory.

mod object;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

pub use headwater_workload::pods::PodNews;
use tokio::sync::Notify;

/// Which pods to watch, and what to take of them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name in Kubernetes.
    pub node: String,
    /// Keys of the labels that are passed on.
    pub labels: Vec<String>,
}

/// What happened, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    pub events: AtomicU64,
    pub lists: AtomicU64,
    pub errors: AtomicU64,
    /// Whether the server answered last: only then what is known of the pods is true now.
    pub connected: AtomicBool,
}

/// Why the watch cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(
        "Kubernetes is to be asked for the names of pods, but neither a service account nor a kubeconfig is there: {0}; give the pod a service \
         account with automountServiceAccountToken, set KUBECONFIG, or set kubernetes.enabled to off"
    )]
    NoCredentials(#[source] Box<kube::config::InferConfigError>),
    #[error("the thread that watches pods cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running watch; it ends with this.
pub struct Watch {
    stop: Arc<Notify>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the watch on a thread of its own. The server need not be there yet, the credentials must. `sink` may block; it says whether
    /// anybody still listens.
    ///
    /// # Errors
    /// If there are no credentials, or no thread.
    pub fn start(
        options: Options,
        counts: Arc<Counts>,
        sink: impl FnMut(PodNews) -> bool + Send + 'static,
    ) -> Result<Watch, WatchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WatchError::Thread)?;
        let config =
            runtime.block_on(kube::Config::infer()).map_err(|error| WatchError::NoCredentials(Box::new(error)))?;
        let stop = Arc::new(Notify::new());
        let task = watch::Task::new(options, config, Arc::clone(&counts), Box::new(sink));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("kubernetes".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = task.run() => {}
                        () = stopped.notified() => {}
                    }
                });
            })
            .map_err(WatchError::Thread)?;
        Ok(Watch { stop, counts, thread: Some(thread) })
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether this process runs in a pod that may ask the API server.
pub fn is_inside() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && std::path::Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
}
