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

#[test]
fn a_secret_that_all_would_see_is_refused_without_being_told() {
    let mut by_flag = values(&["--kafka-password", "hush"], &[]);
    by_flag.refuse_flag("kafka.password", "kafka.password_file");
    let told = by_flag.finish().unwrap_err().to_string();
    assert!(told.contains("set HEADWATER_KAFKA_PASSWORD or kafka.password_file") && !told.contains("hush"), "{told}");
    let mut by_variable = values(&[], &[("HEADWATER_KAFKA_PASSWORD", "hush")]);
    by_variable.refuse_flag("kafka.password", "kafka.password_file");
    by_variable.finish().unwrap();
}

#[test]
fn durations_and_sizes_are_read_as_people_write_them() {
    const KEYS: &[Key] = &[Key::new("a.wait_ms", "10s", "Wait"), Key::new("a.room_bytes", "32MiB", "Room")];
    let read = |wait: &str, room: &str| {
        let arguments = ["program", "--a-wait-ms", wait, "--a-room-bytes", room].map(OsString::from);
        let mut values = load(clap::Command::new("program"), &[KEYS], arguments, Vec::new()).unwrap().1;
        let read = (values.duration_ms("a.wait_ms", 100..=600_000), values.bytes("a.room_bytes", 1 << 10..=1u64 << 30));
        values.finish().map(|()| (read.0.as_millis(), read.1))
    };
    assert_eq!(read("10s", "32MiB"), Ok((10_000, 32 << 20)));
    assert_eq!(read("1m 30s", "500 kB"), Ok((90_000, 500_000)));
    assert_eq!(read("250", "4096"), Ok((250, 4096)));
    let problems = read("11m", "2GiB").unwrap_err().to_string();
    assert!(problems.contains("`11m` is not a duration from 100ms to 10m"), "{problems}");
    assert!(problems.contains("`2GiB` is not a size from 1KiB to 1GiB"), "{problems}");
    for (wait, room) in [("soon", "1MiB"), ("10s", "MiB"), ("10s", "1XB"), ("10s", "99999999999999999999GiB")] {
        assert!(read(wait, room).is_err(), "{wait} {room}");
    }
}

/// What a container of a namespace with the Service `headwater-console` was given by Kubernetes 1.33.
const LINKS: [(&str, &str); 11] = [
    ("HEADWATER_CONSOLE_SERVICE_HOST", "10.96.7.8"),
    ("HEADWATER_CONSOLE_SERVICE_PORT", "8470"),
    ("HEADWATER_CONSOLE_SERVICE_PORT_HTTP", "8470"),
    ("HEADWATER_CONSOLE_PORT", "tcp://10.96.7.8:8470"),
    ("HEADWATER_CONSOLE_PORT_8470_TCP", "tcp://10.96.7.8:8470"),
    ("HEADWATER_CONSOLE_PORT_8470_TCP_PROTO", "tcp"),
    ("HEADWATER_CONSOLE_PORT_8470_TCP_PORT", "8470"),
    ("HEADWATER_CONSOLE_PORT_8470_TCP_ADDR", "10.96.7.8"),
    ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ("KUBERNETES_SERVICE_PORT", "443"),
    ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
];

#[test]
fn links_to_services_of_kubernetes_are_no_settings() {
    let values = values(&[], &LINKS);
    let ours: Vec<_> = LINKS.iter().map(|(name, _)| *name).filter(|name| name.starts_with("HEADWATER_")).collect();
    assert_eq!(values.ignored(), ours);
    values.finish().unwrap();
}

#[test]
fn a_service_may_have_several_ports_an_ipv6_address_or_be_called_headwater() {
    let two = [
        ("HEADWATER_SERVICE_HOST", "fd00::7"),
        ("HEADWATER_SERVICE_PORT", "80"),
        ("HEADWATER_PORT", "tcp://[fd00::7]:80"),
        ("HEADWATER_PORT_80_TCP", "tcp://[fd00::7]:80"),
        ("HEADWATER_PORT_80_TCP_PROTO", "tcp"),
        ("HEADWATER_PORT_80_TCP_PORT", "80"),
        ("HEADWATER_PORT_80_TCP_ADDR", "fd00::7"),
        ("HEADWATER_SERVICE_PORT_DNS_UDP", "53"),
        ("HEADWATER_PORT_53_UDP", "udp://[fd00::7]:53"),
        ("HEADWATER_PORT_53_UDP_PROTO", "udp"),
        ("HEADWATER_PORT_53_UDP_PORT", "53"),
        ("HEADWATER_PORT_53_UDP_ADDR", "fd00::7"),
    ];
    let values = values(&[], &two);
    assert_eq!(values.ignored().len(), two.len());
    values.finish().unwrap();
}

#[test]
fn what_only_looks_like_a_link_is_refused() {
    // One variable of the set is missing, or says something else than the others.
    for (broken, _) in LINKS.iter().filter(|(name, _)| name.starts_with("HEADWATER_") && !name.ends_with("PORT_HTTP")) {
        let missing: Vec<_> = LINKS.into_iter().filter(|(name, _)| name != broken).collect();
        assert!(values(&[], &missing).finish().is_err(), "without {broken}");
        let other: Vec<_> = LINKS.iter().map(|&(n, value)| (n, if n == *broken { "other" } else { value })).collect();
        assert!(values(&[], &other).finish().is_err(), "with another {broken}");
    }
    // Beside a whole set, all else is refused as ever.
    for stray in ["HEADWATER_CONSOLE_SERVICE_PORT_X", "HEADWATER_CONSOLE_PORTS", "HEADWATER_CONSOLE_PORT_8470_TCP_X"] {
        let strays = [&LINKS[..], &[(stray, "1")]].concat();
        let text = values(&[], &strays).finish().unwrap_err().to_string();
        assert!(text.starts_with("1 problem") && text.contains(stray), "{text}");
    }
}

#[test]
fn a_setting_counts_also_where_a_link_has_its_name() {
    let keys: &[Key] = &[Key::optional("console.port", "A port")];
    let environment = LINKS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let (_, values) = load(clap::Command::new("program"), &[keys], ["program".into()], environment).unwrap();
    assert_eq!(values.optional("console.port").as_deref(), Some("tcp://10.96.7.8:8470"));
    assert!(!values.ignored().contains(&"HEADWATER_CONSOLE_PORT".to_owned()));
    values.finish().unwrap();
}
