//! The metrics of `headwater-processor`. `mode` is the processor's name, of which a process may run several.

use headwater_telemetry::{Metric, Unit};

headwater_telemetry::metrics! {
    RECORDS = Metric::counter("headwater_processor_records_total", Unit::Count, &["mode"], "Records that were read");
    EVENTS = Metric::counter(
        "headwater_processor_events_total",
        Unit::Count,
        &["mode", "event"],
        "What happened to records and windows, such as those that came late or were cut off by a bound"
    );
    NODE_TROUBLES = Metric::counter(
        "headwater_processor_node_troubles_total",
        Unit::Count,
        &["mode", "trouble", "node"],
        "Watermarks that showed that a node's clock is ahead of the brokers' (clock_ahead), and records that came when their window was closed (late), of at most 200 nodes by name"
    );
    TABLE_ENTRIES = Metric::gauge(
        "headwater_processor_table_entries",
        Unit::Count,
        &["mode", "table", "partition"],
        "Entries of a table in memory, each of which has a bound among the settings"
    );
    DEAD_LETTERS = Metric::counter(
        "headwater_processor_dead_letters_total",
        Unit::Count,
        &["topic"],
        "Records of a topic that could not be read and went to the dead letters"
    );
    TRANSACTIONS = Metric::counter(
        "headwater_processor_transactions_total",
        Unit::Count,
        &["mode"],
        "Transactions that were committed"
    );
    ABORTS = Metric::counter(
        "headwater_processor_aborts_total",
        Unit::Count,
        &["mode"],
        "Transactions that were given up; the state was built again from the committed offsets"
    );
    RESTARTS = Metric::counter(
        "headwater_processor_restarts_total",
        Unit::Count,
        &["mode"],
        "Times that a processor began again after an error"
    );
    LAG = Metric::gauge(
        "headwater_processor_lag_records",
        Unit::Count,
        &["mode", "topic", "partition"],
        "Records behind the end of an input's partition that were not read yet"
    );
    WINDOW_DELAY = Metric::gauge(
        "headwater_processor_window_delay_seconds",
        Unit::Seconds,
        &["mode", "partition"],
        "From the end of the newest closed window until now; it grows while nothing closes, also for want of agents"
    );
    SNAPSHOTS = Metric::counter(
        "headwater_processor_snapshots_total",
        Unit::Count,
        &["what"],
        "Snapshots of joins and of what is counted for objectives that were written, gone on from after a restart (used), of no use then so that the log was read instead (refused), or too large to be written (too_large)"
    );
    SNAPSHOT_BYTES = Metric::counter(
        "headwater_processor_snapshot_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes of snapshots that were written, before compression"
    );
    OBJECTIVES_RELOADS = Metric::counter(
        "headwater_processor_objectives_reloads_total",
        Unit::Count,
        &["result"],
        "Changes of the file of objectives that count now (taken), or do not since it is none (refused)"
    );
    UNITS = Metric::gauge(
        "headwater_processor_units",
        Unit::Count,
        &["mode"],
        "Pairs of input partitions that this process works on"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_lists_the_metrics_of_today() {
        let table = headwater_telemetry::markdown(super::METRICS);
        headwater_testing::assert_section("docs/metrics.md", "headwater-processor", &table);
    }
}
