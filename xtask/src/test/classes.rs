//! How each test shares the machine with the others, and which are too slow for each run: the one place that says so.
//!
//! To mark a test, add a line to [`RULES`]; what is not named there follows from where it stands: unit tests compute,
//! tests in `tests` folders wait for real programs.

use std::time::Duration;

/// What a test asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Computes, and touches nothing outside of its process and temporary folders.
    Pure,
    /// Works with the real kernel, Kafka, browser, and waits for most of its time.
    Waits,
    /// Loads the machine or measures it: nothing else runs beside it.
    Alone,
}

/// What is said of the tests whose id starts with `prefix`; of several, the longest prefix counts.
pub struct Rule {
    pub prefix: &'static str,
    pub class: Class,
    /// Runs with `--all` only.
    pub slow: bool,
    /// What it takes on two cores: the longest begin first. No promise.
    pub typical_s: u64,
    pub limit: Duration,
    /// All that the rule names run in one process, one after the other: they share something that is dear to make.
    pub together: bool,
}

const LIMIT: Duration = Duration::from_secs(300);

const fn rule(prefix: &'static str, class: Class) -> Rule {
    Rule { prefix, class, slow: false, typical_s: 3, limit: LIMIT, together: false }
}

impl Rule {
    const fn takes(self, typical_s: u64) -> Self {
        Self { typical_s, ..self }
    }

    const fn at_most_minutes(self, minutes: u64) -> Self {
        Self { limit: Duration::from_secs(60 * minutes), ..self }
    }

    const fn together(self) -> Self {
        Self { together: true, ..self }
    }

    /// For `cargo xtask test --all` only.
    const fn slow(self) -> Self {
        Self { slow: true, ..self }
    }
}

