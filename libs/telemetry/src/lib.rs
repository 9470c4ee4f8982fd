//! Logs, metrics and what a process costs: the same for every program.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use headwater_settings::{Key, Values};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Settings of this library.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    pub log_level: String,
    pub log_json: bool,
    /// Where Prometheus reads the metrics; nowhere if absent.
    pub metrics_listen: Option<SocketAddr>,
}

impl TelemetrySettings {
    pub const KEYS: &'static [Key] = &[
        Key::new(
            "log.level",
            "info",
            "What to log: error, warn, info, debug, trace, or a filter such as info,headwater_kafka=debug",
        ),
        Key::new("log.json", "false", "Logs one JSON object a line"),
        Key::optional("metrics.listen", "Address on which Prometheus metrics are served, such as 127.0.0.1:9464"),
    ];

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
        TelemetrySettings { log_level, log_json: values.flag("log.json"), metrics_listen }
    }

    /// Starts logging to standard error and serving metrics. Call it once.
    pub fn start(&self) -> Result<()> {
        let filter = EnvFilter::try_new(&self.log_level)
            .with_context(|| format!("log.level `{}` is not a level or filter", self.log_level))?;
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = if self.log_json { logs.json().try_init() } else { logs.with_target(false).try_init() };
        started.map_err(|error| anyhow::anyhow!("start logging: {error}"))?;
        if let Some(address) = self.metrics_listen {
            serve_metrics(address)?;
        }
        Ok(())
    }
}

/// A single word that is no level would be taken for the name of a module, and then nothing else would be logged.
fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| LEVELS.contains(&word.trim().to_lowercase().as_str());
    text.split(',').all(|part| part.contains(['=', '[']) || is_level(part)) && EnvFilter::try_new(text).is_ok()
}

/// Serves metrics on a thread of its own.
fn serve_metrics(address: SocketAddr) -> Result<()> {
    // Bound here first, since the exporter reports a taken port only later and from another thread.
    let bound = std::net::TcpListener::bind(address).with_context(|| {
        format!("serve metrics on {address}: is another program there? set metrics.listen to a free port")
    })?;
    let address = bound.local_addr()?;
    drop(bound);
    PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .with_context(|| format!("serve metrics on {address}"))?;
    tracing::info!(%address, "serving metrics");
    Ok(())
}

/// Processor time of this process so far, all threads together.
pub fn cpu_ms() -> i64 {
    // SAFETY: a zeroed rusage is a value, and the target outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let ms = |time: libc::timeval| time.tv_sec * 1000 + time.tv_usec / 1000;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

/// Resident memory of this process; 0 if the kernel does not say.
pub fn rss_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: sysconf has no preconditions.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_port_is_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = serve_metrics(taken.local_addr().unwrap()).unwrap_err();
        assert!(error.to_string().contains("set metrics.listen to a free port"), "{error}");
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(
            ["info", "WARN", "info,headwater_kafka=debug", "headwater_kafka[span]=trace"].into_iter().all(is_filter)
        );
        assert!(!["", "verbose", "info,kafka", "a=b=c", "info,x=loud"].into_iter().any(is_filter));
    }

    #[test]
    fn a_process_knows_what_it_costs() {
        assert!(rss_bytes() > 0);
        assert!(cpu_ms() >= 0);
    }
}
