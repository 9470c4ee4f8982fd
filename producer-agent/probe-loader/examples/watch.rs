//! Prints what the probes see of one cgroup or process: `watch --cgroup PATH | --pid PID [SECONDS]`. For work on the probes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_probe_loader::{Event, Hook, Options, Probes, TlsFunctions, types};

/// What the variable HOOK asks for.
fn hook() -> Option<Hook> {
    let asked = std::env::var("HOOK").unwrap_or_default();
    [Hook::Fexit, Hook::Tracepoint].into_iter().find(|hook| hook.name() == asked)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut options = Options {
        cgroups: vec![],
        pids: vec![],
        ring_bytes: 1 << 20,
        hook: hook(),
        tls: true,
        unix: true,
        processes_per_second_max: 200,
    };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--cgroup", path, ..] => options.cgroups.push(path.into()),
        ["--pid", pid, ..] => options.pids.push(pid.parse().unwrap_or(0)),
        _ => {
            eprintln!("usage: watch --cgroup PATH | --pid PID [SECONDS]");
            return Ok(());
        }
    }
    let seconds = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut probes = Probes::load(&options)?;
    // Libraries of TLS to watch, separated by colons.
    let libraries = std::env::var("LIBRARIES").unwrap_or_default();
    let mut attached = Vec::new();
    for path in libraries.split(':').filter(|path| !path.is_empty()).map(Path::new) {
        if let Some(functions) = TlsFunctions::of_library(&File::open(path)?)? {
            attached.push(probes.attach_tls(path, &functions)?);
        }
    }
    println!("loaded: {} {:?}", probes.hook().name(), probes.not_fexit_because());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        probes.wait(Duration::from_millis(100));
        probes.drain(end, |event| match event {
            Event::Data(event, captured) | Event::Plaintext(event, captured) => {
                let head: String = String::from_utf8_lossy(captured).chars().take(60).collect();
                println!("{event:?} {head:?}");
            }
            // An environment holds secrets.
            Event::Process(event, arguments, environment) => {
                println!(
                    "{event:?} {:?}, {} bytes of environment",
                    String::from_utf8_lossy(arguments),
                    environment.len()
                );
            }
            Event::Cgroup(event, path) => println!("{event:?} {:?}", String::from_utf8_lossy(path)),
            other => println!("{other:?}"),
        });
    }
    let mut walk = probes.walk()?;
    while walk.next(|socket| println!("socket {socket:?}"))? {}
    println!(
        "{:?} missed {:?}",
        types::count::NAMES.iter().zip(probes.counts()?).collect::<Vec<_>>(),
        probes.missed_runs()?
    );
    Ok(())
}