/// An id is `package::program::name`; unit tests have no program.
pub const RULES: &[Rule] = &[
    // These in `tests` folders need nothing of the outside world.
    rule("protocols::postgres_real::", Class::Waits).takes(6),
    rule("protocols::mysql_real::", Class::Waits).takes(6),
    rule("protocols::memcached_real::", Class::Waits).takes(3),
    rule("protocols::mqtt_real::", Class::Waits).takes(3),
    rule("protocols::amqp_real::", Class::Waits).takes(20),
    // The first run fetches a client.
    rule("protocols::nats_real::", Class::Waits).takes(8),
    // The first run builds FerretDB.
    rule("protocols::mongodb_real::", Class::Waits).slow().takes(10).at_most_minutes(20),
    // The first run fetches Cassandra.
    rule("protocols::cassandra_real::", Class::Waits).slow().takes(50).at_most_minutes(10),
    rule("protocols::kafka_real::", Class::Waits).takes(20),
    rule("protocols::", Class::Pure),
    rule("schemas::", Class::Pure),
    rule("settings::", Class::Pure),
    rule("processors::exact::", Class::Pure),
    rule("manifests::", Class::Pure),
    // It fetches a kernel.
    rule("probe-loader::arm64::", Class::Waits).slow().takes(30),
    // Helm is built from its sources, which takes minutes.
    rule("manifests::chart::", Class::Pure).slow(),
    // Go fetches and compiles Grafana's schema, the first time for a minute.
    rule("manifests::grafana::", Class::Pure).slow().takes(20),
    // A Docker engine with images that are made first. All containers together get as much of the processors as one process beside them.
    rule("system-tests::containers::", Class::Alone).takes(300).at_most_minutes(20).slow(),
    // Each has a cluster of its own; the first one may have to build Kubernetes.
    rule("system-tests::kubernetes::", Class::Alone).takes(120).at_most_minutes(30).slow(),
    rule("system-tests::kubernetes::disturbances::", Class::Alone).takes(900).at_most_minutes(40).slow(),
    rule("system-tests::kubernetes::churn::", Class::Alone).takes(400).at_most_minutes(40).slow(),
    rule("system-tests::kubernetes::fleet::", Class::Alone).takes(600).at_most_minutes(40).slow(),
    rule("system-tests::metrics::", Class::Waits).takes(50),
    rule("system-tests::flows::", Class::Waits).takes(20),
    // Two threads that run at the same time.
    rule("system-tests::flows::requests::memory_that_is_absent", Class::Alone).takes(5),
    rule("system-tests::flows::requests::messages_that_are_absent", Class::Alone).takes(5),
    // The first run builds a collector of OpenTelemetry.
    rule("console::it::otlp::", Class::Waits).takes(30).at_most_minutes(20).slow(),
    // Each of its requests is late by more than what clients wait.
    rule("kafka::late::", Class::Waits).takes(50),
    rule("kafka::real_offsets::", Class::Waits).takes(50),
    // One live run is computed again by all of them.
    rule("cli::it::replay::", Class::Waits).together().takes(60),
    // Percentiles are compared with what the client measured.
    rule("system-tests::exact::exact::", Class::Alone).takes(30),
    // The neighbour's requests need room in the ring buffer.
    rule("system-tests::exact::hostile::", Class::Alone).takes(40),
    // So many connections end in it that the kernel leaves out runs of other tests' probes, too.
    rule("system-tests::exact::closing::a_reset_", Class::Alone).takes(30),
    // Large answers at full speed: an agent that the other tests leave no processor loses some of them, and counts them.
    rule("system-tests::exact::http2::", Class::Alone).takes(10),
    // As HTTP/2. Its program is built first, in release mode: the first time for a minute or two.
    rule("system-tests::exact::tls_rustls::", Class::Alone).takes(90).at_most_minutes(10),
    // It needs a load that the agent cannot take.
    rule("system-tests::exact::overload::", Class::Alone).takes(50),
    // Its connections must be hot.
    rule("system-tests::exact::sums::", Class::Alone).takes(25),
    rule("system-tests::exact::redis::what_is_added_up", Class::Alone).takes(40),
    // Servers that the first run builds or fetches.
    rule("system-tests::exact::mongodb::", Class::Waits).slow().takes(30).at_most_minutes(20),
    rule("system-tests::exact::cassandra::", Class::Waits).slow().takes(60).at_most_minutes(10),
    rule("system-tests::exact::tls_plaintext::", Class::Waits).takes(80),
    rule("system-tests::exact::tls_gnutls::", Class::Waits).takes(15),
    rule("system-tests::exact::tls_carried::", Class::Waits).takes(25),
    rule("system-tests::exact::tls_postgres::", Class::Waits).takes(15),
    rule("system-tests::exact::hosts::", Class::Waits).takes(25),
    rule("system-tests::exact::named::", Class::Waits).takes(10),
    rule("system-tests::exact::websocket::", Class::Waits).takes(15),
    // Go compiles its TLS, the first time for half a minute.
    rule("system-tests::exact::tls_go::", Class::Waits).takes(80),
    // The kernel takes some 200 ms to detach one probe beside other work, and there are seventy.
    rule("system-tests::exact::tls_go::a_hundred_times", Class::Waits).slow().takes(900).at_most_minutes(40),
    rule("probe-loader::go::tests::", Class::Waits).takes(10),
    rule("system-tests::exact::tls::both_sides_tell_whether", Class::Waits).slow().takes(15),
    rule("system-tests::exact::hot::", Class::Alone).slow().takes(40),
    rule("system-tests::exact::hot::ten_million", Class::Alone).slow().takes(400).at_most_minutes(20),
    // Minutes of load, for what happens once in ten thousand connections.
    rule("system-tests::exact::soak::", Class::Alone).slow().takes(150),
    // The first run fetches three readers of Parquet, 160 MB.
    rule("cli::it::export::duckdb_pandas_and_polars", Class::Waits).slow().takes(20),
    // The demo's windows must be shown within seconds of their end.
    rule("cli::it::up_demo::", Class::Alone).takes(120),
    rule("cli::it::up_demo::a_service_that_hangs", Class::Alone).slow().takes(200),
    rule("system-tests::chaos::kafka_stopped_for_a_minute", Class::Waits).takes(150).at_most_minutes(8),
    rule("system-tests::chaos::any_process_killed", Class::Waits).takes(150).at_most_minutes(8),
    rule("system-tests::chaos::", Class::Waits).takes(40),
    rule("system-tests::consumers::", Class::Waits).takes(30),
    // The first run fetches a worker of Kafka Connect, 50 MB.
    rule("system-tests::consumers::connect::", Class::Waits).takes(45),
    // The first run fetches Kafka Streams, 100 MB.
    rule("system-tests::consumers::streams::", Class::Waits).slow().takes(40),
    rule("system-tests::secrets::", Class::Waits).takes(20),
    rule("system-tests::faults::bad_records::", Class::Waits).takes(80),
    rule("system-tests::faults::full_disk::", Class::Waits).takes(60),
    // Processors look for new partitions now and then, and windows pass.
    rule("system-tests::faults::partitions_added::", Class::Waits).slow().takes(25),
    // A million records, seven times.
    rule("system-tests::faults::instances::", Class::Waits).slow().takes(400).at_most_minutes(20),
    rule("system-tests::faults::late_kafka::", Class::Waits).takes(70),
    rule("system-tests::faults::spool::", Class::Waits).takes(70),
    // Kafka is away for ten minutes.
    rule("system-tests::faults::spool::ten_minutes::", Class::Waits).slow().takes(700).at_most_minutes(20),
    // They compare what the machine has before and after; the first one may have to build Kubernetes.
    rule("xtask::kubernetes::", Class::Alone).slow().takes(60).at_most_minutes(25),
    // The first run fetches the operators' definitions.
    rule("xtask::kubernetes::operators::", Class::Alone).slow().takes(60).at_most_minutes(25),
    rule("xtask::kubernetes::dev::", Class::Alone).slow().takes(240).at_most_minutes(25),
];

