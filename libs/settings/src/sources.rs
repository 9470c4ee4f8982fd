//! Where values come from: flags, environment, file, defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::problems::{Problems, suggestion};
use crate::values::{Source, Values};
use crate::{Key, VARIABLE_PREFIX, service_links};

/// Names the file with settings.
pub const CONFIG_KEY: Key =
    Key::optional("config", "File with settings (TOML); its sections and keys are named as here");

/// Variables of the environment.
pub type Environment = Vec<(String, String)>;

/// Adds a flag for each key, and `--config`, to a command.
pub fn add_flags(command: Command, keys: &[&[Key]]) -> Command {
    let flags = std::iter::once(&CONFIG_KEY).chain(keys.iter().copied().flatten()).map(|key| {
        let default = key.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        Arg::new(key.name)
            .long(key.flag())
            .value_name("VALUE")
            .help(format!("{}{default} [env: {}]", key.help, key.variable()))
            .num_args(1)
    });
    command.args(flags)
}

/// Reads a program's settings, where its flags are all that it takes. Unknown flags are problems like all others.
///
/// # Errors
/// Clap's own error for what it cannot read at all, and `--help` and `--version`, with the text to print.
pub fn load(
    command: Command,
    keys: &[&[Key]],
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
) -> Result<(ArgMatches, Values), clap::Error> {
    let (matches, unknown) = parse(&add_flags(command, keys), arguments)?;
    let mut values = from_matches(&matches, keys, environment);
    values.add(unknown);
    Ok((matches, values))
}

/// Reads arguments; flags that the command does not know are left out and told, so that they are not the only thing told.
///
/// # Errors
/// Clap's own error for what it cannot read at all, and `--help` and `--version`, with the text to print.
pub fn parse(
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(ArgMatches, Problems), clap::Error> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut problems = Problems::default();
    let mut first = None;
    loop {
        let error = match command.clone().try_get_matches_from(&arguments) {
            Ok(matches) => return Ok((matches, problems)),
            Err(error) => error,
        };
        let is_unknown = error.kind() == ErrorKind::UnknownArgument;
        let Some(flag) = context(&error, ContextKind::InvalidArg).filter(|flag| is_unknown && flag.starts_with("--"))
        else {
            // What is left makes no sense any more without what was left out: then that is what to tell.
            let asks = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return Err(if asks { error } else { first.unwrap_or(error) });
        };
        let named = |argument: &OsString| argument.to_string_lossy().split('=').next() == flag.split('=').next();
        let Some(at) = arguments.iter().position(named) else { return Err(error) };
        let has_value = !arguments[at].to_string_lossy().contains('=')
            && arguments.get(at + 1).is_some_and(|next| !next.to_string_lossy().starts_with('-'));
        arguments.drain(at..=at + usize::from(has_value));
        let hint = context(&error, ContextKind::SuggestedArg).map(|known| format!(", did you mean {known}?"));
        problems.add(format!("unknown flag {flag}{}; remove it, or see --help", hint.unwrap_or_default()));
        first = first.or(Some(error));
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Reads settings where the flags of [`add_flags`] were parsed as part of a larger command.
pub fn from_matches(matches: &ArgMatches, keys: &[&[Key]], environment: Environment) -> Values {
    let keys: Vec<Key> = keys.iter().copied().flatten().copied().collect();
    let mut problems = Problems::default();
    let mut found: BTreeMap<&'static str, (String, Source)> = BTreeMap::new();
    for key in &keys {
        if let Some(default) = key.default {
            found.insert(key.name, (default.to_owned(), Source::Default));
        }
    }
    let config = flag(matches, &CONFIG_KEY).or_else(|| variable(&environment, &CONFIG_KEY));
    if let Some(path) = config {
        read_file(&path, &keys, &mut found, &mut problems);
    }
    let ignored = read_environment(&environment, &keys, &mut found, &mut problems);
    for key in &keys {
        if let Some(value) = flag(matches, key) {
            found.insert(key.name, (value, Source::Flag));
        }
    }
    Values::new(found, problems, ignored)
}

fn flag(matches: &ArgMatches, key: &Key) -> Option<String> {
    let given = matches.value_source(key.name) == Some(ValueSource::CommandLine);
    given.then(|| matches.get_one::<String>(key.name).cloned())?
}

fn variable(environment: &Environment, key: &Key) -> Option<String> {
    let name = key.variable();
    environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
}

/// Gives the variables that look like settings and are left alone.
fn read_environment(
    environment: &Environment,
    keys: &[Key],
    found: &mut BTreeMap<&'static str, (String, Source)>,
    problems: &mut Problems,
) -> Vec<String> {
    let names: Vec<String> = keys.iter().map(Key::variable).collect();
    let links = service_links::names(environment);
    let mut ignored = Vec::new();
    for (variable, value) in environment.iter().filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX)) {
        if let Some(index) = names.iter().position(|name| name == variable) {
            found.insert(keys[index].name, (value.clone(), Source::Variable));
        } else if links.contains(variable) {
            ignored.push(variable.clone());
        } else if *variable != CONFIG_KEY.variable() {
            let hint = suggestion(variable, names.iter().map(String::as_str));
            problems.add(format!("the environment has the unknown setting {variable}{hint}; unset it, or see --help"));
        }
    }
    ignored
}

fn read_file(path: &str, keys: &[Key], found: &mut BTreeMap<&'static str, (String, Source)>, problems: &mut Problems) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problems.add(format!("the settings file {path} cannot be read: {error}")),
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return problems.add(format!("the settings file {path} is not TOML: {error}")),
    };
    for (section, value) in table {
        let toml::Value::Table(entries) = value else {
            problems.add(format!("{path}: `{section}` stands outside of a section; write it below `[section]`"));
            continue;
        };
        for (name, value) in entries {
            let full = format!("{section}.{name}");
            match (keys.iter().find(|key| key.name == full), text_of(&value)) {
                (Some(key), Some(text)) => {
                    found.insert(key.name, (text, Source::File));
                }
                (Some(_), None) => {
                    problems.add(format!("{path}: {full} must be a text, a number, a boolean or a list of texts"))
                }
                (None, _) => {
                    let hint = suggestion(&full, keys.iter().map(|key| key.name));
                    problems.add(format!("{path}: unknown setting {full}{hint}; remove it, or see --help"));
                }
            }
        }
    }
}

/// A value of the file as a flag would spell it.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        _ => None,
    }
}
