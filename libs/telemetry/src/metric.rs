//! Metrics as a table: one line each holds name, type, unit, labels and meaning.
//!
//! In: a program's table, made with [`metrics!`](crate::metrics). Out: what `/metrics` says of each, and the program's section of
//! `docs/metrics.md`. Promise: a value can only be set through a line of a table, since no other crate knows the recorder. Bound:
//! the values of labels are words of the program or names of topics, never of what is observed.

use std::fmt::Write;

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// Whether a value only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It grows from 0 at the start of the program.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many values there were, their sum, and how they are distributed; each of these only grows.
    Histogram,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things without a unit: records, entries, events.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// By Prometheus's convention: a counter ends with `_total`, a unit is named at the end.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Names of its labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// One sentence without a full stop.
    pub help: &'static str,
}

impl Metric {
    /// A metric that only grows.
    pub const fn counter(
        name: &'static str,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Metric {
        Metric { name, kind: Kind::Counter, unit, labels, help }
    }

    /// A metric that goes up and down.
    pub const fn gauge(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
        Metric { name, kind: Kind::Gauge, unit, labels, help }
    }

    /// A distribution of values. The recorder has none: it is for a program that serves one of its own.
    pub const fn histogram(
        name: &'static str,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Metric {
        Metric { name, kind: Kind::Histogram, unit, labels, help }
    }

    /// Adds to a counter. `values` are those of the labels.
    pub fn add(&self, values: &[&str], count: u64) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        counter!(self.name, self.labelled(values)).increment(count);
    }

    /// Sets a counter that is counted elsewhere; it stays if this is less than before.
    pub fn set_total(&self, values: &[&str], count: u64) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        counter!(self.name, self.labelled(values)).absolute(count);
    }

    /// Sets a gauge.
    pub fn set(&self, values: &[&str], value: f64) {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        gauge!(self.name, self.labelled(values)).set(value);
    }

    fn labelled(&self, values: &[&str]) -> Vec<Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "labels of {}", self.name);
        self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
    }

    /// Tells the recorder what it means.
    pub(crate) fn describe(&self) {
        let unit = match self.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::Seconds => metrics::Unit::Seconds,
        };
        match self.kind {
            Kind::Counter => describe_counter!(self.name, unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, unit, self.help),
        }
    }
}

/// A table of metrics: a constant for each line, and `METRICS` with all of them.
#[macro_export]
macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(pub const $name: $crate::Metric = $metric;)*
        /// All metrics of this table.
        pub const METRICS: &[$crate::Metric] = &[$($name),*];
    };
}

/// The table for people, in Markdown.
pub fn markdown(table: &[Metric]) -> String {
    let mut text = "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for Metric { name, kind, unit, labels, help } in table {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let (kind, unit) = (format!("{kind:?}").to_lowercase(), format!("{unit:?}").to_lowercase());
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
    }
    text
}
