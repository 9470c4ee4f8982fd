//! The table of what Headwater needs of a machine, one line a need: what, how it is checked, how it is had.
//!
//! To add a need, add a line here; `setup.rs` does the rest. All checks together must stay far below a second.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::{cluster, run};

/// What a need is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Build,
    /// Running the agent.
    Capture,
    /// Running Kafka and the registry as children.
    Stack,
    Demo,
    Test,
    Bench,
    /// What only `cargo xtask test --all` runs.
    Slow,
    /// A Kubernetes cluster on this machine.
    Cluster,
}

impl Purpose {
    pub const ALL: &[Purpose] = &[
        Purpose::Build,
        Purpose::Capture,
        Purpose::Stack,
        Purpose::Demo,
        Purpose::Test,
        Purpose::Bench,
        Purpose::Slow,
        Purpose::Cluster,
    ];
    /// What `cargo xtask test` needs without `--all`.
    pub const EACH_RUN: &[Purpose] = &[Purpose::Build, Purpose::Capture, Purpose::Stack, Purpose::Demo, Purpose::Test];
}

pub struct Need {
    pub what: &'static str,
    pub purpose: Purpose,
    pub is_met: fn() -> bool,
    /// Debian's packages, preferred where apt offers them.
    pub apt: &'static [&'static str],
    /// The command that helps where apt does not.
    pub command: &'static [&'static str],
    pub command_needs_root: bool,
    /// What to do by hand where neither helps.
    pub hint: &'static str,
}

const BPF_LINKER: &str = "0.10.1";
const CARGO_FUZZ: &str = "0.13.2";
/// The oldest compiler that all crates of the probes and of their build take.
const PROBE_COMPILER_MINOR: u32 = 91;
const JAVA_MAJOR: u32 = 17;
/// The oldest that builds Kubernetes.
const GO_MINOR: u32 = 24;
const HELM_KUBERNETES: &str =
    "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34";
const BROWSER_TEST: &str = "console/tests/browser";
const READERS: &str = "docs/topics/readers";

