//! The metrics of the map: names, labels and meaning, from which the answer and `docs/metrics.md` are made.

use headwater_telemetry::{Metric, Unit};

/// Who an edge leads from and to. Outside of Kubernetes cluster and namespace are empty, which to Prometheus is the same as absent.
pub const EDGE: &[&str] = &[
    "client_cluster",
    "client_namespace",
    "client_kind",
    "client_name",
    "server_cluster",
    "server_namespace",
    "server_kind",
    "server_name",
    "protocol",
];

/// The labels of an edge and one more.
macro_rules! edge_and {
    ($($own:literal),*) => {
        &[
            "client_cluster",
            "client_namespace",
            "client_kind",
            "client_name",
            "server_cluster",
            "server_namespace",
            "server_kind",
            "server_name",
            "protocol",
            $($own),*
        ]
    };
}

headwater_telemetry::metrics! {
    REQUESTS = Metric::counter(
        "headwater_edge_requests_total",
        Unit::Count,
        edge_and!("status_class"),
        "Requests by class of their status, such as 5xx, or by outcome, such as ok; none is a request without an answer"
    );
    ERRORS = Metric::counter(
        "headwater_edge_errors_total",
        Unit::Count,
        edge_and!("status_class"),
        "Requests that the server failed"
    );
    DURATION = Metric::histogram(
        "headwater_edge_duration_seconds",
        Unit::Seconds,
        EDGE,
        "Time from a request's first byte to its answer's last, as the client saw it where it is captured"
    );
    SERVER_DURATION = Metric::histogram(
        "headwater_edge_server_duration_seconds",
        Unit::Seconds,
        EDGE,
        "The same as the server saw it; the rest is the network and both queues"
    );
    BYTES = Metric::counter(
        "headwater_edge_bytes_total",
        Unit::Bytes,
        edge_and!("direction"),
        "Payload on the connections of an edge, to_server or to_client"
    );
    CONNECTIONS_OPENED = Metric::counter(
        "headwater_edge_connections_opened_total",
        Unit::Count,
        EDGE,
        "Connections that were established"
    );
    CONNECTIONS_CLOSED = Metric::counter(
        "headwater_edge_connections_closed_total",
        Unit::Count,
        EDGE,
        "Connections that ended"
    );
    CONNECTIONS_FAILED = Metric::counter(
        "headwater_edge_connections_failed_total",
        Unit::Count,
        EDGE,
        "Connections that were never established, or ended by a reset or a timeout"
    );
    RETRANSMITS = Metric::counter(
        "headwater_edge_retransmits_total",
        Unit::Count,
        EDGE,
        "Segments that either side sent again"
    );
    EDGES = Metric::gauge(
        "headwater_map_edges",
        Unit::Count,
        &[],
        "Edges with series of their own, at most metrics.edges_max"
    );
    EDGES_LEFT_OUT = Metric::gauge(
        "headwater_map_edges_left_out",
        Unit::Count,
        &[],
        "Edges of the newest window that had no room: they are counted together as the edge from other to other"
    );
    COUNTED_FROM = Metric::gauge(
        "headwater_map_counted_from_seconds",
        Unit::Seconds,
        &["topic"],
        "Where the first window begins that can be in the counters, since 1970: what the console found at its start is not"
    );
    WINDOWS = Metric::counter(
        "headwater_map_windows_total",
        Unit::Count,
        &["topic"],
        "Windows that are in the counters, each in full"
    );
    WINDOWS_INCOMPLETE = Metric::counter(
        "headwater_map_windows_incomplete_total",
        Unit::Count,
        &["topic"],
        "Of these, those of which the agents did not see all"
    );
    WINDOWS_SKIPPED = Metric::counter(
        "headwater_map_windows_skipped_total",
        Unit::Count,
        &["topic"],
        "Windows between these that did not come: nothing was computed then, or the console read too late"
    );
    LATE_RECORDS = Metric::counter(
        "headwater_map_late_records_total",
        Unit::Count,
        &["topic"],
        "Records of windows that were counted already, whose change is not in the counters"
    );
    RECORDS_CUT_OFF = Metric::counter(
        "headwater_map_records_cut_off_total",
        Unit::Count,
        &["topic", "reason"],
        "Records that the console left out, by the bound or the rule that did it"
    );
    COMPLETENESS = Metric::gauge(
        "headwater_map_completeness_ratio",
        Unit::Count,
        &[],
        "How much of what the kernels saw is in the windows of the last minute, from 0 to 1: the lowest of them"
    );
    WINDOW_END = Metric::gauge(
        "headwater_map_window_end_seconds",
        Unit::Seconds,
        &[],
        "End of the newest complete window, since 1970"
    );
    ALERTS_FIRING = Metric::gauge("headwater_alerts_firing", Unit::Count, &[], "Alerts that fire now");
    ALERTS = Metric::gauge(
        "headwater_alerts",
        Unit::Count,
        &[
            "alertname",
            "alertstate",
            "service_cluster",
            "service_namespace",
            "service_kind",
            "service_name",
            "client_cluster",
            "client_namespace",
            "client_kind",
            "client_name",
            "server_cluster",
            "server_namespace",
            "server_kind",
            "server_name",
            "protocol",
            "operation",
        ],
        "Always 1, for each alert that fires: service is the one to look at"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_lists_the_metrics_of_the_map() {
        headwater_testing::assert_section(
            "docs/metrics.md",
            "the map, at the console's own address",
            &headwater_telemetry::markdown(super::METRICS),
        );
    }
}
