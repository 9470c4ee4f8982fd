//! Typed reads that note problems instead of failing, so that all of them are told at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::Key;
use crate::problems::Problems;

/// Where a value came from, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Default,
    File,
    Variable,
    Flag,
}

/// The settings of a program as texts.
#[derive(Debug)]
pub struct Values {
    found: BTreeMap<&'static str, (String, Source)>,
    problems: Problems,
    ignored: Vec<String>,
}

impl Values {
    pub(crate) fn new(
        found: BTreeMap<&'static str, (String, Source)>,
        problems: Problems,
        ignored: Vec<String>,
    ) -> Values {
        Values { found, problems, ignored }
    }

    /// Variables of the environment that start like settings, but come from Kubernetes' links to Services.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// All problems so far, those of the reads included.
    pub fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    /// Takes over problems that were found before the values were read.
    pub fn add(&mut self, problems: Problems) {
        self.problems.prepend(problems);
    }

    /// Notes a problem with a setting that only its reader can see.
    pub fn problem(&mut self, name: &str, message: impl Display) {
        let named = self.name(name);
        self.problems.add(format!("{named}: {message}"));
    }

    /// A text that may be absent. An empty one counts as absent.
    pub fn optional(&self, name: &'static str) -> Option<String> {
        self.found.get(name).map(|(value, _)| value.clone()).filter(|value| !value.is_empty())
    }

    /// A text that must be there; empty, with a problem noted, if it is not.
    pub fn text(&mut self, name: &'static str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problem(name, "a value is needed");
            String::new()
        })
    }

    /// A whole number within bounds; the lower bound, with a problem noted, if it is not.
    pub fn number<T>(&mut self, name: &'static str, bounds: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let text = self.text(name);
        match text.parse::<T>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let (low, high) = (bounds.start(), bounds.end());
                if !text.is_empty() {
                    self.problem(name, format!("`{text}` is not a whole number from {low} to {high}"));
                }
                *low
            }
        }
    }

    /// A duration such as `10s` or `1m 30s` within bounds in milliseconds; a bare number is milliseconds. The lower bound,
    /// with a problem noted, if it is none.
    pub fn duration_ms(&mut self, name: &'static str, bounds_ms: RangeInclusive<u64>) -> Duration {
        let text = self.text(name);
        let found = match text.parse::<u64>() {
            Ok(ms) => Some(Duration::from_millis(ms)),
            Err(_) => humantime::parse_duration(&text).ok(),
        };
        let (low, high) = (Duration::from_millis(*bounds_ms.start()), Duration::from_millis(*bounds_ms.end()));
        if let Some(found) = found.filter(|found| (low..=high).contains(found)) {
            return found;
        }
        if !text.is_empty() {
            let [low, high] = [low, high].map(humantime::format_duration);
            self.problem(name, format!("`{text}` is not a duration from {low} to {high}, such as 500ms, 10s or 2m"));
        }
        low
    }

    /// A size such as `32MiB` or `500kB` within bounds in bytes; a bare number is bytes. The lower bound, with a problem
    /// noted, if it is none.
    pub fn bytes<T: TryFrom<u64> + Into<u64> + Copy>(&mut self, name: &'static str, bounds: RangeInclusive<T>) -> T {
        let text = self.text(name);
        let (low, high): (u64, u64) = ((*bounds.start()).into(), (*bounds.end()).into());
        let found = parse_bytes(&text).filter(|bytes| (low..=high).contains(bytes)).and_then(|it| T::try_from(it).ok());
        if let Some(found) = found {
            return found;
        }
        if !text.is_empty() {
            let [low, high] = [low, high].map(format_bytes);
            self.problem(name, format!("`{text}` is not a size from {low} to {high}, such as 512KiB or 32MiB"));
        }
        *bounds.start()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> bool {
        let text = self.text(name);
        text.parse().unwrap_or_else(|_| {
            self.problem(name, format!("`{text}` is neither true nor false"));
            false
        })
    }

    /// Texts separated by commas; none if it is absent.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// One of some words.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> T {
        let text = self.text(name);
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, format!("`{text}` is none of {}", words.join(", ")));
        choices[0].1
    }

    /// Notes a problem if a secret came by its flag: every user of the machine sees the arguments of programs.
    pub fn refuse_flag(&mut self, name: &'static str, file_name: &'static str) {
        if self.found.get(name).is_some_and(|(_, source)| *source == Source::Flag) {
            let variable = Key::optional(name, "").variable();
            self.problem(name, format!("it is a secret, and arguments are seen by all: set {variable} or {file_name}"));
        }
    }

    /// A secret, given as such or as the path of a file that holds it under a second key.
    pub fn secret(&mut self, name: &'static str, file_name: &'static str) -> Option<String> {
        let Some(path) = self.optional(file_name) else { return self.optional(name) };
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim_end().is_empty() => {
                self.problem(file_name, format!("{path} is empty; write the secret into it"));
                None
            }
            Ok(text) => Some(text.trim_end().to_owned()),
            Err(error) => {
                self.problem(file_name, format!("{path} cannot be read: {error}"));
                None
            }
        }
    }

    /// How a person would name the setting, by where its value came from.
    fn name(&self, name: &str) -> String {
        let key = |name: &'static str| Key::optional(name, "");
        match self.found.get_key_value(name) {
            Some((name, (_, Source::Flag))) => format!("--{}", key(name).flag()),
            Some((name, (_, Source::Variable))) => key(name).variable(),
            Some((name, (_, Source::File))) => format!("{name} in the settings file"),
            _ => format!("{name} (--{})", name.replace(['.', '_'], "-")),
        }
    }
}

/// Binary units as memory is counted in, decimal ones as disks and networks are.
const UNITS: [(&str, u64); 8] = [
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format_bytes(bytes: u64) -> String {
    let binary = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = binary.into_iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(name, size)| format!("{}{name}", bytes / size))
}
