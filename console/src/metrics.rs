//! The metrics of the console itself; those of the map are in [`crate::server::prometheus`].

use headwater_telemetry::{Metric, Unit};

headwater_telemetry::metrics! {
    ALERTS_SENT = Metric::counter(
        "headwater_alerts_sent_total",
        Unit::Count,
        &["destination"],
        "Alerts and ends of alerts that a destination took; an Alertmanager is told again each minute"
    );
    ALERTS_FAILURES = Metric::counter(
        "headwater_alerts_failures_total",
        Unit::Count,
        &["destination"],
        "Attempts to tell a destination of alerts that failed"
    );
    ALERTS_DROPPED = Metric::counter(
        "headwater_alerts_dropped_total",
        Unit::Count,
        &["destination"],
        "Alerts and ends of alerts that were given up after too many attempts, or that the destination refused"
    );
    OTLP_POINTS_SENT = Metric::counter(
        "headwater_otlp_points_sent_total",
        Unit::Count,
        &[],
        "Data points of the service graph that the OTLP receiver took"
    );
    OTLP_POINTS_REJECTED = Metric::counter(
        "headwater_otlp_points_rejected_total",
        Unit::Count,
        &[],
        "Data points that the OTLP receiver refused"
    );
    OTLP_FAILURES = Metric::counter(
        "headwater_otlp_failures_total",
        Unit::Count,
        &[],
        "Attempts to send the service graph that failed; the next one has the sums of then, so nothing is lost"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_lists_the_metrics_of_the_console() {
        headwater_testing::assert_section(
            "docs/metrics.md",
            "headwater console",
            &headwater_telemetry::markdown(super::METRICS),
        );
    }
}