/// What only `--all` runs, beside the tests that a rule calls slow.
pub struct Extra {
    pub name: &'static str,
    pub work: Work,
    pub class: Class,
    pub variables: &'static [(&'static str, &'static str)],
    pub limit: Duration,
}

/// What an [`Extra`] does.
pub enum Work {
    /// A test that each run has, once more with other variables.
    Again(&'static str),
    /// A test that each run has, on another kernel in an emulated machine: the kernel's release and the test.
    InGuest(&'static str, &'static str),
    /// A command, in the root of the repository.
    Command(&'static [&'static str]),
}

const EXACT: &str = "system-tests::exact::exact::ten_thousand_requests_are_seen_exactly";
const URING: &str = "system-tests::exact::uring::what_completes_behind_another_call_is_not_read_from_its_buffer";
const IDLE: &str = "system-tests::exact::idle::with_nothing_to_observe_nothing_is_published_but_signs_of_life";
const NAT: &str = "system-tests::exact::nat::both_sides_of_a_translated_connection_carry_one_id_and_opposite_roles";
const PROCESSES: &str = "system-tests::exact::processes::what_happens_to_processes_is_told_once_and_nothing_else";
const DNS: &str = "system-tests::exact::dns::names_asked_over_udp_are_seen_exactly";
const UNIX: &str = "system-tests::exact::unix::who_speaks_over_unix_sockets_is_told_with_all_bytes";
const TLS: &str = "system-tests::exact::tls_plaintext::requests_over_tls_are_seen_exactly_beside_those_in_clear_text";
/// What the exact test does in an emulated machine, so that it takes minutes, and what it expects there.
const FEW: &[(&str, &str)] = &[("EXACT_REQUESTS", "1000"), ("EXACT_HOOK", "fexit"), ("EXACT_CLIENT_US", "15000")];
/// Processes of each kind in an emulated machine.
const FEW_PROCESSES: &[(&str, &str)] = &[("PROCESSES_EACH", "4")];
const FEW_NAMES: &[(&str, &str)] = &[("DNS_NAMES", "50"), ("EXACT_HOOK", "fexit")];
const FEW_UNIX: &[(&str, &str)] = &[("UNIX_EACH", "4"), ("EXACT_HOOK", "fexit")];
const GUEST_LIMIT: Duration = Duration::from_secs(1200);
const RUSTLS: &str = "system-tests::exact::tls_rustls::requests_of_rustls_are_seen_exactly_beside_those_in_clear_text";
/// Most of it is for the build of its C.
const RUSTLS_LIMIT: Duration = Duration::from_secs(900);
const CHAOS: &str = "system-tests::chaos::any_process_killed_at_ten_random_moments";
const CHAOS_LIMIT: Duration = Duration::from_secs(480);
/// It waits five minutes more for the last windows, and computes all of them once more.
const CHAOS_LONG_LIMIT: Duration = Duration::from_secs(900);
/// Half of a step's limit is for the build.
const FUZZ_LIMIT: Duration = Duration::from_secs(900);

/// A target of cargo-fuzz in a folder, for so many seconds.
macro_rules! fuzz {
    ($name:literal, $folder:literal, $target:literal, $seconds:literal) => {
        Extra {
            name: $name,
            work: Work::Command(&[
                "cargo",
                "fuzz",
                "run",
                "--fuzz-dir",
                $folder,
                $target,
                "--",
                $seconds,
                "-timeout=10",
                "-rss_limit_mb=1024",
            ]),
            class: Class::Pure,
            // The sanitizers' flags are not stable; the code is compiled with the same compiler all the same.
            variables: &[("RUSTC_BOOTSTRAP", "1")],
            limit: FUZZ_LIMIT,
        }
    };
}