pub const NEEDS: &[Need] = &[
    package(
        "a C compiler and make (librdkafka is built from source)",
        Purpose::Build,
        || all(&["cc", "c++", "make"]),
        &["build-essential"],
        "install a C and C++ compiler and make",
    ),
    package(
        "pkg-config and OpenSSL's headers",
        Purpose::Build,
        || run::succeeds("pkg-config", &["--exists", "openssl"]),
        &["pkg-config", "libssl-dev"],
        "install pkg-config and OpenSSL's development files",
    ),
    Need {
        command: &["rustup", "component", "add", "rust-src"],
        ..package(
            "a compiler with its library's sources, for the kernel probes",
            Purpose::Build,
            probe_compiler,
            &["rustc-web", "rust-web-src"],
            "install the sources of Rust's standard library",
        )
    },
    Need {
        command: &["cargo", "install", "bpf-linker", "--version", BPF_LINKER, "--locked"],
        ..package(
            "bpf-linker 0.10.1",
            Purpose::Build,
            bpf_linker,
            &[],
            "cargo install bpf-linker --version 0.10.1 --locked",
        )
    },
    package(
        "a kernel that describes its own types (BTF)",
        Purpose::Capture,
        || Path::new("/sys/kernel/btf/vmlinux").exists(),
        &[],
        "run a kernel with CONFIG_DEBUG_INFO_BTF=y: those of Debian 12, Ubuntu 22.04, Fedora 38 and later have it",
    ),
    Need {
        command: &["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"],
        command_needs_root: true,
        ..package(
            "tracefs, mounted at /sys/kernel/tracing",
            Purpose::Capture,
            || is_mounted("/sys/kernel/tracing", "tracefs"),
            &[],
            "mount -t tracefs tracefs /sys/kernel/tracing",
        )
    },
    Need {
        command: &["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"],
        command_needs_root: true,
        ..package(
            "bpffs, mounted at /sys/fs/bpf",
            Purpose::Capture,
            || is_mounted("/sys/fs/bpf", "bpf"),
            &[],
            "mount -t bpf bpf /sys/fs/bpf",
        )
    },
    package(
        "Java 17 or later",
        Purpose::Stack,
        java,
        &["default-jre-headless"],
        "install Java 17 or later, or set JAVA_HOME to it",
    ),
    package(
        "Maven, which fetches Kafka and the registry once",
        Purpose::Stack,
        || all(&["mvn"]),
        &["maven"],
        "install Maven 3",
    ),
    package("nginx", Purpose::Demo, || all(&["nginx"]), &["nginx"], "install nginx"),
    package("Redis", Purpose::Demo, || all(&["redis-server"]), &["redis-server"], "install redis-server"),
    package("PostgreSQL", Purpose::Demo, postgres, &["postgresql"], "install the PostgreSQL server"),
    package(
        "Chromium, for the console's test",
        Purpose::Test,
        || all(&["chromium"]),
        &["chromium"],
        "install chromium",
    ),
    package(
        "Node, for the console's test",
        Purpose::Test,
        || all(&["node", "npm"]),
        &["nodejs", "npm"],
        "install Node 18 or later with npm",
    ),
    Need {
        command: &["npm", "ci", "--no-audit", "--no-fund", "--prefix", BROWSER_TEST],
        ..package(
            "the packages of the console's test",
            Purpose::Test,
            || packages_of_node(BROWSER_TEST),
            &[],
            "npm ci --prefix console/tests/browser",
        )
    },
    Need {
        command: &["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", READERS],
        ..package(
            "the packages of the reader in JavaScript",
            Purpose::Test,
            || packages_of_node(READERS),
            &[],
            "npm ci --ignore-scripts --prefix docs/topics/readers",
        )
    },
    package(
        "what the reader in Python is made of",
        Purpose::Test,
        || {
            ["confluent_kafka", "avro"]
                .iter()
                .all(|name| Path::new("/usr/lib/python3/dist-packages").join(name).exists())
        },
        &["python3-confluent-kafka", "python3-avro"],
        "install Debian's python3-confluent-kafka and python3-avro",
    ),
    package(
        "psycopg 3, a driver of PostgreSQL that pipelines",
        Purpose::Test,
        || Path::new("/usr/lib/python3/dist-packages/psycopg").exists(),
        &["python3-psycopg"],
        "install Debian's python3-psycopg",
    ),
    package(
        "asyncpg, a driver of PostgreSQL that uses asyncio's TLS",
        Purpose::Test,
        || Path::new("/usr/lib/python3/dist-packages/asyncpg").exists(),
        &["python3-asyncpg"],
        "install Debian's python3-asyncpg",
    ),
    package(
        "websockets, clients and servers of WebSocket in Python",
        Purpose::Test,
        || Path::new("/usr/lib/python3/dist-packages/websockets").exists(),
        &["python3-websockets"],
        "install Debian's python3-websockets",
    ),
    package(
        "MariaDB with its client, which the tests ask",
        Purpose::Test,
        || all(&["mariadb", "mariadb-admin", "mariadb-install-db"]) && Path::new("/usr/sbin/mariadbd").exists(),
        &["mariadb-server", "mariadb-client"],
        "install the MariaDB server and its client",
    ),
    package(
        "drivers of MySQL, one of which prepares statements",
        Purpose::Test,
        || Path::new("/usr/lib/python3/dist-packages/pymysql").exists() && mariadb_driver(),
        &["python3-pymysql", "libdbd-mariadb-perl"],
        "install Debian's python3-pymysql and libdbd-mariadb-perl",
    ),
    package(
        "Memcached, which the tests ask",
        Purpose::Test,
        || all(&["memcached"]),
        &["memcached"],
        "install Memcached",
    ),
    package(
        "drivers of Memcached, in text and in binary",
        Purpose::Test,
        || {
            ["pymemcache", "bmemcached"]
                .iter()
                .all(|name| Path::new("/usr/lib/python3/dist-packages").join(name).exists())
        },
        &["python3-pymemcache", "python3-binary-memcached"],
        "install Debian's python3-pymemcache and python3-binary-memcached",
    ),
    package(
        "Mosquitto, which the tests ask",
        Purpose::Test,
        || Path::new("/usr/sbin/mosquitto").exists(),
        &["mosquitto"],
        "install Mosquitto",
    ),
    package(
        "clients and a driver of MQTT",
        Purpose::Test,
        || all(&["mosquitto_pub", "mosquitto_sub"]) && Path::new("/usr/lib/python3/dist-packages/paho").exists(),
        &["mosquitto-clients", "python3-paho-mqtt"],
        "install Debian's mosquitto-clients and python3-paho-mqtt",
    ),
    package(
        "RabbitMQ, which the tests ask",
        Purpose::Test,
        || all(&["epmd"]) && Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists(),
        &["rabbitmq-server"],
        "install Debian's rabbitmq-server",
    ),
    package(
        "clients of AMQP",
        Purpose::Test,
        || all(&["amqp-publish"]) && Path::new("/usr/lib/python3/dist-packages/pika").exists(),
        &["amqp-tools", "python3-pika"],
        "install Debian's amqp-tools and python3-pika",
    ),
    package(
        "drivers of MongoDB and Cassandra",
        Purpose::Slow,
        || ["pymongo", "cassandra"].iter().all(|name| Path::new("/usr/lib/python3/dist-packages").join(name).exists()),
        &["python3-pymongo", "python3-cassandra"],
        "install Debian's python3-pymongo and python3-cassandra",
    ),
    package(
        "nats-server, which the tests ask",
        Purpose::Test,
        || Path::new("/usr/sbin/nats-server").exists(),
        &["nats-server"],
        "install nats-server",
    ),
    package(
        "the client of C for NATS",
        Purpose::Test,
        || Path::new("/usr/include/nats/nats.h").exists(),
        &["libnats-dev"],
        "install the headers of NATS's client of C",
    ),
    package(
        "dnsmasq, which the tests ask",
        Purpose::Test,
        || Path::new("/usr/sbin/dnsmasq").exists(),
        &["dnsmasq-base"],
        "install dnsmasq",
    ),
    package("dig, a client of DNS", Purpose::Test, || all(&["dig"]), &["bind9-dnsutils"], "install dig"),
    package(
        "another client of Kafka",
        Purpose::Test,
        || Path::new("/usr/lib/python3/dist-packages/kafka").exists(),
        &["python3-kafka"],
        "install Debian's python3-kafka",
    ),
    package(
        "a compiler of Java, for Kafka's own client",
        Purpose::Test,
        || all(&["javac"]),
        &["default-jdk-headless"],
        "install a JDK 17 or later",
    ),
    package(
        "GnuTLS's client and server, and a program that uses it",
        Purpose::Test,
        || all(&["gnutls-cli", "gnutls-serv", "wget"]),
        &["gnutls-bin", "wget"],
        "install Debian's gnutls-bin and wget",
    ),
    package(
        "Apache httpd, which upgrades to HTTP/2 in clear text",
        Purpose::Test,
        || Path::new("/usr/lib/apache2/modules/mod_http2.so").exists(),
        &["apache2-bin"],
        "install Debian's apache2-bin",
    ),
    package(
        "Tinyproxy, through which clients of HTTP go",
        Purpose::Test,
        || all(&["tinyproxy"]),
        &["tinyproxy-bin"],
        "install Debian's tinyproxy-bin",
    ),
    package("ip, for network namespaces", Purpose::Test, || all(&["ip"]), &["iproute2"], "install iproute2"),
    package(
        "nft and iptables, for address translation",
        Purpose::Test,
        || all(&["nft", "iptables"]),
        &["nftables", "iptables"],
        "install nftables and iptables",
    ),
    package("kcat, to read topics as other programs do", Purpose::Test, || all(&["kcat"]), &["kcat"], "install kcat"),
    Need {
        command: &["cargo", "install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked"],
        ..package(
            "cargo-fuzz 0.13.2",
            Purpose::Slow,
            || run::output("cargo", &["fuzz", "--version"]).is_some_and(|text| text.contains(CARGO_FUZZ)),
            &[],
            "cargo install cargo-fuzz --version 0.13.2 --locked",
        )
    },
    Need {
        command: &["go", "install", "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"],
        ..package(
            "Kustomize 5, or a kubectl that has it",
            Purpose::Test,
            kustomize,
            &[],
            "install kubectl 1.30 or later, or with Go: go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1",
        )
    },
    Need {
        // Without the version that its releases are built for it takes every cluster for one of 2020.
        command: &["go", "install", "-ldflags", HELM_KUBERNETES, "helm.sh/helm/v3/cmd/helm@v3.19.0"],
        ..package("Helm 3", Purpose::Slow, || installed_by_go("helm"), &[], "install Helm 3")
    },
    package(
        "a Docker engine with compose, which the tests start by themselves",
        Purpose::Slow,
        || {
            all(&["dockerd", "docker"])
                && (all(&["docker-compose"]) || run::succeeds("docker", &["compose", "version"]))
        },
        &["docker.io", "docker-compose"],
        "install Docker and docker compose",
    ),
    package(
        "debootstrap, which makes the base of images",
        Purpose::Slow,
        || all(&["debootstrap"]),
        &["debootstrap"],
        "install debootstrap",
    ),
    package(
        "Prometheus and promtool, for metrics and dashboards",
        Purpose::Test,
        || all(&["prometheus", "promtool"]),
        &["prometheus"],
        "install Prometheus 2.42 or later",
    ),
    package(
        "Prometheus's Alertmanager, for alerts",
        Purpose::Test,
        || all(&["prometheus-alertmanager"]),
        &["prometheus-alertmanager"],
        "install Alertmanager 0.25 or later as prometheus-alertmanager",
    ),
    package("wrk, the load generator of the benchmarks", Purpose::Bench, || all(&["wrk"]), &["wrk"], "install wrk"),
    package(
        "h2load, which calls gRPC in the benchmarks",
        Purpose::Bench,
        || all(&["h2load"]),
        &["nghttp2-client"],
        "install h2load (nghttp2)",
    ),
    package(
        "Redis with its benchmark, which the benchmarks observe",
        Purpose::Bench,
        || all(&["redis-server", "redis-benchmark"]),
        &["redis-server", "redis-tools"],
        "install Redis",
    ),
    package(
        "QEMU and the tools for its first file system, for tests on other kernels",
        Purpose::Slow,
        || all(&["qemu-system-x86_64", "depmod", "xz"]) && cluster::has_static_busybox(),
        &["qemu-system-x86", "kmod", "xz-utils", "busybox-static"],
        "install qemu-system-x86_64, depmod and xz, and a busybox that needs no shared libraries as /bin/busybox",
    ),
    package(
        "Go 1.24 or later, which builds Kubernetes, a collector of OpenTelemetry and FerretDB once",
        Purpose::Cluster,
        go,
        &[],
        "install Go 1.24 or later: https://go.dev/doc/install",
    ),
    package("etcd", Purpose::Cluster, || all(&["etcd"]), &["etcd-server"], "install etcd 3.4 or later"),
    package(
        "containerd and runc",
        Purpose::Cluster,
        || all(&["containerd", "containerd-shim-runc-v2", "ctr", "runc"]),
        &["containerd", "runc"],
        "install containerd 1.6 or later and runc",
    ),
    package(
        "the CNI plugins ptp, host-local, loopback and portmap",
        Purpose::Cluster,
        cni_plugins,
        &["containernetworking-plugins"],
        "install the CNI plugins into /opt/cni/bin",
    ),
    package(
        "ip, nft and iptables, for the network of nodes",
        Purpose::Cluster,
        || all(&["ip", "nft", "iptables"]),
        &["iproute2", "nftables", "iptables"],
        "install iproute2, nftables and iptables",
    ),
    package("openssl, for the cluster's keys", Purpose::Cluster, || all(&["openssl"]), &["openssl"], "install openssl"),
    package(
        "Python 3 with pip, which fetches a newer Java for the definitions of Strimzi",
        Purpose::Cluster,
        || run::succeeds("python3", &["-m", "pip", "--version"]),
        &["python3-pip"],
        "install Python 3.10 or later with pip",
    ),
    package(
        "a static busybox, for the images of tests",
        Purpose::Cluster,
        cluster::has_static_busybox,
        &["busybox-static"],
        "install a busybox that needs no shared libraries as /bin/busybox",
    ),
];

