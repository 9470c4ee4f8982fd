//! `/metrics` for Prometheus, `/livez` and `/readyz` for whoever starts programs, on a thread of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::{Health, Metric, process};

/// How often the samples of histograms are summed up, so that they do not pile up where nobody asks.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// What Prometheus' text format is called.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes the recorder of all metrics and serves them. Gives the address, whose port may have been 0.
///
/// # Errors
/// If the port is taken.
pub fn serve(address: SocketAddr, program: &str, table: &[Metric], health: Health) -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("serve metrics on {address}: is another program there? set metrics.listen to a free port")
    })?;
    listener.set_nonblocking(true).context("prepare the port of the metrics")?;
    let address = listener.local_addr().context("ask for the address of the metrics")?;
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| anyhow::anyhow!("start the metrics: {error}"))?;
    table.iter().chain(process::METRICS).for_each(Metric::describe);
    process::start(program);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the thread that serves metrics")?;
    let work = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let upkeep = metrics.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                upkeep.run_upkeep();
            }
        });
        axum::serve(listener, routes(metrics, health)).await
    };
    let serve = move || {
        if let Err(error) = runtime.block_on(work) {
            tracing::error!(%error, "metrics are served no longer");
        }
    };
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(serve)
        .context("start the thread that serves metrics")?;
    tracing::info!(%address, "serving metrics");
    Ok(address)
}

fn routes(metrics: PrometheusHandle, health: Health) -> Router {
    let text = move || async move {
        process::update();
        ([(CONTENT_TYPE, TEXT_FORMAT)], metrics.render() + &process::cpu_text())
    };
    health_routes(health).route("/metrics", get(text))
}

/// `/livez` and `/readyz`: 200, or 503 with what is wrong.
pub fn health_routes<S: Clone + Send + Sync + 'static>(health: Health) -> Router<S> {
    let live = health.clone();
    Router::new()
        .route("/livez", get(|| async move { answer(live.live()) }))
        .route("/readyz", get(|| async move { answer(health.ready()) }))
}

fn answer(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(told) => (StatusCode::SERVICE_UNAVAILABLE, told),
    }
}
