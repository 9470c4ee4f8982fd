//! What a process costs, by the names that Prometheus's own clients use.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Metric, Unit};

crate::metrics! {
    BUILD_INFO = Metric::gauge("headwater_build_info", Unit::Count, &["program", "version"], "Always 1");
    START_TIME = Metric::gauge("process_start_time_seconds", Unit::Seconds, &[], "When the process started, since 1970");
    CPU = Metric::counter("process_cpu_seconds_total", Unit::Seconds, &[], "Processor time of all threads since the start");
    MEMORY = Metric::gauge("process_resident_memory_bytes", Unit::Bytes, &[], "Memory of the process that is in RAM");
    OPEN_FILES = Metric::gauge("process_open_fds", Unit::Count, &[], "File descriptors that are open");
}

/// What does not change any more. Telemetry is what a program starts first.
pub(crate) fn start(program: &str) {
    BUILD_INFO.set(&[program, env!("CARGO_PKG_VERSION")], 1.0);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    START_TIME.set(&[], since_1970.as_secs_f64());
}

/// Sets what changes, for the one who asks now.
pub(crate) fn update() {
    MEMORY.set(&[], rss_bytes() as f64);
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The folder that is being read is one of them.
        OPEN_FILES.set(&[], (entries.count() as f64 - 1.0).max(0.0));
    }
}

/// The processor time in Prometheus's text format: a counter of the recorder would hold whole seconds alone.
pub(crate) fn cpu_text() -> String {
    let Metric { name, help, .. } = CPU;
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", cpu_ms() as f64 / 1e3)
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
