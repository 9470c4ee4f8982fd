//! `headwater doctor`: checks what Headwater needs, one line each, with what to do where something is missing.
//!
//! It only looks: nothing is mounted, started or created. Exit code 1 if something that is needed is missing.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use headwater_kafka::{KafkaSettings, Registry, admin, connect_check};
use headwater_schemas::topics::Topic;
use serde::Serialize;

use crate::settings::Settings;
use crate::terminal::{Colour, colours_wanted, paint, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The two tracepoints of sockets came with 6.3, and with 6.13 the stack that their programs need.
const TRACEPOINTS_SINCE: (u32, u32) = (6, 13);
/// Reading the registers of a system call came with 5.15.
const KERNEL_MIN: (u32, u32) = (5, 15);
/// What a kernel with function tracing has, by which programs are attached to functions.
const FUNCTION_TRACING: &str = " register_ftrace_direct";
/// The kernel's counter of performance for uprobes.
const UPROBES: &str = "/sys/bus/event_source/devices/uprobe/type";
const TRACEFS: &str = "/sys/kernel/tracing";
/// Those that the agent's programs are attached to.
const FUNCTIONS: [&str; 2] = ["tcp_sendmsg", "tcp_recvmsg"];

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    /// What it is for: the agent needs a kernel and rights, every program needs Kafka.
    needed_by: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do; empty if all is well.
    todo: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Not there, and not needed by what runs today.
    Optional,
    Missing,
}

/// A check's outcome: what was found, or what was found and what to do.
type Outcome = Result<String, (String, String)>;

/// `not_found` says why the Kafka of the `headwater up` that runs here is not taken.
pub fn run(settings: &Settings, args: &DoctorArgs, not_found: Option<anyhow::Error>) -> Result<ExitCode> {
    let mut findings = vec![
        finding("kernel", "agent", kernel()),
        finding("BTF", "agent", btf()),
        finding("rights", "agent", rights()),
        finding("processes", "agent", processes()),
        optional("tracefs", "looking at the kernel by hand", mounted("tracefs", TRACEFS)),
        optional("bpffs", "looking at the probes by hand, with bpftool", mounted("bpf", "/sys/fs/bpf")),
        optional("uprobes", "seeing what is said through OpenSSL, GnuTLS and Go's crypto/tls (capture.tls)", uprobes()),
        finding("cgroup2", "agent, where its capture is limited to a cgroup", cgroup2()),
    ];
    let (broker, registry) = match not_found {
        Some(error) => (Err((error.to_string(), "see what it says".to_owned())), no_broker()),
        None => (broker(&settings.kafka), registry(&settings.kafka)),
    };
    let topics = if broker.is_ok() { topics(&settings.kafka) } else { no_broker() };
    findings.push(finding("broker", "all", broker));
    findings.push(finding("topics", "all", topics));
    findings.push(finding("registry", "all", registry));
    let healthy = findings.iter().all(|finding| finding.state != State::Missing);
    print(&render(&findings, args.json)?)?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn finding(check: &'static str, needed_by: &'static str, outcome: Outcome) -> Finding {
    let state = if outcome.is_ok() { State::Ok } else { State::Missing };
    let (found, todo) = outcome.map_or_else(|(found, todo)| (found, todo), |found| (found, String::new()));
    Finding { check, needed_by, state, found, todo }
}

fn optional(check: &'static str, needed_by: &'static str, outcome: Outcome) -> Finding {
    let finding = finding(check, needed_by, outcome);
    let state = if finding.state == State::Ok { State::Ok } else { State::Optional };
    Finding { state, ..finding }
}

fn render(findings: &[Finding], json: bool) -> Result<String> {
    if json {
        let lines: Result<Vec<String>, _> = findings.iter().map(serde_json::to_string).collect();
        return Ok(lines?.join("\n") + "\n");
    }
    let colours = colours_wanted();
    let mut text = String::new();
    for Finding { check, needed_by, state, found, todo } in findings {
        let (mark, colour) = match state {
            State::Ok => ("OK      ", Colour::Good),
            State::Optional => ("OPTIONAL", Colour::Muted),
            State::Missing => ("MISSING ", Colour::Bad),
        };
        text.push_str(&format!("{}  {check:<9} {found}\n", paint(mark, colour, colours)));
        if *state != State::Ok {
            text.push_str(&format!("{:20}for: {needed_by}\n{:20}do:  {todo}\n", "", ""));
        }
    }
    Ok(text)
}

/// The kernel, and by which hook the agent is going to see the calls of sockets (docs/capture.md).
fn kernel() -> Outcome {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    match hook(version(&release), function_tracing()) {
        Some(hook) => Ok(format!("Linux {release}, calls of sockets are seen by {hook}")),
        None => Err((
            format!("Linux {release}, without function tracing"),
            "run the agent on Linux 6.13 or later, or on 5.15 or later with CONFIG_FUNCTION_TRACER".into(),
        )),
    }
}

/// Whether functions of libraries can be watched. That some kernels from 6.13 on panic where such programs need 64 bytes of stack does not concern the agent's, which need less.
fn uprobes() -> Outcome {
    if Path::new(UPROBES).exists() {
        Ok("functions of programs can be watched, for capture.tls".to_owned())
    } else {
        Err((
            format!("{UPROBES} is not there"),
            "leave capture.tls off, or run a kernel with CONFIG_UPROBE_EVENTS".to_owned(),
        ))
    }
}

/// Whether programs can be attached to functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FunctionTracing {
    Works,
    No,
    /// The kernel is built with it. Only root sees whether it also lets anybody trace.
    BuiltIn,
}

