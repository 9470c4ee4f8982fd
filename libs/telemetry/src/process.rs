//! What a process costs, by the names that Prometheus's own clients use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::{Metric, Unit};

/// How old the numbers of a scrape may be.
const INTERVAL: Duration = Duration::from_secs(5);

crate::metrics! {
    BUILD_INFO = Metric::gauge("headwater_build_info", Unit::Count, &["program", "version"], "Always 1");
    START_TIME = Metric::gauge("process_start_time_seconds", Unit::Seconds, &[], "When the process started, since 1970");
    CPU = Metric::gauge("process_cpu_seconds_total", Unit::Seconds, &[], "Processor time of all threads since the start");
    MEMORY = Metric::gauge("process_resident_memory_bytes", Unit::Bytes, &[], "Memory of the process that is in RAM");
    OPEN_FILES = Metric::gauge("process_open_fds", Unit::Count, &[], "File descriptors that are open");
}

/// Keeps these metrics up to date, on a thread of its own.
pub(crate) fn start(program: &str) -> Result<()> {
    BUILD_INFO.set(&[program, env!("CARGO_PKG_VERSION")], 1.0);
    // Telemetry is what a program starts first.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    START_TIME.set(&[], since_1970.as_secs_f64());
    update();
    std::thread::Builder::new()
        .name("process-metrics".to_owned())
        .spawn(|| {
            loop {
                std::thread::sleep(INTERVAL);
                update();
            }
        })
        .context("start a thread for the metrics of the process")?;
    Ok(())
}

fn update() {
    CPU.set(&[], cpu_ms() as f64 / 1e3);
    MEMORY.set(&[], rss_bytes() as f64);
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The folder that is being read is one of them.
        OPEN_FILES.set(&[], (entries.count() as f64 - 1.0).max(0.0));
    }
}

/// Processor time of this process so far, all threads together, in milliseconds.
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

/// Resident memory of this process, in bytes; 0 if the kernel does not say.
pub fn rss_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: sysconf has no preconditions.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) }
}
