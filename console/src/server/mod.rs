//! The web side: the page, and the questions that the page (or anyone else) asks, as JSON over HTTP.
//!
//! In: GET requests. Out: answers from the model in memory; no request reaches Kafka. Promises: only this machine is served
//! unless another address is set, and only under names that are this machine's or configured; nothing is fetched from
//! elsewhere and nothing can be changed through it. The page asks again every few seconds and holds no connection, so any
//! number of tabs works, and whatever stands between (a proxy that answers 502, a port-forward that ended) heals by itself.
//! Bounds: those of `connections` and of `answers`.

mod answers;
mod api;
mod connections;
mod encoded;
mod guard;
mod page;
pub mod prometheus;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use headwater_settings::{Key, Values};
use tokio::net::TcpListener;

use crate::alerting::{self, AlertingSettings};
use crate::feed::Feed;
use crate::live::Limits;
use crate::otlp::{self, OtlpSettings};
use connections::Connections;

/// Each edge takes some kilobytes, and a Prometheus holds some millions of series.
const EDGES_MAX: usize = 50_000;

/// Settings of the console alone.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// Names under which the page is asked for, besides this machine's own.
    pub hosts: Vec<String>,
    /// Edges that `/metrics` has series for; the rest is told as one.
    pub metrics_edges_max: usize,
    /// Who is told of alerts.
    pub alerting: AlertingSettings,
    /// Who is sent the service graph.
    pub otlp: OtlpSettings,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        let metrics_edges_max = Limits::default().counted_edges_max;
        ServerSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            hosts: Vec::new(),
            metrics_edges_max,
            alerting: AlertingSettings::default(),
            otlp: OtlpSettings::default(),
        }
    }
}

impl ServerSettings {
    pub const KEYS: &'static [Key] = &[
        Key::new("console.listen", "127.0.0.1:8470", "Address and port of the web page; port 0 takes a free one"),
        Key::optional(
            "console.hosts",
            "Names under which browsers reach the page, such as headwater.example.org; addresses and this machine's own name always work",
        ),
        Key::new(
            "metrics.edges_max",
            "2000",
            "Edges that /metrics of the page has series for, some 50 each; the traffic of the rest is told as one edge",
        ),
        alerting::ALERTMANAGER,
        alerting::SLACK,
        alerting::SLACK_FILE,
        otlp::ENDPOINT,
        otlp::HEADERS,
        otlp::HEADERS_FILE,
        otlp::INTERVAL,
    ];

    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> ServerSettings {
        let text = values.text("console.listen");
        let listen = text.parse().unwrap_or_else(|_| {
            values.problem("console.listen", format!("`{text}` is not an address and port such as 127.0.0.1:8470"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        });
        let metrics_edges_max = values.number("metrics.edges_max", 1..=EDGES_MAX);
        ServerSettings {
            listen,
            hosts: values.list("console.hosts"),
            metrics_edges_max,
            alerting: AlertingSettings::read(values),
            otlp: OtlpSettings::read(values),
        }
    }
}

/// A console that has its port but does not answer yet.
pub struct Server {
    listener: TcpListener,
    router: Router,
    address: SocketAddr,
    connections: Arc<Connections>,
}

impl Server {
    /// Takes the port. Must be called within tokio.
    pub async fn bind(settings: &ServerSettings, feed: Arc<Feed>) -> Result<Server> {
        let listen = settings.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("serve the console on {listen}: is another program there? Choose a free port with --console-listen")
        })?;
        let address = listener.local_addr().context("ask for the address of the console")?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the console asks for no password: whoever reaches this address sees the map");
        }
        let connections = Connections::new(connections::Limits::default());
        let health = feed.health();
        let answers = Arc::new(answers::Answers::new(feed));
        let router = Router::new()
            .merge(page::routes())
            .merge(headwater_telemetry::health_routes(health))
            .merge(prometheus::routes(Arc::clone(&answers)))
            .merge(api::routes(answers, Arc::clone(&connections)))
            .layer(from_fn_with_state(guard::Hosts::new(address, &settings.hosts), guard::refuse_foreign_hosts))
            .layer(from_fn(guard::add_headers));
        Ok(Server { listener, router, address, connections })
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// Answers until the task is dropped.
    pub async fn run(self) {
        self.connections.serve(self.listener, self.router).await;
    }
}

/// Where a browser on this machine finds a console that listens there.
pub fn url_of(address: SocketAddr) -> String {
    let ip = address.ip();
    // The unspecified address is one to listen on, not one to go to.
    let host = if ip.is_unspecified() { "localhost".to_owned() } else { SocketAddr::new(ip, 0).to_string() };
    let host = host.strip_suffix(":0").unwrap_or(&host);
    format!("http://{host}:{}", address.port())
}
