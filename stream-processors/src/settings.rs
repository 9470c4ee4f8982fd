//! Settings of the processors, checked.

use std::path::PathBuf;

use headwater_kafka::KafkaSettings;
use headwater_settings::{Key, Values};
use headwater_telemetry::TelemetrySettings;

use crate::join::{FORGET_AFTER_US, JoinSettings};
use crate::objectives::file::RulesFile;
use crate::windows::Windows;

/// Settings of this program alone.
pub const KEYS: &[Key] = &[
    Key::new("join.window_ms", "10s", "Length of the windows in whole seconds, aligned to the epoch"),
    Key::new("join.slack_ms", "2s", "How far watermarks must pass the end of a window before it closes"),
    Key::new("join.grace_ms", "15s", "How long a node that lags is waited for after that"),
    Key::new("join.node_timeout_ms", "1m", "A node that lags by more than this is not waited for"),
    Key::new(
        "join.horizon_ms",
        "15m",
        "How long a window that is closed is computed again with what comes late; never if 0 (docs/guarantees.md)",
    ),
    Key::new("join.nodes_max", "20000", "Nodes whose progress is remembered, for each partition"),
    Key::new("join.connections_max", "200000", "Connections whose names are remembered, for each partition"),
    Key::optional(
        "objectives.file",
        "File of objectives, which is looked at again while it runs (docs/objectives.md); none if absent",
    ),
    Key::optional(
        "processor.instance",
        "Name of this instance, different for each and the same at each start; a new one for each start if absent",
    ),
];

const SECOND_US: i64 = 1_000_000;

/// All key tables of the processors.
pub const ALL_KEYS: &[&[Key]] = &[KEYS, KafkaSettings::KEYS, TelemetrySettings::KEYS];

/// Everything that the processors need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub kafka: KafkaSettings,
    /// What the names of flows and requests start with: as all others, except in a replay.
    pub raw_prefix: String,
    pub telemetry: TelemetrySettings,
    pub join: JoinSettings,
    pub objectives_file: Option<PathBuf>,
    /// Part of the transactional ids: no two running instances may share it.
    pub instance: String,
    /// Whether the name was given, so that the next start has it too.
    pub is_named: bool,
}

impl Settings {
    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> Settings {
        // The bounds keep it far below what fits.
        let mut us = |name, bounds_ms| values.duration_ms(name, bounds_ms).as_micros() as i64;
        let window_us = us("join.window_ms", SECOND_US as u64 / 1000..=3_600_000);
        let join = JoinSettings {
            windows: Windows::of_ms(window_us / 1000),
            slack_us: us("join.slack_ms", 0..=60_000),
            grace_us: us("join.grace_ms", 0..=600_000),
            node_timeout_us: us("join.node_timeout_ms", 1000..=FORGET_AFTER_US as u64 / 1000),
            horizon_us: us("join.horizon_ms", 0..=24 * 3_600_000),
            nodes_max: values.number("join.nodes_max", 1..=1_000_000),
            connections_max: values.number("join.connections_max", 1000..=100_000_000),
            ..JoinSettings::default()
        };
        if window_us % SECOND_US != 0 {
            let why = "a record may stand for all exchanges of a second, which belong to one window";
            values.problem("join.window_ms", format!("it must be whole seconds: {why}"));
        }
        let objectives_file = values.optional("objectives.file").map(PathBuf::from);
        if let Some(Err(error)) = objectives_file.as_deref().map(RulesFile::open) {
            values.problem("objectives.file", format!("{error:#}"));
        }
        let kafka = KafkaSettings::read(values);
        let name = values.optional("processor.instance");
        Settings {
            raw_prefix: kafka.prefix.clone(),
            kafka,
            telemetry: TelemetrySettings::read(values),
            join,
            objectives_file,
            is_named: name.is_some(),
            instance: name.unwrap_or_else(new_instance),
        }
    }

    /// As what a group knows this instance from start to start. One without a name is another member each time: else its group would
    /// wait for it after each stop.
    pub fn static_member(&self) -> Option<&str> {
        self.is_named.then_some(self.instance.as_str())
    }
}

/// A name that no other start of this program has.
fn new_instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{}-{}-{}", host.trim(), std::process::id(), since_epoch.map_or(0, |time| time.as_millis()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_are_whole_seconds() {
        let problems = |window: &str| {
            let arguments = ["processor", "--join-window-ms", window].map(Into::into);
            let loaded = headwater_settings::load(clap::Command::new("processor"), ALL_KEYS, arguments, Vec::new());
            let (_, mut values) = loaded.unwrap();
            Settings::read(&mut values);
            values.finish().err().map(|problems| problems.to_string()).unwrap_or_default()
        };
        assert_eq!(problems("3s"), "");
        let refused = problems("2500ms");
        assert!(refused.contains("--join-window-ms") && refused.contains("whole seconds"), "{refused}");
    }
}
