//! The metrics of `headwater-agent`: the same numbers as in its heartbeats, which go to the topic `agents`.

use headwater_telemetry::{Metric, Unit};

headwater_telemetry::metrics! {
    CAPTURED = Metric::counter(
        "headwater_agent_captured_total",
        Unit::Count,
        &["record"],
        "Records that were made of what the probes saw, by topic"
    );
    PUBLISHED = Metric::counter(
        "headwater_agent_published_total",
        Unit::Count,
        &["record"],
        "Records that brokers acknowledged, by topic"
    );
    IN_FLIGHT = Metric::gauge(
        "headwater_agent_in_flight",
        Unit::Count,
        &["record"],
        "Records that were handed to the producer or wait in the spool, and are not acknowledged yet, by topic"
    );
    SPOOL_BYTES = Metric::gauge(
        "headwater_agent_spool_bytes",
        Unit::Bytes,
        &[],
        "What the spool takes on the disk; 0 while Kafka takes everything"
    );
    SPOOL_OLDEST_AGE = Metric::gauge(
        "headwater_agent_spool_oldest_seconds",
        Unit::Seconds,
        &[],
        "Since when the oldest part of the spool waits; 0 if nothing does"
    );
    SPOOL_EVICTED = Metric::counter(
        "headwater_agent_spool_evicted_total",
        Unit::Count,
        &["record", "reason"],
        "Records that the spool did not take or has lost, by topic and reason; unknown for a damaged part of an earlier run's files"
    );
    DROPPED = Metric::counter(
        "headwater_agent_dropped_total",
        Unit::Count,
        &["reason"],
        "Records that were dropped, by topic and reason such as requests/gap"
    );
    CAPTURE_HOOK = Metric::gauge(
        "headwater_agent_capture_hook",
        Unit::Count,
        &["hook"],
        "1 for the way in which the calls of sockets are seen: fexit or tracepoint"
    );
    PROBE_CORES = Metric::gauge(
        "headwater_agent_probe_cores",
        Unit::Count,
        &["program"],
        "Processors that the probes keep busy, by program, as measured for a twentieth of the last 5 s; without sockets that are refused"
    );
    COUNTERS = Metric::gauge(
        "headwater_agent_counter",
        Unit::Count,
        &["counter"],
        "Other counts: what the probes counted since the start, and the connections that are tracked now"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_lists_the_metrics_of_today() {
        let table = headwater_telemetry::markdown(super::METRICS);
        headwater_testing::assert_section("docs/metrics.md", "headwater-agent", &table);
    }
}
