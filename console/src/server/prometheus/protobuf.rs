//! Families as delimited protobuf messages, in which histograms are native ones too.
//!
//! The messages are those of `io/prometheus/client/metrics.proto` (prometheus/client_model), with the fields that are used here.
//!
//! A native histogram has buckets that end at powers of 2^(1/32) of a second; ours end at those of a nanosecond, and 10^9 is no
//! such power. So each of our buckets is told as the one that it overlaps most, whose bounds are 0.6 % below its own: the middle of a
//! bucket is at most 1.7 % off instead of 1.1 %, any place in it, where Prometheus may put a quantile, 2.8 %. Counts and sums are exact.

use headwater_histogram::{Histogram, SCALE};
use headwater_telemetry::Kind;
use prost::Message;

use super::families::{Family, Series, Value};
use super::text::{BOUNDS, bound_seconds, sum_seconds};

/// 10^9 is 2^(956.7/32): our bucket `i` in nanoseconds is about the one that ends at 2^((i + 1 - 957)/32) seconds.
const SECOND: i32 = 957;

pub fn encode(families: &[Family<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in families {
        bytes.extend(MetricFamily::of(family).encode_length_delimited_to_vec());
    }
    bytes
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<NativeHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct NativeHistogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

impl MetricFamily {
    fn of(family: &Family<'_>) -> MetricFamily {
        let kind = match family.metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        MetricFamily {
            name: Some(family.metric.name.to_owned()),
            help: Some(family.metric.help.to_owned()),
            kind: Some(kind as i32),
            metric: family.series.iter().map(|series| Metric::of(series, kind)).collect(),
        }
    }
}

impl Metric {
    fn of(series: &Series<'_>, kind: MetricType) -> Metric {
        let pair =
            |(name, value): &(&str, _)| LabelPair { name: Some((*name).to_owned()), value: Some(String::clone(value)) };
        let labels: Vec<(&str, String)> =
            series.labels.iter().map(|(name, value)| (*name, value.to_string())).collect();
        let mut metric = Metric { label: labels.iter().map(pair).collect(), ..Metric::default() };
        let created_timestamp = series.since_us.map(Timestamp::of);
        match (series.value, kind) {
            (Value::Durations(durations), _) => {
                metric.histogram = Some(NativeHistogram::of(durations, created_timestamp));
            }
            (Value::Count(count), MetricType::Gauge) => metric.gauge = Some(Gauge { value: Some(count as f64) }),
            (Value::Number(value), MetricType::Gauge) => metric.gauge = Some(Gauge { value: Some(value) }),
            (Value::Count(count), _) => metric.counter = Some(Counter { value: Some(count as f64), created_timestamp }),
            (Value::Number(value), _) => metric.counter = Some(Counter { value: Some(value), created_timestamp }),
        }
        metric
    }
}

impl Timestamp {
    fn of(us: i64) -> Timestamp {
        Timestamp { seconds: us.div_euclid(1_000_000), nanos: us.rem_euclid(1_000_000) as i32 * 1000 }
    }
}

impl NativeHistogram {
    /// The classic buckets are for a server that takes protobuf and no native histograms.
    fn of(durations: &Histogram, created_timestamp: Option<Timestamp>) -> NativeHistogram {
        let bucket = BOUNDS.map(|exponent| Bucket {
            cumulative_count: Some(durations.count_up_to_power(exponent)),
            upper_bound: Some(bound_seconds(exponent)),
        });
        let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
        // Where the next bucket would be, and the count of the one before.
        let (mut next, mut before) = (0, 0);
        for (index, count) in durations.buckets() {
            // Here a bucket is named by its end, there by its beginning.
            let index = index + 1 - SECOND;
            match spans.last_mut() {
                Some(span) if index == next => span.length = span.length.map(|length| length + 1),
                _ => spans.push(BucketSpan { offset: Some(index - next), length: Some(1) }),
            }
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            deltas.push(count - before);
            (next, before) = (index + 1, count);
        }
        if spans.is_empty() {
            // Without any span it would be taken for a classic one.
            spans.push(BucketSpan { offset: Some(0), length: Some(0) });
        }
        NativeHistogram {
            sample_count: Some(durations.count()),
            sample_sum: Some(sum_seconds(durations)),
            bucket: bucket.collect(),
            schema: Some(SCALE),
            zero_threshold: Some(0.0),
            zero_count: Some(durations.zero_count()),
            positive_span: spans,
            positive_delta: deltas,
            created_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_buckets_hold_each_value_within_the_promised_error() {
        let mut durations = Histogram::default();
        let values: Vec<u64> = (0..400).map(|i| 1.07_f64.powi(i).round() as u64).chain([0, 0]).collect();
        values.iter().for_each(|&value| durations.record(value));
        let native = NativeHistogram::of(&durations, None);
        let mut ends: Vec<f64> = vec![0.0; 2];
        let (mut index, mut count, mut deltas) = (0, 0, native.positive_delta.iter());
        for span in &native.positive_span {
            index += span.offset.unwrap_or(0);
            for _ in 0..span.length.unwrap_or(0) {
                count += deltas.next().copied().unwrap_or_default();
                let end = (f64::from(index) / 32.0).exp2();
                ends.extend(std::iter::repeat_n(end, count as usize));
                index += 1;
            }
        }
        assert_eq!((deltas.next(), ends.len() as u64), (None, values.len() as u64));
        let mut sorted = values;
        sorted.sort_unstable();
        for (end, value) in ends.iter().zip(sorted).skip(2) {
            // The middle of the bucket is what a quantile tells.
            let told = end * (-0.5_f64 / 32.0).exp2();
            let error = told / (value as f64 / 1e9) - 1.0;
            assert!(error.abs() < 0.017, "{value} ns is told as {told} s: {error}");
        }
        assert_eq!(native.zero_count, Some(2));
    }
}
