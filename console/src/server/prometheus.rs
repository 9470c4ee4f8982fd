//! The map of the last minute as Prometheus reads it: `/metrics` at the address of the page.
//!
//! In: the map, the alerts. Out: text. Gauges, since windows are sums already. Bound: [`EDGES_MAX`] edges, the busiest; how many were left out
//! is one of the numbers. Services are told by their whole ids, which are different for different workloads.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::feed::Feed;
use crate::live::{EdgeView, MapView, NodeView, Range};

/// Each edge has nine series, and a Prometheus holds some millions.
const EDGES_MAX: usize = 5_000;
/// What Prometheus' text format is called.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn routes(feed: Arc<Feed>) -> Router {
    Router::new().route("/metrics", get(answer)).with_state(feed)
}

async fn answer(State(feed): State<Arc<Feed>>) -> Response {
    let answered = tokio::task::spawn_blocking(move || {
        let live = feed.snapshot();
        let (map, firing) = (live.map(Range::Minutes(1)), live.alerts().firing);
        text(map, firing)
    });
    match answered.await {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(map: MapView, firing: usize) -> String {
    let mut text = String::new();
    let mut edges = map.edges;
    edges.sort_by(|a, b| b.requests.requests_per_s.total_cmp(&a.requests.requests_per_s).then_with(|| a.id.cmp(&b.id)));
    let left_out = edges.len().saturating_sub(EDGES_MAX);
    edges.truncate(EDGES_MAX);
    let mut one = |name: &str, help: &str, value: f64| {
        head(&mut text, name, help);
        line(&mut text, name, "", value);
    };
    one("headwater_alerts_firing", "Alerts that fire now", firing as f64);
    one(
        "headwater_map_completeness_ratio",
        "How much of what the kernels saw is in the windows, from 0 to 1",
        map.completeness,
    );
    one(
        "headwater_map_edges_left_out",
        "Edges that are on the map and not here, since there are too many",
        left_out as f64,
    );
    if let Some(span) = map.span {
        one(
            "headwater_map_window_end_seconds",
            "End of the newest complete window, since 1970",
            span.to_us as f64 / 1e6,
        );
    }
    for (name, help, value) in NODES {
        head(&mut text, name, help);
        map.nodes
            .iter()
            .for_each(|node| line(&mut text, name, &labels(&[("service", &node.workload.id)]), value(node)));
    }
    for (name, help, values) in EDGES {
        head(&mut text, name, help);
        for (series, value) in *values {
            edges.iter().for_each(|edge| line(&mut text, name, &labels(&of_edge(edge, *series)), value(edge)));
        }
    }
    text
}

type Row<V> = (&'static str, &'static str, fn(&V) -> f64);

const NODES: &[Row<NodeView>] = &[
    ("headwater_service_requests_per_second", "Requests that a service answered", |node| node.incoming.requests_per_s),
    ("headwater_service_error_ratio", "Of these, failed ones, from 0 to 1", |node| node.incoming.error_share),
];

/// A label of its own beside those of the edge, and the value.
type Series = (Option<(&'static str, &'static str)>, fn(&EdgeView) -> f64);

const EDGES: &[(&str, &str, &[Series])] = &[
    ("headwater_edge_requests_per_second", "Requests of an edge", &[(None, |edge| edge.requests.requests_per_s)]),
    ("headwater_edge_error_ratio", "Of these, failed ones, from 0 to 1", &[(None, |edge| edge.requests.error_share)]),
    (
        "headwater_edge_latency_seconds",
        "Time from a request's first byte to its answer's last, by quantile",
        &[
            (Some(("quantile", "0.5")), |edge| edge.requests.p50_us / 1e6),
            (Some(("quantile", "0.95")), |edge| edge.requests.p95_us / 1e6),
            (Some(("quantile", "0.99")), |edge| edge.requests.p99_us / 1e6),
        ],
    ),
    (
        "headwater_edge_bytes_per_second",
        "Bytes on an edge's connections, by direction",
        &[
            (Some(("direction", "to_server")), |edge| edge.to_server_bytes_per_s),
            (Some(("direction", "to_client")), |edge| edge.to_client_bytes_per_s),
        ],
    ),
    (
        "headwater_edge_connections_failed",
        "Connections that failed in the last minute",
        &[(None, |edge| edge.connections_failed as f64)],
    ),
    (
        "headwater_edge_completeness_ratio",
        "How much of an edge was seen, from 0 to 1",
        &[(None, |edge| edge.completeness)],
    ),
];

fn of_edge<'a>(edge: &'a EdgeView, series: Option<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let names =
        [("edge", &edge.id), ("client", &edge.client.id), ("server", &edge.server.id), ("protocol", &edge.protocol)];
    names.into_iter().map(|(name, value)| (name, value.as_str())).chain(series).collect()
}

fn head(text: &mut String, name: &str, help: &str) {
    write(text, format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    write(text, format_args!("{name}{labels} {value}\n"));
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn write(text: &mut String, what: impl Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_line_are_escaped() {
        assert_eq!(labels(&[("service", "a\"b\\c\nd")]), "{service=\"a\\\"b\\\\c\\nd\"}");
    }
}