/// A need that Debian's packages meet; the other kinds name their command on top.
const fn package(
    what: &'static str,
    purpose: Purpose,
    is_met: fn() -> bool,
    apt: &'static [&'static str],
    hint: &'static str,
) -> Need {
    Need { what, purpose, is_met, apt, command: &[], command_needs_root: false, hint }
}

fn all(programs: &[&str]) -> bool {
    programs.iter().all(|program| run::is_installed(program))
}

/// The same search as in the build script of the probe loader.
fn probe_compiler() -> bool {
    let chosen = env::var("HEADWATER_PROBE_RUSTC").ok();
    chosen.into_iter().chain(["rustc".to_owned(), "/usr/bin/rustc".to_owned()]).any(|rustc| {
        let sysroot = run::output(&rustc, &["--print", "sysroot"]).unwrap_or_default();
        let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists();
        let version = || run::output(&rustc, &["--version"]).unwrap_or_default();
        sources && numbers(&version()).get(1).is_some_and(|&minor| minor >= PROBE_COMPILER_MINOR)
    })
}

fn bpf_linker() -> bool {
    run::output("bpf-linker", &["--version"]).is_some_and(|text| text.split_whitespace().any(|word| word == BPF_LINKER))
}

fn is_mounted(folder: &str, kind: &str) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq([folder, kind]))
}