pub const EXTRAS: &[Extra] = &[
    Extra {
        name: "exact on Linux 6.1",
        work: Work::InGuest("6.1", EXACT),
        class: Class::Alone,
        variables: FEW,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "exact on Linux 6.12",
        work: Work::InGuest("6.12", EXACT),
        class: Class::Alone,
        variables: FEW,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "io_uring on Linux 6.1",
        work: Work::InGuest("6.1", URING),
        class: Class::Alone,
        variables: FEW,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "idle on Linux 6.1",
        work: Work::InGuest("6.1", IDLE),
        class: Class::Alone,
        variables: FEW,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "processes on Linux 6.1",
        work: Work::InGuest("6.1", PROCESSES),
        class: Class::Alone,
        variables: FEW_PROCESSES,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "processes on Linux 6.12",
        work: Work::InGuest("6.12", PROCESSES),
        class: Class::Alone,
        variables: FEW_PROCESSES,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "DNS on Linux 6.1",
        work: Work::InGuest("6.1", DNS),
        class: Class::Alone,
        variables: FEW_NAMES,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "DNS on Linux 6.12",
        work: Work::InGuest("6.12", DNS),
        class: Class::Alone,
        variables: FEW_NAMES,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "Unix sockets on Linux 6.1",
        work: Work::InGuest("6.1", UNIX),
        class: Class::Alone,
        variables: FEW_UNIX,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "Unix sockets on Linux 6.12",
        work: Work::InGuest("6.12", UNIX),
        class: Class::Alone,
        variables: FEW_UNIX,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "address translation on Linux 6.1",
        work: Work::InGuest("6.1", NAT),
        class: Class::Alone,
        variables: FEW,
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "chaos on Linux 6.1",
        work: Work::InGuest("6.1", CHAOS),
        class: Class::Alone,
        variables: &[("CHAOS_SPARES_KAFKA", "1"), ("CHAOS_SLOWNESS", "4"), ("CHAOS_HOOK", "fexit")],
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "OpenSSL on Linux 6.1",
        work: Work::InGuest("6.1", TLS),
        class: Class::Alone,
        variables: &[("TLS_ROUNDS", "25")],
        limit: GUEST_LIMIT,
    },
    Extra {
        name: "rustls with aws-lc-rs",
        work: Work::Again(RUSTLS),
        class: Class::Waits,
        variables: &[("TLS_RUSTLS_FEATURES", "aws-lc-rs")],
        limit: RUSTLS_LIMIT,
    },
    Extra {
        name: "chaos with seed 11",
        work: Work::Again(CHAOS),
        class: Class::Waits,
        variables: &[("CHAOS_SEED", "11")],
        limit: CHAOS_LIMIT,
    },
    Extra {
        name: "chaos with seed 42",
        work: Work::Again(CHAOS),
        class: Class::Waits,
        variables: &[("CHAOS_SEED", "42")],
        limit: CHAOS_LIMIT,
    },
    Extra {
        name: "five minutes of harm to three brokers and two instances of each mode",
        work: Work::Command(&["target/debug/oracle-chaos", "5", "2026"]),
        class: Class::Alone,
        variables: &[],
        limit: CHAOS_LONG_LIMIT,
    },
    fuzz!("five minutes of fuzzing http1", "producer-agent/protocols/fuzz", "http1", "-max_total_time=300"),
    fuzz!("two minutes of fuzzing http2", "producer-agent/protocols/fuzz", "http2", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing cassandra", "producer-agent/protocols/fuzz", "cassandra", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing dns", "producer-agent/protocols/fuzz", "dns", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing memcached", "producer-agent/protocols/fuzz", "memcached", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing mqtt", "producer-agent/protocols/fuzz", "mqtt", "-max_total_time=120"),
    fuzz!(
        "two minutes of fuzzing plaintext under TLS",
        "producer-agent/protocols/fuzz",
        "plaintext",
        "-max_total_time=120"
    ),
    fuzz!("two minutes of fuzzing amqp", "producer-agent/protocols/fuzz", "amqp", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing nats", "producer-agent/protocols/fuzz", "nats", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing websocket", "producer-agent/protocols/fuzz", "websocket", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing tls", "producer-agent/protocols/fuzz", "tls", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing mongodb", "producer-agent/protocols/fuzz", "mongodb", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing mysql", "producer-agent/protocols/fuzz", "mysql", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing postgres", "producer-agent/protocols/fuzz", "postgres", "-max_total_time=120"),
    fuzz!("two minutes of fuzzing redis", "producer-agent/protocols/fuzz", "redis", "-max_total_time=120"),
    fuzz!("a minute of fuzzing the spool's files", "producer-agent/spool/fuzz", "files", "-max_total_time=60"),
];

/// The rule for one test; `is_unit` for those that stand in the sources.
pub fn rule_of(id: &str, is_unit: bool) -> Rule {
    let named = RULES.iter().filter(|rule| id.starts_with(rule.prefix)).max_by_key(|rule| rule.prefix.len());
    let class = if is_unit { Class::Pure } else { Class::Waits };
    named.map_or(rule("", class), |rule| Rule { ..*rule })
}
