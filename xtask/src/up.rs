//! `cargo xtask up`: set-up, build, then `headwater up` in place of this process.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::needs::Purpose;
use crate::run;
use crate::setup;

const PACKAGES: &[&str] = &["headwater-agent", "headwater-processors", "headwater-cli", "headwater-demo-shop"];

pub fn run(arguments: Vec<String>) -> Result<()> {
    let (consent, arguments): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument == "--yes");
    let has_docker = !run::is_installed("java") && run::succeeds("docker", &["info"]);
    setup::ensure(&purposes(&arguments, has_docker), !consent.is_empty())?;

    println!("Building (the first time takes some minutes)");
    let cargo = run::cargo();
    let mut line = vec![cargo.as_str(), "build", "--bins"];
    line.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    run::checked(&line)?;

    let program = run::root().join("target/debug/headwater");
    // Only capture needs root, so only it gets it.
    let mut command = if run::is_root() || !run::is_installed("sudo") {
        run::command(&program.to_string_lossy())
    } else {
        println!("Capture needs root: running headwater with sudo");
        let mut sudo = run::command("sudo");
        sudo.arg(&program);
        sudo
    };
    // Only an error comes back: the new program has taken this one's place, terminal and Ctrl-C included.
    let error = command.arg("up").args(arguments).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// Kafka's needs are dropped where Kafka exists already or comes as a container.
fn purposes(arguments: &[String], has_docker: bool) -> Vec<Purpose> {
    let has =
        |flag: &str| arguments.iter().any(|argument| argument == flag || argument.starts_with(&format!("{flag}=")));
    let mut purposes = vec![Purpose::Build, Purpose::Capture];
    let exists_already = has("--brokers") && has("--registry-url");
    if !has_docker && !exists_already {
        purposes.push(Purpose::Stack);
    }
    if has("--demo") {
        purposes.push(Purpose::Demo);
    }
    purposes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purposes_of(line: &str, has_docker: bool) -> Vec<Purpose> {
        purposes(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), has_docker)
    }

    #[test]
    fn only_what_the_arguments_call_for_is_needed() {
        assert_eq!(purposes_of("", false), [Purpose::Build, Purpose::Capture, Purpose::Stack]);
        assert!(purposes_of("--demo", false).contains(&Purpose::Demo));
        assert!(!purposes_of("--brokers=k:9092 --registry-url http://r", false).contains(&Purpose::Stack));
        assert!(purposes_of("--brokers k:9092", false).contains(&Purpose::Stack));
        assert!(!purposes_of("--demo", true).contains(&Purpose::Stack));
    }
}
