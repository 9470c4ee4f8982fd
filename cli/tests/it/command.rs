//! The `headwater` command where things are wrong: each time a clear error, and nothing is started.

use std::process::{Command, Output};

fn headwater(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(args).env_remove("HEADWATER_KAFKA_BROKERS").output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn unknown_settings_are_refused_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    std::fs::write(&file, "[kafka]\nbroker = \"x\"\nprefix = \"a.\"\n[nothing]\nat = 1\n").unwrap();
    let output = headwater(&["map", "--config", file.to_str().unwrap(), "--console-listen", "here"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    for part in ["kafka.broker", "did you mean kafka.brokers", "nothing.at", "`here` is not an address"] {
        assert!(errors(&output).contains(part), "{part} is not in: {}", errors(&output));
    }
    assert_eq!(headwater(&["map", "--nothing"]).status.code(), Some(2));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let port = headwater_process::Port::free().unwrap();
    let address = port.address().to_string();
    for command in
        [vec!["map"], vec!["topics"], vec!["tail", "edges"], vec!["diff", "-2m/1m", "-1m/30s"], vec!["incident"]]
    {
        let output = headwater(&[command.as_slice(), &["--kafka-brokers", &address]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains(&address) && errors(&output).contains("check"), "{}", errors(&output));
    }
    let output = headwater(&["doctor", "--kafka-brokers", &address, "--registry-url", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("MISSING   broker") && found.contains("do:"), "{found}");
}

#[test]
fn up_checks_everything_before_it_starts_anything() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = headwater(&["up", "--yes", "--console-port", &port, "--pid", "999999999", "--cgroup", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["--console-port", "there is no such process", "/nowhere is no cgroup"] {
        assert!(errors(&output).contains(part), "{part} is not in: {}", errors(&output));
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(headwater(&["up", "--demo", "--pid", "1"]).status.code(), Some(2));
}

#[test]
fn completions_and_manual_pages_name_every_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    assert!(headwater(&["man", folder.path().to_str().unwrap()]).status.success());
    let page = String::from_utf8(headwater(&["man"]).stdout).unwrap();
    let script = String::from_utf8(headwater(&["completions", "bash"]).stdout).unwrap();
    for name in ["up", "map", "tail", "diff", "incident", "backtest", "replay", "topics", "console", "doctor"] {
        assert!(folder.path().join(format!("headwater-{name}.1")).is_file(), "{name}");
        assert!(page.contains(name) && script.contains(name), "{name}");
    }
    let syntax = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(syntax.success());
}
