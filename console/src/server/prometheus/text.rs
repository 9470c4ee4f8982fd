//! Families in Prometheus's text format.

use std::fmt::Write;
use std::sync::Arc;

use headwater_histogram::Histogram;
use headwater_telemetry::Kind;

use super::families::{Family, Series, Value};

/// Powers of two of nanoseconds at which the buckets of a classic histogram end: from 131 us to 17 s. There our own
/// buckets end too, so the counts are exact.
pub const BOUNDS: std::ops::RangeInclusive<i32> = 17..=34;

pub fn bound_seconds(exponent: i32) -> f64 {
    f64::from(exponent).exp2() / 1e9
}

pub fn sum_seconds(durations: &Histogram) -> f64 {
    durations.sum() as f64 / 1e9
}

pub fn encode(families: &[Family<'_>]) -> String {
    let mut text = String::new();
    for Family { metric, series } in families {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {kind}", metric.name, metric.help);
        for series in series {
            push(&mut text, metric.name, series);
        }
    }
    text
}

fn push(text: &mut String, name: &str, series: &Series<'_>) {
    let labels = |text: &mut String, le: Option<&str>| push_labels(text, &series.labels, le);
    let mut line = |suffix: &str, le: Option<&str>, value: &dyn std::fmt::Display| {
        text.push_str(name);
        text.push_str(suffix);
        labels(text, le);
        let _ = writeln!(text, " {value}");
    };
    match series.value {
        Value::Count(count) => line("", None, &count),
        Value::Number(number) => line("", None, &number),
        Value::Durations(durations) => {
            for exponent in BOUNDS {
                let le = bound_seconds(exponent).to_string();
                line("_bucket", Some(&le), &durations.count_up_to_power(exponent));
            }
            line("_bucket", Some("+Inf"), &durations.count());
            line("_sum", None, &sum_seconds(durations));
            line("_count", None, &durations.count());
        }
    }
}

fn push_labels(text: &mut String, labels: &[(&'static str, Arc<str>)], le: Option<&str>) {
    let all = labels.iter().map(|(name, value)| (*name, &**value)).chain(le.map(|le| ("le", le)));
    let mut separator = '{';
    for (name, value) in all {
        text.push(separator);
        separator = ',';
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    if separator == ',' {
        text.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_line_are_escaped() {
        let mut text = String::new();
        push_labels(&mut text, &[("server_name", "a\"b\\c\nd".into()), ("protocol", "tcp".into())], None);
        assert_eq!(text, "{server_name=\"a\\\"b\\\\c\\nd\",protocol=\"tcp\"}");
        text.clear();
        push_labels(&mut text, &[], None);
        assert_eq!(text, "");
    }
}
