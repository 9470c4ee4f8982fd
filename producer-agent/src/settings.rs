//! The agent's settings, checked.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use headwater_kafka::KafkaSettings;
use headwater_probe_loader::{Hook, Options as CaptureOptions};
use headwater_settings::{Key, Values};
use headwater_telemetry::TelemetrySettings;
use headwater_workload::runtimes::Roots;

use crate::naming;
use crate::observe::{ObserverOptions, Paths};

/// Settings of this program alone.
pub const KEYS: &[Key] = &[
    Key::optional("node.name", "Name of this node in all records; the host's name if absent"),
    Key::optional(
        "capture.cgroup",
        "Captures only these cgroups and those below: paths in the cgroup2 mount, separated by commas",
    ),
    Key::optional("capture.pid", "Captures only these processes: ids separated by commas"),
    Key::new("capture.ring_bytes", "8MiB", "Size of the ring buffer between kernel and agent; a power of two"),
    Key::new(
        "capture.hook",
        "auto",
        "How the calls of sockets are seen: fexit or tracepoint; auto takes fexit where the kernel does",
    ),
    Key::new(
        "capture.sums",
        "auto",
        "auto has the probes add up the plain exchanges of hot connections, one record a second for each operation; off has a record of each exchange",
    ),
    Key::new(
        "capture.ends",
        "one",
        "one follows, of a connection with both ends on this node and more than 512 exchanges a second, the server's end for a second in eight only, since the client's tells of the same; both follows both",
    ),
    Key::new(
        "capture.cpu_budget",
        "10",
        "Percent of one core that agent and probes may take; past that exchanges of ever less busy connections are added up, if capture.sums is auto. 0 for no bound",
    ),
    Key::new(
        "capture.shed",
        "requests",
        "What may be given up for capture.cpu_budget: detail alone, so that all counts stay exact, or in the end requests too, of the busiest workloads for seconds at a time, counted as dropped",
    ),
    Key::new(
        "capture.tls",
        "off",
        "on sees what programs give to OpenSSL, GnuTLS and Go's crypto/tls to encrypt and get from it decrypted, by uprobes in the libraries that they map and in programs of Go; off sees that they encrypt",
    ),
    Key::new(
        "capture.unix",
        "on",
        "on shows who speaks with whom over Unix sockets, but for the machine's own journal, buses and desktop; off does not look at them",
    ),
    Key::new("capture.poll_ms", "50ms", "How long the agent sleeps while little is waiting"),
    Key::new(
        "capture.connections_max",
        "100000",
        "Connections that are followed at a time, three quarters of them of one cgroup; more are counted as dropped",
    ),
    Key::new(
        "http.paths",
        "templated",
        "templated replaces identifiers in published paths, full publishes them as they are",
    ),
    Key::new(
        "http.operations_max",
        "1000",
        "Distinct operations of one workload that are published at a time; further ones become {other}",
    ),
    Key::new(
        "requests.per_second_max",
        "100000",
        "Requests that are published a second, three quarters of them of one cgroup; more are counted as dropped",
    ),
    Key::new(
        "processes.per_second_max",
        "200",
        "Events of processes of one cgroup that are published a second, half of them of programs that begin or end in order; more are counted as dropped",
    ),
    Key::new("flows.interval_ms", "10s", "How often the progress of open connections is published"),
    Key::new("watermark.interval_ms", "1s", "How often the agent says up to when its records are complete"),
    Key::new(
        "memory.bytes",
        "32MiB",
        "What open requests and records without a name may take; past that those of the cgroup that has the most are given up and counted",
    ),
    Key::new("names.wait_ms", "2s", "How long a record waits for the name of its workload before it is called unknown"),
    Key::new("names.docker_root", "/var/lib/docker", "Where Docker keeps its data, for the names of its containers"),
    Key::new(
        "names.podman_root",
        "/var/lib/containers/storage",
        "Where Podman keeps its storage, for the names of its containers",
    ),
    Key::new(
        "kubernetes.enabled",
        "auto",
        "on names workloads from Kubernetes, off does not; auto does in a pod that has a service account",
    ),
    Key::optional("kubernetes.labels", "Keys of labels of pods that go into the topic identities, separated by commas"),
    Key::new("identities.interval_ms", "10s", "How often the agent says who owns which address of Kubernetes' pods"),
    Key::optional("cluster.name", "Name of the Kubernetes cluster in all records; `kubernetes` if absent"),
    Key::new(
        "spool.bytes",
        "512MiB",
        "Bytes on the disk for what Kafka does not take; past that records are dropped and counted. 0 keeps them in memory alone",
    ),
    Key::new(
        "spool.path",
        "/var/lib/headwater/spool",
        "Folder of the spool; one agent for each prefix of topics may use it",
    ),
    Key::new("stop.flush_ms", "5s", "How long the agent waits at its end for its last records to be delivered"),
];

/// All key tables of the agent.
pub const ALL_KEYS: &[&[Key]] = &[KEYS, KafkaSettings::KEYS, TelemetrySettings::KEYS];

/// Everything that the pipeline needs to know.
#[derive(Debug)]
pub struct Settings {
    pub kafka: KafkaSettings,
    /// Absent if nothing is to be written to the disk.
    pub spool: Option<SpoolSettings>,
    pub telemetry: TelemetrySettings,
    pub capture: CaptureOptions,
    pub observer: ObserverOptions,
    pub naming: naming::Settings,
    pub kernel: String,
    /// Plain exchanges of hot connections are added up.
    pub sums: bool,
    /// Percent of one core that agent and probes may take; 0 for no bound.
    pub cpu_budget_percent: u32,
    /// For that, workloads may rest.
    pub sheds_requests: bool,
    /// Bytes that parsers and held records may keep together.
    pub memory_bytes: usize,
    pub poll_interval: Duration,
    pub flows_interval: Duration,
    pub watermark_interval: Duration,
    pub flush_timeout: Duration,
    pub requests_per_second_max: NonZeroU32,
}

