//! Turns the watch into news: lists, bookmarks and resumption are the library's; new credentials, back-off and bounds are ours.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use headwater_workload::pods::PodNews;
use kube::client::{ClientBuilder, DynBody};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::{Api, Client, Config};
use tower::limit::RateLimitLayer;
use tower::util::MapResponseLayer;

use crate::object::PodObject;
use crate::{Counts, Options};

/// The server ends a watch after this time, and the next one goes on where it was. With the server's own choice of up to 10 minutes a
/// connection that died silently would be noticed late.
const WATCH_TIMEOUT_S: u32 = 240;

/// A server that says nothing for so long is not there any more. Longer than a watch, since where no pod changes it may send no bookmark
/// either.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_TIMEOUT_S as u64 + 10);

/// Requests that one agent may make in a minute, whatever happens: a watch that is cut again and again as soon as it began would
/// otherwise be asked for again without a pause.
const REQUESTS_MAX: u64 = 12;
const MINUTE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Task {
    options: Options,
    config: Config,
    counts: Arc<Counts>,
    sink: Box<dyn FnMut(PodNews) -> bool + Send>,
    /// How long to wait after the next error: 0.8 s, then up to twice as long each time, at most a minute. One for all kinds of errors, and
    /// it begins anew only when the server has answered with pods.
    backoff: DefaultBackoff,
    /// The error that was said last, so that it is not said at each try.
    said: String,
}

enum End {
    /// Nobody listens any more.
    Stopped,
    /// The credentials are not accepted.
    Refused,
}

impl Task {
    pub fn new(
        options: Options,
        config: Config,
        counts: Arc<Counts>,
        sink: Box<dyn FnMut(PodNews) -> bool + Send>,
    ) -> Task {
        Task { options, config, counts, sink, backoff: DefaultBackoff::default(), said: String::new() }
    }

    pub async fn run(mut self) {
        loop {
            match client(self.config.clone(), Arc::clone(&self.counts)) {
                Ok(client) => match self.watch(client).await {
                    End::Stopped => return,
                    End::Refused => {}
                },
                Err(error) => self.failed(&error),
            }
            self.wait().await;
            // The token's file may hold a new one, the kubeconfig too.
            match Config::infer().await {
                Ok(config) => self.config = config,
                Err(error) => self.failed(&error),
            }
        }
    }

    async fn watch(&mut self, client: Client) -> End {
        let mut config = watcher::Config::default()
            .fields(&format!("spec.nodeName={}", self.options.node))
            .timeout(WATCH_TIMEOUT_S)
            .any_semantic();
        // With pages the list would come from etcd and not from the server's cache; a node's pods fit into one answer.
        config.page_size = None;
        // Not with the library's back-off, which begins anew with each attempt to list.
        let mut events = pin!(watcher::watcher(Api::<PodObject>::all(client), config));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.counts.connected.store(false, Ordering::Relaxed);
                    self.failed(&error);
                    if is_refused(&error) {
                        return End::Refused;
                    }
                    self.wait().await;
                    continue;
                }
            };
            // A list is announced before the server is asked for it.
            if !matches!(event, Event::Init) {
                self.worked();
            }
            if let Some(news) = self.news(event)
                && !(self.sink)(news)
            {
                return End::Stopped;
            }
        }
        // The stream has no end of its own.
        End::Refused
    }

    fn news(&self, event: Event<PodObject>) -> Option<PodNews> {
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Init => {
                self.counts.lists.fetch_add(1, Ordering::Relaxed);
                Some(PodNews::ListBegins)
            }
            Event::InitApply(pod) | Event::Apply(pod) => Some(PodNews::Seen(Box::new(pod.pod(&self.options.labels)?))),
            Event::InitDone => Some(PodNews::ListEnds),
            Event::Delete(pod) => Some(PodNews::Deleted(pod.uid()?.to_owned())),
        }
    }

    async fn wait(&mut self) {
        // It never ends.
        tokio::time::sleep(self.backoff.next().unwrap_or(MINUTE)).await;
    }

    fn worked(&mut self) {
        self.backoff.reset();
        self.counts.connected.store(true, Ordering::Relaxed);
        if !self.said.is_empty() {
            tracing::info!("the API server of Kubernetes answers again");
            self.said.clear();
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        if text != self.said {
            tracing::warn!(
                error = text,
                node = self.options.node,
                "the pods of this node cannot be watched; what is known of them stays, new ones are called unknown until it works again (the \
                 agent's service account needs list and watch of pods)"
            );
            self.said = text;
        }
    }
}

/// A client that notes when the server answers: a watch that was resumed says nothing until a pod changes.
fn client(mut config: Config, counts: Arc<Counts>) -> Result<Client, kube::Error> {
    config.read_timeout = Some(SILENCE_MAX);
    config.reset_reader_on_write = true;
    // It would try an overloaded server again after 5 ms, and fifteen times before anybody here knew.
    config.default_retry = false;
    let answered = MapResponseLayer::new(move |response: http::Response<Box<DynBody>>| {
        if response.status().is_success() {
            counts.connected.store(true, Ordering::Relaxed);
        }
        response
    });
    let limited = RateLimitLayer::new(REQUESTS_MAX, MINUTE);
    Ok(ClientBuilder::try_from(config)?.with_layer(&answered).with_layer(&limited).build())
}

/// Whether the server does not accept the credentials (401).
fn is_refused(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) => status,
            kube::Error::Auth(_) => return true,
            _ => return false,
        },
        watcher::Error::WatchError(status) => status,
        watcher::Error::NoResourceVersion => return false,
    };
    status.code == 401
}