/// What `capture.hook = auto` comes to.
fn hook(version: Option<(u32, u32)>, tracing: FunctionTracing) -> Option<&'static str> {
    let version = version?;
    let (functions, tracepoints) = (version >= KERNEL_MIN, version >= TRACEPOINTS_SINCE);
    match tracing {
        FunctionTracing::Works if functions => Some("fexit"),
        FunctionTracing::BuiltIn if tracepoints => {
            Some("fexit, or by tracepoint if functions cannot be traced, which root alone sees, in tracefs")
        }
        FunctionTracing::BuiltIn if functions => {
            Some("fexit, if functions can be traced, which root alone sees, in tracefs")
        }
        _ if tracepoints => Some("tracepoint"),
        _ => None,
    }
}

fn function_tracing() -> FunctionTracing {
    // The addresses are hidden from most users, the names from none.
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if !symbols.contains(FUNCTION_TRACING) {
        return FunctionTracing::No;
    }
    let tracefs = Path::new(TRACEFS);
    let list = fs::read_to_string(tracefs.join("available_filter_functions"));
    let is_locked_down = || fs::read(tracefs.join("available_tracers")).is_err();
    traceable(list.as_deref().map_err(io::Error::raw_os_error), is_locked_down)
}

/// What the list of the functions that can be traced says, or the number of the error with which it is refused.
fn traceable(list: Result<&str, Option<i32>>, is_locked_down: impl Fn() -> bool) -> FunctionTracing {
    match list {
        Ok(list) => {
            let has = |name| list.lines().any(|line| line.split_whitespace().next() == Some(name));
            if FUNCTIONS.into_iter().all(has) { FunctionTracing::Works } else { FunctionTracing::No }
        }
        // A kernel in lockdown refuses all of tracefs, and still attaches programs.
        Err(Some(libc::EPERM)) if !is_locked_down() => FunctionTracing::No,
        // It found an error of its own and has traced nothing since.
        Err(Some(libc::ENODEV)) => FunctionTracing::No,
        // Others than root get EACCES, and where tracefs is not mounted there is nothing to read.
        Err(_) => FunctionTracing::BuiltIn,
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Outcome {
    let path = "/sys/kernel/btf/vmlinux";
    match fs::File::open(path) {
        Ok(_) => Ok(format!("{path} is there")),
        Err(error) => Err((
            format!("{path}: {error}"),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all large distributions have".into(),
        )),
    }
}

fn rights() -> Outcome {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return Err(("this process's capabilities cannot be read".into(), "run it where /proc is mounted".into()));
    };
    let lacking: Vec<&str> = CAPABILITIES
        .into_iter()
        .filter(|(_, bit)| effective & (1 << bit) == 0 && effective & (1 << CAP_SYS_ADMIN) == 0)
        .map(|(name, _)| name)
        .collect();
    // SAFETY: geteuid has no preconditions and cannot fail.
    let user = if unsafe { libc::geteuid() } == 0 { "root" } else { "not root" };
    match lacking.as_slice() {
        [] => Ok(format!("{user}, may load and attach BPF programs")),
        _ => Err((
            format!("{user}, without {}", lacking.join(" and ")),
            "run the agent as root, or give it CAP_BPF and CAP_PERFMON".into(),
        )),
    }
}

const CAP_SYS_ADMIN: u32 = 21;
const CAPABILITIES: [(&str, u32); 2] = [("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Its number is part of the kernel's interface (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

fn processes() -> Outcome {
    match fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) if namespace == Path::new(INITIAL_PID_NAMESPACE) => {
            Ok("all of this machine's can be seen".into())
        }
        Ok(_) => Err((
            "this is a process namespace of its own".into(),
            "give the agent the machine's: hostPID: true in Kubernetes, --pid host with Docker".into(),
        )),
        Err(error) => Err((format!("/proc/self/ns/pid: {error}"), "run it where /proc is mounted".into())),
    }
}

fn mounted(kind: &str, place: &str) -> Outcome {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    match mount_of(&mounts, kind) {
        Some(place) => Ok(format!("mounted at {place}")),
        None => Err((format!("not mounted at {place}"), format!("as root: mount -t {kind} {kind} {place}"))),
    }
}

fn cgroup2() -> Outcome {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let Some(place) = mount_of(&mounts, "cgroup2") else {
        let command = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified";
        return Err(("no cgroup2 hierarchy is mounted".into(), format!("as root: {command}")));
    };
    match fs::metadata(Path::new(&place).join("cgroup.procs")) {
        Ok(_) => Ok(format!("mounted at {place}")),
        Err(error) => Err((format!("{place}/cgroup.procs: {error}"), "mount the whole cgroup2 hierarchy".into())),
    }
}

fn mount_of(mounts: &str, kind: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, found) = (fields.next()?, fields.next()?);
        (found == kind).then(|| place.to_owned())
    })
}