fn java() -> bool {
    let java = env::var("JAVA_HOME").map_or_else(|_| "java".to_owned(), |home| format!("{home}/bin/java"));
    run::output(&java, &["--version"])
        .and_then(|text| numbers(&text).first().copied())
        .is_some_and(|major| major >= JAVA_MAJOR)
}

/// Debian keeps the server's programs out of the PATH.
/// Debian keeps it in a folder of the version of Perl.
fn mariadb_driver() -> bool {
    run::succeeds("perl", &["-MDBD::MariaDB", "-e", "1"])
}

fn postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/postgres").exists()) || all(&["postgres", "initdb"])
}

fn go() -> bool {
    let version = run::output("go", &["env", "GOVERSION"]).unwrap_or_default();
    numbers(version.trim().trim_start_matches("go")).get(1).is_some_and(|&minor| minor >= GO_MINOR)
}

fn cni_plugins() -> bool {
    let has_all = |folder: &str| {
        ["ptp", "host-local", "loopback", "portmap"].iter().all(|name| Path::new(folder).join(name).exists())
    };
    cluster::CNI_FOLDERS.iter().any(|folder| has_all(folder))
}

/// kubectl before 1.21 has a Kustomize of 2018.
fn kustomize() -> bool {
    let text = run::output("kubectl", &["version", "--client"]).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("Kustomize Version: v")).unwrap_or_default();
    installed_by_go("kustomize") || numbers(version).first().is_some_and(|&major| major >= 5)
}

