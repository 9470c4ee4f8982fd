//! What was counted, as messages of OTLP.

use headwater_histogram::{Histogram, SCALE};
use headwater_schemas::records::Workload;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::live::{EdgeTotal, Live};

/// 10^9 is 2^(956.7/32): a bucket that begins at 2^(i/32) nanoseconds begins at about 2^((i - 957)/32) seconds. The difference makes
/// quantiles 0.6 % too low at most.
const SECOND: i32 = 957;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

pub struct Request {
    pub message: ExportMetricsServiceRequest,
    pub points: u64,
}

/// Everything that was counted, so many edges in each request.
pub fn requests(live: &Live, edges_a_request: usize) -> Vec<Request> {
    let (totals, counting) = live.totals();
    let [edges_to_us, latencies_to_us] = counting.map(|counting| counting.counted_to_us());
    let others = Some(&totals.others).filter(|others| others.since_us > 0);
    let edges: Vec<&EdgeTotal> = totals.edges().chain(others).collect();
    let mut requests: Vec<Request> = edges
        .chunks(edges_a_request)
        .map(|edges| {
            let mut metrics = Vec::new();
            if let Some(to_us) = latencies_to_us {
                let total = |edge: &EdgeTotal| edge.by_status.iter().map(|requests| requests.requests).sum();
                metrics.push(sum("traces_service_graph_request_total", "Requests", edges, to_us, total));
                let failed = |edge: &EdgeTotal| edge.by_status.iter().map(|requests| requests.errors).sum();
                let about = "Requests that the server failed";
                metrics.push(sum("traces_service_graph_request_failed_total", about, edges, to_us, failed));
            }
            if let Some(to_us) = edges_to_us {
                let (server, client) = ("traces_service_graph_request_server", "traces_service_graph_request_client");
                let about = "Durations as the server saw them";
                metrics.push(durations(server, about, edges, to_us, |edge| &edge.server_duration_ns));
                let about = "Durations as the client saw them where it is captured";
                metrics.push(durations(client, about, edges, to_us, |edge| &edge.duration_ns));
            }
            request(metrics)
        })
        .collect();
    requests.retain(|request| request.points > 0);
    requests
}

fn request(metrics: Vec<Metric>) -> Request {
    let points = metrics.iter().map(|metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len() as u64,
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len() as u64,
        _ => 0,
    });
    let points = points.sum();
    let scope = InstrumentationScope {
        name: "headwater".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource { attributes: vec![attribute("service.name", "headwater")], ..Resource::default() };
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }];
    Request { message: ExportMetricsServiceRequest { resource_metrics }, points }
}

/// An edge without any request has no point: to the readers of a service graph it is none.
fn has_requests(edge: &EdgeTotal) -> bool {
    edge.by_status.iter().any(|requests| requests.requests > 0)
}

fn sum(name: &str, about: &str, edges: &[&EdgeTotal], to_us: i64, value: impl Fn(&EdgeTotal) -> u64) -> Metric {
    let point = |edge: &&EdgeTotal| NumberDataPoint {
        attributes: attributes(edge),
        start_time_unix_nano: nanos(edge.since_us),
        time_unix_nano: nanos(to_us),
        value: Some(number_data_point::Value::AsInt(value(edge) as i64)),
        ..NumberDataPoint::default()
    };
    let data_points = edges.iter().filter(|edge| has_requests(edge)).map(point).collect();
    let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
    metric(name, about, "", Data::Sum(sum))
}

fn durations(
    name: &str,
    about: &str,
    edges: &[&EdgeTotal],
    to_us: i64,
    value: impl Fn(&EdgeTotal) -> &Histogram,
) -> Metric {
    let point = |edge: &&EdgeTotal| {
        let durations = value(edge);
        ExponentialHistogramDataPoint {
            attributes: attributes(edge),
            start_time_unix_nano: nanos(edge.since_us),
            time_unix_nano: nanos(to_us),
            count: durations.count(),
            sum: Some(durations.sum() as f64 / 1e9),
            scale: SCALE,
            zero_count: durations.zero_count(),
            positive: Some(buckets(durations)),
            ..ExponentialHistogramDataPoint::default()
        }
    };
    let data_points = edges.iter().filter(|edge| !value(edge).is_empty()).map(point).collect();
    let histogram = ExponentialHistogram { data_points, aggregation_temporality: CUMULATIVE };
    metric(name, about, "s", Data::ExponentialHistogram(histogram))
}

fn metric(name: &str, about: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: about.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn buckets(durations: &Histogram) -> Buckets {
    let mut buckets = Buckets::default();
    let mut first = None;
    for (index, count) in durations.buckets() {
        let first = *first.get_or_insert(index);
        buckets.bucket_counts.resize((index - first) as usize, 0);
        buckets.bucket_counts.push(count);
        buckets.offset = first - SECOND;
    }
    buckets
}

/// Client, server and connection type as others have them, and beside them what tells workloads of the same name apart.
fn attributes(edge: &EdgeTotal) -> Vec<KeyValue> {
    let mut attributes = vec![
        attribute("client", &edge.client.to_string()),
        attribute("server", &edge.server.to_string()),
        attribute("connection_type", ""),
        attribute("protocol", &edge.protocol),
    ];
    for (side, workload) in [("client", &edge.client), ("server", &edge.server)] {
        let Workload { cluster, namespace, kind, .. } = workload;
        let parts = [("cluster", cluster), ("namespace", namespace), ("kind", kind)];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        attributes.extend(parts.map(|(part, value)| attribute(&format!("{side}_{part}"), value)));
    }
    attributes
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn nanos(us: i64) -> u64 {
    us.max(0) as u64 * 1000
}
