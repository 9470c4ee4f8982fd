//! Sends the service graph to an OTLP receiver, under the names that Tempo and the collector's `servicegraph` connector give it, so that what
//! is made for them (such as Grafana's service graph) shows it.
//!
//! In: what was counted of edges. Out: cumulative sums and exponential histograms over OTLP/HTTP with protobuf. Promises: a point is the sum of
//! whole windows and bears the end of the newest one as its time; what was not taken is in the sums of the next attempt. Bounds: those of
//! [`Totals`](crate::live::Totals), `EDGES_A_REQUEST` edges in a request.

mod points;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_settings::{Key, Values};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;

use crate::alerting::url;
use crate::feed::Feed;
use crate::metrics;
use crate::post::{Backoff, Hidden, PostError, Target};

/// A receiver takes some megabytes in one request.
const EDGES_A_REQUEST: usize = 500;
const TICK: Duration = Duration::from_millis(500);

pub const ENDPOINT: Key = Key::optional(
    "otlp.endpoint",
    "Address of an OTLP receiver (HTTP) that is sent the service graph as metrics, such as http://collector:4318",
);
pub const HEADERS: Key = Key::optional(
    "otlp.headers",
    "Headers for it, such as Authorization=Bearer x,X-Scope-OrgID=y: secrets, in the environment or a file alone",
);
pub const HEADERS_FILE: Key = Key::optional("otlp.headers_file", "File that holds these headers");
pub const INTERVAL: Key = Key::new("otlp.interval_ms", "15s", "How often it is sent, if a window has closed since");

/// Who is sent the service graph.
#[derive(Debug, Clone, Default)]
pub struct OtlpSettings {
    pub endpoint: Option<Hidden>,
    pub headers: Vec<(String, Hidden)>,
    pub interval: Duration,
}

impl OtlpSettings {
    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> OtlpSettings {
        let endpoint = values.optional("otlp.endpoint");
        let endpoint = url(values, "otlp.endpoint", endpoint);
        values.refuse_flag("otlp.headers", "otlp.headers_file");
        let text = values.secret("otlp.headers", "otlp.headers_file").unwrap_or_default();
        let mut headers = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) => headers.push((name.trim().to_owned(), Hidden(value.trim().to_owned()))),
                None => values.problem("otlp.headers", "a header is no pair such as name=value"),
            }
        }
        OtlpSettings { endpoint, headers, interval: values.duration_ms("otlp.interval_ms", 1_000..=3_600_000) }
    }
}

/// Starts the thread that sends, if there is somebody to send to. It ends with the feed.
///
/// # Errors
/// If the system gives no thread.
pub fn start(feed: &Arc<Feed>, settings: &OtlpSettings) -> Result<Option<JoinHandle<()>>> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let url = Hidden(format!("{}/v1/metrics", endpoint.0.trim_end_matches('/')));
    let target = Target::new(url, settings.headers.clone());
    let (feed, interval) = (Arc::clone(feed), settings.interval);
    let work = move || {
        let (mut sent, mut sent_at, mut backoff) = (None, None::<Instant>, Backoff::default());
        while !feed.stopped() {
            thread::sleep(TICK);
            if sent_at.is_some_and(|at| at.elapsed() < interval) || !backoff.is_over() {
                continue;
            }
            let live = feed.snapshot();
            let counted = live.totals().1.map(|counting| counting.counted_to_us());
            if counted == [None, None] || sent == Some(counted) {
                continue;
            }
            match send(&target, &points::requests(&live, EDGES_A_REQUEST)) {
                Ok(()) => {
                    (sent, sent_at) = (Some(counted), Some(Instant::now()));
                    backoff.worked();
                }
                Err(error) => {
                    tracing::warn!(%error, "the OTLP receiver does not take the service graph");
                    metrics::OTLP_FAILURES.add(&[], 1);
                    backoff.failed();
                }
            }
        }
    };
    thread::Builder::new().name("otlp".to_owned()).spawn(work).map(Some).context("start a thread for OTLP")
}

fn send(target: &Target, requests: &[points::Request]) -> Result<(), PostError> {
    for points::Request { message, points } in requests {
        let answer = target.post("application/x-protobuf", &message.encode_to_vec())?;
        let answer = ExportMetricsServiceResponse::decode(&*answer).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_data_points.max(0) as u64);
        if rejected > 0 {
            tracing::warn!(rejected, "the OTLP receiver refuses some of the service graph");
        }
        metrics::OTLP_POINTS_REJECTED.add(&[], rejected);
        metrics::OTLP_POINTS_SENT.add(&[], points.saturating_sub(rejected));
    }
    Ok(())
}
