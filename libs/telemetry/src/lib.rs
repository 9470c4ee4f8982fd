//! Logs, metrics, health and what a process costs: the same for every program.
#![deny(missing_docs)]

mod endpoint;
mod health;
mod metric;
mod process;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use headwater_settings::{Key, Values};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

pub use endpoint::health_routes;
pub use health::{Health, Part};
pub use metric::{Kind, Metric, Unit, markdown};
pub use process::{METRICS as PROCESS_METRICS, cpu_ms, rss_bytes};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Settings of this library.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// What is logged: a level, or a filter by module.
    pub log_level: String,
    /// One JSON object a line instead of text.
    pub log_json: bool,
    /// Where metrics and health are served; nowhere if absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Variables of the environment that are no settings although they start like one.
    ignored_variables: Vec<String>,
}

impl TelemetrySettings {
    /// The keys of these settings.
    pub const KEYS: &'static [Key] = &[
        Key::new(
            "log.level",
            "info",
            "What to log: error, warn, info, debug, trace, or a filter such as info,headwater_kafka=debug",
        ),
        Key::new("log.json", "false", "Logs one JSON object a line"),
        Key::optional(
            "metrics.listen",
            "Address of /metrics for Prometheus, /livez and /readyz, such as 127.0.0.1:9464",
        ),
    ];

    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> TelemetrySettings {
        let metrics_listen = values.optional("metrics.listen").and_then(|text| {
            text.parse()
                .map_err(|_| values.problem("metrics.listen", format!("`{text}` is not an address and port")))
                .ok()
        });
        let log_level = values.text("log.level");
        if !is_filter(&log_level) {
            let levels = LEVELS.join(", ");
            values.problem("log.level", format!("`{log_level}` is neither one of {levels} nor a filter"));
        }
        let ignored_variables = values.ignored().to_vec();
        TelemetrySettings { log_level, log_json: values.flag("log.json"), metrics_listen, ignored_variables }
    }

    /// Starts logging to standard error, and serving health and metrics: those of `table`, and those of every process. Call it once.
    pub fn start(&self, program: &str, table: &[Metric], health: &Health) -> Result<()> {
        let filter = EnvFilter::try_new(&self.log_level)
            .with_context(|| format!("log.level `{}` is not a level or filter", self.log_level))?;
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal() && colours_wanted());
        if self.log_json {
            std::panic::set_hook(Box::new(|panic| report_fatal("panic", panic, true)));
        }
        let started = if self.log_json { logs.json().try_init() } else { logs.with_target(false).try_init() };
        started.map_err(|error| anyhow::anyhow!("start logging: {error}"))?;
        if !self.ignored_variables.is_empty() {
            let variables = self.ignored_variables.join(" ");
            tracing::debug!(variables, "links to Services of Kubernetes are no settings and were left alone");
        }
        if let Some(address) = self.metrics_listen {
            endpoint::serve(address, program, table, health.clone())?;
        }
        Ok(())
    }
}

