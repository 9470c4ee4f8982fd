//! The map as Prometheus reads it: `/metrics` at the address of the page.
//!
//! In: what was counted, the map of the last minute, the alerts. Out: text, or protobuf with native histograms for those who ask for
//! it. Bounds: those of [`Totals`](crate::live::Totals) and of the alerts, so the number of series follows from them.

mod families;
mod protobuf;
mod tables;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::answers::{Answers, Question};
use super::encoded::Encoded;
use crate::live::Live;

pub use tables::METRICS;

/// In which form it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Which has no native histograms.
    Text,
    /// Delimited messages of `io.prometheus.client.MetricFamily`.
    Protobuf,
}

impl Format {
    const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The one that is wanted more by an `Accept` header, text where nobody says.
    fn wanted(request: &HeaderMap) -> Format {
        let accepted = request.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let (mut text, mut protobuf) = (0.0, 0.0);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<&str> = parts.collect();
            let quality = parameters.iter().find_map(|parameter| parameter.strip_prefix("q=")?.parse::<f32>().ok());
            let quality = quality.unwrap_or(1.0);
            let has = |wanted: &str| parameters.iter().any(|parameter| parameter.eq_ignore_ascii_case(wanted));
            match name.as_str() {
                "application/vnd.google.protobuf"
                    if has("proto=io.prometheus.client.MetricFamily") && has("encoding=delimited") =>
                {
                    protobuf = quality;
                }
                "text/plain" => text = quality,
                _ => {}
            }
        }
        if protobuf > 0.0 && protobuf >= text { Format::Protobuf } else { Format::Text }
    }
}

pub fn routes(answers: Arc<Answers>) -> Router {
    Router::new().route("/metrics", get(answer)).with_state(answers)
}

async fn answer(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> Response {
    match answers.ask(Question::Metrics(Format::wanted(&headers))).await {
        Ok(encoded) => {
            let mut response = encoded.respond(&headers);
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
            response
        }
        Err(error) => {
            tracing::error!("{error:#}");
            (StatusCode::INTERNAL_SERVER_ERROR, "a fault of the console; its log has more\n").into_response()
        }
    }
}

/// The metrics of the model as it is.
pub fn encode(live: &Live, format: Format) -> Encoded {
    let map = live.map(crate::live::Range::Minutes(1));
    let alerts = live.alerts();
    let families = families::of(live, &map, &alerts);
    let bytes = match format {
        Format::Text => text::encode(&families).into_bytes(),
        Format::Protobuf => protobuf::encode(&families),
    };
    Encoded::new(format.content_type(), bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_form_that_is_wanted_more_is_the_one_that_is_sent() {
        let wanted =
            |accept: &'static str| Format::wanted(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for protobuf in [
            native,
            &*format!("{native};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"),
        ] {
            assert_eq!(wanted(protobuf.to_owned().leak()), Format::Protobuf, "{protobuf}");
        }
        for text in [
            "",
            "*/*",
            "text/plain",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf;proto=other.Family;encoding=delimited",
            &*format!("{native};q=0.1,text/plain;q=0.4"),
            &*format!("{native};q=0"),
        ] {
            assert_eq!(wanted(text.to_owned().leak()), Format::Text, "{text}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
    }
}
