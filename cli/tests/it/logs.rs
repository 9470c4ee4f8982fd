//! What the programs write to standard error: no colours in files, and one JSON object a line where that is asked for.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use headwater_process::program;
use serde_json::Value;

fn headwater() -> PathBuf {
    env!("CARGO_BIN_EXE_headwater").into()
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let mut console = Command::new(headwater())
        // Serving other machines is told as a warning, whether there is a Kafka or not.
        .args(["console", "--console-listen", "0.0.0.0:0", "--kafka-brokers", "127.0.0.1:1"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(console.stderr.take().unwrap()).read_line(&mut line).unwrap();
    console.kill().unwrap();
    console.wait().unwrap();
    assert!(line.contains("WARN") && line.contains("asks for no password"), "{line}");
    assert!(!line.contains('\x1b'), "{line:?}");
}

/// Settings that are wrong, and a fault at work, in each program.
#[test]
fn a_fatal_error_is_json_where_logs_are() {
    let refused = "127.0.0.1:1";
    let [agent, processor] = ["headwater-agent", "headwater-processor"].map(|name| program(name).unwrap());
    for (program, args, code) in [
        (headwater(), vec!["map", "--kafka-brokers", refused], 1),
        (headwater(), vec!["map", "--console-listen", "here"], 2),
        (headwater(), vec!["topics", "--nothing"], 2),
        (processor.clone(), vec!["all", "--kafka-brokers", refused], 1),
        (processor, vec!["all", "--join-grace-ms", "soon"], 2),
        (agent, vec!["--http-paths", "some"], 2),
    ] {
        let output = Command::new(&program).args(&args).env("HEADWATER_LOG_JSON", "true").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let last = json_lines(&output).pop().unwrap_or_else(|| panic!("{args:?} says nothing"));
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(!last["fields"]["message"].as_str().unwrap().is_empty(), "{last}");
    }
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}
