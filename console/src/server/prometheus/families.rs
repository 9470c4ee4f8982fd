//! The model as families of series.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_histogram::Histogram;
use headwater_schemas::records::Workload;
use headwater_schemas::topics::Topic;
use headwater_telemetry::Metric;

use super::tables as of_map;
use crate::live::{AlertsView, CutOff, EdgeTotal, Live, MapView, STATUS_CLASSES};

/// One metric and all its series.
pub struct Family<'a> {
    pub metric: &'static Metric,
    pub series: Vec<Series<'a>>,
}

pub struct Series<'a> {
    /// By name, in the order of the metric's labels.
    pub labels: Vec<(&'static str, Arc<str>)>,
    pub value: Value<'a>,
    /// When it was 0, in microseconds since the epoch; none of what is no counter.
    pub since_us: Option<i64>,
}

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Count(u64),
    Number(f64),
    /// In nanoseconds.
    Durations(&'a Histogram),
}

/// All families, in the order of the table. One without series is left out.
pub fn of<'a>(live: &'a Live, map: &MapView, alerts: &AlertsView) -> Vec<Family<'a>> {
    let mut families = Families::default();
    let (totals, [edges, latencies]) = live.totals();
    let others = Some(&totals.others).filter(|others| others.since_us > 0);
    for edge in totals.edges().chain(others) {
        families.edge(edge);
    }
    families.number(&of_map::EDGES, totals.edges().count() as f64);
    families.number(&of_map::EDGES_LEFT_OUT, totals.left_out as f64);
    for (topic, counting) in [(Topic::Edges, edges), (Topic::Latencies, latencies)] {
        let Some(since_us) = counting.since_us else { continue };
        let mut add = |metric, value| families.add(metric, &[topic.suffix()], value, Some(since_us));
        add(&of_map::COUNTED_FROM, Value::Number(since_us as f64 / 1e6));
        add(&of_map::WINDOWS, Value::Count(counting.windows));
        add(&of_map::WINDOWS_INCOMPLETE, Value::Count(counting.incomplete));
        add(&of_map::WINDOWS_SKIPPED, Value::Count(counting.skipped));
        add(&of_map::LATE_RECORDS, Value::Count(counting.late));
    }
    families.cut_offs(map);
    families.number(&of_map::COMPLETENESS, map.completeness);
    if let Some(span) = map.span {
        families.number(&of_map::WINDOW_END, span.to_us as f64 / 1e6);
    }
    families.alerts(alerts);
    families.in_order()
}

#[derive(Default)]
struct Families<'a> {
    by_name: BTreeMap<&'static str, Vec<Series<'a>>>,
}

impl<'a> Families<'a> {
    fn number(&mut self, metric: &'static Metric, value: f64) {
        self.add(metric, &[], Value::Number(value), None);
    }

    fn add(&mut self, metric: &'static Metric, values: &[&str], value: Value<'a>, since_us: Option<i64>) {
        let values: Vec<Arc<str>> = values.iter().map(|value| Arc::from(*value)).collect();
        self.add_shared(metric, &values, None, value, since_us);
    }

    /// The same with labels that many series share, and one of its own.
    fn add_shared(
        &mut self,
        metric: &'static Metric,
        values: &[Arc<str>],
        own: Option<&'static str>,
        value: Value<'a>,
        since_us: Option<i64>,
    ) {
        debug_assert_eq!(metric.labels.len(), values.len() + usize::from(own.is_some()), "{}", metric.name);
        let values = values.iter().cloned().chain(own.map(Arc::from));
        // Prometheus takes an empty label for one that is absent.
        let labels = metric.labels.iter().copied().zip(values).filter(|(_, value)| !value.is_empty()).collect();
        self.by_name.entry(metric.name).or_default().push(Series { labels, value, since_us });
    }

