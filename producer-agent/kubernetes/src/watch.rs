//! Turns the watch into news: lists, bookmarks, resumption and back-off are the library's; new credentials are ours.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use headwater_workload::pods::PodNews;
use kube::client::{ClientBuilder, DynBody};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config};
use tower::util::MapResponseLayer;

use crate::object::PodObject;
use crate::{Counts, Options};

/// The server ends a watch after this time, and the next one goes on where it was. With the server's own choice of up to 10 minutes a
/// connection that died silently would be noticed late.
const WATCH_TIMEOUT_S: u32 = 240;

/// How long to wait before credentials are read again, and how often at most that is said.
const CREDENTIALS_AGAIN: Duration = Duration::from_secs(2);

/// See the module.
pub struct Task {
    options: Options,
    config: Config,
    counts: Arc<Counts>,
    sink: Box<dyn FnMut(PodNews) -> bool + Send>,
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
        Task { options, config, counts, sink, said: String::new() }
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
            tokio::time::sleep(CREDENTIALS_AGAIN).await;
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
        let events = watcher::watcher(Api::<PodObject>::all(client), config).default_backoff();
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.counts.connected.store(false, Ordering::Relaxed);
                    self.failed(&error);
                    if is_refused(&error) {
                        return End::Refused;
                    }
                    continue;
                }
            };
            self.worked();
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

    fn worked(&mut self) {
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
fn client(config: Config, counts: Arc<Counts>) -> Result<Client, kube::Error> {
    let answered = MapResponseLayer::new(move |response: http::Response<Box<DynBody>>| {
        if response.status().is_success() {
            counts.connected.store(true, Ordering::Relaxed);
        }
        response
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&answered).build())
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
