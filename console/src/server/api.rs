//! The JSON answers. Each is a view of the model as `crate::live` describes it; times are microseconds since the epoch.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use headwater_schemas::records::Workload;
use serde::{Deserialize, Serialize};

use super::answers::{Answers, Question, json};
use super::connections::{Connections, Counts};
use crate::feed::Status;
use crate::live::Range;

/// Names are cut off far below this before they come here.
const NAME_BYTES_MAX: usize = 4096;

type Shared = State<Arc<Answers>>;

/// What `/api/status` says: of the data, and of who asks.
#[derive(Serialize)]
struct StatusView {
    #[serde(flatten)]
    status: Status,
    connections: Counts,
}

pub fn routes(answers: Arc<Answers>, connections: Arc<Connections>) -> Router {
    Router::new()
        .route("/api/map", get(map))
        .route("/api/operations", get(operations))
        .route("/api/history", get(history))
        .route("/api/alerts", get(|answers, headers| ask(answers, headers, Ok(Question::Alerts))))
        .route("/api/agents", get(|answers, headers| ask(answers, headers, Ok(Question::Agents))))
        .route("/api/status", get(|answers, headers| status(answers, headers, connections)))
        .with_state(answers)
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

type Asked<T> = Result<Query<T>, QueryRejection>;

async fn map(answers: Shared, headers: HeaderMap, query: Asked<RangeQuery>) -> Response {
    let question = range(&answers, query).map(Question::Map);
    ask(answers, headers, question).await
}

async fn operations(answers: Shared, headers: HeaderMap, query: Asked<RangeQuery>) -> Response {
    let question = range(&answers, query).map(Question::Operations);
    ask(answers, headers, question).await
}

fn range(answers: &Answers, query: Asked<RangeQuery>) -> Result<Range, String> {
    let Query(RangeQuery { minutes }) = query.map_err(|error| error.body_text())?;
    let kept = answers.feed().minutes();
    match minutes {
        0 => Ok(Range::Latest),
        _ if minutes <= kept => Ok(Range::Minutes(minutes)),
        _ => Err(format!("minutes is {minutes}, only the last {kept} are kept")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    edge: Option<String>,
    node: Option<String>,
}

async fn history(answers: Shared, headers: HeaderMap, query: Asked<HistoryQuery>) -> Response {
    let told = "give either edge=ID or node=ID, with an id from /api/map";
    let question = query.map_err(|error| error.body_text()).and_then(|Query(query)| match (query.edge, query.node) {
        (Some(name), _) | (_, Some(name)) if name.len() > NAME_BYTES_MAX => {
            Err(format!("a name of {} bytes is none, at most {NAME_BYTES_MAX} are looked for", name.len()))
        }
        (Some(edge), None) => Ok(Question::EdgeHistory(edge)),
        (None, Some(node)) => Workload::from_key(&node).map(Question::NodeHistory).ok_or_else(|| told.to_owned()),
        _ => Err(told.to_owned()),
    });
    ask(answers, headers, question).await
}

/// Small, and another one at each moment: it is never kept.
async fn status(State(answers): Shared, headers: HeaderMap, connections: Arc<Connections>) -> Response {
    let view = StatusView { status: answers.feed().status(), connections: connections.counts() };
    json(&view).map_or_else(|error| failure(&error), |encoded| encoded.respond(&headers))
}

async fn ask(State(answers): Shared, headers: HeaderMap, question: Result<Question, String>) -> Response {
    let question = match question {
        Ok(question) => question,
        Err(problem) => {
            let told = serde_json::json!({ "error": problem }).to_string();
            return (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], told).into_response();
        }
    };
    answers.ask(question).await.map_or_else(|error| failure(&error), |encoded| encoded.respond(&headers))
}

fn failure(error: &anyhow::Error) -> Response {
    tracing::error!("{error:#}");
    (StatusCode::INTERNAL_SERVER_ERROR, "a fault of the console; its log has more\n").into_response()
}
