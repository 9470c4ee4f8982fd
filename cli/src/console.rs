//! `headwater console`: serves the page until Ctrl-C.

use std::time::Duration;

use anyhow::{Context, Result};
use headwater_console::feed::Feed;
use headwater_console::live::Limits;
use headwater_console::server::{Server, ServerSettings};
use headwater_kafka::KafkaSettings;
use headwater_telemetry::Health;
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::Settings;

/// An open page must not keep the program alive.
const STOP_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub struct ConsoleArgs {}

pub fn run(settings: &Settings) -> Result<()> {
    let console = Console::start(&settings.kafka, &settings.server, &settings.health)?;
    crate::terminal::print(&format!("The console is at {}\n", console.url()))?;
    console.wait_for_signal()
}

/// A console that serves on threads of its own until it is dropped.
pub struct Console {
    runtime: Option<tokio::runtime::Runtime>,
    feed: std::sync::Arc<Feed>,
    url: String,
}

impl Console {
    pub fn start(kafka: &KafkaSettings, settings: &ServerSettings, health: &Health) -> Result<Console> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the console's threads")?;
        let limits = Limits { counted_edges_max: settings.metrics_edges_max, ..Limits::default() };
        let feed = Feed::new(kafka.clone(), limits, health.clone());
        let server = runtime.block_on(Server::bind(settings, feed.clone()))?;
        feed.start()?;
        headwater_console::alerting::start(&feed, &settings.alerting)?;
        headwater_console::otlp::start(&feed, &settings.otlp)?;
        let url = server.url();
        runtime.spawn(server.run());
        Ok(Console { runtime: Some(runtime), feed, url })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn wait_for_signal(&self) -> Result<()> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        runtime.block_on(async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok(())
        })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.feed.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(STOP_TIMEOUT);
        }
    }
}
