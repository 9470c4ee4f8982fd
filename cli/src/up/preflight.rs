//! What must hold before anything is started: all that is missing is told at once.

use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::options::Options;

/// Where our other programs are: beside this one, as cargo and every package put them.
pub struct Programs {
    pub folder: PathBuf,
}

pub fn check(options: &Options) -> Result<Programs> {
    let folder = headwater_process::program_folder()?;
    let mut problems = Vec::new();
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        problems.push(
            "the agent loads programs into the kernel, which needs root: run it as `sudo headwater up ...`; \
             `headwater console` and `headwater map` need no root"
                .to_owned(),
        );
    }
    for (name, package, is_needed) in [
        ("headwater-agent", "headwater-agent", true),
        ("headwater-processor", "headwater-processors", true),
        ("demo-shop", "headwater-demo-shop", options.args.demo),
    ] {
        let path = folder.join(name);
        if is_needed && !path.is_file() {
            problems.push(format!("{} is not there: build it with `cargo build -p {package}`", path.display()));
        }
    }
    let listen = options.settings.server.listen;
    if let Err(error) = super::page::check_port(listen) {
        problems.push(error.to_string());
    }
    if let Err(error) = TcpListener::bind(listen) {
        problems.push(format!(
            "the page cannot be served on {listen}: {error}; stop the program that is there, or choose a port with --console-port"
        ));
    }
    let started = [
        (options.args.kafka_port, options.wanted.brokers.is_none(), "Kafka", "--kafka-port"),
        (options.args.registry_port, options.wanted.registry_url.is_none(), "the registry", "--registry-port"),
    ];
    for (port, is_started, program, flag) in started {
        let Some(port) = port.filter(|_| is_started) else { continue };
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            problems.push(format!(
                "port {port} cannot be given to {program}: {error}; stop the program that is there, or choose another with {flag}"
            ));
        }
    }
    for cgroup in &options.args.cgroup {
        if !cgroup.join("cgroup.procs").is_file() {
            problems.push(format!("--cgroup {} is no cgroup (version 2): it has no cgroup.procs", cgroup.display()));
        }
    }
    for pid in &options.args.pid {
        if !Path::new("/proc").join(pid.to_string()).is_dir() {
            problems.push(format!("--pid {pid}: there is no such process"));
        }
    }
    match problems.as_slice() {
        [] => Ok(Programs { folder }),
        [one] => bail!("{one}"),
        several => bail!("{} things are in the way:\n  - {}", several.len(), several.join("\n  - ")),
    }
}

/// Asks a person who sits there before the traffic of everyone on the machine is captured.
pub fn agreed(options: &Options) -> Result<bool> {
    let args = &options.args;
    let limited = args.demo || !args.cgroup.is_empty() || !args.pid.is_empty();
    if limited || args.yes || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(true);
    }
    print!(
        "This captures the connections and HTTP requests (heads only, no bodies) of every process on this machine.\n\
         Limit it with --cgroup or --pid, or see a sample system with --demo. Go on? [y/N] "
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
