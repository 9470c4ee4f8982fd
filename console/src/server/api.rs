//! The JSON answers. Each is a view of the model as `crate::live` describes it; times are microseconds since the epoch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use headwater_schemas::records::Workload;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::clock::now_us;
use crate::feed::Feed;
use crate::live::{Live, Of, Range};

/// Pages that hear of changes at a time; each holds a connection.
pub const LIVE_READERS_MAX: usize = 64;

/// A window's records come one by one: so long after the first of them the page is told once for all.
const LIVE_REST: Duration = Duration::from_millis(500);
/// Ages and heartbeats move without any window.
const LIVE_INTERVAL: Duration = Duration::from_secs(5);

type Shared = State<Arc<Feed>>;

pub fn routes(feed: Arc<Feed>) -> Router {
    let readers = Arc::new(Semaphore::new(LIVE_READERS_MAX));
    Router::new()
        .route("/api/map", get(map))
        .route("/api/operations", get(operations))
        .route("/api/history", get(history))
        .route("/api/alerts", get(|feed: Shared| ask(feed, |live| Ok(live.alerts()))))
        .route("/api/agents", get(|feed: Shared| ask(feed, |live| Ok(live.agents(now_us())))))
        .route("/api/status", get(|State(feed): Shared| async move { json(&feed.status()) }))
        .route("/api/live", get(move |feed: Shared| live(feed, readers)))
        .with_state(feed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeQuery {
    /// 0 is the newest complete window.
    #[serde(default = "one_minute")]
    minutes: u32,
}

fn one_minute() -> u32 {
    1
}

async fn map(feed: Shared, query: Result<Query<RangeQuery>, QueryRejection>) -> Response {
    ask(feed, move |live| Ok(live.map(range(live, query)?))).await
}

async fn operations(feed: Shared, query: Result<Query<RangeQuery>, QueryRejection>) -> Response {
    ask(feed, move |live| Ok(live.operations(range(live, query)?))).await
}

fn range(live: &Live, query: Result<Query<RangeQuery>, QueryRejection>) -> Result<Range, String> {
    let Query(RangeQuery { minutes }) = query.map_err(|error| error.body_text())?;
    match minutes {
        0 => Ok(Range::Latest),
        _ if minutes <= live.minutes() => Ok(Range::Minutes(minutes)),
        _ => Err(format!("minutes is {minutes}, only the last {} are kept", live.minutes())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    edge: Option<String>,
    node: Option<String>,
}

async fn history(feed: Shared, query: Result<Query<HistoryQuery>, QueryRejection>) -> Response {
    ask(feed, move |live| {
        let Query(query) = query.map_err(|error| error.body_text())?;
        let node = query.node.as_deref().map(Workload::from_key);
        let of = match (&query.edge, &node) {
            (Some(edge), None) => Of::Edge(edge),
            (None, Some(Some(node))) => Of::Node(node),
            _ => return Err("give either edge=ID or node=ID, with an id from /api/map".to_owned()),
        };
        Ok(live.history(of, Range::Minutes(live.minutes())))
    })
    .await
}

/// Tells its listener the state of the feed now, at every change and at an interval.
async fn live(State(feed): Shared, readers: Arc<Semaphore>) -> Response {
    let Ok(place) = readers.try_acquire_owned() else {
        let told = format!("{LIVE_READERS_MAX} pages listen already; close one\n");
        return (StatusCode::SERVICE_UNAVAILABLE, told).into_response();
    };
    let changes = feed.changes();
    let events = stream::unfold((feed, changes, place, true), |(feed, mut changes, place, first)| async move {
        if !first {
            // A closed channel and the interval are the same here: tell what is known.
            let _ = tokio::time::timeout(LIVE_INTERVAL, changes.changed()).await;
            tokio::time::sleep(LIVE_REST).await;
            changes.mark_unchanged();
        }
        let event = Event::default().event("status").json_data(feed.status()).unwrap_or_default();
        Some((Ok::<Event, Infallible>(event), (feed, changes, place, false)))
    });
    Sse::new(events).into_response()
}

/// Answers a question about the model on a thread that may compute for a while.
async fn ask<T: Serialize>(
    State(feed): Shared,
    question: impl FnOnce(&Live) -> Result<T, String> + Send + 'static,
) -> Response {
    let answered = tokio::task::spawn_blocking(move || match question(&feed.live()) {
        Ok(answer) => json(&answer),
        Err(problem) => (StatusCode::BAD_REQUEST, json(&serde_json::json!({ "error": problem }))).into_response(),
    });
    answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
