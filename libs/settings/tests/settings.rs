//! What a person may give, and what they are told.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::Write;

use headwater_settings::{Key, Values, load};

const KEYS: &[Key] = &[
    Key::new("kafka.brokers", "127.0.0.1:9092", "Brokers"),
    Key::new("capture.ring_bytes", "8", "Bytes"),
    Key::optional("kafka.password", "Password"),
    Key::optional("kafka.password_file", "File with the password"),
];

fn values(arguments: &[&str], environment: &[(&str, &str)]) -> Values {
    let arguments = std::iter::once("program").chain(arguments.iter().copied()).map(OsString::from);
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    load(clap::Command::new("program"), &[KEYS], arguments, environment).unwrap().1
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let config = file("[kafka]\nbrokers = 'file:1'\n");
    let config = config.path().to_str().unwrap();
    assert_eq!(values(&[], &[]).text("kafka.brokers"), "127.0.0.1:9092");
    assert_eq!(values(&["--config", config], &[]).text("kafka.brokers"), "file:1");
    let variable = [("HEADWATER_KAFKA_BROKERS", "env:1")];
    assert_eq!(values(&["--config", config], &variable).text("kafka.brokers"), "env:1");
    assert_eq!(values(&["--config", config, "--kafka-brokers", "flag:1"], &variable).text("kafka.brokers"), "flag:1");
    assert_eq!(values(&[], &[("HEADWATER_CONFIG", config)]).text("kafka.brokers"), "file:1");
}

#[test]
fn all_problems_are_told_at_once_with_what_was_meant() {
    let config = file("stray = 1\n[kafka]\nbroker = 'x'\nbrokers = { a = 1 }\n");
    let mut values = values(
        &["--config", config.path().to_str().unwrap(), "--capture-ring-bytes", "many"],
        &[("HEADWATER_KAFKA_BROKER", "x"), ("OTHER", "x")],
    );
    values.number("capture.ring_bytes", 1..=64);
    let problems = values.finish().unwrap_err();
    let text = problems.to_string();
    assert_eq!(problems.messages().len(), 5, "{text}");
    assert!(text.contains("unknown setting kafka.broker, did you mean kafka.brokers?"), "{text}");
    assert!(text.contains("HEADWATER_KAFKA_BROKER, did you mean HEADWATER_KAFKA_BROKERS?"), "{text}");
    assert!(text.contains("--capture-ring-bytes: `many` is not a whole number from 1 to 64"), "{text}");
}

#[test]
fn unknown_flags_are_told_together_with_all_other_problems() {
    let config = file("[kafka]\nbroker = 'x'\n");
    let arguments = ["--kafka-broker", "x", "--capture-ring-bytes", "9", "--nonsense=1", "--config"];
    let mut values =
        values(&[&arguments[..], &[config.path().to_str().unwrap()]].concat(), &[("HEADWATER_KAFKA_BROKER", "x")]);
    assert_eq!(values.number("capture.ring_bytes", 1..=64), 9, "what is known is read all the same");
    let problems = values.finish().unwrap_err();
    let text = problems.to_string();
    assert_eq!(problems.messages().len(), 4, "{text}");
    assert!(text.contains("unknown flag --kafka-broker, did you mean --kafka-brokers?"), "{text}");
    assert!(text.contains("unknown flag --nonsense; remove it"), "{text}");
}

#[test]
fn what_makes_no_sense_without_an_unknown_flag_is_refused_for_that_flag() {
    let command = clap::Command::new("program").arg(clap::Arg::new("mode").required(true));
    let error = load(command, &[KEYS], ["program", "--mod", "all"].map(OsString::from), vec![]).unwrap_err();
    assert!(error.to_string().contains("--mod"), "{error}");
    let command = clap::Command::new("program");
    let error = load(command, &[KEYS], ["program", "stray"].map(OsString::from), vec![]).unwrap_err();
    assert!(error.to_string().contains("stray"), "{error}");
}

#[test]
fn a_file_for_a_secret_that_is_empty_or_not_there_is_told() {
    let empty = file("\n");
    for (path, told) in [(empty.path().to_str().unwrap(), "is empty"), ("/nowhere/secret", "cannot be read")] {
        let mut values = values(&["--kafka-password-file", path], &[]);
        assert_eq!(values.secret("kafka.password", "kafka.password_file"), None);
        let text = values.finish().unwrap_err().to_string();
        assert!(text.contains("--kafka-password-file") && text.contains(path) && text.contains(told), "{text}");
    }
}

#[test]
fn a_secret_can_come_from_a_file() {
    let secret = file("hush\n");
    let mut values = values(&["--kafka-password-file", secret.path().to_str().unwrap()], &[]);
    assert_eq!(values.secret("kafka.password", "kafka.password_file"), Some("hush".into()));
    values.finish().unwrap();
}