    fn edge(&mut self, edge: &'a EdgeTotal) {
        let mut labels = Vec::new();
        push_workload(&mut labels, &edge.client);
        push_workload(&mut labels, &edge.server);
        labels.push(Arc::from(edge.protocol.as_str()));
        let since_us = Some(edge.since_us);
        for (class, requests) in STATUS_CLASSES.iter().zip(&edge.by_status) {
            // No error yet is a number too: without it a share of errors would be unknown instead of 0.
            if requests.requests > 0 {
                for (metric, count) in [(&of_map::REQUESTS, requests.requests), (&of_map::ERRORS, requests.errors)] {
                    self.add_shared(metric, &labels, Some(class), Value::Count(count), since_us);
                }
            }
        }
        for (metric, durations) in
            [(&of_map::DURATION, &edge.duration_ns), (&of_map::SERVER_DURATION, &edge.server_duration_ns)]
        {
            if !durations.is_empty() {
                self.add_shared(metric, &labels, None, Value::Durations(durations), since_us);
            }
        }
        for (direction, bytes) in [("to_server", edge.to_server_bytes), ("to_client", edge.to_client_bytes)] {
            self.add_shared(&of_map::BYTES, &labels, Some(direction), Value::Count(bytes), since_us);
        }
        for (metric, count) in [
            (&of_map::CONNECTIONS_OPENED, edge.connections_opened),
            (&of_map::CONNECTIONS_CLOSED, edge.connections_closed),
            (&of_map::CONNECTIONS_FAILED, edge.connections_failed),
            (&of_map::RETRANSMITS, edge.retransmits),
        ] {
            self.add_shared(metric, &labels, None, Value::Count(count), since_us);
        }
    }

    fn cut_offs(&mut self, map: &MapView) {
        let cut_offs = map.cut_offs;
        let mut add = |topic: Topic, reason, count| {
            self.add(&of_map::RECORDS_CUT_OFF, &[topic.suffix(), reason], Value::Count(count), None);
        };
        for (topic, cut_off) in [(Topic::Edges, cut_offs.edges), (Topic::Latencies, cut_offs.latencies)] {
            let CutOff { too_old, from_the_future, over_limit, outdated } = cut_off;
            add(topic, "too_old", too_old);
            add(topic, "from_the_future", from_the_future);
            add(topic, "over_limit", over_limit);
            add(topic, "outdated", outdated);
        }
        add(Topic::Alerts, "over_limit", cut_offs.alerts);
        add(Topic::Agents, "over_limit", cut_offs.agents);
    }

    fn alerts(&mut self, alerts: &AlertsView) {
        self.number(&of_map::ALERTS_FIRING, alerts.firing as f64);
        let firing = alerts.alerts.iter().filter(|view| view.firing).map(|view| &view.alert);
        let mut all: Vec<Vec<Arc<str>>> = firing
            .map(|alert| {
                let mut labels = vec![Arc::from(alert.kind.as_str()), Arc::from("firing")];
                [&alert.service, &alert.client, &alert.server]
                    .into_iter()
                    .for_each(|workload| push_workload(&mut labels, workload));
                labels.extend([Arc::from(alert.protocol.as_str()), Arc::from(alert.operation.as_str())]);
                labels
            })
            .collect();
        // Two series with the same labels would be refused.
        all.sort();
        all.dedup();
        for labels in all {
            self.add_shared(&of_map::ALERTS, &labels, None, Value::Number(1.0), None);
        }
    }

    fn in_order(mut self) -> Vec<Family<'a>> {
        let family = |metric: &'static Metric| Some(Family { metric, series: self.by_name.remove(metric.name)? });
        of_map::METRICS.iter().filter_map(family).collect()
    }
}

fn push_workload(labels: &mut Vec<Arc<str>>, workload: &Workload) {
    let Workload { cluster, namespace, kind, name } = workload;
    labels.extend([cluster, namespace, kind, name].map(|text| Arc::from(text.as_str())));
}