/// On the PATH, or where `go install` puts it.
fn installed_by_go(program: &str) -> bool {
    let go = env::var_os("GOPATH").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join("go")));
    run::is_installed(program) || go.is_some_and(|go| go.join("bin").join(program).is_file())
}

/// True when what is installed is as new as the lock file.
fn packages_of_node(folder: &str) -> bool {
    let folder = run::root().join(folder);
    let modified = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    match (modified("package-lock.json"), modified("node_modules/.package-lock.json")) {
        (Some(wanted), Some(installed)) => installed >= wanted,
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// The numbers of the first version in a text: `rustc 1.96.0 (x)` gives 1, 96, 0.
fn numbers(text: &str) -> Vec<u32> {
    let digits = |c: char| c.is_ascii_digit();
    let version = text.split_whitespace().find(|word| word.starts_with(digits)).unwrap_or_default();
    version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(numbers("rustc 1.96.0 (ac68faa20 2025-01-01) (built from a source tarball)"), [1, 96, 0]);
        assert_eq!(numbers("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime"), [17, 0, 15]);
        assert_eq!(numbers("openjdk 21-ea 2023-09-19"), [21]);
        assert!(numbers("nothing").is_empty());
    }

    #[test]
    fn every_need_says_how_it_can_be_met() {
        for need in NEEDS {
            assert!(!need.what.is_empty() && !need.hint.is_empty(), "{} has no hint", need.what);
        }
    }

    #[test]
    fn packages_of_node_are_where_their_folders_are() {
        // A move of the folder would make `packages_of_node` believe that nothing is to be installed.
        for (folder, script) in [(BROWSER_TEST, "page.test.js"), (READERS, "read.mjs")] {
            for file in ["package.json", "package-lock.json", script] {
                let path = run::root().join(folder).join(file);
                assert!(path.exists(), "{} is not there", path.display());
            }
        }
    }
}