/// Where records wait on the disk, and how many bytes they may take there.
#[derive(Debug)]
pub struct SpoolSettings {
    pub path: PathBuf,
    pub bytes_max: u64,
}

impl SpoolSettings {
    /// A file of the spool is an eighth of it at most, and has the schemas at its head.
    const BYTES_MIN: u64 = 1 << 20;

    fn read(values: &mut Values) -> Option<SpoolSettings> {
        let bytes_max = values.bytes("spool.bytes", 0..=1u64 << 40);
        let path = PathBuf::from(values.text("spool.path"));
        if bytes_max == 0 {
            return None;
        }
        if bytes_max < SpoolSettings::BYTES_MIN {
            values.problem("spool.bytes", format!("{bytes_max} is too little: 0 for none, or at least 1MiB"));
        }
        if !path.is_absolute() {
            values.problem("spool.path", format!("`{}` does not begin with /", path.display()));
        }
        Some(SpoolSettings { path, bytes_max })
    }
}

impl Settings {
    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> Settings {
        let ring_bytes = values.bytes("capture.ring_bytes", 1 << 16..=1 << 28);
        if !u32::is_power_of_two(ring_bytes) {
            values.problem("capture.ring_bytes", format!("{ring_bytes} is not a power of two"));
        }
        let mut pids = Vec::new();
        for text in values.list("capture.pid") {
            match text.parse() {
                Ok(pid) => pids.push(pid),
                Err(_) => values.problem("capture.pid", format!("`{text}` is not the id of a process")),
            }
        }
        let hooks = [("auto", None), ("fexit", Some(Hook::Fexit)), ("tracepoint", Some(Hook::Tracepoint))];
        let hook = values.choice("capture.hook", &hooks);
        let tls = values.choice("capture.tls", &[("off", false), ("on", true)]);
        let name_wait = values.duration_ms("names.wait_ms", 0..=10_000);
        let node = values.optional("node.name");
        let kubernetes =
            match values.choice("kubernetes.enabled", &[("auto", None), ("on", Some(true)), ("off", Some(false))]) {
                Some(enabled) => enabled,
                None => headwater_kubernetes::is_inside(),
            };
        if kubernetes && node.is_none() {
            values.problem(
                "node.name",
                "is needed to name workloads from Kubernetes: the node's name there (fieldRef spec.nodeName in the pod)",
            );
        }
        let memory_bytes = values.bytes::<u32>("memory.bytes", 1 << 20..=1 << 31) as usize;
        let cgroups = values.list("capture.cgroup").into_iter().map(Into::into).collect();
        Settings {
            kafka: KafkaSettings::read(values),
            spool: SpoolSettings::read(values),
            telemetry: TelemetrySettings::read(values),
            capture: CaptureOptions {
                cgroups,
                pids,
                ring_bytes,
                hook,
                tls,
                unix: values.choice("capture.unix", &[("off", false), ("on", true)]),
                processes_per_second_max: values.number("processes.per_second_max", 2..=100_000),
            },
            observer: ObserverOptions {
                node: node.clone().unwrap_or_else(|| kernel_text("hostname")),
                paths: values.choice("http.paths", &[("templated", Paths::Templated), ("full", Paths::Full)]),
                connections_max: values.number("capture.connections_max", 100..=10_000_000),
                memory_bytes,
                operations_max: values.number("http.operations_max", 1..=100_000),
                name_wait,
                spares_second_ends: values.choice("capture.ends", &[("one", true), ("both", false)]),
                watches_tls: tls,
                protocols: headwater_protocols::Options::default(),
            },
            naming: naming::Settings {
                roots: Roots {
                    docker: values.text("names.docker_root").into(),
                    podman: values.text("names.podman_root").into(),
                },
                cluster: values
                    .optional("cluster.name")
                    .unwrap_or_else(|| if kubernetes { "kubernetes".to_owned() } else { String::new() }),
                wait: name_wait,
                identities_interval: values.duration_ms("identities.interval_ms", 1000..=3_600_000),
                kubernetes: kubernetes.then(|| headwater_kubernetes::Options {
                    node: node.unwrap_or_default(),
                    labels: values.list("kubernetes.labels"),
                }),
            },
            kernel: kernel_text("osrelease"),
            sums: values.choice("capture.sums", &[("auto", true), ("off", false)]),
            cpu_budget_percent: values.number("capture.cpu_budget", 0..=100_000),
            sheds_requests: values.choice("capture.shed", &[("requests", true), ("detail", false)]),
            memory_bytes,
            poll_interval: values.duration_ms("capture.poll_ms", 1..=1000),
            flows_interval: values.duration_ms("flows.interval_ms", 500..=600_000),
            watermark_interval: values.duration_ms("watermark.interval_ms", 100..=10_000),
            flush_timeout: values.duration_ms("stop.flush_ms", 0..=600_000),
            // The bounds leave out zero.
            requests_per_second_max: NonZeroU32::new(values.number("requests.per_second_max", 1..=10_000_000))
                .unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// A text that the kernel gives of itself; `unknown` where it does not.
fn kernel_text(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}
