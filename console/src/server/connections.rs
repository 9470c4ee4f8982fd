//! Who is connected to the server, and for how long.
//!
//! In: connections of a listener. Out: answers of the router, over HTTP/1.1. Promise: whoever connects and asks for nothing, or slowly,
//! keeps nobody else out: where all places are taken, the connection that has been without a request for the longest time makes room.
//! Bounds: those of [`Limits`]. What was refused or ended is counted in [`Counts`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Of a request's line and headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After an error of the listener, such as too many open files: it would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time, each with a request or without.
    pub connections_max: usize,
    /// From the start of a connection, or its last answer, to the end of the next request's head.
    pub head_timeout: Duration,
    /// Of a connection, however much it asks; whoever reads slowly holds it no longer than this.
    pub lifetime: Duration,
    /// Behind that, for the answer that is under way.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 256,
            head_timeout: Duration::from_secs(30),
            lifetime: Duration::from_secs(600),
            drain: Duration::from_secs(10),
        }
    }
}

/// What became of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub open: usize,
    /// Ended at once, since all places were taken by requests that were being answered.
    pub refused: u64,
    /// Ended to make room for another one.
    pub displaced: u64,
    /// Ended since no request came in time, or its answer was not read in time.
    pub timed_out: u64,
}

#[derive(Debug, Default)]
pub struct Connections {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: BTreeMap<u64, Place>,
    next: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Place {
    /// A request is being answered.
    is_busy: bool,
    since: Instant,
    /// The connection ends when this is dropped.
    _end: oneshot::Sender<Infallible>,
}

/// Gives its place back.
struct Held {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    pub fn new(limits: Limits) -> Arc<Connections> {
        Arc::new(Connections { limits, state: Mutex::default() })
    }

    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts { open: state.places.len(), ..state.counts }
    }

    /// Serves until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, router: Router) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some((held, end)) = self.admit() {
                        tokio::spawn(hold(stream, router.clone(), held, end));
                    }
                }
                Err(error) => {
                    tracing::warn!("accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>) -> Option<(Held, oneshot::Receiver<Infallible>)> {
        let mut state = self.lock();
        if state.places.len() >= self.limits.connections_max {
            let idle = state.places.iter().filter(|(_, place)| !place.is_busy);
            let Some(longest) = idle.min_by_key(|(_, place)| place.since).map(|(number, _)| *number) else {
                state.counts.refused += 1;
                return None;
            };
            state.places.remove(&longest);
            state.counts.displaced += 1;
        }
        let (end, ended) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.places.insert(number, Place { is_busy: false, since: Instant::now(), _end: end });
        drop(state);
        Some((Held { connections: Arc::clone(self), number }, ended))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn set_busy(&self, is_busy: bool) {
        if let Some(place) = self.connections.lock().places.get_mut(&self.number) {
            (place.is_busy, place.since) = (is_busy, Instant::now());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connections.lock().places.remove(&self.number);
    }
}

async fn hold(stream: TcpStream, router: Router, held: Held, end: oneshot::Receiver<Infallible>) {
    let limits = held.connections.limits;
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        held.set_busy(true);
        let answer = router.call(request);
        async {
            let answer = answer.await;
            held.set_busy(false);
            answer
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let in_time = tokio::select! {
        ended = connection.as_mut() => !ended.is_err_and(|error| error.is_timeout()),
        _ = end => true,
        () = sleep(limits.lifetime) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.is_ok()
        }
    };
    if !in_time {
        held.connections.lock().counts.timed_out += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const LIMITS: Limits = Limits {
        connections_max: 3,
        head_timeout: Duration::from_secs(60),
        lifetime: Duration::from_secs(60),
        drain: Duration::from_millis(50),
    };

    /// `/` answers, `/held` when it is notified, and `/endless` never ends.
    async fn start(limits: Limits) -> (SocketAddr, Arc<Connections>, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Connections::new(limits));
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/held", get(async move || held.notified().await))
            .route("/endless", get(async || Body::from(vec![b'x'; 64 << 20])));
        tokio::spawn(Arc::clone(&connections).serve(listener, router));
        (address, connections, gate)
    }

    async fn connect(address: SocketAddr, first: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It fails where the connection was ended at once.
        let _ = stream.write_all(first.as_bytes()).await;
        stream
    }

    async fn answer(address: SocketAddr) -> String {
        let mut stream = connect(address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let mut text = String::new();
        // An error is a connection that was ended.
        let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap();
        text
    }

    /// True when the server has ended it.
    async fn ends(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
    }

    async fn until(connections: &Connections, holds: impl Fn(Counts) -> bool) {
        let waiting = async {
            while !holds(connections.counts()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{:?}", connections.counts());
    }

    #[tokio::test]
    async fn whoever_asks_for_nothing_makes_room_the_longest_idle_first() {
        let (address, connections, _) = start(LIMITS).await;
        let mut idle = Vec::new();
        for first in ["", "GET / HTT", ""] {
            idle.push(connect(address, first).await);
            until(&connections, |counts| counts.open == idle.len()).await;
        }
        assert!(answer(address).await.ends_with("here"));
        assert!(ends(&mut idle[0]).await);
        until(&connections, |counts| counts == Counts { open: 2, displaced: 1, ..Counts::default() }).await;
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_is_not_displaced_and_more_of_them_are_refused() {
        let (address, connections, gate) = start(LIMITS).await;
        let mut busy = Vec::new();
        for _ in 0..LIMITS.connections_max {
            busy.push(connect(address, "GET /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await);
        }
        let all_busy = || connections.lock().places.values().filter(|place| place.is_busy).count();
        until(&connections, |_| all_busy() == LIMITS.connections_max).await;
        assert_eq!(answer(address).await, "");
        assert_eq!(connections.counts(), Counts { open: 3, refused: 1, ..Counts::default() });
        gate.notify_waiters();
        for mut stream in busy {
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        }
        assert!(answer(address).await.ends_with("here"));
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_and_an_answer_that_is_not_read_end_in_time() {
        let (address, connections, _) = start(Limits { head_timeout: Duration::from_millis(50), ..LIMITS }).await;
        let mut slow = connect(address, "GET / HTTP/1.1\r\nHost:").await;
        assert!(ends(&mut slow).await);
        until(&connections, |counts| counts == Counts { timed_out: 1, ..Counts::default() }).await;

        let (address, connections, _) = start(Limits { lifetime: Duration::from_millis(50), ..LIMITS }).await;
        let _deaf = connect(address, "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        until(&connections, |counts| counts == Counts { timed_out: 1, ..Counts::default() }).await;
    }
}
