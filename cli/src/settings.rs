//! The settings of the `headwater` command: where Kafka and the registry are, logging, and where the page is served.
//!
//! Every subcommand knows all of them, so that one file or environment serves all; those that do not serve a page hide its keys.

use anyhow::Result;
use clap::{ArgMatches, Command};
use headwater_console::server::ServerSettings;
use headwater_kafka::KafkaSettings;
use headwater_settings::{CONFIG_KEY, Environment, Key, Problems, Values, from_matches};
use headwater_telemetry::{Health, TelemetrySettings};

pub const KEYS: &[&[Key]] = &[KafkaSettings::KEYS, ServerSettings::KEYS, TelemetrySettings::KEYS];
const HEADING: &str = "Settings (also in a file or the environment)";

#[derive(Debug)]
pub struct Settings {
    pub kafka: KafkaSettings,
    pub server: ServerSettings,
    pub telemetry: TelemetrySettings,
    /// What the metrics' address says of this program's state.
    pub health: Health,
}

impl Settings {
    /// `unknown` are flags that no command knows: they are told together with everything else.
    pub fn read(matches: &ArgMatches, environment: Environment, unknown: Problems) -> Result<Settings> {
        let mut values = from_matches(matches, KEYS, environment);
        values.add(unknown);
        let settings = Settings {
            kafka: KafkaSettings::read(&mut values),
            server: ServerSettings::read(&mut values),
            telemetry: TelemetrySettings::read(&mut values),
            health: Health::default(),
        };
        values.finish()?;
        Ok(settings)
    }

    /// A command that ends soon serves no metrics: the address belongs to one that stays.
    pub fn start_logging(&self, with_metrics: bool) -> Result<()> {
        let mut telemetry = self.telemetry.clone();
        telemetry.metrics_listen = telemetry.metrics_listen.filter(|_| with_metrics);
        // What it serves is what every process has; the page's numbers are answers of the page.
        telemetry.start("headwater", &[], &self.health)
    }
}

/// What was asked for, without the defaults.
pub fn given(matches: &ArgMatches, environment: Environment) -> Values {
    let keys: Vec<Key> = KEYS.iter().copied().flatten().map(|key| Key { default: None, ..*key }).collect();
    from_matches(matches, &[&keys], environment)
}

/// What was asked for of Kafka, the registry and logs, as variables of the environment for our other programs.
pub fn for_children(given: &Values) -> Vec<(String, String)> {
    let handed_on = |key: &&Key| key.name.starts_with("log.") || KafkaSettings::KEYS.contains(key);
    let keys = KEYS.iter().copied().flatten().filter(handed_on);
    keys.filter_map(|key| Some((key.variable(), given.optional(key.name)?))).collect()
}

/// Adds a flag for each setting, below a heading of their own.
pub fn add_flags(command: Command) -> Command {
    let serves_page = ["up", "console"].contains(&command.get_name());
    let mut command = headwater_settings::add_flags(command, KEYS);
    for key in std::iter::once(&CONFIG_KEY).chain(KEYS.iter().copied().flatten()) {
        let hidden = !serves_page && (key.name.starts_with("console.") || key.name.starts_with("metrics."));
        command = command.mut_arg(key.name, |arg| arg.help_heading(HEADING).hide(hidden));
    }
    command
}