fn broker(kafka: &KafkaSettings) -> Outcome {
    match connect_check(kafka, CONNECT_TIMEOUT) {
        Ok(()) => Ok(format!("{} answers", kafka.brokers)),
        Err(error) => Err((
            error.to_string(),
            "start Kafka, or give its address with --kafka-brokers; `headwater up` brings one".into(),
        )),
    }
}

fn no_broker() -> Outcome {
    Err(("not looked for without a broker".into(), "see the broker above".into()))
}

fn topics(kafka: &KafkaSettings) -> Outcome {
    let started = "start headwater-agent and headwater-processor: they create their topics";
    let states =
        admin::topics(kafka).map_err(|error| (error.to_string(), "check what the user may read".to_owned()))?;
    let names = Topic::ALL.map(|topic| topic.name(&kafka.prefix));
    let missing: Vec<&str> =
        names.iter().filter(|name| !states.iter().any(|state| state.name == **name)).map(String::as_str).collect();
    if missing.is_empty() {
        Ok(format!("all {} are there", names.len()))
    } else {
        Err((format!("missing: {}", missing.join(", ")), started.into()))
    }
}

/// The schemas of all topics must be registered: whoever reads the topics needs them.
fn registry(kafka: &KafkaSettings) -> Outcome {
    match Registry::new(kafka).subjects() {
        Err(error) => Err((error.to_string(), "start the registry, or give its address with --registry-url".into())),
        Ok(subjects) => {
            let wanted = Topic::ALL.map(|topic| format!("{}-value", topic.name(&kafka.prefix)));
            let missing: Vec<&str> =
                wanted.iter().filter(|name| !subjects.contains(name)).map(String::as_str).collect();
            match missing.as_slice() {
                [] => Ok(format!("{} answers, all {} schemas are registered", kafka.registry_url, wanted.len())),
                _ => Err((
                    format!("{} answers, without {}", kafka.registry_url, missing.join(", ")),
                    "start headwater-agent and headwater-processor: they register their schemas".into(),
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_understood() {
        assert_eq!(version("6.18.0-rc1+"), Some((6, 18)));
        assert_eq!(version("unknown"), None);
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        let mounts = "none /sys/fs/bpf bpf rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n";
        assert_eq!(mount_of(mounts, "tracefs").as_deref(), Some("/sys/kernel/tracing"));
        assert_eq!(mount_of(mounts, "cgroup2"), None);
    }

    #[test]
    fn a_hook_is_named_only_where_it_is_known() {
        use FunctionTracing::{BuiltIn, No, Works};
        assert_eq!(hook(Some((6, 1)), Works), Some("fexit"));
        assert_eq!(hook(Some((6, 18)), Works), Some("fexit"));
        assert_eq!(hook(Some((6, 18)), No), Some("tracepoint"));
        assert_eq!(hook(Some((6, 13)), No), Some("tracepoint"));
        assert_eq!(hook(Some((6, 12)), No), None, "it has the tracepoints, and too little stack for the programs");
        assert_eq!(hook(Some((5, 10)), Works), None);
        assert!(hook(Some((6, 18)), BuiltIn).is_some_and(|said| said.starts_with("fexit, or by tracepoint if")));
        assert!(hook(Some((6, 1)), BuiltIn).is_some_and(|said| said.starts_with("fexit, if")));
    }

    #[test]
    fn a_kernel_that_refuses_its_list_of_functions_traces_none() {
        use FunctionTracing::{BuiltIn, No, Works};
        let open = || false;
        assert_eq!(traceable(Ok("tcp_recvmsg\ntcp_sendmsg\n"), open), Works);
        assert_eq!(traceable(Ok("tcp_recvmsg [tcp]\ntcp_sendmsg_locked\n"), open), No);
        assert_eq!(traceable(Err(Some(libc::EPERM)), open), No);
        assert_eq!(traceable(Err(Some(libc::EPERM)), || true), BuiltIn, "lockdown refuses every file");
        assert_eq!(traceable(Err(Some(libc::ENODEV)), open), No);
        assert_eq!(traceable(Err(Some(libc::EACCES)), open), BuiltIn, "not root");
        assert_eq!(traceable(Err(Some(libc::ENOENT)), open), BuiltIn, "tracefs is not mounted");
    }
}
