//! The settings of the `headwater` command: where Kafka and the registry are, logging, and where the page is served.
//!
//! Every subcommand knows all of them, so that one file or environment serves all; those that do not serve a page hide its keys.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgMatches, Command};
use headwater_console::server::ServerSettings;
use headwater_kafka::KafkaSettings;
use headwater_settings::{CONFIG_KEY, Environment, Key, Problems, Values, from_matches};
use headwater_telemetry::{Health, TelemetrySettings};

use crate::running::{self, Running};

pub const KEYS: &[&[Key]] = &[KafkaSettings::KEYS, ServerSettings::KEYS, TelemetrySettings::KEYS, UP_KEYS];
const UP_KEYS: &[Key] =
    &[Key::new("up.folder", running::FOLDER, "Where a running `headwater up` tells the other commands its addresses")];
const HEADING: &str = "Settings (also in a file or the environment)";

#[derive(Debug)]
pub struct Settings {
    pub kafka: KafkaSettings,
    pub server: ServerSettings,
    pub telemetry: TelemetrySettings,
    /// Where each running `up` says where its systems are.
    pub up_folder: PathBuf,
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
            up_folder: values.text("up.folder").into(),
            health: Health::default(),
        };
        values.finish()?;
        Ok(settings)
    }

    /// Takes Kafka and the registry from the `headwater up` that runs here, where the user named neither; where he named those of one
    /// that runs here, takes the password from it.
    ///
    /// # Errors
    /// If several run: which one is meant only the user knows. If the one that is meant lets this user not in.
    pub fn take_from_running(&mut self, given: &Values) -> Result<()> {
        let names = |key: &&'static str| given.optional(key).is_some();
        let found = running::find(&self.up_folder);
        if ["kafka.brokers", "registry.url"].iter().any(names) {
            let is_meant =
                |one: &&Running| one.brokers == self.kafka.brokers && one.registry_url == self.kafka.registry_url;
            return match found.iter().find(is_meant) {
                Some(one) if !["kafka.user", "registry.user"].iter().any(names) => one.let_in(&mut self.kafka),
                _ => Ok(()),
            };
        }
        match found.as_slice() {
            [] => Ok(()),
            [only] => {
                self.kafka.brokers.clone_from(&only.brokers);
                self.kafka.registry_url.clone_from(&only.registry_url);
                if !names(&"kafka.prefix") {
                    self.kafka.prefix.clone_from(&only.prefix);
                }
                only.let_in(&mut self.kafka)
            }
            several => {
                let flags = several.iter().map(|one| {
                    format!(
                        "\n  --kafka-brokers {} --registry-url {} (process {})",
                        one.brokers, one.registry_url, one.pid
                    )
                });
                bail!(
                    "{} `headwater up` run on this machine; name the one that is meant:{}",
                    several.len(),
                    flags.collect::<String>()
                )
            }
        }
    }

    /// Settings of Kafka, the registry and logs as variables of the environment for our other programs: what the user gave, and
    /// where Kafka and the registry are.
    pub fn for_children(&self, given: &Values) -> Vec<(String, String)> {
        let mut variables = for_children(given);
        let prefix = "HEADWATER_KAFKA_PREFIX";
        variables.retain(|(name, _)| name != prefix);
        variables.push((prefix.into(), self.kafka.prefix.clone()));
        variables.extend(self.kafka.connection_variables());
        variables
    }

    /// A command that ends soon serves no metrics: the address belongs to one that stays.
    pub fn start_logging(&self, with_metrics: bool) -> Result<()> {
        let mut telemetry = self.telemetry.clone();
        telemetry.metrics_listen = telemetry.metrics_listen.filter(|_| with_metrics);
        telemetry.start("headwater", headwater_console::metrics::METRICS, &self.health)
    }
}

/// What was asked for, without the defaults.
pub fn given(matches: &ArgMatches, environment: Environment) -> Values {
    let keys: Vec<Key> = KEYS.iter().copied().flatten().map(|key| Key { default: None, ..*key }).collect();
    from_matches(matches, &[&keys], environment)
}

/// Whether errors are to be told as lines of a JSON log, whatever else is wrong with the settings.
pub fn logs_json(matches: &ArgMatches, environment: Environment) -> bool {
    let known = matches.subcommand().filter(|(_, matches)| matches.try_contains_id("log.json").is_ok());
    let given = known.map(|(_, matches)| given(matches, environment));
    given.and_then(|given| given.optional("log.json")).is_some_and(|text| text == "true")
}

/// What was asked for of Kafka and logs, as variables of the environment for our other programs. Where Kafka and the registry are is
/// not among it: that [`KafkaSettings::connection_variables`] says.
pub fn for_children(given: &Values) -> Vec<(String, String)> {
    let of_kafka = |key: &Key| KafkaSettings::KEYS.contains(key) && !KafkaSettings::says_where(key);
    variables(given, |key| key.name.starts_with("log.") || of_kafka(key))
}

/// The same of the page and its metrics.
pub fn for_page(given: &Values) -> Vec<(String, String)> {
    variables(given, is_of_page)
}

fn is_of_page(key: &Key) -> bool {
    ["alerts.", "console.", "metrics.", "otlp."].into_iter().any(|section| key.name.starts_with(section))
}

fn variables(given: &Values, handed_on: impl Fn(&Key) -> bool) -> Vec<(String, String)> {
    let keys = KEYS.iter().copied().flatten().filter(|key| handed_on(key));
    keys.filter_map(|key| Some((key.variable(), given.optional(key.name)?))).collect()
}

/// Adds a flag for each setting, below a heading of their own.
pub fn add_flags(command: Command) -> Command {
    let serves_page = ["up", "console"].contains(&command.get_name());
    let mut command = headwater_settings::add_flags(command, KEYS);
    for key in std::iter::once(&CONFIG_KEY).chain(KEYS.iter().copied().flatten()) {
        let hidden = !serves_page && is_of_page(key);
        command = command.mut_arg(key.name, |arg| arg.help_heading(HEADING).hide(hidden));
    }
    command
}