/// Tells the error that ends a program on standard error: as one more line of the log where that is JSON, else as text.
///
/// It needs no logging to have been started, so that wrong settings are told in the same form.
pub fn report_fatal(program: &str, error: impl Display, log_json: bool) {
    let line = if log_json { json_line(program, &error.to_string()) } else { format!("{program}: {error}") };
    // There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// In the form of the other lines of the log.
fn json_line(program: &str, message: &str) -> String {
    let mut timestamp = String::new();
    // Writing to a text does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let fields = serde_json::json!({ "message": message });
    serde_json::json!({ "timestamp": timestamp, "level": "ERROR", "fields": fields, "target": program }).to_string()
}

/// See no-color.org; a file gets no colours either way.
fn colours_wanted() -> bool {
    let asked_not = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !asked_not && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A single word that is no level would be taken for the name of a module, and then nothing else would be logged.
fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| LEVELS.contains(&word.trim().to_lowercase().as_str());
    text.split(',').all(|part| part.contains(['=', '[']) || is_level(part)) && EnvFilter::try_new(text).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn a_taken_port_is_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = endpoint::serve(taken.local_addr().unwrap(), "test", &[], Health::default()).unwrap_err();
        assert!(error.to_string().contains("set metrics.listen to a free port"), "{error}");
    }

    #[test]
    fn the_documentation_lists_the_metrics_of_every_process() {
        headwater_testing::assert_section("docs/metrics.md", "every program", &markdown(PROCESS_METRICS));
    }

    #[test]
    fn what_is_served_is_what_the_table_and_the_parts_say() {
        const SEEN: Metric = Metric::counter("test_seen_total", Unit::Count, &["topic"], "Things that were seen");
        const QUEUE: Metric = Metric::gauge("test_queue_bytes", Unit::Bytes, &[], "Bytes that wait");
        let health = Health::default();
        let at = "127.0.0.1:0".parse().unwrap();
        let address = endpoint::serve(at, "test", &[SEEN, QUEUE], health.clone()).unwrap();
        let get = |path: &str| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
            std::io::read_to_string(stream).unwrap()
        };
        SEEN.add(&["flows"], 2);
        SEEN.add(&["flows"], 1);
        QUEUE.set(&[], 12.0);
        let answer = get("/metrics");
        for line in [
            "# HELP test_seen_total Things that were seen",
            "# TYPE test_seen_total counter",
            "test_seen_total{topic=\"flows\"} 3",
            "# HELP test_queue_bytes Bytes that wait",
            "# TYPE test_queue_bytes gauge",
            "test_queue_bytes 12",
            concat!("headwater_build_info{program=\"test\",version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(answer.lines().any(|found| found == line), "{line:?} is not in:\n{answer}");
        }
        for metric in PROCESS_METRICS {
            assert!(
                answer.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
                "{}:\n{answer}",
                metric.name
            );
        }
        assert!(answer.contains("# TYPE process_cpu_seconds_total counter\n"), "{answer}");
        let part = health.part("join", std::time::Duration::from_secs(60));
        assert!(get("/livez").starts_with("HTTP/1.0 200"));
        let told = get("/readyz");
        assert!(told.starts_with("HTTP/1.0 503") && told.ends_with("join is starting\n"), "{told}");
        part.ready();
        assert!(get("/readyz").starts_with("HTTP/1.0 200"));
        assert!(get("/elsewhere").starts_with("HTTP/1.0 404"));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(
            ["info", "WARN", "info,headwater_kafka=debug", "headwater_kafka[span]=trace"].into_iter().all(is_filter)
        );
        assert!(!["", "verbose", "info,kafka", "a=b=c", "info,x=loud"].into_iter().any(is_filter));
    }

    #[test]
    fn the_processor_time_is_that_of_the_kernel_s_own_clock() {
        // The kernel counts the time of other running threads up at its ticks only, which are at most 10 ms apart.
        const TICKS_MS: i64 = 50;
        while clock_ms() < 4 * TICKS_MS {
            std::hint::spin_loop();
        }
        let before = clock_ms();
        let told = cpu_ms();
        let after = clock_ms();
        assert!((before - TICKS_MS..=after + TICKS_MS).contains(&told), "{told} is not in {before}..{after}");
    }

    /// The processor time of all threads of this process.
    fn clock_ms() -> i64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes the one struct that it is given.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
        time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    #[test]
    fn memory_that_is_used_is_told_in_bytes() {
        const USED_BYTES: usize = 64 << 20;
        let used = std::hint::black_box(vec![1_u8; USED_BYTES]);
        let told = rss_bytes();
        assert!((USED_BYTES as i64..1 << 40).contains(&told), "{told} bytes with {} in use", used.len());
    }

    #[test]
    fn a_fatal_error_is_a_line_of_the_log() {
        let line: serde_json::Value = serde_json::from_str(&json_line("test", "two\nlines \"quoted\"")).unwrap();
        assert_eq!((&line["level"], &line["target"]), (&"ERROR".into(), &"test".into()));
        assert_eq!(line["fields"]["message"], "two\nlines \"quoted\"");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
